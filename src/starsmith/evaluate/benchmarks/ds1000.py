"""DS-1000: data science questions with seven libraries (Lai et al. 2023; the paper's Table of DS-1000).

Loads the simplified official file (xlang-ai/DS-1000 data/ds1000.jsonl.gz), whose tests need no pickles. The cut is that
of the BigCode evaluation harness 8fc5bae6. The older layout, a folder for each problem with pickled fixtures, is not
read. The official test runs the answer in its own process, so an answer made for that could forge a pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import Benchmark, Check, Option, Problem, Sampling, limits, of_run
from starsmith.evaluate.run import Program, Run

SECONDS: Final = 120.0
STOPS: Final = ("</code>", "# SOLUTION END", "\nEND SOLUTION")
LIBRARIES: Final = ("Matplotlib", "Numpy", "Pandas", "Pytorch", "Scipy", "Sklearn", "Tensorflow")

LIBRARY: Final = Option(name="library", values=("all", *LIBRARIES), says="The questions about one library alone.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataProblem(Problem):
    """A question, and the module that judges an answer to it."""

    context: str
    """Python that defines `test_execution(code)`, and for some problems `test_string(code)`."""


class Ds1000(Benchmark[DataProblem]):
    """DS-1000, completion."""

    name = "ds-1000"
    title = "DS-1000"
    recipe = "xlang-ai/DS-1000, simplified: test_execution, and test_string where there is one, 120 s."
    sampling = Sampling(temperature=0.2, top_p=0.5, samples=40)
    known_options = (LIBRARY,)
    python_packages = ("numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "torch", "tensorflow", "pillow")

    def sources(self) -> tuple[Source, ...]:
        where = "https://github.com/xlang-ai/DS-1000, data/ds1000.jsonl.gz"
        return (Source(names=("ds1000.jsonl", "DS-1000/test.jsonl"), where=where, licence="CC-BY-SA-4.0"),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[DataProblem]:
        chosen = self.options["library"]
        return [_problem(row) for row in rows[""] if chosen in ("all", row["metadata"]["library"])]

    def truncated(self, problem: DataProblem, completion: str) -> str:
        for start in ("BEGIN SOLUTION\n<code>", "# SOLUTION START"):
            completion = completion.split(start, 1)[-1]
        return super().truncated(problem, completion).strip()

    def check(
        self, problem: DataProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        lines = [problem.context, f"code = {completion!r}", "test_execution(code)"]
        if "test_string(" in problem.context:
            lines.append("test_string(code)")
        # NumPy, PyTorch and TensorFlow start threads and reserve addresses at import.
        allowed = limits(SECONDS, address_bytes=0, processes=256, memory_bytes=8 << 30)
        program = Program(id=problem.id, source="\n".join(lines) + "\n", limits=allowed)
        return Check(work=(program,), judge=of_run)


def _problem(row: Row) -> DataProblem:
    about = row["metadata"]
    return DataProblem(
        id=str(about["problem_id"]),
        prompt=row["prompt"],
        group=about["library"],
        stops=STOPS,
        reference=row["reference_code"],
        context=row["code_context"],
    )

"""MBPP: short functions from one sentence and one assertion (Austin et al. 2021; the paper's Table of MBPP).

The recipe is that of the BigCode evaluation harness 8fc5bae6, after InCoder: the test split of 500 problems, the first
of three assertions in the prompt. The setup code and the challenge tests of the file are not used, as there.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import BESIDE, Benchmark, Check, Option, Sampling, TestedProblem, by_its_test
from starsmith.evaluate.run import Run

STOPS: Final = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")
SECONDS: Final = 3.0
TEST_SPLIT: Final = range(11, 511)
"""Task ids of the test split."""

SPLIT: Final = Option(name="split", values=("test", "all"), says="test: task ids 11 to 510. all: all 974 problems.")
SETUP: Final = Option(
    name="setup",
    values=("omitted", "used"),
    says="omitted: the harness does not run `test_setup_code`. used: it runs before the program.",
)


class Mbpp(Benchmark[TestedProblem]):
    """MBPP by its own assertions."""

    name = "mbpp"
    title = "MBPP"
    recipe = "BigCode evaluation harness 8fc5bae6: InCoder's prompt, cut at 7 stop words, 3 s, 500 problems."
    sampling = Sampling(temperature=0.1, top_p=0.95, samples=15)
    known_options = (SPLIT, SETUP, BESIDE)

    def sources(self) -> tuple[Source, ...]:
        where = "https://github.com/google-research/google-research, mbpp/mbpp.jsonl"
        return (Source(names=("mbpp.jsonl",), where=where, licence="CC-BY-4.0"),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[TestedProblem]:
        all_rows = self.options["split"] == "all"
        return [self._problem(row) for row in rows[""] if all_rows or row["task_id"] in TEST_SPLIT]

    def _problem(self, row: Row) -> TestedProblem:
        setup = row["test_setup_code"] if self.options["setup"] == "used" else ""
        return TestedProblem(
            id=str(row["task_id"]),
            prompt=f'"""\n{row["text"]}\n{row["test_list"][0]}\n"""\n',
            stops=STOPS,
            reference=row["code"],
            test="\n".join(row["test_list"]),
            setup=f"{setup}\n" if setup else "",
        )

    def check(
        self, problem: TestedProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        source = problem.setup + (completion if whole else problem.prompt + completion)
        return by_its_test(source, problem, seconds=SECONDS, where=self.options["test"])

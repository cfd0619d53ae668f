"""HumanEval: 164 functions to complete from signature and docstring (Chen et al. 2021; the paper's Table of HumanEval).

The recipe is that of the BigCode evaluation harness 8fc5bae6, which differs from openai/human-eval in the stripped
prompt and the stop words. EvalPlus's stricter test of the same problems is `humaneval_plus`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import BESIDE, Benchmark, Check, Metric, Option, Sampling, TestedProblem, by_its_test
from starsmith.evaluate.run import Run

STOPS: Final = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>")
SECONDS: Final = 3.0

PROMPT: Final = Option(
    name="prompt",
    values=("stripped", "unstripped"),
    says="stripped: without white space at its ends, as the BigCode harness gives it. "
    "unstripped: as openai/human-eval gives it, with the line feed at the end.",
)
JOIN: Final = Option(
    name="join",
    values=("either", "exact"),
    says="either: a completion that does not begin a line of its own is joined to the unstripped prompt, so that "
    "completions made for either prompt can be scored. exact: to the prompt of the option `prompt` alone.",
)


class HumanEval(Benchmark[TestedProblem]):
    """HumanEval by its own tests."""

    name = "humaneval"
    title = "HumanEval"
    recipe = "BigCode evaluation harness 8fc5bae6: stripped prompt, cut at 8 stop words, 3 s, pass@k."
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=20)
    metrics = (Metric(name="pass@1", k=1), Metric(name="pass@10", k=10), Metric(name="pass@100", k=100))
    known_options = (PROMPT, JOIN, BESIDE)

    def sources(self) -> tuple[Source, ...]:
        where = "https://github.com/openai/human-eval, data/HumanEval.jsonl.gz"
        return (Source(names=("HumanEval.jsonl",), where=where, licence="MIT"),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[TestedProblem]:
        return [self._problem(row) for row in rows[""]]

    def _problem(self, row: Row) -> TestedProblem:
        prompt: str = row["prompt"]
        return TestedProblem(
            id=row["task_id"],
            prompt=prompt.strip() if self.options["prompt"] == "stripped" else prompt,
            unstripped=prompt,
            stops=STOPS,
            reference=row["canonical_solution"],
            test=f"{row['test']}\ncheck({row['entry_point']})",
        )

    def check(
        self, problem: TestedProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        source = completion if whole else self._program(problem, completion)
        return by_its_test(source, problem, seconds=SECONDS, where=self.options["test"])

    def _program(self, problem: TestedProblem, completion: str) -> str:
        begins_a_line = completion.lstrip(" \t").startswith(("\n", "\r")) or not completion
        exact = self.options["join"] == "exact" or begins_a_line
        return (problem.prompt if exact else problem.unstripped) + completion

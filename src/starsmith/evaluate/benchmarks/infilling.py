"""Fill-in-the-middle: SantaCoder's single lines by exact match, and HumanEval infilling by the tests.

SantaCoder's (Allal et al. 2023; the paper's Table of FIM) follows the BigCode evaluation harness 8fc5bae6, task
`starcoder_fim`. HumanEval infilling (Bavarian et al. 2022) follows openai/human-eval-infilling 88062ff9: nothing is
cut, and the program is prompt, completion, suffix and test.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starsmith.evaluate.benchmarks.humaneval import SECONDS
from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import (
    BESIDE,
    END_OF_TEXT,
    Benchmark,
    Check,
    Metric,
    Option,
    Problem,
    Sampling,
    TestedProblem,
    by_its_test,
    matched,
)
from starsmith.evaluate.run import Run

STOPS: Final = (END_OF_TEXT, "<|filename|>", "<file_sep>")
SANTACODER_LANGUAGES: Final = {"py": "python", "java": "java", "js": "javascript"}

KINDS: Final = {
    "single-line": "SingleLine",
    "multi-line": "MultiLine",
    "random-span": "RandomSpan",
    "random-span-light": "RandomSpanInfillingLight",
}
KIND: Final = Option(name="kind", values=tuple(KINDS), says="Which of the four files: what was cut out of a solution.")


class SantaCoderInfilling(Benchmark[Problem]):
    """One line is missing; the model's is right where it is the very same, white space at its ends aside."""

    name = "fim-santacoder"
    title = "FIM, SantaCoder"
    recipe = "BigCode evaluation harness 8fc5bae6, starcoder_fim: exact match after strip, for each language."
    languages = ("python", "java", "javascript")
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=1, max_tokens=128)
    metrics = (Metric(name="exact match", score="exact_match"),)

    def sources(self) -> tuple[Source, ...]:
        return (
            Source(
                names=("santacoder-fim-task*.parquet", "*fim-task*.jsonl", "qwen_hm_fim.parquet", "data.jsonl"),
                where="https://huggingface.co/datasets/bigcode/santacoder-fim-task",
                licence="OpenRAIL; made of MultiPL-E, whose data must not be trained on",
            ),
        )

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[Problem]:
        seen: dict[tuple[str, str], int] = {}
        return [self._problem(row, seen) for row in rows[""]]

    def _problem(self, row: Row, seen: dict[tuple[str, str], int]) -> Problem:
        language = SANTACODER_LANGUAGES[row["language"]]
        key = (row["language"], row["name"])
        seen[key] = seen.get(key, 0) + 1
        # The official names are those of a line; one name may stand for lines of several solutions.
        number = f"#{seen[key]}" if seen[key] > 1 else ""
        return Problem(
            id=f"{row['language']}/{row['name']}{number}",
            prompt=row["prompt"],
            suffix=row["suffix"],
            language=language,
            group=language,
            stops=STOPS,
            reference=row["canonical_solution"],
        )

    def check(self, problem: Problem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False) -> Check:
        same = completion.strip() == problem.reference.strip()
        return matched(passed=same, exact_match=float(same))


class HumanEvalInfilling(Benchmark[TestedProblem]):
    """A piece of a HumanEval solution is missing; the test of the problem judges."""

    name = "humaneval-infilling"
    title = "HumanEval infilling"
    recipe = "openai/human-eval-infilling 88062ff9: prompt, completion, suffix and test, 3 s, nothing cut."
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=1, max_tokens=512)
    known_options = (KIND, BESIDE)
    cut_when_scored = False

    def sources(self) -> tuple[Source, ...]:
        kind = KINDS[self.options["kind"]]
        name = f"HumanEval-{kind}.jsonl" if kind.endswith("Light") else f"HumanEval-{kind}Infilling.jsonl"
        where = f"https://github.com/openai/human-eval-infilling, data/{name}.gz"
        return (Source(names=(name,), where=where, licence="MIT"),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[TestedProblem]:
        return [
            TestedProblem(
                id=row["task_id"],
                prompt=row["prompt"],
                suffix=row["suffix"],
                stops=(END_OF_TEXT,),
                reference=row["canonical_solution"],
                test=f"{row['test']}\ncheck({row['entry_point']})",
            )
            for row in rows[""]
        ]

    def check(
        self, problem: TestedProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        source = completion if whole else f"{problem.prompt}{completion}{problem.suffix}"
        return by_its_test(source, problem, seconds=SECONDS, where=self.options["test"])

"""GSM8K by PAL: word problems answered by a program (Cobbe et al. 2021, Gao et al. 2022; the paper's Table of GSM8K).

The recipe is that of the BigCode evaluation harness 8fc5bae6: eight shots, greedy, the last line that the program
prints compared with the number after `#### `.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import Benchmark, Check, Option, Problem, Sampling, Verdict, limits
from starsmith.evaluate.run import Program, Run

SECONDS: Final = 3.0
SHOTS: Final = 8
CLOSE_ENOUGH: Final = 1e-3

VOTING: Final = Option(
    name="answer",
    values=("greedy", "majority"),
    says="majority: the answer that most of a problem's programs give is the one that counts.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WordProblem(Problem):
    """A question and the number that answers it, as text."""

    answer: str


class Gsm8kPal(Benchmark[WordProblem]):
    """GSM8K, its test split, by programs."""

    name = "gsm8k-pal"
    title = "GSM8K (PAL)"
    recipe = "BigCode evaluation harness 8fc5bae6: 8 shots, greedy, last printed line within 0.001, 3 s."
    sampling = Sampling(max_tokens=512)
    known_options = (VOTING,)

    def sources(self) -> tuple[Source, ...]:
        harness = "https://github.com/bigcode-project/bigcode-evaluation-harness, bigcode_eval/tasks/few_shot_examples"
        return (
            Source(
                names=("test.jsonl", "gsm8k_test.jsonl"),
                where="https://github.com/openai/grade-school-math, grade_school_math/data/test.jsonl",
                licence="MIT",
            ),
            Source(
                names=("gsm8k_few_shot_prompts.json", "bigcode_gsm8k_few_shot_prompts.json"),
                where=f"{harness}/gsm8k_few_shot_prompts.json",
                licence="Apache-2.0",
                key="shots",
                optional=True,
            ),
        )

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[WordProblem]:
        shots = _shots(rows["shots"][0]) if "shots" in rows else ""
        return [self._problem(number, row, shots) for number, row in enumerate(rows[""])]

    def _problem(self, number: int, row: Row, shots: str) -> WordProblem:
        return WordProblem(
            id=f"gsm8k/{number}",
            # Without the shots there is no official prompt, and none is made up.
            prompt=f"{shots}{_head(row['question'])}" if shots else "",
            stops=("\n\n\n", "Q:"),
            answer=row["answer"].split("#### ")[-1].strip().replace(",", ""),
        )

    def truncated(self, problem: WordProblem, completion: str) -> str:
        # White space goes first, or a completion that begins with the stop words would be empty.
        return super().truncated(problem, completion.strip())

    def check(
        self, problem: WordProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        source = f"{completion}\nprint(solution())"
        program = Program(id=problem.id, source=source, limits=limits(SECONDS))
        return Check(work=(program,), judge=lambda runs: judged(problem, runs[0]))

    def counted(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        if self.options["answer"] == "greedy":
            return super().counted(verdicts)
        answers = Counter(verdict.answer for verdict in verdicts if verdict.answer)
        most = answers.most_common(1)
        chosen = next((verdict for verdict in verdicts if most and verdict.answer == most[0][0]), None)
        return [replace(chosen, counted=True)] if chosen else verdicts[:1]


def _shots(row: Row) -> str:
    pairs = list(zip(row["questions"], row["solutions"], strict=True))[:SHOTS]
    return "".join(
        f'{_head(question)}def solution():\n    """{question}"""\n{solution}\n\n\n\n\n\n'
        for question, solution in pairs
    )


def _head(question: str) -> str:
    return f"Q: {question}\n\n# solution in Python:\n\n\n"


def judged(problem: WordProblem, run: Run) -> Verdict:
    """Return the verdict by the last line that the program printed."""
    if run.status != "passed":
        return Verdict(passed=False, reason=run.status, detail=run.detail)
    lines = run.stdout.decode("utf-8", "replace").splitlines()
    answer = lines[-1].strip() if lines else ""
    try:
        passed = abs(float(answer) - float(problem.answer)) < CLOSE_ENOUGH
    except (ValueError, OverflowError):
        passed = False
    return Verdict(passed=passed, reason="passed" if passed else "wrong", detail=answer[:100], answer=answer[:100])

"""CRUXEval: what does this function return, and what must it be given (Gu et al. 2024; the paper's Table of CRUXEval).

Prompts, cuts and scorer are those of facebookresearch/cruxeval 190faf16. The prompts are read from
its own `prompts.py`, which scoring does not need. The scorer there drops some generations as
if they had not been made, so that a problem may have fewer than ten; `dropping = none` counts them as failed.
"""

import ast
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import Benchmark, Check, Metric, Option, Problem, Sampling, Verdict, limits, of_run
from starsmith.evaluate.run import Program, Run

SECONDS: Final = 3.0
LONGEST_ANSWER: Final = 20_000
"""Characters. A longer answer is not looked at here but run as it is."""

_ANSWER: Final = "starsmith_answer_"

DROPPING: Final = Option(
    name="dropping",
    values=("official", "none"),
    says="official: a generation that the official scorer skips does not count, unless none of the problem's passes. "
    "none: it counts as failed.",
)
STYLE: Final = Option(name="style", values=("direct", "cot"), says="cot: the prompt asks for reasoning first.")
JUDGE: Final = Option(
    name="judge",
    values=("apart", "beside"),
    says="apart: the answer's value is compared outside the program, so that it cannot forge a pass. "
    "beside: by an assertion in the program, as the official scorer does it.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CruxProblem(Problem):
    """One function with one input and its output."""

    code: str
    input: str
    output: str


class CruxEval(Benchmark[CruxProblem]):
    """What both tasks share."""

    metrics = (Metric(name="pass@1", k=1), Metric(name="pass@5", k=5))
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=10)
    known_options = (STYLE, DROPPING, JUDGE)
    cut_when_scored = False
    task: ClassVar[str]

    def sources(self) -> tuple[Source, ...]:
        where = "https://github.com/facebookresearch/cruxeval"
        return (
            Source(names=("cruxeval.jsonl",), where=f"{where}, data/cruxeval.jsonl", licence="MIT"),
            Source(names=("prompts.py",), where=f"{where}, prompts.py", licence="MIT", key="prompts", optional=True),
        )

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[CruxProblem]:
        module = rows["prompts"][0]["text"] if "prompts" in rows else ""
        return [self._problem(row, module) for row in rows[""]]

    def _problem(self, row: Row, module: str) -> CruxProblem:
        prompt = official_prompt(module, f"make_{self.options['style']}_{self.task}_prompt", row) if module else ""
        reference = f"f({row['input']})" if self.task == "input" else row["output"]
        return CruxProblem(
            id=row["id"],
            prompt=prompt,
            stops=("[/ANSWER]",),
            reference=reference,
            code=row["code"],
            input=row["input"],
            output=row["output"],
        )

    def truncated(self, problem: CruxProblem, completion: str) -> str:
        text = super().truncated(problem, completion)
        if self.options["style"] == "cot" and "[ANSWER]" in text:
            text = text.split("[ANSWER]")[1].strip()
        return self._answer(text).strip()

    @abstractmethod
    def _answer(self, text: str) -> str:
        """Return the part of the assertion that was asked for."""

    @abstractmethod
    def _is_dropped(self, problem: CruxProblem, completion: str) -> bool:
        """Return whether the official scorer skips this generation."""

    def check(
        self, problem: CruxProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        if self._is_dropped(problem, completion):
            verdict = Verdict(passed=False, reason="dropped", counted=self.options["dropping"] == "none")
            return Check(judge=lambda runs: verdict)
        apart = self._apart(problem, completion) if self.options["judge"] == "apart" else None
        return apart or _beside(problem, completion)

    def _apart(self, problem: CruxProblem, completion: str) -> Check | None:
        """Return a check in which the answer is only a value; None where it is no plain expression."""
        expression = right_side(problem.output, completion)
        try:
            expected = ast.literal_eval(problem.output)
        except (ValueError, SyntaxError):
            return None
        if expression is None:
            return None
        source = f"{problem.code}\ndef {_ANSWER}():\n    return ({expression})\n"
        program = Program(id=problem.id, source=source, entry_point=_ANSWER, calls=((),), limits=limits(SECONDS))
        return Check(work=(program,), judge=lambda runs: _judged(runs[0], expected))

    def counted(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        # The official scorer counts every generation again where none of the problem's has passed.
        return super().counted(verdicts) if any(verdict.passed for verdict in verdicts) else verdicts


class CruxEvalInput(CruxEval):
    """CRUXEval-I: find an input that gives the output."""

    name = "cruxeval-input"
    title = "CRUXEval-I"
    recipe = "facebookresearch/cruxeval 190faf16: 800 problems, 10 samples, 3 s, its scorer's dropping rule."
    task = "input"

    def _answer(self, text: str) -> str:
        text = text.split("==")[0].strip() if "==" in text else text
        return "f" + text.split("assert f")[1].strip() if "assert f" in text else text

    def _is_dropped(self, problem: CruxProblem, completion: str) -> bool:
        return "f(" not in completion


class CruxEvalOutput(CruxEval):
    """CRUXEval-O: say what the function returns."""

    name = "cruxeval-output"
    title = "CRUXEval-O"
    recipe = CruxEvalInput.recipe
    task = "output"

    def _answer(self, text: str) -> str:
        return text.split("==")[1].strip() if "==" in text else text

    def _is_dropped(self, problem: CruxProblem, completion: str) -> bool:
        return f"f({problem.input})" in completion


def official_prompt(module: str, function: str, row: Row) -> str:
    """Return the f-string that a function of the official `prompts.py` returns, filled in; nothing is executed.

    Raises LookupError where the module is not the official one.
    """
    for node in ast.parse(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            parts = [part for line in node.body if isinstance(line, ast.Return) for part in ast.walk(line)]
            text = next((part for part in parts if isinstance(part, ast.JoinedStr)), ast.JoinedStr(values=[]))
            return "".join(_filled(part, row) for part in text.values)
    raise LookupError(f"prompts.py has no {function}")


def _filled(part: ast.expr, row: Row) -> str:
    match part:
        case ast.Constant(value=str(text)):
            return text
        case ast.FormattedValue(value=ast.Name(id=name)):
            return str(row[name])
    raise LookupError("prompts.py builds its prompts in another way")


def right_side(output: str, completion: str) -> str | None:
    """Return the expression that `assert {output} == {completion}` compares with, written anew.

    None where that is no assertion of one equality and nothing else, and for what is too long to be looked at here.

    >>> right_side("[1]", "list( (1,) )  # so")
    'list((1,))'
    >>> right_side("1", "1, 'message'")
    """
    if len(completion) > LONGEST_ANSWER:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(f"assert {output} == {completion}")
            match tree.body:
                case [ast.Assert(test=ast.Compare(ops=[ast.Eq()], comparators=[right]), msg=None)]:
                    return ast.unparse(right)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Not Python, or too deep for Python: the sandbox finds that out in the official way.
        return None
    return None


def _beside(problem: CruxProblem, completion: str) -> Check:
    source = f"{problem.code}\nassert {problem.output} == {completion}"
    return Check(work=(Program(id=problem.id, source=source, limits=limits(SECONDS)),), judge=_asserted)


def _asserted(runs: Sequence[Run]) -> Verdict:
    verdict = of_run(runs)
    if verdict.detail.startswith("AssertionError"):
        return Verdict(passed=False, reason="wrong", detail=verdict.detail)
    return verdict


def _judged(run: Run, expected: Any) -> Verdict:
    if run.status != "passed":
        return Verdict(passed=False, reason=run.status, detail=run.detail)
    output = run.outputs[0]
    if output.raised:
        return Verdict(passed=False, reason="exception", detail=output.raised)
    try:
        passed = bool(expected == output.value)
    except RecursionError:
        passed = False
    return Verdict(passed=passed, reason="passed" if passed else "wrong")

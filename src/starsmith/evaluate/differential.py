"""EvalPlus's oracle: a candidate is right where it answers as the official solution does, on every input.

Facts from evalplus 26d6d00b (`eval/__init__.py`, `eval/_special_oracle.py`). Unlike there, the candidate only hands
over what it returned, as plain values, and is judged here: a value of a class of its own never equals anything, so it
cannot forge a pass. NumPy is not needed: its `allclose` is written out for plain numbers.
"""

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from starsmith.evaluate.problem import Benchmark, Check, Metric, Option, Problem, Sampling, Verdict, Work, limits
from starsmith.evaluate.run import Output, Program, Run

LEAST_SECONDS: Final = 4.0
TIME_FACTOR: Final = 4.0
"""A call may take this many times what it took the official solution, at least LEAST_SECONDS."""
MOST_SECONDS: Final = 60.0
"""All calls of a candidate together."""
REFERENCE_SECONDS: Final = 300.0
FLOAT_TOLERANCE: Final = 1e-6
RELATIVE_TOLERANCE: Final = 1e-7

NOT_NONE: Final = {"check_str", "text_match_three", "text_starta_endb"}
"""MBPP+ tasks of which only counts whether something was returned."""
AS_SETS: Final = {
    *("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"),
    *("larg_nnum", "intersection_array", "find_dissimilar", "Diff"),
}
"""MBPP+ tasks of which the order and the number of items do not count."""

LONGEST_TEXT: Final = 100_000
"""Characters. Of a longer text a digest is handed over: HumanEval/15 answers with 70 MB on its added inputs."""
OUTPUT_BYTES: Final = 256 << 20

EVERY_STOP: Final = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
"""Stop words of EvalPlus for every set."""

_CALL: Final = "starsmith_call_"
_TIMED: Final = "starsmith_timed_"
_WRAPPER: Final = f"""
import signal as starsmith_signal_, sys as starsmith_sys_
starsmith_late_, starsmith_limits_ = [], iter(%(seconds)r)
class StarsmithTime_(BaseException): pass
def starsmith_stop_(number, frame):
    starsmith_late_.append(True)
    raise StarsmithTime_("this call took too long")
def starsmith_plain_(value):
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == (): return value.item()
    if type(value) in (list, tuple): return type(value)(map(starsmith_plain_, value))
    if type(value) is dict: return {{starsmith_plain_(k): starsmith_plain_(v) for k, v in value.items()}}
    return value
def {_CALL}(*arguments):
    if starsmith_late_: raise StarsmithTime_("a call before took too long")
    starsmith_signal_.signal(starsmith_signal_.SIGPROF, starsmith_stop_)
    starsmith_signal_.setitimer(starsmith_signal_.ITIMER_PROF, next(starsmith_limits_))
    try:
        value = %(entry_point)s(*arguments)
        if %(as_set)r and not isinstance(value, (list, tuple, set, frozenset, dict, str)): value = list(value)
        if type(value) is str and len(value) > {LONGEST_TEXT}:
            import hashlib
            return ("digest", len(value), hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest())
        return starsmith_plain_(value) if "numpy" in starsmith_sys_.modules else value
    finally:
        starsmith_signal_.setitimer(starsmith_signal_.ITIMER_PROF, 0)
def {_TIMED}(*arguments):
    import time
    begun = time.process_time()
    value = {_CALL}(*arguments)
    return value, time.process_time() - begun
"""
"""Runs inside the sandbox after a candidate, which can break it only to its own loss.

Once a call has taken too long the verdict is known, and those after it are not made: EvalPlus stops there too."""

FLOATS: Final = Option(
    name="floats",
    values=("tolerant", "exact"),
    says="tolerant: within the tolerances of EvalPlus 26d6d00b. exact: only equal floats are right, as in recorded "
    "results of April 2024 (HumanEval/21 and Mbpp/14 of StarCoder2-15B-Instruct differ in the last bit and failed).",
)

LEAST: Final = Option(
    name="least",
    values=("4", "1"),
    says="Seconds that every call may take at least. 1: Mbpp/123 and Mbpp/392 of StarCoder2-15B-Instruct, with calls "
    "of 2 to 3 s, are stopped, as they were in recorded results of April 2024.",
)

Arguments = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlusProblem(Problem):
    """A problem of HumanEval+ or MBPP+."""

    entry_point: str
    base: tuple[Arguments, ...]
    """The calls of the original benchmark."""
    plus: tuple[Arguments, ...]
    """The calls that EvalPlus added."""
    tolerance: float
    """Absolute tolerance; 0 for equality, which for floats becomes FLOAT_TOLERANCE."""
    mbpp: bool
    exact: bool = False
    """No tolerance for floats: the option `floats`."""
    least_seconds: float = LEAST_SECONDS
    """The option `least`."""

    @property
    def as_set(self) -> bool:
        return self.mbpp and self.entry_point in AS_SETS


class PlusBenchmark(Benchmark[PlusProblem]):
    """What HumanEval+ and MBPP+ have in common."""

    recipe = "EvalPlus 26d6d00b: the answers of the official solution on base and plus inputs, 4 s a call."
    sampling = Sampling(max_tokens=768)
    metrics = (Metric(name="pass@1 base", score="base", k=1), Metric(name="pass@1 plus", score="plus", k=1))
    cut_when_scored = False

    def reference_work(self, problem: PlusProblem) -> tuple[Work, ...]:
        return reference_work(problem)

    def check(
        self, problem: PlusProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        return check(problem, completion if whole else problem.prompt + completion, reference)


def program(problem: PlusProblem, source: str, calls: Sequence[Arguments], limits_of_calls: Sequence[float]) -> Program:
    """Return the program that makes these calls, each within its limit in seconds of processor time."""
    filled = _WRAPPER % {
        "seconds": list(limits_of_calls),
        "entry_point": problem.entry_point,
        "as_set": problem.as_set,
    }
    return Program(
        id=problem.id,
        source=f"{source}\n{filled}",
        entry_point=_CALL,
        calls=tuple(calls),
        limits=limits(min(MOST_SECONDS, sum(limits_of_calls)) + 1, output_bytes=OUTPUT_BYTES),
    )


def reference_work(problem: PlusProblem) -> tuple[Program, ...]:
    """Return the official solution's programs: on the base calls, then on the others. Each call is timed."""
    source = problem.prompt + problem.reference
    whole = limits(REFERENCE_SECONDS, output_bytes=OUTPUT_BYTES)
    return tuple(
        replace(program(problem, source, calls, [REFERENCE_SECONDS] * len(calls)), entry_point=_TIMED, limits=whole)
        for calls in (problem.base, problem.plus)
    )


def check(problem: PlusProblem, source: str, reference: Sequence[Run]) -> Check:
    """Return how to judge a program against the runs of `reference_work`."""
    official = [_untimed(run) for run in reference]
    work = tuple(
        program(problem, source, calls, [max(problem.least_seconds, TIME_FACTOR * each) for each in seconds])
        for calls, (_, seconds) in zip((problem.base, problem.plus), official, strict=True)
    )
    return Check(work=work, judge=lambda runs: judged(problem, runs, [run for run, _ in official]))


def _untimed(run: Run) -> tuple[Run, list[float]]:
    """Return the run of an official solution as if it had not been timed, and the times of its calls."""
    outputs = tuple(each if each.raised else Output(value=each.value[0]) for each in run.outputs)
    return replace(run, outputs=outputs), [0.0 if each.raised else each.value[1] for each in run.outputs]


def judged(problem: PlusProblem, runs: Sequence[Run], reference: Sequence[Run]) -> Verdict:
    """Return the verdict: `base` on the original calls, `plus` on these and the added ones."""
    faults = [
        _fault(problem, calls, run, official)
        for calls, run, official in zip((problem.base, problem.plus), runs, reference, strict=True)
    ]
    base, plus = (fault is None for fault in faults)
    scores = {"base": float(base), "plus": float(base and plus)}
    first = next((fault for fault in faults if fault is not None), ("passed", ""))
    return Verdict(passed=base and plus, reason=first[0], detail=first[1], scores=scores)


def _fault(problem: PlusProblem, calls: Sequence[Arguments], run: Run, official: Run) -> tuple[str, str] | None:
    if official.status != "passed" or any(output.raised for output in official.outputs):
        return "unjudged", f"the official solution failed here: {official.status} {official.detail}"
    if run.status != "passed":
        return run.status, run.detail
    expected = [output.value for output in official.outputs]
    wrong = first_difference(problem, calls, run.outputs, expected)
    if wrong is None:
        return None
    raised = run.outputs[wrong].raised
    place = f"call {wrong + 1} of {len(calls)}"
    if raised == "StarsmithTime_":
        return "timeout", f"{place} took too long"
    return ("exception", f"{place} raised {raised}") if raised else ("wrong", f"{place} gave another value")


def first_difference(
    problem: PlusProblem, calls: Sequence[Arguments], outputs: Sequence[Output], expected: Sequence[Any]
) -> int | None:
    """Return the number of the first call whose output is wrong; None where all are right."""
    tolerance = problem.tolerance
    for number, (arguments, output, official) in enumerate(zip(calls, outputs, expected, strict=True)):
        if output.raised:
            return number
        # Once raised for a float it stays so for the calls that follow, as in EvalPlus.
        tolerance = FLOAT_TOLERANCE if tolerance == 0 and _is_floats(official) else tolerance
        try:
            right = _is_right(problem, arguments, output.value, official, tolerance)
        except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
            # Values that cannot even be compared: EvalPlus fails them by the same exceptions.
            right = False
        if not right:
            return number
    return None


def _is_right(problem: PlusProblem, arguments: Arguments, found: Any, official: Any, tolerance: float) -> bool:
    if not problem.mbpp and problem.entry_point == "find_zero":
        return bool(abs(_polynomial(arguments[0], found)) <= tolerance)
    special = _SPECIAL.get(problem.entry_point) if problem.mbpp else None
    if problem.as_set:
        right = set(found) == set(official)
    elif problem.mbpp and problem.entry_point in NOT_NONE:
        right = found == (official is not None) if isinstance(found, bool) else (found is None) == (official is None)
    else:
        right = found == official or bool(special and special(arguments, found, tolerance))
    if right or tolerance == 0 or problem.exact:
        return right
    return type(found) is type(official) and _sizes_agree(found, official) and all_close(found, official, tolerance)


def _sizes_agree(found: Any, official: Any) -> bool:
    return not isinstance(official, list | tuple) or len(found) == len(official)


def _is_floats(value: Any) -> bool:
    if isinstance(value, list | tuple) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def all_close(found: Any, official: Any, tolerance: float) -> bool:
    """Return whether numbers, or equally nested lists of numbers, are alike as NumPy's `allclose` has it."""
    if isinstance(official, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(official):
            return False
        return all(all_close(one, other, tolerance) for one, other in zip(found, official, strict=True))
    if not isinstance(found, int | float | complex) or not isinstance(official, int | float | complex):
        return False
    if found == official:
        return True
    if not cmath.isfinite(found) or not cmath.isfinite(official):
        return False
    return abs(found - official) <= tolerance + RELATIVE_TOLERANCE * abs(official)


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    return sum(coefficient * math.pow(x, power) for power, coefficient in enumerate(coefficients))


def _surface_of_pyramid(base: float, height: float) -> int:
    slant = math.sqrt((base / 2) ** 2 + height**2)
    return round(base**2 + 2 * base * slant)


def _digit_distance(first: int, second: int) -> int:
    width = max(len(str(first)), len(str(second)))
    pairs = zip(str(first).zfill(width), str(second).zfill(width), strict=True)
    return sum(abs(int(one) - int(other)) for one, other in pairs)


_SPECIAL: Final[dict[str, Callable[[Arguments, Any, float], bool]]] = {
    "are_equivalent": lambda arguments, found, tolerance: True,
    "sum_div": lambda arguments, found, tolerance: bool(found == 0),
    "surface_Area": lambda arguments, found, tolerance: abs(found - _surface_of_pyramid(*arguments)) <= tolerance,
    "digit_distance_nums": lambda arguments, found, tolerance: bool(found == _digit_distance(*arguments)),
}
"""MBPP+ tasks 164, 295, 581 and 558: what is right there beside the official solution's value."""

"""What a benchmark is: problems, the prompt of each, where a completion ends, and how it is judged.

A benchmark of the paper's section on evaluation is one class in `benchmarks`. It runs nothing and reads no file: it
says what is to be run, and what the outcome means. Whoever scores takes the work to `sandbox` and the runs back here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, TypeVar

from starsmith.errors import StarsmithError
from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.metrics import Estimate, estimate, pass_at_k
from starsmith.evaluate.run import Command, Limits, Program, Run

Work = Program | Command
Reached = Literal["passed", "failed", "uncounted"]

END_OF_TEXT: Final = "<|endoftext|>"
WALL_FACTOR: Final = 5.0
"""Wall time allowed for each second of processor time, so that a loaded machine changes no verdict."""
OWN_FACTOR: Final = 2.0
"""The same without what was spent waiting for a processor. HumanEval's own example sleeps for 10 s, and is to fail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One problem as a model meets it. Benchmarks add what judging needs."""

    id: str
    """The official one, or made of official parts where one task is posed more than once."""
    prompt: str
    """What the model is given. For infilling, the text before the gap."""
    suffix: str | None = None
    """The text after the gap; None where the model only continues."""
    language: str = "python"
    group: str = ""
    """Which row of the result it belongs to beside the whole: a language, a kind of instruction."""
    stops: tuple[str, ...] = ()
    """A completion ends before the first of these."""
    reference: str = ""
    """The official solution, as a completion of the prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TestedProblem(Problem):
    """A problem with the official test: Python code that raises where a solution is wrong."""

    __test__: ClassVar[bool] = False
    """pytest takes it for no test."""
    test: str
    unstripped: str = ""
    """The prompt with the white space at its ends, where `prompt` lacks it."""
    setup: str = ""
    """Code that runs before the program."""


P = TypeVar("P", bound=Problem)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of one completion."""

    passed: bool
    reason: str = ""
    """A status of `run.STATUSES`, `matched`, `differs` or `dropped`."""
    detail: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Shares (0 to 1) under the names of the benchmark's metrics. What is not here counts as `passed`."""
    counted: bool = True
    """False: the official scorer leaves this completion out, as if it had not been made."""
    answer: str = ""
    """What the program answered, where a benchmark compares answers."""


Judge = Callable[[Sequence[Run]], Verdict]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """How one completion is judged: what to run, and what the runs mean.

    Nothing is run where `work` is empty; `judge` then is given an empty sequence. The ids of the work are not unique:
    whoever runs it gives it ids, and hands the runs over in the order of the work.
    """

    judge: Judge
    work: tuple[Work, ...] = ()
    until_failure: bool = False
    """Run the next one only where the one before has passed. `judge` is given the runs there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the paper, or the official harness, draws completions for this benchmark."""

    temperature: float = 0.0
    top_p: float = 1.0
    samples: int = 1
    max_tokens: int = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One number of a benchmark's result.

    `pass@k` over verdicts where `k` is given, else the mean of a score. A completion that lacks the score counts as
    its verdict, or, where `optional`, is left out.
    """

    name: str
    score: str = ""
    k: int = 0
    optional: bool = False
    unit: Literal["percent", "number"] = "percent"


PASS_AT_1: Final = Metric(name="pass@1", k=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """A way in which a benchmark can depart from the official recipe, or follow a fault of it."""

    name: str
    values: tuple[str, ...]
    """The first is the default."""
    says: str


class Tools(Protocol):
    """Compilers and interpreters of one language, as `toolchains` has them."""

    @property
    def language(self) -> str: ...

    @property
    def get(self) -> str: ...

    def probe(self) -> Command: ...


class Benchmark(ABC, Generic[P]):
    """A benchmark: an official recipe, versioned. Make one with `benchmarks.benchmark(name, options)`.

    Raises StarsmithError for an option that does not exist, or a value that it does not take.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str] = "1"
    """Counts up when the recipe changes here: results of two versions are not to be compared."""
    recipe: ClassVar[str]
    """Where the recipe comes from, and what it is in one or two sentences."""
    languages: ClassVar[tuple[str, ...]] = ("python",)
    sampling: ClassVar[Sampling] = Sampling()
    metrics: ClassVar[tuple[Metric, ...]] = (PASS_AT_1,)
    known_options: ClassVar[tuple[Option, ...]] = ()
    cut_when_scored: ClassVar[bool] = True
    """Whether the official scorer cuts a completion. False: what a generations file holds is taken as it is."""
    toolchains: ClassVar[Mapping[str, Tools]] = {}
    """By language: what its programs need. Languages that are not here need the interpreter alone."""
    python_packages: ClassVar[tuple[str, ...]] = ()
    """What the interpreter inside the sandbox needs beside the standard library."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self.options = {option.name: option.values[0] for option in self.known_options}
        for key, value in (options or {}).items():
            self._set(key, value)

    def _set(self, key: str, value: str) -> None:
        option = next((each for each in self.known_options if each.name == key), None)
        if option is None:
            known = ", ".join(self.options) or "none"
            raise StarsmithError(f"Benchmark {self.name} has no option {key!r}; it has: {known}.")
        if value not in option.values:
            raise StarsmithError(f"{self.name}: {key} = {value!r}; expected one of {', '.join(option.values)}.")
        self.options[key] = value

    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """Return the official files, in the order in which they are asked for."""

    @abstractmethod
    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[P]:
        """Return the problems of the official rows (key of their source: rows), in their order.

        Raises KeyError, TypeError, ValueError, LookupError for rows that are not this benchmark's; `dataset.load`
        makes an error of these that names the file.
        """

    def truncated(self, problem: P, completion: str) -> str:
        """Return the part of a completion that counts."""
        return cut(completion, problem.stops)

    def reference_work(self, problem: P) -> tuple[Work, ...]:
        """Return what must be run once for a problem before any completion of it is judged; mostly nothing."""
        return ()

    @abstractmethod
    def check(self, problem: P, completion: str, reference: Sequence[Run] = (), *, whole: bool = False) -> Check:
        """Return how to judge a completion, cut already. `reference` are the runs of `reference_work`.

        `whole`: it is not a completion but the whole program, prompt and all. Benchmarks that join nothing to a
        completion make no difference between the two.
        """

    def counted(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """Return the verdicts on a problem's completions that enter the metrics."""
        return [verdict for verdict in verdicts if verdict.counted]

    def value(self, metric: Metric, verdicts: Sequence[Verdict]) -> float | None:
        """Return a metric's value for one problem, 0 to 1; None where it has none, as pass@k of fewer than k."""
        counted = self.counted(verdicts)
        if metric.k:
            passed = sum(_share(verdict, metric) >= 1 for verdict in counted)
            return pass_at_k(len(counted), passed, metric.k) if len(counted) >= metric.k else None
        shares = [
            _share(verdict, metric) for verdict in counted if not metric.optional or metric.score in verdict.scores
        ]
        return sum(shares) / len(shares) if shares else None

    def summary(
        self, problems: Iterable[P], verdicts: Mapping[str, Sequence[Verdict]]
    ) -> dict[str, dict[str, Estimate]]:
        """Return group -> metric -> estimate over the problems that have verdicts; the group "" is all of them."""
        values: dict[str, dict[str, list[float]]] = {}
        for problem in problems:
            for metric in self.metrics if problem.id in verdicts else ():
                value = self.value(metric, verdicts[problem.id])
                for group in {"", problem.group} if value is not None else ():
                    values.setdefault(group, {}).setdefault(metric.name, []).append(value)  # type: ignore[arg-type]
        return {
            group: {name: estimate(found) for name, found in by_name.items()}
            for group, by_name in sorted(values.items())
        }


def _share(verdict: Verdict, metric: Metric) -> float:
    return verdict.scores.get(metric.score, float(verdict.passed))


def cut(text: str, stops: Sequence[str]) -> str:
    """Return `text` up to the first place where one of `stops` begins.

    >>> cut("return 1\\ndef g():", ["\\nclass", "\\ndef"])
    'return 1'
    """
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def limits(seconds: float, **other: Any) -> Limits:
    """Return limits whose processor time is an official harness's wall time."""
    chosen = {"wall_seconds": max(15.0, WALL_FACTOR * seconds), "own_seconds": OWN_FACTOR * seconds} | other
    return Limits(cpu_seconds=seconds, **chosen)


BESIDE: Final = Option(
    name="test",
    values=("apart", "beside"),
    says="apart: the official test runs in a process of its own, so that a program cannot forge a pass. "
    "beside: in the program's process, as the official harness does it.",
)


def by_its_test(source: str, problem: TestedProblem, *, seconds: float, where: str) -> Check:
    """Return the check of a Python program by its official test; `where` is the value of the option `test`."""
    program = Program(id=problem.id, source=source, test=problem.test, beside=where == "beside", limits=limits(seconds))
    return Check(work=(program,), judge=of_run)


def of_run(runs: Sequence[Run]) -> Verdict:
    """Judge by the first run alone: it passed, or it did not."""
    run = runs[0]
    return Verdict(passed=run.status == "passed", reason=run.status, detail=run.detail)


def matched(*, passed: bool, **scores: float) -> Check:
    """Return the check of a completion that is compared with a text, for which nothing is run."""
    verdict = Verdict(passed=passed, reason="matched" if passed else "differs", scores=scores)
    return Check(judge=lambda runs: verdict)

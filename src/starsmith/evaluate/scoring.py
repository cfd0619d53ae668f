"""Scoring: a file of generations and a benchmark's official files in, a result's folder out.

Joins the parts of this package and decides no verdict. A run that was killed goes on where it was: verdicts lie in a
file as they come, under digests of what they depend on. Equal completions of a problem are run once.
"""

import fcntl
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from starsmith.disk import disk_errors
from starsmith.errors import StarsmithError
from starsmith.evaluate import provenance, references, surroundings
from starsmith.evaluate.bubblewrap import Interpreter, code_digest, interpreter
from starsmith.evaluate.dataset import Data, load
from starsmith.evaluate.generations import Generation, Generations
from starsmith.evaluate.judging import Asked, Judging
from starsmith.evaluate.problem import Benchmark, Check, Problem, Verdict
from starsmith.evaluate.references import References
from starsmith.evaluate.result import Result, Score
from starsmith.evaluate.run import Limits, Run
from starsmith.evaluate.sandbox import Sandbox
from starsmith.evaluate.surroundings import Surroundings
from starsmith.evaluate.verdict_file import Judged, VerdictFile
from starsmith.fingerprint import fingerprint
from starsmith.plain_file import open_plain
from starsmith.progress import Reporter, StageProgress

VERDICTS_FILE: Final = "verdicts.jsonl"
UNREADABLE: Final = "unreadable"
"""The reason of a completion that cannot be judged, because of what the file of generations has in its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to be scored, and how."""

    benchmark: Benchmark[Any]
    data: Path
    generations: Path
    out: Path
    problems: Sequence[str] = ()
    """Ids; none means all."""
    first: int | None = None
    """Only so many problems, from the first on."""
    samples: int | None = None
    """Only so many completions a problem."""
    workers: int = 1
    python: Path | None = None
    unsafe: bool = False
    command: Sequence[str] = ()
    """What the user typed, for the record."""


@dataclass(kw_only=True, slots=True)
class Plan:
    """What a file of generations asks for: keys of completions by problem, in the order of the file."""

    keys: dict[str, list[str]] = field(default_factory=dict)
    faults: dict[tuple[str, int], str] = field(default_factory=dict)
    """Problem and number of a completion that cannot be judged."""

    @property
    def distinct(self) -> dict[str, str]:
        """Key: problem, of all that can be judged."""
        return {key: task for task, keys in self.keys.items() for key in keys if key}


def score(job: Job, reporter: Reporter) -> Result:
    """Judge every completion that has no verdict yet, write the result into the folder, and return it.

    Raises StarsmithError for whatever a user can mend: files that cannot be read or are not the benchmark's, a folder
    with verdicts of another kind, a sandbox that cannot be had, a full disk.
    """
    made = job.benchmark
    problems, data = load(made.sources(), job.data, benchmark=made.title, make=made.problems)
    chosen = chosen_problems(problems, job.benchmark, job.problems, job.first)
    python = interpreter(job.python)
    with _held(job.out), _unsafe_told(job, reporter):
        around = surroundings.look(made, chosen, python, unsafe=job.unsafe)
        scored = [problem for problem in chosen if problem.language not in around.missing]
        if not scored:
            raise StarsmithError(f"Nothing of {made.title} can be run here. {' '.join(around.warnings())}")
        made_of = {problem.id: _settings_of(problem, job, data, around) for problem in scored}
        generations = Generations(job.generations, [problem.id for problem in scored], samples=job.samples)
        plan = _planned(generations, made_of)
        for told in (*data.warnings, *around.warnings(), *generations.report.warnings()):
            reporter.note(f"Warning: {told}")
        digest = _sha256(job.generations)
        inputs = _Inputs(
            problems=problems,
            chosen=chosen,
            scored=scored,
            data=data,
            generations=generations,
            plan=plan,
            around=around,
            digest=digest,
            provenance=_provenance(job.generations, digest),
        )
        with VerdictFile(job.out / VERDICTS_FILE, _settings(job, data)) as verdicts:
            _Run(job, inputs, made_of, verdicts).go(python, reporter)
            tasks = _tasks(inputs, verdicts.found)
    result = _result(job, inputs, tasks)
    result.write(job.out)
    return result


def chosen_problems(
    problems: Sequence[Problem], made: Benchmark[Any], ids: Sequence[str], first: int | None
) -> Sequence[Problem]:
    """Return the problems that have these ids, or all where there are none; of these the `first` many.

    Raises StarsmithError for an id that the benchmark does not have.
    """
    known = {problem.id: problem for problem in problems}
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise StarsmithError(f"{made.title} has no problem {unknown[0]!r}; its ids look like {next(iter(known))}.")
    wanted = set(ids)
    return [problem for problem in problems if problem.id in wanted or not wanted][:first]


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a result's folder. The kernel lets go of it when this process dies, however it dies."""
    with disk_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StarsmithError(
                f"Another process is scoring into {folder}. Wait for it to end, or choose another folder."
            ) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _unsafe_told(job: Job, reporter: Reporter) -> Iterator[None]:
    """Say once, in the words of this command, that there is no sandbox."""
    if job.unsafe:
        reporter.note("Warning: programs run WITHOUT a sandbox: they can read, change and send what you can.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Programs run WITHOUT")
        yield


def _settings(job: Job, data: Data) -> Mapping[str, Any]:
    """Return what all verdicts of a folder have in common."""
    return {
        "benchmark": job.benchmark.name,
        "options": dict(job.benchmark.options),
        "data": sorted(file.digest for file in data.files),
        "isolated": not job.unsafe,
    }


def _settings_of(problem: Problem, job: Job, data: Data, around: Surroundings) -> str:
    """Return a digest of all that the verdicts on a problem depend on beside the completion."""
    return fingerprint(
        {
            **_settings(job, data),
            "version": job.benchmark.version,
            "sandbox": code_digest(),
            "limits": asdict(Limits()),
            "interpreter": around.interpreter,
            "packages": dict(around.packages),
            "tools": around.tools.get(problem.language, ""),
            "problem": problem.id,
        }
    )


def _of_references(job: Job, inputs: "_Inputs") -> str:
    """Return a digest of what the runs of all official solutions depend on."""
    return fingerprint(
        {
            "benchmark": job.benchmark.name,
            "version": job.benchmark.version,
            "data": sorted(file.digest for file in inputs.data.files),
            "interpreter": inputs.around.interpreter,
            "packages": dict(inputs.around.packages),
            "sandbox": code_digest(),
            "isolated": not job.unsafe,
        }
    )


def _key(settings: str, generation: Generation) -> str:
    text = f"{settings} {generation.whole:d} {generation.text}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _planned(generations: Generations, settings: Mapping[str, str]) -> Plan:
    """Read the file once: what is wrong with it is found before anything runs."""
    plan = Plan()
    for each in generations:
        if each.fault:
            plan.faults[each.task, each.number] = each.fault
        key = "" if each.fault else _key(settings[each.task], each)
        plan.keys.setdefault(each.task, []).append(key)
    if not plan.keys:
        raise StarsmithError("The file of generations has none for a problem of this benchmark.")
    return plan


def _provenance(generations: Path, digest: str) -> Mapping[str, Any] | None:
    known = provenance.read(generations)
    if known and known.get("sha256", digest) != digest:
        where = provenance.place(generations)
        raise StarsmithError(f"{where} is not about {generations} as it is now. Remove it to score without a record.")
    return known


def _sha256(path: Path) -> str:
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Run:
    """One run of the sandbox over what has no verdict yet."""

    def __init__(self, job: Job, inputs: "_Inputs", settings: Mapping[str, str], verdicts: VerdictFile) -> None:
        self._job, self._settings, self._verdicts = job, settings, verdicts
        self._problems = {problem.id: problem for problem in inputs.scored}
        self._all = inputs.plan.distinct
        self._references = References(_of_references(job, inputs), references.cache_folder())

    def go(self, python: Interpreter, reporter: Reporter) -> None:
        todo = {key: task for key, task in self._all.items() if key not in self._verdicts.found}
        lacking = [self._problems[task] for task in dict.fromkeys(todo.values()) if self._reference(task) is None]
        with reporter.stage("execution", total=len(self._all) + len(lacking)) as progress, ExitStack() as stack:
            job = self._job
            box = Sandbox(workers=job.workers, python=Path(python.path), unsafe=job.unsafe)
            opened = cache(lambda: stack.enter_context(box))
            progress.advance(len(self._all) - len(todo))
            official = (self._official(problem) for problem in lacking)
            Judging(official, lambda key, judged: progress.advance(1)).in_sandbox(opened)
            Judging(self._asked(todo), partial(self._done, progress)).in_sandbox(opened)

    def _done(self, progress: StageProgress, key: str, judged: Judged) -> None:
        self._verdicts.add(key, judged)
        progress.advance(1)

    def _reference(self, task: str) -> Sequence[Run] | None:
        problem = self._problems[task]
        work = self._job.benchmark.reference_work(problem)
        return self._references.find(references.key(problem.id, work)) if work else ()

    def _official(self, problem: Problem) -> Asked:
        """Return the official solution's work as if it were a completion, whose runs are kept."""
        work = self._job.benchmark.reference_work(problem)
        key = references.key(problem.id, work)

        def keep(runs: Sequence[Run]) -> Verdict:
            self._references.keep(key, runs)
            return Verdict(passed=True)

        return Asked(key=key, task=problem.id, check=Check(work=work, judge=keep))

    def _asked(self, todo: Mapping[str, str]) -> Iterator[Asked]:
        begun: set[str] = set()
        made = self._job.benchmark
        for each in Generations(self._job.generations, list(self._problems), samples=self._job.samples):
            key = "" if each.fault else _key(self._settings[each.task], each)
            if key not in todo or key in begun:
                continue
            begun.add(key)
            problem = self._problems[each.task]
            text = made.truncated(problem, each.text) if made.cut_when_scored and not each.whole else each.text
            check = made.check(problem, text, self._reference(each.task) or (), whole=each.whole)
            yield Asked(key=key, task=each.task, check=check)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Inputs:
    """What was read, for the record."""

    problems: Sequence[Problem]
    chosen: Sequence[Problem]
    scored: Sequence[Problem]
    data: Data
    generations: Generations
    plan: Plan
    around: Surroundings
    digest: str
    """SHA-256 of the file of generations."""
    provenance: Mapping[str, Any] | None


def _tasks(inputs: _Inputs, found: Mapping[str, Judged]) -> dict[str, list[Judged]]:
    """Return the verdicts by problem, in the order of problems and of their completions."""
    plan = inputs.plan
    return {
        problem.id: [
            found[key] if key else _unreadable(problem.id, plan.faults[problem.id, number])
            for number, key in enumerate(plan.keys[problem.id])
        ]
        for problem in inputs.scored
        if problem.id in plan.keys
    }


def _unreadable(task: str, fault: str) -> Judged:
    return Judged(task=task, verdict=Verdict(passed=False, reason=UNREADABLE, detail=fault))


def _result(job: Job, inputs: _Inputs, tasks: Mapping[str, Sequence[Judged]]) -> Result:
    made = job.benchmark
    units = {metric.name: metric.unit for metric in made.metrics}
    verdicts = {task: [judged.verdict for judged in found] for task, found in tasks.items()}
    estimates = made.summary(inputs.scored, verdicts)
    return Result(
        benchmark=made.name,
        title=made.title,
        version=made.version,
        options=made.options,
        scores=[
            Score.of(group, metric, units[metric], estimate)
            for group, found in estimates.items()
            for metric, estimate in found.items()
        ],
        tasks=tasks,
        warnings=[*inputs.data.warnings, *inputs.around.warnings(), *inputs.generations.report.warnings()],
        record=_record(job, inputs, tasks),
    )


def _record(job: Job, inputs: _Inputs, tasks: Mapping[str, Sequence[Judged]]) -> Mapping[str, Any]:
    judged = [each for found in tasks.values() for each in found]
    return {
        "command": list(job.command),
        "recipe": job.benchmark.recipe,
        "problems": {
            "all": len(inputs.problems),
            "chosen": len(inputs.chosen),
            "judged": len(tasks),
            "complete": len(tasks) == len(inputs.problems),
        },
        "generations": {
            "file": str(job.generations),
            "sha256": inputs.digest,
            "samples": job.samples,
            "provenance": inputs.provenance,
        },
        "data": [asdict(file) for file in inputs.data.files],
        "sandbox": {
            "isolated": not job.unsafe,
            "limits": asdict(Limits()),
            "judged_beside": sum(each.beside for each in judged),
        },
        **inputs.around.plain(),
    }

"""Completions at work: which program runs next, and what becomes of a completion once its programs have run.

Knows nothing of files. Completions come in one at a time as they are asked for, so that however many there are, no more
than a sandbox has workers are held here.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from starsmith.evaluate.problem import Check, Verdict, Work
from starsmith.evaluate.run import Program, Run
from starsmith.evaluate.sandbox import Sandbox
from starsmith.evaluate.verdict_file import LONGEST_DETAIL, Judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A completion to be judged, under a key of whoever asks."""

    key: str
    task: str
    check: Check


@dataclass(kw_only=True, slots=True)
class _AtWork:
    asked: Asked
    work: Sequence[Work]
    runs: dict[int, Run] = field(default_factory=dict)
    beside: bool = False

    def verdict(self) -> Verdict:
        return self.asked.check.judge([self.runs[number] for number in sorted(self.runs)])

    def judged(self, verdict: Verdict) -> Judged:
        runs = self.runs.values()
        return Judged(
            task=self.asked.task,
            verdict=replace(verdict, detail=verdict.detail[:LONGEST_DETAIL], answer=verdict.answer[:LONGEST_DETAIL]),
            beside=self.beside,
            cpu_seconds=round(sum(run.cpu_seconds for run in runs), 3),
            wall_seconds=round(sum(run.wall_seconds for run in runs), 3),
            memory_bytes=max(run.memory_bytes for run in runs),
        )


class Judging(Iterator[Work]):
    """Programs to run, as an iterator for `Sandbox.run`; what became of each goes to `take`.

    More programs may follow after its end, where one that has just run calls for another: the sandbox asks again.

    Args:
        asked: the completions.
        done: called with each key and its verdict.
    """

    def __init__(self, asked: Iterator[Asked], done: Callable[[str, Judged], None]) -> None:
        self._asked, self._done = asked, done
        self._ready: deque[Work] = deque()
        self._at_work: dict[str, _AtWork] = {}
        self._begun = 0

    def __next__(self) -> Work:
        while not self._ready:
            asked = next(self._asked)
            if asked.check.work:
                self._begin(_AtWork(asked=asked, work=asked.check.work))
            else:
                self._done(asked.key, Judged(task=asked.task, verdict=asked.check.judge(())))
        return self._ready.popleft()

    def in_sandbox(self, opened: Callable[[], Sandbox]) -> None:
        """Run everything; the sandbox is opened where there is a program to run at all."""
        first = next(self, None)
        if first is None:
            return
        self._ready.appendleft(first)
        for run in opened().run(self):
            self.take(run)

    def take(self, run: Run) -> None:
        """Take in what became of a program."""
        name, _, number = run.id.rpartition("|")
        at_work = self._at_work[name]
        at_work.runs[int(number)] = run
        more = int(number) + 1
        if at_work.asked.check.until_failure and run.status == "passed" and more < len(at_work.work):
            self._put(name, at_work.work[more], more)
        elif at_work.asked.check.until_failure or len(at_work.runs) == len(at_work.work):
            del self._at_work[name]
            self._end(at_work)

    def _end(self, at_work: _AtWork) -> None:
        verdict = at_work.verdict()
        beside = () if at_work.beside or verdict.reason != "unjudged" else _beside(at_work.work)
        if beside:
            self._begin(_AtWork(asked=at_work.asked, work=beside, beside=True))
        else:
            self._done(at_work.asked.key, at_work.judged(verdict))

    def _begin(self, at_work: _AtWork) -> None:
        self._begun += 1
        name = str(self._begun)
        self._at_work[name] = at_work
        for number, work in enumerate(at_work.work[:1] if at_work.asked.check.until_failure else at_work.work):
            self._put(name, work, number)

    def _put(self, name: str, work: Work, number: int) -> None:
        self._ready.append(replace(work, id=f"{name}|{number}"))


def _beside(work: Sequence[Work]) -> Sequence[Work]:
    """Return the work with tests beside their programs; nothing where no test would run otherwise."""
    if not any(isinstance(each, Program) and each.test and not each.beside for each in work):
        return ()
    return [replace(each, beside=True) if isinstance(each, Program) and each.test else each for each in work]

"""Progress: what a build tells the person who waits for it.

Bars on a terminal, one line per finished stage elsewhere, nothing with `quiet`. All of it goes to standard error, so
that standard output carries results alone.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Protocol


class Reporter(Protocol):
    """Where stages report to."""

    def stage(self, name: str, *, total: int) -> "StageProgress": ...

    def query(self, name: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Yield what is called with (tasks done, tasks known) of a query, if its engine says how far it has come."""
        ...

    def note(self, text: str) -> None: ...


class StageProgress:
    """One stage at work; `advance` is called with the number of documents (or queries) just done."""

    def __init__(self, advance: Callable[[int], None], finish: Callable[[float], None]) -> None:
        self.advance = advance
        self._finish = finish
        self._started = time.perf_counter()

    def __enter__(self) -> "StageProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish(time.perf_counter() - self._started)


class Quiet:
    """Says nothing."""

    def stage(self, name: str, *, total: int) -> StageProgress:
        return StageProgress(lambda count: None, lambda seconds: None)

    def query(self, name: str) -> AbstractContextManager[Callable[[int, int], None]]:
        return nullcontext(lambda done, known: None)

    def note(self, text: str) -> None:
        return None


class Lines:
    """One line per finished stage and note, for logs."""

    def stage(self, name: str, *, total: int) -> StageProgress:
        return StageProgress(lambda count: None, lambda seconds: self.note(f"{name}: {total:,} in {seconds:.1f} s"))

    def query(self, name: str) -> AbstractContextManager[Callable[[int, int], None]]:
        return nullcontext(lambda done, known: None)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)


class Bars:
    """Live bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )

    def stage(self, name: str, *, total: int) -> StageProgress:
        task = self._progress.add_task(name, total=max(total, 1))

        def finish(seconds: float) -> None:
            self._progress.update(task, total=max(total, 1), completed=max(total, 1))

        return StageProgress(lambda count: self._progress.advance(task, count), finish)

    @contextmanager
    def query(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Show a bar for as long as the query runs; there are dozens in a build."""
        task = self._progress.add_task(name, total=None, visible=False)
        try:
            yield lambda done, known: self._progress.update(task, completed=done, total=max(known, 1), visible=True)
        finally:
            self._progress.remove_task(task)

    def note(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


@contextmanager
def reporter(*, quiet: bool) -> Iterator[Reporter]:
    """Yield what suits standard error: nothing, bars, or lines."""
    if quiet:
        yield Quiet()
    elif sys.stderr.isatty():
        with Bars() as bars:
            yield bars
    else:
        yield Lines()

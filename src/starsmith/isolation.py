"""Isolation: finding the one document on which a native library crashes or never ends.

Work on a batch is first done in the worker itself, under an allowance of processor time. When that kills the worker or
raises, the batch is done again in child processes and halved until the documents at fault stand alone. The allowance is
processor time, not time on the wall, so that a busy machine changes no verdict; a document that uses it up is still
reported as `stalled`, and the caller must not cache that.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import pyarrow as pa

Result = TypeVar("Result")

ALLOWANCE_SECONDS = 30.0
ALLOWANCE_SECONDS_PER_MB = 5.0
"""An annotate batch takes about 0.05 s of processor time per MB; the slowest real file measured took 0.4 s per MB."""


def allowance(size: int) -> float:
    """Return the seconds of processor time that `size` bytes of content may take."""
    return ALLOWANCE_SECONDS + ALLOWANCE_SECONDS_PER_MB * size / 1e6


def end_with_parent() -> None:
    """Let this worker process die with the process that started it, and leave Ctrl-C to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_await_end_of_parent, daemon=True).start()


def _await_end_of_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Not an exit: native code in another thread must not keep this process alive.
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """End this process, however deep in native code it is, once the block has used `seconds` of processor time."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class Isolated(Generic[Result]):
    """Runs `function(batch)` in a child process. `poisoned(batch, reason, detail)` makes the result for one bad row.

    The function must not depend on which rows share a batch, and must be importable by the child.
    """

    def __init__(
        self,
        function: Callable[[pa.RecordBatch], Result],
        poisoned: Callable[[pa.RecordBatch, str, str], Result],
        warm: Callable[[], object],
    ) -> None:
        self._function, self._poisoned, self._warm = function, poisoned, warm
        self._child: tuple[multiprocessing.process.BaseProcess, Connection] | None = None

    def trusting(self, batch: pa.RecordBatch) -> Iterator[Result]:
        """Do a batch in this process; where that raises, find the row at fault in children."""
        try:
            with processor_time(allowance(batch.nbytes)):
                result = self._function(batch)
        except Exception:  # noqa: BLE001 (the children do the batch again and record what each row provokes)
            yield from self.results(batch)
        else:
            yield result

    def results(self, batch: pa.RecordBatch) -> Iterator[Result]:
        """Yield the results of the halves of `batch`, in order, as large as they could be had."""
        answer, value = self._try(batch)
        if answer == "stalled" and batch.num_rows == 1:
            # What depends on the machine is tried again before it is held against a document.
            answer, value = self._try(batch)
        if answer == "done":
            yield value
        elif batch.num_rows == 1:
            yield self._poisoned(batch, answer, value)
        else:
            half = batch.num_rows // 2
            yield from self.results(batch.slice(0, half))
            yield from self.results(batch.slice(half))

    def _try(self, batch: pa.RecordBatch) -> tuple[str, Any]:
        process, pipe = self._running()
        try:
            pipe.send(batch)
            answer, value = pipe.recv()
            return answer, value
        except (EOFError, OSError):
            process.join()
            self._child = None
            if process.exitcode == -signal.SIGKILL:
                return "stalled", "the system ended the process, as it does when memory runs out"
            if process.exitcode == -signal.SIGPROF:
                return "stalled", f"more than {allowance(batch.nbytes):.0f} s of processor time"
            return "crashed", f"the process ended with exit code {process.exitcode}"

    def _running(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        if self._child is None:
            context = multiprocessing.get_context("spawn")
            near, far = context.Pipe()
            process = context.Process(target=_serve, args=(far, self._function, self._warm))
            process.start()
            far.close()
            self._child = process, near
        return self._child

    def close(self) -> None:
        if self._child is not None:
            process, pipe = self._child
            pipe.close()
            process.join()
            self._child = None


def _serve(pipe: Connection, function: Callable[[pa.RecordBatch], Any], warm: Callable[[], object]) -> None:
    end_with_parent()
    # Loading compiled kernels takes seconds on the first call, which no document should be charged for.
    warm()
    while True:
        try:
            batch = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            with processor_time(allowance(batch.nbytes)):
                answer = "done", function(batch)
        except MemoryError:
            answer = "stalled", "memory ran out"
        except Exception as error:  # noqa: BLE001 (whatever a document provokes is recorded with it)
            answer = "crashed", f"{type(error).__name__}: {error}"[:500]
        pipe.send(answer)

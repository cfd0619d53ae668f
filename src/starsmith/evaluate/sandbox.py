"""The sandbox: hostile programs in, what became of each out.

A worker is one fork server under bubblewrap. It runs one program at a time; a worker that dies is started again, and
its program is tried once more. Nothing that a program hands over is believed but its output and its values.
"""

import dataclasses
import json
import selectors
import signal
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from starsmith.errors import StarsmithError
from starsmith.evaluate import bubblewrap
from starsmith.evaluate.inside import frames, wire
from starsmith.evaluate.run import Command, Limits, Output, Program, Run, Status

LARGEST_SOURCE = 16 << 20
"""Characters. A longer program is not run at all: the compiler alone would take gigabytes."""

_LARGEST_ANSWER = 512 << 20
_START_SECONDS = 60.0
_GRACE_SECONDS = 60.0
"""What the server may take above the program's own time before it counts as dead, on a machine however loaded."""

Work = Program | Command

_LIMITS_BY_EXCEPTION: dict[str, Status] = {"MemoryError": "memory", "BlockingIOError": "processes"}
_LIMITS_BY_TEXT: tuple[tuple[str, Status], ...] = (
    ("[Errno 11]", "processes"),
    ("can't start new thread", "processes"),
    ("[Errno 12]", "memory"),
    ("[Errno 23]", "files"),
    ("[Errno 24]", "files"),
    ("[Errno 27]", "disk"),
    ("[Errno 28]", "disk"),
)


class Sandbox:
    """A place to run programs that nobody has read. Use it in a `with` statement.

    Args:
        limits: of every program that brings none of its own.
        workers: programs at a time.
        python: the interpreter; by default this one where an unprivileged user can run it, else the system's.
        unsafe: run without isolation, under limits only. Warns; `isolated` then is False and belongs in the result.

    Raises StarsmithError where the sandbox cannot be had, and says how to mend it.
    """

    def __init__(
        self, *, limits: Limits | None = None, workers: int = 1, python: Path | None = None, unsafe: bool = False
    ) -> None:
        self.limits = limits or Limits()
        self.isolated = not unsafe
        self.interpreter = bubblewrap.interpreter(python)
        if unsafe:
            warnings.warn("Programs run WITHOUT a sandbox: they can read, change and send what you can.", stacklevel=2)
        self._workers = [Worker(self) for _ in range(workers)]

    def __enter__(self) -> "Sandbox":
        try:
            for worker in self._workers:
                worker.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every worker, and with it whatever runs in it."""
        for worker in self._workers:
            worker.end()

    def processes(self) -> list[int]:
        """Return the numbers of the workers' first processes, as they are now."""
        return [worker.process for worker in self._workers]

    def run(self, work: Iterable[Work]) -> Iterator[Run]:
        """Yield what became of each program, as they end. `work` is read only as far as there are workers."""
        waiting, idle = iter(work), list(self._workers)
        with selectors.DefaultSelector() as selector:
            try:
                while True:
                    yield from self._fill(idle, waiting, selector)
                    if not selector.get_map():
                        return
                    for worker in self._ready(selector):
                        selector.unregister(worker.channel)
                        run = worker.answer()
                        if run is None:
                            selector.register(worker.channel, selectors.EVENT_READ, worker)
                            continue
                        idle.append(worker)
                        yield run
            finally:
                # Whoever stops asking leaves programs running; their workers are not to be asked again.
                for worker in self._workers:
                    if worker.busy:
                        worker.restart()

    def _fill(self, idle: "list[Worker]", waiting: Iterator[Work], selector: selectors.BaseSelector) -> Iterator[Run]:
        while idle:
            work = next(waiting, None)
            if work is None:
                return
            if isinstance(work, Program) and len(work.source) + len(work.test) > LARGEST_SOURCE:
                yield Run(id=work.id, status="exception", detail=f"a source of more than {LARGEST_SOURCE} characters")
                continue
            worker = idle.pop()
            worker.ask(work)
            selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _ready(self, selector: selectors.BaseSelector) -> "list[Worker]":
        patience = max(worker.limits.wall_seconds for worker in self._workers if worker.busy) + _GRACE_SECONDS
        ready = [key.data for key, _ in selector.select(patience)]
        return ready or [key.data for key in selector.get_map().values()]


class Worker:
    """One fork server and the program it is at."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._started: bubblewrap.Started | None = None
        self._work: Work | None = None
        self._tries = 0
        self.limits = sandbox.limits

    @property
    def busy(self) -> bool:
        return self._work is not None

    @property
    def channel(self) -> Any:
        assert self._started is not None
        return self._started.channel

    @property
    def process(self) -> int:
        assert self._started is not None
        return self._started.process.pid

    def start(self) -> None:
        """Start the server and wait until it is warm."""
        self._started = bubblewrap.start(self._sandbox.interpreter, isolated=self._sandbox.isolated)
        try:
            self._received(_START_SECONDS)
        except frames.Ended:
            error = bubblewrap.failure(self._started)
            self.end()
            raise error from None

    def end(self) -> None:
        if self._started is not None:
            self._started.end()
            self._started = None

    def restart(self) -> None:
        self._work = None
        self.end()
        self.start()

    def ask(self, work: Work) -> None:
        """Hand a program to the server."""
        self._work, self._tries = work, self._tries + 1
        self.limits = work.limits or self._sandbox.limits
        request = json.dumps(_request(work, self.limits)).encode("ascii")
        try:
            self.channel.settimeout(None)
            frames.send(self.channel.fileno(), request)
        except frames.Ended:
            # Noticed again when the answer is read.
            return

    def answer(self) -> Run | None:
        """Return what became of the program; None where it is being tried again in a new server."""
        work = self._work
        assert work is not None
        try:
            answer = json.loads(self._received(_START_SECONDS))
        except (frames.Ended, ValueError):
            self.restart()
            if self._tries == 1:
                self.ask(work)
                return None
            self._tries = 0
            return Run(id=work.id, status="killed", detail="the sandbox around it died, twice")
        self._work, self._tries = None, 0
        return judged(work, answer, self.limits)

    def _received(self, seconds: float) -> bytes:
        """Read a message from the server. What does not come in time has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise frames.Ended("no answer")
        return frames.receive(self.channel.fileno(), limit=_LARGEST_ANSWER)


def _request(work: Work, limits: Limits) -> dict[str, Any]:
    request: dict[str, Any] = {"limits": dataclasses.asdict(limits), "stdin": work.stdin.decode("latin-1")}
    if isinstance(work, Command):
        files = {name: content.decode("latin-1") for name, content in work.files.items()}
        return request | {"mode": "command", "steps": work.steps, "files": files, "environment": work.environment}
    request |= {"source": work.source, "test": work.test, "entry_point": work.entry_point}
    if work.entry_point:
        calls = wire.dumps(list(work.calls), keep=_refused).decode("ascii")
        return request | {"mode": "calls", "calls": calls}
    return request | {"mode": "apart" if work.test and not work.beside else "beside"}


def _refused(value: object) -> int:
    raise StarsmithError(f"An argument of type {type(value).__name__} cannot be handed to a judged program.")


def judged(work: Work, answer: dict[str, Any], limits: Limits) -> Run:
    """Return the verdict on a program from what the server saw of it."""
    messages = frames.split(answer["said"].encode("latin-1"))
    status, detail, outputs, code = _by_end(answer, limits)
    try:
        if not answer["cut"] and messages:
            if isinstance(work, Command):
                status, detail, code = _by_steps(work, messages)
            elif work.entry_point:
                status, detail, outputs = _by_outputs(work, messages, (status, detail))
            else:
                status, detail = _by_message(messages[0], answer["nonce"])
    except (wire.Unreadable, ValueError, TypeError):
        status, detail = "killed", "what it handed over cannot be read"
    return Run(
        id=work.id,
        status=status,
        detail=detail[:500],
        stdout=answer["stdout"].encode("latin-1"),
        stderr=answer["stderr"].encode("latin-1"),
        outputs=outputs,
        exit_code=code,
        cpu_seconds=answer["cpu_seconds"],
        wall_seconds=answer["wall_seconds"],
        memory_bytes=answer["memory_bytes"],
    )


def _by_end(answer: dict[str, Any], limits: Limits) -> tuple[Status, str, tuple[Output, ...], int | None]:
    """Return what the end of the process alone says: never that the program passed."""
    cut, code = answer["cut"], answer["code"]
    if cut:
        return cut, _CUT[cut], (), None
    if code == -signal.SIGKILL and answer["cpu_seconds"] > limits.cpu_seconds:
        return "timeout", "it used up its processor time", (), code
    if code < 0:
        return *_by_signal(-code), (), code
    return "exited", f"it ended itself with exit code {code}", (), code


_CUT = {
    "timeout": "it used up its time",
    "memory": "its processes held more memory than they may",
    "output": "it wrote more than it may",
}


def _by_signal(number: int) -> tuple[Status, str]:
    if number == signal.SIGSYS:
        return "violation", "it made a forbidden system call"
    if number == signal.SIGXCPU:
        return "timeout", "it used up its processor time"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return "killed", f"ended by {name}"


def _by_fault(stage: str, fault: object) -> tuple[Status, str]:
    name, text = ("", "") if not (isinstance(fault, tuple) and len(fault) == 2) else map(str, fault)
    detail = f"{name}: {text}" if text else name
    if name == "Unjudged":
        return "unjudged", text
    if name == "Forged":
        return "violation", text
    if name == "AssertionError":
        return "wrong" if stage == "test" else "exception", detail
    if name in _LIMITS_BY_EXCEPTION:
        return _LIMITS_BY_EXCEPTION[name], detail
    return next((status for start, status in _LIMITS_BY_TEXT if text.startswith(start)), "exception"), detail


def _by_message(message: bytes, nonce: str) -> tuple[Status, str]:
    said, stage, fault = wire.loads(message)
    if said != nonce:
        return "violation", "it tried to forge a verdict"
    return ("passed", "") if fault is None else _by_fault(stage, fault)


def _by_outputs(
    work: Program, messages: list[bytes], end: tuple[Status, str]
) -> tuple[Status, str, tuple[Output, ...]]:
    """Return `passed` where every call gave something; whether that is right is for the caller to say."""
    fault, *results = map(wire.loads, messages)
    if fault is not None:
        return *_by_fault("program", fault), ()
    outputs = tuple(
        Output(value=value) if raised is None else Output(raised=str(raised[0])) for value, raised in results
    )
    if len(outputs) < len(work.calls):
        return *end, outputs
    return "passed", "", outputs[: len(work.calls)]


def _by_steps(work: Command, messages: list[bytes]) -> tuple[Status, str, int]:
    number, code = wire.loads(messages[0])
    if code == 0:
        return "passed", "", 0
    which = f"step {number + 1} of {len(work.steps)}"
    if code < 0:
        status, detail = _by_signal(-code)
        return status, f"{which}: {detail}", code
    return "exception", f"{which} ended with exit code {code}", code

"""The process of a judged program: it runs the source, then whatever is asked of it.

From the first line of the source on, nothing this process says can be trusted. What it says is therefore only ever
believed against itself, but for `run_beside`, which docs/explanation/sandbox.md is frank about.
"""

import builtins
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from starsmith.evaluate.inside import fair, frames, wire

LARGEST_MESSAGE = 64 << 20
Namespace = dict[str, Any]
Fault = tuple[str, str]
"""The name of an exception's type, and its text."""


def named(error: BaseException) -> Fault:
    """Return what an exception is called and says, however it was made."""
    try:
        text = str(error)[:400]
    except BaseException as second:  # noqa: BLE001 (an exception of the program may fail at anything)
        text = f"(its text raised {type(second).__name__})"
    return type(error).__name__[:100], text


def shown(error: BaseException) -> None:
    """Print a traceback to stderr as Python would."""
    try:
        traceback.print_exception(error, limit=20)
    except BaseException:  # noqa: BLE001 (as above; the traceback is only there to be read)
        os.write(2, b"(the traceback cannot be shown)\n")


def main_module() -> Namespace:
    """Return the namespace of a new, empty `__main__`."""
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    return module.__dict__


def flushed() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001 (the program may have replaced or closed it; what is lost is its own)
            os.write(2, b"")


def leave(code: object) -> None:
    """End this process with the code that `sys.exit(code)` would give."""
    flushed()
    os._exit(code & 255 if isinstance(code, int) else int(code is not None))


def attempted(action: Callable[[], Any]) -> tuple[Any, Fault | None]:
    """Return what `action` returned, and the fault instead if it raised. An exit ends the process."""
    try:
        return action(), None
    except SystemExit as error:
        leave(error.code)
        raise
    except BaseException as error:  # noqa: BLE001 (whatever a program raises is recorded with it)
        shown(error)
        return None, named(error)


def executed(code: Callable[[], types.CodeType], namespace: Namespace) -> Fault | None:
    """Run in a namespace what `code` compiles. Returns what either raised."""

    def run() -> None:
        exec(code(), namespace)  # noqa: S102

    return attempted(run)[1]


def compiled(source: str) -> types.CodeType:
    """Return the code of a program."""
    return compile(source, "<program>", "exec", dont_inherit=True)


def only_this_process() -> Callable[[], None]:
    """Return what ends every process but the present one: of a program that forks, each copy goes on to its verdict."""
    present, current, leave_now = os.getpid(), os.getpid, os._exit

    def end_others() -> None:
        if current() != present:
            leave_now(0)

    return end_others


def run_beside(source: str, test: Callable[[], types.CodeType] | None, *, nonce: int, status: int) -> None:
    """Run the source, then its test, in this process; then say the nonce, which is not in memory until then."""
    namespace = main_module()
    own, end_others = dict(builtins.__dict__), only_this_process()
    fault, stage = executed(lambda: compiled(source), namespace), "program"
    if fault is None and test is not None:
        # What the program did to the built-in functions is undone: the test means those of Python.
        builtins.__dict__.update(own)
        sys.settrace(None)
        sys.setprofile(None)
        namespace[fair.NAME] = fair.compared
        fault, stage = executed(test, namespace), "test"
    flushed()
    end_others()
    said = os.read(nonce, 64).decode("ascii")
    frames.send(status, wire.dumps((said, stage, fault)))
    os._exit(0)


def run_calls(source: str, entry_point: str, calls: list[tuple[Any, ...]], *, status: int) -> None:
    """Run the source, then call its entry point with each of `calls`, and send each result as it comes."""
    namespace = main_module()
    end_others = only_this_process()
    fault = executed(lambda: compiled(source), namespace)
    end_others()
    frames.send(status, wire.dumps(fault))
    for arguments in [] if fault else calls:
        result = _result(lambda given=arguments: namespace[entry_point](*given), lambda value: 0)  # type: ignore[misc]
        end_others()
        frames.send(status, result)
    flushed()
    os._exit(0)


def _result(action: Callable[[], Any], keep: Callable[[object], int]) -> bytes:
    value, fault = attempted(action)
    if fault is None:
        sent, fault = attempted(lambda: wire.dumps((value, None), keep=keep))
        if fault is None:
            assert isinstance(sent, bytes)
            return sent
    return wire.dumps((None, fault))


class Kept:
    """The values that stayed here, by the number the judge knows them by."""

    def __init__(self) -> None:
        self._values: list[object] = []

    def keep(self, value: object) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def found(self, opaque: wire.Opaque) -> object:
        return self._values[opaque.number]


def run_apart(source: str, *, judge: int) -> None:
    """Run the source, then do what the judge at the other end asks: calls, attributes, items of what is here."""
    namespace = main_module()
    kept = Kept()
    fault = executed(lambda: compiled(source), namespace)
    frames.send(judge, wire.dumps((fault, None if fault else _names(namespace)), keep=kept.keep))
    while True:
        try:
            question = frames.receive(judge, limit=LARGEST_MESSAGE)
        except frames.Ended:
            leave(0)
        verb, target, arguments, named_arguments = wire.loads(question, found=kept.found)
        answer = _result(lambda: _VERBS[verb](target, *arguments, **named_arguments), kept.keep)  # noqa: B023
        frames.send(judge, answer)


def _names(namespace: Namespace) -> dict[str, tuple[str, object]]:
    found: dict[str, tuple[str, object]] = {}
    for name, value in list(namespace.items()):
        if isinstance(name, str) and not name.startswith("__"):
            module = isinstance(value, types.ModuleType)
            found[name] = ("module", value.__name__) if module else ("value", value)
    return found


_VERBS: dict[str, Callable[..., Any]] = {
    "call": lambda target, *arguments, **named_arguments: target(*arguments, **named_arguments),
    "attribute": getattr,
    "item": lambda target, key: target[key],
    "length": len,
    "iterate": iter,
    "next": next,
    "text": str,
}


def run_steps(steps: list[list[str]], files: dict[str, str], environment: dict[str, str], *, status: int) -> None:
    """Write the files, run the command lines one after another, and say which was the last and how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name, content in files.items():
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "wb") as file:
            file.write(content.encode("latin-1"))
    number, code = 0, 0
    for number, step in enumerate(steps):  # noqa: B007 (said below)
        code = _step(step, {**os.environ, **environment}, descriptor=status)
        if code != 0:
            break
    frames.send(status, wire.dumps((number, code)))
    os._exit(0)


def _step(step: list[str], environment: dict[str, str], *, descriptor: int) -> int:
    process = os.fork()
    if process == 0:
        try:
            os.close(descriptor)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execvpe(step[0], step, environment)
        except BaseException as error:  # noqa: BLE001 (the copy must not run on)
            os.write(2, f"{step[0]}: {error}\n".encode(errors="replace"))
        os._exit(127)
    while True:
        ended, how = os.wait()
        if ended == process:
            return os.waitstatus_to_exitcode(how)

"""The judge of a program: a process of its own, in which the test runs on what the program hands over.

The test's names stand for the program's: to call one is to ask the program's process. What comes back is of plain
types, made here, so that it compares as Python compares them. What cannot come back, a class or a generator, is a
`Remote`: it can be called, read and iterated, never compared, because the answer would be the program's own.
"""

import builtins
import importlib
import os
import types
from collections.abc import Callable
from typing import Any, NoReturn

from starsmith.evaluate.inside import candidate, frames, wire


class Unjudged(BaseException):
    """The test needs what cannot cross between the two processes."""


class Remote:
    """A thing in the program's process."""

    __slots__ = ("_channel", "_number", "_type")

    def __init__(self, channel: "Channel", opaque: wire.Opaque) -> None:
        self._channel, self._number, self._type = channel, opaque.number, opaque.type

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._channel.ask("call", self, arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._channel.ask("attribute", self, (name,), {})

    def __getitem__(self, key: Any) -> Any:
        return self._channel.ask("item", self, (key,), {})

    def __len__(self) -> int:
        length = self._channel.ask("length", self, (), {})
        return length if isinstance(length, int) else self._refused()

    def __iter__(self) -> Any:
        return self._channel.ask("iterate", self, (), {})

    def __next__(self) -> Any:
        return self._channel.ask("next", self, (), {})

    def __str__(self) -> str:
        text = self._channel.ask("text", self, (), {})
        return text if isinstance(text, str) else self._refused()

    def _refused(self, *others: object) -> NoReturn:
        raise Unjudged(f"the program handed over a {self._type}, which cannot be judged apart from it")

    # Whatever it is compared with, the answer would come from the program.
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __hash__ = __contains__ = _refused


class Channel:
    """The judge's end of the conversation with the program."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def first(self) -> tuple[candidate.Fault | None, dict[str, Any]]:
        """Return the fault that the source raised, or the names it defined."""
        fault, names = self._received()
        return fault, {name: self._named(kind, value) for name, (kind, value) in (names or {}).items()}

    def ask(self, verb: str, target: Remote, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Return what the program answered. Raises the exception that it raised."""
        try:
            question = wire.dumps((verb, target, arguments, named), keep=_number)
            frames.send(self._descriptor, question)
        except (frames.Ended, RecursionError):
            os._exit(1)
        value, fault = self._received()
        if fault is not None:
            raise _exception(fault)
        return value

    def _received(self) -> tuple[Any, Any]:
        try:
            message = frames.receive(self._descriptor, limit=candidate.LARGEST_MESSAGE)
            first, second = wire.loads(message, found=lambda opaque: Remote(self, opaque))
        except (frames.Ended, ValueError, TypeError):
            # No verdict: what the program's process died of is one, and a test must not catch this.
            os._exit(1)
        return first, second

    def _named(self, kind: str, value: Any) -> Any:
        return importlib.import_module(value) if kind == "module" and isinstance(value, str) else value


def _number(value: object) -> int:
    if isinstance(value, Remote):
        return value._number
    raise Unjudged(f"the test hands a {type(value).__name__} to the program, which cannot cross")


class ProgramError(Exception):
    """An exception of a type that only the program knows."""


def _exception(fault: object) -> Exception:
    if not (isinstance(fault, tuple) and len(fault) == 2):
        return ProgramError(repr(fault)[:400])
    name, text = str(fault[0]), str(fault[1])
    kind = getattr(builtins, name, None)
    error: Exception
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
        error = kind(text)
    else:
        error = ProgramError(text)
    error.__dict__["named"] = (name, text)
    return error


def judge(test: Callable[[], types.CodeType], *, program: int, status: int) -> None:
    """Run the test on the program behind the descriptor `program`, and write the verdict to `status`."""
    channel = Channel(program)
    fault, names = channel.first()
    stage = "program"
    if fault is None:
        namespace = candidate.main_module()
        namespace.update(names)
        fault, stage = _tested(test, namespace)
    candidate.flushed()
    frames.send(status, wire.dumps(("", stage, fault)))
    os._exit(0)


def _tested(test: Callable[[], types.CodeType], namespace: dict[str, Any]) -> tuple[candidate.Fault | None, str]:
    try:
        exec(test(), namespace)  # noqa: S102
    except BaseException as error:  # noqa: BLE001 (whatever a test raises is its verdict)
        candidate.shown(error)
        of_program = error.__dict__.get("named")
        return of_program or candidate.named(error), "program" if of_program else "test"
    return None, "test"

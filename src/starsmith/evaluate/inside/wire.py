"""Python values as JSON, so that a hostile process can hand over results and nothing else.

What is read back is built from these types alone, whatever was sent: no class of the sender, no code, no pickle. A
value of another type crosses as an `Opaque`: its number on the sender's side and the name of its type.

The sandbox carries this file inside, so it may import from the standard library only.
"""

import collections
import importlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

_EXACT_INTEGER = 1 << 53
_NUMBERS = {"decimal": "Decimal", "fractions": "Fraction"}
"""Loaded by whoever uses them: a fork server that held them would be slower for all."""


class Opaque(NamedTuple):
    """A value that stayed with the sender: its number there, and its type's name."""

    number: int
    type: str


class Unreadable(ValueError):
    """The bytes are not what `dumps` writes."""


def dumps(value: object, *, keep: Callable[[object], int] = id) -> bytes:
    """Return `value` as bytes. `keep(object)` gives the number of a value that cannot cross.

    Subclasses cross as the plain type they extend: a named tuple as a tuple, a Counter as a dict.
    Raises RecursionError for values nested too deep, or in themselves.
    """
    return json.dumps(_packed(value, keep)).encode("ascii")


def loads(data: bytes, *, found: Callable[[Opaque], object] = lambda opaque: opaque) -> Any:
    """Return the value in `data`; `found` makes what an opaque one is to become.

    Raises Unreadable for anything that `dumps` did not write.
    """
    try:
        return _unpacked(json.loads(data), found)
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError, AttributeError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}"[:200]) from None


def _packed(value: Any, keep: Callable[[object], int]) -> object:
    if value is None or isinstance(value, bool):
        return value
    kind = type(value)
    if kind is float:
        return value
    if isinstance(value, str):
        return str.__str__(value) if kind is not str else value
    if isinstance(value, int):
        return int(value) if -_EXACT_INTEGER < value < _EXACT_INTEGER else {"i": int.__format__(value, "x")}
    if isinstance(value, list):
        return [_packed(item, keep) for item in list.__iter__(value)]
    for tag, of, plain in _PLAIN:
        if isinstance(value, of):
            return {tag: plain(value, keep)}
    if kind.__module__ in _NUMBERS and kind.__name__ == _NUMBERS[kind.__module__]:
        return {"n": [kind.__module__, str(value)]}
    return {"o": [keep(value), f"{kind.__module__}.{kind.__qualname__}"[:200]]}


def _items(value: Any, keep: Callable[[object], int]) -> list[object]:
    return [_packed(item, keep) for item in value]


def _pairs(value: dict[Any, Any], keep: Callable[[object], int]) -> list[object]:
    return [[_packed(key, keep), _packed(item, keep)] for key, item in dict.items(value)]


_PLAIN: tuple[tuple[str, type, Callable[[Any, Callable[[object], int]], object]], ...] = (
    ("t", tuple, _items),
    ("d", dict, _pairs),
    ("s", set, _items),
    ("f", frozenset, _items),
    ("q", collections.deque, _items),
    ("x", float, lambda value, keep: float.__repr__(value)),
    ("b", bytes, lambda value, keep: bytes(value).decode("latin-1")),
    ("a", bytearray, lambda value, keep: bytes(value).decode("latin-1")),
    ("c", complex, lambda value, keep: [value.real, value.imag]),
    ("r", range, lambda value, keep: [_packed(n, keep) for n in (value.start, value.stop, value.step)]),
)


def _unpacked(value: Any, found: Callable[[Opaque], object]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, found) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    if tag == "o":
        return found(Opaque(int(inner[0]), str(inner[1])))
    return _MADE[tag](inner, found)


def _set(inner: Any, found: Callable[[Opaque], object]) -> set[Any]:
    return {_unpacked(item, found) for item in inner}


_MADE: dict[str, Callable[[Any, Callable[[Opaque], object]], object]] = {
    "i": lambda inner, found: int(inner, 16),
    "t": lambda inner, found: tuple(_unpacked(item, found) for item in inner),
    "d": lambda inner, found: {_unpacked(key, found): _unpacked(item, found) for key, item in inner},
    "s": _set,
    "f": lambda inner, found: frozenset(_set(inner, found)),
    "q": lambda inner, found: collections.deque(_unpacked(item, found) for item in inner),
    "x": lambda inner, found: float(inner),
    "b": lambda inner, found: inner.encode("latin-1"),
    "a": lambda inner, found: bytearray(inner.encode("latin-1")),
    "c": lambda inner, found: complex(*inner),
    "r": lambda inner, found: range(*(_unpacked(n, found) for n in inner)),
    "n": lambda inner, found: getattr(importlib.import_module(inner[0]), _NUMBERS[inner[0]])(inner[1]),
}

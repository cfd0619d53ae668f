"""Fingerprints: one digest for equal settings and inputs, whatever machine, process or order of keys.

A table is known by the fingerprint of what determined it, so a value whose text could differ between two runs (a
path, a set, an object) must not slip into one: it raises instead. No section of the paper; the rule is Starsmith's.
This module does not read files: contents are fingerprinted by their digests.
"""

import dataclasses
import hashlib
import json
import math
from typing import Any

from starsmith.errors import StarsmithError


def fingerprint(value: object) -> str:
    """Return the SHA-256, as 64 hex digits, of the canonical JSON of settings or plain values.

    Taken are None, bool, int, str, bytes, finite floats, lists, tuples (equal to lists), dicts with text keys, and
    dataclasses (by class name; fields declared `resource` are left out, since they change no byte of a result).
    Raises StarsmithError that names the first value of any other kind.

    >>> fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1})
    True
    >>> fingerprint(1) == fingerprint(1.0)
    False
    """
    canonical = json.dumps(_plain(value, "value"), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _plain(value: object, where: str) -> Any:
    """Return `value` as JSON lists and scalars; every list starts with its kind, so that no two kinds look alike."""
    # Exact types: a subclass (an enum, a NumPy float, a named tuple) may print itself differently between versions.
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if isinstance(value, float) and kind is float:
        return ["float", _float_text(value, where)]
    if isinstance(value, bytes) and kind is bytes:
        return ["bytes", value.hex()]
    if isinstance(value, (list, tuple)) and kind in (list, tuple):
        return ["list", *(_plain(item, f"{where}[{number}]") for number, item in enumerate(value))]
    if isinstance(value, dict) and kind is dict:
        return ["dict", *_plain_dict(value, where)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ["dataclass", kind.__qualname__, *_plain_dict(_fields_of(value), where)]
    raise _refusal(where, f"{value!r} is a {kind.__name__}")


def _float_text(value: float, where: str) -> str:
    if not math.isfinite(value):
        raise _refusal(where, f"{value!r} is not a finite number")
    # Adding zero turns -0.0, which equals 0.0, into it.
    return repr(value + 0.0)


def _plain_dict(mapping: dict[Any, Any], where: str) -> list[Any]:
    for key in mapping:
        if type(key) is not str:
            raise _refusal(where, f"its key {key!r} is not text")
    return [[key, _plain(mapping[key], f"{where}.{key}")] for key in sorted(mapping)]


def _fields_of(value: Any) -> dict[str, Any]:
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if not field.metadata.get("resource", False)
    }


def _refusal(where: str, found: str) -> StarsmithError:
    return StarsmithError(
        f"{where} cannot be fingerprinted: {found}. Expected None, bool, int, a finite float, str, bytes, "
        "or a list, tuple, dict or dataclass of these."
    )

"""Fingerprints: equal values agree, different values differ, unstable values are refused."""

import collections
import dataclasses
import enum
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.settings import FilterSettings, NearDuplicateSettings, setting

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters())
    | st.binary()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    size: int = setting(1, "Changes bytes.")
    workers: int = setting(2, "Changes none.", resource=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Play:
    size: int = 1


class Colour(enum.StrEnum):
    RED = "red"


Pair = collections.namedtuple("Pair", "a b")


def reordered(value: Any) -> Any:
    """Return an equal value with every dict built back to front and every list as a tuple."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return tuple(map(reordered, value)) if isinstance(value, list) else value


def exact(value: Any) -> Any:
    """Return what tells values apart where Python's == does not: True, 1 and 1.0 are three values."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    return [exact(item) for item in value] if isinstance(value, list) else (type(value).__name__, value)


@given(VALUES)
def test_order_of_keys_and_kind_of_sequence_do_not_matter(value: Any) -> None:
    assert fingerprint(reordered(value)) == fingerprint(value)


@given(VALUES, VALUES)
def test_equal_exactly_when_the_values_are(left: Any, right: Any) -> None:
    assert (fingerprint(left) == fingerprint(right)) == (exact(left) == exact(right))


def test_is_the_same_in_every_version() -> None:
    """A changed canonical form would make every stored table look out of date: it must be a decision, not a slip."""
    value = {"b": [1, 2.5, None, True], "a": b"\x00", "c": Work(size=3)}
    assert fingerprint(value) == "c9d768a1363a0a6bf082c1925b39511133bfe3649ff60bf84a61609acdaefc6d"


def test_kinds_do_not_look_alike() -> None:
    values: list[object] = [
        1,
        1.0,
        True,
        "1",
        b"1",
        b"\x31\x00",
        "31",
        [1],
        {"1": 1},
        [["1", 1]],
        ["list", 1],
        None,
        "",
        [],
        {},
    ]
    assert len({fingerprint(value) for value in values}) == len(values)


def test_classes_and_values_matter_and_resources_do_not() -> None:
    assert fingerprint(Work(size=1)) != fingerprint(Work(size=2))
    assert fingerprint(Work(size=1)) != fingerprint(Play(size=1))
    assert fingerprint(Work(workers=1)) == fingerprint(Work(workers=7))


def test_every_setting_matters() -> None:
    base = fingerprint(NearDuplicateSettings())
    changed = [
        dataclasses.replace(NearDuplicateSettings(), bands=25),
        dataclasses.replace(NearDuplicateSettings(), verify=False),
    ]
    assert len({base, *map(fingerprint, changed)}) == 3
    assert fingerprint(FilterSettings()) == fingerprint(dataclasses.replace(FilterSettings()))


@pytest.mark.parametrize(
    "value",
    [
        Path("x"),
        {1, 2},
        frozenset(),
        len,
        object(),
        math.nan,
        math.inf,
        -math.inf,
        Colour.RED,
        Pair(1, 2),
        Work,
        1j,
        bytearray(b"x"),
        range(3),
        {1: "key"},
    ],
)
def test_unstable_values_are_refused_by_name(value: object) -> None:
    with pytest.raises(StarsmithError, match=r"value\.inner\[1\].* cannot be fingerprinted"):
        fingerprint({"inner": [0, value]})

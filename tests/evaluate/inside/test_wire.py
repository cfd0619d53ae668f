"""Values cross whole, and nothing but values."""

import collections
import decimal
import fractions
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.evaluate.inside import wire

HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.fractions()
    | st.decimals(allow_nan=False)
    | st.builds(range, st.integers()),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HASHABLE, inner, max_size=3) | st.sets(HASHABLE),
    max_leaves=8,
)


def types(value):
    """The type of a value and, in order, of what is in it."""
    if isinstance(value, dict):
        return dict, [(types(k), types(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [types(item) for item in value]
    return type(value)


@given(VALUES)
def test_there_and_back(value):
    back = wire.loads(wire.dumps(value))
    assert back == value
    assert types(back) == types(value)


@given(st.binary() | st.text().map(str.encode) | VALUES.map(repr).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_value_or_unreadable(data):
    try:
        wire.loads(data)
    except wire.Unreadable:
        return


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.1, -0.0, "\ud800", "\0", bytearray(b"\xff")])
def test_odd_ones(value):
    back = wire.loads(wire.dumps(value))
    assert (type(back), back) == (type(value), value)
    assert math.isnan(wire.loads(wire.dumps(math.nan)))


def test_an_integer_too_long_for_decimal_digits():
    assert (wire.loads(wire.dumps(1 << 20_000)) == 1 << 20_000) is True


def test_what_extends_a_plain_type_crosses_as_that():
    class Liar(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    pair = collections.namedtuple("pair", "a b")(1, 2)
    value = [Liar(7), pair, collections.Counter("aab"), collections.defaultdict(int, x=1), collections.deque([1])]
    back = wire.loads(wire.dumps(value))
    assert back == [7, (1, 2), {"a": 2, "b": 1}, {"x": 1}, collections.deque([1])]
    assert [type(item) for item in back] == [int, tuple, dict, dict, collections.deque]


def test_what_cannot_cross_stays():
    kept = []

    class Thing:
        pass

    def keep(value):
        kept.append(value)
        return len(kept) - 1

    thing = Thing()
    (back,) = wire.loads(wire.dumps([thing], keep=keep))
    assert kept == [thing]
    assert back.number == 0
    assert back.type.endswith("Thing")


def test_numbers_of_the_library():
    value = [decimal.Decimal("1.50"), fractions.Fraction(1, 3)]
    assert wire.loads(wire.dumps(value)) == value
    with pytest.raises(wire.Unreadable):
        wire.loads(b'{"n": ["os", "1"]}')


def test_a_value_within_itself():
    loop = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        wire.dumps(loop)
    with pytest.raises(wire.Unreadable):
        wire.loads(b"[" * 100_000)

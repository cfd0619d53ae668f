"""The gate against itself without what lets it leave out most of a text."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.kernel import read_only, text_buffers
from starsmith.curate.secret_gate import NAME, PATTERN, PREFIX, URL
from starsmith.curate.secret_patterns import build_gate, hits
from starsmith.curate.secrets import _gate

GATE = _gate()
EVERYWHERE = replace(GATE, beginnings=read_only(np.full_like(GATE.beginnings, 255)))
PATTERNS = [bytes(GATE.letters[first:last]).decode() for first, last in zip(GATE.bounds, GATE.bounds[1:], strict=False)]
PIECES = st.sampled_from(PATTERNS).flatmap(
    lambda each: st.sampled_from([each, each, each.upper(), each.title(), each[:-1], each[1:], each[:2]])
)
BETWEEN = st.sampled_from(
    ["", "", " ", "=", ': "', "_", "--", "\n", "é", "aB3dE5gH7jK9mN1pQ3", "'x8!kdQ'", "user:pw@host"]
)
TEXTS = st.lists(st.tuples(PIECES, BETWEEN).map("".join), max_size=12).map("".join)


def rows_of(gate, texts: list[str]) -> list[list[int]]:
    found = hits(gate, *text_buffers(pa.array([text.encode() for text in texts], pa.large_binary())))
    # Of anything but a name the last columns say nothing.
    found[gate.kinds[found[:, PATTERN]] != NAME, 4:] = 0
    return found.tolist()


@given(st.lists(TEXTS, max_size=4))
def test_leaving_out_makes_no_difference(texts):
    assert rows_of(GATE, texts) == rows_of(EVERYWHERE, texts)


@pytest.mark.parametrize("before", range(9))
def test_no_pattern_is_missed_wherever_it_stands(before):
    for pattern, kind, least in zip(PATTERNS, GATE.kinds.tolist(), GATE.least.tolist(), strict=True):
        after = {PREFIX: "a" * least, URL: "user:x8kd@host"}.get(kind, ' = "aB3dE5:x@h9"')
        assert pattern in {PATTERNS[row[PATTERN]] for row in rows_of(GATE, [" " * before + pattern + after])}


def test_a_pattern_must_be_long_enough_to_be_asked_for():
    with pytest.raises(ValueError, match="too short"):
        build_gate([(b"ab", PREFIX, 0)])

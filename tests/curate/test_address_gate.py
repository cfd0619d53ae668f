"""What the gate looks over at once makes no difference."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.address_gate import START, candidates
from starsmith.curate.kernel import text_buffers

PIECES = st.sampled_from(
    "2001:db8::1 2a:b::1 2a00:1450:4001::200e 3: :2001: 2a:b:c:d: 1.2.3.4 93.184.216.34 1.2.3.4.5 300.1.2.3 1. .1 "
    "a@b.example.com @ : :: . 2 3 a x zz - ffff: é".split()
) | st.sampled_from([" ", "\n"])
TEXTS = st.lists(PIECES, max_size=40).map("".join)


def rows_of(*texts: bytes) -> list[list[int]]:
    return candidates(*text_buffers(pa.array(texts, pa.large_binary()))).tolist()


@given(TEXTS.map(str.encode), st.integers(0, 140))
def test_candidates_do_not_depend_on_where_blocks_begin(text, before):
    moved = [[*row[:2], *(place - before for place in row[2:])] for row in rows_of(b" " * before + text)]
    for row in moved:
        if row[1] == 1:
            # The middle of an IPv4 address is its value, not a place.
            row[3] += before
        elif row[1] == 2:
            row[3] = 0
    assert moved == rows_of(text)


@given(TEXTS.map(str.encode), TEXTS.map(str.encode))
def test_texts_do_not_depend_on_each_other(first, second):
    own = [[row[0], row[1], row[START]] for row in rows_of(first)]
    assert [[row[0], row[1], row[START]] for row in rows_of(first, second)][: len(own)] == own
    behind = [[row[1], row[START] - len(first)] for row in rows_of(first, second) if row[0] == 1]
    assert behind == [[row[1], row[START]] for row in rows_of(second)]

"""Containment against Python sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.containment import SAMPLE, common_counts, sampled

HASHES = st.integers(0, 40) | st.integers(0, 2**32 - 1) | st.integers(2**32 - 5, 2**32 - 1)
SETS = st.sets(HASHES, max_size=30)


def array_of(values: set[int]) -> np.ndarray:
    return np.array(sorted(values), np.uint32)


@given(sets=st.lists(SETS, max_size=8), sample=SETS, order=st.randoms(use_true_random=False))
def test_counts_are_the_sizes_of_intersections(sets: list[set[int]], sample: set[int], order) -> None:
    """Sets may lie in the array in any order, with anything between them."""
    places = list(range(len(sets)))
    order.shuffle(places)
    pieces, starts, length = [], np.zeros(len(sets), np.int64), 0
    for number in places:
        pieces += [array_of({7}), array_of(sets[number])]
        starts[number], length = length + 1, length + 1 + len(sets[number])
    flat = np.concatenate([np.zeros(0, np.uint32), *pieces])
    counts = np.array([len(each) for each in sets], np.int64)
    assert common_counts(flat, starts, counts, array_of(sample)).tolist() == [len(each & sample) for each in sets]


def test_a_sample_is_the_smallest_hashes() -> None:
    own = np.arange(0, 10 * SAMPLE, 3, dtype=np.uint32)
    assert sampled(own).tolist() == own[:SAMPLE].tolist()
    assert sampled(own[:5]).tolist() == own[:5].tolist()
    assert len(sampled(own[:0])) == 0

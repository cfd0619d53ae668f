"""Containment: how much of a short text is found in each of many longer ones.

MinHash bands find texts that are alike as a whole; a function copied out of a large file is not like that file. Here
the shingle sets themselves are searched, from the smallest hash upwards and only as far as a sample of the short text's
smallest hashes goes. Hashes are as good as random, so the share of the sample that is found estimates the share of all.
No section of the paper: it has no such question.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from starsmith.curate.kernel import Indices, compiled, read_only
from starsmith.curate.minhash import Hashes

Marks = npt.NDArray[np.bool_]

SAMPLE: Final = 128
"""Hashes that are looked for. A text that holds a tenth of a snippet is missed once in 700,000 times."""

_TABLE_BITS: Final = 16
_TABLE_SHIFT: Final = np.uint32(32 - _TABLE_BITS)
"""The hashes looked for are marked by their leading bits: 64 KiB stay in the processor's cache, and nearly all hashes
that are not looked for are passed over at one look."""


def sampled(own: Hashes) -> Hashes:
    """Return the smallest hashes of a sorted set, all of them if it has no more than SAMPLE."""
    return own[:SAMPLE]


def common_counts(flat: Hashes, starts: Indices, counts: Indices, sample: Hashes) -> Indices:
    """Return int64 [sets]: how many hashes of `sample` are in each set.

    flat: uint32, the sorted distinct hashes of all sets in one array, which may be memory-mapped; set i is
    ``flat[starts[i] : starts[i] + counts[i]]``. sample: sorted and distinct.

    >>> sets = np.array([1, 5, 9, 5, 7], np.uint32)
    >>> common_counts(sets, np.array([0, 3]), np.array([3, 2]), np.array([5, 9], np.uint32)).tolist()
    [2, 1]
    """
    if not len(sample):
        return np.zeros(len(starts), np.int64)
    marked = np.zeros(1 << _TABLE_BITS, np.bool_)
    marked[sample >> _TABLE_SHIFT] = True
    return _common_counts(read_only(flat), read_only(starts), read_only(counts), read_only(sample), read_only(marked))


@compiled
def _common_counts(flat: Hashes, starts: Indices, counts: Indices, sample: Hashes, marked: Marks) -> Indices:
    common = np.zeros(len(starts), np.int64)
    largest = sample[-1]
    for number in range(len(starts)):
        for place in range(starts[number], starts[number] + counts[number]):
            value = flat[place]
            if value > largest:
                break
            if marked[value >> _TABLE_SHIFT]:
                slot = np.searchsorted(sample, value)
                common[number] += int(sample[slot] == value)
    return common

"""Batches: windows of a pack's tokens, in an order that is computed and not stored.

All shards of an epoch are one long row of tokens; sample k is the window that begins at token k × length, with one
token more to be predicted. Samples are taken in a pseudo-random order that follows from seed and epoch alone, so that
the number of samples taken says where a run stands, for any number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from starsmith.errors import StarsmithError

_ROUNDS = 4
_U64 = np.uint64
_MIX = (_U64(0xBF58476D1CE4E5B9), _U64(0x94D049BB133111EB))
_GOLDEN = _U64(0x9E3779B97F4A7C15)

Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return values scrambled: the finaliser of SplitMix64."""
    values = (values ^ (values >> _U64(30))) * _MIX[0]
    values = (values ^ (values >> _U64(27))) * _MIX[1]
    return values ^ (values >> _U64(31))


@dataclass(frozen=True, slots=True)
class Permutation:
    """A pseudo-random order of the numbers below `size`, any of which is computed in constant time and memory.

    A Feistel network over the next power of four, walked until the number is below `size` again (M. Luby and
    C. Rackoff, 1988; J. Black and P. Rogaway, 2002).
    """

    size: int
    key: tuple[int, int]
    """What the order follows from: seed and epoch."""

    def __call__(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        half = max((max(self.size - 1, 1).bit_length() + 1) // 2, 1)
        values = numbers.astype(np.uint64)
        outside = np.ones(len(values), dtype=bool)
        while outside.any():
            values[outside] = self._step(values[outside], half)
            outside = values >= _U64(self.size)
        return values.astype(np.int64)

    def _step(self, values: npt.NDArray[np.uint64], half: int) -> npt.NDArray[np.uint64]:
        mask = _U64((1 << half) - 1)
        left, right = values >> _U64(half), values & mask
        with np.errstate(over="ignore"):
            key = _mixed(np.array([self.key[0]], dtype=np.uint64)) + _U64(self.key[1]) * _GOLDEN
            for number in range(_ROUNDS):
                keyed = _mixed(right + _mixed(key + _U64(number)))
                left, right = right, (left ^ keyed) & mask
        return (left << _U64(half)) | right


@dataclass(frozen=True, slots=True)
class Row:
    """The tokens of one epoch: shards one after the other, of which a sample is a window."""

    shards: Sequence[Tokens]
    starts: npt.NDArray[np.int64]
    """The first token of each shard, and at the end the number of all."""

    @classmethod
    def of(cls, shards: Sequence[Tokens]) -> "Row":
        sizes = np.array([len(shard) for shard in shards], dtype=np.int64)
        return cls(shards, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))

    @property
    def tokens(self) -> int:
        return int(self.starts[-1])

    def samples(self, length: int) -> int:
        """Return how many windows of `length` tokens, each with one more to predict, there are."""
        return max(self.tokens - 1, 0) // length

    def window(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """Return the `length` tokens from `start` on, from as many shards as hold them."""
        found = np.empty(length, dtype=np.int64)
        filled = 0
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        while filled < length:
            offset = start + filled - int(self.starts[shard])
            piece = self.shards[shard][offset : offset + length - filled]
            found[filled : filled + len(piece)] = piece
            filled += len(piece)
            shard += 1
        return found

    def place(self, token: int) -> tuple[int, int]:
        """Return (shard, offset in it) of a token."""
        shard = int(np.searchsorted(self.starts, token, side="right")) - 1
        return shard, token - int(self.starts[shard])


@dataclass(frozen=True, slots=True)
class Batches:
    """Samples of all epochs of a pack in the order of training; without end, since the epochs of a pack repeat."""

    epochs: Sequence[Row]
    length: int
    seed: int

    def __post_init__(self) -> None:
        for number, row in enumerate(self.epochs):
            if not row.samples(self.length):
                raise StarsmithError(
                    f"Epoch {number} of the pack has {row.tokens:,} tokens, too few for one sample of {self.length:,} "
                    "and the token after it. Pack more, or set [data] sequence_length lower."
                )

    def places(self, first: int, count: int) -> list[tuple[int, int]]:
        """Return (epoch of the pack, first token) of `count` samples from the sample number `first` on."""
        found: list[tuple[int, int]] = []
        epoch, before = self._epoch_of(first)
        while len(found) < count:
            size = self._samples(epoch)
            start = first + len(found) - before
            numbers = np.arange(start, min(start + count - len(found), size), dtype=np.int64)
            for number in Permutation(size, (self.seed, epoch))(numbers).tolist():
                found.append((epoch % len(self.epochs), number * self.length))
            before += size
            epoch += 1
        return found

    def take(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Return samples, (count, length + 1): inputs are all tokens but the last, targets all but the first."""
        return np.stack(
            [self.epochs[epoch].window(start, self.length + 1) for epoch, start in self.places(first, count)]
        )

    def epoch(self, samples: int) -> float:
        """Return how many times the data has been seen after so many samples."""
        epoch, before = self._epoch_of(samples)
        return epoch + (samples - before) / self._samples(epoch)

    def _samples(self, epoch: int) -> int:
        return self.epochs[epoch % len(self.epochs)].samples(self.length)

    def _epoch_of(self, sample: int) -> tuple[int, int]:
        """Return the epoch that a sample is of, and the number of its first."""
        sizes = [row.samples(self.length) for row in self.epochs]
        cycles, rest = divmod(sample, sum(sizes))
        before = cycles * sum(sizes)
        for number, size in enumerate(sizes):
            if rest < size:
                return cycles * len(sizes) + number, before
            rest -= size
            before += size
        raise AssertionError("the rest is below the sum of the sizes")

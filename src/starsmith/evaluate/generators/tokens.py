"""Prompts as tokens that fit a model: what is left out where one is too long, and which go together in a batch.

A completion has room for its whole length, up to half of the model's positions. Of a prompt that is longer than the
rest, the beginning is left out; pieces of other files are shortened from their end instead, and a gap keeps what is
nearest to it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from starsmith.evaluate.generators.asked import Asked, Batch
from starsmith.format.sentinels import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A prompt that fits."""

    ids: tuple[int, ...]
    budget: int
    """Tokens that may follow."""
    shortened: int
    """Tokens left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """How long a model's texts may be. `gap` are the ids before the prefix, the suffix and the middle."""

    positions: int
    max_tokens: int
    gap: tuple[int, int, int] = (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)

    @property
    def most(self) -> int:
        """The longest prompt, in tokens."""
        return self.positions - min(self.max_tokens, self.positions // 2)

    def fitted(self, asked: Asked, encode: Encode) -> Fitted:
        """Return a prompt's ids, at most `most`, and how many may follow."""
        whole = self._whole(asked, encode)
        over = max(0, len(whole) - self.most)
        ids = self._shortened(asked, encode, whole) if over else whole
        return Fitted(ids=tuple(ids), budget=min(self.max_tokens, self.positions - len(ids)), shortened=over)

    def _whole(self, asked: Asked, encode: Encode) -> list[int]:
        if asked.suffix is None:
            return encode(asked.prompt)
        before, after, middle = self.gap
        return [before, *encode(asked.prompt), after, *encode(asked.suffix), middle]

    def _shortened(self, asked: Asked, encode: Encode, whole: Sequence[int]) -> Sequence[int]:
        if asked.suffix is not None:
            before, after, middle = self.gap
            prefix, suffix = encode(asked.prompt), encode(asked.suffix)
            left = self.most - 3
            kept = min(len(suffix), max(left // 2, left - len(prefix)))
            return [before, *_end(prefix, left - kept), after, *suffix[:kept], middle]
        rest = encode(asked.rest) if asked.context else []
        if 0 < len(rest) <= self.most:
            return encode(asked.context)[: self.most - len(rest)] + rest
        return _end(whole, self.most)


def _end(ids: Sequence[int], most: int) -> Sequence[int]:
    return ids[len(ids) - most :] if most < len(ids) else ids


def by_length(asked: Sequence[Asked], fitted: Sequence[Fitted], *, size: int) -> list[Batch]:
    """Return batches of prompts of like length that stop at the same strings and may be followed by as much.

    Long ones go first, so that a machine whose memory does not suffice says so at once.
    """
    order = sorted(
        range(len(asked)),
        key=lambda place: (fitted[place].budget, asked[place].stops, -len(fitted[place].ids), place),
    )
    groups = groupby(order, key=lambda place: (fitted[place].budget, asked[place].stops))
    return [batch for _, group in groups for batch in _chunks([asked[place] for place in group], size)]


def _chunks(asked: Sequence[Asked], size: int) -> Iterable[Batch]:
    return [asked[start : start + size] for start in range(0, len(asked), size)]

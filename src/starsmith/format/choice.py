"""Choices: every random decision of formatting and sampling, as a function of (seed, epoch, document id).

A choice does not depend on what was chosen before it, on the other documents or on who asks, so it is the same on any
number of workers, and a document that leaves changes no other document's choices. Numbers come from keyed BLAKE2b,
which gives the same ones on every machine and in every version; no state is kept.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

_DIGEST_BYTES = 8
_RANGE = 1 << 8 * _DIGEST_BYTES
_FLOAT_BITS = 53


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """The choices about one document in one epoch. Each purpose has numbers of its own.

    `copy` tells the repetitions of a document within one epoch apart. `document_id` may as well be the id of an origin,
    for what is chosen for all its files at once.
    """

    seed: int
    epoch: int
    document_id: bytes
    copy: int = 0

    def integer(self, purpose: str) -> int:
        """Return one of 2^64 integers.

        >>> Draw(seed=1, epoch=0, document_id=b"x").integer("order")
        3797944205403576646
        """
        key = self.seed.to_bytes(8, "big", signed=True)
        name = f"{purpose}/{self.epoch}/{self.copy}/".encode()
        digest = hashlib.blake2b(name + self.document_id, digest_size=_DIGEST_BYTES, key=key).digest()
        return int.from_bytes(digest, "big")

    def uniform(self, purpose: str) -> float:
        """Return a number of [0, 1)."""
        return (self.integer(purpose) >> (8 * _DIGEST_BYTES - _FLOAT_BITS)) / (1 << _FLOAT_BITS)

    def chance(self, purpose: str, probability: float) -> bool:
        """Return True with a probability; never at 0, always at 1."""
        return self.uniform(purpose) < probability

    def below(self, purpose: str, limit: int) -> int:
        """Return one of the integers 0 … limit - 1. They are equally likely but for limit / 2^64."""
        return self.integer(purpose) * limit // _RANGE

    def copies(self, purpose: str, rate: float) -> int:
        """Return an integer whose mean is `rate`: one of the two next to it."""
        return int(rate) + self.chance(purpose, rate % 1)


def shuffled(items: Sequence[Item], draw_of: Callable[[Item], Draw], purpose: str) -> list[Item]:
    """Return items in a random order. An item that is left out changes the order of no two others."""
    keyed = [((each := draw_of(item)).integer(purpose), each.document_id, item) for item in items]
    return [item for _, _, item in sorted(keyed, key=lambda triple: triple[:2])]

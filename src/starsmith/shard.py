"""Shards: the unit of work and of output, cut where the origins themselves say so.

Origins are put in order of owner and name. An origin begins a new shard when a hash of its id, as a fraction, is less
than its share of a shard's documents; a very large origin is cut at paths that say so the same way. So an origin that
is added or removed changes the shard it falls into and no other, and one owner's documents lie together.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from starsmith.document import Origin
from starsmith.sources import PathRange, Source

_HASH_BYTES = 8
FIRST_SHARD = "0" * 2 * _HASH_BYTES
"""The shard of whatever comes before the first cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """An origin together with the source that can read it."""

    source: Source
    origin: Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """A range of one origin's paths."""

    located: Located
    part: PathRange


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """What one task collects. `name` follows from the origin or path that begins it, not from its position."""

    name: str
    slices: tuple[Slice, ...]

    def __str__(self) -> str:
        names = [slice_.located.origin.repo_name for slice_ in self.slices]
        return f"shard {self.name} ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})"


def order_of(origin: Origin) -> tuple[str, str, str]:
    """Return the key by which origins are sorted everywhere: owner, name, URL."""
    return origin.owner, origin.name, origin.url


def plan(located: Iterable[Located], *, documents: int) -> list[Shard]:
    """Cut origins into shards of about `documents` documents each."""
    shards: list[tuple[str, list[Slice]]] = [(FIRST_SHARD, [])]
    for item in sorted(located, key=lambda each: order_of(each.origin)):
        origin = item.origin
        cuts = (None, *origin.cuts)
        stops = (*origin.cuts, None)
        for start, stop in zip(cuts, stops, strict=True):
            if start is not None or begins_shard(origin, documents=documents):
                shards.append((shard_name(origin, start), []))
            shards[-1][1].append(Slice(located=item, part=PathRange(start=start, stop=stop)))
    return [Shard(name=name, slices=tuple(slices)) for name, slices in shards if slices]


def begins_shard(origin: Origin, *, documents: int) -> bool:
    """Whether a shard begins at this origin: the likelier, the more documents it has."""
    return _hash(origin.origin_id) * documents < origin.documents << 8 * _HASH_BYTES


def shard_name(origin: Origin, start: bytes | None) -> str:
    return f"{_hash(origin.origin_id + b'/' + (start or b'')):016x}"


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=_HASH_BYTES).digest(), "big")

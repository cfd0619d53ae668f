"""Likeness: the contents of a workspace that share most with a piece of code.

A snippet is usually a small part of the file it came from, so the two do not look alike as a whole and share no MinHash
band; their shingle sets tell. All sets of the workspace are searched, about 2.5 GB of them a second on one core: 25 ms
for 12,000 contents.
"""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, repeat
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from starsmith.curate import encoding, minhash
from starsmith.curate.containment import common_counts, sampled
from starsmith.curate.kernel import Indices
from starsmith.curate.minhash import Hashes
from starsmith.curate.near_duplicates import shingle_views
from starsmith.document import ID_BYTES, SHINGLES
from starsmith.part_file import reading
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part
from starsmith.workspace import BuildRecord

MOST_LIKE = 10
LEAST_CONTAINED = 0.05
"""Share of a snippet's shingles below which likeness is chance: phrases that all code of a language has."""
_COMPARED = 50
"""Contents, most promising first by their share of the sample, that are compared in full."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Like:
    """A content like a snippet: Jaccard similarity, and the share of the snippet's shingles that are found in it."""

    content_id: bytes
    similarity: float
    contained: float


def shingles_of(content: bytes, settings: NearDuplicateSettings) -> tuple[Hashes, str | None]:
    """Return the shingle hashes of a piece of code, none if it is too short, and why it is no text, if it is none."""
    decoded = encoding.decode(pa.array([content], pa.binary()))
    signed = minhash.sign(decoded.texts, settings)
    return np.frombuffer(signed.shingles[0].as_buffer(), "<u4").astype(np.uint32), decoded.reasons[0].as_py()


def most_like(store: Store, build: BuildRecord, own: Hashes) -> list[Like]:
    """Return the contents that hold most of the shingles `own`, the most similar first of those that hold as much."""
    if not len(own):
        return []
    parts = build.table("shingles", SHINGLES).parts
    found: dict[bytes, Like] = {}
    for number, rows in _promising(store, parts, sampled(own)):
        with _sets(store, parts[number]) as sets:
            for row in rows:
                like = _compared(sets, row, own)
                if like.contained >= LEAST_CONTAINED:
                    found[like.content_id] = like
    ranked = sorted(found.values(), key=lambda like: (-like.contained, -like.similarity, like.content_id))
    return ranked[:MOST_LIKE]


def _promising(store: Store, parts: Sequence[Part], sample: Hashes) -> Iterator[tuple[int, list[int]]]:
    """Yield (number of a part, rows of it) of the contents that hold most of a sample."""
    hits: list[tuple[int, int, int]] = []
    for number, part in enumerate(parts):
        with _sets(store, part) as sets:
            common = common_counts(sets.flat, sets.starts, sets.counts, sample)
        rows = np.flatnonzero(common)
        hits += zip((-common[rows]).tolist(), repeat(number), rows.tolist(), strict=False)
    best = sorted((number, row) for _, number, row in heapq.nsmallest(_COMPARED, hits))
    for number, group in groupby(best, key=itemgetter(0)):
        yield number, [row for _, row in group]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sets:
    """The shingle sets of one part, mapped into memory."""

    ids: pa.Array
    flat: Hashes
    starts: Indices
    counts: Indices


@contextmanager
def _sets(store: Store, part: Part) -> Iterator[_Sets]:
    with reading(store, [part]), store.map(part.name) as file, pa.ipc.open_file(file) as reader:
        table = reader.read_all().combine_chunks()
        shingles = table["shingles"].combine_chunks() if part.rows else pa.array([], pa.large_binary())
        flat, starts, counts = shingle_views(shingles)
        ids = table["content_id"].combine_chunks() if part.rows else pa.array([], pa.binary(ID_BYTES))
        yield _Sets(ids=ids, flat=flat, starts=starts, counts=counts)


def _compared(sets: _Sets, row: int, own: Hashes) -> Like:
    theirs = sets.flat[sets.starts[row] : sets.starts[row] + sets.counts[row]]
    common = len(np.intersect1d(own, theirs, assume_unique=True))
    return Like(
        content_id=sets.ids[row].as_py(),
        similarity=common / (len(own) + len(theirs) - common),
        contained=common / len(own),
    )

"""Near pairs of a very large corpus: tasks that look through a range of the keys of one band.

What `near_pairs` finds in whole bands, with all candidates in memory, is found here for more candidates than fit: a
task goes through the shards, takes the keys of its range, and learns at the end which documents the shared ones belong
to. The rows are the same in the same order. No earlier search is gone on from. Section 4 of the paper's data
description has the bands.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.curate import minhash
from starsmith.document import BAND_BYTES, BANDS
from starsmith.fingerprint import fingerprint
from starsmith.job import Outcome, Progress
from starsmith.near_pairs import CANDIDATES, PAIRS, VERSION, Numbers, expanded, places, scopes_of, sharing
from starsmith.ranged_rows import rows_of
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

MOST_CANDIDATES = 40 << 20
"""More do not go through whole bands: a task took 209 bytes for each of 926,559, which makes 9 GB of these."""
RANGE_KEYS = 40 << 20
"""Keys of a range, on average; about 60 bytes each while they are sorted."""
_ENTRY_BYTES = 8 + 4


def searches(candidates: Table, bands: Table, settings: NearDuplicateSettings) -> "list[FindRange]":
    """Return the tasks that together look through all bands."""
    ranges = -(-candidates.rows // RANGE_KEYS)
    return [
        FindRange(
            candidates=candidates,
            bands=bands,
            band=band,
            number=number,
            ranges=ranges,
            across_languages=settings.across_languages,
        )
        for band in range(minhash.layout(settings).bands)
        for number in range(ranges)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class FindRange:
    """Find the candidates that share a bucket with another, for one of equal `ranges` of the keys of one band."""

    candidates: Table
    bands: Table
    band: int
    number: int
    ranges: int
    across_languages: bool

    def __str__(self) -> str:
        return f"band {self.band}, {self.number + 1} of {self.ranges} ranges of keys"

    @property
    def key(self) -> str:
        """The fingerprint of the result."""
        inputs = [self.candidates.digest, self.bands.digest, self.band, self.number, self.ranges, self.across_languages]
        return fingerprint([VERSION, pa.__version__, inputs])

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        keys, rows, scopes = self._entries(store)
        chosen = sharing(keys, scopes)
        keys, rows, scopes = keys[chosen], rows[chosen], scopes[chosen]
        columns = [self._ids(store, rows), scopes, np.full(len(rows), self.band, np.int32), keys]
        progress(1)
        shard = f"{self.band:06d}-{self.number:06d}"
        part = write_part(store, "near_pairs", PAIRS, [pa.table(columns, schema=PAIRS)], shard=shard)
        return Outcome(parts={"near_pairs": (part,)})

    def _entries(self, store: Store) -> tuple[Numbers, Numbers, Numbers]:
        """Return (keys, rows of candidates, scopes) of the range, in the order of shards and keys."""
        names = self._languages(store)
        parts = {part.shard: part for part in self.bands.parts}
        found: list[tuple[Numbers, Numbers, Numbers]] = [(np.zeros(0, np.int64),) * 3]
        start = 0
        for own in self.candidates.parts:
            read = self._of(own).read(store, ["shingle_row", "language"])
            keys, rows = self._keys(store, parts[own.shard], read["shingle_row"].to_numpy())
            scopes = scopes_of(read["language"], names, across_languages=self.across_languages)
            found.append((keys, start + rows, scopes[rows]))
            start += own.rows
        keys, rows, scopes = (np.concatenate(columns) for columns in zip(*found, strict=True))
        return keys, rows, scopes

    def _of(self, part: Part) -> Table:
        return Table(name=self.candidates.name, schema=CANDIDATES, parts=(part,))

    def _languages(self, store: Store) -> pa.Array:
        names: set[str] = set()
        for part in self.candidates.parts if not self.across_languages else ():
            names |= set(self._of(part).read(store, ["language"])["language"].unique().to_pylist()) - {None}
        return pa.array(sorted(names), pa.string())

    def _keys(self, store: Store, bands: Part, shingle_rows: Numbers) -> tuple[Numbers, Numbers]:
        """Return the keys of the range in one shard, and the rows of the shard's candidates that have them."""
        with rows_of(store, bands, BANDS, wanted=1) as mapped:
            entries = mapped.value(self.band, "entries", key=self.band.to_bytes(BAND_BYTES, "little"))
            keys = np.frombuffer(entries, "<i8", len(entries) // _ENTRY_BYTES)
            sets = np.frombuffer(entries, "<u4", offset=keys.nbytes)
            first, last = np.searchsorted(keys, self._bounds(), side="left")
            if self.number + 1 == self.ranges:
                last = len(keys)
            return expanded(keys[first:last], sets[first:last], *places(shingle_rows))

    def _bounds(self) -> npt.NDArray[np.int64]:
        """Return the first key of the range and that of the next; no next one can be written for the last."""
        low = [-(1 << 63) + (number << 64) // self.ranges for number in (self.number, self.number + 1)]
        return np.array([low[0], min(low[1], (1 << 63) - 1)], np.int64)

    def _ids(self, store: Store, rows: Numbers) -> pa.Array:
        """Return the ids of candidates by their rows."""
        order = np.argsort(rows, kind="stable")
        pieces, start = [], 0
        for own in self.candidates.parts:
            first, last = np.searchsorted(rows[order], (start, start + own.rows))
            if last > first:
                ids = self._of(own).read(store, ["document_id"])["document_id"].combine_chunks()
                pieces.append(ids.take(pa.array(rows[order[first:last]] - start)))
            start += own.rows
        kind = PAIRS.field("document_id").type
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pc.take(pa.concat_arrays(pieces or [pa.array([], kind)]), pa.array(back))

"""Near pairs: which documents share a bucket of band keys with another, in a whole corpus.

A task looks through a few bands of all documents. Where an earlier search is known, it looks only for the buckets that
documents share which came or changed since; all other rows are those of before, so the result is the same. Section 4 of
the paper's data description has the bands; what becomes of the pairs is the business of `near`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.curate import minhash
from starsmith.document import BAND_BYTES, BANDS, ID_BYTES
from starsmith.errors import StarsmithError, StoreFault
from starsmith.fingerprint import fingerprint
from starsmith.job import Outcome, Progress
from starsmith.part_file import MappedRows
from starsmith.ranged_rows import RangedRows, rows_of
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, read_record, write_part

VERSION = 2
STAGE = "near pairs"
PAIR_KEYS = 10 << 20
"""Keys of bands that a task looks through at a time, 16 bytes each; those of one band may exceed it, up to a number of
candidates from which on `near_ranges` divides a band."""
_ENTRY_BYTES = 8 + 4
"""A key and the number of a row: one entry of a row of BANDS."""
_FEW = 4
"""A search is gone on from where fewer than one candidate in this many is new. After one owner had left 478,000
candidates, going on takes 1.0 to 1.1 s of processor time; all of it anew took 3.9 to 5.3 s (load 14 to 19)."""

Numbers = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]
_Keys = list[tuple[Numbers, Numbers]]
"""For each band: keys, and the rows of candidates that have them."""

_ID = pa.binary(ID_BYTES)

CANDIDATES = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("document_id", _ID, nullable=False),
        pa.field("shingle_row", pa.int64(), nullable=False),
        pa.field("language", pa.string()),
    ]
)
PAIRS = pa.schema(
    [
        pa.field("document_id", _ID, nullable=False),
        pa.field("scope", pa.int64(), nullable=False),
        pa.field("band", pa.int32(), nullable=False),
        pa.field("key", pa.int64(), nullable=False),
    ]
)
"""Candidates and the buckets that another candidate is in too; `scope` keeps languages apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """A search that was done: the tables it looked through, and the PAIRS it found, of all bands."""

    candidates: Table
    bands: Table
    pairs: Table


def searched(store: Store, candidates: Table, bands: Table, settings: NearDuplicateSettings) -> Searched | None:
    """Return an earlier search through these tables, if it is on record and all of it is still there."""
    records = [read_record(store, STAGE, find.key) for find in searches(candidates, bands, settings)]
    found = [record.outputs["near_pairs"] for record in records if record is not None]
    read: list[Part] = [*candidates.parts, *bands.parts]
    if len(found) < len(records) or not all(store.each(lambda part: store.size(part.name) == part.bytes, read)):
        return None
    pairs = Table(name="near_pairs", schema=PAIRS, parts=tuple(part for parts in found for part in parts))
    return Searched(candidates=candidates, bands=bands, pairs=pairs)


def searches(
    candidates: Table, bands: Table, settings: NearDuplicateSettings, *, earlier: Searched | None = None
) -> "list[FindPairs]":
    """Return the tasks that together look through all bands."""
    total = minhash.layout(settings).bands
    tasks = min(total, -(-total * candidates.rows // PAIR_KEYS) or 1)
    step = -(-total // tasks)
    return [
        FindPairs(
            candidates=candidates,
            bands=bands,
            first=first,
            last=min(first + step, total),
            across_languages=settings.across_languages,
            earlier=earlier,
        )
        for first in range(0, total, step)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class FindPairs:
    """Find the candidates that share a bucket with another, for bands `first` up to but not with `last`.

    An `earlier` search with the same settings changes no byte of the result.
    """

    candidates: Table
    bands: Table
    first: int
    last: int
    across_languages: bool
    earlier: Searched | None = None

    def __str__(self) -> str:
        return f"bands {self.first} to {self.last}"

    @property
    def key(self) -> str:
        """The fingerprint of the result."""
        inputs = [self.candidates.digest, self.bands.digest, self.first, self.last, self.across_languages]
        return fingerprint([VERSION, pa.__version__, inputs])

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        candidates = self.candidates.read(store)
        scopes = self._scopes(candidates["language"])
        ids = candidates["document_id"].combine_chunks()
        found = []
        for band, (keys, rows) in enumerate(self._found(store, candidates), start=self.first):
            shared = sharing(keys, scopes[rows])
            bands = np.full(len(shared), band, np.int32)
            columns = [ids.take(pa.array(rows[shared])), scopes[rows[shared]], bands, keys[shared]]
            found.append(pa.table(columns, schema=PAIRS))
        progress(1)
        part = write_part(store, "near_pairs", PAIRS, found, shard=f"{self.first:06d}")
        return Outcome(parts={"near_pairs": (part,)})

    def _scopes(self, languages: pa.ChunkedArray) -> Numbers:
        return scopes_of(languages, self._languages(languages), across_languages=self.across_languages)

    def _languages(self, languages: pa.ChunkedArray) -> pa.Array:
        known = [] if self.across_languages else languages.unique().to_pylist()
        return pa.array(sorted(name for name in known if name is not None), pa.string())

    def _found(self, store: Store, candidates: pa.Table) -> _Keys:
        """Return for each band the candidates to compare, in their order for equal keys."""
        if self.earlier is not None:
            try:
                is_new = _is_new(store, self, self.earlier, candidates)
                if is_new.sum() * _FEW < len(is_new):
                    return self._keys_since(store, self.earlier, candidates, is_new)
            except StoreFault:
                raise
            except StarsmithError:
                # What an earlier build left is damaged and not needed; what is needed is looked at again below.
                pass
        return self._keys(store, candidates)

    def _keys(self, store: Store, candidates: pa.Table) -> _Keys:
        """Return the keys of all candidates, in the order of shards and keys."""
        found: list[_Keys] = [[] for _ in range(self.first, self.last)]
        for shard in self._shards(store, candidates):
            for entries, pieces in zip(shard, found, strict=True):
                pieces.append(entries.of_candidates())
        return [_together(pieces) for pieces in found]

    def _keys_since(self, store: Store, earlier: Searched, candidates: pa.Table, is_new: _Mask) -> _Keys:
        """Return the keys of what shared a bucket before, of what is new, and of what shares one with that."""
        found = self._known(store, earlier, candidates, is_new)
        wanted: list[list[tuple[Numbers, Numbers]]] = [[] for _ in found]
        scopes = self._scopes(candidates["language"])
        for shard in self._shards(store, candidates, is_new):
            for entries, pieces, new_keys in zip(shard, found, wanted, strict=True):
                keys, rows = entries.of_candidates(is_new)
                pieces.append((keys, rows))
                new_keys.append((keys, scopes[rows]))
        gone = self._gone(store, earlier, candidates, is_new)
        keys_of = [_not_among(_together(new), _together(old)) for new, old in zip(wanted, gone, strict=True)]
        if any(len(keys) for keys in keys_of):
            for shard in self._shards(store, candidates):
                for entries, pieces, keys in zip(shard, found, keys_of, strict=True):
                    pieces.append(entries.of_keys(keys))
        return [_once(*_together(pieces)) for pieces in found]

    def _gone(self, store: Store, earlier: Searched, candidates: pa.Table, is_new: _Mask) -> list[_Keys]:
        """Return for each band the keys and scopes that the earlier search saw of what is no longer there.

        Whoever shared one of them is known. A copy that comes back in the place of what left has no other ones.
        """
        changed = _changed_shards(self.candidates, earlier.candidates) | _changed_shards(self.bands, earlier.bands)
        search = replace(self, candidates=earlier.candidates.of_shards(changed), bands=earlier.bands, earlier=None)
        before = search.candidates.read(store)
        near_by = pc.is_in(candidates["shard"], value_set=pa.array(sorted(changed), pa.string()))
        stays = candidates["document_id"].filter(pc.and_(near_by, pa.array(~is_new)))
        left = pc.invert(pc.is_in(before["document_id"], value_set=stays.combine_chunks()))
        names = self._languages(candidates["language"])
        if not self.across_languages:
            # The scope of a language that nobody has any more has no number.
            left = pc.and_(left, pc.or_(pc.is_null(before["language"]), pc.is_in(before["language"], value_set=names)))
        chosen = left.to_numpy().astype(np.bool_)
        scopes = scopes_of(before["language"], names, across_languages=self.across_languages)
        found: list[_Keys] = [[] for _ in range(self.first, self.last)]
        for shard in search._shards(store, before, chosen):
            for entries, pieces in zip(shard, found, strict=True):
                keys, rows = entries.of_candidates(chosen)
                pieces.append((keys, scopes[rows]))
        return found

    def _known(self, store: Store, earlier: Searched, candidates: pa.Table, is_new: _Mask) -> list[_Keys]:
        """Return for each band what is known of candidates that are not new."""
        pairs = self._own(earlier.pairs).read(store, ["document_id", "band", "key"])
        rows = _rows_of(pairs["document_id"], candidates["document_id"])
        bands, keys = pairs["band"].to_numpy(), pairs["key"].to_numpy()
        stays = (rows >= 0) & ~is_new[rows] if len(is_new) else np.zeros(len(rows), np.bool_)
        own = [stays & (bands == band) for band in range(self.first, self.last)]
        return [[(keys[each], rows[each])] for each in own]

    def _own(self, pairs: Table) -> Table:
        """Return the parts of PAIRS that have something of this task's bands. A part begins with the band it names."""
        firsts = [int(part.shard) for part in pairs.parts]
        ends = [*firsts[1:], self.last]
        own = [first < self.last and self.first < end for first, end in zip(firsts, ends, strict=True)]
        return replace(pairs, parts=tuple(compress(pairs.parts, own)))

    def _shards(
        self, store: Store, candidates: pa.Table, chosen: _Mask | None = None
    ) -> "Iterator[Iterator[_Entries]]":
        """Yield the entries of each band of a shard, for all shards or those with a chosen candidate."""
        parts = {part.shard: part for part in self.bands.parts}
        start = 0
        for own in self.candidates.parts:
            if chosen is None or chosen[start : start + own.rows].any():
                first, counts = places(candidates["shingle_row"].slice(start, own.rows).to_numpy())
                with rows_of(store, parts[own.shard], BANDS, wanted=self.last - self.first) as mapped:
                    yield self._entries(mapped, start + first, counts)
            start += own.rows

    def _entries(self, mapped: MappedRows | RangedRows, first: Numbers, counts: Numbers) -> "Iterator[_Entries]":
        for band in range(self.first, self.last):
            entries = mapped.value(band, "entries", key=band.to_bytes(BAND_BYTES, "little"))
            keys = np.frombuffer(entries, "<i8", len(entries) // _ENTRY_BYTES)
            yield _Entries(keys, np.frombuffer(entries, "<u4", offset=keys.nbytes), first, counts)


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of a shard in one band: rising keys, and for each the row of its shingle set.

    For each shingle set: the `first` row of the candidates that have it, and how many (`counts`).
    """

    keys: Numbers
    sets: npt.NDArray[np.uint32]
    first: Numbers
    counts: Numbers

    def of_candidates(self, chosen: _Mask | None = None) -> tuple[Numbers, Numbers]:
        """Return the keys and rows of all candidates, or of the chosen."""
        keys, rows = expanded(self.keys, self.sets, self.first, self.counts)
        return (keys, rows) if chosen is None else (keys[chosen[rows]], rows[chosen[rows]])

    def of_keys(self, wanted: Numbers) -> tuple[Numbers, Numbers]:
        """Return the keys and rows of the candidates that have a key of the rising `wanted`."""
        start = np.searchsorted(self.keys, wanted)
        within = start < len(self.keys)
        start = start[within][self.keys[start[within]] == wanted[within]]
        times = np.searchsorted(self.keys, self.keys[start], side="right") - start
        own = np.repeat(start, times) + _numbers_within(times)
        return expanded(self.keys[own], self.sets[own], self.first, self.counts)


def expanded(keys: Numbers, sets: npt.NDArray[np.uint32], first: Numbers, counts: Numbers) -> tuple[Numbers, Numbers]:
    """Return the keys and rows of the candidates that have some shingle sets."""
    sets = np.minimum(sets, len(counts) - 1)
    times = counts[sets]
    # Nearly every content is that of one candidate, or of none.
    within = _numbers_within(times) if len(times) and times.max() > 1 else 0
    return np.repeat(keys, times), within + np.repeat(first[sets], times)


def _together(pieces: Iterable[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers]:
    none, listed = np.zeros(0, np.int64), list(pieces)
    return np.concatenate([none, *(each[0] for each in listed)]), np.concatenate([none, *(each[1] for each in listed)])


def _not_among(wanted: tuple[Numbers, Numbers], known: tuple[Numbers, Numbers]) -> Numbers:
    """Return the distinct keys, rising, of pairs of key and scope that are not among the `known`."""
    seen = set(zip(*(column.tolist() for column in known), strict=True))
    rest = {key for key, scope in zip(*(column.tolist() for column in wanted), strict=True) if (key, scope) not in seen}
    return np.array(sorted(rest), np.int64)


def _once(keys: Numbers, rows: Numbers) -> tuple[Numbers, Numbers]:
    """Return each row once, in order; a candidate has one key in a band."""
    rows, places = np.unique(rows, return_index=True)
    return keys[places], rows


def _rows_of(ids: pa.ChunkedArray, candidates: pa.ChunkedArray) -> Numbers:
    """Return the row of the candidate with each id, -1 where there is none. Few ids, each of them many times."""
    distinct = ids.combine_chunks().dictionary_encode()
    places = pc.fill_null(pc.index_in(candidates, value_set=distinct.dictionary), -1).to_numpy()
    found = np.flatnonzero(places >= 0)
    row_of = np.full(len(distinct.dictionary), -1, np.int64)
    row_of[places[found]] = found
    rows: Numbers = row_of[distinct.indices.to_numpy()]
    return rows


def _is_new(store: Store, search: FindPairs, earlier: Searched, candidates: pa.Table) -> _Mask:
    """Tell for each candidate whether an earlier search saw another one in its place, or none."""
    changed = _changed_shards(search.candidates, earlier.candidates) | _changed_shards(search.bands, earlier.bands)
    before = earlier.candidates.of_shards(changed).read(store)
    is_new = np.zeros(candidates.num_rows, np.bool_)
    steady = pa.array(sorted(changed - _changed_shards(search.bands, earlier.bands)), pa.string())
    start = 0
    for part in search.candidates.parts:
        is_new[start : start + part.rows] = part.shard in changed
        start += part.rows
    now = candidates.filter(pa.array(is_new))
    then = before.take(pc.index_in(now["document_id"], value_set=before["document_id"].combine_chunks()))
    same = pc.is_in(now["shard"], value_set=steady)
    for name in ("shard", "shingle_row"):
        same = pc.and_(same, pc.fill_null(pc.equal(now[name], then[name]), False))
    for column in (now["language"], then["language"]):
        assert "" not in column.unique().to_pylist(), "it stands for no language"
    same = pc.and_(same, pc.equal(pc.fill_null(now["language"], ""), pc.fill_null(then["language"], "")))
    is_new[is_new] = ~same.to_numpy(zero_copy_only=False) if len(same) else False
    return is_new


def _changed_shards(now: Table, before: Table) -> frozenset[str]:
    pairs = ({(part.shard, part.digest) for part in table.parts} for table in (now, before))
    return frozenset(shard for shard, _ in set.symmetric_difference(*pairs))


def scopes_of(languages: pa.ChunkedArray, names: pa.Array, *, across_languages: bool) -> Numbers:
    """Return a number per candidate; only equal numbers may share a bucket. `names` are all languages there are."""
    if across_languages:
        return np.zeros(len(languages), np.int64)
    # No language is a scope of its own, the first.
    numbers: Numbers = pc.fill_null(pc.index_in(languages, value_set=names), -1).to_numpy().astype(np.int64)
    return numbers + 1


def places(rows: Numbers) -> tuple[Numbers, Numbers]:
    """Return the first position and the number of each value in the rising `rows`; after the last there is none."""
    edges = np.searchsorted(rows, np.arange(int(rows[-1]) + 3 if len(rows) else 2))
    return edges[:-1].astype(np.int64), np.diff(edges).astype(np.int64)


def _numbers_within(times: Numbers) -> Numbers:
    """Return 0, 1, … for each of the given numbers of repetitions."""
    return np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)


def sharing(keys: Numbers, scopes: Numbers) -> Numbers:
    """Return the positions of the rows whose key and scope another row has too, by key and scope."""
    order = np.argsort(keys, kind="stable")
    order = order[_repeated(keys[order])]
    order = order[np.lexsort((scopes[order], keys[order]))]
    return order[_repeated(keys[order], scopes[order])]


def _repeated(*columns: Numbers) -> _Mask:
    """Tell for each row of sorted columns whether the one before or after it is equal."""
    same = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    repeated = np.zeros(len(columns[0]), np.bool_)
    repeated[1:] |= same
    repeated[:-1] |= same
    return repeated

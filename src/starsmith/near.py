"""Near-duplicates of a whole corpus: from bands to verdicts (section 4 of the paper's data description).

Tasks find which documents share a bucket, each for a few bands of the whole corpus; a query ranks these documents. One
task cuts them into groups that have no bucket in common; further tasks decide the groups, each reading the shingle sets
of its own members. How a group is decided is the business of `curate.near_duplicates`; the numbers a document is known
by there are its ranks in winner order.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.builder import Builder
from starsmith.curate import minhash, near_duplicates
from starsmith.curate.exact_duplicates import WINNER_ORDER
from starsmith.decide import ALIVE
from starsmith.document import BAND_BYTES, BANDS, ID_BYTES, SHINGLES
from starsmith.engines import Query
from starsmith.fingerprint import fingerprint
from starsmith.job import Outcome, Progress, Work
from starsmith.ledger import DROPS
from starsmith.part_file import MappedRows
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

VERSION = 2
PAIR_KEYS = 10 << 20
"""Keys of bands that a task looks through at a time, 16 bytes each; those of one band may exceed it."""
GROUP_SHINGLES = 16 << 20
"""Shingle hashes a task loads at a time: 64 MiB. One group of connected documents may exceed it."""
_ENTRY_BYTES = 8 + 4
"""A key and the number of a row: one entry of a row of BANDS."""
_BANDS_PER_SCOPE = 1 << 12
"""Bands of different languages never meet: the scope is part of the band's number."""

Numbers = npt.NDArray[np.int64]

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

MEMBERS = pa.schema(
    [
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("document_id", _ID, nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("content_id", _ID, nullable=False),
        pa.field("scope", pa.int64(), nullable=False),
        pa.field("num_shingles", pa.int64(), nullable=False),
        pa.field("shingle_row", pa.int64(), nullable=False),
    ]
)
BUCKETS = pa.schema(
    [
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("band", pa.int32(), nullable=False),
        pa.field("key", pa.int64(), nullable=False),
    ]
)
NEAR = pa.schema(
    [
        pa.field("document_id", _ID, nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("cluster_id", _ID, nullable=False),
        pa.field("winner_id", _ID),
        pa.field("similarity", pa.float64(), nullable=False),
    ]
)
"""One row per document that was compared: the kept document it stands behind (itself, where it is kept)."""


def candidates_query(alive: str) -> Query:
    """Find the documents that have a signature."""
    return Query(
        name="near_candidates",
        text=f"""
SELECT shard, document_id, shingle_row, language
FROM ({alive}) AS alive
WHERE shingle_row IS NOT NULL""",
        schema=CANDIDATES,
        key=["shingle_row", "document_id"],
        partition_by="shard",
        per_shard=True,
    )


MEMBERS_QUERY = Query(
    name="near_members",
    text=f"""
SELECT row_number() OVER (ORDER BY {WINNER_ORDER}) - 1 AS rank,
       document_id, shard, content_id, scope, num_shingles, shingle_row
FROM (
  SELECT facts.*, paired.scope
  FROM facts
  JOIN (SELECT document_id, scope FROM near_pairs GROUP BY document_id, scope) AS paired
    ON paired.document_id = facts.document_id
) AS members""",
    schema=MEMBERS,
    key=["rank"],
)
"""Rank the documents that share a bucket with another, the best first."""


def drops_query(settings: NearDuplicateSettings) -> Query:
    text = f"""
SELECT document_id, shard, 'near' AS stage, 'duplicate.near' AS reason, similarity AS value,
       CAST({settings.threshold} AS DOUBLE) AS threshold, winner_id, similarity, CAST(NULL AS STRING) AS detail
FROM near
WHERE winner_id IS NOT NULL"""
    return Query(name="drops_near", text=text, schema=DROPS, key=["shard", "document_id"])


def drops(builder: Builder, settings: NearDuplicateSettings, dropped: Table) -> Table:
    """Return the near-duplicates among the documents of a build that are not in `dropped`."""
    tables = builder.tables
    candidates = builder.sql(candidates_query(ALIVE), facts=tables["facts"], dropped=dropped)
    pairs = _pairs(builder, settings, candidates)
    members = builder.sql(MEMBERS_QUERY, facts=tables["facts"], near_pairs=pairs)
    group = GroupMembers(members=members, pairs=pairs)
    groups = builder.map(
        "near groups",
        [(fingerprint([VERSION, pa.__version__, members.digest, pairs.digest]), group)],
        {"group_members": MEMBERS, "group_buckets": BUCKETS},
        total=1,
    )
    shingles = tables["shingles"]
    works: list[tuple[str, Work]] = [
        (
            fingerprint([VERSION, pa.__version__, own.digest, buckets.digest, shingles.digest, settings]),
            DecideGroup(members=own, buckets=buckets, shingles=shingles, settings=settings),
        )
        for own, buckets in zip(groups["group_members"].parts, groups["group_buckets"].parts, strict=True)
    ]
    decided = builder.map("near duplicates", works, {"near": NEAR}, total=groups["group_members"].rows)
    return builder.sql(drops_query(settings), near=decided["near"])


def _pairs(builder: Builder, settings: NearDuplicateSettings, candidates: Table) -> Table:
    works = [
        (fingerprint([VERSION, pa.__version__, find.inputs]), find)
        for find in searches(candidates, builder.tables["bands"], settings)
    ]
    return builder.map("near pairs", works, {"near_pairs": PAIRS}, total=len(works))["near_pairs"]


def searches(candidates: Table, bands: Table, settings: NearDuplicateSettings) -> "list[FindPairs]":
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
        )
        for first in range(0, total, step)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class FindPairs:
    """Find the candidates that share a bucket with another, for bands `first` up to but not with `last`."""

    candidates: Table
    bands: Table
    first: int
    last: int
    across_languages: bool

    def __str__(self) -> str:
        return f"bands {self.first} to {self.last}"

    @property
    def inputs(self) -> list[str | int | bool]:
        return [self.candidates.digest, self.bands.digest, self.first, self.last, self.across_languages]

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        candidates = self.candidates.read(store)
        scopes = self._scopes(candidates["language"])
        ids = candidates["document_id"].combine_chunks()
        found = []
        for band, (keys, rows) in enumerate(self._keys(store, candidates), start=self.first):
            shared = _shared(keys, scopes[rows])
            bands = np.full(len(shared), band, np.int32)
            columns = [ids.take(pa.array(rows[shared])), scopes[rows[shared]], bands, keys[shared]]
            found.append(pa.table(columns, schema=PAIRS))
        progress(1)
        part = write_part(store, "near_pairs", PAIRS, found, shard=f"{self.first:06d}")
        return Outcome(parts={"near_pairs": (part,)})

    def _scopes(self, languages: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Return a number per candidate; only equal numbers may share a bucket."""
        if self.across_languages:
            return np.zeros(len(languages), np.int64)
        names = pa.array(sorted(name for name in languages.unique().to_pylist() if name is not None), pa.string())
        # No language is a scope of its own, the first.
        numbers: Numbers = pc.fill_null(pc.index_in(languages, value_set=names), -1).to_numpy().astype(np.int64)
        return numbers + 1

    def _keys(self, store: Store, candidates: pa.Table) -> list[tuple[Numbers, Numbers]]:
        """Return (keys, rows of candidates) of each band, in the order of shards and keys."""
        found: list[list[tuple[Numbers, Numbers]]] = [[] for _ in range(self.first, self.last)]
        parts = {part.shard: part for part in self.bands.parts}
        start = 0
        for own in self.candidates.parts:
            rows = candidates["shingle_row"].slice(start, own.rows).to_numpy()
            first, counts = _places(rows)
            with MappedRows(store, parts[own.shard], BANDS) as mapped:
                for band, pieces in enumerate(found, start=self.first):
                    entries = mapped.value(band, "entries", key=band.to_bytes(BAND_BYTES, "little"))
                    keys = np.frombuffer(entries, "<i8", len(entries) // _ENTRY_BYTES)
                    of_row = np.frombuffer(entries, "<u4", offset=keys.nbytes)
                    of_row = np.minimum(of_row, len(counts) - 1)
                    times = counts[of_row]
                    # Nearly every content is that of one candidate, or of none.
                    within = _numbers_within(times) if len(times) and times.max() > 1 else 0
                    pieces.append((np.repeat(keys, times), start + within + np.repeat(first[of_row], times)))
            start += own.rows
        none = np.zeros(0, np.int64)
        return [
            (
                np.concatenate([none, *(keys for keys, _ in pieces)]),
                np.concatenate([none, *(rows for _, rows in pieces)]),
            )
            for pieces in found
        ]


def _places(rows: Numbers) -> tuple[Numbers, Numbers]:
    """Return the first position and the number of each value in the rising `rows`; after the last there is none."""
    edges = np.searchsorted(rows, np.arange(int(rows[-1]) + 3 if len(rows) else 2))
    return edges[:-1].astype(np.int64), np.diff(edges).astype(np.int64)


def _numbers_within(times: Numbers) -> Numbers:
    """Return 0, 1, … for each of the given numbers of repetitions."""
    return np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)


def _shared(keys: Numbers, scopes: Numbers) -> Numbers:
    """Return the positions of the rows whose key and scope another row has too, by key and scope."""
    order = np.argsort(keys, kind="stable")
    order = order[_repeated(keys[order])]
    order = order[np.lexsort((scopes[order], keys[order]))]
    return order[_repeated(keys[order], scopes[order])]


def _repeated(*columns: Numbers) -> npt.NDArray[np.bool_]:
    """Tell for each row of sorted columns whether the one before or after it is equal."""
    same = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    repeated = np.zeros(len(columns[0]), np.bool_)
    repeated[1:] |= same
    repeated[:-1] |= same
    return repeated


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupMembers:
    """Cut the members into groups without common buckets, each small enough to be decided in memory."""

    members: Table
    pairs: Table

    def __str__(self) -> str:
        return "near-duplicate groups"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        members = self.members.read(store)
        buckets = _buckets(members, self.pairs.read(store))
        sizes = members["num_shingles"].to_numpy()
        component = _components(buckets, len(sizes))
        group = _groups(component, buckets["rank"].to_numpy(), sizes)
        parts: dict[str, list[Part]] = {"group_members": [], "group_buckets": []}
        for number in range(int(group.max(initial=-1)) + 1):
            shard = f"{number:06d}"
            own = members.filter(pa.array(group == number))
            pairs = buckets.filter(pa.array(group[buckets["rank"].to_numpy()] == number))
            parts["group_members"].append(write_part(store, "group_members", MEMBERS, [own], shard=shard))
            parts["group_buckets"].append(write_part(store, "group_buckets", BUCKETS, [pairs], shard=shard))
        return Outcome(parts={name: tuple(each) for name, each in parts.items()})


def _buckets(members: pa.Table, pairs: pa.Table) -> pa.Table:
    """Return the BUCKETS of members, by rank and band."""
    ranks = pc.index_in(pairs["document_id"], value_set=members["document_id"].combine_chunks()).to_numpy()
    bands = pairs["scope"].to_numpy() * _BANDS_PER_SCOPE + pairs["band"].to_numpy()
    order = np.lexsort((bands, ranks))
    columns = [ranks[order].astype(np.int64), bands[order].astype(np.int32), pairs["key"].to_numpy()[order]]
    return pa.table(columns, schema=BUCKETS)


def _components(buckets: pa.Table, total: int) -> npt.NDArray[np.int64]:
    """Return the component of every member: each bucket ties its members to one another."""
    rank, band, key = (buckets[name].to_numpy() for name in ("rank", "band", "key"))
    order = np.lexsort((rank, key, band))
    same = (band[order][1:] == band[order][:-1]) & (key[order][1:] == key[order][:-1])
    left, right = rank[order][:-1][same], rank[order][1:][same]
    return near_duplicates.components(left, right, total)


def _groups(
    component: npt.NDArray[np.int64], bucketed: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the group of every member, -1 where it shares no bucket. Components are whole, in order of their best."""
    shared = np.zeros(len(component), np.bool_)
    shared[bucketed] = True
    weight = np.bincount(component[shared], weights=sizes[shared], minlength=len(component)).astype(np.int64)
    number = np.full(len(component), -1, np.int64)
    current, filled = 0, 0
    for best in np.flatnonzero(weight):
        if filled and filled + weight[best] > GROUP_SHINGLES:
            current, filled = current + 1, 0
        number[best] = current
        filled += int(weight[best])
    return np.where(shared, number[component], -1)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecideGroup:
    """Decide one group of members by their shingle sets."""

    members: Part
    buckets: Part
    shingles: Table
    settings: NearDuplicateSettings

    def __str__(self) -> str:
        return f"near-duplicate group {self.members.shard}"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        members = Table(name="group_members", schema=MEMBERS, parts=(self.members,)).read(store)
        buckets = Table(name="group_buckets", schema=BUCKETS, parts=(self.buckets,)).read(store)
        ranks = members["rank"].to_numpy()
        flat, starts, counts = _shingle_sets(store, self.shingles, members)
        decisions = near_duplicates.decide(
            near_duplicates.Members(
                shingles=flat,
                starts=starts,
                counts=counts,
                pair_members=np.searchsorted(ranks, buckets["rank"].to_numpy()).astype(np.int64),
                pair_bands=buckets["band"].to_numpy(),
                pair_keys=buckets["key"].to_numpy(),
            ),
            self.settings,
        )
        near = _near_rows(members, decisions)
        progress(members.num_rows)
        part = write_part(store, "near", NEAR, [near], shard=self.members.shard)
        effort = {"compared": decisions.compared, "left_out": decisions.left_out}
        return Outcome(parts={"near": (part,)}, counts=effort)


def _near_rows(members: pa.Table, decisions: near_duplicates.Decisions) -> pa.Table:
    ids = members["document_id"].combine_chunks()
    dropped = decisions.winner >= 0
    winners = ids.take(pa.array(decisions.winner, pa.int64(), mask=~dropped))
    columns = [ids, members["shard"], ids.take(pa.array(decisions.cluster)), winners, pa.array(decisions.similarity)]
    return pa.table(columns, schema=NEAR)


def _shingle_sets(
    store: Store, shingles: Table, members: pa.Table
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the members' shingle sets as (flat, starts, counts), reading no other rows of the shards."""
    shards, rows, contents = (members[name].to_pylist() for name in ("shard", "shingle_row", "content_id"))
    by_shard: dict[str, list[int]] = {}
    for position, shard in enumerate(shards):
        by_shard.setdefault(shard, []).append(position)
    counts = members["num_shingles"].to_numpy().astype(np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)[:-1]]) if len(counts) else counts
    flat = np.empty(int(counts.sum()), np.uint32)
    parts = {part.shard: part for part in shingles.parts}
    for shard, positions in by_shard.items():
        with MappedRows(store, parts[shard], SHINGLES) as mapped:
            for position in positions:
                value = mapped.value(rows[position], "shingles", key=contents[position])
                flat[starts[position] : starts[position] + counts[position]] = np.frombuffer(value, "<u4")
    return flat, starts, counts

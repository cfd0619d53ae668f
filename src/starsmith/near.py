"""Near-duplicates of a whole corpus: from bands to verdicts (section 4 of the paper's data description).

Tasks find which documents share a bucket (`near_pairs`); a query ranks these documents. One task cuts them into groups
that have no bucket in common; further tasks decide the groups, each reading the shingle sets of its own members. How a
group is decided is the business of `curate.near_duplicates`; the numbers a document is known by there are its ranks in
winner order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from starsmith import near_pairs, near_ranges
from starsmith.builder import Builder
from starsmith.curate import near_duplicates
from starsmith.curate.exact_duplicates import WINNER_ORDER
from starsmith.decide import ALIVE
from starsmith.document import BANDS, ID_BYTES, SHINGLES
from starsmith.engines import Query
from starsmith.errors import StarsmithError, StoreFault
from starsmith.fingerprint import fingerprint
from starsmith.job import Outcome, Progress, Work
from starsmith.ledger import DROPS
from starsmith.near_pairs import CANDIDATES, PAIRS, FindPairs
from starsmith.near_ranges import FindRange
from starsmith.ranged_rows import rows_of
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part
from starsmith.workspace import read_build

VERSION = 2
GROUP_SHINGLES = 16 << 20
"""Shingle hashes a task loads at a time: 64 MiB. One group of connected documents may exceed it."""
_BANDS_PER_SCOPE = 1 << 12
"""Bands of different languages never meet: the scope is part of the band's number."""

_ID = pa.binary(ID_BYTES)

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
    return Query(name="drops_near", text=text, schema=DROPS, key=["shard", "document_id"], partition_by="shard")


def drops(builder: Builder, settings: NearDuplicateSettings, dropped: Table) -> Table:
    """Return the near-duplicates among the documents of a build that are not in `dropped`."""
    tables = builder.tables
    earlier = _earlier(builder, settings)
    candidates = builder.sql(candidates_query(ALIVE), facts=tables["facts"], dropped=dropped)
    pairs = _pairs(builder, settings, candidates, earlier)
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


def _pairs(
    builder: Builder, settings: NearDuplicateSettings, candidates: Table, earlier: near_pairs.Searched | None
) -> Table:
    bands = builder.tables["bands"]
    finds: Sequence[FindPairs | FindRange] = near_pairs.searches(candidates, bands, settings, earlier=earlier)
    if candidates.rows > near_ranges.MOST_CANDIDATES:
        finds = near_ranges.searches(candidates, bands, settings)
    works: list[tuple[str, Work]] = [(find.key, find) for find in finds]
    return builder.map(near_pairs.STAGE, works, {"near_pairs": PAIRS}, total=len(works))["near_pairs"]


def _earlier(builder: Builder, settings: NearDuplicateSettings) -> near_pairs.Searched | None:
    """Return the search that this build did before or, if this is its first, that the last build ended with."""
    store, tables = builder.store, builder.tables
    if "near_candidates" in tables:
        return near_pairs.searched(store, tables["near_candidates"], tables["bands"], settings)
    try:
        last = read_build(store)
        candidates, bands = last.table("near_candidates", CANDIDATES), last.table("bands", BANDS)
    except StoreFault:
        raise
    except StarsmithError:
        return None
    return near_pairs.searched(store, candidates, bands, settings)


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
        parts = {
            "group_members": _written(store, "group_members", members, group),
            "group_buckets": _written(store, "group_buckets", buckets, group[buckets["rank"].to_numpy()]),
        }
        return Outcome(parts=parts)


def _written(store: Store, name: str, rows: pa.Table, group: npt.NDArray[np.int64]) -> tuple[Part, ...]:
    """Write the rows of each group as a part. They are put in order once, for there may be thousands of groups."""
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(int(group.max(initial=-1)) + 2))
    pieces = (rows.take(pa.array(order[start:stop])) for start, stop in pairwise(edges.tolist()))
    return tuple(
        write_part(store, name, rows.schema, [piece], shard=f"{number:06d}") for number, piece in enumerate(pieces)
    )


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

    def read(shard: str) -> None:
        with rows_of(store, parts[shard], SHINGLES, wanted=len(by_shard[shard])) as mapped:
            for position in by_shard[shard]:
                value = mapped.value(rows[position], "shingles", key=contents[position])
                flat[starts[position] : starts[position] + counts[position]] = np.frombuffer(value, "<u4")

    # An object store takes a while to answer.
    store.each(read, by_shard)
    return flat, starts, counts

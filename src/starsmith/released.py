"""Released: which documents a release holds, and everything a row says of one but its content.

It stands apart from `release`, which writes the rows, so that to look one up nothing is loaded that works on contents.
"""

import pyarrow as pa

from starsmith.document import ANNOTATIONS, DOCUMENTS, ID_BYTES, ORIGINS, TEXTS
from starsmith.engines import Query

_FROM_ORIGINS = (
    "owner name url source repo_name snapshot_id revision_id directory_id branch_name visit_date revision_date "
    "committer_date github_id star_events_count fork_events_count gha_license_id gha_event_created_at gha_created_at "
    "gha_updated_at gha_pushed_at gha_language"
).split()
_FROM_TEXTS = ("num_lines", "avg_line_length", "max_line_length", "alpha_fraction", "alphanum_fraction")
_FROM_FACTS = (
    "shard path document_id content_id extension length committed_at language is_vendor is_generated "
    "license_type license_expression license_method license_evidence"
).split() + [*_FROM_TEXTS]
"""One wide table beside the ledger: a join of every narrow one needs more memory than a query is given."""

RELEASED = pa.schema(
    [
        DOCUMENTS.field("shard"),
        *(ORIGINS.field(name) for name in _FROM_ORIGINS[:3]),
        *(DOCUMENTS.field(name) for name in ("path", "document_id")),
        ANNOTATIONS.field("content_id"),
        *(ORIGINS.field(name) for name in _FROM_ORIGINS[3:]),
        *(DOCUMENTS.field(name) for name in ("extension", "length", "committed_at")),
        *(ANNOTATIONS.field(name) for name in ("language", "is_vendor", "is_generated")),
        *(TEXTS.field(name) for name in _FROM_TEXTS),
        pa.field("license_type", pa.string(), nullable=False),
        pa.field("license_expression", pa.string()),
        pa.field("license_method", pa.string(), nullable=False),
        pa.field("license_evidence", pa.string()),
        pa.field("license_conflict", pa.bool_(), nullable=False),
        pa.field("cluster_id", pa.binary(ID_BYTES)),
    ]
)
"""Everything a release row says but its content and what is computed from that."""

_MARKED = pa.schema([DOCUMENTS.field("shard"), DOCUMENTS.field("document_id")])

CONFLICT_MARKS = Query(
    name="conflict_marks",
    text="""
SELECT ledger.shard, ledger.document_id
FROM ledger
JOIN conflicts ON conflicts.content_id = ledger.content_id
WHERE ledger.verdict = 'keep'""",
    schema=_MARKED,
    key=["shard", "document_id"],
    partition_by="shard",
)
"""The kept documents whose content lies under licences of different kinds. Conflicts are few: asking for all of them
takes half as long as asking by key for those that changed."""

CLUSTER_MARKS = Query(
    name="cluster_marks",
    text="""
SELECT near.shard, near.document_id
FROM near
JOIN (
  SELECT cluster_id FROM near WHERE winner_id IS NOT NULL GROUP BY cluster_id
) AS clusters ON clusters.cluster_id = near.document_id""",
    schema=_MARKED,
    key=["shard", "document_id"],
    partition_by="shard",
)
"""The documents that others were dropped for as near-duplicates."""

MARKS = (CONFLICT_MARKS, CLUSTER_MARKS)
"""What a shard's release says of other shards: with these, it follows from what is its own."""

RELEASED_QUERY = Query(
    name="released",
    text=f"""
SELECT {", ".join("facts." + name for name in _FROM_FACTS)},
       {", ".join("shard_origins." + name for name in _FROM_ORIGINS)},
       conflict_marks.document_id IS NOT NULL AS license_conflict,
       cluster_marks.document_id AS cluster_id
FROM ledger
JOIN facts ON facts.document_id = ledger.document_id
JOIN shard_origins ON shard_origins.shard = facts.shard AND shard_origins.origin_id = facts.origin_id
LEFT JOIN conflict_marks ON conflict_marks.document_id = facts.document_id
LEFT JOIN cluster_marks ON cluster_marks.document_id = facts.document_id
WHERE ledger.verdict = 'keep'""",
    schema=RELEASED,
    key=["owner", "name", "url", "path", "document_id"],
    partition_by="shard",
    per_shard=True,
)

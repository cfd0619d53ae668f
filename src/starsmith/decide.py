"""Decide: everything global, as queries over narrow tables; no content is read.

The facts of each document are put side by side once. The stages of the profile then run in its order, each over the
documents that none before it dropped, so the first stage that drops a document gives the reason while everything
measured stays in the facts. Only near-duplicates need more than SQL: their groups are decided by tasks that read
stored shingle sets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from starsmith.curate import exact_duplicates, filters
from starsmith.document import ANNOTATIONS, DOCUMENTS, ID_BYTES, ORIGINS, TEXTS
from starsmith.engines import Query
from starsmith.ledger import DROPS
from starsmith.recipe import Recipe

VERSION = 1
_ID = pa.binary(ID_BYTES)

_FROM_TEXTS = (
    "num_lines avg_line_length max_line_length alpha_fraction alphanum_fraction base64_longest base64_fraction "
    "hex_longest hex_fraction unicode_longest unicode_fraction generated_phrase visible_chars visible_fraction "
    "num_shingles shingle_row"
).split()

FACTS = pa.schema(
    [
        *(DOCUMENTS.field(name) for name in ("document_id", "shard", "origin_id")),
        ORIGINS.field("url"),
        *(DOCUMENTS.field(name) for name in ("path", "file_name", "extension", "content_id", "length", "committed_at")),
        *(DOCUMENTS.field(name) for name in ("reason", "detail")),
        *(ANNOTATIONS.field(name) for name in ("language", "is_vendor", "is_generated")),
        *(TEXTS.field(name) for name in _FROM_TEXTS),
        pa.field("license_type", pa.string(), nullable=False),
        pa.field("license_expression", pa.string()),
        pa.field("license_method", pa.string(), nullable=False),
        pa.field("license_evidence", pa.string()),
        *(ORIGINS.field(name) for name in ("gha_license_id", "star_events_count", "fork_events_count")),
        *(ORIGINS.field(name) for name in ("revision_date", "visit_date")),
    ]
)
"""What the stages decide by and a release says of a document. `reason` is set where there is no text to judge."""

FACTS_QUERY = Query(
    name="facts",
    text=f"""
SELECT documents.document_id, documents.shard, documents.origin_id, shard_origins.url, documents.path,
       documents.file_name, documents.extension, documents.content_id, documents.length, documents.committed_at,
       coalesce(documents.reason, texts.reason) AS reason, coalesce(documents.detail, texts.detail) AS detail,
       annotations.language, annotations.is_vendor, annotations.is_generated,
       {", ".join("texts." + name for name in _FROM_TEXTS)},
       coalesce(licences.license_type, 'no_license') AS license_type, licences.expression AS license_expression,
       coalesce(licences.method, 'none') AS license_method, licences.evidence_path AS license_evidence,
       shard_origins.gha_license_id, shard_origins.star_events_count, shard_origins.fork_events_count,
       shard_origins.revision_date, shard_origins.visit_date
FROM documents
JOIN shard_origins ON shard_origins.shard = documents.shard AND shard_origins.origin_id = documents.origin_id
LEFT JOIN texts ON texts.shard = documents.shard AND texts.content_id = documents.content_id
LEFT JOIN annotations ON annotations.document_id = documents.document_id
LEFT JOIN licences ON licences.document_id = documents.document_id""",
    schema=FACTS,
    key=["document_id"],
    partition_by="shard",
    per_shard=True,
)

ALIVE = "SELECT facts.* FROM facts ANTI JOIN dropped ON facts.document_id = dropped.document_id"
"""The documents that no stage has dropped yet."""

_NO_EVIDENCE = (
    "CAST(NULL AS DOUBLE) AS value, CAST(NULL AS DOUBLE) AS threshold, CAST(NULL AS BINARY) AS winner_id, "
    "CAST(NULL AS DOUBLE) AS similarity"
)


def errors_query(recipe: Recipe) -> str:
    """Drop what could not be read or is no text."""
    return f"""
SELECT document_id, shard, 'errors' AS stage, reason, {_NO_EVIDENCE}, detail
FROM ({ALIVE}) AS alive
WHERE reason IS NOT NULL"""


def licence_query(recipe: Recipe) -> str:
    """Drop what is under a licence that is not permissive and, unless the recipe keeps it, under none."""
    dropped_types = "('non_permissive')" if recipe.licence.no_licence == "keep" else "('non_permissive', 'no_license')"
    return f"""
SELECT document_id, shard, 'licence' AS stage,
       CASE license_type WHEN 'non_permissive' THEN 'licence.non_permissive' ELSE 'licence.none' END AS reason,
       {_NO_EVIDENCE}, license_expression AS detail
FROM ({ALIVE}) AS alive
WHERE license_type IN {dropped_types}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A decision made by one query over `facts`, `dropped` and the named further tables."""

    name: str
    query: Callable[[Recipe], str]
    needs: tuple[str, ...] = ()
    per_shard: bool = False
    by: str | None = None

    def compiled(self, recipe: Recipe) -> Query:
        return Query(
            name=f"drops_{self.name}",
            text=self.query(recipe),
            schema=DROPS,
            key=["shard", "document_id"],
            partition_by="shard",
            per_shard=self.per_shard,
            by=self.by,
            base="facts" if self.by else "",
        )


SQL_STAGES = {
    stage.name: stage
    for stage in (
        Stage(name="errors", query=errors_query, per_shard=True),
        Stage(name="repository", query=lambda recipe: exact_duplicates.repository_query(ALIVE), needs=("origins",)),
        Stage(name="licence", query=licence_query, per_shard=True),
        Stage(
            name="filters",
            query=lambda recipe: filters.filter_query(recipe.filters, ALIVE),
            needs=("excluded_pairs",),
            per_shard=True,
        ),
        Stage(
            name="exact",
            query=lambda recipe: exact_duplicates.exact_query(ALIVE),
            needs=("conflicts", "origins"),
            by="content_id",
        ),
    )
}
"""Every stage but `near`, which `near.py` decides."""

CONFLICTS = pa.schema(
    [
        pa.field("content_id", _ID, nullable=False),
        pa.field("permissive", pa.int64(), nullable=False),
        pa.field("non_permissive", pa.int64(), nullable=False),
        pa.field("blocked", pa.bool_(), nullable=False),
        pa.field("witness_id", _ID),
    ]
)
"""Contents with permissive and non-permissive copies. `witness_id` is one of the latter."""

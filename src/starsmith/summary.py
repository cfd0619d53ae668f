"""Summary: the numbers of a build that cards and reports show, as queries over the ledger and the facts."""

import pyarrow as pa

from starsmith.document import ID_BYTES
from starsmith.engines import Query

_ID = pa.binary(ID_BYTES)


def _by(name: str, column: str, kind: pa.DataType) -> Query:
    """Count documents and bytes, all and kept, by one column of the facts."""
    return Query(
        name=name,
        text=f"""
SELECT facts.{column}, count(*) AS documents, sum(facts.length) AS bytes,
       count(CASE WHEN ledger.verdict = 'keep' THEN 1 END) AS kept_documents,
       coalesce(sum(CASE WHEN ledger.verdict = 'keep' THEN facts.length END), 0) AS kept_bytes
FROM facts
JOIN ledger ON ledger.document_id = facts.document_id
GROUP BY facts.{column}""",
        schema=pa.schema(
            [
                pa.field(column, kind),
                pa.field("documents", pa.int64(), nullable=False),
                pa.field("bytes", pa.int64(), nullable=False),
                pa.field("kept_documents", pa.int64(), nullable=False),
                pa.field("kept_bytes", pa.int64(), nullable=False),
            ]
        ),
        key=[column],
    )


BY_LANGUAGE = _by("by_language", "language", pa.string())
BY_LICENCE = _by("by_licence", "license_expression", pa.string())
BY_LICENCE_TYPE = _by("by_licence_type", "license_type", pa.string())
BY_METHOD = _by("by_licence_method", "license_method", pa.string())

BY_ORIGIN = Query(
    name="by_origin",
    text="""
SELECT origins.repo_name, origins.url, origins.source, count(*) AS documents, sum(ledger.length) AS bytes,
       count(CASE WHEN ledger.verdict = 'keep' THEN 1 END) AS kept_documents,
       coalesce(sum(CASE WHEN ledger.verdict = 'keep' THEN ledger.length END), 0) AS kept_bytes
FROM ledger
JOIN origins ON origins.origin_id = ledger.origin_id
GROUP BY origins.repo_name, origins.url, origins.source""",
    schema=pa.schema(
        [
            pa.field("repo_name", pa.string(), nullable=False),
            pa.field("url", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("documents", pa.int64(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("kept_documents", pa.int64(), nullable=False),
            pa.field("kept_bytes", pa.int64(), nullable=False),
        ]
    ),
    key=["repo_name", "url"],
)

EXAMPLES_PER_REASON = 5

EXAMPLES = Query(
    name="examples",
    text=f"""
SELECT verdict, repo_name, path, length, value, threshold, similarity, detail, document_id
FROM (
  SELECT ledger.verdict, origins.repo_name, ledger.path, ledger.length, ledger.value, ledger.threshold,
         ledger.similarity, ledger.detail, ledger.document_id,
         row_number() OVER (PARTITION BY ledger.verdict ORDER BY ledger.document_id ASC NULLS LAST) AS number
  FROM ledger
  JOIN origins ON origins.origin_id = ledger.origin_id
) AS numbered
WHERE number <= {EXAMPLES_PER_REASON}""",
    schema=pa.schema(
        [
            pa.field("verdict", pa.string(), nullable=False),
            pa.field("repo_name", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("length", pa.int64(), nullable=False),
            pa.field("value", pa.float64()),
            pa.field("threshold", pa.float64()),
            pa.field("similarity", pa.float64()),
            pa.field("detail", pa.string()),
            pa.field("document_id", _ID, nullable=False),
        ]
    ),
    key=["verdict", "document_id"],
)
"""A few documents per verdict, chosen by id: as good as at random, and always the same."""

CLUSTER_SIZES = Query(
    name="cluster_sizes",
    text="""
SELECT size, count(*) AS clusters
FROM (SELECT cluster_id, count(*) AS size FROM near GROUP BY cluster_id) AS clusters
WHERE size > 1
GROUP BY size""",
    schema=pa.schema([pa.field("size", pa.int64(), nullable=False), pa.field("clusters", pa.int64(), nullable=False)]),
    key=["size"],
)
"""How many near-duplicate clusters there are of each size, the winner included."""

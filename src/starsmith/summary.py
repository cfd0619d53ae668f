"""Summary: the numbers of a build that cards and reports show, as queries over the ledger and the facts.

What needs every document is counted per shard first; the rest of the queries read these few rows.
"""

import pyarrow as pa

from starsmith.decide import FACTS
from starsmith.document import ID_BYTES
from starsmith.engines import Query
from starsmith.ledger import LEDGER

_ID = pa.binary(ID_BYTES)


_COUNTED = [pa.field("documents", pa.int64(), nullable=False), pa.field("bytes", pa.int64(), nullable=False)]
_GROUPS = (
    "shard, stage, verdict, origin_id, language, license_type, license_expression, license_method, rule, threshold"
)

SUMS = Query(
    name="sums",
    text=f"""
SELECT {_GROUPS}, count(*) AS documents, sum(length) AS bytes
FROM (
  SELECT ledger.shard, ledger.stage, ledger.verdict, ledger.origin_id, facts.language, facts.license_type,
         facts.license_expression, facts.license_method, ledger.length,
         CASE WHEN ledger.stage = 'filters' THEN ledger.detail END AS rule,
         CASE WHEN ledger.stage = 'filters' THEN ledger.threshold END AS threshold
  FROM ledger
  JOIN facts ON facts.document_id = ledger.document_id
) AS judged
GROUP BY {_GROUPS}""",
    schema=pa.schema(
        [
            *(LEDGER.field(name) for name in ("shard", "stage", "verdict", "origin_id")),
            *(FACTS.field(name) for name in ("language", "license_type", "license_expression", "license_method")),
            pa.field("rule", pa.string()),
            LEDGER.field("threshold"),
            *_COUNTED,
        ]
    ),
    key=_GROUPS.split(", "),
    partition_by="shard",
    per_shard=True,
)
"""Documents and bytes of a shard by all that they are counted by; `rule` is the filter that dropped them."""

TOTALS = Query(
    name="totals",
    text=f"""
SELECT {_GROUPS.removeprefix("shard, ")}, sum(documents) AS documents, sum(bytes) AS bytes
FROM sums
GROUP BY {_GROUPS.removeprefix("shard, ")}""",
    schema=pa.schema([field for field in SUMS.schema if field.name != "shard"]),
    key=_GROUPS.removeprefix("shard, ").split(", "),
)
"""The sums of all shards in one place."""

COUNTED = (SUMS, TOTALS)
"""What the sums of a ledger are checked by, before anything else is computed from it."""

EXAMPLES_PER_VERDICT = 5

_CANDIDATE_COLUMNS = "verdict, origin_id, path, length, value, threshold, similarity, detail, document_id, winner_id"

CANDIDATES = Query(
    name="example_candidates",
    text=f"""
SELECT shard, {_CANDIDATE_COLUMNS}, language, license_expression
FROM (
  SELECT by_origin.shard, {_CANDIDATE_COLUMNS}, language, license_expression,
         row_number() OVER (
           PARTITION BY shard, verdict ORDER BY nth ASC NULLS LAST, document_id ASC NULLS LAST
         ) AS place
  FROM (
    SELECT ledger.*, facts.language, facts.license_expression,
           row_number() OVER (
             PARTITION BY ledger.shard, ledger.verdict, ledger.origin_id ORDER BY ledger.document_id ASC NULLS LAST
           ) AS nth
    FROM ledger
    JOIN facts ON facts.document_id = ledger.document_id
    WHERE ledger.verdict NOT LIKE 'optout.%'
  ) AS by_origin
) AS placed
WHERE place <= {EXAMPLES_PER_VERDICT}""",
    schema=pa.schema(
        [
            LEDGER.field("shard"),
            *(LEDGER.field(name) for name in _CANDIDATE_COLUMNS.split(", ")),
            *(FACTS.field(name) for name in ("language", "license_expression")),
        ]
    ),
    key=["verdict", "document_id"],
    partition_by="shard",
    per_shard=True,
)
"""What each shard has to offer to EXAMPLES, whose rule within a shard leaves out nothing that it would choose of all:
every example that comes before one within a shard has one that comes before it in the whole."""

PER_SHARD = (SUMS, CANDIDATES)


def _by(name: str, column: str, kind: pa.DataType) -> Query:
    """Count documents and bytes, all and kept, by one column of the facts."""
    return Query(
        name=name,
        text=f"""
SELECT {column}, sum(documents) AS documents, sum(bytes) AS bytes, {_KEPT}
FROM totals
GROUP BY {column}""",
        schema=pa.schema([pa.field(column, kind), *_COUNTED, *_KEPT_COUNTED]),
        key=[column],
    )


_KEPT = (
    "coalesce(sum(CASE WHEN verdict = 'keep' THEN documents END), 0) AS kept_documents, "
    "coalesce(sum(CASE WHEN verdict = 'keep' THEN bytes END), 0) AS kept_bytes"
)
_KEPT_COUNTED = [
    pa.field("kept_documents", pa.int64(), nullable=False),
    pa.field("kept_bytes", pa.int64(), nullable=False),
]


BY_LANGUAGE = _by("by_language", "language", pa.string())
BY_LICENCE = _by("by_licence", "license_expression", pa.string())
BY_LICENCE_TYPE = _by("by_licence_type", "license_type", pa.string())
BY_METHOD = _by("by_licence_method", "license_method", pa.string())

BY_ORIGIN = Query(
    name="by_origin",
    text=f"""
SELECT origins.repo_name, origins.url, origins.source, sum(documents_of.documents) AS documents,
       sum(documents_of.bytes) AS bytes, sum(documents_of.kept_documents) AS kept_documents,
       sum(documents_of.kept_bytes) AS kept_bytes
FROM (
  SELECT origin_id, sum(documents) AS documents, sum(bytes) AS bytes, {_KEPT}
  FROM totals
  GROUP BY origin_id
) AS documents_of
JOIN origins ON origins.origin_id = documents_of.origin_id
GROUP BY origins.repo_name, origins.url, origins.source""",
    schema=pa.schema(
        [
            pa.field("repo_name", pa.string(), nullable=False),
            pa.field("url", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            *_COUNTED,
            *_KEPT_COUNTED,
        ]
    ),
    key=["repo_name", "url"],
)

EXAMPLES = Query(
    name="examples",
    text=f"""
SELECT chosen.verdict, chosen.nth, origins.repo_name, chosen.path, chosen.length, chosen.language,
       chosen.license_expression,
       chosen.value, chosen.threshold, chosen.similarity, chosen.detail, chosen.document_id,
       winner_origins.repo_name AS winner_repo_name, winners.path AS winner_path
FROM (
  SELECT by_origin.*,
         row_number() OVER (PARTITION BY verdict ORDER BY place ASC NULLS LAST, document_id ASC NULLS LAST) AS nth
  FROM (
    SELECT example_candidates.*,
           row_number() OVER (PARTITION BY verdict, origin_id ORDER BY document_id ASC NULLS LAST) AS place
    FROM example_candidates
  ) AS by_origin
) AS chosen
JOIN origins ON origins.origin_id = chosen.origin_id
LEFT JOIN ledger AS winners ON winners.document_id = chosen.winner_id
LEFT JOIN origins AS winner_origins ON winner_origins.origin_id = winners.origin_id
WHERE chosen.nth <= {EXAMPLES_PER_VERDICT}""",
    schema=pa.schema(
        [
            pa.field("verdict", pa.string(), nullable=False),
            pa.field("nth", pa.int64(), nullable=False),
            pa.field("repo_name", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("length", pa.int64(), nullable=False),
            pa.field("language", pa.string()),
            pa.field("license_expression", pa.string()),
            pa.field("value", pa.float64()),
            pa.field("threshold", pa.float64()),
            pa.field("similarity", pa.float64()),
            pa.field("detail", pa.string()),
            pa.field("document_id", _ID, nullable=False),
            pa.field("winner_repo_name", pa.string()),
            pa.field("winner_path", pa.string()),
        ]
    ),
    key=["verdict", "nth"],
)
"""A few documents per verdict, of as many origins as there are, chosen by id: as good as at random, always the same.
None of what was asked to be left out: an example would tell who asked."""

BY_FILTER = Query(
    name="by_filter",
    text="""
SELECT verdict, rule AS detail, threshold, sum(documents) AS documents, sum(bytes) AS bytes
FROM totals
WHERE stage = 'filters'
GROUP BY verdict, rule, threshold""",
    schema=pa.schema(
        [
            pa.field("verdict", pa.string(), nullable=False),
            pa.field("detail", pa.string()),
            pa.field("threshold", pa.float64()),
            *_COUNTED,
        ]
    ),
    key=["verdict", "detail", "threshold"],
)
"""What each filter dropped; one that dropped nothing has no row. `detail` is the filter's `what`."""

CONFLICT_EXAMPLES_SHOWN = 20

CONFLICT_EXAMPLES = Query(
    name="conflict_examples",
    text=f"""
WITH copies AS (
  SELECT shown.*, facts.document_id, facts.origin_id, facts.path, facts.license_type, facts.license_method,
         facts.license_expression
  FROM (
    SELECT conflicts.*,
           row_number() OVER (ORDER BY permissive + non_permissive DESC NULLS LAST, content_id ASC NULLS LAST) AS nth
    FROM conflicts
  ) AS shown
  JOIN facts ON facts.content_id = shown.content_id
  WHERE shown.nth <= {CONFLICT_EXAMPLES_SHOWN}
)
SELECT allowing.content_id, allowing.permissive, allowing.non_permissive, allowing.blocked,
       permissive_origins.repo_name AS permissive_repo_name, allowing.path AS permissive_path,
       allowing.license_expression AS permissive_licence,
       strict_origins.repo_name AS strict_repo_name, strict.path AS strict_path,
       strict.license_expression AS strict_licence
FROM copies AS allowing
JOIN copies AS strict ON strict.document_id = allowing.witness_id
JOIN origins AS strict_origins ON strict_origins.origin_id = strict.origin_id
JOIN origins AS permissive_origins ON permissive_origins.origin_id = allowing.origin_id
WHERE allowing.license_type = 'permissive' AND allowing.license_method <> 'header'
QUALIFY row_number() OVER (PARTITION BY allowing.content_id ORDER BY allowing.document_id ASC NULLS LAST) = 1""",
    schema=pa.schema(
        [
            pa.field("content_id", _ID, nullable=False),
            pa.field("permissive", pa.int64(), nullable=False),
            pa.field("non_permissive", pa.int64(), nullable=False),
            pa.field("blocked", pa.bool_(), nullable=False),
            pa.field("permissive_repo_name", pa.string(), nullable=False),
            pa.field("permissive_path", pa.string(), nullable=False),
            pa.field("permissive_licence", pa.string()),
            pa.field("strict_repo_name", pa.string(), nullable=False),
            pa.field("strict_path", pa.string(), nullable=False),
            pa.field("strict_licence", pa.string()),
        ]
    ),
    key=["content_id"],
)
"""Contents whose copies lie under licences of different kinds, the most copied first, with one copy of each kind."""

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

ANY_KIND = "any"
"""In the place of a kind: all of them together."""

REPLACED = Query(
    name="replaced",
    text=f"""
SELECT kind, sum(findings) AS findings, count(*) AS documents
FROM (
  SELECT findings.kind, ledger.document_id, count(*) AS findings
  FROM findings
  JOIN ledger ON ledger.content_id = findings.content_id
  WHERE ledger.verdict = 'keep'
  GROUP BY findings.kind, ledger.document_id
  UNION ALL
  SELECT '{ANY_KIND}' AS kind, ledger.document_id, count(*) AS findings
  FROM findings
  JOIN ledger ON ledger.content_id = findings.content_id
  WHERE ledger.verdict = 'keep'
  GROUP BY ledger.document_id
) AS found
GROUP BY kind""",
    schema=pa.schema(
        [
            pa.field("kind", pa.string(), nullable=False),
            pa.field("findings", pa.int64(), nullable=False),
            pa.field("documents", pa.int64(), nullable=False),
        ]
    ),
    key=["kind"],
)
"""What a release replaces, by kind and, as ANY_KIND, in all; a document counts once in each row."""

BY_BENCHMARK = Query(
    name="by_benchmark",
    text="""
SELECT benchmark_matches.benchmark, benchmark_matches.kind,
       count(DISTINCT benchmark_matches.problem) AS problems, count(DISTINCT ledger.document_id) AS documents
FROM benchmark_matches
JOIN ledger ON ledger.content_id = benchmark_matches.content_id
WHERE ledger.verdict LIKE 'benchmark.%'
GROUP BY benchmark_matches.benchmark, benchmark_matches.kind""",
    schema=pa.schema(
        [
            pa.field("benchmark", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("problems", pa.int64(), nullable=False),
            pa.field("documents", pa.int64(), nullable=False),
        ]
    ),
    key=["benchmark", "kind"],
)
"""Documents left out by benchmark and kind of match, and how many of its problems they hold. A document counts for
each benchmark that it holds a problem of."""

BY_SIGNATURE = Query(
    name="by_signature",
    text="""
SELECT scans.signature, count(*) AS documents, sum(ledger.length) AS bytes
FROM scans
JOIN ledger ON ledger.content_id = scans.content_id
WHERE scans.signature IS NOT NULL AND ledger.stage = 'scan'
GROUP BY scans.signature""",
    schema=pa.schema(
        [
            pa.field("signature", pa.string(), nullable=False),
            pa.field("documents", pa.int64(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
        ]
    ),
    key=["signature"],
)
"""Documents left out by the name that a malware scanner has for them."""

ALL = (
    TOTALS,
    BY_LANGUAGE,
    BY_LICENCE,
    BY_LICENCE_TYPE,
    BY_METHOD,
    BY_ORIGIN,
    BY_FILTER,
    EXAMPLES,
    CONFLICT_EXAMPLES,
    CLUSTER_SIZES,
    REPLACED,
    BY_BENCHMARK,
    BY_SIGNATURE,
)
"""Every summary, in the order in which a build computes them. Each names the tables it reads."""

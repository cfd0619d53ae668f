"""Exact duplicates: copies of one repository, copies of one content, and copies that lie under different licences.

Sections 1.2.5 (repositories) and 1.4 (contents, winner order) of the paper's data description, and section 4 for the
rank of licence types. Every order here is total: the paper's keys, then URL, path and id. All of it is SQL over
narrow tables; no content is read.
"""

from starsmith.settings import ExactDuplicateSettings

REPOSITORY_ORDER = (
    "gha_license_id ASC NULLS LAST, star_events_count DESC NULLS LAST, fork_events_count DESC NULLS LAST, "
    "revision_date ASC NULLS LAST, github_id ASC NULLS LAST, visit_date ASC NULLS LAST, url ASC NULLS LAST"
)

LICENCE_RANK = "CASE license_type WHEN 'permissive' THEN 0 WHEN 'no_license' THEN 1 ELSE 2 END"

WINNER_ORDER = (
    f"{LICENCE_RANK} ASC NULLS LAST, star_events_count DESC NULLS LAST, fork_events_count DESC NULLS LAST, "
    "revision_date DESC NULLS LAST, visit_date DESC NULLS LAST, url ASC NULLS LAST, path ASC NULLS LAST, "
    "document_id ASC NULLS LAST"
)


def repository_query(alive: str) -> str:
    """Drop every document of an origin whose root directory is that of a better-placed origin."""
    return f"""
SELECT alive.document_id, alive.shard, 'repository' AS stage, 'duplicate.repository' AS reason,
       CAST(NULL AS DOUBLE) AS value, CAST(NULL AS DOUBLE) AS threshold,
       twin.document_id AS winner_id, CAST(1.0 AS DOUBLE) AS similarity, winner_name AS detail
FROM ({alive}) AS alive
JOIN (
  SELECT origin_id,
         first_value(origin_id) OVER (PARTITION BY directory_id ORDER BY {REPOSITORY_ORDER}) AS winner_origin,
         first_value(repo_name) OVER (PARTITION BY directory_id ORDER BY {REPOSITORY_ORDER}) AS winner_name
  FROM origins
  WHERE directory_id IS NOT NULL
) AS copies ON copies.origin_id = alive.origin_id
LEFT JOIN facts AS twin ON twin.origin_id = copies.winner_origin AND twin.path = alive.path
WHERE copies.winner_origin <> alive.origin_id
QUALIFY row_number() OVER (PARTITION BY alive.document_id ORDER BY twin.document_id ASC NULLS LAST) = 1"""


def conflict_query(settings: ExactDuplicateSettings) -> str:
    """Find the contents whose copies lie under licences of different kinds, and whether that blocks them.

    A licence stated inside the file is the same for every copy and settles the matter; copies whose licence is not
    known say nothing, and nobody owns an empty file. By `earliest`, a copy without a commit time leaves only the
    strict rule.
    """
    blocked = {
        "any_permissive": "FALSE",
        "all_permissive": "TRUE",
        "earliest": "(copies > dated OR first_non_permissive <= first_seen)",
    }[settings.conflict]
    return f"""
SELECT content_id, permissive, non_permissive, {blocked} AS blocked, witness_id
FROM (
  SELECT content_id,
         count(*) AS copies,
         count(committed_at) AS dated,
         count(CASE WHEN license_type = 'permissive' THEN 1 END) AS permissive,
         count(CASE WHEN license_type = 'non_permissive' THEN 1 END) AS non_permissive,
         min(committed_at) AS first_seen,
         min(CASE WHEN license_type = 'non_permissive' THEN committed_at END) AS first_non_permissive,
         min(CASE WHEN license_type = 'non_permissive' THEN document_id END) AS witness_id
  FROM facts
  WHERE reason IS NULL AND length > 0 AND license_type <> 'no_license' AND license_method <> 'header'
  GROUP BY content_id
) AS contents
WHERE permissive > 0 AND non_permissive > 0"""


_ORIGIN_ORDER = (
    "star_events_count DESC NULLS LAST, fork_events_count DESC NULLS LAST, revision_date DESC NULLS LAST, "
    "visit_date DESC NULLS LAST, url ASC NULLS LAST, origin_id ASC NULLS LAST"
)
"""What WINNER_ORDER says of an origin, and no more than that of a document but its licence, path and id."""

_LICENCE_STEP = 10**12
"""More than there will be origins."""


def exact_query(alive: str) -> str:
    """Drop contents that a licence conflict blocks, then all copies of a content but the first in WINNER_ORDER.

    Origins are put in order once. What is left to compare of two copies is a number and, within an origin, the path:
    sorting all copies by all keys takes 1.7 times the processor time.
    """
    return f"""
WITH ranked AS (
  SELECT alive.document_id, alive.shard, alive.content_id, alive.path,
         {LICENCE_RANK} * CAST({_LICENCE_STEP} AS BIGINT) + places.place AS place
  FROM ({alive}) AS alive
  JOIN (
    SELECT origin_id, row_number() OVER (ORDER BY {_ORIGIN_ORDER}) AS place
    FROM origins
  ) AS places ON places.origin_id = alive.origin_id
),
winners AS (
  SELECT best.content_id, ranked.document_id AS winner_id
  FROM (SELECT content_id, min(place) AS place FROM ranked GROUP BY content_id HAVING count(*) > 1) AS best
  JOIN ranked ON ranked.content_id = best.content_id AND ranked.place = best.place
  QUALIFY row_number() OVER (
    PARTITION BY best.content_id ORDER BY ranked.path ASC NULLS LAST, ranked.document_id ASC NULLS LAST
  ) = 1
)
SELECT document_id, shard, 'exact' AS stage,
       CASE WHEN blocked THEN 'licence.conflict' ELSE 'duplicate.exact' END AS reason,
       CAST(NULL AS DOUBLE) AS value, CAST(NULL AS DOUBLE) AS threshold,
       CASE WHEN blocked THEN witness_id ELSE winner_id END AS winner_id,
       CAST(1.0 AS DOUBLE) AS similarity, CAST(NULL AS STRING) AS detail
FROM (
  SELECT ranked.document_id, ranked.shard, coalesce(conflicts.blocked, FALSE) AS blocked, conflicts.witness_id,
         coalesce(winners.winner_id, ranked.document_id) AS winner_id
  FROM ranked
  LEFT JOIN winners ON winners.content_id = ranked.content_id
  LEFT JOIN conflicts ON conflicts.content_id = ranked.content_id
) AS copies
WHERE blocked OR winner_id <> document_id"""

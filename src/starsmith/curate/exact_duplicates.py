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


def exact_query(alive: str) -> str:
    """Drop contents that a licence conflict blocks, then all copies of a content but the first in winner order."""
    return f"""
SELECT document_id, shard, 'exact' AS stage,
       CASE WHEN blocked THEN 'licence.conflict' ELSE 'duplicate.exact' END AS reason,
       CAST(NULL AS DOUBLE) AS value, CAST(NULL AS DOUBLE) AS threshold,
       CASE WHEN blocked THEN witness_id ELSE winner_id END AS winner_id,
       CAST(1.0 AS DOUBLE) AS similarity, CAST(NULL AS STRING) AS detail
FROM (
  SELECT alive.document_id, alive.shard, coalesce(conflicts.blocked, FALSE) AS blocked, conflicts.witness_id,
         first_value(alive.document_id) OVER (PARTITION BY alive.content_id ORDER BY {WINNER_ORDER}) AS winner_id
  FROM ({alive}) AS alive
  LEFT JOIN conflicts ON conflicts.content_id = alive.content_id
) AS copies
WHERE blocked OR winner_id <> document_id"""

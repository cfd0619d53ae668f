"""Which licence holds for which document: statements are resolved per folder, then one query joins them to documents.

Follows section 1.4 (propagation and decision per file) and repairs 12.4 and 12.5: the nearest folder that states a
licence governs (`propagation = "nearest"`), a choice stays a choice, and every answer names its evidence. The paper's
union over all ancestor folders is the other setting. An ancestor is meant by path component: a licence in `foo` says
nothing of `foobar`.

It reads no text and knows nothing of exact duplicates whose licences differ.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

import pyarrow as pa

from starsmith.curate.licence_expression import UNKNOWN, LicenceType, flatten, ids, join, license_type, normalise
from starsmith.document import ID_BYTES, ancestors, file_name_of
from starsmith.settings import LicenceSettings

FOLDER_LICENCES: Final = pa.schema(
    [
        pa.field("origin_id", pa.binary(ID_BYTES), nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("expression", pa.string(), nullable=False),
        pa.field("license_type", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("evidence_path", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
    ]
)
"""One row per folder that states a licence: for itself and all below it that state none. `method` is the kind of the
statement that decided, `evidence_path` its file ("" for the origin itself), `score` the least of those it rests on."""

EXPRESSION_TYPES: Final = pa.schema(
    [pa.field("expression", pa.string(), nullable=False), pa.field("license_type", pa.string(), nullable=False)]
)
"""The type of each distinct string that a header or an origin's `gha_license_id` states."""

LICENCES: Final = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("document_id", pa.binary(ID_BYTES), nullable=False),
        pa.field("license_type", pa.string(), nullable=False),
        pa.field("expression", pa.string()),
        pa.field("method", pa.string(), nullable=False),
        pa.field("evidence_path", pa.string()),
        pa.field("folder", pa.string()),
        pa.field("score", pa.float64()),
    ]
)
"""One row per document. `method`: header, licence_file, manifest, readme, origin, gha or none; `folder` is the one
whose statement was taken. `license_type`: permissive, non_permissive or no_license (the column's published values)."""

_KINDS: Final = ("origin", "manifest", "licence_file", "readme")
_NAMED_FOR_LICENCE = re.compile(
    r"^(?:licen[cs]e[-_.](?P<after>[a-z0-9.]+?)|(?P<before>[a-z0-9.]+?)[-_.]licen[cs]e|(?P<un>unlicense))"
    r"(?:\.(?:txt|md|rst))?$"
)
_LICENCE_WORDS = {
    "apache": "Apache",
    "boost": "BSL",
    "cc0": "CC0",
    "zlib": "Zlib",
    "isc": "ISC",
    "unlicense": "Unlicense",
    "mit": "MIT",
    "bsd": "BSD",
}
_LESSER = re.compile(r"lesser|lgpl|copying[-_.]lib", re.IGNORECASE)
_GNU_FAMILY = re.compile(r"(?P<family>AGPL|LGPL|GPL)-(?P<version>\d\.\d)-(?:only|or-later)")
_BSD_FAMILY = re.compile(r"BSD-[1-4]-Clause(?:-Views)?")
_DIST_INFO = re.compile(r"\.(?:dist|egg)-info/")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stated:
    """One statement, or what several come to."""

    path: str
    kind: str
    expression: str
    score: float | None


@lru_cache(maxsize=65_536)
def _type(expression: str, *, expressions: bool) -> LicenceType:
    return license_type(expression, expressions=expressions)


def expression_types(stated: Iterable[str | None], settings: LicenceSettings) -> pa.Table:
    """Return EXPRESSION_TYPES for every distinct string stated by headers or `gha_license_id`; None is passed over.

    NOASSERTION (GitHub saw a licence and did not recognise it) has no entry: the queries treat it apart.
    """
    distinct = sorted({text for text in stated if text is not None and text != "NOASSERTION"})
    types = [_type(normalise(text) or UNKNOWN, expressions=settings.expressions) for text in distinct]
    return pa.table([pa.array(distinct, pa.string()), pa.array(types, pa.string())], schema=EXPRESSION_TYPES)


def resolve_folders(statements: pa.Table, settings: LicenceSettings) -> pa.Table:
    """Return FOLDER_LICENCES for a table of LICENCE_STATEMENTS: one row per origin and folder that states something.

    All statements of an origin must be in the one table. The order and repetition of its rows make no difference.
    """
    rows = {_key(row): row for row in statements.to_pylist() if _counts(row["kind"], settings)}
    ordered = [rows[key] for key in sorted(rows)]
    found = [
        row for _, group in groupby(ordered, key=lambda row: row["origin_id"]) for row in _origin(list(group), settings)
    ]
    return pa.Table.from_pylist(found, schema=FOLDER_LICENCES)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["origin_id"],
        row["folder"],
        _KINDS.index(row["kind"]),
        row["path"],
        row["expression"],
        row["score"] or 0.0,
    )


def _counts(kind: str, settings: LicenceSettings) -> bool:
    off = {"manifest": not settings.manifests, "readme": not settings.readmes}
    return not off.get(kind, False)


def _origin(rows: list[dict[str, Any]], settings: LicenceSettings) -> Iterator[dict[str, Any]]:
    folders = {
        folder: [_Stated(path=r["path"], kind=r["kind"], expression=r["expression"], score=r["score"]) for r in group]
        for folder, group in groupby(rows, key=lambda row: str(row["folder"]))
    }
    for folder in sorted(folders):
        found = _nearest(folders[folder]) if settings.propagation == "nearest" else _union(folder, folders)
        expression = found.expression if settings.expressions else flatten(found.expression)
        kind = _type(expression, expressions=settings.expressions)
        if kind == "no_license" and settings.propagation == "nearest":
            continue  # Only neutral ids: the folder above goes on governing.
        yield {
            "origin_id": rows[0]["origin_id"],
            "folder": folder,
            "expression": expression,
            "license_type": kind,
            "method": found.kind,
            "evidence_path": found.path,
            "score": found.score,
        }


def _union(folder: str, folders: dict[str, list[_Stated]]) -> _Stated:
    """The paper's rule: everything that the folder and all folders above it state, together."""
    together = [stated for above in ancestors(folder) for stated in folders.get(above, [])]
    return _joined("AND", together)


def _joined(operator: str, statements: list[_Stated]) -> _Stated:
    """Return several statements as one; evidence is the first of them, the score the least."""
    scores = [stated.score for stated in statements if stated.score is not None]
    expression = join("OR" if operator == "OR" else "AND", [stated.expression for stated in statements])
    first = statements[0]
    return _Stated(path=first.path, kind=first.kind, expression=expression, score=min(scores, default=None))


def _nearest(statements: list[_Stated]) -> _Stated:
    """Resolve one folder: claims (origin, manifests) govern licence files that agree with them; readmes come last."""
    claims = [stated for stated in statements if stated.kind in {"origin", "manifest"}]
    files = [stated for stated in statements if stated.kind == "licence_file"]
    if claims:
        return _claims_and_files(claims, files)
    return _licence_files(files) if files else _joined("AND", statements)


def _claims_and_files(claims: list[_Stated], files: list[_Stated]) -> _Stated:
    in_files = {spdx for stated in files for spdx in ids(stated.expression)}
    claim = _refined(_joined("AND", claims), in_files)
    contrary = _contrary(set(ids(claim.expression)), files)
    if not contrary:
        return claim
    added = _licence_files(contrary)
    return _joined("AND", [added, claim])


def _contrary(claimed: set[str], files: list[_Stated]) -> list[_Stated]:
    """Return the licence files that say something the claims do not.

    A distribution's metadata names all licence files beside it, those of bundled parts too: where one of its own, at
    the top, agrees with the claim, the claim speaks for all of them.
    """
    listed = [stated for stated in files if _DIST_INFO.search(stated.path)]
    depth = min((stated.path.count("/") for stated in listed), default=0)
    if any(_covered(claimed, ids(stated.expression)) for stated in listed if stated.path.count("/") == depth):
        files = [stated for stated in files if stated not in listed]
    return [stated for stated in files if not _is_covered(claimed, stated)]


def _is_covered(claimed: set[str], stated: _Stated) -> bool:
    """Whether a claim already says what a licence file says.

    Text around a licence that was not recognised does not contradict a claim of that licence; a file of which nothing
    was recognised does.
    """
    found = ids(stated.expression)
    known = [spdx for spdx in found if spdx != UNKNOWN]
    return bool(known) and set(known) <= _covered(claimed, found)


def _covered(claimed: set[str], found: Iterable[str]) -> set[str]:
    """Return those of `found` that are claimed; a GNU text does not tell -only from -or-later."""
    families = {_gnu_text(spdx) for spdx in claimed} - {None}
    return {spdx for spdx in found if spdx in claimed or _gnu_text(spdx) in families}


def _gnu_text(spdx: str) -> tuple[str, str] | None:
    match = _GNU_FAMILY.fullmatch(spdx)
    return (match["family"], match["version"]) if match else None


def _refined(claim: _Stated, in_files: set[str]) -> _Stated:
    """Replace a claim's vague family name ("BSD", "GPL") by the licence of that family whose text is there."""
    replaced = {}
    for spdx in ids(claim.expression):
        better = sorted(found for found in in_files if _is_vaguer(spdx, found))
        if spdx not in in_files and len(better) == 1:
            replaced[spdx] = better[0]
    expression = claim.expression
    for vague, precise in replaced.items():
        expression = re.sub(rf"(?<![\w.+-]){re.escape(vague)}(?![\w.+-])", precise, expression)
    return _Stated(path=claim.path, kind=claim.kind, expression=join("AND", [expression]), score=claim.score)


def _is_vaguer(claimed: str, found: str) -> bool:
    if _BSD_FAMILY.fullmatch(claimed):
        return _BSD_FAMILY.fullmatch(found) is not None
    family = {"GPL-1.0-or-later": "GPL", "LGPL-2.0-or-later": "LGPL"}.get(claimed)
    match = _GNU_FAMILY.fullmatch(found)
    return family is not None and match is not None and match["family"] == family


def _licence_files(files: list[_Stated]) -> _Stated:
    """Several licence files of one folder: all hold, unless their names offer a choice or one builds on the other."""
    files = _without_gpl_of_lgpl(files)
    return _joined("OR" if _are_alternatives(files) else "AND", files)


def _are_alternatives(files: list[_Stated]) -> bool:
    """Whether all files are named for the licence they hold (LICENSE-MIT, LICENSE-APACHE, UNLICENSE), all permissive.

    With a copyleft licence among them the names alone do not tell a choice from a project in parts: then all hold.
    """
    if len(files) < 2 or not all(map(_is_named_for_itself, files)):
        return False
    return all(_type(stated.expression, expressions=True) == "permissive" for stated in files)


def _is_named_for_itself(stated: _Stated) -> bool:
    match = _NAMED_FOR_LICENCE.match(file_name_of(stated.path).lower())
    word = re.sub(r"[\d.]+$", "", next(filter(None, match.groups()))) if match else ""
    return stated.expression.startswith(_LICENCE_WORDS.get(word, "\0"))


def _without_gpl_of_lgpl(files: list[_Stated]) -> list[_Stated]:
    """COPYING beside COPYING.LESSER is the GPL text that the LGPL builds on, not a licence of its own."""
    lesser = [f for f in files if f.expression.startswith("LGPL-") and _LESSER.search(file_name_of(f.path))]
    if not lesser:
        return files
    return [stated for stated in files if not stated.expression.startswith("GPL-")]


_NEAREST = """
nearest AS (
  SELECT f.origin_id, f.folder, l.folder AS stated_folder, l.expression, l.license_type, l.method, l.evidence_path,
    l.score
  FROM folders AS f
  JOIN folder_licences AS l ON l.origin_id = f.origin_id AND l.folder = f.ancestor
  QUALIFY row_number() OVER (
    PARTITION BY f.origin_id, f.folder ORDER BY f.distance ASC NULLS LAST, l.folder ASC NULLS LAST
  ) = 1
)"""

_HEADERS = """
headers AS (
  SELECT DISTINCT t.shard, t.content_id, t.licence AS expression, e.license_type
  FROM texts AS t
  JOIN types AS e ON e.expression = t.licence
  WHERE e.license_type <> 'no_license'
)"""

_NO_HEADERS = """
headers AS (
  SELECT shard, content_id, licence AS expression, licence AS license_type FROM texts WHERE 1 = 0
)"""

_GHA = """
gha AS (
  SELECT DISTINCT o.origin_id, o.gha_license_id AS expression,
    CASE WHEN o.gha_license_id = 'NOASSERTION' THEN 'unrecognised'
         ELSE coalesce(e.license_type, 'non_permissive') END AS license_type
  FROM origins AS o
  LEFT JOIN types AS e ON e.expression = o.gha_license_id
  WHERE o.gha_license_id IS NOT NULL
)"""

_QUERY = """
WITH types AS (
  SELECT DISTINCT expression, license_type FROM expression_types
),{nearest},{headers},{gha},
decided AS (
  SELECT d.shard, d.document_id, d.path, d.folder,
    {decider} AS decider,
    h.expression AS header_expression, h.license_type AS header_type,
    n.stated_folder, n.expression AS folder_expression, n.license_type AS folder_type, n.method AS folder_method,
    n.evidence_path AS folder_evidence, n.score AS folder_score,
    g.expression AS gha_expression, g.license_type AS gha_type
  FROM documents AS d
  LEFT JOIN headers AS h ON h.shard = d.shard AND h.content_id = d.content_id
  LEFT JOIN nearest AS n ON n.origin_id = d.origin_id AND n.folder = d.folder
  LEFT JOIN gha AS g ON g.origin_id = d.origin_id
)
SELECT shard, document_id,
  CASE decider WHEN 'header' THEN header_type WHEN 'folder' THEN folder_type
    WHEN 'gha' THEN CASE WHEN gha_type = 'permissive' THEN 'permissive' ELSE 'non_permissive' END
    ELSE 'no_license' END AS license_type,
  CASE decider WHEN 'header' THEN header_expression WHEN 'folder' THEN folder_expression
    WHEN 'gha' THEN gha_expression END AS expression,
  CASE decider WHEN 'folder' THEN folder_method ELSE decider END AS method,
  CASE decider WHEN 'header' THEN path WHEN 'folder' THEN folder_evidence END AS evidence_path,
  CASE decider WHEN 'header' THEN folder WHEN 'folder' THEN stated_folder END AS folder,
  CASE decider WHEN 'folder' THEN folder_score END AS score
FROM decided
"""

_NEAREST_DECIDER = """CASE WHEN h.expression IS NOT NULL THEN 'header' WHEN n.expression IS NOT NULL THEN 'folder'
      WHEN g.expression IS NOT NULL THEN 'gha' ELSE 'none' END"""
# 1.4: what GitHub recognised outranks what was detected; NOASSERTION only turns "nothing found" into non-permissive.
_PAPER_DECIDER = """CASE WHEN h.expression IS NOT NULL THEN 'header' WHEN g.license_type <> 'unrecognised' THEN 'gha'
      WHEN n.expression IS NOT NULL THEN 'folder' WHEN g.expression IS NOT NULL THEN 'gha' ELSE 'none' END"""


def licences_query(settings: LicenceSettings) -> str:
    """Return the query for LICENCES, one row per row of `documents`, in no particular order.

    It reads documents(shard, document_id, origin_id, content_id, path, folder), folders (document.FOLDERS),
    folder_licences (FOLDER_LICENCES), texts(shard, content_id, licence), expression_types (EXPRESSION_TYPES) and
    origins(origin_id, gha_license_id). All but `documents` may repeat rows; of an origin they must say the same.
    Under `nearest` the order is header, folder, gha; under `union` it is the paper's: gha before the folders.
    """
    return _QUERY.format(
        nearest=_NEAREST,
        headers=_HEADERS if settings.headers else _NO_HEADERS,
        gha=_GHA,
        decider=_NEAREST_DECIDER if settings.propagation == "nearest" else _PAPER_DECIDER,
    )

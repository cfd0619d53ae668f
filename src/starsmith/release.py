"""Release: the third pass over content. It reads the survivors once more and writes what is published.

One task writes one shard of the release from one shard of documents, so the bytes depend on the rows alone. Columns
carry The Stack v2's names and order (section 1.5), followed by Starsmith's own. Rows are grouped by repository. The
ids-only variant has one row per repository with its files as a list, and no content.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from starsmith.curate import encoding
from starsmith.curate.licence_expression import ids
from starsmith.document import ID_BYTES, swhid
from starsmith.engines import Query
from starsmith.job import Outcome, Progress
from starsmith.storage import Store
from starsmith.table import Part, write_part

VERSION = 1
_BATCH_BYTES = 4 << 20
_OPEN_ROW_GROUPS = 4
"""Row groups of contents held at a time (8 MiB each): documents come in nearly the order of the contents."""

_ID = pa.binary(ID_BYTES)
_TIME = pa.timestamp("us", tz="UTC")

RELEASED = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("owner", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("document_id", _ID, nullable=False),
        pa.field("content_id", _ID, nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("repo_name", pa.string(), nullable=False),
        pa.field("snapshot_id", _ID),
        pa.field("revision_id", _ID),
        pa.field("directory_id", _ID),
        pa.field("branch_name", pa.string()),
        pa.field("visit_date", _TIME),
        pa.field("revision_date", _TIME),
        pa.field("committer_date", _TIME),
        pa.field("github_id", pa.int64()),
        pa.field("star_events_count", pa.int64()),
        pa.field("fork_events_count", pa.int64()),
        pa.field("gha_license_id", pa.string()),
        pa.field("gha_event_created_at", _TIME),
        pa.field("gha_created_at", _TIME),
        pa.field("gha_updated_at", _TIME),
        pa.field("gha_pushed_at", _TIME),
        pa.field("gha_language", pa.string()),
        pa.field("extension", pa.string(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("committed_at", _TIME),
        pa.field("language", pa.string()),
        pa.field("is_vendor", pa.bool_()),
        pa.field("is_generated", pa.bool_()),
        pa.field("num_lines", pa.int64()),
        pa.field("avg_line_length", pa.float64()),
        pa.field("max_line_length", pa.int64()),
        pa.field("alpha_fraction", pa.float64()),
        pa.field("alphanum_fraction", pa.float64()),
        pa.field("license_type", pa.string(), nullable=False),
        pa.field("license_expression", pa.string()),
        pa.field("license_method", pa.string(), nullable=False),
        pa.field("license_evidence", pa.string()),
        pa.field("license_conflict", pa.bool_(), nullable=False),
        pa.field("cluster_id", _ID),
    ]
)
"""Everything a release row says but its content and what is computed from that."""

_FROM_ORIGINS = (
    "owner name url source repo_name snapshot_id revision_id directory_id branch_name visit_date revision_date "
    "committer_date github_id star_events_count fork_events_count gha_license_id gha_event_created_at gha_created_at "
    "gha_updated_at gha_pushed_at gha_language"
).split()

RELEASED_QUERY = Query(
    name="released",
    text=f"""
SELECT documents.shard, documents.path, documents.document_id, documents.content_id, documents.extension,
       documents.length, documents.committed_at,
       {", ".join("origins." + name for name in _FROM_ORIGINS)},
       annotations.language, annotations.is_vendor, annotations.is_generated,
       texts.num_lines, texts.avg_line_length, texts.max_line_length, texts.alpha_fraction, texts.alphanum_fraction,
       coalesce(licences.license_type, 'no_license') AS license_type, licences.expression AS license_expression,
       coalesce(licences.method, 'none') AS license_method, licences.evidence_path AS license_evidence,
       conflicts.content_id IS NOT NULL AS license_conflict,
       clusters.cluster_id
FROM ledger
JOIN documents ON documents.document_id = ledger.document_id
JOIN origins ON origins.origin_id = documents.origin_id
JOIN texts ON texts.shard = documents.shard AND texts.content_id = documents.content_id
JOIN annotations ON annotations.document_id = documents.document_id
LEFT JOIN licences ON licences.document_id = documents.document_id
LEFT JOIN conflicts ON conflicts.content_id = documents.content_id
LEFT JOIN (
  SELECT cluster_id FROM near WHERE winner_id IS NOT NULL GROUP BY cluster_id
) AS clusters ON clusters.cluster_id = documents.document_id
WHERE ledger.verdict = 'keep'""",
    schema=RELEASED,
    key=["owner", "name", "url", "path", "document_id"],
    partition_by="shard",
)

_TEXT = pa.string()
_STACK_V2_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("blob_id", _TEXT),
    ("directory_id", _TEXT),
    ("path", _TEXT),
    ("content_id", _TEXT),
    ("detected_licenses", pa.list_(_TEXT)),
    ("license_type", _TEXT),
    ("repo_name", _TEXT),
    ("snapshot_id", _TEXT),
    ("revision_id", _TEXT),
    ("branch_name", _TEXT),
    ("visit_date", _TIME),
    ("revision_date", _TIME),
    ("committer_date", _TIME),
    ("github_id", pa.int64()),
    ("star_events_count", pa.int64()),
    ("fork_events_count", pa.int64()),
    ("gha_license_id", _TEXT),
    ("gha_event_created_at", _TIME),
    ("gha_created_at", _TIME),
    ("gha_language", _TEXT),
    ("src_encoding", _TEXT),
    ("language", _TEXT),
    ("is_vendor", pa.bool_()),
    ("is_generated", pa.bool_()),
    ("length_bytes", pa.int64()),
    ("extension", _TEXT),
]
_OWN_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("swhid", _TEXT),
    ("origin_url", _TEXT),
    ("source", _TEXT),
    ("committed_at", _TIME),
    ("license_expression", _TEXT),
    ("license_method", _TEXT),
    ("license_evidence", _TEXT),
    ("license_conflict", pa.bool_()),
    ("dedup_cluster", _TEXT),
    ("num_lines", pa.int64()),
    ("avg_line_length", pa.float64()),
    ("max_line_length", pa.int64()),
    ("alpha_fraction", pa.float64()),
    ("alphanum_fraction", pa.float64()),
    ("content_sha256", _TEXT),
    ("text_sha256", _TEXT),
    ("content", _TEXT),
]

DATA = pa.schema([pa.field(name, kind) for name, kind in _STACK_V2_COLUMNS + _OWN_COLUMNS])
"""One row per released document. Ids are hex; `path` begins with a slash; `content` is the text as UTF-8, with
`text_sha256` its digest; `content_sha256` and `blob_id` (SHA-1) are digests of the original bytes."""

_FILE_COLUMNS = (
    "blob_id path content_id language length_bytes detected_licenses license_type src_encoding is_vendor is_generated "
    "alphanum_fraction alpha_fraction num_lines avg_line_length max_line_length"
).split()
_REPO_COLUMNS = (
    "repo_name snapshot_id revision_id directory_id branch_name visit_date revision_date committer_date github_id "
    "star_events_count fork_events_count gha_license_id gha_created_at gha_updated_at gha_pushed_at gha_language"
).split()
_REPO_ONLY = {"gha_updated_at": _TIME, "gha_pushed_at": _TIME}

IDS = pa.schema(
    [
        pa.field("repo_name", _TEXT),
        pa.field("repo_url", _TEXT),
        *(
            pa.field(name, _REPO_ONLY.get(name) or DATA.field(name).type)
            for name in _REPO_COLUMNS
            if name != "repo_name"
        ),
        pa.field("files", pa.list_(pa.struct([DATA.field(name) for name in _FILE_COLUMNS]))),
        pa.field("num_files", pa.int64()),
    ]
)
"""The ids-only variant: one row per repository, its files without contents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseShard:
    """Write one shard of the release: the rows of `released`, with their contents."""

    released: Part
    contents: Part
    compression_level: int
    ids_only: bool

    def __str__(self) -> str:
        return f"release shard {self.released.shard}"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        rows = pq.read_table(store.open(self.released.name)).cast(RELEASED).to_pylist()
        found: list[dict[str, Any]] = []
        shard, level = self.released.shard, self.compression_level
        batches = self._batches(store, rows, found, progress)
        parts = {"data": (write_part(store, "data", DATA, batches, shard=shard, compression_level=level),)}
        if self.ids_only:
            repositories = pa.Table.from_pylist(list(_repositories(rows, found)), schema=IDS)
            parts["ids"] = (write_part(store, "ids", IDS, [repositories], shard=shard, compression_level=level),)
        counts = {"documents": len(rows), "bytes": sum(row["length"] for row in rows)}
        return Outcome(parts=parts, counts=counts)

    def _batches(
        self, store: Store, rows: list[dict[str, Any]], found: list[dict[str, Any]], progress: Progress
    ) -> Iterator[pa.Table]:
        """Yield release rows in order, remembering all but their contents in `found`."""
        reader = _ContentReader(store=store, part=self.contents)
        pending: list[tuple[dict[str, Any], bytes]] = []
        size = 0
        for row in rows:
            content = reader.content(row["content_id"])
            pending.append((row, content))
            size += len(content)
            if size >= _BATCH_BYTES:
                yield _rows(pending, found)
                progress(len(pending))
                pending, size = [], 0
        yield _rows(pending, found)
        progress(len(pending))


@dataclass(kw_only=True, slots=True)
class _ContentReader:
    """Random access to the contents of a shard, a few row groups in memory."""

    store: Store
    part: Part
    _file: Any = None
    _places: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    _open: "OrderedDict[int, pa.ChunkedArray]" = field(default_factory=OrderedDict)

    def content(self, identifier: bytes) -> bytes:
        if self._file is None:
            self._index()
        group, row = self._places[identifier]
        if group not in self._open:
            self._open[group] = self._file.read_row_group(group, columns=["content"])["content"]
            if len(self._open) > _OPEN_ROW_GROUPS:
                self._open.popitem(last=False)
        return bytes(self._open[group][row].as_py())

    def _index(self) -> None:
        self._file = pq.ParquetFile(self.store.open(self.part.name))
        for group in range(self._file.num_row_groups):
            column = self._file.read_row_group(group, columns=["content_id"])["content_id"]
            for row, identifier in enumerate(column.to_pylist()):
                self._places[identifier] = group, row


def _rows(pending: list[tuple[dict[str, Any], bytes]], found: list[dict[str, Any]]) -> pa.Table:
    """Return release rows for some documents; a document that annotated as text decodes again the same way."""
    decoded = encoding.decode(pa.array([content for _, content in pending], pa.binary()))
    if decoded.reasons.null_count != len(pending):
        raise RuntimeError("a released document does not decode any more: annotate and release differ in version")
    rows = []
    for number, (row, content) in enumerate(pending):
        text = decoded.texts[number].as_py()
        rows.append(_row(row, content, text, decoded.encodings[number].as_py()))
        found.append({name: value for name, value in rows[-1].items() if name != "content"})
    return pa.Table.from_pylist(rows, schema=DATA)


def _row(row: dict[str, Any], content: bytes, text: bytes, src_encoding: str) -> dict[str, Any]:
    expression = row["license_expression"]
    plain = {name: row[name] for name in DATA.names if name in row and not isinstance(row[name], bytes)}
    return plain | {
        "blob_id": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        "directory_id": _hex(row["directory_id"]),
        "path": "/" + row["path"],
        "content_id": row["content_id"].hex(),
        "detected_licenses": sorted(ids(expression)) if expression else [],
        "snapshot_id": _hex(row["snapshot_id"]),
        "revision_id": _hex(row["revision_id"]),
        "src_encoding": src_encoding,
        "length_bytes": row["length"],
        "swhid": swhid("cnt", row["content_id"]),
        "origin_url": row["url"],
        "dedup_cluster": _hex(row["cluster_id"]),
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "text_sha256": hashlib.sha256(text).hexdigest(),
        "content": text.decode(),
    }


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _repositories(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one row per repository of a shard. A repository cut across shards has a row in each of them."""
    paired = zip(rows, found, strict=True)
    for url, group in groupby(paired, key=lambda pair: pair[0]["url"]):
        members = list(group)
        row, first = members[0]
        repository = {name: first.get(name, row.get(name)) for name in _REPO_COLUMNS}
        files = [{name: file[name] for name in _FILE_COLUMNS} for _, file in members]
        yield repository | {"repo_url": url, "files": files, "num_files": len(files)}

"""Collect: the first of three passes over content. It writes each content once per shard and one row per occurrence.

Follows section 1.3 of the paper in what is taken in. Every path of an origin becomes a row, whether or not its bytes
could be had; nothing is judged here.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from starsmith.document import (
    COMMIT_TIMES,
    CONTENTS,
    DOCUMENTS,
    FOLDERS,
    RawDocument,
    ancestors,
    document_id,
    extension_of,
    file_name_of,
    folder_of,
    readable_path,
)
from starsmith.job import Outcome, Progress
from starsmith.settings import CollectSettings
from starsmith.shard import Located, Shard, shard_name
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

VERSION = 1
BATCH_BYTES = 4 << 20
"""Contents handed to the writer at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectShard:
    """Read every slice of a shard and write its documents, contents and folders.

    `times` has the part of COMMIT_TIMES of an origin's URL, for origins that other shards read too.
    """

    shard: Shard
    settings: CollectSettings
    times: Mapping[str, Part]

    def __str__(self) -> str:
        return str(self.shard)

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        collected = _Collected(shard=self.shard.name)
        batches = self._contents(store, collected, progress)
        contents = write_part(store, "contents", CONTENTS, batches, shard=self.shard.name)
        documents = pa.Table.from_pylist(collected.documents, schema=DOCUMENTS)
        folders = pa.Table.from_pylist(collected.folder_rows(), schema=FOLDERS)
        parts = {
            "documents": (write_part(store, "documents", DOCUMENTS, [documents], shard=self.shard.name),),
            "contents": (contents,),
            "folders": (write_part(store, "folders", FOLDERS, [folders], shard=self.shard.name),),
        }
        counts = {"documents": documents.num_rows, "bytes": sum(row["length"] for row in collected.documents)}
        return Outcome(parts=parts, counts=counts)

    def _contents(self, store: Store, collected: "_Collected", progress: Progress) -> Iterator[pa.RecordBatch]:
        """Yield batches of contents not seen before in this shard, filling in the rows on the way."""
        for slice_ in self.shard.slices:
            origin = slice_.located.origin
            origin_id = origin.origin_id
            times = _times(store, self.times[origin.url]) if origin.url in self.times else None
            for document in slice_.located.source.read(origin, slice_.part, self.settings, times):
                collected.add(origin_id, origin.revision_id, document)
                if collected.pending_bytes >= BATCH_BYTES:
                    progress(collected.taken_since_last())
                    yield collected.batch()
        progress(collected.taken_since_last())
        yield collected.batch()


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitTimes:
    """Find the last-commit time of every path of an origin that several shards read."""

    located: Located

    def __str__(self) -> str:
        return f"the history of {self.located.origin.repo_name}"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        origin = self.located.origin
        times = sorted(self.located.source.times(origin).items())
        table = pa.table([[path for path, _ in times], [time for _, time in times]], schema=COMMIT_TIMES)
        progress(1)
        part = write_part(store, "commit_times", COMMIT_TIMES, [table], shard=shard_name(origin, None))
        return Outcome(parts={"commit_times": (part,)})


def _times(store: Store, part: Part) -> dict[bytes, int]:
    table = Table(name="commit_times", schema=COMMIT_TIMES, parts=(part,)).read(store)
    return dict(zip(table["path"].to_pylist(), table["committed_at"].cast(pa.int64()).to_pylist(), strict=True))


@dataclass(kw_only=True, slots=True)
class _Collected:
    """The rows of a shard so far, and the contents not yet written."""

    shard: str
    documents: list[dict[str, Any]] = field(default_factory=list)
    folders: dict[tuple[bytes, str], None] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    pending: list[tuple[bytes, bytes]] = field(default_factory=list)
    pending_bytes: int = 0
    reported: int = 0

    def add(self, origin_id: bytes, revision_id: bytes | None, document: RawDocument) -> None:
        path = readable_path(document.path)
        folder = folder_of(path)
        file_name = file_name_of(path)
        scope = folder if document.licence_scope is None else document.licence_scope
        self.documents.append(
            {
                "document_id": document_id(origin_id, revision_id, document.path),
                "origin_id": origin_id,
                "shard": self.shard,
                "path": path,
                "folder": folder,
                "file_name": file_name,
                "extension": extension_of(file_name),
                "content_id": document.content_id,
                "length": document.length,
                "mode": document.mode,
                "committed_at": document.committed_at,
                "licence_scope": scope,
                "reason": document.reason,
                "detail": document.detail,
            }
        )
        self.folders[origin_id, folder] = None
        if document.content is not None and document.content_id not in self.seen:
            assert document.content_id is not None, "a source that hands over a content knows its id"
            self.seen.add(document.content_id)
            self.pending.append((document.content_id, document.content))
            self.pending_bytes += len(document.content)

    def taken_since_last(self) -> int:
        count = len(self.documents) - self.reported
        self.reported = len(self.documents)
        return count

    def batch(self) -> pa.RecordBatch:
        ids = [identifier for identifier, _ in self.pending]
        contents = [content for _, content in self.pending]
        digests = [hashlib.sha256(content).digest() for content in contents]
        self.pending, self.pending_bytes = [], 0
        return pa.record_batch([ids, digests, contents], schema=CONTENTS)

    def folder_rows(self) -> list[dict[str, Any]]:
        return [
            {"origin_id": origin, "folder": folder, "ancestor": ancestor, "distance": distance}
            for origin, folder in sorted(self.folders)
            for distance, ancestor in enumerate(ancestors(folder))
        ]

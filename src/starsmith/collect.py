"""Collect: the first of three passes over content. It writes each content once per shard and one row per occurrence.

Follows section 1.3 of the paper in what is taken in. Every path of an origin becomes a row, whether or not its bytes
could be had; nothing is judged here. A content that has left (somebody asked for it) is a row with a reason.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from starsmith.curate.licence import candidate_kind
from starsmith.document import (
    COMMIT_TIMES,
    CONTENTS,
    DOCUMENTS,
    FOLDERS,
    ID_BYTES,
    RawDocument,
    ancestors,
    content_id,
    document_id,
    extension_of,
    file_name_of,
    folder_of,
    readable_path,
)
from starsmith.errors import StarsmithError
from starsmith.job import Outcome, Progress
from starsmith.settings import CollectSettings
from starsmith.shard import Located, Shard, shard_name
from starsmith.sources import PathRange
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

VERSION = 1
BATCH_BYTES = 4 << 20
"""Contents handed to the writer at a time."""

LEFT_REASON = "optout.content"
"""The reason of a document whose content has left. An origin that has left has no documents at all."""

LEFT_CONTENTS = pa.schema([pa.field("content_id", pa.binary(ID_BYTES), nullable=False)])
"""The ids of the contents of an origin that has left, sorted, but for the empty content, which is nobody's."""

_EMPTY = content_id(b"")


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectShard:
    """Read every slice of a shard and write its documents, contents and folders.

    `times` has the part of COMMIT_TIMES of an origin's URL, for origins that other shards read too. `left` are the
    ids of contents that are not taken in, sorted.
    """

    shard: Shard
    settings: CollectSettings
    times: Mapping[str, Part]
    left: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        return str(self.shard)

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        collected = _Collected(shard=self.shard.name, left=frozenset(self.left))
        batches = self._contents(store, collected, progress)
        contents = write_part(store, "contents", CONTENTS, batches, shard=self.shard.name)
        documents = pa.Table.from_pylist(collected.documents, schema=DOCUMENTS)
        folders = pa.Table.from_pylist(collected.folder_rows(), schema=FOLDERS)
        return collected_outcome(store, self.shard.name, documents, contents, folders)

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


def collected_outcome(store: Store, shard: str, documents: pa.Table, contents: Part, folders: pa.Table) -> Outcome:
    """Write the documents and folders of a shard beside its contents; return all of it with its counts."""
    parts = {
        "documents": (write_part(store, "documents", DOCUMENTS, [documents], shard=shard),),
        "contents": (contents,),
        "folders": (write_part(store, "folders", FOLDERS, [folders], shard=shard),),
    }
    counts = {"documents": documents.num_rows, "bytes": pc.sum(documents["length"], min_count=0).as_py()}
    if left := pc.sum(pc.equal(documents["reason"], LEFT_REASON)).as_py():
        counts["left"] = left
    return Outcome(parts=parts, counts=counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftContents:
    """Find the ids of the contents of an origin that has left. No content is written, and no message names it."""

    located: Located
    settings: CollectSettings

    def __str__(self) -> str:
        return "an origin that has left"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        origin = self.located.origin
        try:
            # Times given, even none, spare the source the walk through its history.
            documents = self.located.source.read(origin, PathRange(), self.settings, {})
            named = {(item.content_id, file_name_of(readable_path(item.path))) for item in documents}
        except StarsmithError:
            # Not even as its cause: the message of a source says where it lies.
            raise StarsmithError("An origin that has left cannot be read; run the same command again.") from None
        progress(origin.documents)
        return left_outcome(store, named)


def is_owned(content: bytes, file_name: str) -> bool:
    """Whether a content (by id) of such a name is anybody's, and leaves with them wherever it lies.

    Nobody owns the empty file, and the text of a licence is not theirs who put their work under it: without it, all
    others who did would lose the evidence that theirs may be used.
    """
    return content != _EMPTY and candidate_kind(file_name) != "licence_file"


def left_outcome(store: Store, named: Iterable[tuple[bytes | None, str]]) -> Outcome:
    """Write the part of LEFT_CONTENTS of one origin, from the ids of its contents and their file names."""
    own = {identifier for identifier, name in named if identifier and is_owned(identifier, name)}
    table = pa.table([sorted(own)], schema=LEFT_CONTENTS)
    return Outcome(parts={"left_contents": (write_part(store, "left_contents", LEFT_CONTENTS, [table]),)})


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
    left: frozenset[bytes]
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
        has_left = document.reason is None and document.content_id in self.left
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
                "reason": LEFT_REASON if has_left else document.reason,
                "detail": document.detail,
            }
        )
        self.folders[origin_id, folder] = None
        if document.content is not None and not has_left and document.content_id not in self.seen:
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

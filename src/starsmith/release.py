"""Release: the third pass over content. It reads the survivors once more and writes what is published.

One task writes one shard of the release from one shard of documents, so the bytes depend on the rows alone. Columns
carry The Stack v2's names and order (section 1.5), followed by Starsmith's own. Rows are grouped by repository. The
ids-only variant has one row per repository with its files as a list, and no content.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.curate import encoding, redact
from starsmith.curate.findings import GROUPS, Span, group_of, resolve
from starsmith.curate.kernel import Indices, text_buffers
from starsmith.curate.licence_expression import ids
from starsmith.document import CONTENTS, FINDINGS, ID_BYTES, swhid
from starsmith.job import Outcome, Progress
from starsmith.part_file import PartFile
from starsmith.released import RELEASED
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

VERSION = 2
EMPTY = "empty"
"""The shard of a release that has none."""

_SWHID = swhid("cnt", bytes(ID_BYTES)).removesuffix(bytes(ID_BYTES).hex()).encode()
_BATCH_BYTES = 4 << 20
_OPEN_ROW_GROUPS = 4
"""Row groups of contents held at a time (8 MiB each): documents come in nearly the order of the contents."""

Spans = dict[bytes, list[tuple[str, int, int]]]
"""Kind, start and end of the findings in each content."""

_TIME = pa.timestamp("us", tz="UTC")
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
    *((f"redacted_{group}", pa.int64()) for group in GROUPS),
    ("content_sha256", _TEXT),
    ("text_sha256", _TEXT),
    ("content", _TEXT),
]

DATA = pa.schema([pa.field(name, kind) for name, kind in _STACK_V2_COLUMNS + _OWN_COLUMNS])
"""One row per released document. Ids are hex; `path` begins with a slash; `content` is the text as UTF-8 after
`redacted_*` secrets and personal data were replaced, with `text_sha256` its digest; everything else speaks of the
original: measures of the text, and `content_sha256` and `blob_id` (SHA-1), the digests of its bytes."""

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
    """Write one shard of the release: the rows of `released` with their contents, the `findings` in them replaced."""

    released: Part
    contents: Part
    findings: tuple[Part, ...]
    compression_level: int
    ids_only: bool

    def __str__(self) -> str:
        return f"release shard {self.released.shard}"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        facts = Table(name="released", schema=RELEASED, parts=(self.released,)).read(store)
        described: list[pa.Table] = []
        shard, level = self.released.shard, self.compression_level
        batches = self._batches(store, facts, described, progress)
        parts = {"data": (write_part(store, "data", DATA, batches, shard=shard, compression_level=level),)}
        if self.ids_only:
            repositories = _repositories(facts, pa.concat_tables(described))
            parts["ids"] = (write_part(store, "ids", IDS, [repositories], shard=shard, compression_level=level),)
        counts = {"documents": facts.num_rows, "bytes": pc.sum(facts["length"]).as_py()}
        return Outcome(parts=parts, counts=counts)

    def _batches(
        self, store: Store, facts: pa.Table, described: list[pa.Table], progress: Progress
    ) -> Iterator[pa.Table]:
        """Yield release rows in order, remembering all but their contents in `described`."""
        reader = _ContentReader(store, self.contents)
        places = reader.places(facts["content_id"])
        spans = _spans(store, self.findings)
        ends = np.cumsum(facts["length"].to_numpy()) // _BATCH_BYTES
        cuts = np.flatnonzero(np.diff(ends)) + 1
        for start, stop in pairwise([0, *cuts.tolist(), facts.num_rows]):
            batch = facts.slice(start, stop - start)
            rows = _rows(batch, reader.rows(places[start:stop]), spans)
            described.append(rows.drop_columns("content"))
            yield rows
            progress(rows.num_rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmptyShard:
    """Write the one file of a release that holds no document, so that it can be loaded like any other."""

    compression_level: int
    ids_only: bool

    def __str__(self) -> str:
        return "an empty release"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        schemas = {"data": DATA} | ({"ids": IDS} if self.ids_only else {})
        parts = {
            name: (write_part(store, name, schema, [], shard=EMPTY, compression_level=self.compression_level),)
            for name, schema in schemas.items()
        }
        return Outcome(parts=parts, counts={"documents": 0, "bytes": 0})


class _ContentReader:
    """Random access to the contents of a shard, a few row groups in memory."""

    def __init__(self, store: Store, part: Part) -> None:
        self._file = PartFile(store, part)
        columns = [self._file.read_group(group, ["content_id"])["content_id"] for group in range(self._file.row_groups)]
        self._ids = pa.chunked_array([chunk for column in columns for chunk in column.chunks], CONTENTS.types[0])
        self._firsts = np.cumsum([0, *map(len, columns)])
        self._open: OrderedDict[int, pa.Table] = OrderedDict()

    def places(self, identifiers: pa.ChunkedArray) -> Indices:
        """Return where the contents with these ids stand."""
        found = pc.index_in(identifiers, value_set=self._ids.combine_chunks())
        if found.null_count:
            raise RuntimeError(f"{found.null_count} released documents have no content")
        return np.asarray(found, np.int64)

    def rows(self, places: Indices) -> pa.Table:
        """Return the rows of CONTENTS at these places, in their order."""
        groups = np.searchsorted(self._firsts, places, side="right") - 1
        pieces = []
        for start, stop in pairwise([0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(places)]):
            if start < stop:
                group = int(groups[start])
                pieces.append(_taken(self._group(group), places[start:stop] - self._firsts[group]))
        return pa.concat_tables(pieces or [CONTENTS.empty_table()]).combine_chunks()

    def _group(self, group: int) -> pa.Table:
        if group not in self._open:
            self._open[group] = self._file.read_group(group, CONTENTS.names)
            if len(self._open) > _OPEN_ROW_GROUPS:
                self._open.popitem(last=False)
        return self._open[group]


def _taken(rows: pa.Table, places: Indices) -> pa.Table:
    """Return rows in this order; without a copy where they are neighbours."""
    if (np.diff(places) == 1).all():
        return rows.slice(int(places[0]), len(places))
    return rows.take(pa.array(places))


def _spans(store: Store, parts: tuple[Part, ...]) -> Spans:
    """Return (kind, start, end) of the findings of each content, in order."""
    table = Table(name="findings", schema=FINDINGS, parts=parts).read(store).sort_by("start")
    columns = [table[name].to_pylist() for name in ("content_id", "kind", "start", "end")]
    spans: Spans = {}
    for identifier, kind, start, end in zip(*columns, strict=True):
        spans.setdefault(identifier, []).append((kind, start, end))
    return spans


def _redacted(texts: pa.LargeBinaryArray, content_ids: Sequence[bytes], spans: Spans) -> redact.Redacted:
    found = [Span(row, *span) for row, identifier in enumerate(content_ids) for span in spans.get(identifier, ())]
    return redact.redact(texts, resolve(found), content_ids=content_ids)


def _redaction_counts(counts: Sequence[dict[str, int]]) -> dict[str, list[int]]:
    """Return the columns that say how much was replaced in each document."""
    columns = {f"redacted_{group}": [0] * len(counts) for group in GROUPS}
    for row, kinds in enumerate(counts):
        for kind, count in kinds.items():
            if (group := group_of(kind)) is not None:
                columns[f"redacted_{group}"][row] += count
    return columns


def _rows(facts: pa.Table, contents: pa.Table, spans: Spans) -> pa.Table:
    """Return release rows for some documents, `contents` being their rows of CONTENTS.

    A document that annotated as text decodes again the same way.
    """
    original = contents["content"].combine_chunks().cast(pa.large_binary())
    decoded = encoding.decode(original)
    if decoded.reasons.null_count != len(original):
        raise RuntimeError("a released document does not decode any more: annotate and release differ in version")
    redacted = _redacted(decoded.texts, facts["content_id"].to_pylist(), spans)
    digests = contents["sha256"].combine_chunks()
    columns = {name: facts[name] for name in DATA.names if name in RELEASED.names} | {
        "blob_id": _hex(_sha1(original)),
        "directory_id": _hex(facts["directory_id"]),
        "path": pc.binary_join_element_wise("/", facts["path"], ""),
        "content_id": _hex(facts["content_id"]),
        "detected_licenses": _each(
            facts["license_expression"], lambda one: list(ids(one)) if one else [], pa.list_(_TEXT)
        ),
        "snapshot_id": _hex(facts["snapshot_id"]),
        "revision_id": _hex(facts["revision_id"]),
        "src_encoding": decoded.encodings,
        "length_bytes": facts["length"],
        "swhid": _hex(facts["content_id"], before=_SWHID),
        "origin_url": facts["url"],
        "dedup_cluster": _hex(facts["cluster_id"]),
        "content_sha256": _hex(digests),
        "text_sha256": _hex(_text_digests(redacted.texts, original, digests)),
        "content": redacted.texts.cast(pa.large_string()).cast(pa.string()),
        **_redaction_counts(redacted.counts),
    }
    return pa.table({name: columns[name] for name in DATA.names}, schema=DATA)


def _hex(values: pa.ChunkedArray | pa.FixedSizeBinaryArray, *, before: bytes = b"") -> pa.StringArray:
    """Return ids or digests in hexadecimal, `before` standing before each; null where they are null."""
    plain = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    width, count = plain.type.byte_width, len(plain)
    start = plain.offset * width
    data = memoryview(plain.buffers()[1])[start : start + count * width]
    text = before + data.hex(",", width).encode().replace(b",", before)
    offsets = np.arange(count + 1, dtype=np.int32) * (len(before) + 2 * width)
    made = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))
    return pc.if_else(plain.is_valid(), made, None) if plain.null_count else made


def _each(values: pa.ChunkedArray, function: Callable[[Any], object], kind: pa.DataType) -> pa.Array:
    """Apply a function to every value of a column, once to equal ones: most say something of the whole repository."""
    known = values.combine_chunks().dictionary_encode(null_encoding="encode")
    return pa.array([function(value) for value in known.dictionary.to_pylist()], kind).take(known.indices)


def _sha1(contents: pa.LargeBinaryArray) -> pa.FixedSizeBinaryArray:
    data, offsets = text_buffers(contents)
    view, bounds = data.data, offsets.tolist()
    digests = b"".join(hashlib.sha1(view[first:end], usedforsecurity=False).digest() for first, end in pairwise(bounds))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(20), len(contents), [None, pa.py_buffer(digests)])


def _text_digests(
    texts: pa.LargeBinaryArray, contents: pa.LargeBinaryArray, digests: pa.FixedSizeBinaryArray
) -> pa.FixedSizeBinaryArray:
    """Return the digest of each text; that of the content where they are equal, as nearly all are."""
    same = pc.equal(texts, contents)
    if same.true_count == len(same):
        return digests
    edited = np.flatnonzero(~same.to_numpy(zero_copy_only=False)).tolist()
    own = pa.array([hashlib.sha256(texts[row].as_buffer()).digest() for row in edited], digests.type)
    return pc.replace_with_mask(digests, pc.invert(same), own)


def _repositories(facts: pa.Table, rows: pa.Table) -> pa.Table:
    """Return one row per repository of a shard. A repository cut across shards has a row in each of them."""
    lengths = [len(list(group)) for _, group in groupby(facts["url"].to_pylist())]
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    first = pa.array(offsets[:-1])
    files = rows.select(_FILE_COLUMNS).combine_chunks().to_struct_array().combine_chunks()
    columns = {name: (rows if name in rows.schema.names else facts)[name].take(first) for name in _REPO_COLUMNS} | {
        "repo_url": facts["url"].take(first),
        "files": pa.ListArray.from_arrays(offsets, files),
        "num_files": lengths,
    }
    return pa.table({name: columns[name] for name in IDS.names}, schema=IDS)

"""Delta: one file that turns a release somebody has already downloaded into the one that replaced it.

It says of each file of the new release how it comes about: it is a file of the old one, it lies in the delta whole, or
it is made of rows, copied from files of the old release or taken from those the delta carries. It carries rows that
the new release holds and nothing else: not what left, and not who asked for that.

A delta is a zip archive without compression, equal for equal releases. How one is applied stands in `patch`.
"""

import base64
import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from starsmith.govern.foreign_json import SHA256, Fields
from starsmith.govern.release_folder import DATA_FILE, FILE, MANIFEST, Manifest, opened, read_manifest
from starsmith.storage import Located, to_json
from starsmith.table import BULK_COLUMNS, write_rows

FORMAT: Final = 1
INDEX: Final = "delta.json"
ROWS: Final = "rows.parquet"
WHOLE: Final = "files/"
KEY: Final = ("origin_url", "path", "swhid")
"""What a row of a release is known by from one release to the next."""
_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip archive can say; the same in every delta."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """Rows of a file of the old release, the first being 0."""

    file: str
    first: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Insert:
    """The next rows of those that the delta carries."""

    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """A data file made of rows. `rows_sha256` is `rows_digest` of them, whatever wrote the file."""

    path: str
    rows_sha256: str
    operations: tuple[Copy | Insert, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """How every file of a release comes about. `before` and `after` are the SHA-256 of the manifests."""

    before: str
    after: str
    same: tuple[str, ...]
    whole: tuple[str, ...]
    rebuilt: tuple[Rebuilt, ...]
    deleted: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return what stands in the delta."""
        return {
            "format": FORMAT,
            "before": self.before,
            "after": self.after,
            "same": list(self.same),
            "whole": list(self.whole),
            "deleted": list(self.deleted),
            "rows": [
                {
                    "path": file.path,
                    "rows_sha256": file.rows_sha256,
                    "operations": [
                        {"copy": each.file, "first": each.first, "rows": each.rows}
                        if isinstance(each, Copy)
                        else {"insert": each.rows}
                        for each in file.operations
                    ],
                }
                for file in self.rebuilt
            ],
        }


_MEMBERS: Final = ("format", "before", "after", "same", "whole", "deleted", "rows")


def read_index(fields: Fields) -> Index:
    """Return what a delta says.

    Raises StarsmithError for what does not hold of any delta.
    """
    fields.only(_MEMBERS).number("format", least=FORMAT, most=FORMAT)
    return Index(
        before=fields.text("before", SHA256),
        after=fields.text("after", SHA256),
        same=fields.texts("same", FILE),
        whole=fields.texts("whole", FILE),
        deleted=fields.texts("deleted", FILE),
        rebuilt=tuple(
            _read_rebuilt(file.only(("path", "rows_sha256", "operations"))) for file in fields.objects("rows")
        ),
    )


def _read_rebuilt(fields: Fields) -> Rebuilt:
    fields.only(("path", "rows_sha256", "operations"))
    return Rebuilt(
        path=fields.text("path", DATA_FILE),
        rows_sha256=fields.text("rows_sha256", SHA256),
        operations=tuple(map(_read_operation, fields.objects("operations"))),
    )


def _read_operation(fields: Fields) -> Copy | Insert:
    if "insert" in fields.members:
        return Insert(rows=fields.only(("insert",)).number("insert", least=1))
    fields.only(("copy", "first", "rows"))
    return Copy(file=fields.text("copy", DATA_FILE), first=fields.number("first"), rows=fields.number("rows", least=1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What is between two releases. `arrived` and `left` are rows that only the new or only the old one has."""

    copied: int
    inserted: int
    arrived: int
    left: int


def write_delta(old: Located, new: Located, file: IO[bytes]) -> Changes:
    """Write the delta from one release folder to another; both are ours and whole."""
    before, after = read_manifest(old), read_manifest(new)
    same = {name for name in after.files if before.files.get(name) == after.files[name]}
    changed = [name for name in sorted(after.data_files) if name not in same]
    rows = _OldRows.read(old, [name for name in sorted(before.data_files) if name not in same])
    matches = {name: _Match.of(new / name, rows) for name in changed}
    index = Index(
        before=before.digest,
        after=after.digest,
        same=tuple(sorted(same)),
        whole=tuple(sorted(after.files.keys() - same - set(changed))),
        rebuilt=tuple(
            Rebuilt(path=name, rows_sha256=match.digest, operations=tuple(rows.operations(match.places)))
            for name, match in matches.items()
        ),
        deleted=tuple(sorted(before.files.keys() - after.files.keys())),
    )
    _write_archive(file, index, new, matches, after)
    copied = sum(int(np.count_nonzero(match.places >= 0)) for match in matches.values())
    total, known = sum(len(match.places) for match in matches.values()), sum(match.known for match in matches.values())
    return Changes(copied=copied, inserted=total - copied, arrived=total - known, left=len(rows.keys) - known)


def _write_archive(file: IO[bytes], index: Index, new: Located, matches: dict[str, "_Match"], after: Manifest) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(INDEX), to_json(index.plain()))
        for name in (MANIFEST, *index.whole):
            with (new / name).open("rb") as source, archive.open(_entry(WHOLE + name), "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)
        if matches:
            with pq.ParquetFile(opened(new / next(iter(matches)))) as first:
                schema = schema_as_written(first)
            inserted = (piece for name, match in matches.items() for piece in _inserted(new / name, match.places < 0))
            # Written to a file without a name first: Parquet and zip each want to know where they are in theirs.
            with tempfile.TemporaryFile() as spool:
                write_rows(spool, schema, inserted, compression_level=after.compression_level)
                spool.seek(0)
                with archive.open(_entry(ROWS), "w", force_zip64=True) as target:
                    shutil.copyfileobj(spool, target)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


def _inserted(path: Located, wanted: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    """Yield the wanted rows of a data file, reading no row group without one."""
    with pq.ParquetFile(opened(path)) as file:
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if wanted[start:stop].any():
                yield file.read_row_group(group).filter(pa.array(wanted[start:stop]))
            start = stop


def schema_as_written(file: Any) -> pa.Schema:
    """Return the schema with which an open Parquet file of ours was written.

    The one that Arrow reads from it has other names of list items and numbers on the fields, which would be other
    bytes. Raises ValueError for a file that does not hold it.
    """
    written = (file.metadata.metadata or {}).get(b"ARROW:schema")
    if written is None:
        raise ValueError("a table in it was not written by Starsmith")
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(written)))


def read_narrow(path: Located) -> pa.Table:
    """Return the rows of a data file without their texts, for each of which `text_sha256` stands."""
    with pq.ParquetFile(opened(path)) as file:
        return file.read(columns=[name for name in file.schema_arrow.names if name not in BULK_COLUMNS])


def row_keys(rows: pa.Table) -> pa.ChunkedArray:
    """Return one text for each row by which it is known in every release."""
    columns = [pc.fill_null(rows[name], "").cast(pa.large_string()) for name in KEY]
    return pc.binary_join_element_wise(*columns, pa.scalar("\0", pa.large_string()))


@dataclass(kw_only=True, slots=True)
class _OldRows:
    """The rows of the old release that the new one may be made of, numbered through all their files."""

    folder: Located
    names: list[str]
    starts: npt.NDArray[np.int64]
    keys: pa.Array
    taken: npt.NDArray[np.bool_]
    _known: dict[int, pa.Table] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Located, names: list[str]) -> "_OldRows":
        keys = []
        for name in names:
            with pq.ParquetFile(opened(folder / name)) as file:
                keys.append(row_keys(file.read(columns=list(KEY))))
        starts = np.cumsum([0, *(len(each) for each in keys)], dtype=np.int64)
        chunks = [chunk for each in keys for chunk in each.chunks]
        joined = pa.chunked_array(chunks, pa.large_string()).combine_chunks()
        return cls(folder=folder, names=names, starts=starts, keys=joined, taken=np.zeros(len(joined), np.bool_))

    def places(self, keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Return which old row has each key, -1 where none has. No row is had twice."""
        found = pc.fill_null(pc.index_in(keys, value_set=self.keys), -1).to_numpy().astype(np.int64)
        first = np.zeros(len(found), np.bool_)
        first[np.unique(found, return_index=True)[1]] = True
        free = first & (found >= 0)
        free[free] = ~self.taken[found[free]]
        self.taken[found[free]] = True
        return np.where(free, found, -1)

    def equal(self, rows: pa.Table, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which rows are, in every column, the old rows at their places."""
        same = np.zeros(len(places), np.bool_)
        numbers = np.searchsorted(self.starts, places, side="right") - 1
        for number in np.unique(numbers[places >= 0]).tolist():
            own = np.flatnonzero((numbers == number) & (places >= 0))
            old = self._narrow(number)
            if old.schema.equals(rows.schema):
                there = old.take(pa.array(places[own] - self.starts[number]))
                same[own] = _equal_rows(there, rows.take(pa.array(own)))
        return same

    def _narrow(self, number: int) -> pa.Table:
        """Return the rows of one file; those of the file before it are let go, since releases have one order."""
        if number not in self._known:
            self._known = {number: read_narrow(self.folder / self.names[number])}
        return self._known[number]

    def operations(self, places: npt.NDArray[np.int64]) -> Iterator[Copy | Insert]:
        """Yield what makes a file of old rows (-1: of one that is inserted)."""
        if len(places) == 0:
            return
        numbers = np.searchsorted(self.starts, places, side="right") - 1
        follows = (np.diff(places) == 1) & (places[:-1] >= 0) & (np.diff(numbers) == 0)
        follows |= (places[1:] < 0) & (places[:-1] < 0)
        cuts = [0, *(np.flatnonzero(~follows) + 1).tolist(), len(places)]
        for start, stop in pairwise(cuts):
            number = int(numbers[start])
            if places[start] < 0:
                yield Insert(rows=stop - start)
            else:
                first = int(places[start] - self.starts[number])
                yield Copy(file=self.names[number], first=first, rows=stop - start)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Match:
    """Where the rows of a new file come from: an old row for each, or -1. `known` is how many the old release has."""

    places: npt.NDArray[np.int64]
    known: int
    digest: str

    @classmethod
    def of(cls, path: Located, old: _OldRows) -> "_Match":
        rows = read_narrow(path)
        places = old.places(row_keys(rows))
        same = old.equal(rows, places)
        return cls(
            places=np.where(same, places, -1), known=int(np.count_nonzero(places >= 0)), digest=rows_digest(rows)
        )


def _equal_rows(left: pa.Table, right: pa.Table) -> npt.NDArray[np.bool_]:
    same = np.ones(left.num_rows, np.bool_)
    for name in left.schema.names:
        same &= _equal_values(left[name], right[name])
    return same


def _equal_values(left: pa.ChunkedArray, right: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return where two columns are equal; null equals null."""
    if pa.types.is_nested(left.type):
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return np.fromiter((a == b for a, b in pairs), np.bool_, len(left))
    null = np.asarray(pc.and_(pc.is_null(left), pc.is_null(right)), np.bool_)
    return np.asarray(pc.fill_null(pc.equal(left, right), False), np.bool_) | null


def rows_digest(rows: pa.Table) -> str:
    """Return a SHA-256 of rows, with names and order of columns, that no version of Arrow or Parquet changes."""
    digest = hashlib.sha256()
    for name in rows.schema.names:
        column = rows[name]
        # The items of a list have a name that depends on who read it.
        kind = "list" if pa.types.is_list(column.type) else column.type
        digest.update(f"{name}\0{kind}\0{len(column)}\0".encode())
        _update(digest, column)
    return digest.hexdigest()


def _update(digest: Any, column: pa.ChunkedArray) -> None:
    """Feed which values of a column are null, then those that are not: lengths first where they differ in length."""
    digest.update(np.asarray(column.is_valid(), np.bool_).tobytes())
    values = column.drop_null()
    kind = column.type
    if pa.types.is_list(kind):
        digest.update(np.asarray(pc.list_value_length(values), "<i8").tobytes())
        _update(digest, pc.list_flatten(values))
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        digest.update(np.asarray(pc.binary_length(values), "<i8").tobytes())
        for value in values.cast(pa.large_binary()).to_pylist():
            digest.update(value)
    elif pa.types.is_boolean(kind):
        digest.update(np.asarray(values, np.bool_).tobytes())
    elif pa.types.is_floating(kind):
        digest.update(np.asarray(values, "<f8").tobytes())
    else:
        digest.update(np.asarray(values.cast(pa.int64()), "<i8").tobytes())

"""Files of tables as they are read: no byte counts that is not the one that was written.

A part is known by the SHA-256 in its record. A Parquet part is held against it when a process first reads it, and
each of its pages against the page's own check sum whenever it is read. Of a mapped part single rows are read, and each
row has a check sum beside it. On an object store, which keeps check sums of its own, a part is not read to its end
before a few columns of it are: its size is looked at, and `status --verify` reads all of it. What does not agree is an
error that names the file and says what to do; whatever Arrow says of a damaged file is told that way too. What is
written where stands in `table`.

All of it takes less than 1 % of the processor time of a build: for 370 MB of tables, which took 50 s to make, 0.2 s for
each time that the workers' inputs are hashed (what a process wrote itself it need not hash), 0.04 s for the rows of
mapped parts; check sums of pages add 5 % to the 0.07 s that reading 90 MB takes and nothing that shows to writing.
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType
from typing import Any, NoReturn, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.ipc
import pyarrow.parquet as pq

from starsmith.errors import Damage, StarsmithError, StoreFault
from starsmith.storage import Store

CHECK = pa.field("check", pa.uint32(), nullable=False)
"""The last column of a mapped part: the CRC-32 of the rest of the row."""

PARQUET = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


class Recorded(Protocol):
    """A file with what its record says of it."""

    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def digest(self) -> str: ...


def damage(store: Store, part: Recorded, *, fresh: bool = False) -> str | None:
    """Return what is wrong with a file and what to do, or None. A file that has not changed is not read twice.

    Unless `fresh`, what this process has read or written is believed to be what still lies on the disk.
    """
    path = store.path(part.name)
    if not store.is_local and not fresh:
        return _remote_damage(store, part)
    try:
        size, digest = store.size(part.name), store.sha256(part.name, fresh=fresh)
        if digest != part.digest and not fresh:
            # Before anything is called damaged it is looked at as it is now.
            digest = store.sha256(part.name, fresh=True)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}. {_MEND}"
    if said := size_problem(path, part, None if digest is None else size):
        return said
    if digest != part.digest:
        return f"{path} is damaged: its SHA-256 is {digest}, its record says {part.digest}. {_MEND}"
    return None


_SIZES: dict[tuple[Store, str], int | None] = {}
"""By store and name: the bytes that parts on object stores had when this process first looked."""


def _remote_damage(store: Store, part: Recorded) -> str | None:
    path, known = store.path(part.name), (store, part.name)
    if _SIZES.get(known) != part.bytes:
        _SIZES[known] = store.size(part.name)
    return size_problem(path, part, _SIZES[known])


def size_problem(path: str, part: Recorded, size: int | None) -> str | None:
    """Return what is wrong with a file of `size` bytes, None if there is none, and what to do; or None."""
    if size is None:
        return f"{path} is missing. Run `starsmith build` again: it is made anew."
    if size != part.bytes:
        return f"{path} is damaged: it has {size:,} bytes, its record says {part.bytes:,}. {_MEND}"
    return None


def _open_remote(store: Store, part: Recorded) -> pa.NativeFile | None:
    """Open a part; its size is known by that, and need not be asked for. None if it is not there."""
    try:
        file = store.open(part.name)
    except FileNotFoundError:
        return None
    _SIZES[store, part.name] = file.size()
    return file


_MEND = "Delete it and run `starsmith build` again: it is made anew."


@contextmanager
def reading(store: Store, parts: Iterable[Recorded]) -> Iterator[None]:
    """Read parts within this block: before it they are whole, and an error within it that damage explains says so.

    Raises StarsmithError.
    """
    named = list(parts)
    for said in store.each(lambda part: damage(store, part), named):
        if said:
            raise Damage(said)
    try:
        yield
    except Exception as error:
        if said := store.fault(error, named[0].name if len(named) == 1 else ""):
            raise StoreFault(said) from error
        for part in named:
            if said := damage(store, part, fresh=True):
                raise Damage(said) from error
        if len(named) == 1 and isinstance(error, OSError | pa.ArrowInvalid):
            words = str(error).partition("\n")[0]
            raise StarsmithError(f"{store.path(named[0].name)} cannot be read: {words}. {_MEND}") from error
        raise


class PartFile:
    """A Parquet part, open for reading."""

    def __init__(self, store: Store, part: Recorded) -> None:
        self._store, self._part = store, part
        opened = None if store.is_local else _open_remote(store, part)
        with self._reading():
            self._file = pq.ParquetFile(opened or store.open(part.name), page_checksum_verification=True)

    def _reading(self) -> Any:
        return reading(self._store, [self._part])

    @property
    def metadata(self) -> Any:
        return self._file.metadata

    @property
    def row_groups(self) -> int:
        return int(self._file.num_row_groups)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        with self._reading():
            return self._file.read(columns=None if columns is None else list(columns))

    def read_group(self, group: int, columns: Sequence[str], *, use_threads: bool = True) -> pa.Table:
        with self._reading():
            return self._file.read_row_group(group, columns=list(columns), use_threads=use_threads)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "PartFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MappedRows:
    """A mapped part, open for reading single rows; `close` it after the last value taken from it has been used.

    `schema` is that of its rows: a key of fixed width and a large binary column.
    """

    def __init__(self, store: Store, part: Recorded, schema: pa.Schema) -> None:
        self._store, self._part, self._column = store, part, schema.names[1]
        if store.size(part.name) != part.bytes:
            self._fail("its size has changed")
        try:
            self._file = store.map(part.name)
            reader = pa.ipc.open_file(self._file)
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            for batch in batches:
                # Offsets that lead out of the file would end the process.
                batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            self._fail(error)
        if not reader.schema.equals(schema.append(CHECK)):
            self._fail("its columns are not those of its table")
        self._batches = [_MappedBatch.of(batch) for batch in batches]
        self._firsts = [0, *accumulate(batch.num_rows for batch in batches)]

    def _fail(self, why: object) -> NoReturn:
        cause = why if isinstance(why, Exception) else None
        said = damage(self._store, self._part, fresh=True)
        raise StarsmithError(said or f"{self._store.path(self._part.name)} cannot be read: {why}. {_MEND}") from cause

    def value(self, row: int, column: str, *, key: bytes) -> memoryview:
        """Return the bytes of a column in one row, which must be that of `key`.

        Raises StarsmithError if they are not those that were written.
        """
        if not 0 <= row < self._firsts[-1]:
            self._fail(f"it has no row {row}")
        number = bisect_right(self._firsts, row) - 1
        own, value, check = self._batches[number].row(row - self._firsts[number])
        if _check((own, value)) != check or own != key:
            self._fail(f"row {row} is not the one that was written")
        if column != self._column:
            raise KeyError(column)
        return value

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "MappedRows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _MappedBatch:
    """The buffers of a valid batch: thousands of its rows are asked for one by one."""

    keys: memoryview
    width: int
    edges: memoryview
    values: memoryview
    checks: memoryview

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "_MappedBatch":
        keys, values, checks = (column.buffers() for column in batch.columns)
        assert all(column.offset == 0 for column in batch.columns), "a batch that was read is no slice"
        return cls(
            keys=_bytes_of(keys[1]),
            width=batch.schema[0].type.byte_width,
            edges=_bytes_of(values[1])[: 8 * (batch.num_rows + 1)].cast("q"),
            values=_bytes_of(values[2]),
            checks=_bytes_of(checks[1])[: 4 * batch.num_rows].cast("I"),
        )

    def row(self, place: int) -> tuple[memoryview, memoryview, int]:
        """Return the key, the value and the check sum of a row."""
        own = self.keys[place * self.width : (place + 1) * self.width]
        return own, self.values[self.edges[place] : self.edges[place + 1]], self.checks[place]


def _bytes_of(buffer: pa.Buffer | None) -> memoryview:
    """Return a buffer as bytes; there is none where no row has a value."""
    return memoryview(b"" if buffer is None else buffer).cast("B")


def read_mapped(store: Store, part: Recorded, schema: pa.Schema) -> pa.Table:
    """Return all rows of a mapped part."""
    with reading(store, [part]), store.open(part.name) as file:
        return pa.ipc.open_file(file).read_all().select(schema.names)


def with_checks(rows: pa.Table) -> pa.Table:
    """Return rows of binary columns with the CHECK column of a mapped part."""
    columns = [rows[name] for name in rows.schema.names]
    checks = [_check(value.as_buffer() for value in values) for values in zip(*columns, strict=True)]
    return rows.append_column(CHECK, pa.array(checks, CHECK.type))


def _check(values: Iterable[pa.Buffer | memoryview]) -> int:
    check = 0
    for value in values:
        check = zlib.crc32(value, check)
    return check

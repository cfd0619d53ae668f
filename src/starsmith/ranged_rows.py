"""Single rows of a mapped part on an object store: what is asked for is fetched and no more.

Where a task wants a few rows of each of many parts, copying the parts to its disk first would read the whole table once
for every task. A mapped part is one uncompressed batch of the Arrow file format, so where a row lies follows from the
lengths of the messages before it; that each row is the one that was written, from its check sum. Reading many rows of a
part, or any of one on a disk, is the business of `part_file`. No section of the paper.
"""

import struct
import zlib
from types import TracebackType

import pyarrow as pa

from starsmith.part_file import MappedRows, reading
from starsmith.storage import Store
from starsmith.table import Part

REQUEST_BYTES = 4 << 20
"""A row takes three requests, about 60 ms in all; as much is copied in that time."""
_HEAD_BYTES = 4096
_ALIGNED = 8
_OFFSET_BYTES, _CHECK_BYTES = 8, 4
_MAGIC_BYTES, _PREFIX = 8, struct.Struct("<Ii")


def rows_of(store: Store, part: Part, schema: pa.Schema, *, wanted: int) -> "MappedRows | RangedRows":
    """Open a mapped part of which about `wanted` rows will be read: fetched singly, or the whole part copied."""
    if store.is_local or part.bytes <= wanted * REQUEST_BYTES:
        return MappedRows(store, part, schema)
    return RangedRows(store, part, schema)


class RangedRows:
    """A mapped part of a key of fixed width and a large binary column, read as MappedRows is, by ranges."""

    def __init__(self, store: Store, part: Part, schema: pa.Schema) -> None:
        self._store, self._part, self._schema = store, part, schema
        self._rows = part.rows
        self._whole: MappedRows | None = None
        with reading(store, [part]):
            self._file = store.open(part.name)
            head: bytes = self._file.read_at(_HEAD_BYTES, 0)
            self._offsets = _body(head) + _padded(self._rows * schema[0].type.byte_width)
        self._values = self._offsets + _padded((self._rows + 1) * _OFFSET_BYTES)
        self._end: int | None = None

    def value(self, row: int, column: str, *, key: bytes) -> memoryview:
        """Return the bytes of a column in one row, which must be that of `key`.

        Raises StarsmithError if they are not those that were written.
        """
        if self._whole is None and column == self._schema[1].name and 0 <= row < self._rows:
            value, check = self._fetched(row)
            if zlib.crc32(value, zlib.crc32(key)) == check:
                return memoryview(value)
        # It says what is wrong, or finds the row where this was mistaken about the place.
        self._whole = self._whole or MappedRows(self._store, self._part, self._schema)
        return self._whole.value(row, column, key=key)

    def _fetched(self, row: int) -> tuple[bytes, int]:
        with reading(self._store, [self._part]):
            if self._end is None:
                (last,) = struct.unpack("<q", self._at(self._offsets + self._rows * _OFFSET_BYTES, _OFFSET_BYTES))
                self._end = self._values + _padded(last)
            first, stop = struct.unpack("<2q", self._at(self._offsets + row * _OFFSET_BYTES, 2 * _OFFSET_BYTES))
            value = self._at(self._values + first, stop - first) if stop > first else b""
            (check,) = struct.unpack("<I", self._at(self._end + row * _CHECK_BYTES, _CHECK_BYTES))
        return value, check

    def _at(self, place: int, size: int) -> bytes:
        if size < 0 or not 0 <= place <= self._part.bytes - size:
            raise pa.ArrowInvalid(f"a row leads to bytes {place:,} to {place + size:,} of {self._part.bytes:,}")
        found: bytes = self._file.read_at(size, place)
        return found

    def close(self) -> None:
        self._file.close()
        if self._whole is not None:
            self._whole.close()

    def __enter__(self) -> "RangedRows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _body(head: bytes) -> int:
    """Return where the buffers of the first batch begin: behind the message of the schema and its own."""
    place = _MAGIC_BYTES
    for _ in range(2):
        _, length = _PREFIX.unpack_from(head, place)
        place += _PREFIX.size + int(length)
    return place

"""Tables: immutable, typed Parquet data with a record that says what made it.

A *part* is one Parquet (or Arrow) file that carries its digest in its name. A *table* is a schema and a list of
parts. A *record* says that a task or query with a given fingerprint has been done and which parts came out; it is
written after them, so a table exists when its record exists. Records are the only memory a build has: a task whose
record is there and whose parts are there is not run again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.ipc
import pyarrow.parquet as pq

from starsmith.fingerprint import fingerprint
from starsmith.part_file import CHECK, PARQUET, PartFile, reading, with_checks
from starsmith.storage import Store, sealed, unsealed

ROW_GROUP_ROWS = 65_536
CONTENT_ROW_GROUP_BYTES = 8 << 20
"""Contents are read back one row group at a time; 8 MiB keeps a worker's memory flat at no measurable cost."""

TABLE_COMPRESSION_LEVEL = 1
BULK_COLUMNS = frozenset({"content", "shingles"})
"""Columns without statistics or dictionaries: nobody filters by them and they hardly repeat."""


_FEW_PARTS = 4
"""More parts than these are read by several threads at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One data file of a table. `shard` is empty for a table that is not cut by shard."""

    shard: str
    name: str
    rows: int
    bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A schema and the files that hold its rows, in shard order.

    `only` leaves the rows of some shards, for an engine to read.
    """

    name: str
    schema: pa.Schema
    parts: tuple[Part, ...]
    only: frozenset[str] | None = None

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def digest(self) -> str:
        """Equal rows in equal parts give equal digests, whoever made them."""
        return fingerprint([self.schema.to_string(), [part.digest for part in self.parts]])

    def of_shard(self, shard: str) -> "Table":
        return replace(self, parts=tuple(part for part in self.parts if part.shard == shard))

    @property
    def knows_shards(self) -> bool:
        """Whether each row can be told to be of one shard."""
        return "shard" in self.schema.names or (self.parts != () and all(part.shard for part in self.parts))

    def of_shards(self, shards: frozenset[str]) -> "Table":
        """Return what a table that knows shards holds of some of them."""
        parts = tuple(part for part in self.parts if not part.shard or part.shard in shards)
        return replace(self, parts=parts, only=None if all(part.shard for part in parts) else shards)

    def dataset(self, store: Store) -> ds.Dataset:
        """Return the rows for an engine to scan."""
        if not self.parts:
            return ds.dataset(self.schema.empty_table())
        files = [store.key(part.name) for part in self.parts]
        rows = ds.dataset(files, schema=self.schema, format=PARQUET, filesystem=store.filesystem)
        return rows if self.only is None else rows.filter(ds.field("shard").isin(sorted(self.only)))

    def read(self, store: Store, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows in memory; only for tables known to be small."""
        wanted = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        if len(self.parts) > _FEW_PARTS:
            with reading(store, self.parts):
                return self.dataset(store).to_table(wanted.names).cast(wanted)
        tables = [_rows(store, part, wanted) for part in self.parts]
        return pa.concat_tables(tables) if tables else wanted.empty_table()


def _rows(store: Store, part: Part, wanted: pa.Schema) -> pa.Table:
    # Damage may leave a file that can be read and has other columns.
    with reading(store, [part]):
        return PartFile(store, part).read(wanted.names).cast(wanted)


def union(name: str, tables: Sequence[Table]) -> Table:
    """Return one table with the parts of several of equal schema."""
    return Table(name=name, schema=tables[0].schema, parts=tuple(part for table in tables for part in table.parts))


def write_part(
    store: Store,
    table: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch | pa.Table],
    *,
    shard: str = "",
    compression_level: int = TABLE_COMPRESSION_LEVEL,
) -> Part:
    """Write one part."""
    with store.spool() as file:
        rows = write_rows(file, schema, batches, compression_level=compression_level)
        template = f"tables/{table}/{shard + '-' if shard else ''}{{digest}}.parquet"
        name, digest, size = store.publish_digested(file, template)
    return Part(shard=shard, name=name, rows=rows, bytes=size, digest=digest)


def write_rows(
    file: IO[bytes], schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table], *, compression_level: int
) -> int:
    """Write a Parquet file; return how many rows it has.

    Its bytes depend on the rows alone, not on how they are cut into batches.
    """
    bulk = [name for name in schema.names if name in BULK_COLUMNS]
    rows = 0
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=compression_level,
        use_dictionary=[name for name in schema.names if name not in bulk] or False,
        write_statistics=[name for name in schema.names if name not in bulk] or False,
        write_page_checksum=True,
    ) as writer:
        for group in row_groups(batches, schema, bulk=bulk):
            writer.write_table(group, row_group_size=max(group.num_rows, 1))
            rows += group.num_rows
    return rows


def write_mapped_part(store: Store, table: str, schema: pa.Schema, rows: pa.Table, *, shard: str) -> Part:
    """Write one part of binary columns as an uncompressed Arrow file, whose rows can be read singly (`MappedRows`)."""
    with store.spool() as file:
        with pa.ipc.new_file(file, schema.append(CHECK)) as writer:
            writer.write_table(with_checks(rows.combine_chunks()))
        name, digest, size = store.publish_digested(file, f"tables/{table}/{shard}-{{digest}}.arrow")
    return Part(shard=shard, name=name, rows=rows.num_rows, bytes=size, digest=digest)


def row_groups(
    batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema, *, bulk: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Re-cut batches into row groups: a row ends one when the rows or the bulk bytes since the last cut are enough."""
    pending: list[pa.Table] = []
    rows, weight = 0, 0
    for batch in batches:
        rest = (pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch).cast(schema)
        while rest.num_rows:
            weights = weight + _cumulated_lengths(rest[bulk[0]]) if bulk else np.zeros(0, np.int64)
            filling = int(np.searchsorted(weights, CONTENT_ROW_GROUP_BYTES)) + 1 if bulk else rest.num_rows + 1
            take = min(filling, ROW_GROUP_ROWS - rows, rest.num_rows)
            pending.append(rest.slice(0, take))
            rest = rest.slice(take)
            rows, weight = rows + take, int(weights[take - 1]) if bulk else 0
            if take == filling or rows == ROW_GROUP_ROWS:
                yield pa.concat_tables(pending).combine_chunks()
                pending, rows, weight = [], 0, 0
    if rows:
        yield pa.concat_tables(pending).combine_chunks()


def _cumulated_lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return the bytes of a column up to and with each row."""
    return np.cumsum(np.asarray(pc.binary_length(column)), dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What one task or query produced. `seconds` is how long it took when it ran; nothing depends on it.

    `shards` has, for a query that runs per shard, the fingerprint of what the rows of each shard were made from;
    `inputs`, for one that knows its rows by a key, the parts it read, and `asked` the fingerprint of what was asked.
    """

    stage: str
    fingerprint: str
    outputs: dict[str, tuple[Part, ...]]
    seconds: float
    counts: dict[str, int]
    final: bool = True
    shards: dict[str, str] = field(default_factory=dict)
    asked: str = ""
    inputs: dict[str, tuple[Part, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return record_name(self.stage, self.fingerprint)

    def write(self, store: Store) -> None:
        # Without a look at what is there: nothing is, or something of no use.
        with store.spool() as file:
            file.write(sealed(_plain(self)))
            store.publish(file, self.name)


def record_name(stage: str, key: str) -> str:
    return f"records/{stage}/{key}.json"


def _plain(record: Record) -> dict[str, Any]:
    return {
        "stage": record.stage,
        "fingerprint": record.fingerprint,
        "outputs": _plain_parts(record.outputs),
        "seconds": record.seconds,
        "counts": record.counts,
        "final": record.final,
        "shards": record.shards,
        "asked": record.asked,
        "inputs": _plain_parts(record.inputs),
    }


def _plain_parts(tables: dict[str, tuple[Part, ...]]) -> dict[str, Any]:
    return {
        table: [{slot: getattr(part, slot) for slot in Part.__slots__} for part in parts]
        for table, parts in tables.items()
    }


def _parts(plain: dict[str, Any]) -> dict[str, tuple[Part, ...]]:
    return {table: tuple(Part(**part) for part in parts) for table, parts in plain.items()}


def read_record(store: Store, stage: str, key: str, *, whole: bool = True) -> Record | None:
    """Return the record of finished work, or None if it is not there, damaged, not final, or lacks one of its parts.

    Unless `whole` it may lack them.
    What a power failure damaged is thereby made again, and nobody has to mend a file by hand.
    """
    name = record_name(stage, key)
    try:
        plain = unsealed(store.read(name))
        outputs = _parts(plain["outputs"])
        record = Record(**{**plain, "outputs": outputs, "inputs": _parts(plain.get("inputs", {}))})
        parts = [part for parts in outputs.values() for part in parts if whole]
        is_whole = all(store.size(part.name) == part.bytes for part in parts)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if record.final and is_whole and record.name == name else None

"""Increments: what a query that runs per shard has to be asked for again, and what an earlier record still answers.

The rows of a table that belong to one shard are known by the digest of that shard's parts or, where one part holds
the rows of many shards, by a digest of the rows themselves. Equal digests under an equal query give equal rows, so
the parts of an earlier record are taken over, whichever build wrote it. Which queries run per shard is for `decide`,
`licences`, `summary` and `release`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.engines import Query
from starsmith.fingerprint import fingerprint
from starsmith.part_file import PartFile
from starsmith.storage import Store
from starsmith.table import Part, Record, Table

Tables = Mapping[str, Table | pa.Table]
SHARD = "shard"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What a query reads, by shard. `shards` has the fingerprint of what the rows of each shard are made from."""

    shards: dict[str, str]
    split: frozenset[str]
    """Names of the tables that know shards; the others are read whole for each of them."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(sorted(self.shards.items()))


def inputs_of(store: Store, query: Query, tables: Tables) -> Inputs:
    """Take the tables of a query apart."""
    known: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}
    for name, table in tables.items():
        if _knows_shards(table):
            known[name] = _digests(store, table)
        else:
            whole[name] = table.digest if isinstance(table, Table) else rows_digest(table)
    order = [list(query.key), query.partition_by]
    common = fingerprint([query.name, query.text, query.schema.to_string(), order, whole, pa.__version__])
    names = sorted(known)
    shards = sorted(set[str]().union(*known.values()))
    keys = {shard: fingerprint([common, names, [known[name].get(shard) for name in names]]) for shard in shards}
    return Inputs(shards=keys, split=frozenset(names))


def of_shards(tables: Tables, split: frozenset[str], shards: frozenset[str]) -> dict[str, Table | pa.Table]:
    """Return the tables with the rows of some shards where they know shards, else as they are."""
    wanted = pa.array(sorted(shards), pa.string())
    cut: dict[str, Table | pa.Table] = {}
    for name, table in tables.items():
        if name not in split:
            cut[name] = table
        elif isinstance(table, Table):
            cut[name] = table.of_shards(shards)
        else:
            cut[name] = table.filter(pc.is_in(table[SHARD], value_set=wanted))
    return cut


def groups(tables: Tables, shards: frozenset[str], rows: int | None) -> Iterator[frozenset[str]]:
    """Cut shards into groups that together have at most so many rows, as far as tables know how many a shard has."""
    if rows is None:
        yield shards
        return
    sizes = dict.fromkeys(sorted(shards), 0)
    for table in tables.values():
        for part in table.parts if isinstance(table, Table) else ():
            if part.shard in sizes:
                sizes[part.shard] += part.rows
    group: list[str] = []
    taken = 0
    for shard, size in sizes.items():
        if group and taken + size > rows:
            yield frozenset(group)
            group, taken = [], 0
        group.append(shard)
        taken += size
    yield frozenset(group)


def answered(records: Iterable[Record], query: Query) -> dict[str, tuple[Part, ...]]:
    """Return the parts that earlier records of a query hold, by the fingerprint of what they were made from."""
    found: dict[str, tuple[Part, ...]] = {}
    for record in records:
        parts = by_shard(record.outputs.get(query.name, ()))
        found |= {key: parts.get(shard, ()) for shard, key in record.shards.items()}
    return found


def by_shard(parts: Iterable[Part]) -> dict[str, tuple[Part, ...]]:
    found: dict[str, tuple[Part, ...]] = {}
    for part in parts:
        found[part.shard] = (*found.get(part.shard, ()), part)
    return found


def _knows_shards(table: Table | pa.Table) -> bool:
    return table.knows_shards if isinstance(table, Table) else SHARD in table.schema.names


def _digests(store: Store, table: Table | pa.Table) -> dict[str, str]:
    """Return a digest of the rows of each shard."""
    found: dict[str, list[str]] = {}
    pieces = _parts_digests(store, table) if isinstance(table, Table) else _runs_digests([table])
    for shard, digest in pieces:
        found.setdefault(shard, []).append(digest)
    return {shard: digests[0] if len(digests) == 1 else fingerprint(digests) for shard, digests in found.items()}


def _parts_digests(store: Store, table: Table) -> Iterator[tuple[str, str]]:
    for part in table.parts:
        if part.shard:
            yield part.shard, part.digest
        else:
            if part.digest not in _DIGESTS:
                with PartFile(store, part) as file:
                    groups = (file.read_group(number, table.schema.names) for number in range(file.row_groups))
                    _DIGESTS[part.digest] = tuple(_runs_digests(groups))
            yield from _DIGESTS[part.digest]


_DIGESTS: dict[str, tuple[tuple[str, str], ...]] = {}
"""By the digest of a part: (shard, digest) of its runs. Several queries ask for those of the same part."""


def _runs_digests(tables: Iterable[pa.Table]) -> Iterator[tuple[str, str]]:
    """Yield (shard, digest) of runs of rows of one shard; what is sorted by shard has one run of each."""
    current: tuple[str, _Digest] | None = None
    for table in tables:
        plain = _plain(table)
        for shard, start, stop in _runs(table):
            if current is None or shard != current[0]:
                if current is not None:
                    yield current[0], current[1].text()
                current = shard, _Digest(plain)
            current[1].update(plain, start, stop)
    if current is not None:
        yield current[0], current[1].text()


def _runs(table: pa.Table) -> Iterator[tuple[str, int, int]]:
    """Yield (shard, first row, row after the last) of each run."""
    if table.num_rows == 0:
        return
    codes = table[SHARD].combine_chunks().dictionary_encode()
    indices = np.asarray(codes.indices)
    starts = [0, *(np.flatnonzero(np.diff(indices)) + 1).tolist(), len(indices)]
    for start, stop in pairwise(starts):
        yield codes.dictionary[int(indices[start])].as_py(), start, stop


def rows_digest(table: pa.Table) -> str:
    """Return a digest of the rows of a table in memory: equal for equal values, however they lie there."""
    plain = _plain(table)
    digest = _Digest(plain)
    digest.update(plain, 0, table.num_rows)
    return fingerprint([table.schema.to_string(), digest.text()])


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A column as bytes: rows of `width`, or values between `edges`."""

    data: memoryview
    width: int
    edges: npt.NDArray[np.int64] | None = None


class _Digest:
    """A digest of rows that come in pieces; how they are cut makes no difference."""

    def __init__(self, columns: Sequence[_Bytes]) -> None:
        self._hashes = [(hashlib.sha256(), hashlib.sha256()) for _ in columns]

    def update(self, columns: Sequence[_Bytes], start: int, stop: int) -> None:
        for column, (values, lengths) in zip(columns, self._hashes, strict=True):
            if column.edges is None:
                values.update(column.data[start * column.width : stop * column.width])
            else:
                edges = column.edges[start : stop + 1]
                lengths.update(np.diff(edges).tobytes())
                values.update(column.data[edges[0] : edges[-1]])

    def text(self) -> str:
        return hashlib.sha256(b"".join(each.digest() for both in self._hashes for each in both)).hexdigest()


def _plain(table: pa.Table) -> list[_Bytes]:
    """Return the columns as bytes that follow from the values: where there is a null, and what is there instead."""
    columns: list[_Bytes] = []
    table = flat(table).combine_chunks()
    for field, column in zip(table.schema, table.columns, strict=True):
        values = (
            column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], field.type)])
        )
        if field.nullable:
            columns.append(_bytes(values.is_valid()))
            values = _filled(values)
        columns.append(_bytes(values))
    return columns


def flat(table: pa.Table) -> pa.Table:
    """Return the rows with lists as text, for what only tells rows apart; small tables have some."""
    for number, column in enumerate(table.columns):
        if pa.types.is_nested(column.type) or pa.types.is_large_binary(column.type):
            texts = [None if value is None else repr(value) for value in column.to_pylist()]
            table = table.set_column(number, table.schema.names[number], pa.array(texts, pa.string()))
    return table


def _bytes(values: pa.Array) -> _Bytes:
    kind = values.type
    if pa.types.is_boolean(kind):
        values, kind = values.cast(pa.int8()), pa.int8()
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        _, edges, data = values.buffers()
        offsets = np.frombuffer(edges, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
        return _Bytes(memoryview(data or b""), 0, offsets if len(values) else np.zeros(1, np.int64))
    width = kind.bit_width // 8
    data = values.buffers()[1]
    return _Bytes(memoryview(data or b"")[values.offset * width :], width)


def _filled(values: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_binary(values.type):
        return values.fill_null(pa.scalar(bytes(values.type.byte_width), values.type))
    return values.fill_null(pa.scalar(_EMPTY.get(values.type, 0), values.type))


_EMPTY: dict[pa.DataType, str | bytes | bool] = {pa.string(): "", pa.binary(): b"", pa.bool_(): False}

"""Keyed increments: what a query whose rows follow from a key has to be asked for again, and what stays.

Exact copies are looked for in a whole corpus, but whether one document is a copy follows from the documents of the same
content alone. Such a query names the column (`Query.by`) and the table whose rows it judges (`Query.base`). Where an
earlier record says what the rows were then made from, only the keys of rows that came, left or changed are asked for
again, and only the parts in which a row is another one are written. The result is that of asking for everything.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from starsmith.engines import Query
from starsmith.errors import StarsmithError, StoreFault
from starsmith.increment import SHARD, Tables, flat
from starsmith.part_file import reading
from starsmith.storage import Store
from starsmith.table import Part, Record, Table

_ALL: Final = "_all"
"""What the name of a table ends with while its own stands for the rows of the keys that are asked for."""
_DOCUMENT: Final = "document_id"
_FEW = 8
"""An increment is made where fewer than one row in this many of the base is new."""


Ask = Callable[[Query, dict[str, Table | pa.Table]], tuple[Part, ...]]
"""Runs a query over tables, publishes the rows, and returns their parts."""


def keyed(
    store: Store, query: Query, tables: Tables, earlier: Iterable[Record], ask: Ask, *, seen: "Seen"
) -> tuple[Part, ...] | None:
    """Return the parts of a query's result, by what has changed since the newest earlier record of it.

    None where all of it has to be asked for. The records must be of this very query. `seen` keeps the changes of one
    build's tables for its next query.
    """
    whole = {name: table for name, table in tables.items() if isinstance(table, Table)}
    record = next((each for each in reversed(list(earlier)) if each.inputs.keys() == tables.keys()), None)
    if record is None or len(whole) < len(tables):
        return None
    changes = {name: _Change.between(record.inputs[name], table) for name, table in whole.items()}
    result = Table(name="earlier", schema=query.schema, parts=record.outputs[query.name])
    read = [part for change in changes.values() for part in change.old.parts] + [*result.parts]
    if not all(store.each(lambda part: store.size(part.name) == part.bytes, read)):
        return None
    try:
        return _Increment(store=store, query=query, tables=whole, changes=changes, result=result, seen=seen).made(ask)
    except StoreFault:
        raise
    except StarsmithError:
        # What an earlier build left is damaged and not needed: what is needed is asked for and looked at again.
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """The parts of a table that are no longer there and those that are new."""

    old: Table
    new: Table

    @classmethod
    def between(cls, before: tuple[Part, ...], table: Table) -> "_Change":
        known, now = {_identity(part) for part in before}, {_identity(part) for part in table.parts}
        return cls(
            old=replace(table, parts=tuple(part for part in before if _identity(part) not in now)),
            new=replace(table, parts=tuple(part for part in table.parts if _identity(part) not in known)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The rows that came, left or changed between tables, by the parts that differ. Several queries ask for them."""

    rows: dict[tuple[str, ...], pa.Table]

    def of(self, change: _Change, store: Store) -> pa.Table:
        """Return the rows that came, left or changed."""
        known = (change.new.schema.to_string(), *(part.name for part in (*change.old.parts, *change.new.parts)))
        if known not in self.rows:
            old, new = change.old.read(store), change.new.read(store)
            self.rows[known] = pa.concat_tables([old, new]).filter(pa.array(differing(old, new)))
        return self.rows[known]


def _identity(part: Part) -> tuple[str, str]:
    return part.shard, part.digest


@dataclass(frozen=True, kw_only=True, slots=True)
class _Increment:
    """What has changed since an earlier `result`, table by table."""

    store: Store
    query: Query
    tables: Mapping[str, Table]
    changes: Mapping[str, _Change]
    result: Table
    seen: Seen

    def made(self, ask: Ask) -> tuple[Part, ...] | None:
        base = self.changes[self.query.base]
        if base.new.rows * _FEW > self.tables[self.query.base].rows:
            return None
        keys = self._keys()
        if self.query.partition_by is None:
            return self._with(self._rows(keys, self.tables, ask), keys, self.result, ask)
        touched = self._touched(keys, ask)
        gone = keys if self._subject == self._by else pc.unique(touched[_DOCUMENT])
        shards = frozenset(touched[SHARD].unique().to_pylist())
        cut = {name: table.of_shards(shards) if _has(table, SHARD) else table for name, table in self.tables.items()}
        rows = self._rows(keys, cut, ask)
        known = self._known(gone, self.result.of_shards(shards))
        others = pa.concat_tables([known, rows]).filter(pa.array(differing(known, rows)))
        changed = frozenset(others[SHARD].unique().to_pylist())
        rows = rows.filter(pc.is_in(rows[SHARD], value_set=pa.array(sorted(changed), pa.string())))
        written = self._with(rows, gone, self.result.of_shards(changed), ask)
        kept = (part for part in self.result.parts if part.shard not in changed)
        return tuple(sorted((*kept, *written), key=lambda part: part.shard))

    def _rows(self, keys: pa.Array, tables: Mapping[str, Table], ask: Ask) -> pa.Table:
        """Return the rows of the result that are about some keys."""
        by = self._by
        cuts = ", ".join(
            f"{name} AS (SELECT {name}{_ALL}.* FROM {name}{_ALL} SEMI JOIN asked ON asked.{by} = {name}{_ALL}.{by})"
            for name, table in sorted(tables.items())
            if _has(table, by)
        )
        columns = ", ".join(f"made.{name}" for name in self.query.schema.names)
        query = replace(self.query, text=f"WITH {cuts} SELECT {columns} FROM ({self.query.text}) AS made")
        named = {f"{name}{_ALL}" if _has(table, by) else name: table for name, table in tables.items()}
        parts = ask(replace(query, partition_by=None), {**named, "asked": pa.table({by: keys})})
        return Table(name=self.query.name, schema=self.query.schema, parts=parts).read(self.store)

    def _known(self, gone: pa.Array, result: Table) -> pa.Table:
        """Return what the earlier result says of some keys or documents."""
        with reading(self.store, result.parts):
            return result.dataset(self.store).to_table(filter=ds.field(self._subject).isin(gone)).cast(result.schema)

    def _with(self, rows: pa.Table, gone: pa.Array, result: Table, ask: Ask) -> tuple[Part, ...]:
        """Write these rows in the place of what an earlier result says of some keys or documents."""
        subject, columns = self._subject, self.query.schema.names
        text = f"""
SELECT {", ".join(f"made.{name}" for name in columns)} FROM made
UNION ALL
SELECT {", ".join(f"earlier.{name}" for name in columns)} FROM earlier
ANTI JOIN gone ON gone.{subject} = earlier.{subject}"""
        return ask(replace(self.query, text=text), {"made": rows, "earlier": result, "gone": pa.table({subject: gone})})

    @property
    def _by(self) -> str:
        assert self.query.by is not None
        return self.query.by

    @property
    def _subject(self) -> str:
        """The column that says which rows of the result a key or a document has."""
        return self._by if self._by in self.query.schema.names else _DOCUMENT

    def _keys(self) -> pa.Array:
        """Return the keys of which anything changed in any table."""
        found = []
        for change in self.changes.values():
            names = change.new.schema.names
            if self._by in names:
                found.append(self.seen.of(change, self.store)[self._by])
            elif _DOCUMENT in names:
                found.append(self._keys_of(self.seen.of(change, self.store)))
        kind = self.tables[self.query.base].schema.field(self._by).type
        # With its type: a column of which no row is left has no chunks.
        return pc.drop_null(pc.unique(pa.chunked_array([chunk for each in found for chunk in each.chunks], kind)))

    def _keys_of(self, rows: pa.Table) -> pa.ChunkedArray:
        """Return the keys that the base has, or had, for the documents of some rows."""
        shards = frozenset(rows[SHARD].unique().to_pylist())
        documents = rows[_DOCUMENT].combine_chunks()
        both = [self.tables[self.query.base], self.changes[self.query.base].old]
        found = [table.of_shards(shards).read(self.store, [_DOCUMENT, self._by]) for table in both]
        known = pa.concat_tables(found)
        return known.filter(pc.is_in(known[_DOCUMENT], value_set=documents))[self._by]

    def _touched(self, keys: pa.Array, ask: Ask) -> pa.Table:
        """Return shard and document, where it has them, of each row of the base that has or had one of these keys."""
        now, before = self.tables[self.query.base], self.changes[self.query.base].old
        schema = pa.schema([field for field in now.schema if field.name in (SHARD, _DOCUMENT)])
        columns = ", ".join(f"base.{name}" for name in schema.names)
        # The whole base, but few of its columns: an engine's own work.
        text = f"SELECT {columns} FROM base SEMI JOIN asked ON asked.{self._by} = base.{self._by}"
        query = Query(name=self.query.name, text=text, schema=schema, key=schema.names)
        found = [
            Table(
                name=self.query.name,
                schema=schema,
                parts=ask(query, {"base": table, "asked": pa.table({self._by: keys})}),
            )
            for table in (now, before)
            if table.parts
        ]
        return pa.concat_tables([schema.empty_table(), *(table.read(self.store) for table in found)])


def _has(table: Table, column: str) -> bool:
    return column in table.schema.names


def differing(old: pa.Table, new: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell for each row of `old`, then of `new`, whether the other has another number of rows like it."""
    rows = flat(pa.concat_tables([old, new])).combine_chunks()
    if rows.num_rows == 0:
        return np.zeros(0, np.bool_)
    alike, distinct = np.zeros(rows.num_rows, np.int64), 1
    for column in rows.columns:
        codes = pc.dictionary_encode(column.chunk(0), null_encoding="encode").indices.to_numpy()
        own = int(codes.max(initial=0)) + 1
        if distinct * own >= _MOST_NUMBERS:
            alike, distinct = _renumbered(alike)
        alike, distinct = alike * own + codes, distinct * own
    alike, _ = _renumbered(alike)
    many = int(alike.max(initial=-1)) + 1
    before, after = (np.bincount(part, minlength=many) for part in np.split(alike, [old.num_rows]))
    changed: npt.NDArray[np.bool_] = (before != after)[alike]
    return changed


_MOST_NUMBERS = 1 << 63
"""Rows are numbered with 63 bits, and anew, from 0, when another column would need more."""


def _renumbered(numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Return 0, 1, … for the distinct numbers, and how many these are."""
    values, places = np.unique(numbers, return_inverse=True)
    return places.astype(np.int64), len(values)

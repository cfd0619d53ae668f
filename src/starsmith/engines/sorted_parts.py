"""Sorted rows become parts: what every engine does with the result of a query.

The order and the casts stand here once, so that the bytes of a table depend on its rows alone. How rows come to be
sorted is the business of each engine.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from starsmith.engines import Query
from starsmith.storage import Store
from starsmith.table import Part, write_part


def order_of(query: Query) -> list[str]:
    """Return the columns that the result is sorted by, each ascending with NULLs first."""
    order = [query.partition_by] if query.partition_by else []
    return order + [column for column in query.key if column not in order]


def write_sorted(store: Store, query: Query, batches: Iterable[pa.RecordBatch]) -> Iterator[Part]:
    """Write sorted rows as one part, or one for each run of equal partition values.

    Raises pyarrow.ArrowInvalid for a value that does not fit the type its schema gives it.
    """
    # Arrow casts each batch, the same way on every engine; queries cast nothing.
    tables = (pa.Table.from_batches([batch]).cast(query.schema) for batch in batches)
    if query.partition_by is None:
        yield write_part(store, query.name, query.schema, tables)
        return
    runs = _Runs(tables, query.partition_by)
    while (shard := runs.next_value()) is not None:
        yield write_part(store, query.name, query.schema, runs.current(), shard=shard)


class _Runs:
    """Cut a stream of tables, sorted by a column, into streams of equal value."""

    def __init__(self, batches: Iterator[pa.Table], column: str) -> None:
        self.batches, self.column = batches, column
        self.rest: pa.Table | None = None

    def next_value(self) -> str | None:
        while self.rest is None or self.rest.num_rows == 0:
            self.rest = next(self.batches, None)
            if self.rest is None:
                return None
        return str(self.rest[self.column][0])

    def current(self) -> Iterator[pa.Table]:
        value = self.next_value()
        while value is not None and self.next_value() == value:
            assert self.rest is not None
            equal = self.rest[self.column].to_numpy(zero_copy_only=False) == value
            end = len(equal) if equal.all() else int(equal.argmin())
            piece, self.rest = self.rest.slice(0, end), self.rest.slice(end)
            yield piece

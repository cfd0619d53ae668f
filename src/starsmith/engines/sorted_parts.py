"""Sorted rows become parts: what every engine does with the result of a query.

The order and the casts stand here once, so that the bytes of a table depend on its rows alone. How rows come to be
sorted is the business of each engine.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

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
    for shard, run in groupby(_pieces(tables, query.partition_by), key=itemgetter(0)):
        yield write_part(store, query.name, query.schema, (piece for _, piece in run), shard=shard)


def _pieces(batches: Iterable[pa.Table], column: str) -> Iterator[tuple[str, pa.Table]]:
    """Yield each run of a batch with its value; a batch may have hundreds of them."""
    for batch in batches:
        first = 0
        for values in batch[column].chunks:
            runs, start = pc.run_end_encode(values), 0
            for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
                yield str(value), batch.slice(first + start, end - start)
                start = end
            first += len(values)

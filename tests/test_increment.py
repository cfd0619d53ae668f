"""Queries that run per shard: only shards that changed are asked for again, and the bytes are those of a new store."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.builder import Builder
from starsmith.engines import Query, unheard
from starsmith.engines.local import LocalEngine
from starsmith.increment import rows_digest
from starsmith.progress import Quiet
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

ROWS = pa.schema([pa.field("shard", pa.string(), nullable=False), pa.field("n", pa.int64())])
WEIGHTS = pa.schema([pa.field("shard", pa.string(), nullable=False), pa.field("weight", pa.int64(), nullable=False)])
FACTOR = pa.schema([pa.field("factor", pa.int64(), nullable=False)])
QUERY = Query(
    name="weighed",
    text="""
SELECT numbers.shard, numbers.n * weights.weight * factors.factor AS n
FROM numbers
JOIN weights ON weights.shard = numbers.shard
CROSS JOIN factors
WHERE numbers.n IS NOT NULL""",
    schema=ROWS,
    key=["n"],
    partition_by="shard",
    per_shard=True,
)

Numbers = dict[str, list[int | None]]


class Watched(LocalEngine):
    """Notes the shards of the rows that each query reads."""

    asked: list[list[str]]

    def sql(
        self,
        store: Store,
        query: Query,
        tables: dict[str, Table | pa.Table],
        *,
        progress: Callable[[int, int], None] = unheard,
    ) -> tuple[Part, ...]:
        rows = tables["numbers"]
        assert isinstance(rows, Table)
        self.asked.append([part.shard for part in rows.parts])
        return super().sql(store, query, tables)


def weighed(
    store: Store, numbers: Numbers, weights: dict[str, int], factor: int, *, at_once: int | None = None
) -> tuple[Table, list[list[str]]]:
    """Run the query as a build would; return its table and what the engine was asked for."""
    engine = Watched(workers=1, spill=store.path("tmp/spill"))
    engine.asked = []
    engine.rows_at_once = at_once
    builder = Builder(store=store, engine=engine, reporter=Quiet())
    parts = [
        write_part(store, "numbers", ROWS, [pa.table([[shard] * len(own), own], schema=ROWS)], shard=shard)
        for shard, own in numbers.items()
    ]
    # One part with the rows of all shards: its shards are told apart by their rows.
    pairs = pa.table([list(weights), list(weights.values())], schema=WEIGHTS)
    builder.begin("a stage")
    # What the build before this one recorded, as its build record would say.
    builder._last = tuple(store.names("records"))
    table = builder.sql(
        QUERY,
        numbers=Table(name="numbers", schema=ROWS, parts=tuple(parts)),
        weights=Table(name="weights", schema=WEIGHTS, parts=(write_part(store, "weights", WEIGHTS, [pairs]),)),
        factors=pa.table([[factor]], schema=FACTOR),
    )
    engine.close()
    return table, engine.asked


FIRST: Numbers = {"a": [1, 2], "b": [3, None], "c": [4]}
WEIGHT = {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("numbers", "weights", "factor", "asked"),
    [
        (FIRST, WEIGHT, 1, []),
        (FIRST | {"b": [3]}, WEIGHT, 1, [["b"]]),
        (FIRST, WEIGHT | {"c": 9}, 1, [["c"]]),
        (FIRST | {"d": [1]}, WEIGHT | {"d": 1}, 1, [["d"]]),
        ({"a": [1, 2], "c": [4]}, WEIGHT, 1, [[]]),
        (FIRST, WEIGHT, 2, [["a", "b", "c"]]),
        (FIRST | {"a": [None]}, WEIGHT, 1, [["a"]]),
    ],
)
def test_only_what_changed_is_asked_for_and_the_bytes_are_those_of_a_new_store(
    tmp_path: Path, numbers: Numbers, weights: dict[str, int], factor: int, asked: list[list[str]]
) -> None:
    store = Store(str(tmp_path / "again"))
    first, all_of_them = weighed(store, FIRST, WEIGHT, 1)
    assert all_of_them == [["a", "b", "c"]]
    assert {part.shard: part.rows for part in first.parts} == {"a": 2, "b": 1, "c": 1}
    second, found = weighed(store, numbers, weights, factor)
    assert found == asked
    assert second == weighed(Store(str(tmp_path / "new")), numbers, weights, factor)[0]


@pytest.mark.parametrize(
    ("at_once", "asked"),
    [(1, [["a"], ["b"], ["c"], ["d"]]), (3, [["a"], ["b", "c"], ["d"]]), (7, [["a", "b", "c"], ["d"]])],
)
def test_a_large_query_is_asked_for_some_shards_at_a_time_and_the_bytes_are_the_same(
    tmp_path: Path, at_once: int, asked: list[list[str]]
) -> None:
    numbers, weights = FIRST | {"d": [5, 6, 7, 8, 9]}, WEIGHT | {"d": 1}
    store = Store(str(tmp_path / "in groups"))
    in_groups, found = weighed(store, numbers, weights, 1, at_once=at_once)
    assert found == asked
    assert in_groups == weighed(Store(str(tmp_path / "at once")), numbers, weights, 1)[0]


VALUES = st.lists(st.tuples(st.one_of(st.none(), st.text(max_size=3)), st.one_of(st.none(), st.booleans())), max_size=6)
TYPES = pa.schema([("text", pa.string()), ("flag", pa.bool_())])


@given(rows=VALUES, cut=st.integers(0, 6))
def test_the_digest_of_rows_depends_on_the_values_alone(rows: list[tuple[str | None, bool | None]], cut: int) -> None:
    whole = pa.table([[text for text, _ in rows], [flag for _, flag in rows]], schema=TYPES)
    pieces = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    longer = pa.concat_tables([pa.table([["before", None], [True, None]], schema=TYPES), whole]).combine_chunks()
    assert rows_digest(whole) == rows_digest(pieces) == rows_digest(longer.slice(2))


@given(rows=VALUES, others=VALUES)
def test_other_values_have_another_digest(
    rows: list[tuple[str | None, bool | None]], others: list[tuple[str | None, bool | None]]
) -> None:
    tables = [
        pa.table([[text for text, _ in each], [flag for _, flag in each]], schema=TYPES) for each in (rows, others)
    ]
    assert (rows_digest(tables[0]) == rows_digest(tables[1])) == (rows == others)

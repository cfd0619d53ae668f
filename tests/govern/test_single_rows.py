"""Single rows equal what a filter over the whole table gives, from however many parts and row groups."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith import table
from starsmith.errors import StarsmithError
from starsmith.govern.single_rows import SingleRows
from starsmith.storage import Store
from starsmith.table import write_part
from starsmith.workspace import BuildRecord

SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(2), nullable=False),
        pa.field("name", pa.string()),
        pa.field("number", pa.int64(), nullable=False),
    ]
)
NAMES = ["", "a", "b", "é", "zz", None]
Row = dict[str, Any]


def build_of(store: Store, shards: list[list[Row]]) -> BuildRecord:
    parts = tuple(
        write_part(store, "t", SCHEMA, [pa.Table.from_pylist(rows, schema=SCHEMA)], shard=f"{number}")
        for number, rows in enumerate(shards)
    )
    values: dict[str, Any] = {"recipe": "", "base": "", "profile": "", "engine": "", "workers": 1, "until": "collect"}
    return BuildRecord(**values, stages=(), tables={"t": parts}, records=(), release=None, versions={})


ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from([b"\0\0", b"\x7f\0", b"\x80\1", b"\xff\xff"]), "name": st.sampled_from(NAMES)}
    ),
    max_size=9,
)


@given(shards=st.lists(ROWS, max_size=3), group=st.integers(1, 4))
def test_rows_are_those_that_have_the_values(
    shards: list[list[Row]], group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    for shard in shards:
        for number, row in enumerate(shard):
            row["number"] = number
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ROW_GROUP_ROWS", group)
        rows = SingleRows(store, build_of(store, shards))
    everything = [row for shard in shards for row in shard]
    for wanted in ({"id": b"\x80\1"}, {"name": "é"}, {"id": b"\0\0", "name": ""}, {"name": "none"}):
        expected = [row for row in everything if wanted.items() <= row.items()]
        assert rows.where("t", SCHEMA, wanted) == expected
        assert rows.where("t", SCHEMA, wanted, columns=["number"]) == [{"number": row["number"]} for row in expected]
        for number, shard in enumerate(shards):
            own = [row for row in shard if wanted.items() <= row.items()]
            assert rows.where("t", SCHEMA, wanted, shard=f"{number}") == own
            if own:
                assert rows.number("t", SCHEMA, wanted, shard=f"{number}") == own[0]["number"]


def test_a_table_that_was_not_built_is_an_error(tmp_path: Path) -> None:
    rows = SingleRows(Store(str(tmp_path)), build_of(Store(str(tmp_path)), []))
    with pytest.raises(StarsmithError, match="no table 'other'"):
        rows.where("other", SCHEMA, {"name": "a"})
    with pytest.raises(LookupError):
        rows.number("t", SCHEMA, {"name": "a"}, shard="0")

"""Tables: the same rows give the same row groups and the same bytes, and records tell finished work from unfinished."""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith import table
from starsmith.part_file import MappedRows
from starsmith.storage import Store
from starsmith.table import Part, Record, Table, read_record, row_groups, union, write_mapped_part, write_part

NARROW = pa.schema([pa.field("number", pa.int64(), nullable=False), pa.field("name", pa.string())])
BULKY = pa.schema([pa.field("number", pa.int64(), nullable=False), pa.field("content", pa.binary(), nullable=False)])
SHARD = "00"

SIZES = st.lists(st.integers(0, 9), max_size=40)
CUTS = st.lists(st.integers(0, 40), max_size=6)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def narrow(count: int) -> pa.Table:
    names = [None if number % 3 == 0 else f"n{number}" for number in range(count)]
    return pa.table({"number": list(range(count)), "name": names}, schema=NARROW)


def bulky(sizes: list[int]) -> pa.Table:
    contents = [bytes([65 + number % 26]) * size for number, size in enumerate(sizes)]
    return pa.table({"number": list(range(len(sizes))), "content": contents}, schema=BULKY)


def cut(rows: pa.Table, cuts: list[int]) -> list[pa.Table]:
    bounds = [0, *sorted(min(each, rows.num_rows) for each in cuts), rows.num_rows]
    return [rows.slice(start, stop - start) for start, stop in pairwise(bounds)]


def expected_groups(sizes: list[int], *, most_rows: int, most_bytes: int) -> list[int]:
    """The rule as it is stated: a row ends a group when the rows or the bytes since the last cut are enough."""
    groups, rows, weight = [], 0, 0
    for size in sizes:
        rows, weight = rows + 1, weight + size
        if rows == most_rows or weight >= most_bytes:
            groups.append(rows)
            rows, weight = 0, 0
    return [*groups, rows] if rows else groups


@given(sizes=SIZES, cuts=CUTS, most_rows=st.integers(1, 9), most_bytes=st.integers(1, 30))
def test_row_groups_follow_from_the_rows_alone(
    sizes: list[int], cuts: list[int], most_rows: int, most_bytes: int
) -> None:
    rows = bulky(sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ROW_GROUP_ROWS", most_rows)
        patch.setattr(table, "CONTENT_ROW_GROUP_BYTES", most_bytes)
        groups = list(row_groups(cut(rows, cuts), BULKY, bulk=["content"]))
    assert [group.num_rows for group in groups] == expected_groups(sizes, most_rows=most_rows, most_bytes=most_bytes)
    assert pa.concat_tables([BULKY.empty_table(), *groups]).equals(rows)


@given(count=st.integers(0, 40), cuts=CUTS, most_rows=st.integers(1, 9))
def test_without_bulk_only_rows_count(count: int, cuts: list[int], most_rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ROW_GROUP_ROWS", most_rows)
        groups = list(row_groups(cut(narrow(count), cuts), NARROW))
    assert [group.num_rows for group in groups] == expected_groups([0] * count, most_rows=most_rows, most_bytes=1)
    assert pa.concat_tables([NARROW.empty_table(), *groups]).equals(narrow(count))


@pytest.mark.parametrize("cuts", [[], [1], [3, 3, 17], list(range(40))])
def test_part_bytes_do_not_depend_on_batches(store: Store, cuts: list[int]) -> None:
    rows = bulky([number % 7 for number in range(40)])
    whole = write_part(store, "contents", BULKY, [rows], shard=SHARD)
    batches = [batch for piece in cut(rows, cuts) for batch in piece.to_batches()]
    assert write_part(store, "contents", BULKY, batches, shard=SHARD) == whole


def test_a_part_is_named_and_known_by_its_digest(store: Store) -> None:
    part = write_part(store, "facts", NARROW, [narrow(5)])
    data = store.read(part.name)
    assert (part.rows, part.bytes, part.shard) == (5, len(data), "")
    assert part.digest == hashlib.sha256(data).hexdigest()
    assert part.name == f"tables/facts/{part.digest[:32]}.parquet"
    other = write_part(store, "facts", NARROW, [narrow(6)])
    assert other.digest != part.digest


def test_contents_are_cut_by_bytes_and_have_no_statistics(store: Store) -> None:
    rows = bulky([3 << 20] * 7)
    file = pq.ParquetFile(store.open(write_part(store, "contents", BULKY, [rows]).name))
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 3, 1]
    number, content = (file.metadata.row_group(0).column(column) for column in (0, 1))
    assert number.is_stats_set
    assert not content.is_stats_set
    assert not content.has_dictionary_page
    assert content.compression == "ZSTD"


def test_an_empty_table_is_one_part_without_rows(store: Store) -> None:
    part = write_part(store, "facts", NARROW, [])
    assert part.rows == 0
    assert part == write_part(store, "facts", NARROW, [NARROW.empty_table(), NARROW.empty_table()])
    assert Table(name="facts", schema=NARROW, parts=(part,)).read(store).equals(NARROW.empty_table())


def test_a_table_without_parts_reads_as_no_rows(store: Store) -> None:
    none = Table(name="facts", schema=NARROW, parts=())
    assert none.rows == 0
    assert none.read(store, ["name"]).schema.names == ["name"]
    assert none.dataset(store).to_table().equals(NARROW.empty_table())


def test_parts_are_read_back_in_order(store: Store) -> None:
    first, second = (write_part(store, "facts", NARROW, [narrow(count)], shard=f"{count:02d}") for count in (2, 3))
    both = Table(name="facts", schema=NARROW, parts=(first, second))
    assert both.rows == 5
    assert both.read(store).to_pylist() == narrow(2).to_pylist() + narrow(3).to_pylist()
    assert both.dataset(store).to_table().to_pylist() == both.read(store).to_pylist()
    assert both.of_shard("03").read(store, ["number"]).to_pylist() == narrow(3).select(["number"]).to_pylist()
    assert union("all", [both.of_shard("02"), both.of_shard("03")]).parts == both.parts


def test_the_digest_of_a_table_tells_rows_schema_and_order(store: Store) -> None:
    first, second = (write_part(store, "facts", NARROW, [narrow(count)], shard=SHARD) for count in (2, 3))
    both = Table(name="facts", schema=NARROW, parts=(first, second))
    same = Table(name="other", schema=NARROW, parts=(replace(first, name="elsewhere"), second))
    assert both.digest == same.digest
    assert both.digest != replace(both, parts=(second, first)).digest
    assert both.digest != replace(both, schema=BULKY).digest


def test_a_mapped_part_gives_single_rows(store: Store) -> None:
    schema = pa.schema([pa.field("key", pa.binary(1), nullable=False), BULKY.field(1).with_type(pa.large_binary())])
    rows = bulky([4, 0, 8]).set_column(0, schema.field(0), pa.array([b"a", b"b", b"c"], pa.binary(1))).cast(schema)
    part = write_mapped_part(store, "shingles", schema, pa.concat_tables([rows.slice(0, 1), rows.slice(1)]), shard="aa")
    assert part.name.startswith("tables/shingles/aa-")
    with MappedRows(store, part, schema) as mapped:
        assert bytes(mapped.value(2, "content", key=b"c")) == b"C" * 8
        assert bytes(mapped.value(1, "content", key=b"b")) == b""
    assert part == write_mapped_part(store, "shingles", schema, rows, shard="aa")


def record_of(part: Part, **values: Any) -> Record:
    outputs = {"facts": (part,), "none": ()}
    return Record(
        **({"stage": "s", "fingerprint": "f", "outputs": outputs, "seconds": 1.5, "counts": {"n": 2}} | values)
    )


def test_a_record_comes_back_as_it_was(store: Store) -> None:
    record = record_of(write_part(store, "facts", NARROW, [narrow(5)], shard=SHARD))
    assert read_record(store, "s", "f") is None
    record.write(store)
    assert read_record(store, "s", "f") == record
    assert read_record(store, "s", "g") is None


def test_work_counts_as_done_only_if_final_and_whole(store: Store) -> None:
    part = write_part(store, "facts", NARROW, [narrow(5)], shard=SHARD)
    record_of(part, final=False).write(store)
    assert read_record(store, "s", "f") is None
    record_of(part).write(store)
    store.write(part.name, store.read(part.name)[:-1])
    assert read_record(store, "s", "f") is None
    store.delete(part.name)
    assert read_record(store, "s", "f") is None


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", json.dumps({"outputs": {"facts": [{"shard": 1}]}}).encode()])
def test_a_damaged_record_is_no_record(store: Store, damage: bytes) -> None:
    record = record_of(write_part(store, "facts", NARROW, [narrow(5)]))
    record.write(store)
    store.write(record.name, damage)
    assert read_record(store, "s", "f") is None


def test_a_record_under_the_name_of_another_is_none(store: Store) -> None:
    record = record_of(write_part(store, "facts", NARROW, [narrow(5)]))
    record.write(store)
    store.write("records/s/g.json", store.read(record.name))
    assert read_record(store, "s", "g") is None

"""Single rows fetched from a mapped part: the same bytes as by mapping it, and damage is told."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith import ranged_rows
from starsmith.annotate_rows import packed_bands
from starsmith.document import BANDS, ID_BYTES, SHINGLES
from starsmith.errors import StarsmithError
from starsmith.part_file import MappedRows
from starsmith.ranged_rows import RangedRows, rows_of
from starsmith.storage import Store
from starsmith.table import Part, write_mapped_part

VALUES = st.lists(st.binary(max_size=300), min_size=1, max_size=40)


def sets(store: Store, values: list[bytes]) -> tuple[Part, list[bytes]]:
    keys = [number.to_bytes(ID_BYTES, "big") for number in range(len(values))]
    return write_mapped_part(store, "shingles", SHINGLES, pa.table([keys, values], schema=SHINGLES), shard="a"), keys


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store.at(tmp_path_factory.mktemp("workspace"))


@given(values=VALUES)
@settings(max_examples=30, deadline=None)
def test_every_row_is_the_one_that_mapping_gives(store, values):
    part, keys = sets(store, values)
    with MappedRows(store, part, SHINGLES) as mapped, RangedRows(store, part, SHINGLES) as ranged:
        for row in reversed(range(len(values))):
            found = bytes(ranged.value(row, "shingles", key=keys[row]))
            assert found == bytes(mapped.value(row, "shingles", key=keys[row])) == values[row]
        assert ranged._whole is None, "nothing was copied"


def test_an_object_store_is_asked_for_single_rows(new_place, monkeypatch, tmp_path):
    there = Store(new_place())
    values = [bytes([number]) * (1 + number) for number in range(200)]
    part, keys = sets(there, values)
    with rows_of(there, part, SHINGLES, wanted=1) as copied:
        assert isinstance(copied, MappedRows), "so small a part is copied whole"
    monkeypatch.setattr(ranged_rows, "REQUEST_BYTES", 1)
    with rows_of(there, part, SHINGLES, wanted=3) as ranged:
        assert isinstance(ranged, RangedRows)
        asked = [199, 0, 7]
        found = there.each(lambda row: bytes(ranged.value(row, "shingles", key=keys[row])), asked)
        assert found == [values[row] for row in asked]
        with pytest.raises(StarsmithError, match="row 5 is not the one that was written"):
            ranged.value(5, "shingles", key=keys[6])


def test_a_band_of_many(store):
    keys = np.arange(36 * 7, dtype=np.int64).reshape(7, 36)
    rows = packed_bands([keys])
    part = write_mapped_part(store, "bands", BANDS, rows, shard="b")
    with RangedRows(store, part, BANDS) as ranged:
        found = ranged.value(35, "entries", key=(35).to_bytes(4, "little"))
    assert found == rows["entries"][35].as_py()


def test_another_key_and_a_row_that_is_not_there_are_errors(store):
    part, keys = sets(store, [b"abcd", b"efgh"])
    with RangedRows(store, part, SHINGLES) as ranged:
        with pytest.raises(StarsmithError, match="row 0 is not the one that was written"):
            ranged.value(0, "shingles", key=keys[1])
        with pytest.raises(StarsmithError, match="no row 2"):
            ranged.value(2, "shingles", key=keys[1])


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_damage_never_gives_other_bytes(tmp_path, place):
    store = Store.at(tmp_path)
    values = [bytes([number]) * 200 for number in range(20)]
    part, keys = sets(store, values)
    path = tmp_path / part.name
    data = bytearray(path.read_bytes())
    start = int(place * len(data))
    data[start : start + 150] = bytes(byte ^ 0x55 for byte in data[start : start + 150])
    path.chmod(0o644)
    path.write_bytes(data)
    said = []
    for row, value in enumerate(values):
        try:
            with RangedRows(store, part, SHINGLES) as ranged:
                assert ranged.value(row, "shingles", key=keys[row]) == value
        except StarsmithError as error:
            said.append(str(error))
    assert said, "the damage lies in some row"
    assert all(part.name in message for message in said)


def test_few_rows_of_a_large_part_are_fetched_and_all_else_is_mapped(store, monkeypatch):
    part, _ = sets(store, [bytes(100)] * 10)
    assert isinstance(rows_of(store, part, SHINGLES, wanted=1), MappedRows)
    monkeypatch.setattr(Store, "is_local", False)
    assert isinstance(rows_of(store, part, SHINGLES, wanted=1), MappedRows)
    monkeypatch.setattr(ranged_rows, "REQUEST_BYTES", part.bytes // 2)
    assert isinstance(rows_of(store, part, SHINGLES, wanted=1), RangedRows)
    assert isinstance(rows_of(store, part, SHINGLES, wanted=3), MappedRows)

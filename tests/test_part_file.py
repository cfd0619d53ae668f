"""Files of parts: whatever byte is not the one that was written, reading says which file it is in."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith.document import SHINGLES
from starsmith.errors import StarsmithError
from starsmith.part_file import MappedRows, PartFile, damage, reading
from starsmith.storage import Store
from starsmith.table import Part, Table, write_mapped_part, write_part

NARROW = pa.schema([pa.field("number", pa.int64(), nullable=False), pa.field("name", pa.string())])
IDS = [bytes([200 + number]) * 20 for number in range(9)]
SETS = [hashlib.sha256(bytes([number])).digest()[: 4 * (number % 5)] for number in range(9)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def parquet(store: Store) -> Part:
    names = [f"name {number % 7}" for number in range(500)]
    return write_part(store, "facts", NARROW, [pa.table({"number": range(500), "name": names}, schema=NARROW)])


@pytest.fixture(scope="module")
def mapped(store: Store) -> Part:
    rows = pa.table([pa.array(IDS, pa.binary(20)), pa.array(SETS, pa.large_binary())], schema=SHINGLES)
    return write_mapped_part(store, "shingles", SHINGLES, rows, shard="aa")


class damaged:
    """The file of a part with other bytes, and the time of a file nobody has written to, until the block ends."""

    def __init__(self, store: Store, part: Part, data: bytes) -> None:
        self.path, self.data = Path(store.path(part.name)), data

    def __enter__(self) -> None:
        self.sound, self.stat = self.path.read_bytes(), self.path.stat()
        self._write(self.data)

    def __exit__(self, *error: object) -> None:
        self._write(self.sound)

    def _write(self, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.truncate()
            file.write(data)
        os.utime(self.path, ns=(self.stat.st_atime_ns, self.stat.st_mtime_ns))


def flipped(data: bytes, place: int, bits: int) -> bytes:
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]


def read_parquet(store: Store, part: Part) -> object:
    return Table(name="facts", schema=NARROW, parts=(part,)).read(store).to_pylist()


def read_mapped(store: Store, part: Part) -> object:
    with MappedRows(store, part, SHINGLES) as rows:
        return [bytes(rows.value(number, "shingles", key=key)) for number, key in enumerate(IDS)]


def told(store: Store, part: Part, read: Callable[[Store, Part], object]) -> str:
    """Return the error that reading ends with, or nothing."""
    try:
        read(store, part)
    except StarsmithError as error:
        return str(error)
    return ""


KINDS: dict[str, Callable[[Store, Part], object]] = {"parquet": read_parquet, "mapped": read_mapped}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Part, Callable[[Store, Part], object]]:
    return request.getfixturevalue(request.param), KINDS[request.param]


@given(share=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
@settings(max_examples=150)
def test_any_byte_that_counts_is_missed(store: Store, parquet: Part, mapped: Part, share: float, bits: int) -> None:
    """The file looks as it did when it was written, so that it is not hashed: its own check sums have to tell."""
    for part, read in ((parquet, read_parquet), (mapped, read_mapped)):
        sound = read(store, part)
        data = store.read(part.name)
        with damaged(store, part, flipped(data, int(share * len(data)), bits)):
            if error := told(store, part, read):
                assert store.path(part.name) in error
                assert f"its record says {part.digest}. Delete it and run `starsmith build` again" in error
            elif part is mapped:
                assert read(store, part) == sound


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.8, 0.95, 0.99])
def test_a_file_that_was_written_to_is_hashed(store: Store, kind, share: float) -> None:
    part, read = kind
    read(store, part)
    data = store.read(part.name)
    place = int(share * len(data))
    with damaged(store, part, flipped(data, place, 1)):
        os.utime(store.path(part.name))
        if read is read_parquet:
            with pytest.raises(StarsmithError, match=r"is damaged: its SHA-256 is [0-9a-f]{64}, its record says"):
                read(store, part)
        assert "is damaged: its SHA-256 is" in str(damage(store, part))
    assert damage(store, part) is None


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_file_that_is_cut_off(store: Store, kind, keep: int) -> None:
    part, read = kind
    with (
        damaged(store, part, store.read(part.name)[:keep]),
        pytest.raises(StarsmithError, match=r"is damaged: it has .* bytes, its record says"),
    ):
        read(store, part)


def test_a_block_of_zeros(store: Store, kind) -> None:
    part, read = kind
    data = store.read(part.name)
    for start in range(0, len(data) - 64, 64):
        with damaged(store, part, data[:start] + bytes(64) + data[start + 64 :]):
            os.utime(store.path(part.name))
            error = told(store, part, read)
            # Of a mapped part, what is not read (padding) does not count.
            assert f"its record says {part.digest}" in error or (error == "" and read is read_mapped)


def test_a_missing_file(store: Store, kind) -> None:
    part, read = kind
    elsewhere = replace(part, name=part.name + ".gone")
    with pytest.raises(StarsmithError, match=r"gone is missing. Run `starsmith build` again: it is made anew"):
        read(store, elsewhere)


def test_a_file_in_the_place_of_another(store: Store, mapped: Part) -> None:
    """Of equal size, so that only what is in it tells."""
    rows = pa.table([pa.array(IDS[::-1], pa.binary(20)), pa.array(SETS, pa.large_binary())], schema=SHINGLES)
    other = write_mapped_part(store, "shingles", SHINGLES, rows, shard="bb")
    assert other.bytes == mapped.bytes
    with pytest.raises(StarsmithError, match="is damaged: its SHA-256 is"):
        read_mapped(store, replace(mapped, name=other.name))
    numbers = pa.table({"number": range(1, 501), "name": ["name 1"] * 500}, schema=NARROW)
    first, second = (write_part(store, "facts", NARROW, [rows]) for rows in (numbers, numbers.slice(1)))
    with pytest.raises(StarsmithError, match="is damaged"):
        read_parquet(store, replace(first, name=second.name))


def test_a_page_is_checked_as_it_is_read(store: Store, parquet: Part) -> None:
    file = PartFile(store, parquet)
    column = file.metadata.row_group(0).column(0)
    data = store.read(parquet.name)
    place = column.dictionary_page_offset + column.total_compressed_size - 3
    with damaged(store, parquet, flipped(data, place, 4)), pytest.raises(StarsmithError, match="is damaged: its SHA"):
        file.read_group(0, ["number"])


def test_a_dataset_checks_pages_too(store: Store, parquet: Part) -> None:
    dataset = Table(name="facts", schema=NARROW, parts=(parquet,)).dataset(store)
    data = store.read(parquet.name)
    with (
        damaged(store, parquet, flipped(data, 200, 4)),
        pytest.raises(StarsmithError, match="is damaged: its SHA"),
        reading(store, [parquet]),
    ):
        dataset.to_table()


def test_an_error_of_another_kind_stays_what_it_is(store: Store, parquet: Part) -> None:
    with pytest.raises(KeyError), reading(store, [parquet]):
        raise KeyError("x")
    with (
        pytest.raises(StarsmithError, match=r"cannot be read: disk on fire. Delete it and run"),
        reading(store, [parquet]),
    ):
        raise OSError("disk on fire")


def test_a_row_or_column_that_is_not_there(store: Store, mapped: Part) -> None:
    with MappedRows(store, mapped, SHINGLES) as rows:
        for row in (-1, len(IDS)):
            with pytest.raises(StarsmithError, match=f"it has no row {row}"):
                rows.value(row, "shingles", key=IDS[0])
    with pytest.raises(StarsmithError, match="its columns are not those of its table"):
        MappedRows(store, mapped, NARROW)


def test_no_damage_of_a_mapped_part_ends_the_process(store: Store, mapped: Part, tmp_path: Path) -> None:
    """In a process of its own: Arrow reads where offsets lead it."""
    code = f"""
import os, sys
from starsmith.document import SHINGLES
from starsmith.errors import StarsmithError
from starsmith.part_file import MappedRows
from starsmith.storage import Store
from starsmith.table import Part
store, part = Store({store.root!r}), {mapped!r}
ids = {IDS!r}
path = store.path(part.name)
data = open(path, "rb").read()
copy = Store({str(tmp_path)!r})
os.makedirs(os.path.dirname(copy.path(part.name)))
refused = 0
for place in range(len(data)):
    for bits in (1, 255):
        open(copy.path(part.name), "wb").write(data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :])
        try:
            with MappedRows(copy, part, SHINGLES) as rows:
                for number, key in enumerate(ids):
                    rows.value(number, "shingles", key=key)
        except StarsmithError:
            refused += 1
print(refused, len(data))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, size = map(int, done.stdout.split())
    assert refused > size / 2

"""The `archives` source on archives made to use up work or memory, on headers that lie, and on any bytes at all.

Limits of hundreds of megabytes are lowered for a test; the memory that real ones leave is measured in processes.
"""

import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith.settings import CollectSettings
from starsmith.sources import PathRange
from starsmith.sources.archives import ArchiveSource

FOLDER = "starsmith.sources"
MB = 1_000_000


# ---- bombs


@pytest.fixture
def small_allowance(monkeypatch):
    monkeypatch.setattr(f"{FOLDER}.archive_streams.FREE_BYTES", MB)


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_compressed_tar_bomb(forge, put, small_allowance, suffix):
    bomb = forge.entry(b"small", b"1\n") + forge.entry(b"zeros", bytes(20 * MB)) + forge.END
    assert "unpacks to more than" in forge.error(put(forge.PACKERS[suffix](bomb), f"a.{suffix}"))


def test_a_bomb_behind_the_end_of_the_archive(forge, put, small_allowance):
    path = put(gzip.compress(forge.entry(b"small", b"1\n") + bytes(50 * MB)), "a.tgz")
    assert "unpacks to more than" in forge.error(path)


def test_a_zip_member_that_unpacks_to_more_than_it_says(forge, put):
    bomb = forge.deflated(bytes(50 * MB))
    lie = {"packed": bomb, "stored": len(bomb), "method": 8}
    path = put(forge.zipped([(b"bomb", b"1", lie), (b"small", b"2\n")]), "a.zip")
    documents = forge.read(path)
    assert documents[b"bomb"].detail == "its size is not the declared one"
    assert documents[b"small"].content == b"2\n"


def test_a_zip_of_many_honest_bombs(forge, put, small_allowance):
    data = bytes(300_000)
    one = {"packed": forge.deflated(data), "stored": len(forge.deflated(data)), "method": 8}
    path = put(forge.zipped([(b"f%d" % i, data, one) for i in range(9)]), "a.zip")
    documents = forge.read(path)
    assert [document.reason for document in documents.values()] == [None] * 3 + ["error.read"] * 6
    origin = forge.describe(path)
    part = ArchiveSource(path=path).read(origin, PathRange(start=b"f5"), CollectSettings())
    assert [document.detail for document in part] == [documents[b"f8"].detail] * 4


def test_overlapping_zip_members(forge, put):
    shared = {"offset": 0, "local_name": b"a"}
    path = put(forge.zipped([(b"a", b"1\n"), (b"b", b"1\n", shared), (b"c", b"3\n")]), "a.zip")
    assert forge.reasons(path) == {b"a": "error.read", b"b": "error.read", b"c": None}


def test_a_dictionary_larger_than_memory(forge, put):
    """An xz stream that says it needs 1.5 GiB to be unpacked, and a Zstandard frame that says 2 GiB."""
    big = lzma.compress(
        forge.entry(b"a", b"1") + forge.END, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 3 << 29}]
    )
    assert "memory" in forge.error(put(big, "a.tar.xz"))
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + struct.pack("<L", 1 | 1 << 1 | 100 << 3)[:3] + b"x"
    assert "memory" in forge.error(put(frame, "a.tar.zst"))


def test_endless_empty_streams(forge, put, monkeypatch):
    monkeypatch.setattr(f"{FOLDER}.archive_streams._MOST_STREAMS", 1000)
    assert "gzip" in forge.error(put(gzip.compress(b"") * 2000, "a.tar.gz"))


def test_memory_stays_bounded(forge, tmp_path):
    """Bombs of every form, each in a process of its own that may not have more than 300 MB of memory in use."""
    zeros = bytes(160 * MB)
    tar = forge.entry(b"small", b"1\n") + forge.header(b"zeros", len(zeros)) + zeros + forge.END
    bombs = {f"a.{suffix}": pack(tar) for suffix, pack in forge.PACKERS.items() if suffix not in ("tar", "tar.bz2")}
    packed = forge.deflated(zeros)
    facts = {"packed": packed, "stored": len(packed), "method": 8}
    bombs["a.zip"] = forge.zipped([(b"z%d" % i, zeros, facts) for i in range(3)])
    del zeros, tar
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
        done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path / name)], capture_output=True, check=True)
        assert int(done.stdout) < 300 * 1024, name


MEASURE = """
import sys
from pathlib import Path
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange
from starsmith.sources.archives import ArchiveSource
source = ArchiveSource(path=Path(sys.argv[1]))
origin = source.describe(sys.argv[1], shard_documents=4000)
for document in source.read(origin, PathRange(stop=origin.cuts[0] if origin.cuts else None), CollectSettings()):
    assert document.content is None or len(document.content) < 1000
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


# ---- headers that lie


def test_tar_sizes_that_cannot_be(forge, put):
    for field in (
        forge.number(-1, 12),
        forge.number(-512, 12),
        b"\x80" + b"\xff" * 11,
        b"9" * 11 + b"\0",
        b"-0000000001\0",
    ):
        assert "size" in forge.error(put(forge.header(b"a", size_field=field) + forge.END))
    assert "size" in forge.error(put(forge.pax({b"size": b"-1"}) + forge.entry(b"a", b"1\n") + forge.END))
    assert "cut off" in forge.error(put(forge.header(b"a", 1 << 59) + forge.END))
    assert "cut off" in forge.error(put(gzip.compress(forge.header(b"a", 1 << 59) + forge.END), "a.tgz"))


def test_a_tar_header_that_does_not_add_up(forge, put):
    whole = forge.entry(b"a", b"1\n") + forge.entry(b"b", b"2\n") + forge.END
    assert "header before byte 1536" in forge.error(put(whole[:1024] + b"c" + whole[1025:]))


def test_pax_bombs(forge, put):
    """Extended headers too large to be read cost the member they speak of its content, and nothing else."""
    large = forge.entry(b"pax", b"20 comment=" + bytes(2 * MB), b"x")
    many = forge.pax({b"comment%d" % i: b"" for i in range(2000)})
    endless = forge.entry(b"pax", b"99999999 path=x\n", b"x")
    a, b, c, d = (forge.entry(name, b"1\n") for name in (b"a", b"b", b"c", b"d"))
    parts = [large, a, many, b, endless, c, d]
    assert forge.reasons(put(b"".join(parts) + forge.END)) == {
        **dict.fromkeys((b"a", b"b", b"c"), "error.read"),
        b"d": None,
    }


def test_long_name_bombs(forge, put):
    huge = forge.entry(b"L", b"n" * 2 * MB, b"L") + forge.entry(b"a", b"1\n")
    long = forge.entry(b"L", b"n" * 5000 + b"\0", b"L") + forge.entry(b"b", b"2\n")
    chain = forge.entry(b"L", b"first", b"L") * 300 + forge.entry(b"L", b"last\0", b"L") + forge.entry(b"c", b"3\n")
    documents = forge.read(put(huge + long + chain + forge.END))
    assert documents[b"a"].reason == "error.read"
    assert documents[b"last"].content == b"3\n"
    assert sorted(map(len, documents)) == [1, 4, 233]


def test_extended_headers_without_end(forge, put, monkeypatch):
    monkeypatch.setattr(f"{FOLDER}.archive_tar.MOST_EXTENDED_BYTES_TOGETHER", 10_000)
    assert "extended headers" in forge.error(
        put(forge.pax({b"comment": b"x" * 900}) * 20 + forge.entry(b"a") + forge.END)
    )
    monkeypatch.setattr(f"{FOLDER}.archive_tar.MOST_MEMBERS", 10)
    assert "headers" in forge.error(put(forge.header(b"L", 0, b"L") * 100 + forge.entry(b"a") + forge.END))


def test_zip_sizes_that_cannot_be(forge, put):
    big = struct.pack("<2H3Q", 1, 24, 1 << 62, 1 << 62, 1 << 62)
    absent = {"size": 0xFFFFFFFF, "stored": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
    members = [
        (b"far", b"1\n", {"offset": 1 << 31}),
        (b"wide", b"2\n", {"stored": 1 << 30, "size": 1 << 30}),
        (b"zip64", b"3\n", absent | {"extra": big}),
        (b"none", b"4\n", absent),
        (b"short", b"5\n", {"size": 1}),
    ]
    documents = forge.read(put(forge.zipped(members), "a.zip"))
    assert {document.reason for document in documents.values()} == {"error.read"}
    assert max(document.length for document in documents.values()) < 100


def test_check_sums_and_local_headers_that_differ(forge, put):
    members = [(b"sum", b"1\n", {"crc": 1}), (b"other", b"2\n", {"local_name": b"OTHER"}), (b"x", b"3\n")]
    assert forge.reasons(put(forge.zipped(members), "a.zip")) == {
        b"sum": "error.read",
        b"other": "error.read",
        b"x": None,
    }


def test_counts_and_places_of_a_zip_that_lie(forge, put):
    members = [(b"a", b"1\n"), (b"b", b"2\n")]
    assert len(forge.read(put(forge.zipped(members, count=60_000), "a.zip"))) == 2
    assert "directory" in forge.error(put(forge.zipped(members, directory_offset=1 << 31), "a.zip"))
    hidden = forge.zipped([(b"hidden", b"3\n")])
    assert list(forge.read(put(forge.zipped(members, comment=hidden), "a.zip"))) == [b"hidden"]


def test_something_before_and_behind_a_zip(forge, put):
    members = [(b"a", b"1\n"), (b"b", b"2\n")]
    assert len(forge.read(put(forge.zipped(members, before=b"#!/bin/sh\nexit 1\n"), "a.zip"))) == 2
    assert len(forge.read(put(forge.zipped(members, after=b"rubbish"), "a.zip"))) == 2


def test_zip64(forge, put):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"1\n")
    assert forge.read(put(target.getvalue(), "a.zip"))[b"a"].content == b"1\n"
    plain = forge.zipped([(b"a", b"1\n"), (b"b", b"2\n")])
    length, offset = struct.unpack("<2L", plain[-10:-2])
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, length, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(plain) - 22, 1)
    end = b"PK\5\6" + b"\xff" * 16 + b"\0\0"
    assert len(forge.read(put(plain[:-22] + wide + locator + end, "a.zip"))) == 2
    assert "directory" in forge.error(put(plain[:-22] + end, "a.zip"))


# ---- numbers


def test_more_members_than_any_archive_has(forge, put, monkeypatch):
    monkeypatch.setattr(f"{FOLDER}.archive_members.MOST_MEMBERS", 100)
    assert "members" in forge.error(put(b"".join(forge.entry(b"f%d" % i) for i in range(101)) + forge.END))
    assert "members" in forge.error(put(forge.zipped([(b"f%d" % i, b"") for i in range(101)]), "a.zip"))
    monkeypatch.setattr(f"{FOLDER}.archive_members.MOST_NAME_BYTES", 1000)
    assert "names" in forge.error(put(b"".join(forge.entry(b"%090d" % i) for i in range(20)) + forge.END))


def test_a_hundred_thousand_members_in_bounded_memory(forge, tmp_path):
    block = forge.header(b"@" * 90)
    total = sum(block)
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as target:
        for i in range(100_000):
            name = b"d%03d/f%07d" % (i % 500, i)
            name += b"x" * (90 - len(name))
            target.write(name + block[90:148] + b"%06o\0 " % (total - 64 * 90 + sum(name)) + block[156:])
        target.write(forge.END)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path / "a.tar.gz")], capture_output=True, check=True)
    assert int(done.stdout) < 300 * 1024


# ---- anything else


@pytest.fixture(scope="session")
def small(forge):
    """A small sound archive of each form."""
    files = [(b"p-1/LICENSE", b"MIT\n"), (b"p-1/a.py", b"print(1)\n" * 20), (b"p-1/PKG-INFO", b"Name: p\nVersion: 1\n")]
    packed = [(forge.deflated(content), name, content) for name, content in files]
    members = [(name, content, {"packed": p, "stored": len(p), "method": 8}) for p, name, content in packed]
    tar = forge.pax({b"path": b"p-1/long"}) + forge.entry(b"x", b"1\n") + b"".join(forge.entry(*file) for file in files)
    tar += forge.entry(b"L", b"p-1/longer\0", b"L") + forge.entry(b"y", b"2\n")
    tar += forge.entry(b"p-1/l", kind=b"2", target=b"a.py") + forge.END
    return {"zip": forge.zipped(members)} | {suffix: pack(tar) for suffix, pack in forge.PACKERS.items()}


CHANGE = st.tuples(st.integers(0, 1 << 16), st.integers(0, 3), st.binary(min_size=1, max_size=12))


@settings(max_examples=300)
@given(
    suffix=st.sampled_from(["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "zip"]),
    changes=st.lists(CHANGE, min_size=1, max_size=4),
)
def test_any_damage_is_rows_or_one_error(forge, small, tmp_path_factory, suffix, changes):
    """Bytes overwritten, put in, taken out and doubled: there are rows or an error, and never an exception."""
    data = bytearray(small[suffix])
    for place, kind, noise in changes:
        at = place % len(data)
        replaced = {0: noise, 1: noise + data[at : at + len(noise)], 2: b"", 3: data[at : at + 600] * 2}[kind]
        data[at : at + (600 if kind == 3 else len(noise))] = replaced
    folder = tmp_path_factory.getbasetemp() / "damaged" / "in"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"p-1.{suffix}"
    path.write_bytes(data)
    if forge.describe(path).error is None:
        forge.read(path)
    else:
        assert forge.error(path)


MAGIC = [b"", b"PK\5\6", b"PK\1\2", b"\x1f\x8b\x08\0", b"BZh9", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"]


@settings(max_examples=100)
@given(
    data=st.binary(max_size=2000),
    suffix=st.sampled_from(["tar", "tgz", "zip", "whl"]),
    magic=st.sampled_from(MAGIC),
    header=st.booleans(),
)
def test_any_bytes_are_rows_or_one_error(forge, tmp_path_factory, data, suffix, magic, header):
    folder = tmp_path_factory.getbasetemp() / "any" / "in"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"a.{suffix}"
    path.write_bytes((forge.header(b"a", 1000) if header else magic) + data)
    if forge.describe(path).error is None:
        forge.read(path)
    else:
        assert forge.error(path)


def test_a_library_and_we_list_the_same(forge, tmp_path):
    """What is odd but sound in ordinary archives is understood as by the standard library."""
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    names = ["x" * 150, "d/" * 60 + "y", "é" * 80, "plain", "sp ace"]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(path, "w", format=form) as target:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(name)
                target.addfile(member, io.BytesIO(b"x" * len(name)))
        with tarfile.open(path) as source:
            assert {os.fsencode(member.name): member.size for member in source} == {
                name: document.length for name, document in forge.read(path).items()
            }

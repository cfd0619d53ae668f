"""The `archives` source on archives that are damaged, odd, or meant to do harm: names, kinds, damage and owners.

Every test that reads an archive also checks that each document has its row, that rows are sorted and that nothing was
written beside it (`Forge.read`). What would use up work or memory stands in `test_archives_limits`.
"""

import errno
import gzip
import os
import re
import struct
import zlib

import pytest

from starsmith.document import content_id
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange
from starsmith.sources.archives import ArchiveSource

FOLDER = "starsmith.sources"
MB = 1_000_000


# ---- names


def test_paths_that_lead_out(forge, put):
    names = [
        b"../up",
        b"a/../../up",
        b"/etc/passwd",
        b"C:\\windows",
        b"..\\up",
        b"\\\\host\\share",
        b"a/..b/fine",
        b"fine",
    ]
    tar = put(b"".join(forge.entry(name, b"1\n") for name in names) + forge.END)
    for path in (tar, put(forge.zipped([(name, b"1\n") for name in names]), "a.zip")):
        documents = forge.read(path)
        assert set(documents) == set(names)
        assert [name for name, document in documents.items() if document.reason is None] == [b"a/..b/fine", b"fine"]
        assert {document.detail for document in documents.values()} == {None, "its path leads out of the archive"}


def test_names_with_nul(forge, put):
    path = put(forge.zipped([(b"a.py\0.txt", b"1\n"), (b"a.py", b"2\n")]), "a.zip")
    assert forge.reasons(path) == {b"a.py": None, b"a.py\\x00.txt": "error.read"}
    path = put(forge.pax({b"path": b"a\0b"}) + forge.entry(b"x", b"1\n") + forge.entry(b"y") + forge.END)
    assert forge.reasons(path) == {b"a\\x00b": "error.read", b"y": None}


def test_names_that_are_not_utf8_or_run_from_right_to_left(forge, put):
    names = [b"caf\xe9.py", "\u202egpj.py".encode(), b"two\nlines", b"\x1b[31m", b" "]
    tar = put(b"".join(forge.entry(name, b"1\n") for name in names) + forge.END)
    for path in (tar, put(forge.zipped([(name, b"1\n") for name in names]), "a.zip")):
        assert forge.reasons(path) == dict.fromkeys(names)


def test_a_zip_that_lies_about_the_encoding_of_names(forge, put):
    """The bytes count: neither the UTF-8 flag nor the Unicode name beside them is believed."""
    other = struct.pack("<2HBL", 0x7075, 10, 1, zlib.crc32(b"a.py")) + b"b.exe"
    members = [(b"\xff\xfe", b"1\n", {"flags": 0x800}), ("é".encode(), b"2\n"), (b"a.py", b"3\n", {"extra": other})]
    assert forge.reasons(put(forge.zipped(members), "a.zip")) == {b"\xff\xfe": None, "é".encode(): None, b"a.py": None}


def test_the_same_name_twice(forge, put):
    members = [(b"a", b"1\n"), (b"b", b"x\n"), (b"a", b"2\n"), (b"a#1", b"y\n")]
    tar = put(b"".join(forge.entry(b"./" + name, content) for name, content in members) + forge.END)
    for path in (tar, put(forge.zipped(members), "a.zip")):
        documents = forge.read(path)
        assert forge.reasons(path) == {b"a": None, b"a#1": None, b"a#1#": "error.read", b"b": None}
        assert documents[b"a"].content == b"2\n"
        assert documents[b"a#1#"].detail == "a later member of the archive has the same name"


def test_names_that_differ_in_case_only(forge, put):
    path = put(forge.zipped([(b"README", b"1\n"), (b"readme", b"2\n"), (b"Readme", b"3\n")]), "a.zip")
    assert forge.reasons(path) == {b"README": None, b"Readme": None, b"readme": None}


def test_a_name_that_is_a_file_and_a_folder(forge, put):
    path = put(forge.entry(b"a", b"1\n") + forge.entry(b"a/b", b"2\n") + forge.entry(b"a/", b"", b"5") + forge.END)
    assert forge.reasons(path) == {b"a": None, b"a/b": None}


def test_names_that_are_empty_or_end_like_folders(forge, put):
    path = put(forge.entry(b"", b"1\n") + forge.entry(b"./", b"", b"5") + forge.entry(b"x", b"2\n") + forge.END)
    assert forge.reasons(path) == {b"#1": "error.read", b"x": None}
    path = put(forge.zipped([(b"folder/", b""), (b"full/", b"1\n"), (b"x", b"2\n")]), "a.zip")
    assert forge.reasons(path) == {b"full/": "error.read", b"x": None}


def test_ten_thousand_folders_deep(forge, put):
    deep = b"d/" * 10_000 + b"x"
    tar = put(forge.pax({b"path": deep}) + forge.entry(b"x", b"1\n") + forge.entry(b"y", b"2\n") + forge.END)
    for path in (tar, put(forge.zipped([(deep, b"1\n"), (b"y", b"2\n")]), "a.zip")):
        documents = forge.read(path)
        (shown,) = set(documents) - {b"y"}
        assert shown.startswith(b"d/d/")
        assert len(shown) < 300
        assert documents[shown].reason == "error.read"


def test_a_link_named_like_a_licence(forge, put):
    tar = put(forge.entry(b"LICENSE", kind=b"2", target=b"/etc/passwd") + forge.entry(b"a.py", b"1\n") + forge.END)
    link = (b"LICENSE", b"/etc/passwd", {"mode": 0o120777})
    for path in (tar, put(forge.zipped([link, (b"a.py", b"1\n")]), "a.zip")):
        document = forge.read(path)[b"LICENSE"]
        assert (document.reason, document.content_id) == ("source.symlink", content_id(b"/etc/passwd"))
        assert forge.read(path, symlinks=True)[b"LICENSE"].content == b"/etc/passwd"


def test_links_out_and_files_behind_them(forge, put):
    """A link to a folder and a file below it: unpacked in order, the file would be written outside."""
    path = put(forge.entry(b"out", kind=b"2", target=b"/tmp") + forge.entry(b"out/planted", b"1\n") + forge.END)
    assert forge.reasons(path) == {b"out": "source.symlink", b"out/planted": None}


# ---- kinds


def test_hard_links_devices_and_pipes(forge, put):
    kinds = {b"hard": b"1", b"char": b"3", b"block": b"4", b"pipe": b"6", b"unknown": b"Z"}
    members = [forge.entry(name, kind=kind, target=b"/etc/shadow") for name, kind in kinds.items()]
    assert forge.reasons(put(b"".join(members) + forge.entry(b"x", b"1\n") + forge.END)) == {
        **dict.fromkeys(kinds, "error.read"),
        b"x": None,
    }
    fifo = (b"pipe", b"", {"mode": 0o010644})
    assert forge.reasons(put(forge.zipped([fifo, (b"x", b"1\n")]), "a.zip")) == {b"pipe": "error.read", b"x": None}


def test_sparse_files(forge, put):
    old = bytes(41) + forge.number(0, 12) + forge.number(0, 12) + bytes(72) + b"\1" + forge.number(1 << 40, 12)
    further = bytes(504) + b"\0" * 8
    gnu = forge.header(b"gnu", 512, b"S", tail=old) + further + b"x" * 512
    new = forge.pax({b"GNU.sparse.major": b"1", b"GNU.sparse.name": b"real", b"GNU.sparse.realsize": b"9" * 15})
    path = put(gnu + new + forge.entry(b"GNUSparseFile.0/real", b"0\n") + forge.entry(b"x", b"1\n") + forge.END)
    assert forge.reasons(path) == {b"gnu": "error.read", b"real": "error.read", b"x": None}


def test_encrypted_and_unknown_methods(forge, put):
    members = [(b"secret", b"1\n", {"flags": 1}), (b"odd", b"2\n", {"method": 98}), (b"x", b"3\n")]
    documents = forge.read(put(forge.zipped(members), "a.zip"))
    assert documents[b"secret"].detail == "it is encrypted"
    assert documents[b"odd"].detail == "it is packed by a method that is not read (98)"
    assert documents[b"x"].content == b"3\n"


def test_nested_archives_are_not_opened(forge, put):
    inner = gzip.compress(forge.entry(b"../../up", b"1\n") + forge.END)
    path = put(forge.entry(b"inner.tar.gz", inner) + forge.END)
    assert forge.read(path)[b"inner.tar.gz"].content == inner


# ---- damage


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "zip"])
def test_truncated_archives(forge, put, suffix):
    content = os.urandom(3000)
    tar = forge.entry(b"a", content) + forge.entry(b"b", content) + forge.END
    whole = forge.zipped([(b"a", content), (b"b", content)]) if suffix == "zip" else forge.PACKERS[suffix](tar)
    for length in (0, 3, 10, 100, len(whole) // 2, len(whole) - (1100 if suffix == "tar" else 3)):
        assert forge.error(put(whole[:length], f"a.{suffix}")) is not None


def test_a_tar_without_its_end_is_read(forge, put):
    """Nothing is missing, and some programs write no end."""
    assert len(forge.read(put(forge.entry(b"a", b"1\n")))) == 1


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.xz", "zip", "whl", "crate"])
def test_what_is_no_archive(forge, put, suffix):
    for data in (b"", b"<html>404</html>", b"\0" * 100, os.urandom(2000)):
        assert forge.error(put(data, f"a.{suffix}")) is not None


def test_an_empty_archive_is_no_error(forge, put):
    for path in (put(forge.END), put(gzip.compress(forge.END), "a.tgz"), put(forge.zipped([]), "a.zip")):
        assert (forge.describe(path).documents, forge.describe(path).error) == (0, None)


def test_an_archive_that_cannot_be_opened(forge, put, monkeypatch):
    path = put(forge.entry(b"a", b"1\n") + forge.END)
    opens = os.open

    def refusing(place, *arguments, **more):
        if str(place).endswith("a.tar"):
            raise PermissionError(13, "Permission denied", str(place))
        return opens(place, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)
    assert forge.error(path) == "It cannot be read: Permission denied."
    assert forge.describe(path).url == "archive:unread/a.tar"


def test_a_fault_of_this_machine_is_not_blamed_on_the_archive(forge, put, monkeypatch):
    path = put(gzip.compress(forge.entry(b"p-1/PKG-INFO", b"Name: p\n") + forge.END), "p-1.tar.gz")

    def full(*arguments, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        forge.describe(path)


def test_a_pipe_or_link_in_its_place_is_not_waited_for(forge, put):
    path = put(forge.entry(b"a", b"1\n") + forge.END)
    origin = forge.describe(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StarsmithError, match="can no longer be read"):
        list(ArchiveSource(path=path).read(origin, PathRange(), CollectSettings()))
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert ArchiveSource(path=path.parent).describe(str(path), shard_documents=9).error is not None


def test_an_archive_that_changed_in_between_is_not_read(forge, put):
    path = put(forge.entry(b"a", b"1\n") + forge.END)
    origin, source = forge.describe(path), ArchiveSource(path=path)
    put(forge.entry(b"a", b"2\n") + forge.END)
    with pytest.raises(StarsmithError, match="was changed"):
        list(source.read(origin, PathRange(), CollectSettings()))


def test_an_archive_that_changes_while_it_is_read(forge, put):
    path = put(forge.entry(b"a", b"1\n") + forge.entry(b"b", b"1\n") + forge.END)
    documents = ArchiveSource(path=path).read(forge.describe(path), PathRange(), CollectSettings())
    next(documents)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(StarsmithError, match="was changed"):
        list(documents)


# ---- owners


@pytest.mark.parametrize(
    "name", ["r\u0435quests", "requests\u200b", "requests\n", "-requests", "a" * 300, "requests-kit"]
)
def test_a_name_that_only_looks_like_another(forge, put, name):
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nLicense: MIT\n\n".encode()
    path = put(gzip.compress(forge.entry(b"r-1.0/PKG-INFO", info) + forge.END), "requests-1.0.tar.gz")
    assert forge.describe(path).url.startswith("archive:") or name == "requests\n"


@pytest.mark.parametrize(
    ("suffix", "member", "data"),
    [
        ("tgz", b"package/package.json", b"[" * 100_000),
        ("tgz", b"package/package.json", b'{"name": 1e999, "version": {}}'),
        ("tgz", b"package/package.json", b"[]"),
        ("crate", b"c/Cargo.toml", b"a=" + b"[" * 100_000),
        ("crate", b"c/Cargo.toml", b"package = 1\n"),
        ("crate", b"c/Cargo.toml", b"\xff\xfe"),
        ("tar.gz", b"r/PKG-INFO", b"\xff\0\n" * 1000),
        ("tar.gz", b"r/PKG-INFO", b"Name: a\n" * 10_000),
    ],
)
def test_metadata_that_are_damaged_or_deep(forge, put, suffix, member, data):
    path = put(
        gzip.compress(forge.entry(member, data) + forge.entry(member + b"x", b"1\n") + forge.END), f"a-1.0.{suffix}"
    )
    assert forge.describe(path).url.startswith("archive:")
    assert len(forge.read(path)) == 2


# ---- a whole build


def test_a_build_of_hostile_archives(forge, put, tmp_path, build_into, source_code, mit):
    """Every member of every archive that can be listed is in the ledger; nothing appears beside the workspace."""
    code = source_code("one")
    names = [b"../up.py", b"/etc/passwd", b"caf\xe9.py", b"two\nlines.py", "\u202egpj.py".encode(), b"a.py", b"a.py"]
    tar = b"".join(forge.entry(name, code) for name in [*names, b"good.py"]) + forge.entry(b"LICENSE", mit)
    tar += forge.entry(b"link", kind=b"2", target=b"/etc/passwd") + forge.entry(b"device", kind=b"3")
    tar += forge.pax({b"path": b"d/" * 5000 + b"x.py"}) + forge.entry(b"x", code) + forge.END
    put(gzip.compress(tar), "odd.tar.gz")
    huge = {"size": 1 << 63, "stored": 0xFFFF}
    wide = {"extra": struct.pack("<2HQ", 1, 8, huge["size"]), "size": 0xFFFFFFFF}
    put(forge.zipped([(b"nul\0.py", code), (b"huge.py", code, wide), (b"huge2.py", code, wide)]), "odd.zip")
    put(gzip.compress(tar)[:-20], "cut.tar.gz")
    before = {path for path in tmp_path.rglob("*") if "w" not in path.relative_to(tmp_path).parts[:1]}
    result = build_into('[[source]]\nkind = "archives"\npath = "in"\n', tmp_path / "w", workers=0)
    after = {path for path in tmp_path.rglob("*") if "w" not in path.relative_to(tmp_path).parts[:1]}
    assert after == before
    stages = {stage.name: stage for stage in result.record.stages}
    assert stages["ledger"].documents_in == 15
    assert stages["errors"].dropped == {"error.read": 8, "source.symlink": 1}
    assert [note for note in result.record.notes if "cut.tar.gz" in note]


# ---- the table in the docs


def test_every_case_in_the_docs_names_a_test_that_exists(repository):
    page = (repository / "docs" / "explanation" / "hostile-input.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| .+ \| `([\w/.]+)::(\w+)` \|$", page, re.MULTILINE)
    assert len(rows) >= 40
    assert {area for area, _, _ in rows} >= {"git", "archives", "encodings", "recipes", "tables"}
    missing = [
        f"{file}::{test}"
        for _, file, test in rows
        if f"\ndef {test}(" not in (repository / "tests" / file).read_text(encoding="utf-8")
    ]
    assert missing == []
    assert page.count("::test_") == len(rows)

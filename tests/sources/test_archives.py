"""The `archives` source on sound archives of every form: documents, names, licences, and where archives are found."""

import hashlib
import io
import itertools
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.document import content_id
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings, SourceSettings
from starsmith.sources import PathRange, open_source
from starsmith.sources.archive_metadata import identity
from starsmith.sources.archive_streams import Stream, unpacked
from starsmith.sources.archives import ArchiveSource

FORMS = ("tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst", "crate", "zip", "whl")
FILES = {"src/b.py": b"b\n", "src/a.py": b"a\n", "LICENSE": b"MIT\n", "src/a/deep.py": b"", "z.bin": bytes(range(256))}


def tar_bytes(files, folders=(), *, pax=tarfile.GNU_FORMAT):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=pax) as archive:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def zip_bytes(files, folders=(), method=zipfile.ZIP_DEFLATED):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for folder in folders:
            archive.writestr(zipfile.ZipInfo(f"{folder}/"), b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def packed(data, form):
    """Pack the bytes of a tar archive by the program library that belongs to a form."""
    codec = {"gz": "gzip", "tgz": "gzip", "crate": "gzip", "bz2": "bz2", "zst": "zstd"}.get(form.rpartition(".")[2])
    if form == "tar.xz":
        import lzma

        return lzma.compress(data)
    if codec is None:
        return data
    target = pa.BufferOutputStream()
    with pa.CompressedOutputStream(target, codec) as stream:
        stream.write(data)
    return target.getvalue().to_pybytes()


def archive(folder, form, files, *, name="thing-1.0", folders=()):
    path = folder / f"{name}.{form}"
    is_zip = form in ("zip", "whl")
    path.write_bytes(zip_bytes(files, folders) if is_zip else packed(tar_bytes(files, folders), form))
    return path


# ---- documents


@pytest.mark.parametrize("form", FORMS)
def test_documents_of_an_archive(forge, tmp_path, form):
    documents = forge.read(archive(tmp_path, form, FILES, folders=["src", "empty"]))
    assert {path.decode(): document.content for path, document in documents.items()} == FILES
    for document in documents.values():
        assert document.content_id == content_id(document.content)
        assert document.length == len(document.content)


@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,3}(/[a-zé ]{1,60}){0,4}\.py", fullmatch=True), st.binary(max_size=2000), max_size=8
    ),
    form=st.sampled_from(FORMS),
    pax=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_went_in_comes_out(forge, tmp_path_factory, files, form, pax):
    folder = tmp_path_factory.mktemp("any")
    path = folder / f"any.{form}"
    files = {f"f{number}/{name}": content for number, (name, content) in enumerate([("x", b"")] + [*files.items()])}
    files["top"] = b"top"
    tar = form not in ("zip", "whl")
    path.write_bytes(packed(tar_bytes(files, pax=pax), form) if tar else zip_bytes(files))
    assert {document_path.decode(): each.content for document_path, each in forge.read(path).items()} == files


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_methods_of_zip(forge, tmp_path, method):
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes({"a": b"a" * 70_000, "b": b""}, method=method))
    assert [document.content for document in forge.read(path).values()] == [b"a" * 70_000, b""]


@pytest.mark.parametrize("form", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_streams_one_after_the_other(forge, tmp_path, form):
    data = tar_bytes({f"f{number}": os.urandom(3000) for number in range(40)})
    path = tmp_path / f"a.{form}"
    path.write_bytes(b"".join(packed(data[at : at + 7000], form) for at in range(0, len(data), 7000)))
    assert len(forge.read(path)) == 40


def test_a_folder_that_holds_everything_is_taken_off(forge, tmp_path):
    files = {f"./thing-1.0/{name}": content for name, content in FILES.items()}
    assert {path.decode() for path in forge.read(archive(tmp_path, "tar.gz", files))} == set(FILES)
    beside = {"thing-1.0/a": b"", "other": b""}
    assert set(forge.read(archive(tmp_path, "zip", beside))) == {b"thing-1.0/a", b"other"}
    assert set(forge.read(archive(tmp_path, "tar", {"alone": b""}))) == {b"alone"}


def test_programs_and_links(forge, tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as target:
        for name, kind, mode in (("run", tarfile.REGTYPE, 0o755), ("link", tarfile.SYMTYPE, 0o777)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname = kind, mode, "../outside"
            target.addfile(entry)
    documents = forge.read(path)
    assert (documents[b"run"].mode, documents[b"run"].reason) == (0o100755, None)
    assert (documents[b"link"].mode, documents[b"link"].reason) == (0o120000, "source.symlink")
    assert documents[b"link"].content_id == content_id(b"../outside")
    assert forge.read(path, symlinks=True)[b"link"].content == b"../outside"


def test_contents_too_large_are_named_and_not_read(forge, tmp_path):
    for form in FORMS:
        documents = forge.read(archive(tmp_path, form, {"edge": b"x" * 1000, "small": b"y" * 999}), max_bytes=1000)
        assert [document.reason for document in documents.values()] == ["source.too_large", None]
        assert documents[b"edge"].length == 1000


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_parts_make_up_the_whole(forge, tmp_path, form):
    path = archive(tmp_path, form, {f"d{number % 7}/f{number}": b"%d" % number for number in range(300)})
    origin = forge.describe(path, shard_documents=20)
    assert len(origin.cuts) > 3
    bounds = [None, *origin.cuts, None]
    source = ArchiveSource(path=path)
    parts = [
        list(source.read(origin, PathRange(start=start, stop=stop), CollectSettings()))
        for start, stop in itertools.pairwise(bounds)
    ]
    assert [document for part in parts for document in part] == list(forge.read(path).values())


def test_large_contents_of_a_compressed_archive_wait_on_disk_without_a_name(forge, tmp_path, monkeypatch):
    monkeypatch.setattr("starsmith.sources.archive_readers._MEMORY_BYTES", 1000)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spool"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    files = {f"f{9 - number}": os.urandom(5000) for number in range(10)}
    documents = forge.read(archive(tmp_path, "tar.gz", files))
    assert {path.decode(): document.content for path, document in documents.items()} == files
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_state_is_the_digest_of_the_file(forge, tmp_path):
    path = archive(tmp_path, "tar.gz", FILES)
    assert forge.describe(path).state == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_source_can_be_sent_to_another_process(tmp_path):
    path = archive(tmp_path, "zip", FILES)
    source = open_source(SourceSettings(kind="archives", path=path.name), tmp_path)
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301
    assert source.locate() == [str(path)]
    with pytest.raises(StarsmithError, match="no path"):
        open_source(SourceSettings(kind="archives"), tmp_path)


def test_reading_on_goes_forward_only():
    stream = Stream(unpacked(io.BytesIO(bytes(range(200))).read, "stored", piece_bytes=7), most=None)
    assert (stream.exactly(10), stream.position) == (bytes(range(10)), 10)
    stream.skip(5)
    assert (stream.read(300), stream.position) == (bytes(range(15, 200)), 200)


# ---- names and licences

PKG_INFO = b"Metadata-Version: 2.4\nName: Foo.Bar\nVersion: 1.0+x\nLicense-Expression: MIT\n\nText\n"


def test_a_source_distribution(forge, tmp_path):
    files = {"foo_bar-1.0/PKG-INFO": PKG_INFO, "foo_bar-1.0/a.py": b""}
    origin = forge.describe(archive(tmp_path, "tar.gz", files, name="foo_bar-1.0"))
    assert (origin.url, origin.owner, origin.name) == ("pkg:pypi/foo-bar@1.0%2Bx", "pypi", "foo-bar")
    assert (origin.declared_license, origin.source) == ("MIT", "archives")


def test_a_wheel(forge, tmp_path):
    files = {
        "foo_bar-1.0.dist-info/METADATA": PKG_INFO,
        "foo_bar-1.0.dist-info/licenses/LICENSE": b"MIT\n",
        "foo_bar-1.0.dist-info/licenses/foo/vendored/LICENSE": b"BSD\n",
        "foo/a.py": b"",
        "foo/vendored/b.py": b"",
    }
    path = archive(tmp_path, "whl", files, name="foo_bar-1.0-py3-none-any")
    assert forge.describe(path).url == "pkg:pypi/foo-bar@1.0%2Bx?file_name=foo_bar-1.0-py3-none-any.whl"
    scopes = {name.decode(): document.licence_scope for name, document in forge.read(path).items()}
    assert scopes == {
        "foo_bar-1.0.dist-info/METADATA": "",
        "foo_bar-1.0.dist-info/licenses/LICENSE": "",
        "foo_bar-1.0.dist-info/licenses/foo/vendored/LICENSE": "foo/vendored",
        "foo/a.py": None,
        "foo/vendored/b.py": None,
    }


@pytest.mark.parametrize(
    ("package", "file_name", "url", "owner", "licence"),
    [
        ({"name": "left", "version": "1.0.0", "license": "MIT"}, "left-1.0.0", "pkg:npm/left@1.0.0", "npm", "MIT"),
        (
            {"name": "@types/node", "version": "1.0.0-rc.1", "license": {"type": "ISC", "url": "x"}},
            "types-node-1.0.0-rc.1",
            "pkg:npm/%40types/node@1.0.0-rc.1",
            "@types",
            "ISC",
        ),
        (
            {"name": "old", "version": "0.1.0", "licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]},
            "old-0.1.0",
            "pkg:npm/old@0.1.0",
            "npm",
            "MIT OR Apache-2.0",
        ),
        ({"name": "none", "version": "0.1.0"}, "none-0.1.0", "pkg:npm/none@0.1.0", "npm", None),
    ],
)
def test_an_npm_package(forge, tmp_path, package, file_name, url, owner, licence):
    files = {"package/package.json": json.dumps(package).encode(), "package/index.js": b""}
    origin = forge.describe(archive(tmp_path, "tgz", files, name=file_name))
    assert (origin.url, origin.owner, origin.declared_license) == (url, owner, licence)


def test_a_crate(forge, tmp_path):
    manifest = b'[package]\nname = "ab_c"\nversion = "0.2.0"\nlicense = "MIT OR Apache-2.0"\n'
    files = {"ab_c-0.2.0/Cargo.toml": manifest, "ab_c-0.2.0/src/lib.rs": b""}
    origin = forge.describe(archive(tmp_path, "crate", files, name="ab_c-0.2.0"))
    assert (origin.url, origin.owner, origin.name) == ("pkg:cargo/ab_c@0.2.0", "cargo", "ab_c")
    assert origin.declared_license == "MIT OR Apache-2.0"


def test_an_archive_without_metadata_goes_by_digest_and_file_name(forge, tmp_path):
    path = archive(tmp_path, "tar.gz", FILES, name="some thing-v1")
    origin = forge.describe(path)
    assert origin.url == f"archive:{origin.state[:32]}/some%20thing-v1.tar.gz"
    assert (origin.owner, origin.name, origin.declared_license) == ("archive", "some thing-v1.tar.gz", None)


def test_a_file_name_that_is_not_utf8():
    found = identity(os.fsdecode(b"caf\xe9.zip"), "ab" * 32, None)
    assert found.url == f"archive:{'ab' * 16}/caf%E9.zip"
    assert found.name == "caf\\xe9.zip"


# ---- places


def test_a_folder_of_archives_is_searched_through_no_link(tmp_path):
    inner = tmp_path / "in" / "deep" / "er"
    inner.mkdir(parents=True)
    one, two = archive(inner, "tar.gz", FILES), archive(tmp_path / "in", "zip", FILES)
    outside = archive(tmp_path, "tar", FILES, name="outside")
    (tmp_path / "in" / "link.tar").symlink_to(outside)
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "notes.txt").write_text("no archive")
    os.mkfifo(tmp_path / "in" / "pipe.zip")
    assert ArchiveSource(path=tmp_path / "in").locate() == sorted([str(one), str(two)])


def test_a_list_of_archives(tmp_path):
    one, two = archive(tmp_path, "tar.gz", FILES), archive(tmp_path, "zip", FILES)
    (tmp_path / "list.txt").write_text(f"# mine\n\n{one.name}\n{two}\n{one}\n")
    assert ArchiveSource(path=tmp_path / "list.txt").locate() == sorted([str(one), str(two)])


@pytest.mark.parametrize(
    ("content", "message"),
    [("gone.zip\n", "line 1: gone.zip does not exist"), ("# nothing\n", "lists no archive"), ("a\0b", "neither")],
)
def test_a_list_that_leads_nowhere_is_an_error(tmp_path, content, message):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(StarsmithError, match=message):
        ArchiveSource(path=tmp_path / "list.txt").locate()


def test_a_path_that_holds_no_archive_is_an_error(tmp_path):
    with pytest.raises(StarsmithError, match="holds no archive"):
        ArchiveSource(path=tmp_path).locate()
    with pytest.raises(StarsmithError, match="does not exist"):
        ArchiveSource(path=tmp_path / "gone").locate()


def test_a_build_from_archives(tmp_path, build_into, source_code, mit):
    (tmp_path / "in").mkdir()
    sdist = {"foo_bar-1.0/PKG-INFO": PKG_INFO, "foo_bar-1.0/a.py": source_code("a"), "foo_bar-1.0/LICENSE": mit}
    archive(tmp_path / "in", "tar.gz", sdist, name="foo_bar-1.0")
    archive(tmp_path / "in", "zip", {"b.js": source_code("b", extension="js")}, name="unlicensed")
    (tmp_path / "in" / "broken.tar.gz").write_bytes(b"\x1f\x8b rubbish")
    result = build_into('[[source]]\nkind = "archives"\npath = "in"\n', tmp_path / "w", workers=0)
    tables = [pq.read_table(path) for path in (tmp_path / "w" / result.record.release / "data").glob("*.parquet")]
    released = {(row["path"], row["repo_name"]) for table in tables for row in table.to_pylist()}
    assert ("/a.py", "pypi/foo-bar") in released
    assert not any(repo == "archive/unlicensed.zip" for _, repo in released)
    assert any("broken.tar.gz" in note for note in result.record.notes)


def test_paths_of_this_machine_are_in_no_origin(forge, tmp_path):
    (tmp_path / "empty.zip").write_bytes(b"")
    origin = forge.describe(tmp_path / "empty.zip")
    assert str(Path(tmp_path)) not in f"{origin.url} {origin.owner} {origin.name} {origin.error}"

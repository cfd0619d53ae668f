"""A receipt is one request's, cannot be changed unseen, and a third party can hold a release against it."""

import dataclasses
import hashlib
import json
import os
import random
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starsmith.errors import StarsmithError
from starsmith.govern.opt_out import Request
from starsmith.govern.receipt import (
    ChangedFile,
    NamedRelease,
    Receipt,
    RemovedDocument,
    RemovedOrigin,
    load,
    loads,
    request_key,
)
from starsmith.govern.release_folder import MANIFEST, WITHDRAWN, read_manifest
from starsmith.govern.verification import verify

ORIGIN = RemovedOrigin(
    url="https://example.org/acme/alpha", owner="acme", name="alpha", source="git", revision="1" * 40, directory=None
)
OTHER = dataclasses.replace(ORIGIN, url="https://example.org/bolt/gamma", owner="bolt", name="gamma")


def rows_of(folder):
    tables = [
        pq.ParquetFile(path).read(["origin_url", "path", "swhid"]) for path in sorted((folder / "data").iterdir())
    ]
    return pa.concat_tables(tables).to_pylist()


def receipt_for(before, after, origin=ORIGIN, **values):
    """The receipt of a request for one repository, from two releases alone."""
    old, new = read_manifest(before), read_manifest(after)
    kept = {row["swhid"] for row in rows_of(after)}
    documents = [
        RemovedDocument(
            origin_url=row["origin_url"],
            path=row["path"][1:],
            swhid=row["swhid"],
            released=True,
            elsewhere=row["swhid"] in kept,
        )
        for row in rows_of(before)
        if row["origin_url"] == origin.url
    ]
    digests = [{name: file.sha256 for name, file in manifest.files.items()} for manifest in (old, new)]
    given = {
        "request": Request(kind="repository", value=f"{origin.owner}/{origin.name}"),
        "rule": "own",
        "time": "2026-11-23T15:00:00Z",
        "before": NamedRelease(name=before.name, manifest=old.digest),
        "after": NamedRelease(name=after.name, manifest=new.digest),
        "origins": (origin,),
        "documents": tuple(documents),
        "returned": 9,
        "shards": tuple(
            ChangedFile(file=name, before=digests[0].get(name), after=digests[1].get(name))
            for name in sorted(digests[0].keys() | digests[1].keys())
            if digests[0].get(name) != digests[1].get(name)
        ),
        "delta": None,
        "purged": False,
    }
    return Receipt(**given | values)


@pytest.fixture(scope="module")
def receipt(successive):
    made = receipt_for(successive.first, successive.second)
    assert {document.elsewhere for document in made.documents} == {True, False}
    return made


@pytest.fixture
def copied(successive, tmp_path):
    """A copy of the second release that a test may change."""
    return shutil.copytree(successive.second, tmp_path / "copy")


def failed(verification):
    assert not verification.holds
    assert verification.words().endswith("Not verified.")
    return [check.name for check in verification.checks if not check.holds]


# ---- what a receipt says


def test_it_comes_back_as_it_was_written(receipt, tmp_path):
    (tmp_path / "r.json").write_bytes(receipt.dumps())
    again = load(tmp_path / "r.json")
    assert again == receipt
    assert again.id == receipt.id
    assert receipt.id.startswith(receipt.key)


def test_its_id_follows_from_what_it_says(receipt):
    others = [dataclasses.replace(receipt, purged=True), dataclasses.replace(receipt, time="2026-11-23T15:00:01Z")]
    assert len({receipt.id, *(other.id for other in others)}) == 3
    assert {other.key for other in others} == {receipt.key}


def test_the_note_is_not_in_it(receipt):
    noted = dataclasses.replace(receipt, request=dataclasses.replace(receipt.request, note="ask Jane", added="2026"))
    assert noted.dumps() == receipt.dumps()


def test_a_request_is_known_by_name_aliases_and_rule():
    plain = Request(kind="owner", value="acme")
    keys = {
        request_key(plain, "own"),
        request_key(plain, "every"),
        request_key(dataclasses.replace(plain, aliases=("old",)), "own"),
        request_key(dataclasses.replace(plain, kind="repository", value="acme/x"), "own"),
    }
    assert len(keys) == 4
    assert request_key(dataclasses.replace(plain, note="n", added="a"), "own") in keys


def test_words_say_what_rule_applied(receipt):
    plain = json.loads(receipt.dumps())
    assert plain["rule_words"].startswith("What lay in the origins")
    assert plain["words"].startswith("1 origin and ")
    content = dataclasses.replace(receipt, request=Request(kind="swhid", value="swh:1:cnt:" + "0" * 40))
    assert "Every copy of the content" in json.loads(content.dumps())["rule_words"]
    nothing = dataclasses.replace(receipt, origins=(), documents=())
    assert "Nothing that the request names" in json.loads(nothing.dumps())["words"]


def resealed(receipt, **values):
    """The JSON of a receipt with other members, under the id that belongs to it."""
    plain = json.loads(receipt.dumps()) | values
    plain.pop("id")
    digest = hashlib.sha256(
        json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    ).hexdigest()
    text = json.dumps(plain | {"id": f"{receipt.key}-{digest[:32]}"}, indent=1, sort_keys=True, ensure_ascii=False)
    return text.encode() + b"\n"


def test_resealing_works(receipt):
    assert resealed(receipt) == receipt.dumps()


@pytest.mark.parametrize("name", ["rule", "time", "origins", "documents", "returned", "purged", "words", "counts"])
def test_a_change_is_noticed(receipt, name):
    plain = json.loads(receipt.dumps())
    changes = {
        "rule": "every",
        "time": "2020-01-01T00:00:00Z",
        "origins": [],
        "documents": plain["documents"][1:],
        "purged": True,
        "words": "Nothing left.",
        "counts": plain["counts"] | {"released": 0},
    }
    plain |= {name: changes[name]} if name in changes else {"counts": plain["counts"] | {"returned": 3}}
    with pytest.raises(StarsmithError, match="was changed after it was written"):
        loads(json.dumps(plain).encode(), name="r.json")


def test_documents_of_another_request_are_noticed(successive, receipt):
    """Two owners leave at once; the receipt of one is given the documents, or the origin too, of the other."""
    other = receipt_for(successive.first, successive.second, origin=OTHER)
    assert other.documents
    for values in ({"documents": other.documents}, {"documents": other.documents, "origins": other.origins}):
        with pytest.raises(StarsmithError, match="contradicts itself: the request does not name"):
            loads(dataclasses.replace(receipt, **values).dumps(), name="r.json")
    content = Request(kind="swhid", value=receipt.documents[0].swhid)
    with pytest.raises(StarsmithError, match="nor does the rule reach"):
        loads(dataclasses.replace(receipt, request=content, origins=()).dumps(), name="r.json")


def test_a_rule_without_copies_has_none(receipt):
    with pytest.raises(StarsmithError, match="leaves no copies"):
        loads(dataclasses.replace(receipt, rule="every").dumps(), name="r.json")


@pytest.mark.parametrize("seed", range(4))
def test_no_byte_can_be_another(receipt, seed):
    """Whatever is put in its place, at whatever place: an error of ours, and never another receipt."""
    chance = random.Random(f"byte {seed}")
    data = receipt.dumps()
    for _ in range(100):
        place = chance.randrange(len(data))
        piece = chance.choice([b"", b"9", b"\x00", b"\xff", b"{", b"]", b'"', b"null,", data[place // 2 : place]])
        forged = data[:place] + piece + data[place + chance.choice([0, 1, 50]) :]
        if forged != data:
            with pytest.raises(StarsmithError):
                loads(forged, name="r.json")


HOSTILE = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "deep nesting": b"[" * 100_000,
    "a huge number": b'{"format": ' + b"9" * 5000 + b"}",
    "not a number": b'{"format": NaN}',
    "not UTF-8": b'{"format": "\xff"}',
    "a lone surrogate": b'{"format": "\\ud800"}',
    "true for one": b'{"format": true}',
    "another format": b'{"format": 2}',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case):
    with pytest.raises(StarsmithError) as raised:
        loads(HOSTILE[case], name="r.json")
    assert len(str(raised.value)) < 400


MEMBERS = {
    "a path out of the release": {"shards": [{"file": "../../etc/passwd", "before": None, "after": None}]},
    "an absolute path": {"shards": [{"file": "/etc/passwd", "before": None, "after": None}]},
    "a digest that is none": {"shards": [{"file": "README.md", "before": "0", "after": None}]},
    "a delta somewhere": {"delta": {"file": "../x.delta.zip", "sha256": "0" * 64}},
    "a release somewhere": {"after": {"name": "../../x", "manifest": "0" * 64}},
    "no origins": {"origins": None},
    "a document without a name": {"documents": [{}]},
    "a huge text": {"request": {"kind": "owner", "value": "x" * 100_000, "aliases": []}},
    "a kind that is none": {"request": {"kind": "planet", "value": "x", "aliases": []}},
    "aliases that are text": {"request": {"kind": "owner", "value": "x", "aliases": "abc"}},
    "a SWHID that is none": {"request": {"kind": "swhid", "value": "swh:1:cnt:xyz", "aliases": []}},
    "a time that is none": {"time": "now"},
    "a member more": {"more": 1},
}


@pytest.mark.parametrize("case", MEMBERS)
def test_hostile_members(receipt, case):
    with pytest.raises(StarsmithError) as raised:
        loads(resealed(receipt, **MEMBERS[case]), name="r.json")
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"PAR1", b'"receipt"', b"{}", b'{"format": 1, "files": []}'])
def test_who_gives_another_file_is_told_what_a_receipt_is(data):
    with pytest.raises(StarsmithError) as raised:
        loads(data, name="manifest.json")
    assert str(raised.value).startswith("manifest.json is no receipt: it ")
    assert "`starsmith opt-out apply` writes" in str(raised.value)
    assert "line 1 column" not in str(raised.value)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        with pytest.raises(StarsmithError, match="receipt"):
            load(tmp_path / name)
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    with pytest.raises(StarsmithError, match="expected at most"):
        load(tmp_path / "large")


# ---- held against a release


def test_the_true_pair(successive, receipt):
    result = verify(receipt, successive.second)
    assert result.holds
    assert [check.name for check in result.checks] == ["release", "files", "shards", "documents"]
    assert result.words().endswith("\nVerified.")
    assert "from other origins, which the rule allows" in result.words()
    assert result.plain()["verified"] is True
    assert result.plain()["receipt"] == receipt.id


def test_a_later_release_is_another_and_passes(successive, receipt):
    result = verify(receipt, successive.third)
    assert result.holds
    assert "It is another release" in result.words()


def test_the_old_release_fails(successive, receipt):
    result = verify(receipt, successive.first)
    assert failed(result) == ["release", "documents"]
    assert "that was withdrawn" in result.words()
    assert f"{ORIGIN.url} has " in result.words()


def test_an_old_release_with_a_manifest_of_its_own_fails(successive, receipt, tmp_path):
    """Somebody puts the rows back and makes a manifest that fits."""
    forged = shutil.copytree(successive.first, tmp_path / "forged")
    manifest = json.loads((forged / MANIFEST).read_bytes())
    (forged / MANIFEST).write_text(json.dumps(manifest | {"name": "forged"}))
    assert failed(verify(receipt, forged)) == ["documents"]


def test_a_file_that_was_changed_fails(receipt, copied):
    path = next((copied / "ids").iterdir())
    data = bytearray(path.read_bytes())
    data[4] ^= 1
    path.write_bytes(data)
    (copied / "README.md").write_text("changed")
    result = verify(receipt, copied)
    assert failed(result) == ["files"]
    (check,) = (check for check in result.checks if check.name == "files")
    assert set(check.details) == {f"ids/{path.name} has another digest", "README.md has another digest"}


def test_files_missing_or_extra_fail(receipt, copied):
    shard = next(each.file for each in receipt.shards if each.after is not None and each.file.startswith("data/"))
    (copied / shard).rename(copied / "data/another.parquet")
    (copied / "more").mkdir()
    (copied / "more/odd\nname").touch()
    (copied / "link").symlink_to("/")
    result = verify(receipt, copied)
    assert failed(result) == ["files"]
    (check,) = (check for check in result.checks if check.name == "files")
    assert set(check.details) == {
        f"{shard} is missing",
        "data/another.parquet is not in the manifest",
        "more/odd\\nname is not in the manifest",
        "link is not in the manifest",
    }


def test_what_a_keeper_adds_is_no_part_of_a_release(receipt, copied):
    (copied / ".gitattributes").write_text("*.parquet filter=lfs")
    (copied / ".cache").mkdir()
    (copied / ".cache/x").touch()
    (copied / WITHDRAWN).write_text("{}")
    assert verify(receipt, copied).holds


def test_shards_other_than_the_receipt_says_fail(successive, receipt):
    swapped = (dataclasses.replace(receipt.shards[0], after="0" * 64), *receipt.shards[1:])
    assert failed(verify(dataclasses.replace(receipt, shards=swapped), successive.second)) == ["shards"]


def test_a_copy_that_the_receipt_does_not_allow_fails(successive, receipt):
    """The strict rule leaves no copies; by the other each copy has to be in the receipt of the very release."""
    none = tuple(dataclasses.replace(document, elsewhere=False) for document in receipt.documents)
    strict = dataclasses.replace(receipt, rule="every", documents=none)
    for release in (successive.second, successive.third):
        assert failed(verify(strict, release)) == ["documents"]
    assert failed(verify(dataclasses.replace(receipt, documents=none), successive.second)) == ["documents"]
    assert verify(dataclasses.replace(receipt, documents=none), successive.third).holds


def test_a_content_is_looked_for_everywhere(successive, receipt):
    kept = next(document for document in receipt.documents if document.elsewhere)
    gone = next(document for document in receipt.documents if not document.elsewhere)
    for document, holds in ((kept, False), (gone, True)):
        request = Request(kind="swhid", value=document.swhid)
        documents = (dataclasses.replace(document, elsewhere=False),)
        asked = dataclasses.replace(receipt, request=request, origins=(), documents=documents)
        assert loads(asked.dumps(), name="r") == asked
        assert verify(asked, successive.second).holds is holds


def test_rows_in_the_variant_without_contents_count(successive, receipt, copied):
    """The data are clean, the list of files is not: the file and the manifest are exchanged together."""
    names = [each.file for each in receipt.shards if each.file.startswith("ids/") and each.before is not None]
    tables = {name: pq.ParquetFile(successive.first / name).read(["repo_url"]) for name in names}
    name = next(name for name in names if ORIGIN.url in tables[name]["repo_url"].to_pylist())
    shutil.copy(successive.first / name, copied / name)
    manifest = json.loads((copied / MANIFEST).read_bytes())
    digest = hashlib.sha256((copied / name).read_bytes()).hexdigest()
    listed = {file["path"]: file for file in manifest["files"]}
    listed[name] = listed.get("README.md") | {"path": name, "sha256": digest}
    (copied / MANIFEST).write_text(json.dumps(manifest | {"files": list(listed.values())}))
    result = verify(receipt, copied)
    assert failed(result) == ["documents"]
    assert ORIGIN.url in result.words()


@pytest.mark.parametrize("damage", ["no manifest", "no folder", "a file", "a path", "twice", "no table"])
def test_what_is_no_release_is_an_error(receipt, copied, damage):
    manifest = json.loads((copied / MANIFEST).read_bytes())
    if damage == "no manifest":
        (copied / MANIFEST).unlink()
    elif damage == "no folder":
        shutil.rmtree(copied)
    elif damage == "a file":
        shutil.rmtree(copied)
        copied.write_text("x")
    elif damage == "no table":
        path = next((copied / "data").iterdir())
        path.write_bytes(b"PAR1" * 99)
        (entry,) = (file for file in manifest["files"] if file["path"] == f"data/{path.name}")
        entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (copied / MANIFEST).write_text(json.dumps(manifest))
    else:
        file = manifest["files"][0]
        path = {"a path": "../../x.parquet", "twice": file["path"]}[damage]
        manifest["files"].append(file | {"path": path})
        (copied / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StarsmithError):
        verify(receipt, copied)

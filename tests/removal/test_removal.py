"""Removal: the release without what left is that of a build that never had it, and everybody can check that."""

import dataclasses
import io
import json
import random
import shutil
import zipfile
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starsmith.build import status
from starsmith.cli import main
from starsmith.document import DOCUMENTS, ORIGINS, content_id, swhid
from starsmith.errors import StarsmithError
from starsmith.govern.delta import ROWS
from starsmith.govern.opt_out import Request
from starsmith.govern.patch import patch
from starsmith.govern.release_folder import WITHDRAWN
from starsmith.govern.verification import verify
from starsmith.workspace import open_store, read_build


def fresh_release(removals, repositories, workspace, folder, build_into, rule="own"):
    """The release of a full build, elsewhere and from the sources, with the list of a workspace."""
    shutil.copytree(workspace / "opt_outs", folder / "opt_outs")
    shutil.copy(workspace / "workspace.json", folder / "workspace.json")
    build_into(removals.recipe_of(repositories, rule), folder, workers=0)
    return removals.release_of(folder)


def random_requests(workspace, seed):
    """Owners, repositories, places and contents of what is in a build, and names of nobody."""
    chance = random.Random(f"requests {seed}")
    store = open_store(workspace, create=False)
    record = read_build(store)
    origins = record.table("origins", ORIGINS).read(store).to_pylist()
    documents = record.table("documents", DOCUMENTS).read(store)
    contents = sorted({each for each in documents["content_id"].to_pylist() if each})
    made = [Request(kind="owner", value=f"nobody{seed}")]
    for _ in range(chance.randint(1, 3)):
        origin = chance.choice(origins)
        kinds = {
            "owner": origin["owner"],
            "repository": f"{origin['owner']}/{origin['name']}",
            "origin": origin["url"],
            "swhid": f"swh:1:cnt:{chance.choice(contents).hex()}",
        }
        kind = chance.choice(sorted(kinds))
        made.append(Request(kind=kind, value=kinds[kind]))
    return made


# ---- the law


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", ["own", "every"])
def test_equal_to_a_full_build_with_the_same_list(
    removals, repositories, finished, tmp_path, apply, build_into, rule, seed
):
    """Two lists, one after the other: each time receipts, delta and the old release; at the end the bytes of all."""
    workspace = shutil.copytree(finished[rule], tmp_path / "w")
    for number in range(2):
        old = removals.release_of(workspace)
        before = removals.files_of(old)
        removals.ask(workspace, *random_requests(workspace, f"{rule} {seed} {number}"))
        given = {receipt.id for receipt in removals.receipts_of(workspace)}
        applied = apply(workspace)
        new = removals.release_of(workspace)
        receipts = [receipt for receipt in removals.receipts_of(workspace) if receipt.id not in given]
        assert len(receipts) == len(applied.proof.receipts) > 0
        if applied.proof.documents:
            assert new != old
        assert removals.files_of(old) == before | ({WITHDRAWN: (old / WITHDRAWN).read_bytes()} if new != old else {})
        for receipt in receipts:
            assert verify(receipt, new).holds, verify(receipt, new).words()
            assert verify(receipt, old).holds is (new == old)
            changed = {shard.file for shard in receipt.shards}
            after = removals.files_of(new)
            assert {name for name in before if after.get(name) != before[name]} - {"manifest.json"} <= changed
        if new != old:
            name = applied.proof.delta
            patch(workspace / name, old, tmp_path / f"patched{number}", equal_rows=False)
            assert removals.files_of(tmp_path / f"patched{number}") == removals.files_of(new)
    full = fresh_release(removals, repositories, workspace, tmp_path / "fresh", build_into, rule)
    assert removals.files_of(removals.release_of(workspace)) == removals.files_of(full)


def test_other_shards_are_not_touched(removals, workspace, apply):
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    old = removals.release_of(workspace)
    applied = apply(workspace)
    new = removals.release_of(workspace)
    before, after = removals.files_of(old / "data"), removals.files_of(new / "data")
    touched = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    assert len(before.keys() & after.keys()) > 4
    assert len(touched) <= 2
    (receipt,) = removals.receipts_of(workspace)
    assert {shard.file for shard in receipt.shards if shard.file.startswith("data/")} >= {f"data/{n}" for n in touched}
    assert applied.proof.files == len(receipt.shards)


def test_a_copy_takes_the_place_of_what_left(removals, workspace, apply):
    """The copy of one file is kept elsewhere until its owner leaves; then the next copy is in the release."""

    def holder(release):
        tables = [pq.ParquetFile(path).read(["path", "origin_url", "swhid"]) for path in (release / "data").iterdir()]
        rows = pa.concat_tables(tables).to_pylist()
        return {row["origin_url"] for row in rows if row["path"].endswith("shared.py")}

    old = removals.release_of(workspace)
    assert holder(old) == {f"https://example.org/{removals.OWNER}/first"}
    removals.ask(workspace, Request(kind="repository", value=f"{removals.OWNER}/first"))
    applied = apply(workspace)
    assert holder(removals.release_of(workspace)) == {"https://example.org/zz/keeper"}
    (receipt,) = removals.receipts_of(workspace)
    assert applied.proof.returned == receipt.returned == 1
    (kept,) = (document for document in receipt.documents if document.elsewhere)
    assert kept.path == "shared.py"
    with zipfile.ZipFile(workspace / applied.proof.delta) as archive:
        rows = pq.ParquetFile(io.BytesIO(archive.read(ROWS))).read().to_pylist()
    assert [row["path"] for row in rows] == ["/kept/shared.py"]


def test_the_strict_rule_takes_every_copy(removals, finished, tmp_path, apply):
    workspace = shutil.copytree(finished["every"], tmp_path / "w")
    removals.ask(workspace, Request(kind="repository", value=f"{removals.OWNER}/first"))
    apply(workspace)
    (receipt,) = removals.receipts_of(workspace)
    assert receipt.rule == "every"
    copies = [document for document in receipt.documents if document.origin_url.endswith("/zz/keeper")]
    # The text of the licence is in both, and nobody's.
    assert {document.path for document in copies} == {"kept/shared.py"}
    assert not any(document.elsewhere for document in receipt.documents if document.is_owned)
    assert verify(receipt, removals.release_of(workspace)).holds


def test_a_request_that_names_nothing_changes_nothing(removals, workspace, apply):
    old = removals.release_of(workspace)
    before = removals.files_of(workspace / "releases")
    removals.ask(workspace, Request(kind="owner", value="nobody"))
    applied = apply(workspace)
    assert (removals.release_of(workspace), removals.files_of(workspace / "releases")) == (old, before)
    (receipt,) = removals.receipts_of(workspace)
    assert receipt.words() == "Nothing that the request names was there to leave."
    assert (receipt.before, receipt.delta, receipt.shards) == (receipt.after, None, ())
    assert verify(receipt, old).holds
    assert (applied.proof.before, applied.proof.delta) == (None, None)


def test_a_second_time_there_is_nothing_to_do(removals, workspace, apply):
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    apply(workspace)
    before = removals.files_of(workspace)
    again = apply(workspace)
    after = removals.files_of(workspace)
    assert {name for name in after if after[name] != before.get(name)} <= {"lock"}
    assert again.proof.receipts == ()
    assert "Nothing to remove: the list has 1 request" in again.words()


def test_every_request_has_a_receipt_of_its_own(removals, workspace, apply):
    removals.ask(
        workspace,
        Request(kind="owner", value=removals.OWNER, note="a private word"),
        Request(kind="owner", value="tiny"),
    )
    apply(workspace)
    for receipt in removals.receipts_of(workspace):
        others = {"tiny": removals.OWNER, removals.OWNER: "tiny"}[receipt.request.value]
        assert others.encode() not in receipt.dumps()
        assert b"a private word" not in receipt.dumps()
    names = [path for path in (workspace / "receipts").iterdir() if path.suffix == ".json"]
    assert [path.stat().st_mode & 0o777 for path in names] == [0o600, 0o600]


def test_an_alias_added_later_is_a_new_request(removals, workspace, apply):
    removals.ask(workspace, Request(kind="owner", value="formerly"))
    apply(workspace)
    removals.ask(workspace, Request(kind="owner", value="formerly", aliases=(removals.OWNER,)))
    assert apply(workspace).proof.origins == 2
    assert len(removals.receipts_of(workspace)) == 2


# ---- an ordinary build


def test_an_ordinary_build_gives_receipts_too(removals, repositories, workspace, tmp_path, apply, build_into):
    old = removals.release_of(workspace)
    applied = shutil.copytree(workspace, tmp_path / "applied")
    for each in (workspace, applied):
        removals.ask(each, Request(kind="owner", value=removals.OWNER))
    result = build_into(removals.recipe_of(repositories), workspace, workers=0)
    apply(applied)
    assert removals.files_of(removals.release_of(workspace)) == removals.files_of(removals.release_of(applied))
    (receipt,), (other,) = removals.receipts_of(workspace), removals.receipts_of(applied)
    assert dataclasses.replace(receipt, time=other.time) == other
    assert result.plain()["receipts"] == [f"{workspace}/receipts/{receipt.id}.json"]
    assert (old / WITHDRAWN).exists()
    assert build_into(removals.recipe_of(repositories), workspace, workers=0).receipts == ()


def test_a_list_before_the_first_build(removals, repositories, tmp_path, build_into):
    removals.ask(tmp_path / "w", Request(kind="owner", value=removals.OWNER))
    build_into(removals.recipe_of(repositories), tmp_path / "w", workers=0)
    (receipt,) = removals.receipts_of(tmp_path / "w")
    assert (receipt.before, receipt.origins, receipt.documents) == (None, (), ())
    assert "no release before" in receipt.words()
    assert verify(receipt, removals.release_of(tmp_path / "w")).holds


def test_a_build_that_stops_early_leaves_a_draft(removals, repositories, workspace, tmp_path, apply, build_into):
    """The documents are in no table any more when the release is made; the receipt knows them all the same."""
    whole = shutil.copytree(workspace, tmp_path / "whole")
    for each in (workspace, whole):
        removals.ask(each, Request(kind="owner", value=removals.OWNER))
    apply(whole)
    build_into(removals.recipe_of(repositories), workspace, workers=0, until="collect")
    assert (workspace / "receipts/draft.json").exists()
    with pytest.raises(StarsmithError, match="stopped after 'collect'"):
        apply(workspace)
    build_into(removals.recipe_of(repositories), workspace, workers=0)
    (receipt,), (expected,) = removals.receipts_of(workspace), removals.receipts_of(whole)
    assert dataclasses.replace(receipt, time=expected.time) == expected
    assert not (workspace / "receipts/draft.json").exists()


def test_without_the_list_the_old_release_is_no_longer_withdrawn(removals, repositories, workspace, apply, build_into):
    old = removals.release_of(workspace)
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    apply(workspace)
    assert json.loads((old / WITHDRAWN).read_bytes())["replaced_by"] == removals.release_of(workspace).name
    shutil.rmtree(workspace / "opt_outs")
    build_into(removals.recipe_of(repositories), workspace, workers=0)
    assert removals.release_of(workspace) == old
    assert not (old / WITHDRAWN).exists()


def test_what_comes_back_leaves_again(removals, repositories, workspace, apply, build_into, source_code):
    """The list was lost and a build brought everybody back; the same requests are then as new."""
    shared = swhid("cnt", content_id(source_code("shared")))
    asked = Request(kind="owner", value=removals.OWNER), Request(kind="swhid", value=shared)
    removals.ask(workspace, *asked)
    assert len(apply(workspace).proof.receipts) == 2
    clean = removals.release_of(workspace)
    shutil.rmtree(workspace / "opt_outs")
    build_into(removals.recipe_of(repositories), workspace, workers=0)
    assert removals.release_of(workspace) != clean
    removals.ask(workspace, *asked)
    assert status(workspace).opt_outs.pending == 2
    assert apply(workspace).proof.origins == 2
    assert removals.release_of(workspace) == clean
    assert not (clean / WITHDRAWN).exists()
    assert status(workspace).opt_outs.pending == 0


def test_a_stricter_rule_takes_the_copies_of_what_left_before(removals, repositories, workspace, apply, build_into):
    removals.ask(workspace, Request(kind="repository", value=f"{removals.OWNER}/first"))
    apply(workspace)
    build_into(removals.recipe_of(repositories, "every"), workspace, workers=0)
    (receipt,) = (each for each in removals.receipts_of(workspace) if each.rule == "every")
    assert [each.path for each in receipt.documents if each.released] == ["kept/shared.py"]
    assert verify(receipt, removals.release_of(workspace)).holds
    assert (workspace / "releases" / receipt.before.name / WITHDRAWN).exists()


def test_everybody_leaves(own_corpus, mit, source_code, tmp_path, apply, build_into, removals):
    own_corpus.add("only/one", {"LICENSE": mit, "a.py": source_code("only")})
    build_into(own_corpus.recipe(), tmp_path / "w", workers=0)
    old = removals.release_of(tmp_path / "w")
    kept = shutil.copytree(old, tmp_path / "kept")
    removals.ask(tmp_path / "w", Request(kind="owner", value="only"))
    applied = apply(tmp_path / "w", purge=True)
    new = removals.release_of(tmp_path / "w")
    assert {path.name for path in new.rglob("*.parquet")} == {"empty.parquet"}, "so that it can be loaded"
    (receipt,) = removals.receipts_of(tmp_path / "w")
    assert verify(receipt, new).holds
    patch(tmp_path / "w" / applied.proof.delta, kept, tmp_path / "patched", equal_rows=False)
    assert removals.files_of(tmp_path / "patched") == removals.files_of(new)


def test_a_damaged_table_is_named(removals, workspace, apply):
    """What leaves cannot be looked up; nothing is removed that nobody can prove."""
    for part in (workspace / "tables/documents").iterdir():
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    before = removals.files_of(workspace / "releases")
    with pytest.raises(StarsmithError, match=r"is damaged: its SHA-256 is .* remove .*build\.json too"):
        apply(workspace)
    assert removals.files_of(workspace / "releases") == before


def test_old_releases_that_somebody_deleted_or_damaged(removals, workspace, apply):
    """There is no delta from what is not there; a release that cannot be read is withdrawn."""
    old = removals.release_of(workspace)
    broken = shutil.copytree(old, workspace / "releases" / ("0" * 16))
    (broken / "manifest.json").write_text("{")
    shutil.rmtree(old)
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    assert apply(workspace).proof.delta is None
    (receipt,) = removals.receipts_of(workspace)
    assert (receipt.before, receipt.counts["origins"]) == (None, 2)
    assert verify(receipt, removals.release_of(workspace)).holds
    assert (broken / WITHDRAWN).exists()


def test_apply_needs_no_sources(removals, finished, tmp_path, apply, corpus):
    workspace = shutil.copytree(finished["own"], tmp_path / "w")
    record = json.loads((workspace / "build.json").read_bytes())
    assert "repositories" in record["recipe"]
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    with mock.patch("starsmith.origins.open_source", side_effect=AssertionError("a source was opened")):
        assert apply(workspace).proof.origins == 2


# ---- what nobody may read


def test_names_of_those_who_left_are_in_receipts_alone(removals, workspace, apply, capsys, inline_engine):
    removals.ask(
        workspace, Request(kind="owner", value=removals.OWNER, aliases=("another-name",), note="a private word")
    )
    capsys.readouterr()
    assert main(["opt-out", "apply", str(workspace)]) == 0
    said = "".join(capsys.readouterr())
    assert "1 of 1 request applied" in said
    places = [removals.release_of(workspace), workspace / "report.html", workspace / "build.json"]
    texts = [said.encode()] + [
        b"".join(removals.files_of(each).values()) if each.is_dir() else each.read_bytes() for each in places
    ]
    for word in (removals.OWNER, "another-name", "a private word", "pathmarker", removals.MARKER):
        assert not [text for text in texts if word.encode() in text], word
        assert removals.found_in(removals.release_of(workspace), word) == []


def test_status_counts(removals, workspace, apply):
    assert dataclasses.astuple(status(workspace).opt_outs) == (0, 0, 0)
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER), Request(kind="owner", value="nobody"))
    assert status(workspace).plain()["opt_outs"] == {"requests": 2, "pending": 2, "withdrawn": 0}
    apply(workspace)
    assert status(workspace).plain()["opt_outs"] == {"requests": 2, "pending": 0, "withdrawn": 1}
    assert status(workspace).pending is None


# ---- the command line


def test_apply_verify_and_patch_from_the_command_line(removals, workspace, tmp_path, capsys, apply):
    old = removals.release_of(workspace)
    assert main(["opt-out", "add", str(workspace), "--owner", removals.OWNER]) == 0
    capsys.readouterr()
    assert main(["opt-out", "apply", str(workspace), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (receipt,) = said["receipts"]
    assert (said["applied"], said["requests"], said["purged"]) == (1, 1, None)
    assert main(["opt-out", "verify", receipt, said["release"]]) == 0
    assert capsys.readouterr().out.endswith("Verified.\n")
    assert main(["opt-out", "verify", receipt, str(old), "--json"]) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["verified"] is False
    assert "is not what the receipt says" in output.err
    patched = str(tmp_path / "patched")
    assert main(["opt-out", "patch", said["delta"], str(old), "--out", patched]) == 0
    assert capsys.readouterr().out.startswith(f"Wrote {patched}: ")
    assert main(["opt-out", "verify", receipt, patched]) == 0
    assert main(["opt-out", "patch", said["delta"], str(old), "--out", patched, "--json"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["opt-out", "apply", str(tmp_path / "none")]) == 1
    assert "is not a workspace" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()

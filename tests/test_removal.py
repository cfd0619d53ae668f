"""Removal: the release without what left is that of a build that never had it, and everybody can check that."""

import dataclasses
import gzip
import io
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starsmith.build import apply_opt_outs, status
from starsmith.cli import main
from starsmith.document import DOCUMENTS, ORIGINS
from starsmith.errors import StarsmithError
from starsmith.govern import opt_out
from starsmith.govern.delta import ROWS
from starsmith.govern.opt_out import Request
from starsmith.govern.patch import patch
from starsmith.govern.receipt import load
from starsmith.govern.release_folder import WITHDRAWN
from starsmith.govern.verification import verify
from starsmith.progress import Quiet
from starsmith.storage import Store
from starsmith.workspace import collect_garbage, open_store, read_build, writing

MARKER = "zyxmarker"
"""In every content of the owner that leaves, and nowhere else."""
OWNER = "leavingowner"


@pytest.fixture(scope="module")
def repositories(corpus, tmp_path_factory, mit, source_code):
    """The small corpus with two repositories of one owner, whose files are released, dropped, or copied elsewhere."""
    folder = shutil.copytree(corpus.folder, tmp_path_factory.mktemp("removal") / "repositories")
    own = dataclasses.replace(corpus, folder=Path(folder))
    marked = {f"pathmarker/m{i}.py": source_code(f"mine {i}") + f"# {MARKER}{i}\n".encode() for i in range(5)}
    own.add(f"{OWNER}/first", {"LICENSE": mit, **marked, "shared.py": source_code("shared")})
    gpl = {"gpl.rs": b"// SPDX-License-Identifier: GPL-3.0-only\n" + f"// {MARKER}\n".encode()}
    wide = {"wide.py": (source_code("w").decode() + f"# {MARKER} caf\xe9\n").encode("utf-16")}
    long = {"long.py": source_code("own long", lines=3000) + f"# {MARKER}\n".encode()}
    own.add(f"{OWNER}/second", {"LICENSE": mit, **gpl, **wide, **long, "pathmarker.bin": b"\0" + MARKER.encode()})
    own.add("zz/keeper", {"LICENSE": mit, "kept/shared.py": source_code("shared"), "own.py": source_code("keeper")})
    return own


def recipe_of(repositories, rule="own"):
    return repositories.recipe(f'[opt_out]\ncopies = "{rule}"')


@pytest.fixture(scope="module")
def finished(repositories, tmp_path_factory, build_into):
    """One finished build for each rule, not to be changed."""
    made = {}
    for rule in ("own", "every"):
        made[rule] = tmp_path_factory.mktemp(rule) / "w"
        build_into(recipe_of(repositories, rule), made[rule], workers=0)
    return made


@pytest.fixture
def workspace(finished, tmp_path):
    return shutil.copytree(finished["own"], tmp_path / "w")


@pytest.fixture
def apply(inline_engine, monkeypatch):
    """Applies the list in this process."""
    monkeypatch.setattr("starsmith.build.LocalEngine", inline_engine)

    def run(workspace, *, purge=False):
        return apply_opt_outs(workspace, purge=purge, workers=2, reporter=Quiet())

    return run


def ask(workspace, *requests):
    with writing(workspace) as store:
        opt_out.add_all(store, list(requests))


def release_of(workspace):
    return workspace / str(read_build(open_store(workspace, create=False)).release)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def receipts_of(workspace):
    return [load(path) for path in sorted((workspace / "receipts").glob("*.json")) if path.name != "draft.json"]


def fresh_release(repositories, workspace, folder, build_into, rule="own"):
    """The release of a full build, elsewhere and from the sources, with the list of a workspace."""
    shutil.copytree(workspace / "opt_outs", folder / "opt_outs")
    shutil.copy(workspace / "workspace.json", folder / "workspace.json")
    build_into(recipe_of(repositories, rule), folder, workers=0)
    return release_of(folder)


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
def test_equal_to_a_full_build_with_the_same_list(repositories, finished, tmp_path, apply, build_into, rule, seed):
    """Two lists, one after the other: each time receipts, delta and the old release; at the end the bytes of all."""
    workspace = shutil.copytree(finished[rule], tmp_path / "w")
    for number in range(2):
        old = release_of(workspace)
        before = files_of(old)
        ask(workspace, *random_requests(workspace, f"{rule} {seed} {number}"))
        given = {receipt.id for receipt in receipts_of(workspace)}
        applied = apply(workspace)
        new = release_of(workspace)
        receipts = [receipt for receipt in receipts_of(workspace) if receipt.id not in given]
        assert len(receipts) == len(applied.proof.receipts) > 0
        if applied.proof.documents:
            assert new != old
        assert files_of(old) == before | ({WITHDRAWN: (old / WITHDRAWN).read_bytes()} if new != old else {})
        for receipt in receipts:
            assert verify(receipt, new).holds, verify(receipt, new).words()
            assert verify(receipt, old).holds is (new == old)
            changed = {shard.file for shard in receipt.shards}
            after = files_of(new)
            assert {name for name in before if after.get(name) != before[name]} - {"manifest.json"} <= changed
        if new != old:
            name = applied.proof.delta
            patch(workspace / name, old, tmp_path / f"patched{number}", equal_rows=False)
            assert files_of(tmp_path / f"patched{number}") == files_of(new)
    full = fresh_release(repositories, workspace, tmp_path / "fresh", build_into, rule)
    assert files_of(release_of(workspace)) == files_of(full)


def test_other_shards_are_not_touched(workspace, apply):
    ask(workspace, Request(kind="owner", value=OWNER))
    old = release_of(workspace)
    applied = apply(workspace)
    new = release_of(workspace)
    before, after = files_of(old / "data"), files_of(new / "data")
    touched = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    assert len(before.keys() & after.keys()) > 4
    assert len(touched) <= 2
    (receipt,) = receipts_of(workspace)
    assert {shard.file for shard in receipt.shards if shard.file.startswith("data/")} >= {f"data/{n}" for n in touched}
    assert applied.proof.files == len(receipt.shards)


def test_a_copy_takes_the_place_of_what_left(workspace, apply):
    """The copy of one file is kept elsewhere until its owner leaves; then the next copy is in the release."""

    def holder(release):
        tables = [pq.ParquetFile(path).read(["path", "origin_url", "swhid"]) for path in (release / "data").iterdir()]
        rows = pa.concat_tables(tables).to_pylist()
        return {row["origin_url"] for row in rows if row["path"].endswith("shared.py")}

    old = release_of(workspace)
    assert holder(old) == {f"https://example.org/{OWNER}/first"}
    ask(workspace, Request(kind="repository", value=f"{OWNER}/first"))
    applied = apply(workspace)
    assert holder(release_of(workspace)) == {"https://example.org/zz/keeper"}
    (receipt,) = receipts_of(workspace)
    assert applied.proof.returned == receipt.returned == 1
    (kept,) = (document for document in receipt.documents if document.elsewhere)
    assert kept.path == "shared.py"
    with zipfile.ZipFile(workspace / applied.proof.delta) as archive:
        rows = pq.ParquetFile(io.BytesIO(archive.read(ROWS))).read().to_pylist()
    assert [row["path"] for row in rows] == ["/kept/shared.py"]


def test_the_strict_rule_takes_every_copy(finished, tmp_path, apply):
    workspace = shutil.copytree(finished["every"], tmp_path / "w")
    ask(workspace, Request(kind="repository", value=f"{OWNER}/first"))
    apply(workspace)
    (receipt,) = receipts_of(workspace)
    assert receipt.rule == "every"
    copies = [document for document in receipt.documents if document.origin_url.endswith("/zz/keeper")]
    # The text of the licence is a copy too.
    assert {document.path for document in copies} == {"kept/shared.py", "LICENSE"}
    assert not any(document.elsewhere for document in receipt.documents)
    assert verify(receipt, release_of(workspace)).holds


def test_a_request_that_names_nothing_changes_nothing(workspace, apply):
    old = release_of(workspace)
    before = files_of(workspace / "releases")
    ask(workspace, Request(kind="owner", value="nobody"))
    applied = apply(workspace)
    assert (release_of(workspace), files_of(workspace / "releases")) == (old, before)
    (receipt,) = receipts_of(workspace)
    assert receipt.words() == "The request names nothing that this corpus held."
    assert (receipt.before, receipt.delta, receipt.shards) == (receipt.after, None, ())
    assert verify(receipt, old).holds
    assert (applied.proof.before, applied.proof.delta) == (None, None)


def test_a_second_time_there_is_nothing_to_do(workspace, apply):
    ask(workspace, Request(kind="owner", value=OWNER))
    apply(workspace)
    before = files_of(workspace)
    again = apply(workspace)
    after = files_of(workspace)
    assert {name for name in after if after[name] != before.get(name)} <= {"lock"}
    assert again.proof.receipts == ()
    assert "Nothing to remove: the list has 1 request" in again.words()


def test_every_request_has_a_receipt_of_its_own(workspace, apply):
    ask(workspace, Request(kind="owner", value=OWNER, note="a private word"), Request(kind="owner", value="tiny"))
    apply(workspace)
    for receipt in receipts_of(workspace):
        others = {"tiny": OWNER, OWNER: "tiny"}[receipt.request.value]
        assert others.encode() not in receipt.dumps()
        assert b"a private word" not in receipt.dumps()
    names = [path for path in (workspace / "receipts").iterdir() if path.suffix == ".json"]
    assert [path.stat().st_mode & 0o777 for path in names] == [0o600, 0o600]


def test_an_alias_added_later_is_a_new_request(workspace, apply):
    ask(workspace, Request(kind="owner", value="formerly"))
    apply(workspace)
    ask(workspace, Request(kind="owner", value="formerly", aliases=(OWNER,)))
    assert apply(workspace).proof.origins == 2
    assert len(receipts_of(workspace)) == 2


# ---- an ordinary build


def test_an_ordinary_build_gives_receipts_too(repositories, workspace, tmp_path, apply, build_into):
    old = release_of(workspace)
    applied = shutil.copytree(workspace, tmp_path / "applied")
    for each in (workspace, applied):
        ask(each, Request(kind="owner", value=OWNER))
    result = build_into(recipe_of(repositories), workspace, workers=0)
    apply(applied)
    assert files_of(release_of(workspace)) == files_of(release_of(applied))
    (receipt,), (other,) = receipts_of(workspace), receipts_of(applied)
    assert dataclasses.replace(receipt, time=other.time) == other
    assert result.plain()["receipts"] == [f"{workspace}/receipts/{receipt.id}.json"]
    assert (old / WITHDRAWN).exists()
    assert build_into(recipe_of(repositories), workspace, workers=0).receipts == ()


def test_a_list_before_the_first_build(repositories, tmp_path, build_into):
    ask(tmp_path / "w", Request(kind="owner", value=OWNER))
    build_into(recipe_of(repositories), tmp_path / "w", workers=0)
    (receipt,) = receipts_of(tmp_path / "w")
    assert (receipt.before, receipt.origins, receipt.documents) == (None, (), ())
    assert "no release before" in receipt.words()
    assert verify(receipt, release_of(tmp_path / "w")).holds


def test_a_build_that_stops_early_leaves_the_draft_to_the_next(repositories, workspace, tmp_path, apply, build_into):
    """The documents are in no table any more when the release is made; the receipt knows them all the same."""
    whole = shutil.copytree(workspace, tmp_path / "whole")
    for each in (workspace, whole):
        ask(each, Request(kind="owner", value=OWNER))
    apply(whole)
    build_into(recipe_of(repositories), workspace, workers=0, until="collect")
    assert (workspace / "receipts/draft.json").exists()
    with pytest.raises(StarsmithError, match="stopped after 'collect'"):
        apply(workspace)
    build_into(recipe_of(repositories), workspace, workers=0)
    (receipt,), (expected,) = receipts_of(workspace), receipts_of(whole)
    assert dataclasses.replace(receipt, time=expected.time) == expected
    assert not (workspace / "receipts/draft.json").exists()


def test_without_the_list_the_old_release_is_no_longer_withdrawn(repositories, workspace, apply, build_into):
    old = release_of(workspace)
    ask(workspace, Request(kind="owner", value=OWNER))
    apply(workspace)
    assert json.loads((old / WITHDRAWN).read_bytes())["replaced_by"] == release_of(workspace).name
    shutil.rmtree(workspace / "opt_outs")
    build_into(recipe_of(repositories), workspace, workers=0)
    assert release_of(workspace) == old
    assert not (old / WITHDRAWN).exists()


def test_apply_needs_no_sources(finished, tmp_path, apply, corpus):
    workspace = shutil.copytree(finished["own"], tmp_path / "w")
    record = json.loads((workspace / "build.json").read_bytes())
    assert "repositories" in record["recipe"]
    ask(workspace, Request(kind="owner", value=OWNER))
    with mock.patch("starsmith.origins.open_source", side_effect=AssertionError("a source was opened")):
        assert apply(workspace).proof.origins == 2


# ---- what nobody may read


def test_names_of_those_who_left_are_in_receipts_alone(workspace, apply, capsys, inline_engine):
    ask(workspace, Request(kind="owner", value=OWNER, aliases=("another-name",), note="a private word"))
    capsys.readouterr()
    assert main(["opt-out", "apply", str(workspace)]) == 0
    said = "".join(capsys.readouterr())
    assert "1 of 1 request applied" in said
    places = [release_of(workspace), workspace / "report.html", workspace / "build.json"]
    texts = [said.encode()] + [
        b"".join(files_of(each).values()) if each.is_dir() else each.read_bytes() for each in places
    ]
    for word in (OWNER, "another-name", "a private word", "pathmarker", MARKER):
        assert not [text for text in texts if word.encode() in text], word
        assert found_in(release_of(workspace), word) == []


# ---- purge


def found_in(folder, word):
    """Names of files below a folder that hold a word: as it lies there, or in anything that can be unpacked."""
    return sorted(name for name, data in files_of(folder).items() if holds(data, word, depth=4))


def holds(data, word, *, depth):
    if any(word.encode(codec) in data for codec in ("utf-8", "utf-16-le", "utf-16-be")):
        return True
    return depth > 0 and any(holds(inner, word, depth=depth - 1) for inner in unpacked(data))


def unpacked(data):
    """Yield what is in a file of any kind that might lie in a workspace."""
    if data[:4] == b"PAR1":
        yield from values(pq.ParquetFile(io.BytesIO(data)).read())
    elif data[:6] == b"ARROW1":
        yield from values(pa.ipc.open_file(io.BytesIO(data)).read_all())
    elif data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif data[:4] == b"\x28\xb5\x2f\xfd":
        yield pa.CompressedInputStream(io.BytesIO(data), "zstd").read()
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:15] == b"SQLite format 3":
        connection = sqlite3.connect(":memory:")
        connection.deserialize(data)
        yield "\n".join(connection.iterdump()).encode()
    elif data[8:12] == b"DUCK":
        raise AssertionError("a database of DuckDB in a workspace: nobody looks into it here")


def values(table):
    for column in table.columns:
        for value in column.to_pylist():
            if isinstance(value, bytes):
                yield value
            elif value is not None:
                yield repr(value).encode()


def test_the_search_finds_what_is_there(workspace):
    for word in (MARKER, OWNER, "pathmarker"):
        found = found_in(workspace, word)
        assert {name.split("/")[0] for name in found} >= {"releases", "tables"}
    found = found_in(workspace, MARKER)
    assert [name for name in found if name.startswith("tables/contents/")]
    assert [name for name in found if name.startswith("tables/data/")]


def test_after_a_purge_nothing_is_left(workspace, apply):
    (workspace / "tmp" / "spill").mkdir(parents=True, exist_ok=True)
    (workspace / "tmp" / "spill" / "old").write_text(MARKER)
    old = release_of(workspace)
    ask(workspace, Request(kind="owner", value=OWNER))
    applied = apply(workspace, purge=True)
    assert found_in(workspace, MARKER) == []
    for word in (OWNER, "pathmarker"):
        assert {name.split("/")[0] for name in found_in(workspace, word)} == {"receipts"} | (
            {"opt_outs"} if word == OWNER else set()
        )
    assert [path.name for path in (workspace / "releases").iterdir()] == [release_of(workspace).name]
    assert applied.purged.releases == (old.name,)
    assert applied.plain()["purged"]["releases"] == [old.name]
    assert f"/releases/{old.name}" in applied.words()
    (receipt,) = receipts_of(workspace)
    assert receipt.purged
    assert verify(receipt, release_of(workspace)).holds
    assert applied.plain()["receipts"] == [f"{workspace}/receipts/{receipt.id}.json"]


def test_a_purge_afterwards_gives_the_receipts_again(repositories, workspace, apply, build_into):
    ask(workspace, Request(kind="owner", value=OWNER))
    apply(workspace)
    assert found_in(workspace, MARKER)
    (before,) = receipts_of(workspace)
    apply(workspace, purge=True)
    assert found_in(workspace, MARKER) == []
    (after,) = receipts_of(workspace)
    assert after == dataclasses.replace(before, purged=True)
    again = apply(workspace, purge=True)
    assert (again.purged.files, again.receipts) == (0, ())
    # A build from the sources, where everything still lies, brings nothing back.
    assert build_into(recipe_of(repositories), workspace, workers=0).worked == 0
    assert found_in(workspace, MARKER) == []


def test_a_delta_that_holds_what_leaves_later_goes(workspace, apply):
    """What returned with the first removal, and stands in its delta, leaves with the second."""
    ask(workspace, Request(kind="repository", value=f"{OWNER}/first"))
    first = apply(workspace).proof.delta
    ask(workspace, Request(kind="owner", value="zz"))
    second = apply(workspace, purge=True).proof.delta
    assert not (workspace / first).exists()
    assert (workspace / second).exists()
    assert "shared.py" not in " ".join(found_in(workspace / "tables", "kept/shared.py"))


def test_garbage_collection_leaves_proofs_and_withdrawn_releases(workspace, apply):
    ask(workspace, Request(kind="owner", value=OWNER))
    apply(workspace)
    places = [workspace / name for name in ("receipts", "opt_outs", "releases")]
    before = [files_of(place) for place in places]
    with writing(workspace) as store:
        files, _ = collect_garbage(store, read_build(store))
    assert files > 0
    assert [files_of(place) for place in places] == before


def test_status_counts(workspace, apply):
    assert dataclasses.astuple(status(workspace).opt_outs) == (0, 0, 0)
    ask(workspace, Request(kind="owner", value=OWNER), Request(kind="owner", value="nobody"))
    assert status(workspace).plain()["opt_outs"] == {"requests": 2, "pending": 2, "withdrawn": 0}
    apply(workspace)
    assert status(workspace).plain()["opt_outs"] == {"requests": 2, "pending": 0, "withdrawn": 1}
    assert status(workspace).pending is None


# ---- killed at any moment


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def undisturbed(finished, tmp_path_factory, inline_engine):
    """What a run that nobody disturbs ends at, and how many steps on the disk it takes."""
    workspace = shutil.copytree(finished["own"], tmp_path_factory.mktemp("undisturbed") / "w")
    ask(workspace, Request(kind="owner", value=OWNER), Request(kind="owner", value="nobody"))
    with mock.patch("starsmith.build.LocalEngine", inline_engine), steps() as counted:
        apply_opt_outs(workspace, purge=True, workers=2, reporter=Quiet())
    return workspace, counted


class steps:
    """Count what is done to the disk, and end everything at one step."""

    def __init__(self, last=None):
        self.last, self.count, self.patches = last, 0, []

    def __enter__(self):
        for name in ("publish", "delete", "delete_folder", "copy"):
            original = getattr(Store, name)

            def step(store, *arguments, original=original, **options):
                if self.count == self.last:
                    raise Killed
                self.count += 1
                return original(store, *arguments, **options)

            self.patches.append(mock.patch.object(Store, name, step))
            self.patches[-1].start()
        return self

    def __exit__(self, *error):
        for each in self.patches:
            each.stop()


def compare(workspace, expected):
    assert not (workspace / "receipts/draft.json").exists()
    assert files_of(release_of(workspace)) == files_of(release_of(expected))
    ours, theirs = ({each.key: each for each in receipts_of(place)} for place in (workspace, expected))
    assert ours.keys() == theirs.keys()
    for key, receipt in ours.items():
        assert verify(receipt, release_of(workspace)).holds
        assert dataclasses.replace(receipt, time="", purged=True) == dataclasses.replace(theirs[key], time="")


@pytest.mark.parametrize("number", range(14))
def test_ended_at_any_step(repositories, workspace, undisturbed, apply, build_into, number):
    """The next apply, or the next build, ends where an undisturbed run does."""
    expected, counted = undisturbed
    chance = random.Random(f"step {number}")
    # Most of what is delicate comes last.
    last = chance.randrange(counted.count) if number < 6 else counted.count - 1 - chance.randrange(40)
    ask(workspace, Request(kind="owner", value=OWNER), Request(kind="owner", value="nobody"))
    with pytest.raises(Killed), steps(last=last):
        apply(workspace, purge=True)
    if number % 2:
        build_into(recipe_of(repositories), workspace, workers=0)
    apply(workspace, purge=not number % 3)
    compare(workspace, expected)
    apply(workspace, purge=True)
    assert found_in(workspace, MARKER) == []
    compare(workspace, expected)


@pytest.mark.parametrize("number", range(3))
def test_killed(workspace, undisturbed, number):
    """kill -9, when so many more records are there, or the draft, or the first receipt."""
    expected, _ = undisturbed
    ask(workspace, Request(kind="owner", value=OWNER), Request(kind="owner", value="nobody"))
    command = [sys.executable, "-m", "starsmith", "opt-out", "apply", str(workspace), "--workers", "1", "--json"]
    records = len(list((workspace / "records").rglob("*.json")))
    receipts = workspace / "receipts"
    moments = [
        lambda: (receipts / "draft.json").exists(),
        lambda: len(list((workspace / "records").rglob("*.json"))) > records + 5,
        lambda: len(list(receipts.glob("*.zip"))) > 0,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while not moments[number]() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["release"] == str(release_of(workspace))
    compare(workspace, expected)


# ---- the command line


def test_apply_verify_and_patch_from_the_command_line(workspace, tmp_path, capsys, apply):
    old = release_of(workspace)
    assert main(["opt-out", "add", str(workspace), "--owner", OWNER]) == 0
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

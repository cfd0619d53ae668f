"""A workspace on an object store is the workspace that a disk would hold, for every command."""

import json
import subprocess
import sys
import uuid

import pytest
from object_server import BUCKET

from starsmith.storage import Store
from starsmith.workspace import open_store, read_build


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder that the recipe stands in."""
    return tmp_path_factory.mktemp("there")


@pytest.fixture(scope="module")
def built_once(object_server, build_there, small_recipe, inline_engine, base):
    """Where a build lies that no test changes."""
    place = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment().items():
            patch.setenv(name, value)
        build_there(small_recipe, place, inline=inline_engine, base=base)
    return place


@pytest.fixture
def standing(built_once, new_place):
    """The build that no test changes, and the environment in which it opens."""
    return built_once


@pytest.fixture
def built(built_once, place):
    """A copy of that build."""
    old, new = Store.at(built_once), Store.at(place)

    def copy(name):
        old.filesystem.copy_file(old.key(name), new.key(name))

    old.each(copy, set(old.names("")) - {"report.html"})
    # Its time says that it tells of the build.
    copy("report.html")
    return place


def test_every_table_and_file_is_the_same(small_recipe, build_at, place, digests, local_digests, half_objects):
    result = build_at(small_recipe, place, workers=2)
    assert digests(place) == local_digests
    assert half_objects(place) == []
    assert result.worked > 0
    assert result.report == f"{place}/report.html"
    store = Store.at(place)
    assert b"<title>" in store.read("report.html")
    assert {name.split("/")[0] for name in store.names("")} == {
        "build.json",
        "records",
        "releases",
        "report.html",
        "tables",
        "workspace.json",
    }


def test_a_build_again_does_and_writes_nothing(small_recipe, build_there, inline_engine, base, standing):
    store = Store.at(standing)
    before = {name: store.changed(name) for name in store.names("")}
    assert build_there(small_recipe, standing, inline=inline_engine, base=base).worked == 0
    assert {name: store.changed(name) for name in store.names("")} == before


def test_the_recipe_may_name_the_place(small_recipe, place, command, tmp_path):
    (tmp_path / "recipe.toml").write_text(f'workspace = "{place}"\n{small_recipe}')
    done = command("build", tmp_path / "recipe.toml", "--json", "--workers", 1)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["workspace"] == place
    assert said["release"].startswith(f"{place}/releases/")
    assert not [path for path in tmp_path.iterdir() if path.name != "recipe.toml"]


def test_the_address_may_hold_endpoint_and_region(standing, command, object_server):
    options = f"endpoint_override=127.0.0.1:{object_server.port}&scheme=http&region=us-east-1"
    done = command("status", f"{standing}?{options}", AWS_ENDPOINT_URL="", AWS_REGION="")
    assert done.returncode == 0, done.stderr
    assert "would do nothing" in done.stdout


def test_commands_that_read(standing, command, tmp_path):
    assert "all as recorded" in command("status", standing, "--verify").stdout
    assert "A re-run  would do nothing" in command("status", standing).stdout
    assert "10 of 11 documents kept" in command("why", standing, "acme/alpha").stdout
    why = command("why", standing, "acme/alpha:src/m1.py").stdout
    assert "Released in releases/" in why
    code = open_store(standing, create=False)
    assert code.exists("workspace.json")
    done = command("report", standing)
    assert done.stdout == f"{standing}/report.html\n"
    assert command("report", standing, "--out", tmp_path / "r.html").returncode == 0
    assert (tmp_path / "r.html").read_bytes() == code.read("report.html")


def test_a_piece_of_code_is_found(standing, command, source_code):
    done = subprocess.run(
        [sys.executable, "-m", "starsmith", "why", standing, "-"], input=source_code(2), capture_output=True, check=True
    )
    assert b"src/m2.py" in done.stdout


def test_damage_is_named(built, command):
    store = Store.at(built)
    record = read_build(store)
    part = record.tables["ledger"][0]
    data = bytearray(store.read(part.name))
    data[len(data) // 3] ^= 1
    store.write(part.name, bytes(data))
    done = command("status", built, "--verify")
    assert done.returncode == 1
    assert f"{built}/{part.name} is damaged: its SHA-256 is" in done.stdout
    store.delete(part.name)
    assert f"{built}/{part.name} is missing" in command("status", built, "--verify").stdout


def test_gc_removes_what_no_build_refers_to(built, command, digests, local_digests):
    store = Store.at(built)
    store.write("tables/ledger/0-00000000000000000000000000000000.parquet", b"old")
    store.write("releases/0000/data/x.parquet", b"unfinished")
    done = command("gc", built, "--json")
    assert json.loads(done.stdout) == {"files": 2, "bytes": 13}
    assert digests(built) == local_digests


def test_somebody_leaves(small_recipe, build_at, built, command, digests, tmp_path):
    assert command("opt-out", "add", built, "--owner", "acme").returncode == 0
    assert "acme" in command("opt-out", "list", built).stdout
    build_at(small_recipe, str(tmp_path / "w"))
    assert command("opt-out", "add", tmp_path / "w", "--owner", "acme").returncode == 0
    here, there = (json.loads(command("opt-out", "apply", each, "--json").stdout) for each in (tmp_path / "w", built))
    counts = ("applied", "origins", "documents", "released", "returned", "files", "withdrawn")
    assert {name: there[name] for name in counts} == {name: here[name] for name in counts}
    assert digests(built) == digests(tmp_path / "w")
    delta = there["delta"].removeprefix(f"{built}/")
    assert Store.at(built).read(delta) == (tmp_path / "w" / delta).read_bytes()
    checked = command("opt-out", "verify", there["receipts"][0], there["release"])
    assert checked.returncode == 0, checked.stdout
    withdrawn = f"{built}/releases/{there['withdrawn']}"
    assert command("opt-out", "verify", there["receipts"][0], withdrawn).returncode == 1


def test_what_was_purged_is_not_there_any_more(small_recipe, built, command, mit):
    assert command("opt-out", "add", built, "--owner", "bolt").returncode == 0
    done = command("opt-out", "apply", built, "--purge", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said["purged"]["releases"]) == 1
    store = Store.at(built)
    assert {name.split("/")[1] for name in store.names("releases")} == {said["release"].rpartition("/")[2]}
    record = read_build(store)
    used = {part.name for parts in record.tables.values() for part in parts}
    assert set(store.names("tables")) == used
    assert command("opt-out", "verify", said["receipts"][0], said["release"]).returncode == 0
    assert "would do nothing" in command("status", built).stdout


def test_a_folder_of_somebody_else_is_left_alone(small_recipe, build_at, place, command):
    Store.at(place).write("photos/cat.jpg", b"x")
    done = command("opt-out", "add", place, "--owner", "acme")
    assert done.returncode == 1
    assert f"{place} is not a workspace and not empty" in done.stderr
    assert Store.at(place).names("") == ["photos/cat.jpg"]
    assert f"{place} is not a workspace. Make one with" in command("status", place).stderr

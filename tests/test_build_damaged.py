"""Builds over damaged workspaces: the file is named, what was told to be done mends it, and nothing else changes."""

import json
import re
import shutil
from pathlib import Path

import pytest

from starsmith.cli import main
from starsmith.errors import StarsmithError

TABLES = ("documents", "contents", "texts", "annotations", "shingles", "bands", "facts", "ledger", "released", "data")


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory, build_into):
    workspace = tmp_path_factory.mktemp("built") / "w"
    build_into(corpus.recipe(), workspace, workers=0)
    return workspace


@pytest.fixture
def workspace(built, tmp_path):
    """A finished build that a test may spoil."""
    return shutil.copytree(built, tmp_path / "w")


def parts(workspace: Path, table: str) -> list[Path]:
    record = json.loads((workspace / "build.json").read_bytes())
    return [workspace / part["name"] for part in record["tables"][table]]


def flip(path: Path, share: float = 0.5) -> None:
    """Change one bit in place; the size stays."""
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def told(capfd, *command: str, code: int = 1) -> str:
    assert main(command) == code
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    return out + err


READ_FOR = {
    "contents": "data",
    "documents": "facts",
    "texts": "facts",
    "annotations": "facts",
    "shingles": "near",
    "licence_statements": "statements_by_origin",
    "facts": "ledger",
    "released": "data",
}
"""A table, and one that is made from it."""


@pytest.mark.parametrize("table", READ_FOR)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_build_names_the_damaged_part_and_mends_it(workspace, corpus, build_into, tree_digest, table, share):
    expected = tree_digest(workspace)
    damaged = parts(workspace, table)
    for path in damaged:
        # The first bytes of an Arrow file say what it is, and nobody reads them.
        flip(path, share or 0.5 * (table == "shingles"))
    for path in parts(workspace, READ_FOR[table]):
        path.unlink()
    with pytest.raises(StarsmithError, match=r"Delete it and run `starsmith build` again: it is made anew") as found:
        build_into(corpus.recipe(), workspace, workers=0)
    assert str(found.value).partition(" is damaged: its SHA-256 is ")[0] in map(str, damaged)
    for path in damaged:
        path.unlink()
    build_into(corpus.recipe(), workspace, workers=0)
    assert tree_digest(workspace) == expected


def test_worker_processes_tell_it_too(workspace, corpus, build_into):
    for path in parts(workspace, "contents"):
        flip(path)
    for path in parts(workspace, "data"):
        path.unlink()
    with pytest.raises(StarsmithError, match=r"contents/.* is damaged: its SHA-256 is"):
        build_into(corpus.recipe(), workspace, workers=2)


def test_a_damaged_release_file_is_replaced_with_its_part(workspace, corpus, build_into, tree_digest):
    expected = tree_digest(workspace)
    part = parts(workspace, "data")[0]
    (release,) = (workspace / "releases").iterdir()
    linked = release / "data" / f"{part.name.rpartition('-')[0]}.parquet"
    # Copying the workspace made two files of one.
    linked.unlink()
    linked.hardlink_to(part)
    flip(part)
    assert linked.read_bytes() == part.read_bytes()
    part.unlink()
    assert build_into(corpus.recipe(), workspace, workers=0).worked == 1
    assert tree_digest(workspace) == expected


@pytest.mark.parametrize("table", ["counts", "by_origin", "facts", "ledger", "origins", "texts"])
def test_questions_name_the_damaged_part(workspace, capfd, table):
    for path in parts(workspace, table):
        flip(path)
    commands = {
        "status": ["status", str(workspace)],
        "report": ["report", str(workspace), "--out", str(workspace.parent / "report.html")],
        "why": ["why", str(workspace), "acme/alpha:src/m1.py"],
    }
    asked = {"counts": "status", "by_origin": "report"}.get(table, "why")
    # Status shows what it can of the record alone, and says what a build would end with.
    said = told(capfd, *commands[asked])
    assert re.search(rf"tables/{table}/.* is damaged: its SHA-256 is", said)
    for command in commands.values():
        main(command)
        assert "Traceback" not in "".join(capfd.readouterr())
    assert "Removed 0 files" in told(capfd, "gc", str(workspace), code=0)


def test_a_snippet_names_a_damaged_part(workspace, capfd, monkeypatch, tmp_path):
    for path in parts(workspace, "shingles"):
        flip(path)
    (tmp_path / "code.py").write_text("def first(second, third):\n    return second.third(first, second, third)\n" * 5)
    assert re.search(r"shingles/.* is damaged: its SHA-256", told(capfd, "why", str(workspace), f"{tmp_path}/code.py"))


# ---- status


def test_status_names_what_is_missing_or_cut_without_reading_it(workspace, capfd):
    (release,) = (workspace / "releases").iterdir()
    gone, cut, card = parts(workspace, "contents")[0], parts(workspace, "texts")[0], release / "README.md"
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    card.write_bytes(b"x")
    said = told(capfd, "status", str(workspace))
    assert f"{gone} is missing" in said
    assert f"{cut} is damaged: it has" in said
    assert f"{card} is damaged: it has 1 bytes" in said
    assert "starsmith: 3 files of the last build are missing or damaged" in said
    plain = json.loads(told(capfd, "status", str(workspace), "--json").partition("starsmith: ")[0])
    assert sorted(line.partition(" is ")[0] for line in plain["damaged"]) == sorted(map(str, (gone, cut, card)))


def test_status_of_a_sound_workspace(workspace, capfd):
    assert json.loads(told(capfd, "status", str(workspace), "--json", code=0))["damaged"] == []
    assert "missing or damaged" not in told(capfd, "status", str(workspace), code=0)


# ---- status --verify


def test_a_sound_workspace(workspace, capfd):
    assert re.search(
        r"Verified  \d+ files, [\d,]+ bytes: all as recorded", told(capfd, "status", str(workspace), "--verify", code=0)
    )
    plain = json.loads(told(capfd, "status", str(workspace), "--verify", "--json", code=0))
    assert plain["verified"]["problems"] == []
    assert plain["verified"]["files"] > 100


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_every_damaged_part_is_named(workspace, capfd, table, share):
    (path, *_) = parts(workspace, table)
    flip(path, share)
    out = told(capfd, "status", str(workspace), "--verify")
    assert f"{path} is damaged: its SHA-256 is " in out
    assert f"1 of {len(json.loads((workspace / 'build.json').read_bytes())['records'])}" not in out
    assert "files in" in out


def test_everything_that_can_be_wrong_is_named(workspace, capfd):
    (release,) = (workspace / "releases").iterdir()
    record = json.loads((workspace / "build.json").read_bytes())
    first, second = (path for path in parts(workspace, "contents")[:2])
    swapped = first.read_bytes(), second.read_bytes()
    first.write_bytes(swapped[1])
    second.write_bytes(swapped[0])
    (short, gone) = parts(workspace, "texts")[:2]
    short.write_bytes(short.read_bytes()[:-1])
    gone.unlink()
    zeroed = parts(workspace, "data")[0]
    zeroed.write_bytes(bytes(zeroed.stat().st_size))
    (release / "README.md").write_bytes(b"x")
    lost, spoilt = (workspace / name for name in record["records"][:2])
    lost.unlink()
    flip(spoilt)
    wrong = [first, second, short, gone, zeroed, release / "README.md", lost, spoilt]
    found = json.loads(told(capfd, "status", str(workspace), "--verify", "--json").partition("starsmith: ")[0])
    problems = found["verified"]["problems"]
    assert len(problems) == len(wrong)
    assert all(any(line.startswith(f"{path} is ") for line in problems) for path in wrong)
    assert found["workspace"] == str(workspace)


@pytest.mark.parametrize(
    ("name", "words"), [("manifest.json", "the release's name says otherwise"), ("build.json", "damaged or of another")]
)
def test_what_lists_the_others_is_checked_itself(workspace, capfd, name, words):
    (release,) = (workspace / "releases").iterdir()
    path = (release if name == "manifest.json" else workspace) / name
    for share in (0.02, 0.5, 0.98):
        flip(path, share)
        assert words in told(capfd, "status", str(workspace), "--verify")
        flip(path, share)


def test_workspace_json(workspace, capfd):
    (workspace / "workspace.json").write_bytes(b'{"format": \x00}')
    assert "workspace.json is damaged" in told(capfd, "status", str(workspace), "--verify")


def test_what_was_named_is_mended_by_what_was_told(workspace, corpus, capfd, build_into, tree_digest):
    """Delete every file that is named, build, and the workspace is as it was."""
    expected = tree_digest(workspace)
    (release,) = (workspace / "releases").iterdir()
    record = json.loads((workspace / "build.json").read_bytes())
    for path in [parts(workspace, table)[-1] for table in TABLES] + [
        workspace / record["records"][3],
        release / "manifest.json",
    ]:
        flip(path, 0.3)
    out = json.loads(told(capfd, "status", str(workspace), "--verify", "--json").partition("starsmith: ")[0])
    for line in out["verified"]["problems"]:
        Path(line.partition(" is ")[0]).unlink()
    build_into(corpus.recipe(), workspace, workers=0)
    assert tree_digest(workspace) == expected
    told(capfd, "status", str(workspace), "--verify", code=0)

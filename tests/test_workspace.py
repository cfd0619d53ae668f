"""Workspaces: what may become one, what is refused and left as it was, and what damage a build mends by itself."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from starsmith.build import status
from starsmith.document import DOCUMENTS
from starsmith.errors import StarsmithError
from starsmith.workspace import collect_garbage, open_store, read_build, writing


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory, build_into):
    workspace = tmp_path_factory.mktemp("built") / "w"
    build_into(corpus.recipe(), workspace, workers=0)
    return workspace


@pytest.fixture
def workspace(built, tmp_path):
    """A finished build that a test may spoil."""
    return shutil.copytree(built, tmp_path / "w")


def tree(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


# ---- what may become one


def test_new_and_empty_folders_may(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "deep/er"):
        with writing(tmp_path / name) as store:
            assert store.exists("workspace.json")
        assert open_store(tmp_path / name, create=False).root == str(tmp_path / name)


def test_what_a_killed_first_build_leaves_may(tmp_path):
    (tmp_path / "w/tmp").mkdir(parents=True)
    (tmp_path / "w/tmp/half").write_bytes(b"x")
    (tmp_path / "w/lock").write_bytes(b"process 1 on here")
    with writing(tmp_path / "w") as store:
        assert store.names("tmp") == []


@pytest.mark.parametrize("names", [["thesis.tex"], ["tmp/notes.txt"], ["lock", "thesis.tex"], ["tables/x.parquet"]])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path, names):
    for name in names:
        (tmp_path / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "w" / name).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(StarsmithError, match=r"not a workspace and not empty\. Choose another folder"):
        writing(tmp_path / "w").__enter__()
    with pytest.raises(StarsmithError, match=r"is not a workspace. Make one with `starsmith build"):
        open_store(tmp_path / "w", create=False)
    assert tree(tmp_path) == before


def test_a_file_is_refused(tmp_path):
    (tmp_path / "w").write_text("mine")
    with pytest.raises(StarsmithError, match=r"is a file. Choose a folder"):
        writing(tmp_path / "w").__enter__()
    with pytest.raises(StarsmithError, match=r"is not a workspace"):
        open_store(tmp_path / "w", create=False)
    with pytest.raises(StarsmithError, match=r"cannot be written|is a file"):
        writing(tmp_path / "w" / "below").__enter__()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"format": 2}', "of format 2; this version of Starsmith reads format 1"),
        (b'{"format": "x"}', "of format x"),
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (b"", "damaged"),
        (b"\xff\xfe", "damaged"),
    ],
)
def test_another_format_is_refused(workspace, content, message):
    (workspace / "workspace.json").write_bytes(content)
    before = tree(workspace)
    for act in (lambda: writing(workspace).__enter__(), lambda: open_store(workspace, create=False)):
        with pytest.raises(StarsmithError, match=message):
            act()
    after = tree(workspace)
    assert {**after, Path("lock"): None} == {**before, Path("lock"): None}


def test_a_folder_that_may_not_be_written():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for place, mode in (("open", 0o555), ("closed", 0o000)):
            (folder / place).mkdir()
            (folder / place).chmod(mode)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)  # root may write everywhere, so somebody else tries
        try:
            for place in (folder / "open", folder / "open/w", folder / "closed", folder / "closed/w"):
                with pytest.raises(StarsmithError, match=r"cannot be written: Permission denied. Choose another"):
                    writing(place).__enter__()
        finally:
            if is_root:
                os.seteuid(0)


def test_a_disk_that_is_read_only(small_disk, tmp_path):
    (tmp_path / "recipe.toml").write_text('[[source]]\nkind = "installed"\n')
    script = f"mount -o remount,ro disk\n{sys.executable} -m starsmith build recipe.toml --workspace disk/w; echo $?"
    done = small_disk(script, "1m")
    assert done.stdout == "1\n"
    assert "cannot be written: Read-only file system. Choose another workspace." in done.stderr


# ---- damage


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"stages": 1}', b'{"stages": [{"name": "collect"}]}', b"\xff"]
)
def test_a_damaged_build_record_is_told_and_mended(workspace, corpus, build_into, tree_digest, content):
    expected = tree_digest(workspace)
    (workspace / "build.json").write_bytes(content)
    with pytest.raises(StarsmithError, match=r"damaged or of another version. Run `starsmith build` again"):
        status(workspace)
    assert build_into(corpus.recipe(), workspace, workers=0).worked == 0
    assert tree_digest(workspace) == expected


def test_no_build_yet(tmp_path):
    with writing(tmp_path / "w") as store:
        pass
    with pytest.raises(StarsmithError, match=r"holds no finished build. Run `starsmith build` first"):
        read_build(store)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"outputs": []}', b'{"outputs": {"t": [1]}}', b"\xff\xff"]
)
@pytest.mark.parametrize("stage", ["collect", "annotate", "sql", "release"])
def test_damaged_records_are_made_again(workspace, corpus, build_into, tree_digest, stage, content):
    expected = tree_digest(workspace)
    damaged = sorted((workspace / "records" / stage).rglob("*.json"))[:2]
    for path in damaged:
        path.write_bytes(content)
    assert build_into(corpus.recipe(), workspace, workers=0).worked == len(damaged)
    assert tree_digest(workspace) == expected
    assert all(json.loads(path.read_bytes())["final"] for path in damaged)


def test_a_record_under_the_name_of_another_is_none(workspace, corpus, build_into, tree_digest):
    expected = tree_digest(workspace)
    first, second = sorted((workspace / "records/collect").iterdir())[:2]
    shutil.copy(first, second)
    assert build_into(corpus.recipe(), workspace, workers=0).worked == 1
    assert tree_digest(workspace) == expected


def spoil(path, how):
    data = path.read_bytes()
    path.unlink()
    if how == "shorter":
        path.write_bytes(data[:-1])
    elif how == "longer":
        path.write_bytes(data + b"x")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "folder":
        path.mkdir()


@pytest.mark.parametrize("how", ["missing", "shorter", "longer", "empty"])
def test_parts_that_are_not_whole_are_made_again(workspace, corpus, build_into, tree_digest, how):
    expected = tree_digest(workspace)
    names = ("contents", "texts", "shingles", "facts", "ledger", "data", "origins")
    tables = {name: sorted((workspace / "tables" / name).iterdir()) for name in names}
    for found in tables.values():
        spoil(found[0], how)
    result = build_into(corpus.recipe(), workspace, workers=0)
    # Texts and shingles come from one piece of work; the origins are the driver's own and none.
    assert result.worked == len(names) - 2
    assert tree_digest(workspace) == expected


@pytest.mark.parametrize("how", ["missing", "shorter", "longer"])
def test_a_release_that_is_not_whole_is_completed(workspace, corpus, build_into, tree_digest, how):
    expected = tree_digest(workspace)
    (release,) = (workspace / "releases").iterdir()
    for path in [path for path in release.rglob("*") if path.is_file()]:
        spoil(path, how)
    assert build_into(corpus.recipe(), workspace, workers=0).worked == 0
    assert tree_digest(workspace) == expected


# ---- garbage


def test_garbage_is_what_the_last_build_does_not_need(workspace, corpus, build_into, tree_digest):
    first = tree_digest(workspace)
    build_into(corpus.recipe("[filters]\nmax_lines = 20"), workspace, workers=0)
    second = tree_digest(workspace)
    (workspace / "tables/texts/stray.parquet").write_bytes(b"x" * 100)
    (workspace / "releases/0123456789abcdef/data").mkdir(parents=True)
    (workspace / "releases/0123456789abcdef/data/x.parquet").write_bytes(b"half a release")
    before = sizes(workspace)
    with writing(workspace) as store:
        files, size = collect_garbage(store, read_build(store))
    after = sizes(workspace)
    assert (files, size) == (len(before) - len(after), sum(before.values()) - sum(after.values()))
    assert files > 3
    assert tree_digest(workspace) == second
    # The first release was finished: it stays, and whole.
    assert all((workspace / name).is_file() for name in first if name.startswith("releases/"))
    assert build_into(corpus.recipe("[filters]\nmax_lines = 20"), workspace, workers=0).worked == 0
    with writing(workspace) as store:
        assert collect_garbage(store, read_build(store)) == (0, 0)
    again = build_into(corpus.recipe(), workspace, workers=0)
    assert {stage.name: stage.ran for stage in again.record.stages}["annotate"] == 0, "the last build used them too"
    assert tree_digest(workspace) == first


def sizes(workspace):
    places = [workspace / name for name in ("tables", "records", "releases")]
    return {path: path.stat().st_size for place in places for path in place.rglob("*") if path.is_file()}


def test_a_table_beyond_the_end_of_the_build(corpus, tmp_path, build_into):
    build_into(corpus.recipe(), tmp_path / "w", workers=0, until="collect")
    record = read_build(open_store(tmp_path / "w", create=False))
    assert record.table("documents", DOCUMENTS).rows > 0
    with pytest.raises(StarsmithError, match=r"no table 'texts': its last build stopped after 'collect'"):
        record.table("texts", DOCUMENTS)

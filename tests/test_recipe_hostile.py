"""Recipes that point where no recipe should, and recipes made to be slow: an error that says what to do, at once."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from starsmith.cli import main
from starsmith.errors import StarsmithError
from starsmith.recipe import load, loads
from starsmith.settings_reader import MOST_CHARACTERS, MOST_IN_A_LINE

SECONDS = 20
"""Processor time that no error may take; each takes less than one second."""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with one of everything that is neither a file nor a folder."""
    os.mkfifo(tmp_path / "pipe")
    os.symlink("loop", tmp_path / "loop")
    os.symlink("nowhere", tmp_path / "dangling")
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("mine")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
    return tmp_path


def recipe_file(folder: Path, text: str, source: str = 'kind = "git"\npath = "repositories"') -> Path:
    path = folder / "recipe.toml"
    path.write_text(f"{text}\n[[source]]\n{source}\n", encoding="utf-8")
    return path


def refused(capfd: pytest.CaptureFixture[str], path: Path) -> str:
    started = time.process_time()
    assert main(["build", str(path), "--workers", "1"]) == 1
    assert time.process_time() - started < SECONDS
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


# ---- workspaces


@pytest.mark.parametrize(
    ("workspace", "words"),
    [
        ("pipe", "is a file. Choose a folder for the workspace"),
        ("socket", "is a file. Choose a folder"),
        ("file", "is a file. Choose a folder"),
        ("/dev/null", "is a file. Choose a folder"),
        ("/dev/zero", "is a file. Choose a folder"),
        ("full", "is not a workspace and not empty. Choose another"),
        ("..", "lies in the workspace"),
        ("../..", "lies in the workspace"),
        ("../" * 20 + "etc", "is not a workspace and not empty. Choose another"),
        ("/dev", "is not a workspace and not empty. Choose another"),
        ("/proc", "is not a workspace and not empty. Choose another"),
        ("/", "lies in the workspace"),
        (".", "is the folder of the recipe itself"),
        ("loop", "cannot be written: File exists. Choose another workspace"),
        ("loop/w", "cannot be written: Too many levels of symbolic links. Choose another workspace"),
        ("dangling", "cannot be written: File exists. Choose another workspace"),
        ("file/w", "cannot be written: Not a directory. Choose another workspace"),
        ("x" * 300, "cannot be written: File name too long. Choose another workspace"),
        ("x/" * 3000, "cannot be written: File name too long. Choose another workspace"),
    ],
)
def test_a_workspace_that_cannot_be_one(capfd, odd, own_corpus, workspace, words):
    own_corpus.add("a/b", {"a.py": b"x = 1\n"})
    before = {path: path.is_file() and path.read_bytes() for path in odd.rglob("*")}
    err = refused(capfd, recipe_file(odd, f"workspace = {json.dumps(workspace)}"))
    assert words in err
    after = {path: path.is_file() and path.read_bytes() for path in odd.rglob("*") if path.name != "recipe.toml"}
    assert after == before


def test_a_workspace_behind_a_link_is_where_the_link_leads(odd, own_corpus, tree_digest):
    own_corpus.add("a/b", {f"{n}.py": b"x = %d\n" % n for n in range(3)})
    (odd / "elsewhere").mkdir()
    os.symlink("elsewhere", odd / "link")
    assert main(["build", str(recipe_file(odd, 'workspace = "link"')), "--workers", "1", "--json"]) == 0
    assert (odd / "link").is_symlink()
    assert tree_digest(odd / "elsewhere")


def test_a_workspace_named_from_right_to_left(odd, own_corpus):
    own_corpus.add("a/b", {f"{n}.py": b"x = %d\n" % n for n in range(3)})
    assert main(["build", str(recipe_file(odd, 'workspace = "\\u202ew"')), "--workers", "1"]) == 0
    assert (odd / "\u202ew" / "build.json").is_file()


def test_a_workspace_inside_a_source_is_not_collected(tmp_path, own_corpus, capfd):
    """Its own archives (what removals leave behind) would be documents of the next build."""
    import tarfile

    (tmp_path / "archives").mkdir()
    (tmp_path / "code.py").write_text("x = 1\n")
    with tarfile.open(tmp_path / "archives/code-1.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "code.py", "code-1.0/code.py")
    recipe = recipe_file(tmp_path, 'workspace = "archives/w"', 'kind = "archives"\npath = "archives"')
    assert main(["build", str(recipe), "--workers", "1", "--json"]) == 0
    first = json.loads(capfd.readouterr().out)
    (tmp_path / "archives/w/receipts").mkdir()
    data = (tmp_path / "archives/code-1.0.tar.gz").read_bytes()
    (tmp_path / "archives/w/receipts/delta.tar.gz").write_bytes(data)
    assert main(["build", str(recipe), "--workers", "1", "--json"]) == 0
    again = json.loads(capfd.readouterr().out)
    assert (again["ran"], again["release"]) == (0, first["release"])


@pytest.mark.parametrize("table", ["source", "metadata", "benchmark"])
@pytest.mark.parametrize("place", ["w", "w/tmp/mine", "elsewhere/../w/mine", "link/mine"])
def test_nothing_of_the_users_lies_in_the_workspace(tmp_path, table, place):
    (tmp_path / "w").mkdir()
    os.symlink("w", tmp_path / "link")
    key = {"source": "path", "metadata": "metadata", "benchmark": "path"}[table]
    text = 'workspace = "w"\n[[source]]\nkind = "git"\n'
    text += {
        "source": f'path = "{place}"',
        "metadata": f'path = "r"\nmetadata = "{place}"',
        "benchmark": f'path = "r"\n[[benchmark]]\nname = "humaneval"\npath = "{place}"',
    }[table]
    with pytest.raises(StarsmithError, match=rf"line \d+: {key} of .* lies in the workspace .*; move one of them"):
        loads(text, base=tmp_path, name="recipe.toml")


# ---- files that a recipe names


@pytest.mark.parametrize(
    "name", ["pipe", "socket", "/dev/zero", "/dev/null", "full", "loop", "dangling", "/proc/self/mem"]
)
def test_a_metadata_file_that_is_none(capfd, odd, own_corpus, name):
    own_corpus.add("a/b", {"a.py": b"x = 1\n"})
    recipe = recipe_file(odd, "", f'kind = "git"\npath = "repositories"\nmetadata = "{name}"')
    err = refused(capfd, recipe)
    assert "The metadata file" in err
    assert "expected a CSV or Parquet file" in err or "cannot be read" in err


@pytest.mark.parametrize("name", ["pipe", "socket", "/dev/zero", "/dev/null", "loop", "dangling", "full", "file"])
def test_a_benchmark_that_is_none(capfd, odd, own_corpus, name):
    own_corpus.add("a/b", {"a.py": b"def f():\n    return 1\n"})
    text = f'[[benchmark]]\nname = "humaneval"\npath = "{name}"'
    err = refused(capfd, recipe_file(odd, text))
    assert Path(name).name in err


def test_a_pipe_among_the_files_of_a_benchmark(capfd, odd, own_corpus):
    own_corpus.add("a/b", {"a.py": b"def f():\n    return 1\n"})
    (odd / "apps/1").mkdir(parents=True)
    os.mkfifo(odd / "apps/1/question.txt")
    err = refused(capfd, recipe_file(odd, '[[benchmark]]\nname = "apps"\npath = "apps"'))
    assert "question.txt is a pipe or device; expected a file" in err


@pytest.mark.parametrize("name", ["pipe", "socket", "/dev/zero", "loop", "dangling", "full"])
def test_a_probe_that_is_none(capfd, odd, own_corpus, name):
    own_corpus.add("a/b", {"a.py": b"x = 1\n"})
    err = refused(capfd, recipe_file(odd, f'[malware]\nclamd = "{odd}/no-clamd"\nprobe = "{name}"'))
    assert "The `probe` of [malware]" in err
    assert "expected a file that clamd must find" in err or "cannot be read" in err


@pytest.mark.parametrize("kind", ["git", "archives"])
@pytest.mark.parametrize("name", ["pipe", "socket", "/dev/zero", "/dev/null", "loop", "dangling", "/proc/self/mem"])
def test_a_source_that_is_none(capfd, odd, kind, name):
    err = refused(capfd, recipe_file(odd, "", f'kind = "{kind}"\npath = "{name}"'))
    assert Path(name).name in err


# ---- recipes themselves


@pytest.mark.parametrize("name", ["pipe", "socket", "/dev/zero", "full", "loop", "dangling"])
def test_a_recipe_that_is_no_file(odd, name):
    with pytest.raises(StarsmithError, match=r"expected a recipe|There is no recipe|cannot be read"):
        load(odd / name)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 200_000 + "a = 1\n",
        "[a." + "a." * 200_000 + "a]\n",
        "a = " + "[" * 100_000,
        "x = {a=" * 50_000,
        "#" * (5 << 20),
        'a = "' + "x" * (5 << 20) + '"\n',
        "[[source]]\n" * 200_000,
        ('[[source]]\nkind = "git"\npath = "r"\n' * 40_000)[: MOST_CHARACTERS - 1],
        "a." * (MOST_IN_A_LINE // 2 - 3) + "a = 1\n",
        ("a." * (MOST_IN_A_LINE // 2 - 8) + "a = 1\n") * 3,
        "x = " + "1" * 10_000,
        "\x00",
        '"\\u0000" = 1\n',
        "\\\n" * 100_000,
        "'''" * 30_000,
        '"""\n' * 30_000,
        "\u202e = 1\n",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_recipe_made_to_be_slow(tmp_path, text):
    started = time.process_time()
    with pytest.raises(StarsmithError) as found:
        loads(text, base=tmp_path, name="recipe.toml")
    assert time.process_time() - started < SECONDS
    assert len(str(found.value)) < 1000


def test_thousands_of_sources_are_a_recipe(tmp_path):
    text = "".join(f'[[source]]\nkind = "git"\npath = "repository-{number}"\n' for number in range(3_000))
    assert len(loads(text, base=tmp_path, name="recipe.toml").sources) == 3_000

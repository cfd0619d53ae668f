"""The command line: exit codes, what stands on which stream, and every command on good and on bad input."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from starsmith.cli import STAGES, main

USAGE, FAULT = 2, 1


@pytest.fixture
def inline(monkeypatch, inline_engine):
    """Builds that start no process."""
    monkeypatch.setattr("starsmith.build.LocalEngine", inline_engine)


@pytest.fixture
def cli(capsys):
    """Runs a command in this process; returns its exit code and what it wrote to both streams."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory, build_into):
    workspace = tmp_path_factory.mktemp("built") / "w"
    build_into(corpus.recipe(), workspace, workers=0)
    return workspace


@pytest.fixture
def workspace(built, tmp_path):
    return shutil.copytree(built, tmp_path / "w")


@pytest.fixture
def recipe(corpus, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(corpus.recipe())
    return file


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "starsmith", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def digest_of(folder):
    """Every file of a folder: its bytes and its time."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


# ---- the whole way


def test_from_an_empty_folder_to_an_answer(own_corpus, mit, source_code, tmp_path):
    """What a newcomer does, in processes of its own."""
    own_corpus.add("acme/one", {"LICENSE": mit, "src/a.py": source_code(1), "src/b.py": source_code(2)})
    own_corpus.add("acme/two", {"copy.py": source_code(1)})
    done = command("init", "mine.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace('path = "."', 'path = "repositories"'))
    done = command("build", "mine.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert "Traceback" not in done.stderr
    workspace = tmp_path / "mine.workspace"
    assert (workspace / "report.html").stat().st_size > 0
    done = command("status", "mine.workspace", "--json", cwd=tmp_path)
    status = json.loads(done.stdout)
    assert (status["rerun"], status["until"]) == (None, "release")
    done = command("why", "mine.workspace", "acme/one:src/a.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "MIT" in done.stdout
    done = command("why", "mine.workspace", "-", "--json", cwd=tmp_path, input=source_code(1).decode())
    assert done.returncode == 0
    assert json.loads(done.stdout)
    (workspace / "report.html").unlink()
    done = command("report", "mine.workspace", cwd=tmp_path)
    assert done.stdout.strip() == "mine.workspace/report.html"
    done = command("gc", "mine.workspace", cwd=tmp_path)
    assert done.stdout == "Removed 0 files, 0 bytes.\n"
    done = command("build", "mine.toml", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["ran"] == 0
    assert done.stderr == ""


# ---- streams


def test_json_is_all_there_is_on_standard_output(cli, inline, recipe, tmp_path, workspace, corpus):
    for arguments in (
        ("build", recipe, "--workspace", tmp_path / "new", "--json"),
        ("status", workspace, "--json"),
        ("why", workspace, "acme/alpha", "--json"),
        ("why", workspace, "acme/alpha:src/m1.py", "--json"),
        ("gc", workspace, "--json"),
    ):
        code, output, errors = cli(*arguments)
        assert (code, errors) == (0, ""), arguments
        assert isinstance(json.loads(output), dict)


def test_progress_and_errors_are_not_results(cli, inline, recipe, tmp_path):
    code, output, errors = cli("build", recipe, "--workspace", tmp_path / "new")
    assert code == 0
    assert "release" in output
    assert "describe origins" in errors
    code, output, errors = cli("build", tmp_path / "missing.toml")
    assert (code, output) == (FAULT, "")


def test_help_needs_nothing_heavy():
    heavy = "pyarrow numpy duckdb numba rich enry licenseclassifier chardet tomllib multiprocessing".split()
    code = f"""
import sys
from starsmith.cli import main
try:
    main(["--help"])
except SystemExit as error:
    assert error.code == 0
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    for name in ("init", "build", "status", "why", "report", "gc"):
        assert f" {name} " in done.stdout


def test_the_version(cli, capsys):
    from starsmith import __version__

    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"starsmith {__version__}\n")


def test_a_reader_that_has_seen_enough_is_no_error(built):
    done = subprocess.run(
        f"{sys.executable} -m starsmith why {built} acme/alpha --json | head -c 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("{0\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_an_error(built):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "starsmith", "why", str(built), "acme/alpha"], stdout=full, stderr=-1, check=False
        )
    assert done.returncode == FAULT
    assert done.stderr == b"starsmith: No space left on device.\n"


# ---- bad input

BAD_USAGE = [
    (),
    ("frobnicate",),
    ("build",),
    ("build", "a.toml", "b.toml"),
    ("build", "a.toml", "--workers", "0"),
    ("build", "a.toml", "--workers", "two"),
    ("build", "a.toml", "--workers", "-1"),
    ("build", "a.toml", "--until", "lunch"),
    ("build", "a.toml", "--jobs", "2"),
    ("init",),
    ("init", "a.toml", "b.toml"),
    ("init", "a.toml", "--json"),
    ("status",),
    ("status", "a", "b"),
    ("status", "a", "--workers", "1"),
    ("why",),
    ("why", "w"),
    ("why", "w", "a", "b"),
    ("report",),
    ("report", "w", "--out"),
    ("report", "w", "x"),
    ("gc",),
    ("gc", "w", "x"),
    ("gc", "w", "--force"),
]


@pytest.mark.parametrize("arguments", BAD_USAGE, ids=" ".join)
def test_bad_usage(cli, arguments):
    code, output, errors = cli(*arguments)
    assert (code, output) == (USAGE, "")
    assert errors.startswith("starsmith: ")
    assert "--help`." in errors
    assert errors.count("\n") == 1


@pytest.fixture(scope="module")
def bad(tmp_path_factory, built):
    """A folder with one of everything that is no good. It stays as it is, whatever is asked of it."""
    tmp_path = tmp_path_factory.mktemp("bad")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/file").write_text("mine")
    (tmp_path / "bad/folder").mkdir()
    (tmp_path / "bad/folder/file").write_text("mine")
    (tmp_path / "bad/latin.toml").write_bytes(b"# caf\xe9\n")
    (tmp_path / "bad/empty.toml").write_text("")
    (tmp_path / "bad/syntax.toml").write_text("[[source]\n")
    (tmp_path / "bad/key.toml").write_text('[[source]]\nkind = "git"\npath = "."\nmetdata = "x.csv"\n')
    (tmp_path / "bad/type.toml").write_text('[[source]]\nkind = "git"\npath = 3\n')
    (tmp_path / "bad/value.toml").write_text('[[source]]\nkind = "svn"\npath = "."\n')
    (tmp_path / "bad/nowhere.toml").write_text('[[source]]\nkind = "git"\npath = "no/such/folder"\n')
    (tmp_path / "bad/nothing.toml").write_text('[[source]]\nkind = "git"\npath = "folder"\n')
    (tmp_path / "bad/python.toml").write_text('[[source]]\nkind = "installed"\npath = "file"\n')
    (tmp_path / "bad/stars.toml").write_text('[[source]]\nkind = "git"\npath = "repository"\nmetadata = "file"\n')
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "bad/repository")], check=True)
    (tmp_path / "bad/none.toml").write_text('[[source]]\nkind = "git"\npath = "repository"\n')
    shutil.copytree(built, tmp_path / "bad/w")
    shutil.copytree(built, tmp_path / "bad/newer")
    (tmp_path / "bad/newer/workspace.json").write_text('{"format": 99}')
    (tmp_path / "bad/begun").mkdir()
    (tmp_path / "bad/begun/workspace.json").write_text('{"format": 1}')
    return tmp_path / "bad"


BAD_INPUT = [
    ("init file", "exists already"),
    ("init folder", "exists already"),
    ("init no/such/r.toml", "does not exist"),
    ("init file/r.toml", "does not exist"),
    ("build missing.toml", "starsmith init"),
    ("build folder", "is a folder"),
    ("build latin.toml", "line 1"),
    ("build empty.toml", "source"),
    ("build syntax.toml", "line 1"),
    ("build key.toml", "metadata"),
    ("build type.toml", "path"),
    ("build value.toml", "svn"),
    ("build nowhere.toml --workspace new", "does not exist"),
    ("build nothing.toml --workspace new", "no git repository"),
    ("build python.toml --workspace new", "python"),
    ("build stars.toml --workspace new", "metadata file"),
    ("build none.toml --workspace new", "no document"),
    ("build none.toml --workspace folder", "not a workspace and not empty"),
    ("build none.toml --workspace file", "is a file"),
    ("build none.toml --workspace file/w", "cannot be written"),
    ("build none.toml --workspace newer", "of format 99"),
    ("status missing", "is not a workspace"),
    ("status folder", "is not a workspace"),
    ("status file", "is not a workspace"),
    ("status newer", "of format 99"),
    ("status begun", "no finished build"),
    ("why missing acme/alpha", "is not a workspace"),
    ("why begun acme/alpha", "no finished build"),
    ("why w acme/alhpa", "did you mean acme/alpha"),
    ("why w acme/alpha:src/none.py", "no path"),
    ("why w swh:1:cnt:00", "not a SWHID"),
    (f"why w swh:1:cnt:{'0' * 40}", "no collected document"),
    ("why w folder", "is not in this workspace"),
    ("why w " + "x" * 5000, "is not in this workspace"),
    ("report missing", "is not a workspace"),
    ("report begun", "no finished build"),
    ("report w --out no/such/report.html", "report.html"),
    ("report w --out folder", "folder"),
    ("gc missing", "is not a workspace"),
    ("gc folder", "is not a workspace"),
    ("gc begun", "no finished build"),
    ("gc newer", "of format 99"),
]


@pytest.mark.parametrize(("line", "message"), BAD_INPUT, ids=[line[:40] for line, _ in BAD_INPUT])
def test_bad_input(cli, bad, monkeypatch, line, message, inline):
    monkeypatch.chdir(bad)
    before = digest_of(bad)
    code, output, errors = cli(*line.split())
    shutil.rmtree("new", ignore_errors=True)
    assert (code, output) == (FAULT, "")
    said = errors.splitlines()[-1]
    assert said.startswith("starsmith: ")
    assert message in said
    assert "Traceback" not in errors
    after = digest_of(bad)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {Path(name).name for name in changed} <= {"lock"}


def test_nothing_on_standard_input(workspace):
    done = command("why", workspace, "-", input="\n")
    assert (done.returncode, done.stdout) == (FAULT, "")
    assert "nothing on standard input" in done.stderr


def test_debug_shows_where_it_happened(tmp_path, cli):
    for arguments in (("--debug", "status", tmp_path), ("status", tmp_path, "--debug")):
        code, output, errors = cli(*arguments)
        assert (code, output) == (FAULT, "")
        assert errors.startswith("Traceback")
        assert "is not a workspace" in errors.splitlines()[-1]
    code, _, errors = cli("--debug", "build")
    assert code == USAGE
    assert "Traceback" in errors


# ---- stages


def test_until_each_stage(cli, inline, recipe, tmp_path):
    expected = {"collect": "documents", "annotate": "texts", "decide": "ledger", "release": "data"}
    ran = []
    for number, until in enumerate(STAGES):
        code, output, _ = cli("build", recipe, "--workspace", tmp_path / "w", "--until", until, "--json")
        assert code == 0
        plain = json.loads(output)
        ran.append(plain["ran"])
        assert (plain["until"], plain["release"] is not None) == (until, until == "release")
        tables = {path.name for path in (tmp_path / "w/tables").iterdir()}
        assert {expected[stage] for stage in STAGES[: number + 1]} <= tables
        assert not {expected[stage] for stage in STAGES[number + 1 :]} & tables
        code, output, _ = cli("status", tmp_path / "w", "--json")
        assert (code, json.loads(output)["rerun"]) == (0, None)
    assert all(ran), "each stage had something left to do"
    code, _, errors = cli("why", tmp_path / "w", "acme/alpha")
    assert code == 0
    cli("build", recipe, "--workspace", tmp_path / "w", "--until", "annotate")
    code, _, errors = cli("why", tmp_path / "w", "acme/alpha")
    assert code == FAULT
    assert "stopped after 'annotate'" in errors


def test_status_says_what_a_second_build_would_do(own_corpus, mit, source_code, cli, inline, tmp_path):
    for number in range(8):
        files = {f"{i}.py": source_code(f"{number} {i}") for i in range(4)}
        own_corpus.add(f"o/r{number}", {"LICENSE": mit, **files})
    file = tmp_path / "r.toml"
    file.write_text(own_corpus.recipe(documents=8))
    workspace = tmp_path / "w"
    assert cli("build", file, "--workspace", workspace)[0] == 0
    items = json.loads(cli("status", workspace, "--json")[1])["stages"][0]["items"]

    def rerun(expected=0):
        before = digest_of(workspace)
        code, output, _ = cli("status", workspace, "--json")
        assert code == expected
        assert digest_of(workspace) == before, "looking writes nothing"
        return json.loads(output)["rerun"]

    assert rerun() is None
    assert items > 2
    own_corpus.add("o/r3", {"LICENSE": mit, **{f"{i}.py": source_code(f"new {i}") for i in range(4)}})
    assert rerun() == f"collect: 1 of {items} pieces of work, and what follows from them"
    for path in (workspace / "tables/ledger").iterdir():
        path.unlink()
    own_corpus.add("o/r3", {"LICENSE": mit, **{f"{i}.py": source_code(f"3 {i}") for i in range(4)}})
    assert rerun(expected=1) == "ledger: 1 of 1 pieces of work, and what follows from them"
    shutil.rmtree(own_corpus.folder)
    assert rerun(expected=1).startswith("fail: ")
    code, output, errors = cli("status", workspace)
    assert code == 1, "a table of the last build is gone"
    assert "collect" in output
    assert "missing or damaged" in errors


def test_garbage_goes_and_nothing_else(cli, inline, recipe, workspace, corpus, tmp_path):
    recipe.write_text(corpus.recipe("[filters]\nmax_lines = 20"))
    assert cli("build", recipe, "--workspace", workspace)[0] == 0
    code, output, _ = cli("gc", workspace, "--json")
    assert code == 0
    assert json.loads(output)["files"] > 0
    assert json.loads(output)["bytes"] > 0
    assert json.loads(cli("build", recipe, "--workspace", workspace, "--json")[1])["ran"] == 0
    assert json.loads(cli("gc", workspace, "--json")[1]) == {"files": 0, "bytes": 0}


def test_reading_while_another_process_builds(own_corpus, mit, source_code, tmp_path, build_into, cli):
    """The builder is stopped in the middle of its work, so that what is read is what it leaves in between."""
    own_corpus.add("a/first", {"LICENSE": mit, **{f"{i}.py": source_code(i) for i in range(9)}})
    file = tmp_path / "r.toml"
    file.write_text(own_corpus.recipe())
    workspace = tmp_path / "w"
    build_into(own_corpus.recipe(), workspace, workers=0)
    before = len(list((workspace / "records").rglob("*.json")))
    for number in range(6):
        own_corpus.add(f"b/r{number}", {"LICENSE": mit, "x.py": source_code(f"b{number}", lines=4000)})
    arguments = ["build", file, "--workspace", workspace, "--json"]
    builder = subprocess.Popen([sys.executable, "-m", "starsmith", *map(str, arguments)], stdout=-1, stderr=-1)
    try:
        while builder.poll() is None and len(list((workspace / "records").rglob("*.json"))) < before + 4:
            time.sleep(0.005)
        os.kill(builder.pid, signal.SIGSTOP)
        assert builder.poll() is None
        code, output, _ = cli("status", workspace, "--json")
        assert code == 0
        assert json.loads(output)["rerun"] is not None
        assert cli("why", workspace, "a/first:1.py")[0] == 0
        assert cli("report", workspace, "--out", tmp_path / "report.html")[0] == 0
        for refused in (("gc", workspace), arguments):
            code, _, errors = cli(*refused)
            assert code == FAULT
            assert f"is being written by process {builder.pid} on " in errors
    finally:
        os.kill(builder.pid, signal.SIGCONT)
        output, errors = builder.communicate(timeout=120)
    assert builder.returncode == 0, errors.decode()
    assert cli("why", workspace, "b/r1:x.py")[0] == 0
    assert json.loads(cli("status", workspace, "--json")[1])["rerun"] is None


def test_a_recipe_in_a_folder_that_is_not_utf8(cli, inline, corpus, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "r.toml").write_text(corpus.recipe())
    assert cli("build", folder / "r.toml", "--workspace", tmp_path / "w", "--json")[0] == 0
    assert json.loads(cli("status", tmp_path / "w", "--json")[1])["rerun"] is None


@pytest.mark.parametrize("name", [b"with space", "größe".encode(), b"new\nline", b"back\\slash", b"%41?#", b"caf\xe9"])
def test_odd_names_of_workspaces(cli, inline, recipe, tmp_path, name):
    workspace = tmp_path / os.fsdecode(name)
    code, _, errors = cli("build", recipe, "--workspace", workspace, "--until", "collect", "--json")
    if name == b"caf\xe9":
        assert code == FAULT
        assert "UTF-8" in errors
        assert "Traceback" not in errors
        assert not workspace.exists()
    else:
        assert (code, errors) == (0, "")
        assert cli("status", workspace, "--json")[0] == 0

"""The commands of `opt-out`: what they print, what they put on the list, and how they fail."""

import json
from pathlib import Path

import pytest

from starsmith.cli import main

SECRET = "hunter2"


@pytest.fixture
def cli(capsys):
    """Runs a command of `opt-out` in this process; returns its exit code and what it wrote to both streams."""

    def run(*arguments):
        code = main(["opt-out", *(str(argument) for argument in arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def listed(cli, tmp_path):
    def show():
        code, out, _ = cli("list", tmp_path / "w", "--json")
        assert code == 0
        return [(each["kind"], each["value"], each["aliases"]) for each in json.loads(out)["requests"]]

    return show


def test_a_list_may_begin_before_the_first_build(cli, tmp_path, listed):
    workspace = tmp_path / "w"
    assert cli("add", workspace, "--owner", "Acme", "--alias", "old", "--alias", "older", "--note", "by mail") == (
        0,
        "The request was put on the list; it holds 1.\n",
        "",
    )
    assert cli("add", workspace, "--owner", "Acme")[1] == "The list has this request already; it holds 1.\n"
    for option, value in (
        ("--repo", "a/b"),
        ("--origin", "git@github.com:a/c.git"),
        ("--swhid", f"swh:1:cnt:{'0' * 40}"),
    ):
        code, out, _ = cli("add", workspace, option, value, "--json")
        assert (code, json.loads(out)["changed"]) == (0, True)
    assert listed() == [
        ("owner", "Acme", ["old", "older"]),
        ("repository", "a/b", []),
        ("origin", "https://github.com/a/c", []),
        ("swhid", f"swh:1:cnt:{'0' * 40}", []),
    ]
    code, out, _ = cli("list", workspace)
    assert code == 0
    first, *_ = out.splitlines()
    assert first[10:] == "  owner       Acme, formerly old, older  (by mail)"


def test_an_empty_list(cli, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w/workspace.json").write_text('{"format": 1}')
    assert cli("list", tmp_path / "w") == (0, "Nobody has asked to be left out.\n", "")
    code, out, _ = cli("list", tmp_path / "w", "--json")
    assert (code, json.loads(out)) == (0, {"requests": [], "contents": 0})


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "COMMAND"),
        (["add", "{w}"], 2, "--owner --repo --origin --swhid is required"),
        (["add", "{w}", "--owner", "a", "--repo", "a/b"], 2, "not allowed with"),
        (["add", "{w}", "--owner", ""], 1, "The owner is empty"),
        (["add", "{w}", "--origin", f"https://me:{SECRET}@example.org/x"], 1, "holds a password"),
        (["import", "{w}", "{w}/missing"], 1, "missing cannot be read: No such file"),
        (["list", "{w}"], 1, "is not a workspace"),
    ],
)
def test_what_is_refused_makes_no_workspace(cli, tmp_path, arguments, code, words):
    workspace = tmp_path / "w"
    found, out, err = cli(*(argument.replace("{w}", str(workspace)) for argument in arguments))
    assert (found, out) == (code, "")
    assert words in err
    assert SECRET not in err
    assert not workspace.exists()


def test_import_names_bad_lines_and_takes_the_others(cli, tmp_path, listed):
    file = tmp_path / "requests.csv"
    file.write_text("owner,repo\nacme,\nacme,\n,nobody\n,a/b\n")
    code, out, err = cli("import", tmp_path / "w", file)
    assert (code, out) == (1, "2 taken, 1 known already, 1 bad line.\n")
    named, summary = err.splitlines()
    assert named.startswith(f"{file}, line 4: 'nobody' names no owner")
    assert summary == f"starsmith: {file} has 1 bad line; what is well formed was taken."
    assert listed() == [("owner", "acme", []), ("repository", "a/b", [])]

    code, out, err = cli("import", tmp_path / "w", file, "--json")
    answer = json.loads(out)
    assert (code, answer["taken"], answer["known"], answer["requests"]) == (1, 0, 3, 2)
    assert [each["line"] for each in answer["bad"]] == [4]

    file.write_text("owner\nother\n")
    assert cli("import", tmp_path / "w", file) == (0, "1 taken, 0 known already, 0 bad lines.\n", "")


def test_names_cannot_command_the_terminal(cli, tmp_path):
    cli("add", tmp_path / "w", "--owner", "a", "--note", "\u202egnirts")
    assert "\\u202egnirts" in cli("list", tmp_path / "w")[1]


def test_a_damaged_list_ends_every_command(cli, tmp_path):
    workspace = tmp_path / "w"
    cli("add", workspace, "--owner", "a")
    (workspace / "opt_outs/requests.json").write_text("{")
    file = tmp_path / "requests.csv"
    file.write_text("owner\nb\n")
    for arguments in (("list", workspace), ("add", workspace, "--owner", "b"), ("import", workspace, file)):
        code, out, err = cli(*arguments)
        assert (code, out) == (1, "")
        assert "requests.json is damaged" in err


def test_a_folder_of_somebody_else(cli, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w/thesis.tex").write_text("mine")
    assert cli("add", tmp_path / "w", "--owner", "a")[0] == 1
    assert [path.name for path in Path(tmp_path / "w").iterdir()] == ["thesis.tex"]

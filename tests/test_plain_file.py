"""Files that somebody names: what is no file is refused in words, and waited for by nobody."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from starsmith.errors import StarsmithError
from starsmith.govern.look_up import LookUp
from starsmith.govern.opt_out_file import read_file
from starsmith.govern.patch import patch
from starsmith.govern.receipt import load as load_receipt
from starsmith.plain_file import open_plain, read_plain
from starsmith.recipe import load as load_recipe


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_file_is_read_and_so_is_a_link_to_one(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_plain(tmp_path / "file") == read_plain(tmp_path / "link") == b"content"
    with open_plain(tmp_path / "file") as file:
        assert file.read() == b"content"
    assert read_plain(tmp_path / "file", most=7) == b"content"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pipe", "is a pipe or device; expected a file."),
        (".", "is a folder; expected a file."),
        ("/dev/zero", "is a pipe or device; expected a file."),
        ("missing", "cannot be read: No such file or directory."),
        ("loop", "cannot be read: Too many levels of symbolic links."),
    ],
)
def test_what_is_no_file_is_refused(pipe, name, words):
    (pipe.parent / "loop").symlink_to("loop")
    path = pipe.parent / name
    with pytest.raises(StarsmithError) as raised:
        read_plain(path)
    assert str(raised.value) == f"{path} {words}"


def test_errors_say_what_the_file_was_to_be(pipe):
    with pytest.raises(StarsmithError) as raised:
        open_plain(pipe, name="The list of wishes", expected="one wish a line")
    assert str(raised.value) == "The list of wishes is a pipe or device; expected one wish a line."


def test_a_large_file_is_not_read(tmp_path):
    os.truncate(os.open(tmp_path / "large", os.O_CREAT | os.O_WRONLY), 1 << 40)
    with pytest.raises(StarsmithError, match="has 1,099,511,627,776 bytes; expected at most 10"):
        read_plain(tmp_path / "large", most=10)


NAMED: dict[str, Callable[[Path], object]] = {
    "recipe": load_recipe,
    "receipt": load_receipt,
    "opt-outs to import": lambda path: list(read_file(path)),
    "delta": lambda path: patch(path, path.parent, path.parent / "new", equal_rows=False),
    "file to ask about": LookUp.__new__(LookUp).file,
}
"""Beside these recipes name benchmarks, metadata, lists of sources and a probe: `test_recipe_hostile`."""


@pytest.mark.parametrize("what", NAMED)
def test_no_pipe_is_waited_for(pipe, what):
    with pytest.raises(StarsmithError, match="pipe is a pipe or device; expected"):
        NAMED[what](pipe)

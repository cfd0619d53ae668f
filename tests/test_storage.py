"""Objects appear whole or not at all, one writer at a time; a full disk costs a message and nothing else."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.disk import disk_errors
from starsmith.errors import StarsmithError
from starsmith.storage import Store, to_json


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "w"))


def test_an_object_is_published_whole(store):
    with pytest.raises(ZeroDivisionError), store.spool() as file:
        file.write(b"%d" % (1 // 0))
    assert store.names("") == []
    store.write("a/b", b"whole")
    assert (store.read("a/b"), store.size("a/b"), store.exists("a/b")) == (b"whole", 5, True)
    assert store.names("") == ["a/b"]
    assert (store.size("a"), store.exists("a"), store.exists("c")) == (None, False, False)


def test_equal_bytes_are_left_alone(store):
    store.write("a", b"x")
    before = os.stat(store.path("a")).st_ino
    store.write("a", b"x")
    assert os.stat(store.path("a")).st_ino == before
    store.write("a", b"y")
    assert store.read("a") == b"y"


def test_a_name_that_holds_its_digest(store):
    with store.spool() as file:
        file.write(b"")
        name, digest, size = store.publish_digested(file, "t/{digest}.x")
    assert digest == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (name, size) == (f"t/{digest[:32]}.x", 0)


def test_a_published_object_can_be_read_by_others(store):
    store.write("a", b"x")
    assert os.stat(store.path("a")).st_mode & 0o777 == 0o644


def test_a_copy_replaces_what_has_another_size(store):
    store.write("a", b"whole")
    store.write("b", b"half")
    store.copy("a", "b")
    assert store.read("b") == b"whole"
    store.copy("a", "c/d")
    assert store.read("c/d") == b"whole"


def test_a_copy_where_links_cannot_be_made(store, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(1, "Operation not permitted")

    store.write("a", b"whole")
    monkeypatch.setattr(os, "link", refuse)
    store.copy("a", "c/d")
    assert store.read("c/d") == b"whole"


def test_spooled_files_of_the_dead_are_cleared(store):
    store.write("a", b"x")
    (Path(store.root) / "tmp/spill").mkdir()
    (Path(store.root) / "tmp/half").write_bytes(b"x")
    (Path(store.root) / "tmp/spill/half").write_bytes(b"x")
    store.clear_spool()
    assert store.names("") == ["a"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(PLAIN)
def test_json_round_trip(value):
    assert json.loads(to_json(value)) == value


@given(st.dictionaries(st.text(), st.integers()), st.randoms(use_true_random=False))
def test_json_knows_no_order(value, chance):
    items = list(value.items())
    chance.shuffle(items)
    assert to_json(dict(items)) == to_json(value)


def test_json_of_a_path_that_is_not_utf8():
    path = os.fsdecode(b"caf\xe9")
    assert json.loads(to_json({"base": path})) == {"base": path}


# ---- one writer


def test_a_second_writer_is_told_who_the_first_is(store):
    with (
        store.lock(),
        pytest.raises(StarsmithError, match=f"written by process {os.getpid()} on {socket.gethostname()}"),
        store.lock(),
    ):
        pass
    with store.lock():
        pass


def test_a_killed_holder_does_not_block(store):
    code = f"""
        import os, sys, time
        from starsmith.storage import Store
        with Store({store.root!r}).lock():
            print("held", flush=True)
            time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StarsmithError, match=f"process {holder.pid} on "), store.lock():
            pass
        holder.kill()
        holder.wait()
        with store.lock():
            assert f"process {os.getpid()} " in (Path(store.root) / "lock").read_text()


# ---- a full disk


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (28, "full. Free some space"),
        (122, "full. Free some space"),
        (13, "cannot be written"),
        (30, "cannot be written"),
    ],
)
def test_errors_of_the_disk_say_what_to_do(number, expected):
    with pytest.raises(StarsmithError, match=expected) as caught, disk_errors("here"):
        raise OSError(number, os.strerror(number))
    assert "here" in str(caught.value)


def test_other_errors_are_not_the_disks():
    with pytest.raises(FileNotFoundError), disk_errors("here"):
        Path("/nowhere/at/all").read_bytes()


VERIFY = """
import hashlib, json, pathlib, sys
for manifest in pathlib.Path(sys.argv[1]).glob("releases/*/manifest.json"):
    for file in json.loads(manifest.read_bytes())["files"]:
        data = (manifest.parent / file["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"], file
    print("verified", manifest.parent.name)
"""


def test_a_full_disk_damages_nothing(own_corpus, mit, source_code, tmp_path, small_disk, build_into, tree_digest):
    """On ever larger disks: most stop the build, early or late; the first that is large enough ends it well."""
    own_corpus.add("a/a", {"LICENSE": mit, **{f"{i}.py": source_code(i) for i in range(10)}})
    (tmp_path / "recipe.toml").write_text(own_corpus.recipe())
    build_into(own_corpus.recipe(), tmp_path / "first", workers=0)
    own_corpus.add("b/b", {"LICENSE": mit, **{f"{i}.py": source_code(f"b{i}", lines=2000) for i in range(12)}})
    build_into(own_corpus.recipe(), tmp_path / "second", workers=0)
    (tmp_path / "verify.py").write_text(VERIFY)
    least, most = disk_use(tmp_path / "first"), disk_use(tmp_path / "second")
    sizes = [least + int((most - least) * share) for share in (0.1, 0.4, 0.7, 0.95)]
    script = f"""
        cp -r first disk/w
        for size in {" ".join(map(str, sizes))} {2 * most}; do
            mount -o remount,size=$size disk
            {sys.executable} -m starsmith build recipe.toml --workers 1 --workspace disk/w --json > output
            echo "exit $?"
            {sys.executable} verify.py disk/w || exit 1
        done
        cp -r disk/w copy
    """
    done = small_disk(script, "50m")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    exits = [line for line in lines if line.startswith("exit")]
    assert exits[0] == "exit 1"
    assert exits.index("exit 0") >= 3, "most of the disks are too small"
    messages = done.stderr.splitlines()
    assert len(messages) == exits.count("exit 1")
    assert {line for line in messages if "is full. Free some space and run the same command again" in line} == set(
        messages
    )
    assert lines.count("verified " + release_of(tmp_path / "first")) == len(exits)
    assert tree_digest(tmp_path / "copy") == tree_digest(tmp_path / "second")


def disk_use(folder):
    """The bytes of a folder on a disk of 4 KiB blocks."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def release_of(workspace):
    (release,) = (workspace / "releases").iterdir()
    return release.name

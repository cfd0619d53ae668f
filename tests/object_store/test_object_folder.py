"""Objects appear whole or not at all, on a real server too."""

import gc
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty_proxy import Fault

from starsmith import object_folder
from starsmith.errors import StarsmithError
from starsmith.storage import Store, StoredFile, located

MEGABYTE = 1 << 20


def test_an_object_is_published_whole(store):
    with pytest.raises(ZeroDivisionError), store.spool() as file:
        file.write(b"%d" % (1 // 0))
    assert store.names("") == []
    store.write("a/b", b"whole")
    assert (store.read("a/b"), store.size("a/b"), store.exists("a/b")) == (b"whole", 5, True)
    assert store.names("") == ["a/b"]
    assert (store.size("a"), store.exists("a"), store.exists("c"), store.changed("c")) == (None, False, False, None)


def test_equal_bytes_are_left_alone(store, proxy, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    seen = Store(store.root, "region=us-east-1")
    for data in (b"x", b"x", b"y"):
        seen.write("a", data)
    assert [line for line in proxy.requests if line.startswith("PUT")] == [f"PUT /{seen.key('a')}"] * 2
    assert seen.read("a") == b"y"


@pytest.mark.parametrize("size", [0, 1, 5 * MEGABYTE, 21 * MEGABYTE + 1])
def test_an_object_of_any_size(store, size):
    data = os.urandom(size)
    with store.spool() as file:
        file.write(data)
        name, digest, found = store.publish_digested(file, "t/{digest}.x")
    assert (digest, found) == (hashlib.sha256(data).hexdigest(), size)
    assert store.sha256(name) == digest
    assert store.read(name) == data
    assert store.sha256("none") is None


def test_copies_are_made_by_the_server(store, proxy, monkeypatch):
    store.write("a", b"whole")
    store.write("b", b"half")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    seen = Store(store.root, "region=us-east-1")
    for target in ("b", "c/d", "c/d"):
        seen.copy("a", target)
        assert store.read(target) == b"whole"
    written = [line for line in proxy.requests if line.startswith("PUT")]
    assert written == [f"PUT /{seen.key('b')}", f"PUT /{seen.key('c/d')}"], "what is copied already is not copied again"
    assert not any(line.startswith(f"GET /{seen.key('a')}") for line in proxy.requests)


def test_a_copy_that_is_too_large_for_the_server(store, monkeypatch):
    monkeypatch.setattr(object_folder, "_COPY_MOST", 3)
    store.write("a", b"whole")
    store.copy("a", "b")
    assert store.read("b") == b"whole"


def test_what_is_deleted_is_gone(store):
    for name in ("a/1", "a/b/2", "c"):
        store.write(name, b"x")
    store.delete("c")
    store.delete_folder("a")
    store.delete_folder("never")
    assert store.names("") == []


def test_names_of_another_workspace_are_not_ours(new_place):
    root = new_place()
    Store.at(f"{root}/one").write("a", b"x")
    Store.at(f"{root}/one-more").write("b", b"x")
    assert Store.at(f"{root}/one").names("") == ["a"]
    assert Store.at(root).entries() == {"one", "one-more"}


def test_a_store_goes_to_another_process(store):
    store.write("a", b"x")
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).read('a'))"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(store), capture_output=True, check=True)
    assert done.stdout == b"b'x'\n"


def test_a_mapped_object_is_fetched_once(store, proxy, monkeypatch):
    store.write("a", b"mapped")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    seen = Store(store.root, "region=us-east-1")
    for _ in range(3):
        with seen.map("a") as file:
            assert file.read() == b"mapped"
    assert len([line for line in proxy.requests if line.startswith("GET")]) == 1
    with pytest.raises(FileNotFoundError):
        seen.map("b")


def test_local_copies_make_room_and_what_is_mapped_stays(store, monkeypatch):
    monkeypatch.setattr(object_folder, "COPIES_BYTES", 2 * MEGABYTE)
    for number in range(4):
        store.write(f"{number}", bytes([number]) * MEGABYTE)
    files = [store.map(f"{number}") for number in range(4)]
    buffers = [file.read_buffer() for file in files]
    kept = sum(size for _, size in object_folder._COPIES.values())
    assert kept <= 2 * MEGABYTE
    gc.collect()
    assert [buffer.to_pybytes()[-1] for buffer in buffers] == [0, 1, 2, 3]


def test_an_object_that_has_changed_is_mapped_anew(store):
    store.write("a", b"one")
    with store.map("a") as file:
        assert file.read() == b"one"
    store.write("a", b"three")
    with store.map("a") as file:
        assert file.read() == b"three"


def test_a_file_or_an_object(store, place, tmp_path):
    store.write("r/a", b"x")
    found = located(f"{place}/r")
    assert isinstance(found, StoredFile)
    assert (found.is_dir(), found.exists(), (found / "a").exists(), str(found / "a")) == (
        True,
        False,
        True,
        f"{place}/r/a",
    )
    with (found / "a").open("rb") as file:
        assert file.read() == b"x"
    assert located(f"file://{tmp_path}/x") == located(f"{tmp_path}/x") == tmp_path / "x"


def test_no_bucket(new_place):
    new_place()
    with pytest.raises(StarsmithError, match="There is no bucket 'nobody-made-it' on http://127"):
        Store.at("s3://nobody-made-it/p").entries()


# ---- half an object


UPLOAD = """
import sys
from starsmith.storage import Store
store = Store.at(sys.argv[1])
with store.spool() as file:
    file.write(bytes(30 << 20))
    print("begins", flush=True)
    store.publish(file, "large")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_uploader_that_dies_leaves_no_object(proxied, proxy, number):
    """Killed between the parts of an upload: what the server has of it is no object."""
    proxy.faults = [Fault(r"PUT .*partNumber=2", seconds=3)]
    with subprocess.Popen(
        [sys.executable, "-c", UPLOAD, proxied], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as uploader:
        assert uploader.stdout.readline() == b"begins\n"
        wait_for(lambda: any("partNumber=2" in line for line in proxy.requests))
        uploader.send_signal(number)
        if number == signal.SIGINT:
            # Python is told when the upload has ended: the object is whole.
            uploader.wait(60)
            assert Store.at(proxied).size("large") == 30 << 20
            return
        uploader.wait(60)
    time.sleep(3.5)
    assert Store.at(proxied).size("large") is None
    assert Store.at(proxied).names("") == []


def test_an_upload_that_is_cut_leaves_no_object(proxied, proxy, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    proxy.faults = [Fault(r"PUT .*partNumber=2", cut=True)]
    store = Store.at(proxied)
    with store.spool() as file:
        file.write(bytes(30 * MEGABYTE))
        with pytest.raises(StarsmithError, match=rf"{proxied}/large.*tried 2 times"):
            store.publish(file, "large")
    with subprocess.Popen([sys.executable, "-c", UPLOAD, proxied], stderr=subprocess.PIPE) as uploader:
        assert b"tried 2 times" in uploader.communicate(timeout=60)[1], (
            "it has ended by itself, and its streams with it"
        )
    assert store.size("large") is None
    proxy.faults = []
    with store.spool() as file:
        file.write(bytes(30 * MEGABYTE))
        store.publish(file, "large")
    assert store.size("large") == 30 * MEGABYTE


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_nothing_of_ours_is_left_on_the_local_disk(store, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store.write("a", b"x")
    with store.map("a"):
        assert list(tmp_path.iterdir()) == []
    with store.scratch() as folder:
        (Path(folder) / "spilled").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []

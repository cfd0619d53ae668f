"""A network and a server that fail in the middle: retried, then told; a rerun ends with the same bytes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from faulty_proxy import Fault

from starsmith import object_store
from starsmith.errors import StarsmithError
from starsmith.storage import Store
from starsmith.workspace import BUILD_FILE

AGAIN = r"Run the same command again when the server answers: what was finished is not done again"


@pytest.fixture
def recipe_file(tiny_recipe, tmp_path):
    (tmp_path / "recipe.toml").write_text(tiny_recipe)
    return tmp_path / "recipe.toml"


@pytest.fixture
def start(recipe_file):
    """A function that starts a build in a process of its own."""
    with contextlib.ExitStack() as stack:

        def run(place, **environment):
            command = [sys.executable, "-m", "starsmith", "build", recipe_file, "--workspace", place, "--workers", "1"]
            started = stack.enter_context(
                subprocess.Popen(
                    [*command, "--json"],
                    env=os.environ | environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(started.kill)
            return started

        yield run


def wait_until(condition, process):
    """Wait until a condition holds while a process runs."""
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("it did not happen")


# ---- what passes


@pytest.mark.parametrize("status", [500, 503])
def test_errors_that_pass_are_not_noticed(tiny_recipe, build_at, proxied, proxy, digests, tiny_digests, status):
    proxy.faults = [
        Fault(r"^PUT .*/tables/annotations", times=2, status=status),
        Fault(r"^PUT .*/ledger/", times=1, cut=True),
        Fault(r"^HEAD ", times=1, status=status),
        Fault(r"^GET .*/records/", times=1, status=status),
    ]
    build_at(tiny_recipe, proxied)
    assert all(fault.seen == fault.times for fault in proxy.faults if "GET" not in fault.pattern)
    assert digests(proxied) == tiny_digests


def test_a_slow_network_is_only_slow(tiny_recipe, build_at, proxied, proxy, digests, tiny_digests):
    proxy.faults = [Fault(r"^PUT .*/tables/", seconds=0.2), Fault(r"^GET .*/tables/", seconds=0.05)]
    build_at(tiny_recipe, proxied)
    assert digests(proxied) == tiny_digests


def test_a_server_that_comes_back_in_time(start, place, object_server, digests, tiny_digests):
    process = start(place)
    wait_until(lambda: Store.at(place).names("tables/documents"), process)
    object_server.kill()
    time.sleep(1)
    object_server.start()
    assert process.wait(200) == 0, process.stderr.read()
    assert digests(place) == tiny_digests


# ---- what does not


@pytest.mark.parametrize(
    ("fault", "place_named"),
    [
        (Fault(r"^PUT .*/tables/texts/", status=503), "/tables/texts/"),
        (Fault(r"^PUT .*/releases/.*/data/", status=503), "/releases/"),
        (Fault(r"^PUT .*/manifest.json", cut=True), "/manifest.json"),
        (Fault(r"^GET .*/tables/documents/", status=503), "/tables/documents/"),
        (Fault(r"^PUT .*/build.json", status=503), "/build.json"),
    ],
    ids=lambda value: getattr(value, "pattern", ""),
)
def test_errors_that_stay(
    tiny_recipe, build_at, proxied, proxy, digests, tiny_digests, half_objects, monkeypatch, fault, place_named
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    proxy.faults = [fault]
    with pytest.raises(StarsmithError, match=rf"http://127.0.0.1:{proxy.port}, .*{AGAIN}") as caught:
        build_at(tiny_recipe, proxied)
    assert f" of {proxied}/" in str(caught.value)
    assert place_named in str(caught.value)
    assert fault.seen >= 2
    proxy.faults = []
    assert half_objects(proxied) == []
    assert not Store.at(proxied).exists(BUILD_FILE)
    assert Store.at(proxied).names("lock") == []
    build_at(tiny_recipe, proxied)
    assert digests(proxied) == tiny_digests


def test_a_server_that_says_nothing(proxied, proxy, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr(object_store, "SILENT_SECONDS", 1.0)
    store = Store.at(proxied)
    store.write("a", b"x")
    proxy.faults = [Fault(r"/a$", seconds=8)]
    started = time.monotonic()
    with pytest.raises(StarsmithError, match=AGAIN):
        store.read("a")
    assert time.monotonic() - started < 16


def test_nobody_is_there(new_place, command):
    done = command("status", new_place(), AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="2")
    assert done.returncode == 1
    assert "http://127.0.0.1:9, HeadObject of s3://corpora/" in done.stderr
    assert "tried 2 times. Run the same command again" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "environment", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "x"}]
)
def test_credentials_that_are_refused(new_place, command, recipe_file, environment):
    place = new_place()
    for arguments in (["status", place], ["build", recipe_file, "--workspace", place]):
        done = command(*arguments, **environment)
        assert done.returncode == 1
        assert "The credentials were refused. Set AWS_ACCESS_KEY_ID" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert environment["AWS_SECRET_ACCESS_KEY"] not in done.stderr.split()


def test_nobody_in_particular_is_refused(new_place, command):
    done = command("status", f"{new_place()}?anonymous=true")
    assert "The credentials were refused" in done.stderr


def test_a_bucket_that_is_not_there(new_place, command, object_server):
    new_place()
    done = command("status", "s3://not-there/p")
    assert done.stderr == (
        f"starsmith: There is no bucket 'not-there' on http://127.0.0.1:{object_server.port}; make it first, or "
        "correct the address.\n"
    )


def test_a_bucket_of_another_region(new_place, proxy, command):
    proxy.faults = [Fault("", status=301)]
    done = command("status", new_place(), AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")
    assert "The bucket is in another region than us-east-1: set AWS_REGION to its own." in done.stderr


# ---- what is killed


def test_a_server_that_is_killed_in_the_middle(
    start, place, object_server, build_at, tiny_recipe, digests, tiny_digests, half_objects
):
    process = start(place, AWS_MAX_ATTEMPTS="2")
    wait_until(lambda: Store.at(place).names("tables/documents"), process)
    object_server.kill()
    try:
        _, said = process.communicate(timeout=200)
    finally:
        object_server.start()
    assert process.returncode == 1
    assert "tried 2 times. Run the same command again when the server answers" in said.splitlines()[-1]
    assert half_objects(place) == []
    build_at(tiny_recipe, place)
    assert digests(place) == tiny_digests


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_build_that_is_killed(start, place, digests, tiny_digests, half_objects, number):
    """The next one does not wait for the claim of a process that it knows to be dead."""
    for table in ("documents", "ledger"):
        process = start(place)
        wait_until(lambda table=table: Store.at(place).names(f"tables/{table}"), process)
        process.send_signal(number)
        process.wait(60)
        assert half_objects(place) == []
    process = start(place)
    assert process.wait(200) == 0, process.stderr.read()
    assert digests(place) == tiny_digests


def test_two_builds_at_once(start, place, digests, tiny_digests):
    both = [start(place), start(place)]
    said = [process.communicate(timeout=200)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    (refused,) = [text for process, text in zip(both, said, strict=True) if process.returncode]
    assert f"The workspace {place} is being written by process " in refused
    assert digests(place) == tiny_digests


def test_two_that_ignore_each_other_break_nothing(tiny_recipe, build_at, place, digests, tiny_digests, monkeypatch):
    """What is left where a store lists late, or a machine that slept wakes up: both would write the same."""
    monkeypatch.setattr("starsmith.claims.Lease.take", lambda self: None)
    monkeypatch.setattr("starsmith.claims.Lease.release", lambda self: None)
    failed = []

    def run():
        try:
            build_at(tiny_recipe, place)
        except (OSError, StarsmithError, RuntimeError) as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert digests(place) == tiny_digests

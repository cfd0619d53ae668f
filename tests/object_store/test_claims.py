"""One writer at a time, as far as an object store can tell."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from faulty_proxy import Fault

from starsmith import claims
from starsmith.errors import StarsmithError
from starsmith.storage import Store

HOLD = """
import sys, time
from starsmith.storage import Store
with Store.at(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(600)
"""


def others_claim(store, name="0", **changes):
    """Put down a claim of another machine."""
    claim = {"process": 1, "host": "elsewhere", "boot": "b", "space": "s", "time": "t", "held": True} | changes
    store.write(f"lock/{name}.json", json.dumps(claim).encode())


def test_a_second_writer_is_told_who_the_first_is(store):
    with (
        store.lock(),
        pytest.raises(StarsmithError, match=f"written by process {os.getpid()} on {socket.gethostname()}"),
        store.lock(),
    ):
        pass
    assert store.names("lock") == []
    with store.lock():
        pass


def test_a_killed_holder_of_this_machine_does_not_block(store):
    with subprocess.Popen([sys.executable, "-c", HOLD, store.root], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StarsmithError, match=f"process {holder.pid} on "), store.lock():
            pass
        holder.kill()
        holder.wait()
        with store.lock():
            assert len(store.names("lock")) == 1


def test_a_holder_elsewhere_blocks_until_its_claim_is_stale(store, monkeypatch):
    others_claim(store)
    with (
        pytest.raises(StarsmithError, match=r"by process 1 on elsewhere.*run the same command again in 1"),
        store.lock(),
    ):
        pass
    assert store.names("lock") == ["lock/0.json"]
    monkeypatch.setattr(claims, "STALE_SECONDS", 2.0)
    time.sleep(3.1)
    with store.lock():
        assert "lock/0.json" not in store.names("lock")


def test_a_claim_that_is_none_blocks_nobody(store):
    store.write("lock/0.json", b"{}")
    with store.lock():
        pass


def test_a_claim_is_renewed(store, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(claims, "STALE_SECONDS", 4.0)
    with store.lock():
        time.sleep(6)
        with pytest.raises(StarsmithError, match="is being written by"), store.lock():
            pass


def test_of_two_that_want_it_the_earlier_name_waits_for_the_other(store):
    others_claim(store, "ffff", held=False)
    threading.Timer(1.5, store.delete, ["lock/ffff.json"]).start()
    with store.lock():
        assert store.names("lock") != ["lock/ffff.json"]
    others_claim(store, "0000", held=False)
    with pytest.raises(StarsmithError, match="is being written by"), store.lock():
        pass


def test_many_at_once_and_one_is_let_in(store):
    inside, refused, most = [], [], []

    def enter(number):
        try:
            with store.lock():
                inside.append(number)
                most.append(len(inside))
                time.sleep(1)
                inside.remove(number)
        except StarsmithError:
            refused.append(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most
    assert set(most) == {1}
    assert len(refused) + len(most) == 6


def test_whoever_has_lost_the_claim_writes_nothing_more(store, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    with store.lock():
        (own,) = store.names("lock")
        Store.at(store.root).delete(own)
        time.sleep(1.5)
        for act in (lambda: store.write("a", b"x"), lambda: store.copy("a", "b"), lambda: store.delete("a")):
            with pytest.raises(StarsmithError, match="somebody else has taken the workspace over"):
                act()
    assert store.names("") == []
    store.write("a", b"x")


def test_a_claim_that_cannot_be_renewed_in_time_is_lost(proxied, proxy, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(claims, "STALE_SECONDS", 1.5)
    store = Store.at(proxied)
    with store.lock():
        proxy.faults = [Fault(r"PUT .*/lock/", status=503)]
        time.sleep(3)
        proxy.faults = []
        with pytest.raises(StarsmithError, match=r"could not be renewed in time\. Nothing more was written"):
            store.write("a", b"x")

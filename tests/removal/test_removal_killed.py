"""Whatever ends a removal, and whenever: the next one, or the next build, ends where an undisturbed run does."""

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest

from starsmith.build import apply_opt_outs
from starsmith.govern.opt_out import Request
from starsmith.govern.verification import verify
from starsmith.progress import Quiet
from starsmith.storage import Store


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def undisturbed(removals, finished, tmp_path_factory, inline_engine):
    """What a run that nobody disturbs ends at, and how many steps on the disk it takes."""
    workspace = shutil.copytree(finished["own"], tmp_path_factory.mktemp("undisturbed") / "w")
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER), Request(kind="owner", value="nobody"))
    with mock.patch("starsmith.build.LocalEngine", inline_engine), steps() as counted:
        apply_opt_outs(workspace, purge=True, workers=2, reporter=Quiet())
    return workspace, counted


class steps:
    """Count what is done to the disk, and end everything at one step."""

    def __init__(self, last=None):
        self.last, self.count, self.patches = last, 0, []

    def __enter__(self):
        for name in ("publish", "delete", "delete_folder", "copy"):
            original = getattr(Store, name)

            def step(store, *arguments, original=original, **options):
                if self.count == self.last:
                    raise Killed
                self.count += 1
                return original(store, *arguments, **options)

            self.patches.append(mock.patch.object(Store, name, step))
            self.patches[-1].start()
        return self

    def __exit__(self, *error):
        for each in self.patches:
            each.stop()


def compare(removals, workspace, expected):
    assert not (workspace / "receipts/draft.json").exists()
    assert removals.files_of(removals.release_of(workspace)) == removals.files_of(removals.release_of(expected))
    ours, theirs = ({each.key: each for each in removals.receipts_of(place)} for place in (workspace, expected))
    assert ours.keys() == theirs.keys()
    assert len(removals.receipts_of(workspace)) == len(ours), "one receipt for each request"
    for key, receipt in ours.items():
        assert verify(receipt, removals.release_of(workspace)).holds
        assert dataclasses.replace(receipt, time="", purged=True) == dataclasses.replace(theirs[key], time="")


@pytest.mark.parametrize("number", range(14))
def test_ended_at_any_step(removals, repositories, workspace, undisturbed, apply, build_into, number):
    """The next apply, or the next build, ends where an undisturbed run does."""
    expected, counted = undisturbed
    chance = random.Random(f"step {number}")
    # Most of what is delicate comes last.
    last = chance.randrange(counted.count) if number < 6 else counted.count - 1 - chance.randrange(40)
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER), Request(kind="owner", value="nobody"))
    with pytest.raises(Killed), steps(last=last):
        apply(workspace, purge=True)
    if number % 2:
        build_into(removals.recipe_of(repositories), workspace, workers=0)
    apply(workspace, purge=not number % 3)
    compare(removals, workspace, expected)
    apply(workspace, purge=True)
    assert removals.found_in(workspace, removals.MARKER) == []
    compare(removals, workspace, expected)


@pytest.mark.parametrize("number", range(3))
def test_killed(removals, workspace, undisturbed, number):
    """kill -9, when so many more records are there, or the draft, or the first receipt."""
    expected, _ = undisturbed
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER), Request(kind="owner", value="nobody"))
    command = [sys.executable, "-m", "starsmith", "opt-out", "apply", str(workspace), "--workers", "1", "--json"]
    records = len(list((workspace / "records").rglob("*.json")))
    receipts = workspace / "receipts"
    moments = [
        lambda: (receipts / "draft.json").exists(),
        lambda: len(list((workspace / "records").rglob("*.json"))) > records + 5,
        lambda: len(list(receipts.glob("*.zip"))) > 0,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while not moments[number]() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["release"] == str(removals.release_of(workspace))
    compare(removals, workspace, expected)

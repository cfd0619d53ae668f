"""Whatever is killed, and whenever, the same command then ends at the bytes of an undisturbed run.

A moment is chosen by how far the build has come, in files published, and not by the clock: so it lies within the
build on a fast machine and on a busy one.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from starsmith.storage import Store

WAIT_SECONDS = 120


def published(workspace):
    """How many files lie in the workspace for good."""
    found = (workspace / place for place in ("tables", "records", "releases"))
    return sum(len(files) for place in found for _, _, files in os.walk(place))


def processes():
    """Every process as {id: (parent, command line)}."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(entry.name)] = parent, (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def descendants(process):
    known = processes()
    found = {process}
    while more := {child for child, (parent, _) in known.items() if parent in found} - found:
        found |= more
    return found - {process}


def is_alive(process):
    """Whether a process runs; a zombie that waits for whoever is to reap it does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def command(corpus, tmp_path_factory):
    """The arguments of a build of the small corpus, less the workspace."""
    recipe = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    recipe.write_text(corpus.recipe())
    return [sys.executable, "-m", "starsmith", "build", str(recipe), "--workers", "2", "--json", "--workspace"]


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory, build_into, tree_digest):
    """The files of a build that nothing happened to, and how many it published."""
    workspace = tmp_path_factory.mktemp("undisturbed") / "w"
    build_into(corpus.recipe(), workspace, workers=0)
    return tree_digest(workspace), published(workspace)


def start(command, workspace):
    return subprocess.Popen(
        [*command, str(workspace)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(command, workspace):
    done = subprocess.run([*command, str(workspace)], capture_output=True, check=False, timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stderr.decode()


def wait_until(condition, driver):
    """Wait until `condition()`; say whether it came true while the driver was still at work."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        if driver.poll() is not None:
            return False
        time.sleep(0.002)
    return driver.poll() is None


def reap(driver):
    driver.wait(WAIT_SECONDS)
    driver.stdout.close()
    driver.stderr.close()


def moments(count, total):
    """Random numbers of published files, one from each part of the build, with a delay each in seconds."""
    chance = random.Random("moments of death")
    return [(int((i + chance.random()) * 0.9 * total / count), chance.random() / 20) for i in range(count)]


@pytest.mark.parametrize("number", range(5))
def test_kill_the_driver(command, undisturbed, tmp_path, tree_digest, number):
    expected, total = undisturbed
    moment, delay = moments(5, total)[number]
    driver = start(command, tmp_path / "w")
    hit = wait_until(lambda: published(tmp_path / "w") >= moment, driver)
    time.sleep(delay)
    family = descendants(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    reap(driver)
    assert hit
    assert driver.returncode == -signal.SIGKILL
    assert published(tmp_path / "w") < total
    end = time.monotonic() + 20
    while survivors := {process for process in family if is_alive(process)}:
        assert time.monotonic() < end, f"still alive: {survivors}"
        time.sleep(0.05)
    finish(command, tmp_path / "w")
    assert tree_digest(tmp_path / "w") == expected
    assert Store(str(tmp_path / "w")).names("tmp") == []


def test_kill_everything_again_and_again(command, undisturbed, tmp_path, tree_digest):
    """The whole process group, five times in one workspace: each run goes on where the last one fell."""
    expected, total = undisturbed
    for moment, delay in moments(5, total):
        driver = start(command, tmp_path / "w")
        assert wait_until(lambda at=moment: published(tmp_path / "w") >= at, driver)
        time.sleep(delay)
        os.killpg(driver.pid, signal.SIGKILL)
        reap(driver)
        assert published(tmp_path / "w") < total
    finish(command, tmp_path / "w")
    assert tree_digest(tmp_path / "w") == expected
    assert Store(str(tmp_path / "w")).names("tmp") == []


@pytest.mark.parametrize("number", range(2))
def test_kill_a_worker(command, undisturbed, tmp_path, tree_digest, number):
    """The build itself goes on: at work or idle, a dead worker is replaced."""
    expected, total = undisturbed
    moment, delay = moments(2, total)[number]
    driver = start(command, tmp_path / "w")

    def workers():
        return sorted(
            process for process, (parent, line) in processes().items() if parent == driver.pid and b"spawn_main" in line
        )

    assert wait_until(lambda: published(tmp_path / "w") >= moment and workers(), driver)
    time.sleep(delay)
    for worker in workers()[: 1 + number]:
        os.kill(worker, signal.SIGKILL)
    _, errors = driver.communicate(timeout=WAIT_SECONDS)
    assert driver.returncode == 0, errors.decode()
    assert tree_digest(tmp_path / "w") == expected


def interrupted(command, workspace, total):
    """Interrupt a build in its middle; None if it was at its end before that could be done."""
    driver = start(command, workspace)
    assert wait_until(lambda: published(workspace) >= total // 3, driver)
    # This process may have been held up meanwhile: a driver that stands still can be looked at.
    os.kill(driver.pid, signal.SIGSTOP)
    is_amid = published(workspace) < total
    os.killpg(driver.pid, signal.SIGINT)
    os.kill(driver.pid, signal.SIGCONT)
    output, errors = driver.communicate(timeout=WAIT_SECONDS)
    return (driver.returncode, output.decode(), errors.decode()) if is_amid else None


def test_an_interrupted_build_says_how_to_go_on(command, undisturbed, tmp_path, tree_digest):
    expected, total = undisturbed
    tries = ((tmp_path / str(number), interrupted(command, tmp_path / str(number), total)) for number in range(5))
    workspace, ended = next(each for each in tries if each[1] is not None)
    assert ended == (130, "", "starsmith: interrupted. Run the same command again to go on.\n")
    finish(command, workspace)
    assert tree_digest(workspace) == expected

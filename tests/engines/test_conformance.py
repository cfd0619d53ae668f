"""Every engine makes the same bytes: the same recipe is built by each, and all that was made is compared.

Beside pairs of configurations, which run always, `make conformance` builds every profile with every configuration.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROFILES = ("stack-v2-fixed", "stack-v2")
SPARK = ["--engine", "spark", "--spark-conf", "spark.driver.memory=1g", "--spark-master"]
CONFIGURATIONS = {
    "local-1": ["--workers", "1"],
    "local-2": ["--workers", "2"],
    "local-7": ["--workers", "7"],
    "spark-local": [*SPARK, "local[2]"],
    "spark-cluster": [*SPARK, "local-cluster[2,1,1024]", "--spark-conf", "spark.executor.memory=1g"],
}
REFERENCE = "local-2"
PAIRS = [
    ("stack-v2-fixed", "local-1"),
    ("stack-v2-fixed", "local-7"),
    ("stack-v2-fixed", "spark-local"),
    ("stack-v2", "spark-cluster"),
]
MATRIX = [(profile, name) for profile in PROFILES for name in CONFIGURATIONS if name != REFERENCE]
CHOSEN = MATRIX if os.environ.get("STARSMITH_CONFORMANCE") == "full" else PAIRS
WAIT_SECONDS = 600

PROBLEM = '''def weighted_median(samples, weights):
    """ Return the value at which half of the weight of the samples lies below and half above it.
    """
'''
MAIL = b"# ask jane.roe@widgets-and-more.com at 52.14.201.7\n"


@pytest.fixture(scope="module")
def repositories(corpus, tmp_path_factory, mit, source_code):
    """The small corpus with secrets, a problem of a benchmark, and near-copies that take the place of what falls."""
    folder = shutil.copytree(corpus.folder, tmp_path_factory.mktemp("conformance") / "repositories")
    own = dataclasses.replace(corpus, folder=Path(folder))
    similar = [source_code("similar", lines=60) + b"# variant %d\n" % number for number in range(4)]
    secret = MAIL + b"password = 'tR4" + b"!vKq81zM'\n" + source_code("secret")
    own.add("scan/bad", {"LICENSE": mit, "bad.py": similar[0] + PROBLEM.encode(), "secret.py": secret})
    own.add(
        "scan/second", {"LICENSE": mit, "second.py": similar[2], "empty.py": b"", "caf\u00e9/\U0001f600.py": similar[3]}
    )
    own.add(
        "Scan/Third", {"third.py": similar[1], "a\\b.py": b"\n", "tab\there.py": source_code("tab"), "empty.py": b""}
    )
    return own


@pytest.fixture(scope="module")
def recipe_of(repositories, tmp_path_factory):
    """Write the recipe of a profile; return its path."""
    folder = tmp_path_factory.mktemp("recipes")
    row = {"task_id": "Own/1", "prompt": PROBLEM, "canonical_solution": "    return sorted(samples)[len(samples) // 2]"}
    (folder / "own.jsonl").write_text(json.dumps(row) + "\n")
    benchmark = f'[[benchmark]]\nname = "own"\npath = "{folder / "own.jsonl"}"\nprompt = "prompt"\n'

    def write(profile):
        path = folder / f"{profile}.toml"
        path.write_text(f'profile = "{profile}"\n{repositories.recipe(benchmark)}')
        return path

    return write


def command(recipe, workspace, name):
    return [
        sys.executable,
        "-m",
        "starsmith",
        "build",
        str(recipe),
        "--json",
        "--workspace",
        str(workspace),
        *CONFIGURATIONS[name],
    ]


def build(recipe, workspace, name):
    done = subprocess.run(command(recipe, workspace, name), capture_output=True, check=False, timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b"", "Spark says nothing of its own"
    return json.loads(done.stdout)


def made(workspace, tree_digest):
    """All that a build made and says of it, but for times and the name of the engine."""
    record = json.loads((workspace / "build.json").read_bytes())
    stages = [{**stage, "seconds": 0, "work_seconds": 0, "ran": 0, "moved": {}} for stage in record["stages"]]
    return {"files": tree_digest(workspace), "tables": record["tables"], "stages": stages, "notes": record["notes"]}


@pytest.fixture(scope="module")
def reference(recipe_of, tmp_path_factory, tree_digest):
    """What the reference makes of a profile; each is built once."""
    known = {}

    def get(profile):
        if profile not in known:
            workspace = tmp_path_factory.mktemp("reference") / "w"
            build(recipe_of(profile), workspace, REFERENCE)
            known[profile] = made(workspace, tree_digest)
        return known[profile]

    return get


@pytest.mark.parametrize(("profile", "name"), CHOSEN)
def test_equal_bytes(recipe_of, reference, tree_digest, tmp_path, request, profile, name):
    if name.startswith("spark"):
        request.getfixturevalue("jvm")
    build(recipe_of(profile), tmp_path / "w", name)
    assert made(tmp_path / "w", tree_digest) == reference(profile)


# ---- what is killed in the middle


def records(workspace, *kinds):
    """How many pieces of work of some kinds have been done; of all kinds if none is named."""
    places = [workspace / "records" / kind for kind in kinds] or [workspace / "records"]
    return sum(path.is_file() for place in places for path in place.rglob("*.json"))


def descendants(process):
    """Every process below one, as {id: command line}."""
    known = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                known[int(entry.name)] = parent, (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = {process}
    while more := {child for child, (parent, _) in known.items() if parent in found} - found:
        found |= more
    return {each: known[each][1] for each in found - {process}}


def is_alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start(recipe, workspace, name):
    arguments = command(recipe, workspace, name)
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def wait_until(condition, driver):
    """Wait until `condition()`, which must come true while the driver is at work."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        assert driver.poll() is None, driver.communicate()[1].decode()
        time.sleep(0.01)


def test_executors_are_killed(jvm, recipe_of, reference, tree_digest, tmp_path):
    """One in the middle of a map, another in the middle of the queries; the build goes on."""
    profile = "stack-v2-fixed"
    driver = start(recipe_of(profile), tmp_path / "w", "spark-cluster")
    killed = []

    def kill_one():
        executors = [
            process
            for process, line in descendants(driver.pid).items()
            if b"CoarseGrainedExecutorBackend" in line and process not in killed
        ]
        if executors:
            os.kill(executors[0], signal.SIGKILL)
            killed.append(executors[0])
        return bool(executors)

    try:
        wait_until(lambda: records(tmp_path / "w", "annotate") >= 2, driver)
        wait_until(kill_one, driver)
        wait_until(lambda: records(tmp_path / "w", "sql") >= 6, driver)
        wait_until(kill_one, driver)
        _, errors = driver.communicate(timeout=WAIT_SECONDS)
    finally:
        driver.kill()
    assert driver.returncode == 0, errors.decode()
    assert len(set(killed)) == 2
    assert made(tmp_path / "w", tree_digest) == reference(profile)


@pytest.mark.parametrize(("first", "second"), [("spark-local", "local-2"), ("local-2", "spark-local")])
def test_a_driver_is_killed_and_another_engine_goes_on(jvm, recipe_of, reference, tree_digest, tmp_path, first, second):
    profile = "stack-v2"
    driver = start(recipe_of(profile), tmp_path / "w", first)
    try:
        wait_until(lambda: records(tmp_path / "w", "sql") >= 4, driver)
        family = descendants(driver.pid)
    finally:
        driver.kill()
        driver.communicate()
    before = set((tmp_path / "w" / "records").rglob("*.json"))
    assert not (tmp_path / "w" / "build.json").exists()
    end = time.monotonic() + 60
    while survivors := {process for process in family if is_alive(process)}:
        assert time.monotonic() < end, f"still alive: {survivors}"
        time.sleep(0.05)
    times = {path: path.stat().st_mtime_ns for path in before}
    build(recipe_of(profile), tmp_path / "w", second)
    assert {path: path.stat().st_mtime_ns for path in before} == times, (
        "what one engine did the other does not do again"
    )
    assert made(tmp_path / "w", tree_digest) == reference(profile)
    assert json.loads((tmp_path / "w" / "build.json").read_bytes())["engine"] == second.partition("-")[0]


def test_a_finished_build_is_finished_on_every_engine(jvm, recipe_of, tmp_path):
    build(recipe_of("stack-v2"), tmp_path / "w", "local-2")
    record = (tmp_path / "w" / "build.json").read_bytes()
    assert build(recipe_of("stack-v2"), tmp_path / "w", "spark-local")["ran"] == 0
    assert (tmp_path / "w" / "build.json").read_bytes() == record

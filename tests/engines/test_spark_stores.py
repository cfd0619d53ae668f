"""Spark on an object store that refuses, is not there, or dies: told in words of the store, and a rerun goes on."""

import threading
import time

import pytest
from faulty_proxy import Fault, FaultyProxy

from starsmith.build import build
from starsmith.engines import SparkOptions, spark_session
from starsmith.errors import StarsmithError
from starsmith.progress import Quiet
from starsmith.recipe import loads
from starsmith.storage import Store
from starsmith.workspace import BUILD_FILE, open_store

AGAIN = r"tried 2 times\. Run the same command again when the server answers: what was finished is not done again"
REFUSED = r"The credentials were refused\. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


@pytest.fixture(scope="module")
def recipe(new_corpus, tmp_path_factory, mit, source_code):
    """Two repositories of a few files, in two shards."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny = new_corpus(folder=folder)
    files = {f"{number}.py": source_code(number) for number in range(4)}
    tiny.add("acme/one", {"LICENSE": mit, **files})
    tiny.add("bolt/two", {"LICENSE": mit, **files, "own.go": source_code("own", extension="go")})
    return loads(tiny.recipe(documents=4), base=folder)


@pytest.fixture
def build_here(recipe):
    """A function that builds on this machine."""
    return lambda place: build(recipe, workspace=place, workers=1, until="release", reporter=Quiet())


@pytest.fixture(scope="module")
def expected(recipe, made, tmp_path_factory):
    place = tmp_path_factory.mktemp("local") / "w"
    build(recipe, workspace=place, workers=1, until="release", reporter=Quiet())
    return made(place)


@pytest.fixture
def proxy(object_server):
    between = FaultyProxy(object_server.port)
    yield between
    between.close()


@pytest.fixture
def workers(spark, monkeypatch):
    """The environment of workers, which alone it is that differs from the driver's."""

    def change(**environment):
        for name, value in environment.items():
            monkeypatch.setitem(spark._session.sparkContext.environment, name, value)

    return change


def test_workers_whose_credentials_are_refused(spark, workers, build_on, recipe, new_place):
    place = new_place()
    workers(AWS_SECRET_ACCESS_KEY="wrong")
    with pytest.raises(StarsmithError, match=rf"^http://127\S+, \w+ of {place}/.+: .*{REFUSED}") as caught:
        build_on(spark, recipe, place)
    assert "wrong" not in str(caught.value)
    assert Store.at(place).names("tables") == []


def witnessed(spark, place):
    """Ask the executors what they see of a workspace, as every build on a cluster begins."""
    store = open_store(place, create=True)
    spark_session.check_executors(spark._session, store, "workspace.json")


def test_executors_are_asked_before_any_work(spark, workers, new_place):
    place = new_place()
    witnessed(spark, place)
    workers(AWS_SECRET_ACCESS_KEY="wrong")
    with pytest.raises(StarsmithError, match=rf"^The executor on \S+ does not reach the workspace: .*{REFUSED}"):
        witnessed(spark, place)


def test_executors_that_ask_another_server(spark, workers, new_place):
    workers(AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="2")
    with pytest.raises(StarsmithError, match=rf"does not reach the workspace: http://127\.0\.0\.1:9, .*{AGAIN}"):
        witnessed(spark, new_place())


def test_a_bucket_that_is_not_there(new_place, recipe, monkeypatch):
    """No JVM is started to find that out."""
    new_place()
    monkeypatch.setattr(spark_session, "start", None)
    with pytest.raises(StarsmithError, match=r"^There is no bucket 'not-there' on http://127\S+; make it first"):
        build(
            recipe,
            workspace="s3://not-there/p",
            workers=1,
            until="release",
            reporter=Quiet(),
            spark=SparkOptions(),
        )


@pytest.mark.parametrize(
    "pattern", [r"^PUT .*/tables/texts/", r"^PUT .*/tables/facts/", r"^GET .*/tables/annotations/"]
)
def test_a_server_that_fails_in_the_middle(
    spark, workers, build_on, build_here, recipe, made, expected, new_place, proxy, monkeypatch, pattern
):
    """In a task of a map, in a query's result, in what a query reads."""
    place = new_place()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    workers(AWS_MAX_ATTEMPTS="2")
    proxy.faults = [Fault(pattern, status=503)]
    through = f"{place}?endpoint_override=127.0.0.1:{proxy.port}&scheme=http"
    with pytest.raises(StarsmithError, match=rf"^http://127.0.0.1:{proxy.port}, \w+ of {place}/tables/\S+: .*{AGAIN}"):
        build_on(spark, recipe, through)
    assert not Store.at(place).exists(BUILD_FILE)
    build_here(place)
    assert made(place) == expected


def test_a_server_that_dies_in_the_middle(
    spark, workers, build_on, build_here, recipe, made, expected, new_place, object_server, monkeypatch
):
    place = new_place()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    workers(AWS_MAX_ATTEMPTS="2")
    killer = threading.Thread(target=kill_when, args=(object_server, Store.at(place), "records/annotate"))
    killer.start()
    try:
        with pytest.raises(StarsmithError, match=AGAIN):
            build_on(spark, recipe, place)
    finally:
        killer.join()
        object_server.start()
    # The claim could not be taken back, and the process that it names lives on.
    Store.at(place).delete_folder("lock")
    build_here(place)
    assert made(place) == expected


def kill_when(server, store, folder):
    """Kill the server when there is an object in a folder."""
    for _ in range(2400):
        if store.names(folder):
            break
        time.sleep(0.05)
    server.kill()

"""Builds on an object store, and what stands between them and it."""

import hashlib
import json
import re
import subprocess

import pytest
from faulty_proxy import FaultyProxy

from starsmith.build import build
from starsmith.cli import main
from starsmith.progress import Quiet
from starsmith.recipe import loads
from starsmith.storage import Store
from starsmith.workspace import open_store, read_build


@pytest.fixture
def proxy(object_server, monkeypatch):
    """A proxy before the server; whoever uses it reads AWS_ENDPOINT_URL after `new_place` has set it."""
    made = FaultyProxy(object_server.port)
    yield made
    made.close()


@pytest.fixture
def place(new_place):
    """The URI of an empty place on the server."""
    return new_place()


@pytest.fixture
def proxied(proxy, place, monkeypatch):
    """The URI of an empty place that is reached through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    return place


@pytest.fixture
def store(place):
    return Store.at(place)


def build_there(recipe_text, workspace, *, workers=0, inline=None, base):
    """Build into a workspace named by a URI, in this process alone unless there are `workers`."""
    from unittest import mock

    recipe = loads(recipe_text, base=base, name="recipe.toml")
    with mock.patch("starsmith.build.LocalEngine", inline) if not workers else mock.MagicMock():
        return build(recipe, workspace=workspace, workers=workers or 2, until="release", reporter=Quiet())


@pytest.fixture
def build_at(inline_engine, tmp_path):
    """A function that builds a recipe into a workspace named by a URI; with workers, or in this process alone."""

    def run(recipe_text, workspace, *, workers=0):
        return build_there(recipe_text, workspace, workers=workers, inline=inline_engine, base=tmp_path)

    return run


def digests(workspace):
    """Return the SHA-256 of every table part and release file of the latest build, read to the last byte."""
    store = open_store(workspace, create=False)
    record = read_build(store)
    names = {part.name for parts in record.tables.values() for part in parts}
    names |= {name for name in store.names(record.release) if not name.endswith("withdrawn.json")}
    return {name: store.sha256(name, fresh=True) for name in sorted(names)}


def half_objects(workspace):
    """Return every part that does not have the digest in its name, and every record that names a part not there."""
    store = Store.at(workspace)
    names = set(store.names(""))
    wrong = [
        name
        for name in names
        if name.startswith("tables/")
        and not store.sha256(name, fresh=True).startswith(re.search(r"([0-9a-f]{32})\.\w+$", name)[1])
    ]
    for name in names:
        if name.startswith("records/"):
            outputs = json.loads(store.read(name))["outputs"]
            wrong += [
                f"{name}: {part['name']}" for parts in outputs.values() for part in parts if part["name"] not in names
            ]
    return wrong


@pytest.fixture(scope="session")
def small_recipe(corpus):
    """The small corpus in two shards: fewer requests than in its own seven."""
    return corpus.recipe(documents=60)


@pytest.fixture(scope="session")
def tiny_recipe(new_corpus, tmp_path_factory, mit, source_code):
    """Two repositories of a few files, in shards of four documents."""
    tiny = new_corpus(folder=tmp_path_factory.mktemp("tiny"))
    files = {f"{number}.py": source_code(number) for number in range(4)}
    tiny.add("acme/one", {"LICENSE": mit, **files})
    tiny.add("bolt/two", {"LICENSE": mit, **files, "own.go": source_code("own", extension="go")})
    return tiny.recipe(documents=4)


@pytest.fixture(scope="session")
def tiny_digests(tiny_recipe, tmp_path_factory, inline_engine):
    """The digests of the tiny corpus, built on the local disk."""
    folder = tmp_path_factory.mktemp("local-tiny")
    build_there(tiny_recipe, folder / "w", inline=inline_engine, base=folder)
    return digests(folder / "w")


@pytest.fixture(scope="session")
def local_digests(small_recipe, tmp_path_factory, inline_engine):
    """The digests of the small corpus, built on the local disk."""
    folder = tmp_path_factory.mktemp("local")
    build_there(small_recipe, folder / "w", inline=inline_engine, base=folder)
    return digests(folder / "w")


@pytest.fixture
def command(capsys, monkeypatch):
    """A function that runs a command of Starsmith in this process; returns what it said and how it ended."""

    def run(*arguments, **environment):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            code = main([str(each) for each in arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(name="digests", scope="session")
def digests_fixture():
    return digests


@pytest.fixture(name="half_objects", scope="session")
def half_objects_fixture():
    return half_objects


@pytest.fixture(name="build_there", scope="session")
def build_there_fixture():
    return build_there

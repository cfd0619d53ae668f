"""A corpus with an owner who leaves, builds of it, and what can be asked of a workspace."""

import dataclasses
import gzip
import io
import shutil
import sqlite3
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starsmith.build import apply_opt_outs
from starsmith.govern import opt_out
from starsmith.govern.receipt import load
from starsmith.progress import Quiet
from starsmith.workspace import open_store, read_build, writing

MARKER = "zyxmarker"
"""In every content of the owner that leaves, and nowhere else."""
OWNER = "leavingowner"


class Removals:
    """What tests ask of a workspace."""

    OWNER = OWNER
    MARKER = MARKER

    @staticmethod
    def recipe_of(repositories, rule="own"):
        return repositories.recipe(f'[opt_out]\ncopies = "{rule}"')

    @staticmethod
    def ask(workspace, *requests):
        with writing(workspace) as store:
            opt_out.add_all(store, list(requests))

    @staticmethod
    def release_of(workspace):
        return workspace / str(read_build(open_store(workspace, create=False)).release)

    @staticmethod
    def files_of(folder):
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    @staticmethod
    def receipts_of(workspace):
        return [load(path) for path in sorted((workspace / "receipts").glob("*.json")) if path.name != "draft.json"]

    @staticmethod
    def found_in(folder, word):
        """Names of files below a folder that hold a word: as it lies there, or in anything that can be unpacked."""
        return sorted(name for name, data in Removals.files_of(folder).items() if holds(data, word, depth=4))


@pytest.fixture(scope="session")
def removals():
    """The functions above, for files that cannot import from here."""
    return Removals


@pytest.fixture(scope="session")
def repositories(corpus, tmp_path_factory, mit, source_code):
    """The small corpus with two repositories of one owner, whose files are released, dropped, or copied elsewhere."""
    folder = shutil.copytree(corpus.folder, tmp_path_factory.mktemp("removal") / "repositories")
    own = dataclasses.replace(corpus, folder=Path(folder))
    marked = {f"pathmarker/m{i}.py": source_code(f"mine {i}") + f"# {MARKER}{i}\n".encode() for i in range(5)}
    own.add(f"{OWNER}/first", {"LICENSE": mit, **marked, "shared.py": source_code("shared")})
    gpl = {"gpl.rs": b"// SPDX-License-Identifier: GPL-3.0-only\n" + f"// {MARKER}\n".encode()}
    wide = {"wide.py": (source_code("w").decode() + f"# {MARKER} caf\xe9\n").encode("utf-16")}
    long = {"long.py": source_code("own long", lines=3000) + f"# {MARKER}\n".encode()}
    own.add(f"{OWNER}/second", {"LICENSE": mit, **gpl, **wide, **long, "pathmarker.bin": b"\0" + MARKER.encode()})
    own.add("zz/keeper", {"LICENSE": mit, "kept/shared.py": source_code("shared"), "own.py": source_code("keeper")})
    return own


@pytest.fixture(scope="session")
def finished(repositories, tmp_path_factory, build_into):
    """One finished build for each rule, not to be changed."""
    made = {}
    for rule in ("own", "every"):
        made[rule] = tmp_path_factory.mktemp(rule) / "w"
        build_into(Removals.recipe_of(repositories, rule), made[rule], workers=0)
    return made


@pytest.fixture
def workspace(finished, tmp_path):
    return shutil.copytree(finished["own"], tmp_path / "w")


@pytest.fixture
def apply(inline_engine, monkeypatch):
    """Applies the list in this process."""
    monkeypatch.setattr("starsmith.build.LocalEngine", inline_engine)

    def run(workspace, *, purge=False):
        return apply_opt_outs(workspace, purge=purge, workers=2, reporter=Quiet())

    return run


def holds(data, word, *, depth):
    if any(word.encode(codec) in data for codec in ("utf-8", "utf-16-le", "utf-16-be")):
        return True
    return depth > 0 and any(holds(inner, word, depth=depth - 1) for inner in unpacked(data))


def unpacked(data):
    """Yield what is in a file of any kind that might lie in a workspace."""
    if data[:4] == b"PAR1":
        yield from values(pq.ParquetFile(io.BytesIO(data)).read())
    elif data[:6] == b"ARROW1":
        yield from values(pa.ipc.open_file(io.BytesIO(data)).read_all())
    elif data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif data[:4] == b"\x28\xb5\x2f\xfd":
        yield pa.CompressedInputStream(io.BytesIO(data), "zstd").read()
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:15] == b"SQLite format 3":
        connection = sqlite3.connect(":memory:")
        connection.deserialize(data)
        yield "\n".join(connection.iterdump()).encode()
    elif data[8:12] == b"DUCK":
        raise AssertionError("a database of DuckDB in a workspace: nobody looks into it here")


def values(table):
    for column in table.columns:
        for value in column.to_pylist():
            if isinstance(value, bytes):
                yield value
            elif value is not None:
                yield repr(value).encode()

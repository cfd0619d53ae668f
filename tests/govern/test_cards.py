"""The release folder: a manifest that says what was done and nothing of where, and a name that follows from it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from starsmith.govern.cards import read_manifest, settings_of
from starsmith.recipe import Recipe, loads
from starsmith.settings import FilterSettings, SourceSettings
from starsmith.workspace import BuildRecord, open_store, read_build

RECIPE = """
[[source]]
kind = "git"
path = "/somewhere/on/this/machine"
metadata = "~/known.csv"
commit_times = false

[[source]]
kind = "installed"
path = "/an/environment/bin/python"

[filters]
max_lines = 77
"""


@pytest.fixture
def recipe() -> Recipe:
    return loads(RECIPE, base=Path("/corpora"), name="mine.toml")


def test_settings_say_what_is_done_and_not_where(recipe: Recipe) -> None:
    settings = settings_of(recipe)
    assert settings["sources"] == [
        {"kind": "git", "standard_library": True, "commit_times": False},
        {"kind": "installed", "standard_library": True, "commit_times": True},
    ]
    assert settings["filters"]["max_lines"] == 77
    text = json.dumps(settings)
    for place in ("/somewhere", "known.csv", "/an/environment", "/corpora", "mine"):
        assert place not in text
    sources = (replace(recipe.sources[0], path="/else", metadata=""), recipe.sources[1])
    moved = replace(recipe, base=Path("/other"), workspace=Path("/other/w"), sources=sources)
    assert settings_of(moved) == settings
    assert settings_of(replace(recipe, filters=FilterSettings())) != settings
    assert settings_of(replace(recipe, sources=(SourceSettings(),))) != settings


@pytest.fixture(scope="module")
def record(small_workspace: Path) -> BuildRecord:
    return read_build(open_store(small_workspace, create=False))


@pytest.fixture(scope="module")
def manifest(small_workspace: Path, record: BuildRecord) -> dict[str, Any]:
    return read_manifest(open_store(small_workspace, create=False), str(record.release))


def test_a_release_is_named_by_the_digest_of_its_manifest(small_workspace: Path, record: BuildRecord) -> None:
    assert record.release is not None
    content = (small_workspace / record.release / "manifest.json").read_bytes()
    assert record.release == f"releases/{hashlib.sha256(content).hexdigest()[:16]}"


def test_the_manifest_lists_every_file_with_digest_size_and_rows(
    small_workspace: Path, record: BuildRecord, manifest: dict[str, Any]
) -> None:
    folder = small_workspace / str(record.release)
    listed = {file["path"]: file for file in manifest["files"]}
    assert set(listed) == {str(p.relative_to(folder)) for p in folder.rglob("*.*")} - {"manifest.json"}
    for name, file in listed.items():
        content = (folder / name).read_bytes()
        assert (file["sha256"], file["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        rows = pq.read_metadata(folder / name).num_rows if name.endswith(".parquet") else 0
        assert file["rows"] == rows
    assert manifest["documents"] == sum(file["rows"] for name, file in listed.items() if name.startswith("data/"))


def test_the_manifest_says_by_which_rules_and_versions(manifest: dict[str, Any], record: BuildRecord) -> None:
    assert manifest["format"] == 1
    assert (manifest["name"], manifest["profile"]) == ("small", "stack-v2-fixed")
    assert manifest["order"] == ["errors", "repository", "licence", "filters", "exact", "scan", "near"]
    assert manifest["versions"] == record.versions
    assert {"starsmith", "pyarrow", "encoding", "language", "licence"} <= set(manifest["versions"])
    assert manifest["recipe"] == settings_of(loads(record.recipe, base=Path(record.base)))


def test_no_time_or_place_is_in_the_manifest(small_workspace: Path, record: BuildRecord) -> None:
    text = (small_workspace / str(record.release) / "manifest.json").read_text()
    assert str(small_workspace.parent) not in text
    assert "seconds" not in text
    assert "workers" not in text


def test_release_files_are_the_tables_parts_under_plain_names(
    small_workspace: Path, record: BuildRecord, manifest: dict[str, Any]
) -> None:
    parts = {f"data/{part.shard}.parquet": part.digest for part in record.tables["data"]}
    assert {f["path"]: f["sha256"] for f in manifest["files"] if f["path"].startswith("data/")} == parts
    for part in record.tables["data"]:
        assert (small_workspace / part.name).exists(), "the table stays where its record says"


def test_without_the_ids_only_variant_there_is_no_folder_of_it(
    own_corpus: Any, mit: bytes, source_code: Callable[..., bytes], build_into: Callable[..., Any], tmp_path: Path
) -> None:
    own_corpus.add("a/b", {"LICENSE": mit, "x.py": source_code("x")})
    releases = []
    for setting in ("ids_only = false", "ids_only = true", 'name = "other"'):
        result = build_into(own_corpus.recipe("[release]", setting), tmp_path / "workspace", workers=0)
        releases.append(tmp_path / "workspace" / result.record.release)
    without, with_ids, other = releases
    assert not (without / "ids").exists()
    assert len(list((with_ids / "ids").iterdir())) == 1
    assert len(set(releases)) == 3
    # What is the same lies there once.
    (data,) = (without / "data").iterdir()
    assert (
        data.read_bytes() == (with_ids / "data" / data.name).read_bytes() == (other / "data" / data.name).read_bytes()
    )

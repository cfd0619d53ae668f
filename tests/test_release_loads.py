"""A release loads in the tools people use, by the very code its dataset card shows, and holds what the ledger kept."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from starsmith.document import content_id
from starsmith.govern.cards import read_manifest
from starsmith.govern.composition import Composition
from starsmith.release import DATA, IDS
from starsmith.workspace import BuildRecord, open_store, read_build


@pytest.fixture(scope="module")
def record(small_workspace) -> BuildRecord:
    return read_build(open_store(small_workspace, create=False))


@pytest.fixture(scope="module")
def release(small_workspace, record) -> Path:
    return small_workspace / str(record.release)


@pytest.fixture(scope="module")
def kept(small_workspace, record) -> int:
    return Composition.of_build(open_store(small_workspace, create=False), record).kept_documents


def shown_code(release: Path) -> dict[str, str]:
    """Return the Python blocks of the dataset card by the library each imports first."""
    blocks = re.findall(r"^```python\n(.*?)^```", (release / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return {block.split()[1].partition(".")[0]: block for block in blocks}


def run(code: str, release: Path, cache: Path) -> str:
    """Run code that speaks of RELEASE in a fresh interpreter, with datasets kept off the network."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", code.replace("RELEASE", str(release))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


ROWS = {
    "datasets": "print(documents.num_rows)",
    "pyarrow": "print(documents.num_rows)",
    "duckdb": "print(sum(files for _, files in documents))",
    "polars": "print(documents.height + 1)",  # all but pyproject.toml is Python
}


@pytest.mark.parametrize("library", ROWS)
def test_code_of_the_card(library, release, kept, tmp_path):
    assert run(shown_code(release)[library] + ROWS[library], release, tmp_path) == f"{kept}\n"


@pytest.fixture(scope="module")
def empty_release(tmp_path_factory, new_corpus, build_into) -> Path:
    """A release of which everything was left out."""
    folder = tmp_path_factory.mktemp("empty")
    corpus = new_corpus(folder=folder / "repositories")
    corpus.folder.mkdir()
    corpus.add("acme/nothing", {"empty.py": b""})
    result = build_into(corpus.recipe(), folder / "w", workers=0)
    return folder / "w" / str(result.record.release)


@pytest.mark.parametrize("library", ROWS)
def test_code_of_the_card_of_a_release_without_documents(library, empty_release, tmp_path):
    code = shown_code(empty_release)[library]
    rows = ROWS | {"datasets": "print(sum(1 for _ in documents))", "polars": "print(documents.height)"}
    assert run(code + rows[library], empty_release, tmp_path) == "0\n"


def test_a_release_without_documents_has_its_columns(empty_release):
    assert ds.dataset(empty_release / "data", format="parquet").schema.equals(DATA)
    assert ds.dataset(empty_release / "ids", format="parquet").schema.equals(IDS)
    assert "`datasets` loads such a split only when it streams" in (empty_release / "README.md").read_text()


def test_card_shows_code_for_these_libraries_alone(release):
    assert shown_code(release).keys() == ROWS.keys()


def test_ids_only_variant_in_datasets(release, kept, tmp_path):
    code = "from datasets import load_dataset\nprint(sum(load_dataset('RELEASE', 'ids', split='train')['num_files']))"
    assert run(code, release, tmp_path) == f"{kept}\n"


def test_streaming_needs_no_cache(release, kept, tmp_path):
    stream = "load_dataset('RELEASE', split='train', streaming=True)"
    code = f"from datasets import load_dataset\nprint(sum(1 for _ in {stream}))"
    assert run(code, release, tmp_path) == f"{kept}\n"


def test_contents_and_names_come_back_unchanged(release, small_sources):
    loaded = ds.dataset(release / "data", format="parquet").to_table()
    assert loaded.schema.equals(DATA)
    for row in loaded.to_pylist():
        source = small_sources["tools"][row["path"][1:]]
        assert row["content"].encode() == source
        assert row["swhid"] == f"swh:1:cnt:{content_id(source).hex()}"
        assert row["blob_id"] == hashlib.sha1(source).hexdigest()
        assert row["length_bytes"] == len(source)
    odd = {f"/{name}" for name in small_sources["tools"] if name.startswith("kept/")}
    assert len(odd) == 5
    assert odd <= set(loaded["path"].to_pylist())


def test_engines_read_the_same_rows(release):
    polars = pytest.importorskip("polars")
    files = f"{release}/data/*.parquet"
    query = "SELECT path, content_sha256, license_expression FROM '{}' ORDER BY path"
    by_duckdb = duckdb.sql(query.format(files)).fetchall()
    table = polars.scan_parquet(files).select("path", "content_sha256", "license_expression").sort("path").collect()
    assert by_duckdb == table.rows()


def test_ids_only_variant_names_the_same_files(release):
    data = ds.dataset(release / "data", format="parquet").to_table(columns=["blob_id", "path"]).to_pylist()
    ids = ds.dataset(release / "ids", format="parquet").to_table()
    assert ids.schema.equals(IDS)
    files = [file for repository in ids["files"].to_pylist() for file in repository]
    assert sorted((f["blob_id"], f["path"]) for f in files) == sorted((f["blob_id"], f["path"]) for f in data)
    assert "content" not in files[0]


def test_manifest_digests_every_file(small_workspace, record, release, kept):
    manifest = read_manifest(open_store(small_workspace, create=False), str(record.release))
    listed = {file["path"]: file for file in manifest["files"]}
    there = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert listed.keys() == there - {"manifest.json"}
    for name, file in listed.items():
        content = (release / name).read_bytes()
        assert (file["sha256"], file["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    parts = [name for name in listed if name.startswith("data/")]
    assert sum(pq.ParquetFile(release / name).metadata.num_rows for name in parts) == kept == manifest["documents"]

"""A shard of the release: The Stack v2's columns, the original text of every row, the same rows without contents."""

import hashlib
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starsmith import table
from starsmith.document import CONTENTS, content_id
from starsmith.release import DATA, IDS, ReleaseShard
from starsmith.released import RELEASED
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

# Spec 1.5, word for word.
STACK_V2 = """
blob_id, directory_id, path, content_id, detected_licenses, license_type, repo_name, snapshot_id, revision_id,
branch_name, visit_date, revision_date, committer_date, github_id, star_events_count, fork_events_count, gha_license_id,
gha_event_created_at, gha_created_at, gha_language, src_encoding, language, is_vendor, is_generated, length_bytes,
extension
"""
STACK_V2_REPOSITORIES = """
repo_name, repo_url, snapshot_id, revision_id, directory_id, branch_name, visit_date, revision_date, committer_date,
github_id, star_events_count, fork_events_count, gha_license_id, gha_created_at, gha_updated_at, gha_pushed_at,
gha_language, files, num_files
"""
STACK_V2_FILES = """
blob_id, path, content_id, language, length_bytes, detected_licenses, license_type, src_encoding, is_vendor,
is_generated, alphanum_fraction, alpha_fraction, num_lines, avg_line_length, max_line_length
"""

TEXTS = {
    "plain": "print('hello')\n",
    "empty lines": "\r\n\n\r",
    "accents": "# coding: latin-1\nna\xefve d\xe9j\xe0 vu, \xe0 la carte, cr\xe8me br\xfbl\xe9e, \xe9t\xe9\n",
    "wide": "\u4e2d\u6587 \U0001f600 text\n" * 5,
}
ENCODED: list[tuple[str, str, str]] = [
    ("plain", "utf-8", "UTF-8"),
    ("empty lines", "utf-8", "UTF-8"),
    ("accents", "utf-8", "UTF-8"),
    ("accents", "latin-1", "ISO-8859-1"),
    ("wide", "utf-8", "UTF-8"),
    ("wide", "utf-8-sig", "UTF-8"),
    ("wide", "utf-16", "UTF-16LE"),
]
"""Which text is written how, and what the release calls that."""
REPOSITORIES = ("acme/a", "acme/b", "zeta/a")
DATE = datetime(2021, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)

Row = dict[str, Any]


def ident(number: int) -> bytes:
    return number.to_bytes(20, "big")


def released_row(repository: str, path: str, content: bytes, **values: Any) -> Row:
    owner, _, name = repository.partition("/")
    number = REPOSITORIES.index(repository)
    row: Row = {
        "shard": "ab",
        "owner": owner,
        "name": name,
        "url": f"https://example.org/{repository}",
        "path": path,
        "document_id": hashlib.sha1(f"{repository} {path}".encode()).digest(),
        "content_id": content_id(content),
        "source": "git",
        "repo_name": repository,
        "extension": "py",
        "length": len(content),
        "license_type": "permissive",
        "license_method": "licence_file",
        "license_conflict": False,
        "revision_id": ident(100 + number),
        "directory_id": ident(200 + number) if number else None,
        "branch_name": f"branch{number}",
        "revision_date": DATE,
        "star_events_count": number,
        "gha_updated_at": DATE if number else None,
    }
    return row | values


def rows_of() -> list[tuple[Row, str, str]]:
    """Return rows in the order of a release, each with its text and the name of its encoding."""
    found = []
    for repository in REPOSITORIES:
        for number, (text, codec, name) in enumerate(ENCODED):
            content = TEXTS[text].encode(codec)
            expression = [None, "MIT", "Apache-2.0 OR MIT", "MIT AND BSD-3-Clause"][number % 4]
            row = released_row(repository, f"{number} {text}.py", content, license_expression=expression)
            found.append((row, TEXTS[text], name))
    return found


def write_contents(store: Store, contents: list[bytes]) -> Part:
    rows = [
        {"content_id": content_id(each), "sha256": hashlib.sha256(each).digest(), "content": each} for each in contents
    ]
    return write_part(store, "contents", CONTENTS, [pa.Table.from_pylist(rows, schema=CONTENTS)], shard="ab")


def release(
    store: Store, rows: list[Row], contents: list[bytes], *, ids_only: bool = True
) -> dict[str, tuple[Part, ...]]:
    """Write one shard; contents lie in another order than the rows want them."""
    shuffled = random.Random(1).sample(contents, len(contents))
    facts = pa.Table.from_pylist(rows, schema=RELEASED)
    work = ReleaseShard(
        released=write_part(store, "released", RELEASED, [facts], shard="ab"),
        contents=write_contents(store, shuffled),
        findings=(),
        compression_level=3,
        ids_only=ids_only,
    )
    counted: list[int] = []
    outcome = work(store, attempt=0, progress=counted.append)
    assert sum(counted) == len(rows) == outcome.counts["documents"]
    assert outcome.counts["bytes"] == sum(row["length"] for row in rows)
    return outcome.parts


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def read(store: Store, parts: tuple[Part, ...], schema: pa.Schema) -> list[Row]:
    rows: list[Row] = Table(name="", schema=schema, parts=parts).read(store).to_pylist()
    return rows


def small(store: Store, **options: Any) -> dict[str, tuple[Part, ...]]:
    contents = {TEXTS[text].encode(codec) for text, codec, _ in ENCODED}
    return release(store, [row for row, _, _ in rows_of()], sorted(contents), **options)


def test_columns_are_the_stack_v2s_in_its_order_then_our_own() -> None:
    columns = STACK_V2.replace("\n", " ").strip().split(", ")
    assert [name.strip() for name in columns] == DATA.names[: len(columns)]
    assert "content" in DATA.names[len(columns) :]
    assert [name.strip() for name in STACK_V2_REPOSITORIES.split(",")] == IDS.names
    files = IDS.field("files").type.value_type
    assert [field.name for field in files] == [name.strip() for name in STACK_V2_FILES.split(",")]


def test_every_row_holds_the_original_text_and_the_digests_of_both(store: Store) -> None:
    expected = rows_of()
    found = read(store, small(store)["data"], DATA)
    assert len(found) == len(expected)
    for row, (given, text, encoding) in zip(found, expected, strict=True):
        original = TEXTS[given["path"][2:-3]].encode(ENCODED[int(given["path"][0])][1])
        assert row["content"] == text
        assert row["text_sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert row["content_sha256"] == hashlib.sha256(original).hexdigest()
        assert row["blob_id"] == hashlib.sha1(original).hexdigest()
        assert row["content_id"] == hashlib.sha1(b"blob %d\0" % len(original) + original).hexdigest()
        assert row["swhid"] == f"swh:1:cnt:{row['content_id']}"
        assert row["length_bytes"] == len(original)
        assert row["src_encoding"] == encoding
        assert row["path"] == f"/{given['path']}"


def test_what_is_known_of_origin_and_licence_is_carried_over(store: Store) -> None:
    found = read(store, small(store)["data"], DATA)
    for row, (given, _, _) in zip(found, rows_of(), strict=True):
        assert row["repo_name"] == given["repo_name"]
        assert row["origin_url"] == given["url"]
        assert row["revision_id"] == given["revision_id"].hex()
        assert row["directory_id"] == (given["directory_id"].hex() if given["directory_id"] else None)
        assert row["snapshot_id"] is None
        assert row["revision_date"] == DATE
        assert row["license_expression"] == given["license_expression"]
    licences = [row["detected_licenses"] for row in found[:4]]
    assert licences == [[], ["MIT"], ["Apache-2.0", "MIT"], ["BSD-3-Clause", "MIT"]]


def test_clusters_conflicts_and_evidence_are_columns(store: Store) -> None:
    content = b"x = 1\n"
    values = {"cluster_id": ident(7), "license_conflict": True, "license_evidence": "LICENSE", "committed_at": DATE}
    parts = release(store, [released_row("acme/a", "a.py", content, **values)], [content])
    (row,) = read(store, parts["data"], DATA)
    assert row["dedup_cluster"] == ident(7).hex()
    assert (row["license_conflict"], row["license_evidence"], row["committed_at"]) == (True, "LICENSE", DATE)


def test_rows_of_a_repository_lie_together_in_both_variants(store: Store) -> None:
    parts = small(store)
    data, repositories = read(store, parts["data"], DATA), read(store, parts["ids"], IDS)
    assert [row["repo_name"] for row in repositories] == list(REPOSITORIES)
    listed = [(row["repo_name"], file) for row in repositories for file in row["files"]]
    names = [field.name for field in IDS.field("files").type.value_type]
    assert [(row["repo_name"], {name: row[name] for name in names}) for row in data] == listed
    for repository in repositories:
        assert repository["num_files"] == len(repository["files"]) == len(ENCODED)
        assert repository["repo_url"] == f"https://example.org/{repository['repo_name']}"
        own = next(row for row in data if row["repo_name"] == repository["repo_name"])
        common = set(IDS.names) & set(DATA.names)
        assert {name: repository[name] for name in common} == {name: own[name] for name in common}
    assert [row["gha_updated_at"] for row in repositories] == [None, DATE, DATE]


def test_without_the_variant_there_is_none_and_the_data_are_the_same(store: Store) -> None:
    parts = small(store, ids_only=False)
    assert "ids" not in parts
    assert parts["data"] == small(store)["data"]


def test_contents_are_found_wherever_they_lie(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """More row groups of contents than are held at a time, wanted in an order that has nothing to do with theirs."""
    whole = small(store)
    monkeypatch.setattr(table, "CONTENT_ROW_GROUP_BYTES", 1)
    assert pq.ParquetFile(store.open(write_contents(store, [b"a", b"b"]).name)).num_row_groups == 2
    found = read(store, small(store)["data"], DATA)
    assert found == read(store, whole["data"], DATA)


def test_large_shards_are_written_batch_by_batch(store: Store) -> None:
    contents = [b"# %d\n" % number + b"word " * 300_000 for number in range(9)]
    rows = [released_row("acme/a", f"{number}.py", content) for number, content in enumerate(contents)]
    parts = release(store, rows, contents)
    file = pq.ParquetFile(store.open(parts["data"][0].name))
    assert file.num_row_groups > 1
    assert [row["content"].encode() for row in read(store, parts["data"], DATA)] == contents
    (repository,) = read(store, parts["ids"], IDS)
    assert repository["num_files"] == 9
    column = file.metadata.row_group(0).column(DATA.get_field_index("content"))
    assert column.compression == "ZSTD"
    assert not column.is_stats_set


def test_what_does_not_decode_any_more_ends_the_build(store: Store) -> None:
    content = b"\0binary"
    with pytest.raises(RuntimeError, match="differ in version"):
        release(store, [released_row("acme/a", "a", content)], [content])

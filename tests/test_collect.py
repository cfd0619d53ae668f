"""Collect: a row for every path, each content once, and the same bytes however contents are handed to the writer."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from given_source import GivenSource
from hypothesis import given
from hypothesis import strategies as st

from starsmith import collect
from starsmith.collect import CollectShard, CommitTimes
from starsmith.document import CONTENTS, DOCUMENTS, FOLDERS, Origin, RawDocument, content_id, document_id
from starsmith.job import Outcome
from starsmith.settings import CollectSettings
from starsmith.shard import Located, Shard, Slice
from starsmith.sources import PathRange
from starsmith.storage import Store
from starsmith.table import Part, Table

REVISION = bytes(range(20))


def raw(path: bytes, content: bytes | None, **values: Any) -> RawDocument:
    identifier = None if content is None else content_id(content)
    base = RawDocument(path=path, length=len(content or b""), mode=0o100644, content=content, content_id=identifier)
    return replace(base, **values)


def origin(name: str, *, revision: bytes | None = REVISION) -> Origin:
    return Origin(source="git", url=f"u/{name}", owner="o", name=name, location="", state="", revision_id=revision)


def slice_of(name: str, documents: Sequence[RawDocument], part: PathRange | None = None) -> Slice:
    source = GivenSource(tuple(sorted(documents, key=lambda document: document.path)))
    return Slice(located=Located(source=source, origin=origin(name)), part=part or PathRange())


def collected(
    store: Store, *slices: Slice, counted: list[int] | None = None, times: dict[str, Part] | None = None
) -> Outcome:
    work = CollectShard(shard=Shard(name="ab", slices=slices), settings=CollectSettings(), times=times or {})
    return work(store, attempt=0, progress=(counted if counted is not None else []).append)


def rows(store: Store, outcome: Outcome, name: str) -> list[dict[str, Any]]:
    schema = {"documents": DOCUMENTS, "contents": CONTENTS, "folders": FOLDERS}[name]
    found: list[dict[str, Any]] = Table(name=name, schema=schema, parts=outcome.parts[name]).read(store).to_pylist()
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_every_path_is_a_row_in_order_with_its_names(store: Store) -> None:
    documents = [
        raw(b"src/Main.PY", b"print()\n", committed_at=1_500_000, mode=0o100755),
        raw(b"Makefile", b"all:\n"),
        raw(b"a/b/.gitignore", b"*.o\n"),
        raw(b"x.dist-info/LICENSE", b"MIT\n", licence_scope=""),
    ]
    found = rows(store, collected(store, slice_of("n", documents)), "documents")
    assert [row["path"] for row in found] == ["Makefile", "a/b/.gitignore", "src/Main.PY", "x.dist-info/LICENSE"]
    assert [row["folder"] for row in found] == ["", "a/b", "src", "x.dist-info"]
    assert [row["extension"] for row in found] == ["", "gitignore", "py", ""]
    assert [row["licence_scope"] for row in found] == ["", "a/b", "src", ""]
    main = found[2]
    assert (main["file_name"], main["length"], main["mode"]) == ("Main.PY", 8, 0o100755)
    assert main["content_id"] == content_id(b"print()\n")
    assert main["committed_at"].timestamp() == 1.5
    assert main["document_id"] == document_id(origin("n").origin_id, REVISION, b"src/Main.PY")
    assert {row["origin_id"] for row in found} == {origin("n").origin_id}
    assert {row["shard"] for row in found} == {"ab"}


def test_what_was_not_taken_in_is_a_row_with_a_reason_and_no_content(store: Store) -> None:
    known = content_id(b"big")
    documents = [
        raw(b"big.sql", None, length=3, content_id=known, reason="source.too_large", detail="11 MB"),
        raw(b"module", None, reason="source.submodule"),
        raw(b"z.sql", b"big"),
    ]
    outcome = collected(store, slice_of("n", documents))
    large, module, taken = rows(store, outcome, "documents")
    assert (large["reason"], large["detail"], large["content_id"]) == ("source.too_large", "11 MB", known)
    assert (module["reason"], module["content_id"]) == ("source.submodule", None)
    assert (taken["reason"], taken["content_id"]) == (None, known)
    assert [row["content"] for row in rows(store, outcome, "contents")] == [b"big"]


def test_odd_paths_stay_apart_and_readable(store: Store) -> None:
    paths = [
        b"../up.py",
        b"a\nb.py",
        b"caf\xc3\xa9.py",
        b"caf\xe9.py",
        b"caf\\xe9.py",
        b"\xff/\xfe.c",
        b" ",
        b"a//b",
        b".",
    ]
    found = rows(store, collected(store, slice_of("n", [raw(path, b"x") for path in paths])), "documents")
    assert [row["path"] for row in found] == [path.decode("utf-8", errors="backslashreplace") for path in sorted(paths)]
    assert len({row["document_id"] for row in found}) == len(paths)
    assert {row["content_id"] for row in found} == {content_id(b"x")}


def test_a_content_is_written_once_per_shard_where_it_is_first_mentioned(store: Store) -> None:
    first = [raw(b"a", b"one"), raw(b"b", b"two"), raw(b"c", b"one")]
    second = [raw(b"a", b"two"), raw(b"b", b"three"), raw(b"c", b"")]
    outcome = collected(store, slice_of("m", first), slice_of("n", second))
    found = rows(store, outcome, "contents")
    assert [row["content"] for row in found] == [b"one", b"two", b"three", b""]
    for row in found:
        assert row["content_id"] == content_id(row["content"])
        assert row["sha256"] == hashlib.sha256(row["content"]).digest()
    assert outcome.counts == {"documents": 6, "bytes": 3 + 3 + 3 + 3 + 5}


def test_a_slice_gives_the_paths_of_its_range_only(store: Store) -> None:
    documents = [raw(path, path) for path in (b"a", b"b", b"c", b"d")]
    outcome = collected(store, slice_of("n", documents, PathRange(start=b"b", stop=b"d")))
    assert [row["path"] for row in rows(store, outcome, "documents")] == ["b", "c"]


def test_every_folder_has_each_of_its_ancestors_with_its_distance(store: Store) -> None:
    outcome = collected(store, slice_of("n", [raw(b"a/b/c.py", b"1"), raw(b"a/b/d.py", b"2"), raw(b"e.py", b"3")]))
    found = [(row["folder"], row["ancestor"], row["distance"]) for row in rows(store, outcome, "folders")]
    assert found == [("", "", 0), ("a/b", "a/b", 0), ("a/b", "a", 1), ("a/b", "", 2)]


def test_progress_counts_every_document(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "BATCH_BYTES", 4)
    counted: list[int] = []
    documents = [raw(b"%d" % number, b"%d%d" % (number, number)) for number in range(9)]
    documents.append(raw(b"z", None, reason="error.read"))
    collected(store, slice_of("n", documents), counted=counted)
    assert sum(counted) == 10
    assert len(counted) > 2


CONTENT = st.none() | st.binary(max_size=6)


@given(contents=st.lists(CONTENT, max_size=20), batch=st.integers(1, 40))
def test_the_size_of_a_batch_changes_no_byte(
    contents: list[bytes | None], batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    documents = [raw(b"%03d" % number, content) for number, content in enumerate(contents)]
    parts: list[dict[str, tuple[Part, ...]]] = []
    for size in (collect.BATCH_BYTES, batch):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(collect, "BATCH_BYTES", size)
            parts.append(collected(store, slice_of("n", documents)).parts)
    assert parts[0] == parts[1]


def test_an_origin_without_documents_is_a_shard_without_rows(store: Store) -> None:
    outcome = collected(store, slice_of("n", []))
    assert outcome.counts == {"documents": 0, "bytes": 0}
    assert [outcome.parts[name][0].rows for name in ("documents", "contents", "folders")] == [0, 0, 0]


def test_times_of_an_origin_that_is_cut_are_found_once_for_all_its_shards(store: Store) -> None:
    documents = [raw(b"a", b"1", committed_at=5), raw(b"caf\xe9", b"2", committed_at=-7), raw(b"z", b"3")]
    cut = slice_of("n", documents)
    found = CommitTimes(located=cut.located)(store, attempt=0, progress=lambda count: None)
    (part,) = found.parts["commit_times"]
    silent = slice_of("n", [replace(document, committed_at=None) for document in documents])
    outcomes = [collected(store, cut), collected(store, silent, times={origin("n").url: part})]
    assert outcomes[0].parts == outcomes[1].parts
    # Times of another origin say nothing of this one.
    other = rows(store, collected(store, silent, times={"u/other": part}), "documents")
    assert [row["committed_at"] for row in other] == [None] * 3

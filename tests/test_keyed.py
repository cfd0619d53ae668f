"""Queries that know their rows by a key: only keys of which something changed are asked for, and the bytes are those
of asking for everything in a new store."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith.builder import Builder
from starsmith.engines import Query, unheard
from starsmith.engines.local import LocalEngine
from starsmith.keyed import differing
from starsmith.progress import Quiet
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

DOCUMENTS = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("document_id", pa.int64(), nullable=False),
        pa.field("content_id", pa.int64()),
    ]
)
DROPPED = pa.schema([DOCUMENTS.field("shard"), DOCUMENTS.field("document_id")])
MARKS = pa.schema([pa.field("content_id", pa.int64(), nullable=False)])
COPIES = Query(
    name="copies",
    text="""
SELECT alive.shard, alive.document_id
FROM (SELECT documents.* FROM documents ANTI JOIN dropped ON dropped.document_id = documents.document_id) AS alive
LEFT JOIN marks ON marks.content_id = alive.content_id
WHERE marks.content_id IS NULL AND alive.content_id IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY alive.content_id ORDER BY alive.document_id ASC NULLS LAST) > 1""",
    schema=DROPPED,
    key=["shard", "document_id"],
    partition_by="shard",
    by="content_id",
    base="documents",
)
COUNTS = Query(
    name="content_counts",
    text="""
SELECT content_id, count(*) AS documents FROM documents WHERE content_id IS NOT NULL GROUP BY content_id""",
    schema=pa.schema([*MARKS, pa.field("documents", pa.int64(), nullable=False)]),
    key=["content_id"],
    by="content_id",
    base="documents",
)

Corpus = dict[int, tuple[int, int | None, bool]]
"""By id: the number of its shard, its content, whether it was dropped before."""

CORPORA = st.dictionaries(
    st.integers(0, 60),
    st.tuples(st.integers(0, 11), st.none() | st.integers(0, 9), st.booleans()),
    min_size=25,
    max_size=50,
)
CHANGES = st.dictionaries(
    st.integers(0, 60), st.none() | st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans()), max_size=4
)


class Watched(LocalEngine):
    """Notes the names of the tables that each query reads."""

    asked: list[set[str]]

    def sql(
        self,
        store: Store,
        query: Query,
        tables: dict[str, Table | pa.Table],
        *,
        progress: Callable[[int, int], None] = unheard,
    ) -> tuple[Part, ...]:
        self.asked.append(set(tables))
        return super().sql(store, query, tables)


def table(store: Store, name: str, schema: pa.Schema, rows: list[dict[str, object]]) -> Table:
    parts = []
    for shard in sorted({str(row["shard"]) for row in rows}):
        own = pa.Table.from_pylist([row for row in rows if row["shard"] == shard], schema)
        parts.append(write_part(store, name, schema, [own], shard=shard))
    return Table(name=name, schema=schema, parts=tuple(parts))


def results(store: Store, corpus: Corpus, marks: list[int]) -> tuple[list[Part], list[set[str]]]:
    """Run both queries as a build would; return the parts and what the engine was asked for."""
    documents = [
        {"shard": f"{shard:02}", "document_id": number, "content_id": content}
        for number, (shard, content, _) in sorted(corpus.items())
    ]
    dropped = [row for row in documents if corpus[int(str(row["document_id"]))][2]]
    gone = [{name: row[name] for name in DROPPED.names} for row in dropped]
    engine = Watched(workers=1, spill=store.path("tmp/spill"))
    engine.asked = []
    builder = Builder(store=store, engine=engine, reporter=Quiet())
    builder.begin("decide")
    builder.records += [name for name in store.names("records") if name.endswith(".json")]
    marked = pa.table({"content_id": marks}, MARKS)
    tables = {
        "documents": table(store, "documents", DOCUMENTS, documents),
        "dropped": table(store, "dropped", DROPPED, gone),
        "marks": Table(name="marks", schema=MARKS, parts=(write_part(store, "marks", MARKS, [marked]),)),
    }
    parts = [*builder.sql(COPIES, **tables).parts, *builder.sql(COUNTS, documents=tables["documents"]).parts]
    engine.close()
    return parts, engine.asked


@settings(max_examples=12)
@given(corpus=CORPORA, changes=CHANGES, marks=st.lists(st.integers(0, 9), max_size=2, unique=True))
def test_the_bytes_are_those_of_asking_for_everything(
    tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, changes: Corpus, marks: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("keyed")
    grown = Store.at(folder / "grown")
    results(grown, corpus, [])
    later = {number: row for number, row in {**corpus, **changes}.items() if row is not None}
    found, _ = results(grown, later, marks)
    fresh, _ = results(Store.at(folder / "fresh"), later, marks)
    assert found == fresh


def test_only_what_changed_is_asked_for(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    corpus: Corpus = {number: (number // 10, number % 25, False) for number in range(200)}
    _, asked = results(store, corpus, [])
    assert asked == [{"documents", "dropped", "marks"}, {"documents"}]
    before = {part.shard: part for part in results(store, corpus, [])[0][:-1]}
    del corpus[3]
    parts, asked = results(store, corpus, [])
    # What the keys' rows are now and were before, what follows from them, and what is written of it.
    once = [{"base", "asked"}, {"base", "asked"}, {"asked"}, {"made"}]
    assert [names & {"base", "asked", "made"} for names in asked] == [*once, {"asked"}, {"made"}]
    # Document 28 was a copy of 3 and is now the first; in all other shards the same documents are copies.
    changed = {part.shard for part in parts[:-1] if before[part.shard] != part}
    assert changed == {"02"}


def test_a_damaged_part_of_before_is_not_needed(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    corpus: Corpus = {number: (number // 10, number % 25, False) for number in range(200)}
    results(store, corpus, [])
    for path in (tmp_path / "tables" / "copies").iterdir():
        path.write_bytes(b"\0" * path.stat().st_size)
    del corpus[3]
    found, asked = results(store, corpus, [])
    assert asked[-3] == {"documents", "dropped", "marks"}
    assert found == results(Store.at(tmp_path / "fresh"), corpus, [])[0]


def test_rows_that_differ() -> None:
    old = pa.table({"a": [1, 2, 2, None], "b": ["x", "y", "y", "z"]})
    new = pa.table({"a": [2, None, 3], "b": ["y", "z", "x"]})
    assert differing(old, new).tolist() == [True, True, True, False, True, False, True]
    assert differing(old.slice(0, 0), old.slice(0, 0)).tolist() == []

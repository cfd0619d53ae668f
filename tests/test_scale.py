"""The page on scale says what its program computes, and the tables made for it are those a build would have."""

import runpy
from pathlib import Path

import pyarrow.compute as pc
import pytest

from starsmith.document import ANNOTATIONS, BANDS, DOCUMENTS, ORIGINS, SHINGLES, TEXTS
from starsmith.part_file import MappedRows
from starsmith.storage import Store
from starsmith.table import Table

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS_MADE = 3_000


def program(name: str) -> dict:
    return runpy.run_path(str(REPOSITORY / "benchmarks" / f"{name}.py"), run_name=name)


def test_the_page_has_what_the_model_computes():
    model = program("cost_model")
    page = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")
    tables = model["tables_of"](model["parser"]().parse_args([]))
    assert model["written"](page, tables) == page, "run: python benchmarks/cost_model.py --write docs/scale.md"


@pytest.fixture(scope="module")
def narrow():
    with pytest.MonkeyPatch.context() as patch:
        # A program finds those beside it, and takes them along.
        patch.syspath_prepend(REPOSITORY / "benchmarks")
        return program("narrow_tables")


def shard_of(narrow: dict, **values):
    corpus = narrow["Corpus"](documents=DOCUMENTS_MADE)
    origins = corpus.origins()
    first, last = origins.shards()[0]
    return narrow["Shard"](corpus=corpus, origins=origins, first=first, last=last, **values)


def test_a_shard_follows_from_the_seed_alone(narrow, tmp_path):
    made = [shard_of(narrow).write(Store.at(tmp_path / name)) for name in "ab"]
    assert made[0] == made[1]


def test_rows_of_all_tables_belong_together(narrow, tmp_path):
    store = Store.at(tmp_path)
    shard = shard_of(narrow)
    parts = shard.write(store)
    rows = {
        name: Table(name=name, schema=schema, parts=(parts[name],)).read(store)
        for name, schema in (("documents", DOCUMENTS), ("texts", TEXTS), ("annotations", ANNOTATIONS))
    }
    assert rows["documents"]["document_id"].equals(rows["annotations"]["document_id"])
    assert len(set(rows["documents"]["document_id"].to_pylist())) == rows["documents"].num_rows >= DOCUMENTS_MADE
    assert set(rows["documents"]["content_id"].to_pylist()) == set(rows["texts"]["content_id"].to_pylist())
    signed = rows["texts"].filter(pc.is_valid(rows["texts"]["shingle_row"]))
    with MappedRows(store, parts["shingles"], SHINGLES) as sets, MappedRows(store, parts["bands"], BANDS) as bands:
        for row in signed.slice(0, 50).to_pylist():
            found = sets.value(row["shingle_row"], "shingles", key=row["content_id"])
            assert len(found) in (0, 4 * row["num_shingles"]), "sets that no bucket leads to are empty"
        entries = bands.value(0, "entries", key=bytes(4))
        assert len(entries) == 12 * signed.num_rows


def test_who_leaves_takes_his_own_rows_and_no_others(narrow, tmp_path):
    store = Store.at(tmp_path)
    shard = shard_of(narrow)
    rest = shard_of(narrow, without=frozenset({1}))
    before, after = (
        Table(name="documents", schema=DOCUMENTS, parts=(each.write(store)["documents"],)).read(store)
        for each in (shard, rest)
    )
    origins = narrow["origin_rows"](shard.corpus, shard.origins)
    assert origins.schema.equals(ORIGINS)
    gone = origins["origin_id"][1]
    assert after.equals(before.filter(pc.not_equal(before["origin_id"], gone)))
    assert after.num_rows < before.num_rows

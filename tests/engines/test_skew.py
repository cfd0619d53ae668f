"""Skew: what a whole corpus shares (an empty file, a licence text, a bucket) costs a query some rows per document.

Every query that joins or groups by what many documents share is run on 20,000 that share all of it. DuckDB counts the
rows that go from one step of a query to the next: their number bounds the pairs that a join makes. Spark gives the same
bytes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from starsmith import decide, licences, near, released, scan
from starsmith.curate import exact_duplicates, licence_decision, near_duplicates
from starsmith.document import DOCUMENTS, FOLDERS, ORIGINS, TEXTS
from starsmith.engines import Query, Usage
from starsmith.engines.local import LocalEngine
from starsmith.ledger import DROPS, LEDGER
from starsmith.settings import ExactDuplicateSettings, LicenceSettings, NearDuplicateSettings
from starsmith.storage import Store

MANY = 20_000
SHARDS = 20
PLAIN: dict[pa.DataType, Any] = {pa.string(): "", pa.int64(): 0, pa.int32(): 0, pa.binary(20): bytes(20)}
ROWS_PER_DOCUMENT = 60
"""What a query may hand from step to step, in rows per document that it reads. The steps of one query are 10 to 40."""


def ids(numbers: range) -> pa.Array:
    return pa.array([number.to_bytes(20, "big") for number in numbers], pa.binary(20))


def filled(schema: pa.Schema, count: int, **columns: Any) -> pa.Table:
    """Return rows that are alike but for the given columns."""
    rows = []
    for field in schema:
        value = columns.get(field.name, None if field.nullable else PLAIN.get(field.type))
        if not isinstance(value, pa.Array | list):
            value = [value] * count
        rows.append(pa.array(value, field.type))
    return pa.table(rows, schema=schema)


DOCUMENT_IDS = ids(range(MANY))
CONTENT = b"\1" * 20
SHARD = [f"{number % SHARDS:04d}" for number in range(MANY)]
FACTS = filled(
    decide.FACTS,
    MANY,
    document_id=DOCUMENT_IDS,
    shard=SHARD,
    origin_id=DOCUMENT_IDS,
    path="LICENSE",
    content_id=CONTENT,
    length=1000,
    license_type=["permissive" if number % 2 else "non_permissive" for number in range(MANY)],
    license_method="licence_file",
    committed_at=5,
    num_shingles=500,
    shingle_row=0,
)
CONFLICT = filled(decide.CONFLICTS, 1, content_id=CONTENT, permissive=1, non_permissive=1, blocked=False)
LEDGER_ROWS = filled(LEDGER, MANY, document_id=DOCUMENT_IDS, shard=SHARD, content_id=CONTENT, verdict="keep")
NEAR = filled(near.NEAR, MANY, document_id=DOCUMENT_IDS, shard=SHARD, cluster_id=bytes(20), winner_id=bytes(20))
ORIGIN_ROWS = filled(ORIGINS, MANY, origin_id=DOCUMENT_IDS)
NO_DROPS = DROPS.empty_table()

EXACT = decide.SQL_STAGES["exact"]
REPOSITORY = decide.SQL_STAGES["repository"]


def compiled(stage: decide.Stage) -> Query:
    from starsmith.recipe import loads

    return stage.compiled(loads('[[source]]\nkind = "installed"', base=Path("/corpora")))


# name: (query, tables, rows of the result)
CASES: dict[str, tuple[Query, dict[str, pa.Table], int]] = {
    "conflicts of one content": (
        Query(
            name="conflicts",
            text=exact_duplicates.conflict_query(ExactDuplicateSettings()),
            schema=decide.CONFLICTS,
            key=["content_id"],
        ),
        {"facts": FACTS},
        1,
    ),
    "copies of one content": (
        compiled(EXACT),
        {"facts": FACTS, "dropped": NO_DROPS, "conflicts": CONFLICT, "origins": ORIGIN_ROWS},
        MANY - 1,
    ),
    "forks of one repository": (
        compiled(REPOSITORY),
        {
            "facts": FACTS,
            "dropped": NO_DROPS,
            "origins": filled(
                ORIGINS, MANY, origin_id=DOCUMENT_IDS, directory_id=CONTENT, url=[*map(str, range(MANY))]
            ),
        },
        MANY - 1,
    ),
    "copies of one content, kept": (
        released.CONFLICT_MARKS,
        {"ledger": LEDGER_ROWS, "conflicts": CONFLICT},
        MANY,
    ),
    "one cluster in a release": (released.CLUSTER_MARKS, {"near": NEAR}, 1),
    "one cluster that falls": (
        scan.wanted_query(decide.ALIVE, clusters=True),
        {
            "facts": FACTS.set_column(FACTS.schema.names.index("content_id"), "content_id", DOCUMENT_IDS),
            "dropped": filled(DROPS, MANY, document_id=DOCUMENT_IDS, shard=SHARD),
            "scans": scan.TABLES["scans"].empty_table(),
            "clusters": NEAR,
            "bad": filled(DROPS, MANY, document_id=DOCUMENT_IDS, shard=SHARD),
        },
        MANY,
    ),
    "one bucket": (
        near.MEMBERS_QUERY,
        {"facts": FACTS, "near_pairs": filled(near.PAIRS, MANY, document_id=DOCUMENT_IDS, key=7)},
        MANY,
    ),
    "licences of one content": (
        Query(
            name="licences",
            text=licence_decision.licences_query(LicenceSettings()),
            schema=licence_decision.LICENCES,
            key=["document_id"],
            partition_by="shard",
        ),
        {
            "documents": filled(
                DOCUMENTS, MANY, document_id=DOCUMENT_IDS, shard=SHARD, origin_id=DOCUMENT_IDS, content_id=CONTENT
            ),
            "folders": FOLDERS.empty_table(),
            "folder_licences": licence_decision.FOLDER_LICENCES.empty_table(),
            "texts": filled(TEXTS, SHARDS, shard=sorted(set(SHARD)), content_id=CONTENT, licence="MIT"),
            "expression_types": licence_decision.expression_types(["MIT"], LicenceSettings()),
            "origins": licences.SHARD_ORIGINS_QUERY.schema.empty_table(),
        },
        MANY,
    ),
}


@pytest.fixture
def local(tmp_path):
    engine = LocalEngine(workers=2, spill=str(tmp_path / "spill"))
    yield engine
    engine.close()


@pytest.mark.parametrize("name", CASES)
def test_work_grows_with_documents_and_not_with_pairs_of_them(local, spark, tmp_path, monkeypatch, name):
    query, tables, rows = CASES[name]
    store = Store(str(tmp_path / "store"))
    told = []

    def profile(connection):
        told.append(json.loads(connection.get_profiling_information())["query"]["total_intermediate_rows"])
        return Usage()

    monkeypatch.setattr("starsmith.engines.local._spilled", profile)
    parts = local.sql(store, query, tables)
    assert sum(part.rows for part in parts) == rows
    assert len(told) == 1
    assert MANY <= told[0] < ROWS_PER_DOCUMENT * MANY
    assert spark.sql(store, query, tables) == parts


def test_a_bucket_of_many_texts_bounds_what_is_compared():
    """5,000 texts that have nothing in common but one bucket."""
    total = 5_000
    members = near_duplicates.Members(
        shingles=np.arange(total * 8, dtype=np.uint32),
        starts=np.arange(0, total * 8, 8, dtype=np.int64),
        counts=np.full(total, 8, np.int64),
        pair_members=np.arange(total, dtype=np.int64),
        pair_bands=np.zeros(total, np.int32),
        pair_keys=np.full(total, 7, np.int64),
    )
    decided = near_duplicates.decide(members, NearDuplicateSettings())
    most = near_duplicates.MAX_LEADERS_PER_BUCKET
    assert (decided.winner == -1).all()
    assert decided.compared <= most * total
    assert decided.left_out == total - most

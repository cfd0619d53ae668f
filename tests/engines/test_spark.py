"""The Spark engine: every item is done once, whatever becomes of workers; queries give what DuckDB gives, in bytes."""

import math
import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starsmith.engines import Query
from starsmith.engines.local import LocalEngine
from starsmith.engines.spark_session import without_pandas
from starsmith.errors import StarsmithError
from starsmith.storage import Store
from starsmith.table import Table, write_part


def run(spark, task, items, progress=lambda count: None):
    return list(spark.map(task, items, label="stage", progress=progress))


# ---- tasks


def test_every_item_is_done_once(spark, tasks):
    done = []
    assert sorted(run(spark, tasks.square, range(10), done.append)) == sorted((i * i, 0) for i in range(10))
    assert sum(done) == 30


def test_no_item_is_no_work(spark, tasks):
    assert run(spark, tasks.square, []) == []


def test_items_and_results_may_be_large(spark, tasks):
    blob = bytes(3_000_000)
    assert run(spark, tasks.large, [blob] * 3) == [(len(blob), b"y" * len(blob))] * 3


def test_an_item_whose_worker_died_is_told_so_and_counted_once(spark, tasks):
    done = []
    assert sorted(run(spark, tasks.die_first, [0, 1, 2, 0], done.append)) == [(0, 0), (0, 0), (1, 1), (2, 2)]
    assert sum(done) == 4


def test_an_item_that_always_kills_ends_the_build(spark, tasks):
    with pytest.raises(StarsmithError, match=r"^stage: a task lost its worker 3 times on 9 \(.*\)\. Give executors"):
        run(spark, tasks.die_first, [0, 9])


def test_a_users_fault_ends_the_build_at_once_in_its_words(spark, tasks):
    """The other items would sleep for a minute."""
    before = datetime.now(UTC)
    with pytest.raises(StarsmithError, match=r"^x is at fault\. Mend it\.$"):
        run(spark, tasks.refuse, ["x", *range(20)])
    assert datetime.now(UTC) - before < timedelta(seconds=50)


def test_a_fault_of_ours_keeps_its_traceback(spark, tasks):
    with pytest.raises(RuntimeError, match=r"(?s)^stage failed:.*KeyError: 'x'"):
        run(spark, tasks.fail, ["x"])


def test_who_takes_no_more_results_ends_the_tasks(spark, tasks, tmp_path):
    results = spark.map(tasks.announce, [str(tmp_path / "log")] * 5, label="stage", progress=print)
    results.close()
    mixed = spark.map(tasks.square, range(3), label="stage", progress=lambda count: None)
    assert next(mixed)[1] == 0
    mixed.close()
    assert len(run(spark, tasks.square, range(3))) == 3


# ---- queries

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("name", pa.binary()),
        pa.field("digest", pa.binary(3)),
        pa.field("small", pa.int32()),
        pa.field("flag", pa.bool_()),
        pa.field("share", pa.float64()),
        pa.field("seen", pa.timestamp("us", tz="UTC")),
    ]
)
TEXTS = ["", " ", "a", "A", "ab", "b", "\u00e9", "e\u0301", "\uffff", "\U0001f600", "\0", "a\0b", "z" * 300, "\ud7ff"]
NAMES = [b"", b"\0", b"\0\0", b"\x7f", b"\x80", b"\xff", b"\xff\0", b"a", b"ab"]
SHARES = [0.0, 0.1, 1 / 3, -1.5, 1e-300, 1e300, math.inf, -math.inf, 5e-324, 0.30000000000000004]
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = [FIRST, FIRST + timedelta(microseconds=1), datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)]
TIMES += [datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]


def random_rows(count, seed=0):
    chance = random.Random(seed)

    def of(values):
        return chance.choice([None, *values])

    return [
        {
            "id": number,
            "shard": chance.choice(["a", "b", "B", "\u00e9", "\U0001f600"]),
            "text": of(TEXTS),
            "name": of(NAMES),
            "digest": of([b"abc", b"\0\0\0", b"\x80ab", b"\xff\xff\xff"]),
            "small": of([-(2**31), -1, 0, 1, 2**31 - 1]),
            "flag": of([True, False]),
            "share": of(SHARES),
            "seen": of(TIMES),
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A store with a table of three parts, whose rows are of every kind that tables have."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    rows = random_rows(600)
    pieces = [pa.Table.from_pylist(rows[start : start + 200], schema=SCHEMA) for start in (0, 200, 400)]
    parts = tuple(write_part(store, "t", SCHEMA, [piece]) for piece in pieces)
    return store, Table(name="t", schema=SCHEMA, parts=parts)


@pytest.fixture
def local(tmp_path):
    engine = LocalEngine(workers=2, spill=str(tmp_path / "spill"))
    yield engine
    engine.close()


def query(text, *, key, schema, partition_by=None):
    return Query(name="result", text=text, schema=schema, key=key, partition_by=partition_by)


@pytest.mark.parametrize("column", SCHEMA.names[2:])
def test_every_type_is_sorted_alike(spark, local, given, column):
    store, table = given
    asked = query("SELECT * FROM t", key=[column, "id"], schema=SCHEMA)
    parts = spark.sql(store, asked, {"t": table})
    assert [part.rows for part in parts] == [600]
    assert parts == local.sql(store, asked, {"t": table})


def test_shards_become_parts_alike(spark, local, given):
    store, table = given
    asked = query("SELECT * FROM t", key=["text", "id"], schema=SCHEMA, partition_by="shard")
    parts = spark.sql(store, asked, {"t": table})
    assert [part.shard for part in parts] == ["B", "a", "b", "\u00e9", "\U0001f600"]
    assert parts == local.sql(store, asked, {"t": table})


ALIKE = {
    "windows": (
        """
SELECT id, row_number() OVER (PARTITION BY text ORDER BY share DESC NULLS LAST, name ASC NULLS FIRST, id ASC NULLS LAST)
  AS nth, first_value(name) OVER (PARTITION BY flag ORDER BY seen ASC NULLS LAST, id ASC NULLS LAST) AS name
FROM t QUALIFY row_number() OVER (PARTITION BY digest ORDER BY text DESC NULLS FIRST, id ASC NULLS LAST) < 20""",
        [("id", pa.int64()), ("nth", pa.int64()), ("name", pa.binary())],
        ["id"],
    ),
    "groups": (
        """
SELECT text, flag, count(*) AS n, count(DISTINCT name) AS names, sum(small) AS total, min(digest) AS least,
       max(text) AS latest, min(seen) AS earliest, max(share) AS most, sum(CASE WHEN share < 1 THEN 1 ELSE 0 END) AS few
FROM t GROUP BY text, flag""",
        [
            ("text", pa.string()),
            ("flag", pa.bool_()),
            *((name, pa.int64()) for name in ("n", "names", "total")),
            ("least", pa.binary(3)),
            ("latest", pa.string()),
            ("earliest", pa.timestamp("us", tz="UTC")),
            ("most", pa.float64()),
            ("few", pa.int64()),
        ],
        ["text", "flag"],
    ),
    "joins": (
        """
SELECT a.id, b.id AS other, a.text || coalesce(b.text, '-') AS joined, lower(substr(hex(a.digest), 1, 3)) AS digits
FROM t AS a
LEFT JOIN (SELECT * FROM t WHERE id < 40) AS b ON a.digest = b.digest AND a.text = b.text
WHERE a.id < 300 AND a.text NOT LIKE 'a.%'""",
        [("id", pa.int64()), ("other", pa.int64()), ("joined", pa.string()), ("digits", pa.string())],
        ["id", "other"],
    ),
    "sets": (
        """
WITH few AS (SELECT text, name FROM t WHERE small > 0)
SELECT text, name FROM t ANTI JOIN few ON few.name = t.name UNION SELECT text, CAST(NULL AS BINARY) AS name FROM few""",
        [("text", pa.string()), ("name", pa.binary())],
        ["text", "name"],
    ),
    "numbers": (
        f"""
SELECT id, {", ".join(f"CAST({x!r} AS DOUBLE) AS d{n}" for n, x in enumerate(SHARES) if math.isfinite(x))},
       CAST(0.1 AS DOUBLE) + 0.2 AS added, CAST(id AS DOUBLE) / 7 AS divided, share * 3 AS product,
       CAST(floor(id / 7) AS BIGINT) AS down, CAST(round(id / 4) AS BIGINT) AS nearest, -id % 7 AS remainder
FROM t""",
        [
            ("id", pa.int64()),
            *((f"d{n}", pa.float64()) for n, x in enumerate(SHARES) if math.isfinite(x)),
            *((name, pa.float64()) for name in ("added", "divided", "product")),
            *((name, pa.int64()) for name in ("down", "nearest", "remainder")),
        ],
        ["id"],
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_queries_are_read_alike(spark, local, given, name):
    store, table = given
    text, fields, key = ALIKE[name]
    asked = query(text, key=key, schema=pa.schema(fields))
    (part,) = spark.sql(store, asked, {"t": table})
    (other,) = local.sql(store, asked, {"t": table})
    assert pq.read_table(store.open(part.name)).to_pylist() == pq.read_table(store.open(other.name)).to_pylist()
    assert part == other
    assert part.rows > 0


def test_stored_and_given_tables_are_read_alike(spark, given):
    store, table = given
    asked = query(
        "SELECT text, seen, id FROM t WHERE digest IS NOT NULL",
        key=["id"],
        schema=pa.schema([SCHEMA.field(name) for name in ("id", "text", "seen")]),
    )
    assert spark.sql(store, asked, {"t": table}) == spark.sql(store, asked, {"t": table.read(store)})


def test_more_parts_than_tasks_are_all_read(spark, monkeypatch, given):
    store, table = given
    asked = query("SELECT id FROM t", key=["id"], schema=pa.schema([SCHEMA.field("id")]))
    (whole,) = spark.sql(store, asked, {"t": table})
    monkeypatch.setattr("starsmith.engines.spark.READ_BYTES", 1)
    assert spark.sql(store, asked, {"t": table}) == (whole,)
    assert whole.rows == 600


@pytest.mark.parametrize(("most", "join"), [(1 << 20, "BroadcastHashJoin"), (0, "SortMergeJoin")])
def test_only_small_tables_are_sent_to_every_executor(spark, monkeypatch, given, most, join):
    """Spark itself takes every table for a small one."""
    store, table = given
    monkeypatch.setattr("starsmith.engines.spark.BROADCAST_BYTES", most)
    with without_pandas():
        one, other = (spark._rows(store, table, frozenset({"id"})) for _ in range(2))
        plan = one.join(other, "id")._jdf.queryExecution().executedPlan().toString()
    assert join in plan, plan


@pytest.mark.parametrize("text", ["SELECT * FROM t WHERE id < 0", "SELECT * FROM t WHERE 1 = 0"])
def test_an_empty_result_is_one_empty_part_unless_it_is_cut(spark, local, given, text):
    store, table = given
    for tables in ({"t": table}, {"t": Table(name="t", schema=SCHEMA, parts=())}, {"t": SCHEMA.empty_table()}):
        asked = query(text, key=["id"], schema=SCHEMA)
        parts = spark.sql(store, asked, tables)
        assert [part.rows for part in parts] == [0]
        assert parts == local.sql(store, asked, tables)
        assert spark.sql(store, query(text, key=["id"], schema=SCHEMA, partition_by="shard"), tables) == ()


def test_a_query_outside_the_common_subset_is_refused(spark, given):
    with pytest.raises(ValueError, match="leaves the common SQL subset"):
        spark.sql(given[0], query("SELECT first(id) AS id FROM t", key=["id"], schema=SCHEMA), {"t": given[1]})


@pytest.mark.parametrize(
    "text", ["SELECT id + 9223372036854775807 AS id FROM t", "SELECT CAST(text AS BIGINT) AS id FROM t WHERE id = 3"]
)
def test_what_has_no_value_is_an_error_and_not_null(spark, local, given, text):
    asked = query(text, key=["id"], schema=pa.schema([SCHEMA.field("id")]))
    for engine in (spark, local):
        with pytest.raises(Exception, match=r"(?i)overflow|cast|conver"):
            engine.sql(given[0], asked, {"t": given[1]})


def test_a_value_that_does_not_fit_its_type_is_refused(spark, given):
    asked = query("SELECT id + 3000000000 AS id FROM t", key=["id"], schema=pa.schema([("id", pa.int32())]))
    with pytest.raises(RuntimeError, match=r"not in range|out of bounds"):
        spark.sql(given[0], asked, {"t": given[1]})


def test_a_damaged_part_is_named(spark, tmp_path):
    store = Store(str(tmp_path))
    part = write_part(store, "t", SCHEMA, [pa.Table.from_pylist(random_rows(100), schema=SCHEMA)])
    path = tmp_path / part.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    asked = query("SELECT * FROM t", key=["id"], schema=SCHEMA)
    with pytest.raises(StarsmithError, match=r"is damaged: its SHA-256 is .* it is made anew\.$"):
        spark.sql(store, asked, {"t": Table(name="t", schema=SCHEMA, parts=(part,))})

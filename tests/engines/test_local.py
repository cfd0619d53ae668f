"""The local engine: every item is done once, whatever becomes of workers; a query's bytes depend on its rows alone."""

import importlib
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith.engines import Query, Usage
from starsmith.engines.local import ATTEMPTS, LocalEngine
from starsmith.errors import StarsmithError
from starsmith.storage import Store
from starsmith.table import Table, write_part


def engine(tmp_path, **options):
    return LocalEngine(**{"workers": 2, "spill": str(tmp_path / "spill"), **options})


def run(task, items, tmp_path, progress=lambda count: None, **options):
    made = engine(tmp_path, **options)
    try:
        return list(made.map(task, items, label="stage", progress=progress))
    finally:
        made.close()


def children():
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
            line = (stat.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest.split()[1]) == os.getpid() and rest.split()[0] != "Z" and b"spawn_main" in line:
            found.add(int(name.split()[0]))
    return found


TASKS = """
import os, signal, time
from starsmith.errors import StarsmithError

def square(item, *, attempt, progress):
    progress(1)
    return item * item, attempt

def large(item, *, attempt, progress):
    return len(item), b"y" * len(item)

def die_first(item, *, attempt, progress):
    if attempt < item:
        os.kill(os.getpid(), signal.SIGKILL)
    return item, attempt

def refuse(item, *, attempt, progress):
    raise StarsmithError(f"{item} is at fault. Mend it.")

def fail(item, *, attempt, progress):
    raise KeyError(item)

def sleep(item, *, attempt, progress):
    if attempt == 0:
        time.sleep(item)
    return item, attempt

def talk(item, *, attempt, progress):
    for _ in range(10):
        time.sleep(item / 10)
        progress(1)
    return item, attempt

def who(item, *, attempt, progress):
    return os.getpid()
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Tasks, in a module on the path of this process and thereby of the workers, which cannot import this file."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "engine_tasks.py").write_text(TASKS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("engine_tasks")
    sys.path.remove(str(folder))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_item_is_done_once(tasks, tmp_path, workers):
    done = []
    results = run(tasks.square, range(10), tmp_path, done.append, workers=workers)
    assert sorted(results) == [(i * i, 0) for i in range(10)]
    assert sum(done) == 10
    assert children() == set()


def test_no_item_starts_no_worker(tasks, tmp_path):
    made = engine(tmp_path)
    assert list(made.map(tasks.square, [], label="stage", progress=print)) == []
    assert children() == set()
    made.close()


def test_items_and_results_larger_than_a_pipe_holds(tasks, tmp_path):
    blob = bytes(3_000_000)
    assert run(tasks.large, [blob] * 4, tmp_path) == [(len(blob), b"y" * len(blob))] * 4


def test_an_item_whose_worker_died_is_told_so(tasks, tmp_path):
    assert sorted(run(tasks.die_first, [0, 1, 2, 0, 1], tmp_path)) == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2)]


def test_an_item_that_always_kills_ends_the_build(tasks, tmp_path):
    with pytest.raises(
        StarsmithError, match=rf"^stage: a worker died {ATTEMPTS} times on 9 \(exit code -9\)\. Free some"
    ):
        run(tasks.die_first, [9, 0, 0], tmp_path)
    assert children() == set()


def test_a_worker_that_died_idle_is_replaced(tasks, tmp_path):
    made = engine(tmp_path, workers=2)
    try:
        first = set(made.map(tasks.who, range(8), label="stage", progress=print))
        for process in children():
            os.kill(process, signal.SIGKILL)
        time.sleep(0.2)
        second = set(made.map(tasks.who, range(8), label="stage", progress=print))
        assert second
        assert second.isdisjoint(first)
    finally:
        made.close()
    assert children() == set()


def test_a_users_fault_is_passed_on_in_its_words(tasks, tmp_path):
    with pytest.raises(StarsmithError, match=r"^x is at fault\. Mend it\.$"):
        run(tasks.refuse, ["x", "x"], tmp_path)
    assert children() == set()


def test_a_fault_of_ours_keeps_its_traceback(tasks, tmp_path):
    with pytest.raises(RuntimeError, match=re.compile(r"^stage failed:.*KeyError: 'x'", re.DOTALL)):
        run(tasks.fail, ["x"], tmp_path)


def test_a_silent_worker_is_replaced_beside_one_that_talks(tasks, tmp_path):
    made = engine(tmp_path, workers=1, stall_seconds=1.5)
    try:
        list(made.map(tasks.square, [1], label="stage", progress=print))
        assert list(made.map(tasks.sleep, [60], label="stage", progress=print)) == [(60, 1)]
        assert list(made.map(tasks.talk, [3], label="stage", progress=lambda count: None)) == [(3, 0)]
    finally:
        made.close()


# ---- queries


NUMBERS = pa.schema([pa.field("shard", pa.string()), pa.field("id", pa.int64()), pa.field("value", pa.float64())])


def query(text, *, key=("id",), schema=NUMBERS, **options):
    return Query(name="result", text=text, schema=schema, key=list(key), **options)


def sql(tmp_path, text_or_query, *, workers=2, **tables):
    store = Store(str(tmp_path / "store"))
    made = engine(tmp_path, workers=workers)
    try:
        asked = text_or_query if isinstance(text_or_query, Query) else query(text_or_query)
        return store, made.sql(store, asked, tables)
    finally:
        made.close()


ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(allow_nan=False) | st.none()), max_size=30)


@settings(max_examples=25)
@given(rows=ROWS, seed=st.integers(0, 100))
def test_bytes_depend_on_the_rows_alone(tmp_path_factory, rows, seed):
    folder = tmp_path_factory.mktemp("sql")
    numbered = [{"shard": shard, "id": number, "value": value} for number, (shard, value) in enumerate(rows)]
    asked = query("SELECT shard, id, value FROM t", partition_by="shard")
    store, parts = sql(folder, asked, t=pa.Table.from_pylist(numbered, schema=NUMBERS))
    assert [part.shard for part in parts] == sorted({row["shard"] for row in numbered})
    assert sum(part.rows for part in parts) == len(rows)
    for part in parts:
        found = pq.read_table(store.open(part.name)).to_pylist()
        assert found == [row for row in numbered if row["shard"] == part.shard]
    random.Random(seed).shuffle(numbered)
    half = len(numbered) // 2
    halves = [pa.Table.from_pylist(piece, schema=NUMBERS) for piece in (numbered[half:], numbered[:half])]
    assert sql(folder, asked, workers=1, t=pa.concat_tables(halves))[1] == parts


def test_stored_and_given_tables_are_read_alike(tmp_path):
    rows = pa.Table.from_pylist([{"shard": "a", "id": i, "value": i / 3} for i in range(200_000)], schema=NUMBERS)
    store = Store(str(tmp_path / "store"))
    part = write_part(store, "t", NUMBERS, [rows])
    text = "SELECT shard, id, value FROM t"
    _, stored = sql(tmp_path, text, t=Table(name="t", schema=NUMBERS, parts=(part,)))
    _, given_ = sql(tmp_path, text, t=rows)
    assert stored == given_
    assert pq.ParquetFile(store.open(stored[0].name)).num_row_groups > 1


def test_an_empty_result_is_one_empty_part_unless_it_is_cut(tmp_path):
    empty = NUMBERS.empty_table()
    _, whole = sql(tmp_path, "SELECT shard, id, value FROM t", t=empty)
    assert [part.rows for part in whole] == [0]
    assert sql(tmp_path, query("SELECT shard, id, value FROM t", partition_by="shard"), t=empty)[1] == ()


def test_a_query_outside_the_common_subset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="leaves the common SQL subset"):
        sql(tmp_path, "SELECT shard, id, first(value) AS value FROM t", t=NUMBERS.empty_table())


def test_a_value_that_does_not_fit_its_type_is_refused(tmp_path):
    large = pa.table({"id": pa.array([2**40], pa.int64())})
    schema = pa.schema([pa.field("id", pa.int32())])
    with pytest.raises(pa.ArrowInvalid):
        sql(tmp_path, query("SELECT id FROM t", schema=schema), t=large)
    assert Store(str(tmp_path / "store")).names("tables") == []


SPILLING = """
import sys
import pyarrow as pa
from starsmith.engines import Query, local
from starsmith.errors import StarsmithError
from starsmith.storage import Store

local.SQL_MEMORY = "30MB"
schema = pa.schema([pa.field("a", pa.string())])
rows = pa.table({"a": [f"{i * 7919 % 1_000_003:09}" * 8 for i in range(400_000)]})
engine = local.LocalEngine(workers=1, spill=sys.argv[1] + "/spill")
store = Store(sys.argv[2])
query = Query(name="q", text="SELECT a FROM t", schema=schema, key=["a"])
try:
    (part,) = engine.sql(store, query, {"t": rows})
    print("rows", part.rows)
except StarsmithError as error:
    print("error", error)
engine.close()
"""


def test_a_query_spills_to_disk_and_says_when_that_is_full(small_disk, tmp_path):
    (tmp_path / "spilling.py").write_text(SPILLING)
    done = small_disk(f"{sys.executable} spilling.py disk store", "200m")
    assert (done.stdout, done.stderr) == ("rows 400000\n", "")
    done = small_disk(f"{sys.executable} spilling.py disk store", "2m")
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
    assert done.stdout.startswith("error Query q needs more memory, or more room on the disk of ")
    assert Store(str(tmp_path / "store")).names("tmp") == []


def test_usage_tells_what_was_spilled(tmp_path, monkeypatch):
    rows = pa.table({"shard": ["a"] * 2_000_000, "id": range(2_000_000), "value": [0.5] * 2_000_000}, schema=NUMBERS)
    store, made = Store(str(tmp_path / "store")), engine(tmp_path, workers=1)
    try:
        made.sql(store, query("SELECT * FROM t WHERE id < 10"), {"t": rows})
        assert made.usage() == Usage()
        made.close()
        monkeypatch.setattr("starsmith.engines.local.SQL_MEMORY", "50MB")
        made.sql(store, query("SELECT * FROM t", key=("value", "id")), {"t": rows})
        spilled = made.usage().spilled_disk
        assert spilled > 1_000_000
        assert made.usage().since(Usage()) == {"spilled_disk": spilled}
        assert made.usage().since(made.usage()) == {}
    finally:
        made.close()


def test_ctrl_c_within_a_query_is_ctrl_c(tmp_path: Path) -> None:
    many = pa.table({"n": range(3_000)})
    query = Query(
        name="much",
        text="SELECT a.n AS n FROM t AS a JOIN t AS b ON a.n <= b.n JOIN t AS c ON b.n <= c.n",
        schema=pa.schema([pa.field("n", pa.int64())]),
        key=["n"],
    )
    engine = LocalEngine(workers=1, spill=str(tmp_path / "spill"))
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.sql(Store.at(tmp_path / "w"), query, {"t": many})
    finally:
        interrupt.join()
        engine.close()

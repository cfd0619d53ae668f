"""The second engine: Spark tasks for `map`, Spark SQL for `sql`. For corpora that one machine is too small for.

Spark moves rows and spills; only Python tasks touch storage, on both ends, so that a workspace lies wherever
`storage` reaches. A task may run twice, after a loss or by speculation: what it publishes is named by its content and
a record is the same whoever writes it, so that does no harm. What starts Spark stands in `spark_session`.
"""

import gc
import re
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from py4j.protocol import Py4JJavaError
from pyspark import Accumulator, AccumulatorParam, Broadcast, TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession

from starsmith.engines import GARBAGE_THRESHOLD, Query, SparkOptions, Task, Usage, unheard
from starsmith.engines.shared_tables import pack, unpack
from starsmith.engines.sorted_parts import order_of, write_sorted
from starsmith.engines.spark_session import SHUFFLE_TASKS, executor_error, start, without_pandas
from starsmith.engines.spark_status import SparkStatus
from starsmith.engines.sql_subset import check
from starsmith.errors import StarsmithError
from starsmith.part_file import PartFile
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

READ_BYTES = 16 << 20
"""What a task reads of a table, as it lies on disk: a second's work. Most tables of a small corpus take one task."""

BROADCAST_BYTES = 4 << 20
"""What every executor gets whole of a table, as it lies on disk, so that the other tables of a join stay in place."""

SHUFFLE_BYTES = 64 << 20
"""What a task of a shuffle gets of the tables of a query, as they lie on disk; rows take some four times that."""
TASKS_PER_CORE = 4
FEWEST_TASKS, MOST_TASKS = 8, 10_000
"""Adaptive execution joins small tasks. Beyond 10,000 the driver is what takes the time, and a task streams anyway."""

_POLL_SECONDS = 0.1
_LOOK_SECONDS = 0.5
_PARTS = "shard string, name string, rows bigint, bytes bigint, digest string"
_TYPES = {
    "bool": "boolean",
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    "float": "float",
    "double": "double",
    "string": "string",
    "large_string": "string",
    "binary": "binary",
    "large_binary": "binary",
    "timestamp[us]": "timestamp_ntz",
    "timestamp[us, tz=UTC]": "timestamp",
}

_Message = tuple[str, Any]


class _Messages(AccumulatorParam[list[_Message]]):
    """What tasks tell the driver. Spark delivers it when a task ends, once, however often the task was tried."""

    def zero(self, value: list[_Message]) -> list[_Message]:
        return []

    def addInPlace(self, value1: list[_Message], value2: list[_Message]) -> list[_Message]:
        value1 += value2
        return value1


class SparkEngine:
    """Runs on a session, which it ends when it is closed."""

    name = "spark"
    # It cuts queries into tasks itself.
    rows_at_once: int | None = None

    def __init__(self, session: SparkSession) -> None:
        self._session = session
        self._status = SparkStatus(session.sparkContext)
        self._usage = Usage()
        self._is_cut_by_user = session.sparkContext.getConf().contains(SHUFFLE_TASKS)
        self.executors = self._status.executors

    @property
    def workers(self) -> int:
        """The cores there are now: executors come and go."""
        return int(self._session.sparkContext.defaultParallelism)

    @classmethod
    def start(cls, options: SparkOptions, *, store: Store, witness: str, spill: str) -> "SparkEngine":
        """Return an engine on a session of its own.

        `witness` is an object of the store that every executor must see; `spill` is a local folder.
        Raises StarsmithError.
        """
        return cls(start(options, store=store, witness=witness, spill=spill))

    def prepare(self, *, workers: int, modules: Sequence[str]) -> None:
        """Spark's workers start with their first task and stay."""

    def map(
        self, function: Task[Any, Any], items: Sequence[Any], *, label: str, progress: Callable[[int], None]
    ) -> Iterator[Any]:
        if not items:
            return
        context = self._session.sparkContext
        messages: Accumulator[list[_Message]] = context.accumulator([], _Messages())
        packed, shared = pack(items)
        tables = context.broadcast(shared)
        run = partial(_run, function=function, tables=tables, messages=messages)

        with self._job(label, lambda: context.parallelize(packed, len(packed)).foreachPartition(run)) as (running, _):
            missing = len(items)
            try:
                for kind, value in _told(running, messages):
                    if kind == "progress":
                        progress(value)
                    elif kind == "refused":
                        raise StarsmithError(value)
                    elif kind == "failed":
                        raise RuntimeError(f"{label} failed:\n{value}")
                    else:
                        missing -= 1
                        yield value
                running.result()
                if missing:
                    raise RuntimeError(f"{label}: Spark lost {missing} of {len(items)} results on their way here")
            except (PySparkException, Py4JJavaError) as error:
                raise _failure(label, str(error), items) from error
        tables.destroy()

    @contextmanager
    def _job(self, label: str, work: Callable[[], Any]) -> Iterator[tuple[Future[Any], str]]:
        """Have Spark at work under a job group of its own, which ends with the block at the latest."""
        context = self._session.sparkContext
        group = f"{label} {uuid.uuid4()}"

        def job() -> Any:
            context.setJobGroup(group, label, interruptOnCancel=True)
            return work()

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(job)
            try:
                yield running, group
            finally:
                if not running.done():
                    context.cancelJobGroup(group)
        self._usage += self._status.used(group)
        self.executors = max(self.executors, self._status.executors)

    def usage(self) -> Usage:
        return self._usage

    def sql(
        self,
        store: Store,
        query: Query,
        tables: dict[str, Table | pa.Table],
        *,
        progress: Callable[[int, int], None] = unheard,
    ) -> tuple[Part, ...]:
        check(query)
        used = _words(query)
        self._cut(tables)
        try:
            with without_pandas():
                for name, table in tables.items():
                    self._rows(store, table, used).createOrReplaceTempView(name)
                rows = _sorted(self._session.sql(query.text).select(*query.schema.names), query)
                parts = rows.mapInArrow(partial(_write, store=store, query=query), _PARTS)
                written = self._collected(query.name, parts, progress)
        except (PySparkException, Py4JJavaError) as error:
            raise _failure(f"Query {query.name}", str(error)) from error
        finally:
            for name in tables:
                self._session.catalog.dropTempView(name)
        found = sorted((Part(**row.asDict()) for row in written), key=lambda part: part.shard)
        if len({part.shard for part in found}) < len(found):
            raise RuntimeError(f"query {query.name}: Spark divided the rows of one shard among tasks")
        if not found and query.partition_by is None:
            # A result that Spark knows to be empty has no task that could write it.
            found = [write_part(store, query.name, query.schema, [])]
        return tuple(found)

    def _cut(self, tables: dict[str, Table | pa.Table]) -> None:
        """Cut shuffles into enough tasks for the cores there are now, and for the size of the tables."""
        if not self._is_cut_by_user:
            size = sum(_size(table) for table in tables.values())
            tasks = max(TASKS_PER_CORE * self.workers, size // SHUFFLE_BYTES, FEWEST_TASKS)
            self._session.conf.set(SHUFFLE_TASKS, str(min(tasks, MOST_TASKS)))

    def _collected(self, name: str, rows: DataFrame, progress: Callable[[int, int], None]) -> list[Row]:
        with self._job(name, rows.collect) as (running, group):
            while not wait([running], timeout=_LOOK_SECONDS).done:
                progress(*self._status.tasks(group))
            found: list[Row] = running.result()
        return found

    def _rows(self, store: Store, table: Table | pa.Table, used: frozenset[str]) -> DataFrame:
        """Return the columns of a table that a query may use, to be read by tasks."""
        schema = pa.schema([column for column in table.schema if column.name.lower() in used] or [table.schema[0]])
        plain = pa.schema(map(_plain, schema))
        sources: Sequence[Part | pa.Table] = table.parts if isinstance(table, Table) else (table,)
        tasks = min(1 + _size(table) // READ_BYTES, max(len(sources), 1), MOST_TASKS)
        numbers = self._session.range(0, len(sources), 1, tasks)
        only = table.only if isinstance(table, Table) else None
        read = partial(_read, store=store, sources=sources, schema=plain, only=only)
        rows = numbers.mapInArrow(read, ", ".join(f"`{each.name}` {_TYPES[str(each.type)]}" for each in plain))
        return rows.hint("broadcast") if _size(table) <= BROADCAST_BYTES else rows

    def close(self) -> None:
        self._session.stop()


def _run(
    items: Iterable[bytes],
    *,
    function: Task[Any, Any],
    tables: Broadcast[tuple[Table, ...]],
    messages: Accumulator[list[_Message]],
) -> None:
    """Do one item: the body of a task. An error is told and not raised, so that Spark does not try again."""
    context = TaskContext.get()
    attempt = 0 if context is None else context.attemptNumber()
    gc.set_threshold(GARBAGE_THRESHOLD)
    for item in items:
        try:
            result = function(
                unpack(item, tables.value), attempt=attempt, progress=lambda count: messages.add([("progress", count)])
            )
            messages.add([("done", result)])
        except StarsmithError as error:
            messages.add([("refused", str(error))])
        except Exception:  # noqa: BLE001 (every bug in a task must reach the driver, whatever its type)
            messages.add([("failed", traceback.format_exc())])
    pa.default_memory_pool().release_unused()


def _told(running: Future[None], messages: Accumulator[list[_Message]]) -> Iterator[_Message]:
    """Yield messages as they come until the job has ended and the last has come."""
    is_over = False
    while not is_over:
        is_over = bool(wait([running], timeout=_POLL_SECONDS).done)
        new = list(messages.value)
        del messages.value[: len(new)]
        yield from new


def _size(table: Table | pa.Table) -> int:
    return sum(part.bytes for part in table.parts) if isinstance(table, Table) else int(table.nbytes)


def _words(query: Query) -> frozenset[str]:
    """Return every name that a query can speak of. A column without one is not read, whatever a star includes."""
    return frozenset(word.lower() for word in [*re.findall(r"\w+", query.text), *query.schema.names])


def _plain(column: pa.Field) -> pa.Field:
    """Return a column as Spark has it."""
    return pa.field(column.name, pa.binary() if pa.types.is_fixed_size_binary(column.type) else column.type)


def _read(
    batches: Iterator[pa.RecordBatch],
    *,
    store: Store,
    sources: Sequence[Part | pa.Table],
    schema: pa.Schema,
    only: frozenset[str] | None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the parts (or the tables) that the batches give the numbers of; of `only` these shards."""
    shards, shard_column = pa.array(sorted(only or ()), pa.string()), [] if only is None else ["shard"]
    for number in (number for batch in batches for number in batch.column(0).to_pylist()):
        source = sources[number]
        if not isinstance(source, Part):
            yield from source.select(schema.names).cast(schema).to_batches()
            continue
        with PartFile(store, source) as file:
            for group in range(file.row_groups):
                rows = file.read_group(group, list(dict.fromkeys([*schema.names, *shard_column])))
                if shard_column:
                    rows = rows.filter(pc.is_in(rows["shard"], value_set=shards))
                yield from rows.select(schema.names).cast(schema).to_batches()


def _sorted(rows: DataFrame, query: Query) -> DataFrame:
    """Return the rows of each part in one partition, in order; without parts by shard, all in one."""
    together = rows.repartition(query.partition_by) if query.partition_by else rows.repartition(1)
    return together.sortWithinPartitions(*(rows[name].asc_nulls_first() for name in order_of(query)))


def _write(batches: Iterator[pa.RecordBatch], *, store: Store, query: Query) -> Iterator[pa.RecordBatch]:
    """Write the rows of a partition; yield what was written."""
    for part in write_sorted(store, query, batches):
        yield pa.RecordBatch.from_pylist([asdict(part)])


def _failure(label: str, trace: str, items: Sequence[Any] = ()) -> Exception:
    """Return what the trace of a failed job means."""
    if found := executor_error(trace):
        return found
    if "No space left on device" in trace:
        return StarsmithError(
            f"{label}: the disk that Spark spills to is full. Free some space, or set spark.local.dir."
        )
    lost = re.search(r"Task (\d+) in stage \S+ failed (\d+) times", trace)
    died = re.search(r"Python worker exited unexpectedly|Executor\w*Lost|OutOfMemory|exit code|exited", trace)
    if lost and died:
        item = f" on {items[int(lost[1])]!s:.200}" if items else ""
        return StarsmithError(
            f"{label}: a task lost its worker {lost[2]} times{item} ({died[0]}). Give executors more memory "
            "(--spark-conf spark.executor.memory=…, spark.executor.memoryOverhead=…), then run the same command again."
        )
    return RuntimeError(f"{label} failed:\n{trace}")

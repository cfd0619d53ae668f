"""The default engine: worker processes on this machine for `map`, DuckDB for `sql`. Nothing to set up.

A worker that dies (a native library crashed, the system ran out of memory) costs its current item one attempt; the
item goes to a fresh worker, which is told so. A worker that reports nothing for `STALL_SECONDS` is treated the same.
When the driver dies, however it dies, its workers die with it.
"""

import gc
import importlib
import json
import multiprocessing
import os
import re
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import duckdb
import pyarrow as pa

from starsmith.disk import disk_errors
from starsmith.engines import GARBAGE_THRESHOLD, Query, Task, Usage, unheard
from starsmith.engines.sorted_parts import order_of, write_sorted
from starsmith.engines.sql_subset import check
from starsmith.errors import StarsmithError
from starsmith.isolation import end_with_parent
from starsmith.part_file import reading
from starsmith.storage import Store
from starsmith.table import Part, Table

ATTEMPTS = 3
STALL_SECONDS = 900.0
"""Silence after which a worker is killed. The slowest batch measured takes under 10 s; a busy machine is slower."""

SQL_MEMORY = "1GB"
"""DuckDB spills beyond this, and takes up to 400 MB more for what goes in and out. Half of it was too little for the
facts of 1.4 million documents (a corpus of 10 GB); with this, deciding on them peaks at 1.6 GB, workers included."""

ROWS_AT_ONCE = 5_000_000
"""What a query per shard reads, in all tables together: a million documents. What does not depend on the size of a
corpus needs no more memory for a larger one: the facts of 10 million documents at once were too much for 2 GB."""

FEW_ITEMS = 8
"""In a short run, one that was prepared for, so few items are left to the workers that are there, and DuckDB stays."""


def _serve(pipe: Connection, modules: tuple[str, ...]) -> None:
    """Load modules, then run items until told to stop: the body of a worker process."""
    end_with_parent()
    gc.set_threshold(GARBAGE_THRESHOLD)
    for name in modules:
        importlib.import_module(name)
    while (message := _next(pipe)) is not None:
        function, item, attempt = message
        try:
            result = function(item, attempt=attempt, progress=lambda count: pipe.send(("progress", count)))
            pipe.send(("done", result))
        except StarsmithError as error:
            pipe.send(("refused", str(error)))
        except Exception:  # noqa: BLE001 (every bug in a task must reach the driver, whatever its type)
            pipe.send(("failed", traceback.format_exc()))
        # A worker that waits stands beside DuckDB: what Arrow keeps for the next item is better given back.
        pa.default_memory_pool().release_unused()
    # What is published is on the disk, and taking the libraries down would take longer than many a task.
    os._exit(0)


def _next(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return None


class _Worker:
    """One worker process and the item it is busy with."""

    def __init__(self, modules: tuple[str, ...] = ()) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        # Not a daemon: a worker may need children to isolate a bad document. It ends when its pipe closes.
        self.process = context.Process(target=_serve, args=(far, modules))
        self.process.start()
        far.close()
        self.busy: tuple[Any, int] | None = None
        self._heard = 0.0

    def start(self, function: Task[Any, Any], item: Any, attempt: int) -> None:
        self.busy = (item, attempt)
        self._heard = time.monotonic()
        # A worker that has died since its last item is noticed where its answer is awaited.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send((function, item, attempt))

    def message(self, *, stall_seconds: float) -> tuple[str, Any]:
        """Return the next message, or that the worker has died, stalled, or nothing to say yet."""
        if not self.pipe.poll():
            return ("stalled" if time.monotonic() - self._heard >= stall_seconds else "silent"), None
        self._heard = time.monotonic()
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            return "died", None
        return kind, value

    def dismiss(self) -> None:
        """Have the worker end, at once if it is busy or, never asked for anything, may still be loading."""
        self.pipe.close()
        if self.busy or not self._heard:
            self.process.kill()

    def stop(self) -> None:
        self.dismiss()
        self.process.join()


class LocalEngine:
    """Process pool and DuckDB. `workers` processes; `spill` is a folder for queries that outgrow memory."""

    name = "local"
    executors = 1
    rows_at_once: int | None = ROWS_AT_ONCE

    def __init__(self, *, workers: int, spill: str, stall_seconds: float = STALL_SECONDS) -> None:
        self.workers = workers
        self.spill = spill
        self.stall_seconds = stall_seconds
        self._pool: list[_Worker] = []
        self._is_short = False
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._usage = Usage()

    def prepare(self, *, workers: int, modules: Sequence[str]) -> None:
        """Start some workers before there are items for them, and have them load what they will need.

        For a short run: what its workers take to start then passes beside what the driver has to do before.
        """
        self._is_short = True
        self._pool += [_Worker(tuple(modules)) for _ in range(min(workers, self.workers) - len(self._pool))]

    def map(
        self, function: Task[Any, Any], items: Sequence[Any], *, label: str, progress: Callable[[int], None]
    ) -> Iterator[Any]:
        waiting = deque((item, 0) for item in items)
        if not self._is_short or len(items) > FEW_ITEMS:
            self._disconnect()
        try:
            while waiting or any(worker.busy for worker in self._pool):
                self._fill(function, waiting)
                yield from self._collect(waiting, label=label, progress=progress)
        finally:
            self._drop_busy()

    def _fill(self, function: Task[Any, Any], waiting: deque[tuple[Any, int]]) -> None:
        """Give every idle worker an item. All are started with the first: the next stage needs them, ready by then."""
        enough = 1 if self._is_short and len(waiting) <= FEW_ITEMS else self.workers
        while waiting and len(self._pool) < enough:
            self._pool.append(_Worker())
        for worker in self._pool:
            if worker.busy is None and waiting:
                worker.start(function, *waiting.popleft())

    def _collect(
        self, waiting: deque[tuple[Any, int]], *, label: str, progress: Callable[[int], None]
    ) -> Iterator[Any]:
        """Wait for the next message or death and act on it."""
        busy = [worker for worker in self._pool if worker.busy]
        wait([worker.pipe for worker in busy], timeout=self.stall_seconds)
        for worker in busy:
            kind, value = worker.message(stall_seconds=self.stall_seconds)
            if kind == "progress":
                progress(value)
            elif kind == "done":
                worker.busy = None
                yield value
            elif kind == "refused":
                raise StarsmithError(value)
            elif kind == "failed":
                raise RuntimeError(f"{label} failed:\n{value}")
            elif kind != "silent":
                self._replace(worker, waiting, label=label, kind=kind)

    def _replace(self, worker: _Worker, waiting: deque[tuple[Any, int]], *, label: str, kind: str) -> None:
        assert worker.busy is not None
        item, attempt = worker.busy
        self._pool.remove(worker)
        worker.stop()
        if attempt + 1 == ATTEMPTS:
            raise StarsmithError(
                f"{label}: a worker {kind} {ATTEMPTS} times on {item!s:.200} (exit code {worker.process.exitcode}). "
                "Free some memory or use fewer --workers, then run the same command again."
            )
        waiting.appendleft((item, attempt + 1))

    def _drop_busy(self) -> None:
        """After an error: workers still at work are of no use to anybody."""
        for worker in [worker for worker in self._pool if worker.busy]:
            self._pool.remove(worker)
            worker.stop()

    def sql(
        self,
        store: Store,
        query: Query,
        tables: dict[str, Table | pa.Table],
        *,
        progress: Callable[[int, int], None] = unheard,
    ) -> tuple[Part, ...]:
        check(query)
        connection = self._duckdb()
        parts = [part for table in tables.values() if isinstance(table, Table) for part in table.parts]
        by = ", ".join(f"{column} ASC NULLS FIRST" for column in order_of(query))
        columns = ", ".join(query.schema.names)
        text = f"SELECT {columns} FROM ({query.text}) AS result ORDER BY {by}"
        try:
            with _interruptible(), reading(store, parts):
                for name, table in tables.items():
                    _show(connection, store, name, table)
                with connection.sql(text).to_arrow_reader() as reader:
                    parts_made = tuple(write_sorted(store, query, reader))
                self._usage += _spilled(connection)
                return parts_made
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            said = str(error).partition("\n")[0]
            raise StarsmithError(
                f"Query {query.name} needs more memory, or more room on the disk of {self.spill}, than there is: "
                f"{said} Free some and run the same command again."
            ) from error
        finally:
            with _interruptible():
                for name in tables:
                    connection.unregister(name)
                    connection.execute(f"DROP VIEW IF EXISTS {name}")

    def usage(self) -> Usage:
        return self._usage

    def _duckdb(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            with disk_errors(self.spill):
                os.makedirs(self.spill, exist_ok=True)
            self._connection = duckdb.connect()
            self._connection.execute("SET memory_limit = ?", [SQL_MEMORY])
            self._connection.execute("SET temp_directory = ?", [self.spill])
            self._connection.execute("SET threads = ?", [self.workers])
            self._connection.execute("SET enable_progress_bar = false")
            self._connection.execute("SET preserve_insertion_order = false")
            # How much a query spilled is only told to who asks before.
            self._connection.execute("PRAGMA enable_profiling = 'no_output'")
            # The parts of a table are opened by one query after the other and never change.
            self._connection.execute("SET parquet_metadata_cache = true")
        return self._connection

    def _disconnect(self) -> None:
        """Let go of what DuckDB keeps in memory between queries."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        for worker in self._pool:
            worker.dismiss()
        for worker in self._pool:
            worker.stop()
        self._pool = []
        self._disconnect()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for what DuckDB raises instead when Ctrl-C comes while it is at work."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def _spilled(connection: duckdb.DuckDBPyConnection) -> Usage:
    """Return what the query that has just ended had on disk at most; nothing where DuckDB is too old to say."""
    if not hasattr(connection, "get_profiling_information"):
        return Usage()
    told = json.loads(connection.get_profiling_information()).get("system", {})
    return Usage(spilled_disk=int(told.get("peak_temp_dir_size", 0)))


def _show(connection: duckdb.DuckDBPyConnection, store: Store, name: str, table: Table | pa.Table) -> None:
    """Let queries read a table under its name."""
    if not isinstance(table, Table):
        connection.register(name, table)
    elif table.rows == 0:
        # Told so, DuckDB leaves out whatever would be joined with it: most builds find no benchmark and no malware.
        connection.from_arrow(table.schema.empty_table()).filter("FALSE").create_view(name)
    elif not table.parts or not store.is_local or _PATTERN.search(store.root):
        connection.register(name, table.dataset(store))
    else:
        # DuckDB's own reader takes a third of the time that Arrow's takes. Page check sums it does not look at; every
        # part was held against the digest in its record.
        relation = connection.read_parquet([store.path(part.name) for part in table.parts], hive_partitioning=False)
        if table.only is not None:
            shards = ", ".join(f"'{shard}'" for shard in sorted(table.only))
            relation = relation.filter(f"shard IN ({shards})")
        relation.create_view(name)


_PATTERN = re.compile(r"[*?\[\]]")
"""What DuckDB takes for a pattern in a path."""

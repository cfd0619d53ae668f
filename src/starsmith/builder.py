"""The builder: runs jobs and queries that are not done yet, and remembers what each stage did.

It knows no stage. Work whose record exists is reused; with `plan` set nothing is run at all and the first piece of
work that would have to be is reported instead.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from starsmith import increment
from starsmith.engines import Engine, Query, Usage
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.increment import rows_digest
from starsmith.job import Job, Work, run_job
from starsmith.keyed import Seen, keyed
from starsmith.progress import Reporter
from starsmith.storage import Store
from starsmith.table import Part, Record, Table, read_record, record_name, write_part
from starsmith.workspace import StageReport, read_build


class WouldRun(Exception):
    """Raised instead of running anything when a build is only planned."""

    def __init__(self, stage: str, pending: int, items: int) -> None:
        super().__init__(f"{stage}: {pending} of {items} to do")
        self.stage, self.pending, self.items = stage, pending, items


@dataclass(kw_only=True, slots=True)
class _Tally:
    """What has been done under one stage so far."""

    name: str
    started: float = 0.0
    seconds: float = 0.0
    items: int = 0
    ran: int = 0
    work_seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    before: Usage = field(default_factory=Usage)
    moved: dict[str, int] = field(default_factory=dict)

    def start(self, engine: Engine) -> None:
        self.started, self.before = time.perf_counter(), engine.usage()

    def stop(self, engine: Engine) -> None:
        """Add what has passed since the start."""
        self.seconds += time.perf_counter() - self.started
        for name, count in engine.usage().since(self.before).items():
            self.moved[name] = self.moved.get(name, 0) + count


@dataclass(kw_only=True, slots=True)
class Builder:
    """Runs the pieces of one build on one engine and keeps their tables."""

    store: Store
    engine: Engine
    reporter: Reporter
    plan: bool = False
    tables: dict[str, Table] = field(default_factory=dict)
    reports: list[StageReport] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    _tally: _Tally | None = None
    _last: tuple[str, ...] | None = None
    _seen: Seen = field(default_factory=lambda: Seen(rows={}))
    _set_aside: dict[str, _Tally] = field(default_factory=dict)

    def begin(self, stage: str) -> None:
        """Start counting under a stage's name, or go on; a stage that is open is set aside until its own turn."""
        if self._tally is not None:
            self._tally.stop(self.engine)
            self._set_aside[self._tally.name] = self._tally
        self._tally = self._set_aside.pop(stage, None) or _Tally(name=stage)
        self._tally.start(self.engine)

    def end(self, *, documents_in: int, dropped: dict[str, int] | None = None) -> None:
        """Close the stage begun last. What goes in is kept or dropped."""
        tally = self._open()
        tally.stop(self.engine)
        gone = dropped or {}
        self.reports.append(
            StageReport(
                name=tally.name,
                seconds=round(tally.seconds, 3),
                work_seconds=round(tally.work_seconds, 3),
                items=tally.items,
                ran=tally.ran,
                documents_in=documents_in,
                kept=documents_in - sum(gone.values()),
                dropped=gone,
                counts=tally.counts,
                moved=tally.moved,
            )
        )
        self._tally = None

    def map(
        self,
        label: str,
        works: Sequence[tuple[str, Work]],
        schemas: dict[str, pa.Schema],
        *,
        total: int,
    ) -> dict[str, Table]:
        """Do each (fingerprint, work) once; return the tables their parts make up, in the order of the works."""
        jobs = [Job(stage=label, fingerprint=key, store=self.store, work=work) for key, work in works]
        keys = [job.fingerprint for job in jobs]
        records = dict(zip(keys, self.store.each(lambda key: read_record(self.store, label, key), keys), strict=True))
        pending = [job for job in jobs if records[job.fingerprint] is None]
        if pending and self.plan:
            raise WouldRun(label, len(pending), len(jobs))
        if pending:
            with self.reporter.stage(label, total=total) as progress:
                for record in self.engine.map(run_job, pending, label=label, progress=progress.advance):
                    records[record.fingerprint] = record
        done = [record for job in jobs if (record := records[job.fingerprint]) is not None]
        self._count(done, ran=len(pending))
        for name, schema in schemas.items():
            parts = [part for record in done for part in record.outputs.get(name, ())]
            self.tables[name] = Table(name=name, schema=schema, parts=tuple(parts))
        return {name: self.tables[name] for name in schemas}

    def sql(self, query: Query, **tables: Table | pa.Table) -> Table:
        """Run a query once; return its table. One that runs `per_shard` asks only for the shards that changed."""
        return self._per_shard(query, tables) if query.per_shard else self._whole(query, tables)

    def _whole(self, query: Query, tables: dict[str, Table | pa.Table]) -> Table:
        inputs = {
            name: table.digest if isinstance(table, Table) else increment.rows_digest(table)
            for name, table in tables.items()
        }
        order = [list(query.key), query.partition_by]
        asked = [query.name, query.text, query.schema.to_string(), order, pa.__version__]
        key = fingerprint([*asked, inputs])
        stage = f"sql/{query.name}"
        record = read_record(self.store, stage, key)
        if record is None:
            if self.plan:
                raise WouldRun(query.name, 1, 1)
            if query.by is None:
                record = self._run_query(stage, key, query, tables)
            else:
                record = self._run_keyed(stage, key, fingerprint(asked), query, tables)
            self._count([record], ran=1)
        else:
            self._count([record], ran=0)
        table = Table(name=query.name, schema=query.schema, parts=record.outputs[query.name])
        self.tables[query.name] = table
        return table

    def _per_shard(self, query: Query, tables: dict[str, Table | pa.Table]) -> Table:
        """Run a query for the shards whose rows no earlier record holds."""
        inputs = increment.inputs_of(self.store, query, tables)
        stage, key = f"sql/{query.name}", inputs.fingerprint
        record = read_record(self.store, stage, key)
        if record is None:
            if self.plan:
                raise WouldRun(query.name, 1, 1)
            record = self._run_shards(stage, key, query, inputs, tables)
            self._count([record], ran=1)
        else:
            self._count([record], ran=0)
        table = Table(name=query.name, schema=query.schema, parts=record.outputs[query.name])
        self.tables[query.name] = table
        return table

    def _run_shards(
        self, stage: str, key: str, query: Query, inputs: increment.Inputs, tables: dict[str, Table | pa.Table]
    ) -> Record:
        started = time.perf_counter()
        known = increment.answered(self._earlier(stage), query)
        missing = frozenset(shard for shard, made_from in inputs.shards.items() if made_from not in known)
        made: dict[str, tuple[Part, ...]] = {}
        for asked in increment.groups(tables, missing, self.engine.rows_at_once) if missing else ():
            cut = increment.of_shards(tables, inputs.split, asked)
            made |= increment.by_shard(self._ask(query, cut))
        parts = [
            part
            for shard, made_from in inputs.shards.items()
            for part in (made.get(shard, ()) if shard in missing else known[made_from])
        ]
        seconds = round(time.perf_counter() - started, 3)
        outputs = {query.name: tuple(parts)}
        record = Record(stage=stage, fingerprint=key, outputs=outputs, seconds=seconds, counts={}, shards=inputs.shards)
        record.write(self.store)
        return record

    def _run_keyed(self, stage: str, key: str, asked: str, query: Query, tables: dict[str, Table | pa.Table]) -> Record:
        started = time.perf_counter()
        earlier = [record for record in self._earlier(stage) if record.asked == asked]
        parts = keyed(self.store, query, tables, earlier, self._ask, seen=self._seen)
        if parts is None:
            parts = self._ask(query, tables)
        record = Record(
            stage=stage,
            fingerprint=key,
            outputs={query.name: parts},
            seconds=round(time.perf_counter() - started, 3),
            counts={},
            asked=asked,
            inputs={name: table.parts for name, table in tables.items() if isinstance(table, Table)},
        )
        record.write(self.store)
        return record

    def _earlier(self, stage: str) -> Iterator[Record]:
        """Yield the records of a stage that this build or the last one wrote."""
        if self._last is None:
            try:
                self._last = read_build(self.store).records
            except StarsmithError:
                self._last = ()
        prefix = record_name(stage, "").removesuffix(".json")
        for name in dict.fromkeys([*self._last, *self.records]):
            if name.startswith(prefix):
                record = read_record(self.store, stage, name.removeprefix(prefix).removesuffix(".json"))
                if record is not None:
                    yield record

    def query(self, query: Query) -> Table:
        """Run a query over the tables of this build that it reads."""
        return self.sql(query, **{name: self.tables[name] for name in query.reads & self.tables.keys()})

    def put(self, name: str, schema: pa.Schema, rows: pa.Table) -> Table:
        """Publish a small table that the driver itself has made, once. It counts as no piece of work."""
        key = fingerprint([name, schema.to_string(), rows_digest(rows), pa.__version__])
        return self.make(name, key, schema, lambda store: write_part(store, name, schema, [rows]))

    def make(self, name: str, key: str, schema: pa.Schema, write: Callable[[Store], Part]) -> Table:
        """Have the driver itself write a table of one part, once for each key."""
        record = read_record(self.store, name, key)
        if record is None:
            if self.plan:
                raise WouldRun(name, 1, 1)
            record = Record(stage=name, fingerprint=key, outputs={name: (write(self.store),)}, seconds=0.0, counts={})
            record.write(self.store)
        self.records.append(record.name)
        self.tables[name] = Table(name=name, schema=schema, parts=record.outputs[name])
        return self.tables[name]

    def _run_query(self, stage: str, key: str, query: Query, tables: dict[str, Table | pa.Table]) -> Record:
        started = time.perf_counter()
        parts = self._ask(query, tables)
        seconds = round(time.perf_counter() - started, 3)
        record = Record(stage=stage, fingerprint=key, outputs={query.name: parts}, seconds=seconds, counts={})
        record.write(self.store)
        return record

    def _ask(self, query: Query, tables: dict[str, Table | pa.Table]) -> tuple[Part, ...]:
        with self.reporter.query(query.name) as progress:
            return self.engine.sql(self.store, query, tables, progress=progress)

    def _open(self) -> _Tally:
        if self._tally is None:
            raise RuntimeError("no stage has begun")
        return self._tally

    def _count(self, records: Sequence[Record], *, ran: int) -> None:
        tally = self._open()
        tally.items += len(records)
        tally.ran += ran
        tally.work_seconds += sum(record.seconds for record in records)
        for record in records:
            self.records.append(record_name(record.stage, record.fingerprint))
            for name, count in record.counts.items():
                tally.counts[name] = tally.counts.get(name, 0) + count

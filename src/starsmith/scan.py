"""Scan: what is too dear to look for in every document is looked for in those that may be released.

Secrets and personal data (section 5 of the paper's data description), texts of benchmarks and malware (section 6). A
scan is a function of the content and of what scans, so what a detector found in an earlier build is taken over where
both are equal.
What is found means stands in `curate`; what becomes of a document is decided by `decisions`, what is replaced in it
is replaced by `release`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from itertools import compress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.builder import Builder
from starsmith.curate import decontaminate, encoding, redact
from starsmith.curate.decontaminate import Index
from starsmith.curate.findings import GROUPS
from starsmith.curate.malware import Scanner
from starsmith.detectors import DETECTORS, Detectors, database_of
from starsmith.document import BENCHMARK_MATCHES, FINDINGS, ID_BYTES, SCANS
from starsmith.engines import Query
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.isolation import Isolated
from starsmith.job import Outcome, Progress, Work
from starsmith.ledger import DROPS
from starsmith.part_file import PartFile, reading
from starsmith.scan_rows import Scanned, Signatures, rows_of, taken_over, together
from starsmith.storage import Store
from starsmith.table import Part, Table, union, write_part
from starsmith.workspace import last_build

WANTED = pa.schema([SCANS.field("shard"), SCANS.field("content_id")])
"""What is to be scanned."""
TABLES = {"scans": SCANS, "findings": FINDINGS, "benchmark_matches": BENCHMARK_MATCHES}

_BATCH_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanShard:
    """Scan the wanted contents of one shard.

    `known` are parts by table that an earlier build left of this shard. They change no byte of the result.
    """

    wanted: Part
    contents: Part
    detectors: Detectors
    known: dict[str, tuple[Part, ...]]

    def __str__(self) -> str:
        return f"shard {self.wanted.shard}"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        wanted = Table(name="wanted", schema=WANTED, parts=(self.wanted,)).read(store)["content_id"].combine_chunks()
        known, to_do = self._taken_over(store, wanted)
        progress(len(wanted) - to_do.num_rows)
        found = together([known, *self._new(store, to_do, attempt, progress)])
        tables = {
            "scans": rows_of(self.wanted.shard, wanted, found, self.detectors),
            "findings": found.findings,
            "benchmark_matches": found.benchmark_matches,
        }
        parts = {
            name: (write_part(store, name, schema, [tables[name]], shard=self.wanted.shard),)
            for name, schema in TABLES.items()
        }
        counts = {group: int(pc.sum(tables["scans"][f"num_{group}"]).as_py() or 0) for group in GROUPS}
        counts |= {"contents": len(wanted), "taken_over": len(wanted) - to_do.num_rows}
        return Outcome(parts=parts, counts=counts, final=found.is_final)

    def _taken_over(self, store: Store, wanted: pa.Array) -> tuple[Scanned, pa.Table]:
        """Return what equal detectors found in wanted contents before, and what is to do: content ids, and for each
        detector whether it has to look."""
        tables = {
            name: Table(name=name, schema=schema, parts=self.known.get(name, ())).read(store)
            for name, schema in TABLES.items()
        }
        known, known_ids = taken_over(tables, wanted, self.detectors)
        flags = {
            name: pc.and_(name in self.detectors.at_work, pc.invert(pc.is_in(wanted, value_set=known_ids[name])))
            for name in DETECTORS
        }
        to_do = pa.table({"content_id": wanted, **flags})
        return known, to_do.filter(reduce(pc.or_, (to_do[name] for name in DETECTORS)))

    def _new(self, store: Store, to_do: pa.Table, attempt: int, progress: Progress) -> Iterator[Scanned]:
        """Scan; nothing is started where nothing is to do."""
        if not to_do.num_rows:
            return
        isolated = Isolated(
            partial(scan_batch, detectors=self.detectors, store=store),
            poisoned,
            partial(_warm, detectors=self.detectors, store=store),
        )
        reads_texts = pc.any(pc.or_(to_do["redaction"], to_do["decontamination"])).as_py()
        if attempt == 0 and reads_texts:
            _warm_once(detectors=self.detectors, store=store)
        scans_malware = pc.any(to_do["malware"]).as_py()
        try:
            with _malware_scanner(self.detectors) if scans_malware else nullcontext(_no_signatures) as signatures_of:
                for batch in _batches(store, self.contents, to_do):
                    if (suspects := _where(batch, batch["malware"])).num_rows:
                        yield Scanned(signatures=signatures_of(suspects))
                    if (texts := _where(batch, pc.or_(batch["redaction"], batch["decontamination"]))).num_rows:
                        yield from isolated.trusting(texts) if attempt == 0 else isolated.results(texts)
                    progress(batch.num_rows)
        finally:
            isolated.close()


def _batches(store: Store, contents: Part, to_do: pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield the contents to scan, a few megabytes at a time: the columns of `to_do`, and `content`."""
    ids = to_do["content_id"].combine_chunks()
    with PartFile(store, contents) as file:
        for group in range(file.row_groups):
            places = pc.index_in(file.read_group(group, ["content_id"])["content_id"], value_set=ids)
            if places.null_count == len(places):
                continue
            content = file.read_group(group, ["content"])["content"].filter(pc.is_valid(places))
            rows = to_do.take(places.drop_null()).append_column("content", content)
            for batch in rows.combine_chunks().to_batches():
                step = max(1, batch.num_rows * _BATCH_BYTES // max(batch.nbytes, 1))
                for start in range(0, batch.num_rows, step):
                    yield batch.slice(start, step)


def _where(batch: pa.RecordBatch, flags: pa.BooleanArray) -> pa.RecordBatch:
    # Mostly all of them, which need not be copied.
    return batch if flags.true_count == len(flags) else batch.filter(flags)


def scan_batch(batch: pa.RecordBatch, *, detectors: Detectors, store: Store) -> Scanned:
    """Scan contents that are text (`content_id`, `content`) with the detectors whose columns say so; what is found in a
    row depends on that row alone."""
    ids: list[bytes] = batch["content_id"].to_pylist()
    texts = encoding.decode(batch["content"]).texts
    return Scanned(
        findings=_findings(*_chosen(ids, texts, batch["redaction"]), detectors),
        benchmark_matches=_benchmark_matches(*_chosen(ids, texts, batch["decontamination"]), detectors, store),
    )


def _chosen(
    ids: list[bytes], texts: pa.LargeBinaryArray, flags: pa.BooleanArray
) -> tuple[list[bytes], pa.LargeBinaryArray]:
    if flags.true_count == len(flags):
        return ids, texts
    return list(compress(ids, flags.to_pylist())), texts.filter(flags)


def _findings(ids: Sequence[bytes], texts: pa.LargeBinaryArray, detectors: Detectors) -> pa.Table:
    """Return rows of FINDINGS, each with the number of its line."""
    findings = redact.scan(texts, detectors.redaction)
    lines = np.zeros(len(findings), np.int64)
    for row in np.unique(findings.row).tolist():
        own = np.flatnonzero(findings.row == row)
        breaks = np.flatnonzero(np.frombuffer(texts[row].as_buffer(), np.uint8) == ord("\n"))
        lines[own] = np.searchsorted(breaks, findings.start[own]) + 1
    identifiers = [ids[row] for row in findings.row.tolist()]
    columns = [identifiers, list(findings.kind), pa.array(findings.start), pa.array(findings.end), pa.array(lines)]
    return pa.table(columns, schema=FINDINGS)


def _benchmark_matches(
    ids: Sequence[bytes], texts: pa.LargeBinaryArray, detectors: Detectors, store: Store
) -> pa.Table:
    if detectors.index is None:
        return BENCHMARK_MATCHES.empty_table()
    with reading(store, [detectors.index]):
        index = _open_index(store, detectors.index.name)
    found = decontaminate.scan(texts, index)
    identifiers = pa.array(ids, pa.binary(ID_BYTES)).take(found["document"].combine_chunks())
    return pa.table([identifiers, *found.drop_columns(["document"]).columns], schema=BENCHMARK_MATCHES)


@lru_cache(maxsize=1)
def _open_index(store: Store, name: str) -> Index:
    """Map an index once in a process: it may be hundreds of megabytes."""
    with store.map(name) as file:
        return Index.from_buffer(file.read_buffer())


def poisoned(batch: pa.RecordBatch, answer: str, detail: str) -> Scanned:
    """Return what is to be said of one content that could not be scanned."""
    return Scanned(failed={batch["content_id"][0].as_py(): (f"error.{answer}", detail)})


def _warm(*, detectors: Detectors, store: Store) -> None:
    """Load every compiled kernel and table on one small text."""
    content = pa.array([b"password = 'x' # a@b.example.com\n"], pa.binary())
    flag = pa.array([True])
    columns = {"content_id": pa.array([bytes(ID_BYTES)], pa.binary(ID_BYTES)), "content": content}
    batch = pa.RecordBatch.from_pydict({**columns, "redaction": flag, "decontamination": flag})
    scan_batch(batch, detectors=detectors, store=store)


# Loading kernels and a large index takes seconds once in a process, which no content should be charged for.
_warm_once = lru_cache(maxsize=1)(_warm)


def _no_signatures(_: pa.RecordBatch) -> Signatures:
    return {}


@contextmanager
def _malware_scanner(detectors: Detectors) -> Iterator[Callable[[pa.RecordBatch], Signatures]]:
    """Yield a function that returns what is infected in a batch: by content id, the signature and the detail."""
    settings = detectors.malware
    assert settings is not None, "nothing is to be looked for otherwise"
    with Scanner(settings, probe=detectors.probe) as scanner:

        def signatures_of(batch: pa.RecordBatch) -> Signatures:
            found = scanner.scan(batch["content"].to_pylist())
            database = database_of(scanner, settings)
            if database != detectors.database and not detectors.newer:
                raise StarsmithError(
                    f"clamd has loaded other signatures during the build ({scanner.database} in place of "
                    f"{detectors.database}). Run the same command again."
                )
            names = zip(batch["content_id"].to_pylist(), found, strict=True)
            return {identifier: (name, f"{name} ({database})") for identifier, name in names if name}

        yield signatures_of


def run(builder: Builder, detectors: Detectors, wanted: Table, *, known: dict[str, tuple[Part, ...]]) -> None:
    """Scan the wanted contents and add the rows to the tables `scans`, `findings` and `benchmark_matches`."""
    contents = {part.shard: part for part in builder.tables["contents"].parts}
    works: list[tuple[str, Work]] = [
        (
            fingerprint([detectors.fingerprint, pa.__version__, part.digest]),
            ScanShard(
                wanted=part,
                contents=contents[part.shard],
                detectors=detectors,
                known={name: _of_shard(parts, part.shard) for name, parts in known.items()},
            ),
        )
        for part in wanted.parts
    ]
    before = {name: builder.tables[name] for name in TABLES}
    after = builder.map("scan", works, TABLES, total=wanted.rows)
    for name in TABLES:
        builder.tables[name] = union(name, [before[name], after[name]])


def _of_shard(parts: tuple[Part, ...], shard: str) -> tuple[Part, ...]:
    return tuple(part for part in parts if part.shard == shard)


def nothing() -> dict[str, Table]:
    """Return the tables before anything was scanned."""
    return {name: Table(name=name, schema=schema, parts=()) for name, schema in TABLES.items()}


def earlier(store: Store) -> dict[str, tuple[Part, ...]]:
    """Return the parts of the scans that the last build of a workspace left, where they are still there."""
    last = last_build(store)
    tables = last.tables if last else {}
    found = {name: tables.get(name, ()) for name in TABLES}
    every = [part for parts in found.values() for part in parts]
    whole = all(store.each(lambda part: store.size(part.name) == part.bytes, every))
    return found if whole else {}


_CANDIDATES = "SELECT alive.shard, alive.content_id FROM ({alive}) AS alive"
_CLUSTERS = """
  UNION
  SELECT facts.shard, facts.content_id
  FROM facts
  JOIN clusters ON clusters.document_id = facts.document_id
  JOIN (
    SELECT members.cluster_id
    FROM clusters AS members
    JOIN bad ON bad.document_id = members.document_id
    GROUP BY members.cluster_id
  ) AS fallen ON fallen.cluster_id = clusters.cluster_id"""


def wanted_query(alive: str, *, clusters: bool) -> Query:
    """Ask for what is alive and not scanned; with `clusters`, also for all that stood behind what was found bad.

    The whole cluster at once: its members would otherwise come up one in each round.
    """
    text = f"""
SELECT candidates.shard, candidates.content_id
FROM (
  {_CANDIDATES.format(alive=alive)}{_CLUSTERS if clusters else ""}
) AS candidates
ANTI JOIN scans ON scans.shard = candidates.shard AND scans.content_id = candidates.content_id"""
    # The members of a cluster lie in many shards.
    alone, key = not clusters, ["shard", "content_id"]
    return Query(name="scan_wanted", text=text, schema=WANTED, key=key, partition_by="shard", per_shard=alone)


def drops_query(alive: str) -> Query:
    """Drop what may not be released, with what was found."""
    text = f"""
SELECT alive.document_id, alive.shard, 'scan' AS stage, scans.reason, scans.value, scans.threshold,
       CAST(NULL AS BINARY) AS winner_id, CAST(NULL AS DOUBLE) AS similarity, scans.detail
FROM ({alive}) AS alive
JOIN scans ON scans.shard = alive.shard AND scans.content_id = alive.content_id
WHERE scans.reason IS NOT NULL"""
    key = ["shard", "document_id"]
    return Query(name="drops_scan", text=text, schema=DROPS, key=key, partition_by="shard", per_shard=True)

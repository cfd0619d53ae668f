"""Scan: what is too dear to look for in every document is looked for in those that may be released.

Secrets and personal data (section 5 of the paper's data description), texts of benchmarks and malware (section 6). A
scan is a function of the content and of what scans, so rows of an earlier build are taken over where both are equal.
What is found means stands in `curate`; what becomes of a document is decided by `decisions`, what is replaced in it
is replaced by `release`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.builder import Builder
from starsmith.curate import decontaminate, encoding, redact
from starsmith.curate.decontaminate import Index
from starsmith.curate.findings import GROUPS, Findings, group_of
from starsmith.curate.malware import Scanner
from starsmith.detectors import Detectors, database_of
from starsmith.document import BENCHMARK_MATCHES, FINDINGS, ID_BYTES, SCANS
from starsmith.engines import Query
from starsmith.errors import StarsmithError, StoreFault
from starsmith.fingerprint import fingerprint
from starsmith.isolation import Isolated
from starsmith.job import Outcome, Progress, Work
from starsmith.ledger import DROPS
from starsmith.part_file import PartFile, reading
from starsmith.settings import DecontaminationSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, union, write_part
from starsmith.workspace import read_build

WANTED = pa.schema([SCANS.field("shard"), SCANS.field("content_id")])
"""What is to be scanned."""
TABLES = {"scans": SCANS, "findings": FINDINGS, "benchmark_matches": BENCHMARK_MATCHES}

_BATCH_BYTES = 4 << 20
_COUNTS = tuple(f"num_{group}" for group in GROUPS)
_ORDERS = {
    "scans": ("content_id",),
    "findings": ("content_id", "start", "end", "kind"),
    "benchmark_matches": ("content_id", "position", "kind", "benchmark", "problem", "field"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanned:
    """Rows about some contents; `stalled` counts those that another run may scan after all."""

    scans: pa.Table
    findings: pa.Table
    benchmark_matches: pa.Table
    stalled: int = 0


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
        known = self._taken_over(store, wanted)
        missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=known.scans["content_id"].combine_chunks())))
        progress(known.scans.num_rows)
        new = list(self._new(store, missing, attempt, progress)) if len(missing) else []
        rows = _together([known, *new])
        parts = {
            name: (write_part(store, name, schema, [getattr(rows, name)], shard=self.wanted.shard),)
            for name, schema in TABLES.items()
        }
        counts = {name.removeprefix("num_"): int(pc.sum(rows.scans[name]).as_py() or 0) for name in _COUNTS}
        counts |= {"contents": rows.scans.num_rows, "taken_over": known.scans.num_rows}
        return Outcome(parts=parts, counts=counts, final=rows.stalled == 0)

    def _taken_over(self, store: Store, wanted: pa.Array) -> Scanned:
        """Return the rows of wanted contents that the same detectors scanned before."""
        tables = {
            name: Table(name=name, schema=schema, parts=self.known.get(name, ())).read(store)
            for name, schema in TABLES.items()
        }
        scans = tables["scans"]
        scans = scans.filter(
            pc.and_(
                pc.and_(pc.equal(scans["detectors"], self.detectors.fingerprint), _is_in(scans, wanted)),
                # What depended on the machine is tried again.
                pc.fill_null(pc.not_equal(scans["reason"], "error.stalled"), True),
            )
        )
        ids = scans["content_id"].combine_chunks()
        others = {name: table.filter(_is_in(table, ids)) for name, table in tables.items() if name != "scans"}
        return Scanned(scans=scans, **others)

    def _new(self, store: Store, missing: pa.Array, attempt: int, progress: Progress) -> Iterator[Scanned]:
        function = partial(scan_batch, shard=self.wanted.shard, detectors=self.detectors, store=store)
        isolated = Isolated(
            function,
            partial(poisoned, shard=self.wanted.shard, detectors=self.detectors),
            partial(_warm, detectors=self.detectors, store=store),
        )
        if attempt == 0:
            _warm_once(detectors=self.detectors, store=store)
        try:
            with _malware_scanner(self.detectors) as signatures_of:
                for batch in _batches(store, self.contents, missing):
                    signatures = signatures_of(batch)
                    for scanned in isolated.trusting(batch) if attempt == 0 else isolated.results(batch):
                        progress(scanned.scans.num_rows)
                        yield _with_signatures(scanned, signatures, self.detectors)
        finally:
            isolated.close()


def _is_in(table: pa.Table, ids: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(table["content_id"], value_set=ids)


def _together(pieces: Sequence[Scanned]) -> Scanned:
    """Return all rows in an order that does not tell where they came from."""
    tables: dict[str, pa.Table] = {}
    for name in TABLES:
        rows = pa.concat_tables([getattr(piece, name) for piece in pieces])
        tables[name] = rows.sort_by([(column, "ascending") for column in _ORDERS[name]])
    return Scanned(**tables, stalled=sum(piece.stalled for piece in pieces))


def _batches(store: Store, contents: Part, wanted: pa.Array) -> Iterator[pa.RecordBatch]:
    """Yield (content_id, content) of the wanted contents, a few megabytes at a time."""
    with PartFile(store, contents) as file:
        for group in range(file.row_groups):
            chosen = pc.is_in(file.read_group(group, ["content_id"])["content_id"], value_set=wanted)
            if not pc.any(chosen).as_py():
                continue
            rows = file.read_group(group, ["content_id", "content"]).filter(chosen)
            for batch in rows.combine_chunks().to_batches():
                step = max(1, batch.num_rows * _BATCH_BYTES // max(batch.nbytes, 1))
                for start in range(0, batch.num_rows, step):
                    yield batch.slice(start, step)


def scan_batch(batch: pa.RecordBatch, *, shard: str, detectors: Detectors, store: Store) -> Scanned:
    """Scan contents (columns `content_id`, `content`) that are text; a row's result depends on that row alone."""
    ids: list[bytes] = batch["content_id"].to_pylist()
    texts = encoding.decode(batch["content"]).texts
    findings = redact.scan(texts, detectors.redaction)
    matches = _benchmark_matches(ids, texts, detectors, store)
    rows = [_clean_row(shard, identifier, detectors) for identifier in ids]
    for span in findings.spans():
        if (group := group_of(span.kind)) is not None:
            rows[span.row][f"num_{group}"] += 1
    places = {identifier: row for row, identifier in enumerate(ids)}
    for identifier, evidence in _benchmark_evidence(matches, detectors.decontamination).items():
        rows[places[identifier]] |= evidence
    return Scanned(
        scans=pa.Table.from_pylist(rows, schema=SCANS),
        findings=_finding_rows(ids, texts, findings),
        benchmark_matches=matches,
    )


def _clean_row(shard: str, identifier: bytes, detectors: Detectors) -> dict[str, Any]:
    row: dict[str, Any] = {"shard": shard, "content_id": identifier, "detectors": detectors.fingerprint}
    return row | dict.fromkeys(_COUNTS, 0)


def _finding_rows(ids: Sequence[bytes], texts: pa.LargeBinaryArray, findings: Findings) -> pa.Table:
    """Return the FINDINGS rows, each with the number of its line."""
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


def _benchmark_evidence(matches: pa.Table, settings: DecontaminationSettings) -> dict[bytes, dict[str, Any]]:
    """Return reason and evidence for each content that holds a problem: its plainest match."""
    best: dict[bytes, dict[str, Any]] = {}
    for match in matches.to_pylist():
        other = best.setdefault(match["content_id"], match)
        if _plainness(match) < _plainness(other):
            best[match["content_id"]] = match
    return {identifier: _evidence(match, settings) for identifier, match in best.items()}


def _plainness(match: dict[str, Any]) -> tuple[str, float, str, str, str]:
    # "text" comes before "words".
    return match["kind"], -match["share"], match["benchmark"], match["problem"], match["field"]


def _evidence(match: dict[str, Any], settings: DecontaminationSettings) -> dict[str, Any]:
    detail = f"{match['benchmark']} {match['problem']} ({match['field']})"
    if match["kind"] == "text":
        return {"reason": "benchmark.text", "detail": detail}
    words = {"value": match["share"], "threshold": settings.ngram_share}
    return {"reason": "benchmark.words", "detail": detail} | words


def poisoned(batch: pa.RecordBatch, answer: str, detail: str, *, shard: str, detectors: Detectors) -> Scanned:
    """Return the row of one content that could not be scanned."""
    row = _clean_row(shard, batch["content_id"][0].as_py(), detectors)
    row |= {"reason": f"error.{answer}", "detail": detail}
    return Scanned(
        scans=pa.Table.from_pylist([row], schema=SCANS),
        findings=FINDINGS.empty_table(),
        benchmark_matches=BENCHMARK_MATCHES.empty_table(),
        stalled=int(answer == "stalled"),
    )


def _warm(*, detectors: Detectors, store: Store) -> None:
    """Load every compiled kernel and table on one small text."""
    content = pa.array([b"password = 'x' # a@b.example.com\n"], pa.binary())
    batch = pa.RecordBatch.from_arrays(
        [pa.array([bytes(ID_BYTES)], pa.binary(ID_BYTES)), content], names=["content_id", "content"]
    )
    scan_batch(batch, shard="", detectors=detectors, store=store)


# Loading kernels and a large index takes seconds once in a process, which no content should be charged for.
_warm_once = lru_cache(maxsize=1)(_warm)


@contextmanager
def _malware_scanner(detectors: Detectors) -> Iterator[Callable[[pa.RecordBatch], dict[bytes, str]]]:
    """Yield a function that returns the signatures found in a batch, by content id."""
    settings = detectors.malware
    if settings is None:
        yield lambda batch: {}
        return
    with Scanner(settings, probe=detectors.probe) as scanner:

        def signatures_of(batch: pa.RecordBatch) -> dict[bytes, str]:
            found = scanner.scan(batch["content"].to_pylist())
            if database_of(scanner, settings) != detectors.database and not detectors.newer:
                raise StarsmithError(
                    f"clamd has loaded other signatures during the build ({scanner.database} in place of "
                    f"{detectors.database}). Run the same command again."
                )
            return {each: name for each, name in zip(batch["content_id"].to_pylist(), found, strict=True) if name}

        yield signatures_of


def _with_signatures(scanned: Scanned, signatures: dict[bytes, str], detectors: Detectors) -> Scanned:
    """Add what the malware scanner found; it is the reason where nothing else is."""
    if not signatures:
        return scanned
    rows = scanned.scans.to_pylist()
    for row in rows:
        row["signature"] = signatures.get(row["content_id"])
        if row["signature"] and row["reason"] is None:
            row |= {"reason": "malware.signature", "detail": f"{row['signature']} ({detectors.database})"}
    return replace(scanned, scans=pa.Table.from_pylist(rows, schema=SCANS))


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
    try:
        tables = read_build(store).tables
    except StoreFault:
        raise
    except StarsmithError:
        return {}
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
  JOIN clusters AS fallen ON fallen.cluster_id = clusters.cluster_id
  JOIN bad ON bad.document_id = fallen.document_id"""


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

"""Rows of a scan: what was found in contents put together, and what of an earlier build is still true.

What one detector found is kept although another has changed. A row holds what all of them found, so its fingerprint has
a word for each. Scans nothing and reads no file: `scan` does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.curate.findings import GROUPS, group_of
from starsmith.detectors import DETECTORS, Detectors
from starsmith.document import BENCHMARK_MATCHES, FINDINGS, ID_BYTES, SCANS
from starsmith.settings import DecontaminationSettings

Signatures = dict[bytes, tuple[str, str]]
"""By content id: the name that a malware scanner has for it, and the detail of the reason."""

_STALLED = "error.stalled"
_MALWARE = "malware.signature"
_ORDERS = {
    "findings": ("content_id", "start", "end", "kind"),
    "benchmark_matches": ("content_id", "position", "kind", "benchmark", "problem", "field"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanned:
    """What was found in some contents, by content id where it is not a table.

    `failed` has reason and detail of those that could not be scanned, `signatures` the name that a malware scanner has
    for one, and the detail.
    """

    findings: pa.Table = field(default_factory=FINDINGS.empty_table)
    benchmark_matches: pa.Table = field(default_factory=BENCHMARK_MATCHES.empty_table)
    failed: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    signatures: Signatures = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether another run would find the same."""
        return not any(reason == _STALLED for reason, _ in self.failed.values())


def taken_over(
    tables: dict[str, pa.Table], wanted: pa.Array, detectors: Detectors
) -> tuple[Scanned, dict[str, pa.Array]]:
    """Return what equal detectors found in wanted contents before, and by detector the ids of these contents.

    `tables` are the rows of an earlier build by the name of their table.
    """
    scans = tables["scans"].filter(_is_in(tables["scans"], wanted))
    equal = _known(scans, detectors)
    ids = {name: scans["content_id"].filter(mask).combine_chunks() for name, mask in equal.items()}
    failed = scans.filter(pc.and_(pc.and_(equal["redaction"], equal["decontamination"]), _has_failed(scans)))
    infected = scans.filter(pc.and_(equal["malware"], pc.is_valid(scans["signature"])))
    matches = tables["benchmark_matches"]
    scanned = Scanned(
        findings=tables["findings"].filter(_is_in(tables["findings"], ids["redaction"])),
        benchmark_matches=matches.filter(_is_in(matches, ids["decontamination"])),
        failed=_by_id(failed, "reason", "detail"),
        signatures=_by_id(infected, "signature", "detail"),
    )
    return scanned, ids


def _known(scans: pa.Table, detectors: Detectors) -> dict[str, pa.ChunkedArray]:
    """Return for each detector which rows of SCANS hold what it would find again.

    A row that failed says nothing of either scan of its text, and one that stalled nothing at all: that depended on the
    machine. Where a benchmark is the reason, the evidence of malware is not in the row.
    """
    masks = {}
    stated = scans["detectors"]
    for number, name in enumerate(DETECTORS):
        equal = [each for each in stated.unique().to_pylist() if detectors.is_equal(each, number)]
        masks[name] = pc.is_in(stated, value_set=pa.array(equal, pa.string()))
    reason = pc.fill_null(scans["reason"], "")
    both = pc.and_(pc.and_(masks["redaction"], masks["decontamination"]), pc.not_equal(reason, _STALLED))
    whole = pc.or_(pc.invert(_has_failed(scans)), both)
    told = pc.or_(pc.is_null(scans["signature"]), pc.equal(reason, _MALWARE))
    return {
        "redaction": pc.and_(masks["redaction"], whole),
        "decontamination": pc.and_(masks["decontamination"], whole),
        "malware": pc.and_(masks["malware"], told),
    }


def _has_failed(scans: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.starts_with(scans["reason"], "error."), False)


def _is_in(table: pa.Table, ids: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(table["content_id"], value_set=ids)


def _by_id(rows: pa.Table, *columns: str) -> dict[bytes, tuple[str, str]]:
    values = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    return dict(zip(rows["content_id"].to_pylist(), values, strict=True))


def together(pieces: Iterable[Scanned]) -> Scanned:
    """Return all that was found, in an order that does not tell where it came from."""
    every = list(pieces)
    failed = {identifier: why for piece in every for identifier, why in piece.failed.items()}
    tables: dict[str, pa.Table] = {}
    for name, order in _ORDERS.items():
        rows = pa.concat_tables([getattr(piece, name) for piece in every])
        if failed:
            # What one detector had found before the other failed.
            rows = rows.filter(pc.invert(_is_in(rows, pa.array(list(failed), pa.binary(ID_BYTES)))))
        tables[name] = rows.sort_by([(column, "ascending") for column in order])
    signatures = {identifier: found for piece in every for identifier, found in piece.signatures.items()}
    return Scanned(**tables, failed=failed, signatures=signatures)


def rows_of(shard: str, wanted: pa.Array, found: Scanned, detectors: Detectors) -> pa.Table:
    """Return a row of SCANS for each content; of several reasons the first counts."""
    wanted = wanted.take(pc.array_sort_indices(wanted))
    evidence = {
        identifier: {"reason": _MALWARE, "detail": detail} for identifier, (_, detail) in found.signatures.items()
    }
    evidence |= _benchmark_evidence(found.benchmark_matches, detectors.decontamination)
    evidence |= {identifier: {"reason": why, "detail": detail} for identifier, (why, detail) in found.failed.items()}
    names = {identifier: {"signature": name} for identifier, (name, _) in found.signatures.items()}
    columns = {
        "shard": pa.repeat(shard, len(wanted)),
        "content_id": wanted,
        "detectors": pa.repeat(detectors.fingerprint, len(wanted)),
        **_columns_of(evidence, wanted, ("reason", "detail", "value", "threshold")),
        **_columns_of(names, wanted, ("signature",)),
    }
    places = np.asarray(pc.index_in(found.findings["content_id"], value_set=wanted), np.int64)
    groups = np.array([group_of(kind) or "" for kind in found.findings["kind"].to_pylist()])
    for group in GROUPS:
        columns[f"num_{group}"] = np.bincount(places[groups == group], minlength=len(wanted))
    return pa.table({name: columns[name] for name in SCANS.names}, schema=SCANS)


def _columns_of(told: dict[bytes, dict[str, Any]], wanted: pa.Array, names: Iterable[str]) -> dict[str, list[Any]]:
    """Return columns of what is told of a few of the wanted contents, and null of the others."""
    columns: dict[str, list[Any]] = {name: [None] * len(wanted) for name in names}
    places = pc.index_in(pa.array(list(told), pa.binary(ID_BYTES)), value_set=wanted).to_pylist()
    for place, each in zip(places, told.values(), strict=True):
        if place is not None:
            for name, values in columns.items():
                values[place] = each.get(name)
    return columns


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

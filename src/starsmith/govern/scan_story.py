"""Scan story: what the scans say of one document, in plain words and as plain values for JSON.

A scan tells where something stands and of which kind it is; so does this, and never the value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starsmith.govern.foreign_text import share, visible
from starsmith.govern.scan_words import kind_words, listed, looked_for
from starsmith.recipe import Recipe
from starsmith.verdict import KEEP, explain

Row = dict[str, Any]

MOST_LINES: Final = 10
"""Line numbers of one kind, and benchmark problems, that are told in words; `--json` has all."""
_WHAT: Final = "secrets, benchmark problems and malware"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanStory:
    """Rows of the scan tables about one document. `scan` is None where it was not scanned; `before` says whether it
    was left out by then. `database` is what looked for malware, None where nothing did."""

    recipe: Recipe
    verdict: str
    before: bool
    database: str | None
    scan: Row | None = None
    findings: Sequence[Row] = ()
    matches: Sequence[Row] = ()

    def words(self) -> Iterator[str]:
        """Yield a line for each thing that was looked for."""
        if self.scan is None:
            why = "it was left out before" if self.before else "a document nearly the same was chosen before it"
            yield f"  Not scanned for {_WHAT}: {why}."
            return
        if reason := self._broken():
            yield f"  The scan for {_WHAT} did not end: {reason}."
        else:
            yield f"  Secrets and personal data: {self._replaced()}."
            yield f"  Benchmarks: {self._benchmarks()}."
        yield f"  Malware: {self._malware()}."

    def _broken(self) -> str | None:
        """Return in words why the scan has no result, if it has none."""
        reason = (self.scan or {}).get("reason") or ""
        return explain(reason) if reason.startswith("error.") else None

    def _replaced(self) -> str:
        wanted = looked_for(self.recipe.redaction)
        if not wanted:
            return "not looked for"
        if not self.findings:
            return f"none found ({listed(wanted)} were looked for)"
        lines: dict[str, list[int]] = {}
        for row in self.findings:
            lines.setdefault(row["kind"], []).append(row["line"])
        told = [f"{len(own):,} {kind_words(kind, len(own))} ({_lines(own)})" for kind, own in lines.items()]
        return f"{'replaced' if self.verdict == KEEP else 'found'} {', '.join(told)}"

    def _benchmarks(self) -> str:
        if not self.recipe.benchmarks:
            return "not looked for"
        if not self.matches:
            return f"no problem of {listed([visible(each.name) for each in self.recipe.benchmarks], last='or')}"
        whole = {_problem(row) for row in self.matches if row["kind"] == "text"}
        matches = [row for row in self.matches if row["kind"] == "text" or _problem(row) not in whole]
        told = [_match(row) for row in matches[:MOST_LINES]]
        rest = len(matches) - len(told)
        return "; ".join([*told, *([f"and {rest:,} more"] if rest else [])])

    def _malware(self) -> str:
        signature = (self.scan or {}).get("signature")
        if self.database is None:
            return "not looked for"
        return f"{visible(signature)}, says {self.database}" if signature else f"none known to {self.database}"

    def plain(self) -> dict[str, Any] | None:
        """Return the story as values that JSON can hold; None where the document was not scanned."""
        if self.scan is None:
            return None
        matched = ("benchmark", "problem", "field", "kind", "position", "share")
        return {
            **{name: self.scan[name] for name in ("reason", "detail", "value", "threshold", "signature")},
            "database": self.database,
            "findings": [{name: row[name] for name in ("kind", "line", "start", "end")} for row in self.findings],
            "benchmarks": [{name: row[name] for name in matched} for row in self.matches],
        }


def _lines(numbers: Sequence[int]) -> str:
    """Return the numbers of lines, each once.

    >>> _lines([3, 3, 17])
    'lines 3, 17'
    """
    known = list(dict.fromkeys(numbers))
    shown = ", ".join(f"{number:,}" for number in known[:MOST_LINES])
    rest = len(known) - MOST_LINES
    return f"line{'s' if len(known) > 1 else ''} {shown}{f' and {rest:,} more' if rest > 0 else ''}"


def _problem(row: Row) -> str:
    return visible(f"{row['benchmark']} {row['problem']} ({row['field']})")


def _match(row: Row) -> str:
    problem = _problem(row)
    if row["kind"] == "text":
        return f"{problem} stands in it, from byte {row['position']:,} on"
    part = share(round(row["share"] * 1000), 1000)
    return f"{part} of the runs of words of {problem}, the first at byte {row['position']:,}"

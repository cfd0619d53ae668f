"""Answers: what a look-up found, in plain words and as plain values for JSON.

Paths and names come from outside: control characters are shown, not sent to the terminal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starsmith.curate.filters import Filter
from starsmith.document import swhid
from starsmith.govern.foreign_text import number, visible
from starsmith.govern.scan_story import ScanStory
from starsmith.govern.scan_words import match_words
from starsmith.verdict import KEEP, explain

_METHODS = {
    "filename": "by its file name",
    "extension": "by its extension",
    "shebang": "by its interpreter line",
    "modeline": "by its editor mode line",
    "content": "by its content, among the languages its name leaves open",
    "xml": "by its XML declaration",
    "none": "",
}
_LICENCE_METHODS = {
    "header": "stated in the file itself",
    "licence_file": "by the licence file {evidence}",
    "manifest": "by the package manifest {evidence}",
    "readme": "by the readme {evidence}",
    "origin": "stated by the origin's own metadata",
    "gha": "stated by the hosting site's metadata",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentStory:
    """All that happened to one document: rows of the tables, the checks it was held against, its winner and place."""

    document: dict[str, Any]
    origin: dict[str, Any]
    text: dict[str, Any]
    annotation: dict[str, Any]
    licence: dict[str, Any]
    checks: tuple[tuple[Filter, Any], ...]
    verdict: dict[str, Any]
    scan: ScanStory
    winner: dict[str, Any] | None
    release: tuple[str, int] | None
    order: tuple[str, ...]

    @property
    def name(self) -> str:
        return visible(f"{self.origin['repo_name']}:{self.document['path']}")

    def headline(self) -> str:
        """Return the verdict in one sentence."""
        verdict = self.verdict["verdict"]
        if verdict == KEEP:
            return "kept"
        return f"left out at the stage {self.verdict['stage']}: {explain(verdict)} ({verdict})"

    def words(self) -> Iterator[str]:
        """Yield the chain of what happened, a line each."""
        yield f"{self.name}"
        yield f"  Verdict: {self.headline()}{self._evidence()}."
        yield f"  Collected from {visible(self.origin['url'])}{self._revision()}, {self.document['length']:,} bytes."
        if self.document["content_id"]:
            yield f"  Content: {swhid('cnt', self.document['content_id'])}"
        if reason := self.document["reason"] or self.text.get("reason"):
            detail = self.document["detail"] or self.text.get("detail")
            yield f"  Not read as text: {explain(reason)}{f' ({visible(detail)})' if detail else ''}."
            yield from self.scan.words()
            return
        yield f"  Language: {self._language()}"
        yield f"  Licence: {self._licence()}"
        yield from self._measured()
        yield from self.scan.words()
        if self.release:
            yield f"  Released in {self.release[0]}, row {self.release[1]}."

    def _evidence(self) -> str:
        verdict = self.verdict
        if self.winner is not None:
            return self._other(self.winner)
        if verdict["verdict"].startswith("benchmark."):
            return f"; {match_words(verdict['detail'], verdict['value'], verdict['threshold'])}"
        if verdict["value"] is not None:
            return f"; {verdict['detail']} {_number(verdict['value'])}, threshold {_number(verdict['threshold'])}"
        return f"; {visible(verdict['detail'])}" if verdict["detail"] else ""

    def _other(self, winner: dict[str, Any]) -> str:
        """Say which document this one was dropped for: the one kept, or a copy whose licence forbids it."""
        where = visible(f"{winner['repo_name']}:{winner['path']}")
        if self.verdict["verdict"] == "licence.conflict":
            licence = f" under {visible(winner['detail'])}" if winner["detail"] else ""
            return f"; the same bytes lie{licence} at {where}"
        threshold = self.verdict["threshold"]
        likeness = f", similarity {self.verdict['similarity']:.3f}, threshold {_number(threshold)}" if threshold else ""
        fate = "" if winner["verdict"] == KEEP else f", itself left out: {explain(winner['verdict'])}"
        return f"; kept instead: {where}{likeness}{fate}"

    def _revision(self) -> str:
        revision = self.origin["revision_id"]
        return f" at {swhid('rev', revision)}" if revision else ""

    def _language(self) -> str:
        name = self.annotation.get("language")
        if name is None:
            return "none recognised."
        flags = [flag for flag in ("is_vendor", "is_generated") if self.annotation[flag]]
        marks = f"; {' and '.join(flag.removeprefix('is_') for flag in flags)}" if flags else ""
        encoding = self.text.get("src_encoding")
        return f"{name}, decided {_METHODS.get(self.annotation['language_method'], '')}; encoding {encoding}{marks}."

    def _licence(self) -> str:
        licence = self.licence
        if not licence or licence["expression"] is None:
            return "none found."
        evidence = visible(licence["evidence_path"] or "")
        how = _LICENCE_METHODS.get(licence["method"], licence["method"]).format(evidence=evidence)
        score = "" if licence["score"] in (None, 100.0) else f", score {licence['score']:.0f}"
        return f"{licence['expression']} ({licence['license_type']}), {how}{score}."

    def _measured(self) -> Iterator[str]:
        yield "  Filters:"
        for check, value in self.checks:
            mark = "passes" if check.passes(value) else "fails "
            word = "most" if check.above else "least"
            yield f"    {mark} {check.reason}: {check.what} {_number(value)} (at {word} {_number(check.threshold)})"
        for flag, reason in (("is_generated", "filter.generated"),):
            if self.annotation.get(flag):
                yield f"    fails  {reason}: recognised by its name or form"
        if phrase := self.text.get("generated_phrase"):
            yield f"    fails  filter.generated: says {phrase!r}"

    def plain(self) -> dict[str, Any]:
        """Return the story as values that JSON can hold."""
        return {
            "origin": _plain(self.origin),
            "document": _plain(self.document),
            "text": _plain(self.text),
            "annotation": _plain(self.annotation),
            "licence": _plain(self.licence),
            "filters": [
                {"reason": check.reason, "what": check.what, "value": value, "threshold": check.threshold}
                | {"passes": check.passes(value)}
                for check, value in self.checks
            ],
            "verdict": _plain(self.verdict),
            "scan": self.scan.plain(),
            "winner": None if self.winner is None else _plain(self.winner),
            "release": None if self.release is None else {"file": self.release[0], "row": self.release[1]},
            "order": list(self.order),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginStory:
    """What became of an origin's documents: (documents, bytes) by verdict, kept first."""

    repo_name: str
    url: str
    source: str
    revision: str | None
    directory: str | None
    error: str | None
    verdicts: dict[str, tuple[int, int]]

    def words(self) -> Iterator[str]:
        total = sum(count for count, _ in self.verdicts.values())
        kept = self.verdicts.get(KEEP, (0, 0))[0]
        yield f"{visible(self.repo_name)}: {kept:,} of {total:,} documents kept."
        yield f"  Collected from {visible(self.url)} ({self.source}){f' at {self.revision}' if self.revision else ''}."
        if self.error:
            yield f"  Could not be read: {visible(self.error)}."
        for verdict, (count, size) in self.verdicts.items():
            if verdict != KEEP:
                yield f"  {count:>8,}  {verdict}: {explain(verdict)} ({size:,} bytes)"

    def plain(self) -> dict[str, Any]:
        verdicts = {name: {"documents": count, "bytes": size} for name, (count, size) in self.verdicts.items()}
        fields = ("repo_name", "url", "source", "revision", "directory", "error")
        return {name: getattr(self, name) for name in fields} | {"verdicts": verdicts}


@dataclass(frozen=True, kw_only=True, slots=True)
class Similar:
    """A document like a snippet. `contained` is the share of the snippet's shingles found in it."""

    story: DocumentStory
    similarity: float
    contained: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SnippetStory:
    """The documents most like a snippet of `shingles` distinct shingles; `reason` is set where it is no text."""

    shingles: int
    similar: tuple[Similar, ...]
    reason: str | None = None

    def words(self) -> Iterator[str]:
        if self.reason:
            yield f"No document has these bytes, and they cannot be compared: {explain(self.reason)}."
        elif not self.shingles:
            yield "Too short to be compared: give at least five words."
        elif not self.similar:
            yield "No collected document is like it."
        else:
            yield f"No document has these bytes. The most similar ones ({self.shingles:,} shingles compared):"
        for each in self.similar:
            story = each.story
            yield f"  {each.contained:>6.1%} of it in {story.name} (Jaccard {each.similarity:.3f}): {story.headline()}"

    def plain(self) -> dict[str, Any]:
        similar = [
            {"contained": each.contained, "similarity": each.similarity, "document": each.story.plain()}
            for each in self.similar
        ]
        return {"shingles": self.shingles, "reason": self.reason, "similar": similar}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer to one question: documents, origins, or what is like a snippet."""

    target: str
    documents: tuple[DocumentStory, ...] = ()
    origins: tuple[OriginStory, ...] = ()
    snippet: SnippetStory | None = None
    occurrences: int = 0

    def words(self) -> str:
        """Return the answer as lines of text."""
        lines: list[str] = []
        if self.occurrences > len(self.documents):
            lines.append(f"{self.occurrences:,} documents; the first {len(self.documents)}:")
        for document in self.documents:
            lines.extend(document.words())
        for origin in self.origins:
            lines.extend(origin.words())
        if self.snippet is not None:
            lines.extend(self.snippet.words())
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "target": self.target,
            "occurrences": self.occurrences,
            "documents": [document.plain() for document in self.documents],
            "origins": [origin.plain() for origin in self.origins],
            "snippet": None if self.snippet is None else self.snippet.plain(),
        }


def _number(value: float | None) -> str:
    return "none" if value is None else number(value)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime) else value

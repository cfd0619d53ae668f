"""Results of benchmarks as people read them: a Markdown page a result, lines for a terminal, a plot as one SVG file.

What a judged program said of itself is somebody else's text, and is shown as such.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from starsmith.evaluate.comparison import PAPER_MODELS, Comparison, Line
from starsmith.evaluate.result import Result, Score
from starsmith.evaluate.run import STATUSES
from starsmith.evaluate.verdict_file import Judged
from starsmith.govern.foreign_text import counted, markdown_code, share, shortened
from starsmith.govern.markdown import table
from starsmith.govern.markup import Markup, element

MOST_TASKS: Final = 500
"""Problems that a page names. `result.json` has all."""
MOST_DIFFERENCES: Final = 50
_OTHER_REASONS: Final = {
    "matched": "It is the expected text.",
    "differs": "It is not the expected text.",
    "dropped": "The official scorer leaves it out.",
    "unreadable": "The file of generations has nothing that could be judged in its place.",
}


def percent(value: float, unit: str) -> str:
    """Return a score as it is printed.

    >>> percent(0.6341, "percent"), percent(0.25, "number")
    ('63.41 %', '0.250')
    """
    return f"{100 * value:.2f} %" if unit == "percent" else f"{value:.3f}"


def with_interval(score: Score) -> str:
    """Return a score with its 95% interval."""
    return f"{percent(score.value, score.unit)} ({percent(score.low, score.unit)} to {percent(score.high, score.unit)})"


def score_lines(result: Result) -> list[str]:
    """Return what a terminal shows of a result."""
    lines = [
        f"{' '.join(part for part in (result.title, each.metric, each.group) if part)}: {with_interval(each)}, "
        f"{counted(each.problems, 'problem')}"
        for each in result.scores
    ]
    reasons = ", ".join(f"{shortened(reason)} {count:,}" for reason, count in result.reasons().items())
    return [*lines, f"{counted(sum(result.reasons().values()), 'completion')}: {reasons}"]


def page(result: Result) -> str:
    """Return the Markdown page of a result."""
    judged = sum(result.reasons().values())
    parts = [
        f"# {result.title}\n",
        *(f"> {shortened(each)}\n" for each in result.warnings),
        table(
            ["metric", "group", "score", "95% interval", "problems"],
            (
                (s.metric, s.group or "all", percent(s.value, s.unit), _interval(s), f"{s.problems:,}")
                for s in result.scores
            ),
            text=2,
        ),
        "## Why completions failed\n",
        table(
            ["reason", "what it means", "completions", "share"],
            (
                (each, STATUSES.get(each, _OTHER_REASONS.get(each, "")), f"{count:,}", share(count, judged))  # type: ignore[call-overload]
                for each, count in result.reasons().items()
            ),
            text=2,
        ),
        *_tasks(result),
        "## What the score depends on\n",
        table(["what", "value"], _facts(result), text=2),
    ]
    return "\n".join(parts)


def _interval(score: Score) -> str:
    return f"{percent(score.low, score.unit)} to {percent(score.high, score.unit)}"


def _tasks(result: Result) -> list[str]:
    failed = [(task, found) for task, found in result.tasks.items() if not all(each.verdict.passed for each in found)]
    rows = [
        (markdown_code(task), f"{sum(each.verdict.passed for each in found)} of {len(found)}", _why(found))
        for task, found in failed[:MOST_TASKS]
    ]
    more = [f"{len(failed) - MOST_TASKS:,} more are in `result.json`.\n"] if len(failed) > MOST_TASKS else []
    title = f"## Problems that were not always solved: {len(failed):,} of {len(result.tasks):,}\n"
    return [title, table(["problem", "passed", "why not"], rows, text=3), *more] if rows else []


def _why(found: Sequence[Judged]) -> str:
    reasons = Counter(each.verdict.reason for each in found if not each.verdict.passed)
    said = next((each.verdict.detail for each in found if not each.verdict.passed and each.verdict.detail), "")
    named = ", ".join(
        reason if count == len(found) == 1 else f"{reason} {count:,}" for reason, count in reasons.items()
    )
    return f"{named}: {markdown_code(said)}" if said else named


def _facts(result: Result) -> Iterable[tuple[str, str]]:
    record = result.record
    sandbox, versions, problems = record["sandbox"], record["versions"], record["problems"]
    yield "command", markdown_code(shlex.join(record["command"]))
    yield "recipe", f"{record['recipe']} Version {result.version}."
    yield "options", markdown_code(", ".join(f"{key}={value}" for key, value in result.options.items()) or "none")
    yield "problems", f"{problems['judged']:,} of {problems['all']:,}"
    yield "generations", f"{markdown_code(record['generations']['file'])}, SHA-256 {record['generations']['sha256']}"
    yield from _origin(record["generations"]["provenance"])
    for file in record["data"]:
        known = file["version"] or "unknown version"
        yield "data", f"{markdown_code(file['path'])}, {known}, SHA-256 {file['digest']}"
    yield "sandbox", "bubblewrap" if sandbox["isolated"] else "**none** (`--unsafe-no-sandbox`)"
    yield "judged beside their test", f"{sandbox['judged_beside']:,}"
    yield "limits", markdown_code(_joined(sandbox["limits"]))
    yield from ((name, markdown_code(_joined(value))) for name, value in versions.items() if value)
    yield from ((f"missing: {name}", value) for name, value in record["missing"].items())


def _origin(known: Any) -> Iterable[tuple[str, str]]:
    for name in ("model", "sampling", "seed"):
        if known and name in known:
            yield name, markdown_code(_joined(known[name]))


def _joined(value: object) -> str:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def comparison_text(found: Comparison, *, paper: bool) -> str:
    """Return a comparison as tables that a terminal shows, and that are Markdown as well."""
    models = PAPER_MODELS if paper else ()
    rows = [
        [line.name, *(with_interval(cell) if cell else "" for cell in line.cells), *_paper(line)]
        for line in found.lines
    ]
    parts = [aligned(["benchmark", *map(shortened, found.names), *models], rows)]
    if found.differences:
        named = [
            [each.benchmark, shortened(each.task, 40), *map(shortened, each.passed)]
            for each in found.differences[:MOST_DIFFERENCES]
        ]
        parts += [
            f"{counted(len(found.differences), 'problem')} with other verdicts:",
            aligned(["", "", *found.names], named),
        ]
        if len(found.differences) > MOST_DIFFERENCES:
            parts.append(f"{len(found.differences) - MOST_DIFFERENCES:,} more with --json.")
    sources = sorted({line.source for line in found.lines if line.source})
    return "\n\n".join(
        [*parts, *(f"Paper: {each}" for each in sources), *(f"Warning: {each}" for each in found.warnings)]
    )


def _paper(line: Line) -> list[str]:
    return ["" if value is None else percent(value, line.unit) for value in line.paper]


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns stand under one another.

    >>> print(aligned(["a", "long"], [["xyz", "1"]]))
    | a   | long |
    |-----|------|
    | xyz | 1    |
    """
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *rows)
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


_COLOURS: Final = ("#1d5fb3", "#b3471d", "#2c7a3f", "#7a4bb3", "#9a7d0a", "#0a7d8c")
_PAPER_COLOURS: Final = ("#c4c4c4", "#a3a3a3", "#828282")
_BAR, _GAP, _LEFT, _WIDTH = 16, 14, 220, 760


def plot(found: Comparison) -> str:
    """Return the shares of a comparison as bars with their intervals: one SVG file."""
    series = [*zip(found.names, _COLOURS * len(found.names), strict=False)]
    papers = [*zip(PAPER_MODELS, _PAPER_COLOURS, strict=True)] if any(line.paper for line in found.lines) else []
    top, parts = 30 + 18 * ((len(series) + len(papers) + 2) // 3), [*_legend([*series, *papers])]
    for line in (line for line in found.lines if line.unit == "percent"):
        bars = [(colour, cell) for (_, colour), cell in zip(series, line.cells, strict=True) if cell]
        known = [(colour, value) for (_, colour), value in zip(papers, line.paper, strict=False) if value is not None]
        middle = top + _BAR * (len(bars) + len(known)) / 2 + 4
        parts.append(element("text", line.name, x=_LEFT - 8, y=f"{middle:.1f}", text_anchor="end"))
        for colour, cell in bars:
            parts += _bar(cell.value, colour, top, whisker=(cell.low, cell.high))
            top += _BAR
        for colour, value in known:
            parts += _bar(value, colour, top)
            top += _BAR
        top += _GAP
    title = element("title", "Scores in percent, with 95% intervals")
    drawn = element(
        "svg",
        title,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {top + 10}",
        font_family="sans-serif",
        font_size=12,
        role="img",
    )
    return f"{drawn}\n"


def _legend(series: Sequence[tuple[str, str]]) -> list[Markup]:
    parts = []
    for number, (name, colour) in enumerate(series):
        x, y = 10 + 250 * (number % 3), 10 + 18 * (number // 3)
        parts += [
            element("rect", x=x, y=y, width=12, height=12, fill=colour),
            element("text", shortened(name, 32), x=x + 18, y=y + 10),
        ]
    return parts


def _bar(value: float, colour: str, top: float, whisker: tuple[float, float] | None = None) -> list[Markup]:
    scale, middle = _WIDTH - _LEFT - 70, top + (_BAR - 2) / 2
    parts = [element("rect", x=_LEFT, y=top, width=f"{scale * value:.1f}", height=_BAR - 2, fill=colour)]
    if whisker:
        low, high = (f"{_LEFT + scale * each:.1f}" for each in whisker)
        parts.append(element("line", x1=low, x2=high, y1=middle, y2=middle, stroke="#111"))
    right = _LEFT + scale * max(value, *(whisker or (0.0,))) + 6
    parts.append(element("text", f"{100 * value:.1f}", x=f"{right:.1f}", y=f"{middle + 4:.1f}"))
    return parts

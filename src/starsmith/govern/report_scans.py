"""Report scans: the sections on secrets and personal data, on benchmarks and malware, and on requests to be left out.

They hold counts and kinds. No value that was replaced stands in a report, nor the name of anybody who left.
"""

from typing import Final

from starsmith.govern.foreign_text import share, shortened, size
from starsmith.govern.markup import Column, Markup, bar, element, joined, table
from starsmith.govern.report_page import Report, counted
from starsmith.govern.scan_words import (
    KIND_OF_MATCH,
    kind_words,
    left_as_they_are,
    listed,
    looked_for,
    not_looked_for,
    opt_out_words,
    replaced_by,
    rule_words,
)

_SHOWN: Final = 30


def redaction(report: Report) -> Markup:
    """Return what was replaced in the texts, by kind."""
    numbers, settings = report.composition, report.recipe.redaction
    wanted, unwanted = looked_for(settings), ["names of people", "user names", *not_looked_for(settings)]
    if not wanted:
        return element("p", f"Not looked for, as the recipe says: {listed(unwanted)}. Expect all of them in the files.")
    values, documents = numbers.replaced_in_all
    found = (
        f"{counted(values, 'value')} in {counted(documents, 'file')} ({share(documents, numbers.kept_documents)} of "
        f"the corpus) {'is' if values == 1 else 'are'} replaced in the release."
        if values
        else "Nothing was found that has to be replaced."
    )
    exempt = left_as_they_are(settings)
    kept = f" Left as they are: {listed(exempt)}." if exempt else ""
    looked = f"Looked for in every file of the corpus: {listed(wanted)}. Not looked for: {listed(unwanted)}.{kept}"
    how = (
        "Rules find them, and no rule finds all: how many are found, and how many of those are right, is measured in "
        "the documentation. Equal values of a file get equal replacements, lines stay where they are, and all that "
        "this page says of a file was measured before. What was replaced in a file is counted in its columns "
        "redacted_… of the release."
    )
    parts = [element("p", element("strong", found)), element("p", looked)]
    if values:
        parts.append(_kinds(report))
    return joined([*parts, element("p", how)])


def _kinds(report: Report) -> Markup:
    rows = report.composition.replaced_kinds
    most = max((row["findings"] for row in rows), default=1)
    lines: list[tuple[object, ...]] = [
        (
            _first_upper(kind_words(row["kind"], 2)),
            _replacement(row["kind"]),
            f"{row['findings']:,}",
            f"{row['documents']:,}",
            bar(row["findings"] / most, kind="scan"),
        )
        for row in rows[:_SHOWN]
    ]
    if rest := rows[_SHOWN:]:
        values = sum(row["findings"] for row in rest)
        lines.append((counted(len(rest), "further kind"), "", f"{values:,}", "", bar(values / most, kind="scan")))
    columns = [
        Column(title="Kind"),
        Column(title="Replaced with", wide=True),
        Column(title="Values", number=True),
        Column(title="Files", number=True),
        Column(title="", wide=True),
    ]
    return table("What is replaced, by kind; a file counts in every row that is true of it", columns, lines)


def _replacement(kind: str) -> object:
    words = replaced_by(kind)
    return element("code", words) if words.startswith("<") else words


def _first_upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def benchmarks_and_malware(report: Report) -> Markup:
    """Return which benchmarks' problems and which malware were found."""
    database = report.record.versions.get("malware")
    return joined(
        [
            element("h3", "Benchmarks"),
            _benchmarks(report) if report.recipe.benchmarks else element("p", "Not looked for: the recipe names none."),
            element("h3", "Malware"),
            _malware(report, database) if database else element("p", "Not looked for: the recipe names no scanner."),
        ]
    )


def _benchmarks(report: Report) -> Markup:
    numbers, named = report.composition, report.recipe.benchmarks
    texts = f"{counted(numbers.benchmark_texts, 'text')} of {counted(len(named), 'benchmark')}"
    said = f"Looked for in every file of the corpus: {texts}."
    rows: list[tuple[object, ...]] = []
    for benchmark in named:
        name = shortened(benchmark.name)
        found = [row for row in numbers.benchmarks if row["benchmark"] == benchmark.name]
        rows += [(name, KIND_OF_MATCH[row["kind"]], f"{row['problems']:,}", f"{row['documents']:,}") for row in found]
        rows += [] if found else [(name, "nothing", "0", "0")]
    columns = [
        Column(title="Benchmark"),
        Column(title="What was found"),
        Column(title="Of its problems", number=True),
        Column(title="Files left out", number=True),
    ]
    caption = "What stands of each benchmark in the files; a file counts in every row that is true of it"
    return joined([element("p", f"{said} {rule_words(report.recipe.decontamination)}"), table(caption, columns, rows)])


def _malware(report: Report, database: str) -> Markup:
    found = report.composition.signatures
    said = element(
        "p",
        f"Every file of the corpus was handed to {database}, archives within files included; one that came back since, "
        "as a copy of what was opted out, perhaps to newer signatures.",
    )
    if not found:
        return joined([said, element("p", "No file was left out for malware.")])
    rows = [(shortened(row["signature"]), f"{row['documents']:,}", size(row["bytes"])) for row in found[:_SHOWN]]
    if rest := found[_SHOWN:]:
        files, volume = sum(row["documents"] for row in rest), sum(row["bytes"] for row in rest)
        rows.append((counted(len(rest), "further signature"), f"{files:,}", size(volume)))
    columns = [
        Column(title="Signature"),
        Column(title="Files left out", number=True),
        Column(title="Size", number=True),
    ]
    return joined([said, table("", columns, rows)])


def opt_outs(report: Report) -> Markup:
    """Return how much left because somebody asked; by counts alone."""
    said = opt_out_words(
        report.recipe.opt_out.copies, documents=report.composition.content_left, requests=report.requests
    )
    return element("p", f"{said} Who asked is told by no page, card or release.")

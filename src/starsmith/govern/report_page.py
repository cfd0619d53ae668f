"""Report page: the HTML of a report, from what is in the corpus, over what was left out and why, to the fine print.

The first screen answers the three questions of somebody who has never seen the project; `report_sections` holds what
comes after it. One file, no script, nothing loaded: the page's own policy forbids it.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Final

from starsmith.govern.composition import Composition, Row, reason_words, stage_words
from starsmith.govern.foreign_text import share, shortened, size
from starsmith.govern.markup import Column, Markup, Slice, bar, element, escaped, joined, key, path, stacked, table
from starsmith.recipe import Recipe
from starsmith.workspace import BuildRecord

_SHOWN_GROUPS: Final = 6
_SHOWN_LICENCES: Final = 5
_SHOWN_REASONS: Final = 8
_STAGES_WITH_COLOUR: Final = frozenset({"errors", "repository", "licence", "filters", "exact", "scan", "near"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that a page is made of. `requests` counts those to be left out that are in force."""

    workspace: str
    composition: Composition
    record: BuildRecord
    recipe: Recipe
    requests: int = 0

    @property
    def name(self) -> str:
        return shortened(self.recipe.release.name, 80)


def style() -> str:
    return resources.files("starsmith").joinpath("data/report.css").read_text("utf-8")


def page(report: Report, sections: Iterable[tuple[str, str, Markup]]) -> str:
    """Return the whole document. `sections` are (id, title, content), in the order in which they stand."""
    listed = list(sections)
    title = f"{report.name}: what is in it, what was left out, and why"
    body = element(
        "body",
        _header(report),
        element("main", _contents(report), _navigation(listed), *(_section(*each) for each in listed)),
        _footer(report),
    )
    document = element("html", _head(title), body, lang="en")
    return f"<!doctype html>\n{document}\n"


def _head(title: str) -> Markup:
    """Return the head. The policy admits this very style sheet, by its digest, and nothing else."""
    sheet = style()
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(sheet)),
    )


def _section(identifier: str, title: str, content: Markup) -> Markup:
    return element("section", element("h2", title), content, id=identifier)


def _navigation(sections: list[tuple[str, str, Markup]]) -> Markup:
    links = [element("li", element("a", title, href=f"#{identifier}")) for identifier, title, _ in sections]
    return element("nav", element("ul", *links), aria_label="Sections")


def _header(report: Report) -> Markup:
    numbers = report.composition
    made = "" if report.record.release else " · not released: the build was stopped before its last stage"
    return element(
        "header",
        element("p", element("bdi", report.name), f" · profile {report.record.profile}{made}", class_="kicker"),
        element("h1", f"{numbers.kept_documents:,} of {numbers.documents:,} files are in this corpus."),
        element("p", *_lead(report), class_="lead"),
        _whole(report),
    )


def _lead(report: Report) -> Iterator[object]:
    """Say in a few sentences what is in it, under which licences, what was replaced, and what was left out."""
    numbers = report.composition
    yield f"It holds {size(numbers.kept_bytes)} of source code from {counted(numbers.kept_origins, 'origin')}"
    kept = [row for row in numbers.languages if row["kept_documents"]]
    if kept:
        most = kept[0]
        part = share(most["kept_bytes"], numbers.kept_bytes)
        yield f" in {counted(len(kept), 'language')}; {part} of it is {language_of(most)}"
    yield ". "
    yield from _licence_sentence(numbers)
    values, _ = numbers.replaced_in_all
    if values:
        yield f"{counted(values, 'value that is', 'values that are')} secret or personal "
        yield f"{'is' if values == 1 else 'are'} replaced. "
    left_out = numbers.left_out()
    if left_out:
        most_frequent = left_out[0]
        gone = numbers.documents - numbers.kept_documents
        yield f"{counted(gone, 'file was', 'files were')} left out, each for one reason on record, most often "
        yield f"“{reason_words(most_frequent['verdict'])}” ({most_frequent['documents']:,})."
    else:
        yield "Nothing was left out."


def _licence_sentence(numbers: Composition) -> Iterator[object]:
    kept = {row["license_type"]: row["kept_documents"] for row in numbers.licence_types if row["kept_documents"]}
    if set(kept) == {"permissive"}:
        yield "Every file is under a permissive licence. "
    elif kept:
        parts = [f"{LICENCE_TYPES.get(kind, kind)} for {count:,}" for kind, count in kept.items()]
        yield f"Licences: {', '.join(parts)} files. "


LICENCE_TYPES: Final = {
    "permissive": "a permissive one",
    "non_permissive": "one that is not permissive",
    "no_license": "none was found",
}


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun.

    >>> counted(1, "origin"), counted(2000, "origin")
    ('1 origin', '2,000 origins')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def language_of(row: Row) -> str:
    return row["language"] or "not recognised"


def kind_of(stage: str) -> str:
    """Return the class that gives a stage its colour."""
    return stage if stage in _STAGES_WITH_COLOUR else "other"


def _whole(report: Report) -> Markup:
    """Return all files collected as one bar, cut by what became of them."""
    numbers = report.composition
    parts = [("In the corpus", numbers.kept_documents, "kept")]
    for stage in report.recipe.order:
        gone = sum(row["documents"] for row in numbers.left_out(stage))
        if gone:
            parts.append((stage_words(stage).left_out.capitalize(), gone, kind_of(stage)))
    spoken = "; ".join(f"{words} {count:,}" for words, count, _ in parts)
    legend = [
        element("li", key(kind), f"{words} ", element("strong", f"{count:,}"), f" ({share(count, numbers.documents)})")
        for words, count, kind in parts
    ]
    label = f"All {numbers.documents:,} files collected: {spoken}."
    slices = [Slice(amount=count, kind=kind) for _, count, kind in parts]
    return joined([stacked(slices, label=label), element("ul", *legend, class_="legend")])


def _contents(report: Report) -> Markup:
    """Return the two halves of the first screen: what is in it, and what was left out."""
    inside = element("section", element("h2", "What is in it"), _inside(report), id="inside")
    outside = element("section", element("h2", "What was left out, and why"), _outside(report), id="outside")
    return element("div", inside, outside, class_="two")


def _inside(report: Report) -> Markup:
    numbers = report.composition
    languages = [(language_of(row), row) for row in numbers.languages]
    licences = [(row["license_expression"] or "none found", row) for row in numbers.licences]
    return joined(
        [
            _groups("Languages, by size", "language", languages, numbers.kept_bytes, _SHOWN_GROUPS),
            _groups("Licences, by size", "licence", licences, numbers.kept_bytes, _SHOWN_LICENCES),
        ]
    )


def _groups(caption: str, noun: str, named: list[tuple[str, Row]], whole: int, shown: int) -> Markup:
    """Return the groups of which most was kept, the rest in one row."""
    kept = [(name, row["kept_documents"], row["kept_bytes"]) for name, row in named if row["kept_documents"]]
    rest = kept[shown:]
    if len(rest) > 1:
        files, volume = sum(row[1] for row in rest), sum(row[2] for row in rest)
        kept = [*kept[:shown], (f"{len(rest)} others", files, volume)]
    rows = [
        (name, f"{files:,}", share(volume, whole), bar(volume / whole if whole else 0)) for name, files, volume in kept
    ]
    columns = [
        Column(title=noun.capitalize()),
        Column(title="Files", number=True),
        Column(title="Share", number=True),
        Column(title="", wide=True),
    ]
    return table(caption, columns, rows)


def _outside(report: Report) -> Markup:
    numbers = report.composition
    left_out = numbers.left_out()
    most = left_out[0]["documents"] if left_out else 1
    rows: list[tuple[object, ...]] = [
        (
            reason_link(row["verdict"]),
            f"{row['documents']:,}",
            size(row["bytes"]),
            bar(row["documents"] / most, kind=kind_of(row["stage"])),
        )
        for row in left_out[:_SHOWN_REASONS]
    ]
    if rest := left_out[_SHOWN_REASONS:]:
        link = element("a", counted(len(rest), "further reason"), href="#reasons")
        files, volume = sum(row["documents"] for row in rest), sum(row["bytes"] for row in rest)
        rows.append((link, f"{files:,}", size(volume), bar(files / most, kind="other")))
    columns = [
        Column(title="It is left out because"),
        Column(title="Files", number=True),
        Column(title="Size", number=True),
        Column(title="", wide=True),
    ]
    return table("Every file has one reason: the first rule that it does not pass", columns, rows)


def reason_link(verdict: str) -> Markup:
    """Return the words of a reason, as a link to its examples."""
    return element("a", reason_words(verdict), href=f"#{verdict}")


def example_name(row: Row, *, prefix: str = "") -> Markup:
    """Return an example's origin and path, or those of its winner with the prefix `winner_`."""
    return joined([escaped(shortened(row[f"{prefix}repo_name"])), " ", path(row[f"{prefix}path"])])


def _footer(report: Report) -> Markup:
    version = report.record.versions.get("starsmith", "")
    return element(
        "footer",
        f"Made by Starsmith {version} from the tables of the workspace. A file here is one path of one origin; the "
        "tables call it a document. Sizes are powers of a thousand. This page loads nothing and runs nothing.",
    )

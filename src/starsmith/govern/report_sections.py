"""Report sections: everything below the first screen of a report, each a function from the build to its content."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, Final

from starsmith.govern import report_scans
from starsmith.govern.cards import settings_of
from starsmith.govern.composition import CONFLICT_RULES, Row, evidence, reason_words, stage_words, winner_of
from starsmith.govern.foreign_text import number, seconds, share, size, visible
from starsmith.govern.markup import Column, Markup, bar, element, escaped, joined, path, table
from starsmith.govern.report_page import Report, counted, example_name, kind_of, language_of, reason_link
from starsmith.recipe import PROFILES, SECTIONS
from starsmith.settings import SourceSettings
from starsmith.settings_reader import default_of
from starsmith.verdict import KEEP
from starsmith.workspace import StageReport

_SHOWN: Final = 30
_WORKS: Final = {
    "collect": "collect: read every origin, write each content once",
    "annotate": "annotate: measure each content once",
    "licences": "licences: which statement holds for which file",
    "ledger": "ledger: one verdict for every file, and these numbers",
    "release": "release: write what was kept",
}
_NO_EXAMPLES: Final = "No example is given: it would tell who asked."
_EXACT: Final = frozenset({"duplicate.exact", "duplicate.repository"})
_METHODS: Final = {
    "header": "stated in the file itself",
    "licence_file": "by a licence file in or above its folder",
    "manifest": "by a package manifest",
    "readme": "by a readme or notice",
    "origin": "declared by the origin's own metadata",
    "gha": "by the hosting site's metadata",
    "none": "none found",
}


def sections(report: Report) -> Iterator[tuple[str, str, Markup]]:
    """Yield (id, title, content) of every section."""
    yield "funnel", "From collected to released", _funnel(report)
    yield "languages", "Languages", _languages(report)
    yield "licences", "Licences", _licences(report)
    yield "duplicates", "Duplicates", _duplicates(report)
    yield "redaction", "Secrets and personal data", report_scans.redaction(report)
    yield "scans", "Benchmarks and malware", report_scans.benchmarks_and_malware(report)
    yield "opt-outs", "Requests to be left out", report_scans.opt_outs(report)
    yield "reasons", "Reasons, with examples", _reasons(report)
    yield "kept", "Examples of what is in it", _kept(report)
    yield "conflicts", "Licence conflicts", _conflicts(report)
    yield "origins", "Origins", _origins(report)
    yield "filters", "Filters", _filters(report)
    yield "time", "Time", _time(report)
    yield "settings", "Settings and versions", _settings(report)
    yield "more", "Ask further", _further(report)


def _stages(report: Report) -> list[StageReport]:
    by_name = {stage.name: stage for stage in report.record.stages}
    return [by_name[name] for name in report.recipe.order if name in by_name]


def _funnel(report: Report) -> Markup:
    numbers = report.composition
    whole = numbers.documents or 1
    origins = counted(numbers.total_origins, "origin")
    collected = element("strong", f"Collected from {origins}")
    rows: list[tuple[object, ...]] = [(collected, "", f"{numbers.documents:,}", bar(1))]
    for stage in _stages(report):
        gone = stage.documents_in - stage.kept
        left = f"−{gone:,}" if gone else "0"
        rows.append((_step(report, stage.name), left, f"{stage.kept:,}", bar(stage.kept / whole)))
    last = element("strong", "Released" if report.record.release else "Kept, not released yet")
    rows.append((last, "", f"{numbers.kept_documents:,}", bar(numbers.kept_documents / whole)))
    columns = [
        Column(title="Step"),
        Column(title="Left out", number=True),
        Column(title="Files after it", number=True),
        Column(title="", wide=True),
    ]
    return table("What comes into a step either stays or is left out there; every build checks the sums", columns, rows)


def _step(report: Report, stage: str) -> Markup:
    """Return what a step asks, and below it the reasons it left something out for."""
    reasons: list[object] = []
    for row in report.composition.left_out(stage):
        reasons += [", " if reasons else "", reason_link(row["verdict"]), f" {row['documents']:,}"]
    why = element("p", *reasons, class_="why") if reasons else None
    return joined([stage_words(stage).asks, " ", element("span", f"({stage})", class_="soft"), why])


def _reasons(report: Report) -> Markup:
    numbers = report.composition
    left_out = numbers.left_out()
    if not left_out:
        return element("p", "Nothing was left out.")
    intro = element(
        "p", "Up to five files for each reason, of different origins where there are any, chosen by their ids."
    )
    return joined([intro, *(_reason(report, row) for row in left_out)])


def _reason(report: Report, row: Row) -> Markup:
    words = reason_words(row["verdict"])
    count = f" {counted(row['documents'], 'file')}, {size(row['bytes'])}, "
    told = element("span", count, element("code", row["verdict"]), class_="soft")
    heading = element("h3", words[0].upper() + words[1:], told)
    examples = report.composition.examples_of(row["verdict"])
    shown = _examples(examples) if examples else element("p", _NO_EXAMPLES)
    return element("div", heading, shown, id=row["verdict"])


def _examples(rows: list[Row]) -> Markup:
    known = [element("span", _winner(row), class_="soft") for row in rows]
    lines = [
        element("li", element("span", example_name(row)), " ", each) for row, each in zip(rows, known, strict=True)
    ]
    return element("ul", *lines, class_="examples")


def _winner(row: Row) -> Markup:
    if winner_of(row) is None:
        return escaped(evidence(row))
    link = " as " if row["verdict"].startswith("duplicate") else "; a copy under another licence: "
    return joined([evidence(row), link, example_name(row, prefix="winner_")])


def _kept(report: Report) -> Markup:
    rows = report.composition.examples_of(KEEP)
    if not rows:
        return element("p", "No file passed every step.")
    return table(
        "Chosen by their ids",
        [Column(title="File"), Column(title="Language and licence"), Column(title="Size", number=True)],
        [(example_name(row), evidence(row), size(row["length"])) for row in rows],
    )


def _composition(noun: str, rows: Iterable[tuple[object, Row]], whole: int) -> Markup:
    """Return groups with what was kept of each, those beyond the first folded away."""
    lines = [
        (
            name,
            f"{row['kept_documents']:,}",
            size(row["kept_bytes"]),
            f"{row['documents'] - row['kept_documents']:,}",
            bar(row["kept_bytes"] / whole if whole else 0),
        )
        for name, row in rows
    ]
    columns = [
        Column(title=noun),
        Column(title="Files kept", number=True),
        Column(title="Size", number=True),
        Column(title="Left out", number=True),
        Column(title="Share of the corpus", wide=True),
    ]
    if len(lines) <= _SHOWN:
        return table("", columns, lines)
    rest = table("", columns, lines[_SHOWN:])
    return joined([table("", columns, lines[:_SHOWN]), folded(f"{len(lines) - _SHOWN} more", rest)])


def folded(title: str, content: Markup) -> Markup:
    return element("details", element("summary", title), content)


def _languages(report: Report) -> Markup:
    numbers = report.composition
    return _composition("Language", [(language_of(row), row) for row in numbers.languages], numbers.kept_bytes)


def _licences(report: Report) -> Markup:
    numbers = report.composition
    expressions = [(row["license_expression"] or "none found", row) for row in numbers.licences]
    methods = [(_METHODS.get(row["license_method"], row["license_method"]), row) for row in numbers.licence_methods]
    intro = "SPDX expressions, as the origins state them. That a statement is true cannot be checked by a program."
    return joined(
        [
            element("p", intro),
            _composition("Licence", expressions, numbers.kept_bytes),
            element("h3", "How the licence was found"),
            _composition("Evidence", methods, numbers.kept_bytes),
        ]
    )


def _conflicts(report: Report) -> Markup:
    numbers = report.composition
    chosen = report.recipe.exact_duplicates.conflict
    rule = f"The rule of this build: {CONFLICT_RULES.get(chosen, chosen)}."
    if not numbers.conflict_examples:
        return element("p", f"No content was found under licences of different kinds. {rule}")
    said = counted(numbers.conflicts, "content lies", "contents lie")
    intro = f"{said} under a permissive licence in one place and under another in a second one. {rule}"
    rows = [
        (
            joined([example_name(row, prefix="permissive_"), ": ", row["permissive_licence"]]),
            joined([example_name(row, prefix="strict_"), ": ", row["strict_licence"]]),
            f"{row['permissive'] + row['non_permissive']:,}",
            "no" if row["blocked"] else "yes",
        )
        for row in numbers.conflict_examples
    ]
    columns = [
        Column(title="Permissive here"),
        Column(title="Not permissive here"),
        Column(title="Copies", number=True),
        Column(title="May stay"),
    ]
    return joined([element("p", intro), table("The most copied of them; empty files are not shown", columns, rows)])


def _duplicates(report: Report) -> Markup:
    near, clusters = report.recipe.near_duplicates, report.composition.clusters
    counts = next((stage.counts for stage in report.record.stages if stage.name == "near"), {})
    how = (
        "checked by the exact Jaccard similarity of their runs of"
        if near.verify
        else "taken from shared signatures of runs of"
    )
    least = share(round(near.threshold * 1000), 1000)
    equal = sum(row["documents"] for row in report.composition.left_out() if row["verdict"] in _EXACT)
    intro = (
        f"{counted(equal, 'file was', 'files were')} left out as equal copies. Near-duplicates are files at least "
        f"{least} the same as a chosen one, {how} {near.ngram} words."
    )
    beyond = counts.get("left_out", 0)
    limit = f" {beyond:,} times a group was so large that a file was not compared with all of it." if beyond else ""
    if not clusters:
        return element("p", f"{intro} There are none.{limit}")
    most = max(row["clusters"] for row in clusters)
    rows = [
        (
            counted(row["size"], "file"),
            f"{row['clusters']:,}",
            f"{row['clusters'] * (row['size'] - 1):,}",
            bar(row["clusters"] / most, kind="near"),
        )
        for row in clusters[:_SHOWN]
    ]
    if rest := clusters[_SHOWN:]:
        groups, gone = sum(row["clusters"] for row in rest), sum(row["clusters"] * (row["size"] - 1) for row in rest)
        rows.append((f"{rest[0]['size']:,} and more", f"{groups:,}", f"{gone:,}", bar(groups / most, kind="near")))
    columns = [
        Column(title="A group of"),
        Column(title="Groups", number=True),
        Column(title="Left out of them", number=True),
        Column(title="", wide=True),
    ]
    return joined(
        [element("p", intro + limit), table("Groups of near-duplicates by size; one file of each stays", columns, rows)]
    )


def _origins(report: Report) -> Markup:
    numbers = report.composition
    rows = [(path(row["repo_name"] or row["url"]), row) for row in numbers.origins]
    intro = f"{counted(numbers.total_origins, 'origin')}; something of {numbers.kept_origins:,} is in the corpus. "
    shown = f"The {len(rows)} with most in it:" if numbers.total_origins > len(rows) else ""
    parts = [element("p", intro, shown), _composition("Origin", rows, numbers.kept_bytes)]
    if notes := report.record.notes:
        listed = element("ul", *(element("li", note) for note in notes[:_SHOWN]))
        more = element("p", f"and {len(notes) - _SHOWN:,} more.") if len(notes) > _SHOWN else None
        parts += [
            element("h3", f"Could not be read, or only in part: {len(notes):,}"),
            listed,
            *([more] if more else []),
        ]
    return joined(parts)


def _filters(report: Report) -> Markup:
    rows = [
        (
            rule.what,
            "" if rule.threshold is None else number(rule.threshold),
            element("code", rule.reason),
            f"{documents:,}",
            size(volume),
        )
        for rule, documents, volume in report.composition.filter_rows(report.recipe)
    ]
    columns = [
        Column(title="Measure"),
        Column(title="Limit", number=True),
        Column(title="Reason", wide=True),
        Column(title="Left out", number=True),
        Column(title="Size", number=True),
    ]
    return table("Every filter in its order; a file counts for the first one it does not pass", columns, rows)


def _time(report: Report) -> Markup:
    stages = report.record.stages
    most = max((stage.work_seconds for stage in stages), default=0) or 1
    rows = [
        (
            _WORKS.get(stage.name) or f"{stage.name}: {stage_words(stage.name).asks}",
            seconds(stage.work_seconds),
            seconds(stage.seconds),
            f"{stage.ran:,} of {stage.items:,}" if stage.ran else "none",
            bar(stage.work_seconds / most, kind=kind_of("time")),
        )
        for stage in stages
    ]
    columns = [
        Column(title="Stage"),
        Column(title="Work", number=True),
        Column(title="On the clock", number=True),
        Column(title="Pieces done now", number=True, wide=True),
        Column(title="", wide=True),
    ]
    caption = (
        "Work is what all processes together took when the work was done; on the clock is the last run, which does "
        f"only what is not done yet. {counted(report.record.workers, 'worker')}, engine {report.record.engine}."
    )
    return table(caption, columns, rows)


def _settings(report: Report) -> Markup:
    overrides = PROFILES[report.recipe.profile].overrides
    changed, all_settings = [], []
    for section, settings in SECTIONS.items():
        for key in fields(settings):
            value = getattr(getattr(report.recipe, section), key.name)
            usual = overrides.get(section, {}).get(key.name, default_of(key))
            row = (element("code", f"{section}.{key.name}"), _shown(value), _shown(usual))
            all_settings.append(row)
            changed += [row] if value != usual else []
    columns = [Column(title="Key"), Column(title="Value"), Column(title=f"In profile {report.recipe.profile}")]
    own = table("What the recipe sets otherwise than its profile", columns, changed) if changed else None
    versions = [
        item
        for name, value in sorted(report.record.versions.items())
        for item in (element("dt", name), element("dd", value))
    ]
    return joined(
        [
            own or element("p", f"The recipe sets nothing otherwise than its profile, {report.recipe.profile}."),
            folded(f"All {len(all_settings)} settings", table("", columns, all_settings)),
            element("h3", "Sources"),
            element("ul", *(element("li", _source(source)) for source in settings_of(report.recipe)["sources"])),
            element("h3", "Versions"),
            element("dl", *versions),
        ]
    )


def _source(source: dict[str, Any]) -> str:
    """Return the kind of a source, and what is set otherwise than usual."""
    usual = {key.name: default_of(key) for key in fields(SourceSettings)}
    told = [f"{name} {_shown(value)}" for name, value in source.items() if name != "kind" and value != usual[name]]
    return ", ".join([str(source["kind"]), *told])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _further(report: Report) -> Markup:
    workspace = shlex.quote(visible(report.workspace))
    commands = [
        f"starsmith why {workspace} OWNER/REPOSITORY:PATH    # one file: its licence, all filters, why it is in or out",
        f"starsmith why {workspace} OWNER/REPOSITORY         # all of one origin",
        f"starsmith why {workspace} SWHID                    # a content by its Software Heritage id",
        f"starsmith why {workspace} - < snippet.py           # the files most like a piece of code",
        f"starsmith status {workspace}                       # every stage, and what building again would do",
    ]
    where = (
        f"The release lies in {report.record.release}; its README.md says how to load it."
        if report.record.release
        else ""
    )
    intro = "In the folder that holds the workspace:"
    return joined([element("p", intro), _commands(commands), element("p", where)])


def _commands(commands: list[str]) -> Markup:
    """Return commands, one a line; a line break is markup here, and never part of a command."""
    return element("pre", element("code", *(item for command in commands for item in (command, Markup("\n")))))

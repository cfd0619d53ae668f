"""Composition: the numbers of one build, read from its summary tables, and the words that go with its stages.

Dataset card, report and terminal all speak from here, so that they never disagree. What grows with the corpus (origins)
is cut to the largest while it is still columns; the rest is small whatever the corpus.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from starsmith import summary
from starsmith.curate.filters import Filter, filters
from starsmith.decide import CONFLICTS
from starsmith.document import BENCHMARK_MATCHES, SCANS, extension_of, file_name_of
from starsmith.govern.foreign_text import number, share, size, visible
from starsmith.govern.scan_words import match_words
from starsmith.ledger import COUNTS
from starsmith.recipe import Recipe, loads
from starsmith.storage import Store
from starsmith.table import Table
from starsmith.verdict import KEEP, REASONS
from starsmith.workspace import BuildRecord

ORIGINS_SHOWN: Final = 30

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageWords:
    """What a decision stage asks of a document, and what is true of those it left out."""

    asks: str
    left_out: str


STAGE_WORDS: Final[Mapping[str, StageWords]] = {
    "errors": StageWords(asks="Can it be taken in and read as text?", left_out="not taken in, or not text"),
    "repository": StageWords(
        asks="Is its repository the chosen one of equal copies?", left_out="copy of a repository that is kept"
    ),
    "licence": StageWords(asks="Does its licence allow use?", left_out="licence not permissive, or none"),
    "filters": StageWords(asks="Does it look like code that people wrote?", left_out="failed a quality filter"),
    "exact": StageWords(asks="Is it the chosen one of equal copies?", left_out="same bytes as another file"),
    "scan": StageWords(
        asks="Is it free of malware and of benchmark problems?", left_out="holds a benchmark problem or malware"
    ),
    "near": StageWords(asks="Is it unlike everything chosen before?", left_out="nearly the same as a kept file"),
}


def stage_words(stage: str) -> StageWords:
    """Return the words of a stage; one that has none yet goes by its name."""
    return STAGE_WORDS.get(stage) or StageWords(asks=stage.capitalize(), left_out=stage)


CONFLICT_RULES: Final[Mapping[str, str]] = {
    "any_permissive": "a content may stay if any of its copies lies under a permissive licence",
    "all_permissive": "a content may stay if every copy whose licence is known lies under a permissive one",
    "earliest": "the copy that was committed first decides; where a time is not known, all have to be permissive",
}
"""What `exact_duplicates.conflict` means, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """The numbers of a build: rows of its summary tables, as plain dicts.

    counts: stage, verdict, documents, bytes. languages, licences, licence_types, licence_methods, origins: the column
    they are grouped by, documents, bytes, kept_documents, kept_bytes. origins are the ORIGINS_SHOWN with most bytes
    kept; total_origins and kept_origins count all, and those of which something was kept. replaced: kind, findings,
    documents, the kinds with most findings first; benchmarks: benchmark, kind, problems, documents; signatures:
    signature, documents, bytes. benchmark_texts counts what was looked for, 0 where nothing was.
    """

    counts: list[Row]
    languages: list[Row]
    licences: list[Row]
    licence_types: list[Row]
    licence_methods: list[Row]
    origins: list[Row]
    total_origins: int
    kept_origins: int
    filters: list[Row]
    examples: list[Row]
    clusters: list[Row]
    conflicts: int
    conflict_examples: list[Row]
    scanned: int
    replaced: list[Row]
    benchmark_texts: int
    benchmarks: list[Row]
    signatures: list[Row]

    @classmethod
    def read(cls, store: Store, tables: Mapping[str, Table]) -> "Composition":
        """Read the summaries of a build that has come as far as its ledger."""

        def rows(name: str) -> list[Row]:
            found: list[Row] = tables[name].read(store).to_pylist()
            return found

        origins = tables["by_origin"].read(store)
        largest = origins.sort_by([("kept_bytes", "descending"), ("bytes", "descending"), ("url", "ascending")])
        return cls(
            counts=rows("counts"),
            languages=_largest_first(rows("by_language")),
            licences=_largest_first(rows("by_licence")),
            licence_types=_largest_first(rows("by_licence_type")),
            licence_methods=_largest_first(rows("by_licence_method")),
            origins=largest.slice(0, ORIGINS_SHOWN).to_pylist(),
            total_origins=origins.num_rows,
            kept_origins=origins.filter(pc.field("kept_documents") > 0).num_rows,
            filters=rows("by_filter"),
            examples=rows("examples"),
            clusters=rows("cluster_sizes"),
            conflicts=tables["conflicts"].rows,
            conflict_examples=rows("conflict_examples"),
            scanned=tables["scans"].rows,
            replaced=sorted(rows("replaced"), key=lambda row: (-row["findings"], row["kind"])),
            benchmark_texts=tables["benchmark_index"].rows if "benchmark_index" in tables else 0,
            benchmarks=rows("by_benchmark"),
            signatures=sorted(rows("by_signature"), key=lambda row: (-row["documents"], row["signature"])),
        )

    @classmethod
    def of_build(cls, store: Store, record: BuildRecord) -> "Composition":
        """Read the summaries of a finished build.

        Raises StarsmithError if the build stopped before its decisions.
        """
        schemas = {query.name: query.schema for query in summary.ALL}
        schemas |= {"counts": COUNTS, "conflicts": CONFLICTS, "scans": SCANS}
        if "benchmark_index" in record.tables:
            # Its rows are counted and not read: it is an index, not a table.
            schemas["benchmark_index"] = BENCHMARK_MATCHES
        return cls.read(store, {name: record.table(name, schema) for name, schema in schemas.items()})

    @property
    def documents(self) -> int:
        return sum(row["documents"] for row in self.counts)

    @property
    def bytes(self) -> int:
        return sum(row["bytes"] for row in self.counts)

    @property
    def kept_documents(self) -> int:
        return sum(row["documents"] for row in self.counts if row["verdict"] == KEEP)

    @property
    def kept_bytes(self) -> int:
        return sum(row["bytes"] for row in self.counts if row["verdict"] == KEEP)

    @property
    def replaced_kinds(self) -> list[Row]:
        return [row for row in self.replaced if row["kind"] != summary.ANY_KIND]

    @property
    def replaced_in_all(self) -> tuple[int, int]:
        """How many values were replaced, in how many documents."""
        found = next((row for row in self.replaced if row["kind"] == summary.ANY_KIND), None)
        return (found["findings"], found["documents"]) if found else (0, 0)

    @property
    def content_left(self) -> int:
        """Documents left out because their content was asked to be left out."""
        return sum(row["documents"] for row in self.counts if row["verdict"] == "optout.content")

    def left_out(self, stage: str | None = None) -> list[Row]:
        """Return verdict, documents and bytes of what was left out, by any stage or one, the most frequent first."""
        rows = [row for row in self.counts if row["verdict"] != KEEP and stage in (None, row["stage"])]
        return sorted(rows, key=lambda row: (-row["documents"], row["verdict"]))

    def examples_of(self, verdict: str) -> list[Row]:
        return [row for row in self.examples if row["verdict"] == verdict]

    def filter_rows(self, recipe: Recipe) -> list[tuple[Filter, int, int]]:
        """Return every filter of a recipe, in its order, with the documents and bytes it left out."""
        found = {(row["verdict"], row["detail"], row["threshold"]): row for row in self.filters}
        rows: list[tuple[Filter, int, int]] = []
        for rule in filters(recipe.filters):
            threshold = None if rule.threshold is None else float(rule.threshold)
            # Two limits on one measure may be equal; what they left out is then told once.
            row = found.pop((rule.reason, rule.what, threshold), None)
            rows.append((rule, row["documents"] if row else 0, row["bytes"] if row else 0))
        return rows


def _largest_first(rows: list[Row]) -> list[Row]:
    """Order by bytes kept, then by bytes; the group's own name settles ties, so the order is total."""
    return sorted(rows, key=lambda row: (-row["kept_bytes"], -row["bytes"], str(next(iter(row.values())))))


_BY_NAME: Final = frozenset({"source.too_large", "filter.language", "filter.text_name", "filter.empty"})
"""Reasons whose words say all there is to say; the size of the file is at least something more."""


def recipe_of(record: BuildRecord) -> Recipe:
    """Return the recipe of a build."""
    return loads(record.recipe, base=Path(record.base), name="the recipe of the last build")


def name_of(row: Row) -> str:
    """Return an example as `starsmith why` takes it."""
    return f"{row['repo_name']}:{row['path']}"


def winner_of(row: Row) -> str | None:
    """Return the document an example stands behind, as `starsmith why` takes it."""
    return f"{row['winner_repo_name']}:{row['winner_path']}" if row["winner_path"] is not None else None


def evidence(row: Row) -> str:
    """Say in a few words why the verdict on an example is what it is; the winner is told apart from this."""
    verdict: str = row["verdict"]
    if verdict == KEEP:
        return (
            f"{visible(row['language'] or 'no language')}, {visible(row['license_expression'] or 'no licence found')}"
        )
    if verdict == "filter.inspection":
        return f"{visible(row['language'] or '')}, .{visible(extension_of(file_name_of(row['path'])))}"
    if verdict in _BY_NAME:
        return f"{size(row['length'])}"
    if verdict == "duplicate.near":
        return f"{share(round(row['similarity'] * 1000), 1000)} the same"
    if verdict.startswith("duplicate."):
        return "the same bytes"
    if verdict.startswith("benchmark."):
        return match_words(row["detail"], row["value"], row["threshold"])
    if row["value"] is not None and row["threshold"] is not None:
        side = "at most" if row["value"] > row["threshold"] else "at least"
        return f"{visible(row['detail'] or 'value')}: {number(row['value'])}, allowed {side} {number(row['threshold'])}"
    return visible(row["detail"] or row["license_expression"] or "")


def reason_words(verdict: str) -> str:
    """Return the words for a reason, or the reason itself where this version has none for it."""
    return REASONS.get(verdict, verdict)

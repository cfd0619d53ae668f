"""The file filters of the paper (section 2), as conditions over the facts of a document.

Each filter says what it drops in the SQL that every engine speaks, which value it looked at and the threshold it held
it against, so that a verdict carries its evidence. A document gets the reason of the first filter that drops it. To
add a filter: add its reason to `verdict.REASONS`, its threshold to `settings.FilterSettings`, and a row here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from starsmith.curate.language import ALPHANUM_LANGUAGES, DATA_LANGUAGES, LONG_LINE_LANGUAGES
from starsmith.settings import FilterSettings

TEXT_STEMS = ("readme", "notes", "todo", "description", "cmakelists")
TEXT_NAME_PART = "requirement"
"""Section 2, filter 8: the names under which plain text is kept."""


_STEM = (
    "CASE WHEN extension = '' THEN lower(file_name) "
    "ELSE substr(lower(file_name), 1, length(file_name) - length(extension) - 1) END"
)
"""SQL for the file name in lower case without its extension."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """One reason to drop a document.

    A filter that measures drops what is `above` or `below` the threshold in `column` of FACTS; any other has a
    `condition` in SQL. `languages` are those it looks at, or with `others` those it passes over; None means all.
    `what` names the measure in words.
    """

    reason: str
    what: str
    column: str | None = None
    threshold: float | None = None
    above: bool = True
    condition: str = "TRUE"
    languages: frozenset[str] | None = None
    others: bool = False

    @property
    def drops(self) -> str:
        """The SQL condition under which a document is dropped; it may be NULL, which drops nothing."""
        measured = "" if self.column is None else f" AND {self.column} {'>' if self.above else '<'} {self.threshold}"
        return f"{self._applies} AND {self.condition}{measured}"

    @property
    def _applies(self) -> str:
        if self.languages is None:
            return "TRUE"
        among = f"language IN ({_quoted(self.languages)})"
        return f"(language IS NULL OR NOT {among})" if self.others else among

    def applies_to(self, language: str | None) -> bool:
        """Whether the filter looks at documents of this language."""
        return self.languages is None or (language in self.languages) != self.others

    def passes(self, value: float) -> bool:
        """Whether a measured value is on the right side of the threshold."""
        assert self.threshold is not None
        return value <= self.threshold if self.above else value >= self.threshold


def filters(settings: FilterSettings) -> tuple[Filter, ...]:
    """Return the filters in the paper's order, after two that it takes for granted."""
    return (
        Filter(reason="filter.empty", what="bytes", column="length", threshold=1, above=False),
        *_language(settings),
        *_lines(settings),
        Filter(reason="filter.generated", condition="is_generated", what="recognised by its name or form"),
        Filter(reason="filter.generated", condition="generated_phrase IS NOT NULL", what="says so in its first lines"),
        *_alpha(settings),
        *_encoded(settings),
        *_by_language(settings),
        *_inspection(settings),
    )


def _language(settings: FilterSettings) -> tuple[Filter, ...]:
    if settings.unknown_language == "keep":
        return ()
    return (Filter(reason="filter.language", condition="language IS NULL", what="language"),)


def _lines(settings: FilterSettings) -> tuple[Filter, ...]:
    reason, long_lined, longest = "filter.long_lines", LONG_LINE_LANGUAGES, "longest line in characters"
    return (
        Filter(reason="filter.lines", what="lines", column="num_lines", threshold=settings.max_lines),
        Filter(
            reason=reason,
            what="mean line length in characters",
            column="avg_line_length",
            threshold=settings.max_mean_line,
            languages=long_lined,
            others=True,
        ),
        Filter(
            reason=reason,
            what=longest,
            column="max_line_length",
            threshold=settings.max_line,
            languages=long_lined,
            others=True,
        ),
        Filter(
            reason=reason,
            what=longest,
            column="max_line_length",
            threshold=settings.max_line_text_like,
            languages=long_lined,
        ),
    )


def _alpha(settings: FilterSettings) -> tuple[Filter, ...]:
    return tuple(
        Filter(
            reason="filter.alpha",
            what=what,
            column=column,
            threshold=settings.min_alpha,
            above=False,
            languages=ALPHANUM_LANGUAGES,
            others=others,
        )
        for column, what, others in (
            ("alpha_fraction", "share of letters", True),
            ("alphanum_fraction", "share of letters and digits", False),
        )
    )


def _encoded(settings: FilterSettings) -> tuple[Filter, ...]:
    reason = "filter.encoded_data"
    found = []
    for column, name in (("base64", "base 64"), ("hex", "hexadecimal"), ("unicode", "Unicode escapes")):
        run, share = f"longest run of {name} in characters", f"share of {name}"
        limits = settings.max_encoded_run, settings.max_encoded_fraction
        found.append(Filter(reason=reason, what=run, column=f"{column}_longest", threshold=limits[0]))
        found.append(Filter(reason=reason, what=share, column=f"{column}_fraction", threshold=limits[1]))
    return tuple(found)


def _by_language(settings: FilterSettings) -> tuple[Filter, ...]:
    html = frozenset({"HTML"})
    kept_name = f"(lower(file_name) LIKE '%{TEXT_NAME_PART}%' OR {_STEM} IN ({_quoted(TEXT_STEMS)}))"
    return (
        Filter(
            reason="filter.data_language",
            what="lines of a data file",
            column="num_lines",
            threshold=settings.max_data_lines,
            languages=DATA_LANGUAGES,
        ),
        Filter(
            reason="filter.html_text",
            what="visible characters",
            column="visible_chars",
            threshold=settings.min_visible_chars,
            above=False,
            languages=html,
        ),
        Filter(
            reason="filter.html_text",
            what="visible share",
            column="visible_fraction",
            threshold=settings.min_visible_fraction,
            above=False,
            languages=html,
        ),
        Filter(
            reason="filter.text_name",
            what="file name",
            condition=f"NOT {kept_name}",
            languages=frozenset({"Text"}),
        ),
    )


def _inspection(settings: FilterSettings) -> tuple[Filter, ...]:
    if not settings.inspection:
        return ()
    return (
        Filter(reason="filter.inspection", condition="excluded_language IS NOT NULL", what="language and extension"),
    )


def _quoted(names: Iterable[str]) -> str:
    """Return sorted names as SQL literals."""
    return ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(names))


def filter_query(settings: FilterSettings, alive: str) -> str:
    """Return the query that finds the first filter to drop each document of `alive`.

    Needs the tables that `alive` names and `excluded_pairs` (language, extension).
    """
    rows = filters(settings)
    values = _case(rows, {row: f"CAST({row.column or 'NULL'} AS DOUBLE)" for row in rows})
    limits = {row: f"CAST({'NULL' if row.threshold is None else row.threshold} AS DOUBLE)" for row in rows}
    return f"""
SELECT document_id, shard, 'filters' AS stage, reason, value, threshold,
       CAST(NULL AS BINARY) AS winner_id, CAST(NULL AS DOUBLE) AS similarity, detail
FROM (
  SELECT document_id, shard, {_case(rows, {row: f"'{row.reason}'" for row in rows})} AS reason,
         {values} AS value,
         {_case(rows, limits)} AS threshold,
         {_case(rows, {row: f"'{row.what}'" for row in rows})} AS detail
  FROM (
    SELECT alive.*, excluded_pairs.language AS excluded_language
    FROM ({alive}) AS alive
    LEFT JOIN excluded_pairs
      ON alive.language = excluded_pairs.language AND alive.extension = excluded_pairs.extension
  ) AS facts_and_pairs
) AS filtered
WHERE reason IS NOT NULL"""


def _case(rows: tuple[Filter, ...], then: dict[Filter, str]) -> str:
    return "CASE " + " ".join(f"WHEN {row.drops} THEN {then[row]}" for row in rows) + " END"

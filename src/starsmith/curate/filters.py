"""The file filters of the paper (section 2), as conditions over the facts of a document.

Each filter says what it drops in the SQL that every engine speaks, which value it looked at and the threshold it held
it against, so that a verdict carries its evidence. A document gets the reason of the first filter that drops it. To
add a filter: add its reason to `verdict.REASONS`, its threshold to `settings.FilterSettings`, and a row here.
"""

from dataclasses import dataclass

from starsmith.curate.language import ALPHANUM_LANGUAGES, DATA_LANGUAGES, LONG_LINE_LANGUAGES
from starsmith.settings import FilterSettings

TEXT_STEMS = ("readme", "notes", "todo", "description", "cmakelists")
TEXT_NAME_PART = "requirement"
"""Section 2, filter 8: the names under which plain text is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """`drops` and `value` are SQL over the columns of FACTS; `what` names the value in words."""

    reason: str
    drops: str
    what: str
    value: str = "CAST(NULL AS DOUBLE)"
    threshold: float | None = None


def filters(settings: FilterSettings) -> tuple[Filter, ...]:
    """Return the filters in the paper's order, after two that it takes for granted."""
    return (
        Filter(reason="filter.empty", drops="length = 0", what="bytes", value="length", threshold=1),
        *_language(settings),
        *_lines(settings),
        Filter(reason="filter.generated", drops="is_generated", what="recognised by its name or form"),
        Filter(reason="filter.generated", drops="generated_phrase IS NOT NULL", what="says so in its first lines"),
        *_alpha(settings),
        *_encoded(settings),
        *_by_language(settings),
        *_inspection(settings),
    )


def _above(reason: str, column: str, limit: float, what: str, *, only: str = "TRUE") -> Filter:
    return Filter(reason=reason, drops=f"{only} AND {column} > {limit}", what=what, value=column, threshold=limit)


def _below(reason: str, column: str, limit: float, what: str, *, only: str = "TRUE") -> Filter:
    return Filter(reason=reason, drops=f"{only} AND {column} < {limit}", what=what, value=column, threshold=limit)


def _language(settings: FilterSettings) -> tuple[Filter, ...]:
    if settings.unknown_language == "keep":
        return ()
    return (Filter(reason="filter.language", drops="language IS NULL", what="language"),)


def _lines(settings: FilterSettings) -> tuple[Filter, ...]:
    reason, long_lined = "filter.long_lines", f"language IN ({_quoted(LONG_LINE_LANGUAGES)})"
    others = f"(language IS NULL OR NOT {long_lined})"
    return (
        _above("filter.lines", "num_lines", settings.max_lines, "lines"),
        _above(reason, "avg_line_length", settings.max_mean_line, "mean line length in characters", only=others),
        _above(reason, "max_line_length", settings.max_line, "longest line in characters", only=others),
        _above(reason, "max_line_length", settings.max_line_text_like, "longest line in characters", only=long_lined),
    )


def _alpha(settings: FilterSettings) -> tuple[Filter, ...]:
    by_alphanum = f"language IN ({_quoted(ALPHANUM_LANGUAGES)})"
    others = f"(language IS NULL OR NOT {by_alphanum})"
    return (
        _below("filter.alpha", "alpha_fraction", settings.min_alpha, "share of letters", only=others),
        _below("filter.alpha", "alphanum_fraction", settings.min_alpha, "share of letters and digits", only=by_alphanum),
    )


def _encoded(settings: FilterSettings) -> tuple[Filter, ...]:
    kinds = (("base64", "base 64"), ("hex", "hexadecimal"), ("unicode", "Unicode escapes"))
    found = []
    for column, name in kinds:
        run, share = f"longest run of {name} in characters", f"share of {name}"
        found.append(_above("filter.encoded_data", f"{column}_longest", settings.max_encoded_run, run))
        found.append(_above("filter.encoded_data", f"{column}_fraction", settings.max_encoded_fraction, share))
    return tuple(found)


def _by_language(settings: FilterSettings) -> tuple[Filter, ...]:
    data, html = f"language IN ({_quoted(DATA_LANGUAGES)})", "language = 'HTML'"
    stem = "CASE WHEN extension = '' THEN lower(file_name) ELSE substr(lower(file_name), 1, length(file_name) - length(extension) - 1) END"
    kept_name = f"(lower(file_name) LIKE '%{TEXT_NAME_PART}%' OR {stem} IN ({_quoted(TEXT_STEMS)}))"
    return (
        _above("filter.data_language", "num_lines", settings.max_data_lines, "lines of a data file", only=data),
        _below("filter.html_text", "visible_chars", settings.min_visible_chars, "visible characters", only=html),
        _below("filter.html_text", "visible_fraction", settings.min_visible_fraction, "visible share", only=html),
        Filter(reason="filter.text_name", drops=f"language = 'Text' AND NOT {kept_name}", what="file name"),
    )


def _inspection(settings: FilterSettings) -> tuple[Filter, ...]:
    if not settings.inspection:
        return ()
    return (Filter(reason="filter.inspection", drops="excluded_language IS NOT NULL", what="language and extension"),)


def _quoted(names: object) -> str:
    """Return sorted names as SQL literals."""
    assert isinstance(names, (tuple, frozenset))
    return ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(names))


def filter_query(settings: FilterSettings, alive: str) -> str:
    """Return the query that finds the first filter to drop each document of `alive`.

    Needs the tables that `alive` names and `excluded_pairs` (language, extension).
    """
    rows = filters(settings)
    values = _case(rows, {row: f"CAST({row.value} AS DOUBLE)" for row in rows})
    limits = {row: f"CAST({row.threshold} AS DOUBLE)" if row.threshold is not None else "CAST(NULL AS DOUBLE)" for row in rows}
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

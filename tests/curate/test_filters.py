"""Filters: SQL against section 2 of the data description written down in Python, on and beside each threshold."""

import math
from collections.abc import Mapping
from typing import Any

import duckdb
import hypothesis
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.filters import Filter, filter_query, filters
from starsmith.curate.language_data import EXCLUDED_PAIRS
from starsmith.decide import FACTS
from starsmith.document import extension_of
from starsmith.engines.sql_subset import violations
from starsmith.ledger import DROPS
from starsmith.settings import FilterSettings
from starsmith.verdict import REASONS

DEFAULT = FilterSettings()
LONG_LINED = ["HTML", "JSON", "Markdown", "Roff", "Roff Manpage", "SMT", "TeX", "Text", "XML"]
DATA_LIKE = ["Text", "JSON", "YAML", "Web Ontology Language", "Graphviz (DOT)"]
ALPHANUMERIC = ["Motorola 68K Assembly", "WebAssembly"]
ENCODINGS = ("base64", "hex", "unicode")

Row = dict[str, Any]

SOUND: Row = {
    "language": "Python",
    "file_name": "a.py",
    "length": 1_000,
    "is_generated": False,
    "num_lines": 40,
    "avg_line_length": 25.0,
    "max_line_length": 79,
    "alpha_fraction": 0.6,
    "alphanum_fraction": 0.7,
    "base64_longest": 0,
    "base64_fraction": 0.0,
    "hex_longest": 0,
    "hex_fraction": 0.0,
    "unicode_longest": 0,
    "unicode_fraction": 0.0,
    "generated_phrase": None,
    "visible_chars": None,
    "visible_fraction": None,
}
"""An ordinary file, which no filter drops."""

OF_LANGUAGE: Mapping[str, Row] = {
    "HTML": {"file_name": "a.html", "visible_chars": 400, "visible_fraction": 0.4},
    "Text": {"file_name": "readme.txt"},
}
"""What makes a file of a language an ordinary one."""


def sound(language: str | None = "Python", **values: Any) -> Row:
    return SOUND | {"language": language} | OF_LANGUAGE.get(language or "", {}) | values


def drops(rows: list[Row], settings: FilterSettings = DEFAULT) -> list[Row | None]:
    """Run the query over some facts; return what became of each, None where it was kept."""
    facts = [row | {"extension": extension_of(row["file_name"]), "shard": "s"} for row in rows]
    for number, row in enumerate(facts):
        row["document_id"] = number.to_bytes(20, "big")
    names = ["document_id", "shard", "extension", *SOUND]
    table = pa.Table.from_pylist(facts, schema=pa.schema([FACTS.field(name) for name in names]))
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.register("facts", table)
        languages, extensions = zip(*sorted(EXCLUDED_PAIRS), strict=True)
        connection.register("excluded_pairs", pa.table({"language": languages, "extension": extensions}))
        query = filter_query(settings, "SELECT facts.* FROM facts")
        result = connection.sql(f"SELECT {', '.join(DROPS.names)} FROM ({query}) AS dropped").to_arrow_table()
    found = result.cast(DROPS).to_pylist()
    by_id = {row["document_id"]: row for row in found}
    assert len(by_id) == len(found), "a document is dropped once"
    return [by_id.get(row["document_id"]) for row in facts]


def reasons(rows: list[Row], settings: FilterSettings = DEFAULT) -> list[str | None]:
    return [None if drop is None else drop["reason"] for drop in drops(rows, settings)]


def specified(row: Row, settings: FilterSettings) -> str | None:
    """Return the reason by section 2, filter after filter; a value that is not known drops nothing."""
    language, name = row["language"], row["file_name"].lower()
    extension = extension_of(name)
    stem = name[: -len(extension) - 1] if extension else name

    def above(column: str, limit: float) -> bool:
        return row[column] is not None and row[column] > limit

    def below(column: str, limit: float) -> bool:
        return row[column] is not None and row[column] < limit

    long_lined = language in LONG_LINED
    letters = "alphanum_fraction" if language in ALPHANUMERIC else "alpha_fraction"
    encoded = any(
        above(f"{name}_longest", settings.max_encoded_run) or above(f"{name}_fraction", settings.max_encoded_fraction)
        for name in ENCODINGS
    )
    too_long = (
        above("max_line_length", settings.max_line_text_like)
        if long_lined
        else above("avg_line_length", settings.max_mean_line) or above("max_line_length", settings.max_line)
    )
    few_visible = below("visible_chars", settings.min_visible_chars)
    few_visible |= below("visible_fraction", settings.min_visible_fraction)
    kept_text = "requirement" in name or stem in {"readme", "notes", "todo", "description", "cmakelists"}
    rules = {
        "filter.empty": row["length"] == 0,
        "filter.language": language is None and settings.unknown_language == "drop",
        "filter.lines": above("num_lines", settings.max_lines),
        "filter.long_lines": too_long,
        "filter.generated": bool(row["is_generated"]) or row["generated_phrase"] is not None,
        "filter.alpha": below(letters, settings.min_alpha),
        "filter.encoded_data": encoded,
        "filter.data_language": language in DATA_LIKE and above("num_lines", settings.max_data_lines),
        "filter.html_text": language == "HTML" and few_visible,
        "filter.text_name": language == "Text" and not kept_text,
        "filter.inspection": settings.inspection and (language, extension) in EXCLUDED_PAIRS,
    }
    return next((reason for reason, holds in rules.items() if holds), None)


def near(limit: float) -> st.SearchStrategy[Any]:
    """A count or share at, just beside, or far from a threshold, or not known."""
    if isinstance(limit, int):
        return st.sampled_from([None, max(limit - 1, 0), limit, limit + 1, 0, 10 * limit])
    beside = max(math.nextafter(limit, -1), 0.0), math.nextafter(limit, math.inf)
    return st.sampled_from([None, *beside, limit, 0.0, 1.0, 10 * limit])


OTHERS = ["C++", "Python", "SVG", "TOML"]
LANGUAGES = st.sampled_from(sorted({*LONG_LINED, *DATA_LIKE, *ALPHANUMERIC, *OTHERS})) | st.none()
FILE_NAMES = st.sampled_from(
    "a.py Makefile README ReadMe.TXT readme.md.txt dev-requirements.txt my_Requirements notes.text todo.old.txt "
    "description CMakeLists.txt words.txt a.svg Cargo.lock .gitignore a.b.resx it's.txt 100%.txt x_ é.txt".split()
)


def rows_near(settings: FilterSettings) -> st.SearchStrategy[list[Row]]:
    """Facts that lie around the thresholds of `settings`, mostly failing few filters at once."""
    special = {
        "length": st.sampled_from([0, 1, 5_000]),
        "is_generated": st.sampled_from([None, False, True]),
        "num_lines": near(settings.max_lines) | near(settings.max_data_lines),
        "avg_line_length": near(settings.max_mean_line),
        "max_line_length": near(settings.max_line) | near(settings.max_line_text_like),
        "alpha_fraction": near(settings.min_alpha),
        "alphanum_fraction": near(settings.min_alpha),
        "generated_phrase": st.sampled_from([None, "auto-generated"]),
        "visible_chars": near(settings.min_visible_chars),
        "visible_fraction": near(settings.min_visible_fraction),
    }
    for name in ENCODINGS:
        special[f"{name}_longest"] = near(settings.max_encoded_run)
        special[f"{name}_fraction"] = near(settings.max_encoded_fraction)
    changed = st.lists(st.sampled_from(sorted(special)), max_size=5, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: special[name] for name in names})
    )
    row = st.builds(lambda values, **named: sound(**named, **values), changed, language=LANGUAGES, file_name=FILE_NAMES)
    return st.lists(row, min_size=1, max_size=40)


SHARES = st.floats(0, 1) | st.sampled_from([0.1, 0.2, 0.25, 0.3, 1 / 3, 0.7])
SETTINGS = st.builds(
    FilterSettings,
    max_lines=st.integers(1, 200_000),
    max_mean_line=st.floats(1, 1e6) | st.sampled_from([100.0, 0.1 + 0.2 + 1]),
    max_line=st.integers(1, 2_000),
    max_line_text_like=st.integers(1, 200_000),
    min_alpha=SHARES,
    max_encoded_run=st.integers(0, 2_000),
    max_encoded_fraction=SHARES,
    max_data_lines=st.integers(1, 1_000),
    min_visible_chars=st.integers(0, 200),
    min_visible_fraction=SHARES,
    inspection=st.booleans(),
    unknown_language=st.sampled_from(["drop", "keep"]),
)


@hypothesis.settings(max_examples=30)
@given(data=st.data(), settings=st.just(DEFAULT) | SETTINGS)
def test_sql_says_what_the_paper_says(data: st.DataObject, settings: FilterSettings) -> None:
    """The reason is the paper's; the evidence is that of the first measuring filter that fails by its own account."""
    rows = data.draw(rows_near(settings))
    for row, drop in zip(rows, drops(rows, settings), strict=True):
        assert (None if drop is None else drop["reason"]) == specified(row, settings)
        failing = [each for each in filters(settings) if fails(each, row)]
        if drop is None:
            assert not failing
        elif drop["threshold"] is None:
            assert drop["value"] is None
        else:
            assert failing[0].reason == drop["reason"]
            assert failing[0].what == drop["detail"]
            assert failing[0].threshold == drop["threshold"]
            assert drop["value"] == row[failing[0].column or ""]


def fails(each: Filter, row: Row) -> bool:
    """Whether a filter that measures drops a row, by its own account."""
    value = row[each.column] if each.column else None
    return value is not None and each.applies_to(row["language"]) and not each.passes(value)


# Each: the reason, the column, the last value that passes, the first that does not.
THRESHOLDS: list[tuple[str, str, float, float]] = [
    ("filter.empty", "length", 1, 0),
    ("filter.lines", "num_lines", 100_000, 100_001),
    ("filter.long_lines", "avg_line_length", 100.0, math.nextafter(100.0, 101)),
    ("filter.long_lines", "max_line_length", 1_000, 1_001),
    ("filter.alpha", "alpha_fraction", 0.25, math.nextafter(0.25, 0)),
    ("filter.encoded_data", "base64_longest", 1_024, 1_025),
    ("filter.encoded_data", "hex_longest", 1_024, 1_025),
    ("filter.encoded_data", "unicode_longest", 1_024, 1_025),
    ("filter.encoded_data", "base64_fraction", 0.5, math.nextafter(0.5, 1)),
    ("filter.encoded_data", "hex_fraction", 0.5, math.nextafter(0.5, 1)),
    ("filter.encoded_data", "unicode_fraction", 0.5, math.nextafter(0.5, 1)),
]


@pytest.mark.parametrize(("reason", "column", "inside", "outside"), THRESHOLDS)
def test_thresholds_of_the_paper(reason: str, column: str, inside: float, outside: float) -> None:
    kept, dropped = drops([sound(**{column: inside}), sound(**{column: outside})])
    assert kept is None
    assert dropped is not None
    assert dropped["reason"] == reason
    assert dropped["value"] == outside
    assert dropped["stage"] == "filters"
    assert dropped["detail"]


@pytest.mark.parametrize("language", LONG_LINED)
def test_long_lined_languages_are_held_against_the_longest_line_alone(language: str) -> None:
    rows = [sound(language, avg_line_length=5_000.0, max_line_length=length) for length in (100_000, 100_001)]
    assert reasons(rows) == [None, "filter.long_lines"]


@pytest.mark.parametrize("language", ALPHANUMERIC)
def test_two_assemblers_count_digits_as_letters(language: str) -> None:
    low = math.nextafter(0.25, 0)
    rows = [sound(language, alpha_fraction=0.0, alphanum_fraction=share) for share in (0.25, low)]
    assert reasons(rows) == [None, "filter.alpha"]
    assert reasons([sound(alpha_fraction=0.25, alphanum_fraction=0.0)]) == [None]


@pytest.mark.parametrize("language", DATA_LIKE)
def test_data_like_languages_may_have_512_lines(language: str) -> None:
    rows = [sound(language, num_lines=lines) for lines in (512, 513)]
    assert reasons(rows) == [None, "filter.data_language"]
    assert reasons([sound(num_lines=513), sound("XML", num_lines=513)]) == [None, None]


def test_html_needs_visible_text() -> None:
    low = math.nextafter(0.2, 0)
    enough = sound("HTML", visible_chars=100, visible_fraction=0.2)
    rows = [enough, enough | {"visible_chars": 99}, enough | {"visible_fraction": low}]
    assert reasons(rows) == [None, "filter.html_text", "filter.html_text"]
    assert reasons([sound("XML", visible_chars=0, visible_fraction=0.0)]) == [None]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("README", True),
        ("readme.txt", True),
        ("Notes.TXT", True),
        ("todo", True),
        ("Description.text", True),
        ("CMakeLists.txt", True),
        ("dev-Requirements-2.txt", True),
        ("requirement.md.txt", True),
        ("readme.old.txt", False),
        ("readme2.txt", False),
        ("my-notes.txt", False),
        ("words.txt", False),
        (".readme", False),
    ],
)
def test_plain_text_is_kept_for_its_name(name: str, kept: bool) -> None:  # noqa: FBT001
    assert reasons([sound("Text", file_name=name)]) == [None if kept else "filter.text_name"]
    assert reasons([sound("Markdown", file_name=name)]) == [None]


def test_excluded_pairs_are_dropped_with_their_own_language_and_extension_only() -> None:
    names = {pair: f"a.{pair[1]}" if pair[1] else "a" for pair in EXCLUDED_PAIRS}
    rows = [sound(language, file_name=name, visible_chars=None) for (language, _), name in names.items()]
    assert set(reasons(rows)) == {"filter.inspection"}
    assert reasons(rows, FilterSettings(inspection=False)) == [None] * len(rows)
    assert reasons([sound("Python", file_name="a.lock"), sound("TOML", file_name="a.toml")]) == [None, None]
    assert reasons([sound("TOML", file_name="a.LOCK")]) == ["filter.inspection"]
    assert reasons([sound("C++", file_name="vector"), sound("C++", file_name="a.cc")]) == ["filter.inspection", None]


def test_generated_files_are_told_by_name_or_phrase() -> None:
    first, second = drops([sound(is_generated=True), sound(generated_phrase="autogenerated")])
    assert first is not None
    assert second is not None
    assert first["reason"] == second["reason"] == "filter.generated"
    assert first["detail"] != second["detail"]


def test_an_unknown_language_is_dropped_unless_the_recipe_keeps_it() -> None:
    assert reasons([sound(None)]) == ["filter.language"]
    keep = FilterSettings(unknown_language="keep")
    assert reasons([sound(None)], keep) == [None]
    # It is held against what holds for every language.
    assert reasons([sound(None, max_line_length=1_001), sound(None, alpha_fraction=0.1)], keep) == [
        "filter.long_lines",
        "filter.alpha",
    ]


def test_what_is_not_known_drops_nothing() -> None:
    unknown = dict.fromkeys(set(SOUND) - {"language", "file_name", "length"})
    languages = ("Python", "HTML", "Text", "JSON", "WebAssembly")
    rows = [SOUND | unknown | {"language": language, "file_name": "readme"} for language in languages]
    assert reasons(rows) == [None] * len(rows)


def test_the_first_filter_gives_the_reason() -> None:
    """With everything wrong at once, then mended from the front, the reasons come in the paper's order."""
    row = sound("Text", file_name="a.txt", num_lines=10**6, max_line_length=10**6, is_generated=True)
    row |= {"length": 0, "alpha_fraction": 0.0, "base64_longest": 5_000}
    mended: list[Row] = [{}, {"length": 9}, {"num_lines": 600}, {"max_line_length": 9}, {"is_generated": False}]
    mended += [{"alpha_fraction": 0.5}, {"base64_longest": 0}, {"num_lines": 9}, {"file_name": "todo"}]
    found = []
    for change in mended:
        row |= change
        found += reasons([row])
    names = "empty lines long_lines generated alpha encoded_data data_language text_name".split()
    assert found == [*(f"filter.{name}" for name in names), None]


@given(settings=SETTINGS)
def test_every_query_is_in_the_common_subset_and_every_reason_is_known(settings: FilterSettings) -> None:
    assert violations(filter_query(settings, "SELECT facts.* FROM facts")) == []
    assert {each.reason for each in filters(settings)} <= set(REASONS)

"""Decisions in the order of a profile: the first stage that drops a document gives the reason."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from starsmith import decide, scan, summary
from starsmith.curate import exact_duplicates, licence_decision
from starsmith.curate.language_data import EXCLUDED_PAIRS
from starsmith.document import ANNOTATIONS, DOCUMENTS, ORIGINS, TEXTS
from starsmith.engines import Query
from starsmith.engines.sql_subset import violations
from starsmith.ledger import COUNTS_QUERY, DROPS, LEDGER_QUERY
from starsmith.licences import SHARD_ORIGINS_QUERY
from starsmith.recipe import PROFILES, Recipe, loads
from starsmith.released import MARKS, RELEASED_QUERY
from starsmith.verdict import REASONS

PLAIN: dict[pa.DataType, Any] = {pa.string(): "", pa.int64(): 0, pa.int32(): 0, pa.binary(20): bytes(20)}
GOOD = {
    "language": "Python",
    "file_name": "a.py",
    "extension": "py",
    "length": 500,
    "num_lines": 20,
    "avg_line_length": 25.0,
    "max_line_length": 80,
    "alpha_fraction": 0.7,
    "alphanum_fraction": 0.8,
    "license_type": "permissive",
    "license_expression": "MIT",
    "license_method": "licence_file",
}
EARLY, LATE = 1_000_000, 2_000_000

Row = dict[str, Any]


def ident(number: int) -> bytes:
    return number.to_bytes(20, "big")


def table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    base = {field.name: None if field.nullable else PLAIN[field.type] for field in schema}
    return pa.Table.from_pylist([base | row for row in rows], schema=schema)


def recipe_of(*settings: str, profile: str = "stack-v2-fixed") -> Recipe:
    text = "\n".join([f'profile = "{profile}"', '[[source]]\nkind = "installed"', *settings])
    return loads(text, base=Path("/corpora"))


def run(query: Query, **tables: pa.Table) -> pa.Table:
    assert violations(query.text) == []
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        for name, rows in tables.items():
            connection.register(name, rows)
        columns = ", ".join(query.schema.names)
        result = connection.sql(f"SELECT {columns} FROM ({query.text}) AS result").to_arrow_table()
    return result.cast(query.schema)


def decided(rows: list[Row], recipe: Recipe) -> list[tuple[str, str] | None]:
    """Run every stage but scans and near-duplicates in the recipe's order; return (stage, reason), None where kept."""
    names = [{"document_id": ident(n), "content_id": ident(n), "path": f"{n}.py"} for n in range(len(rows))]
    numbered = [GOOD | own | row for own, row in zip(names, rows, strict=True)]
    facts = table(numbered, decide.FACTS)
    text = exact_duplicates.conflict_query(recipe.exact_duplicates)
    conflicts = run(Query(name="c", text=text, schema=decide.CONFLICTS, key=["content_id"]), facts=facts)
    stars = {2: 9}
    origins = [
        {"origin_id": ident(n), "directory_id": ident(n // 2), "url": f"{n}", "star_events_count": stars.get(n)}
        for n in range(4)
    ]
    pairs = pa.Table.from_pylist([{"language": pair[0], "extension": pair[1]} for pair in sorted(EXCLUDED_PAIRS)])
    given = {"facts": facts, "conflicts": conflicts, "origins": table(origins, ORIGINS), "excluded_pairs": pairs}
    dropped = DROPS.empty_table()
    for name in recipe.order:
        if name not in ("near", "scan"):
            stage = decide.SQL_STAGES[name]
            needed = {each: given[each] for each in ("facts", *stage.needs)}
            dropped = pa.concat_tables([dropped, run(stage.compiled(recipe), dropped=dropped, **needed)])
    found = {row["document_id"]: (row["stage"], row["reason"]) for row in dropped.to_pylist()}
    assert len(found) == dropped.num_rows, "no stage drops what another dropped"
    assert {reason for _, reason in found.values()} <= set(REASONS)
    return [found.get(row["document_id"]) for row in numbered]


WRONG: list[tuple[Row, tuple[str, str]]] = [
    ({"reason": "error.binary"}, ("errors", "error.binary")),
    ({"origin_id": ident(1)}, ("repository", "duplicate.repository")),
    ({"license_type": "non_permissive", "license_method": "header"}, ("licence", "licence.non_permissive")),
    ({"alpha_fraction": 0.1}, ("filters", "filter.alpha")),
    ({"content_id": ident(99)}, ("exact", "duplicate.exact")),
]
"""What is wrong with a document, in the order of the default profile."""


def test_the_first_stage_that_drops_a_document_gives_the_reason() -> None:
    """A document with every fault from some stage on is dropped at that stage."""
    best = {"content_id": ident(99), "path": "", "origin_id": ident(2)}
    for first in range(len(WRONG)):
        bad: Row = {}
        for values, _ in WRONG[first:]:
            bad |= values
        assert decided([best, bad], recipe_of()) == [None, WRONG[first][1]]
    assert decided([best, {}], recipe_of()) == [None, None]


def test_the_papers_order_removes_copies_before_licences() -> None:
    """There a permissive copy is preferred, so the other is a duplicate, not a licence case."""
    copies = [{"content_id": ident(99), "license_type": kind} for kind in ("non_permissive", "permissive")]
    assert decided(copies, recipe_of(profile="stack-v2")) == [("exact", "duplicate.exact"), None]
    late = [{"license_type": "non_permissive", "license_method": "header"}]
    assert decided(late, recipe_of(profile="stack-v2")) == [("licence", "licence.non_permissive")]


def test_no_licence_is_kept_only_if_the_recipe_says_so() -> None:
    row = {"license_type": "no_license", "license_expression": None, "license_method": "none"}
    assert decided([row], recipe_of()) == [("licence", "licence.none")]
    assert decided([row], recipe_of("[licence]", 'no_licence = "keep"')) == [None]
    assert decided([row], recipe_of(profile="stack-v2")) == [None]


def copies_of(*copies: tuple[str, int | None]) -> list[Row]:
    return [{"content_id": ident(99), "license_type": kind, "committed_at": time} for kind, time in copies]


MIT, GPL = "permissive", "non_permissive"
VENDORED = copies_of((MIT, EARLY), (GPL, LATE))
TAKEN = copies_of((MIT, LATE), (GPL, EARLY))
STRICT = ("licence", "licence.non_permissive")
CONFLICT = ("exact", "licence.conflict")
COPY = ("exact", "duplicate.exact")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (VENDORED, [None, STRICT]),
        (TAKEN, [CONFLICT, STRICT]),
        (copies_of((MIT, EARLY), (GPL, None)), [CONFLICT, STRICT]),
        (copies_of((MIT, EARLY), (MIT, LATE), (GPL, LATE)), [None, COPY, STRICT]),
        (copies_of((MIT, LATE), (MIT, LATE), (GPL, EARLY)), [CONFLICT, CONFLICT, STRICT]),
    ],
)
def test_by_default_the_earliest_copy_decides(rows: list[Row], expected: list[tuple[str, str] | None]) -> None:
    assert decided(rows, recipe_of()) == expected


def test_a_conflict_is_blocked_or_not_as_the_recipe_says() -> None:
    strict = recipe_of("[exact_duplicates]", 'conflict = "all_permissive"')
    assert decided(VENDORED, strict) == [CONFLICT, STRICT]
    lax = recipe_of("[exact_duplicates]", 'conflict = "any_permissive"')
    assert decided(TAKEN, lax) == [None, STRICT]
    assert decided(TAKEN, recipe_of(profile="stack-v2")) == [None, COPY]


def facts_of(documents: list[Row], texts: list[Row], annotations: list[Row], licences: list[Row]) -> list[Row]:
    base = {"origin_id": ident(50), "url": "https://a", "star_events_count": 3}
    schema = SHARD_ORIGINS_QUERY.schema
    rows = run(
        decide.FACTS_QUERY,
        documents=table(documents, DOCUMENTS),
        texts=table(texts, TEXTS),
        annotations=table(annotations, ANNOTATIONS),
        licences=table(licences, licence_decision.LICENCES),
        shard_origins=table([base | {"shard": "a"}, base | {"shard": "b"}], schema),
    )
    return sorted(rows.to_pylist(), key=lambda row: bytes(row["document_id"]))


def test_facts_hold_every_document_once_with_what_is_known_of_it() -> None:
    base = {"origin_id": ident(50), "path": "p"}
    documents = [
        base | {"document_id": ident(1), "shard": "a", "content_id": ident(9)},
        base | {"document_id": ident(2), "shard": "b", "content_id": ident(9)},
        base | {"document_id": ident(3), "shard": "a", "content_id": ident(8)},
        base | {"document_id": ident(4), "shard": "a", "reason": "source.submodule", "detail": "d"},
    ]
    # One content in two shards is annotated in each of them; the tables of another shard say nothing.
    texts = [
        {"shard": "a", "content_id": ident(9), "num_lines": 5},
        {"shard": "b", "content_id": ident(9), "num_lines": 5},
        {"shard": "b", "content_id": ident(8), "num_lines": 7},
        {"shard": "a", "content_id": ident(8), "reason": "error.binary", "detail": "NUL"},
    ]
    annotations = [{"document_id": ident(1), "content_id": ident(9), "language": "C", "is_generated": False}]
    licences = [{"document_id": ident(1), "license_type": MIT, "expression": "MIT", "method": "header"}]
    first, second, third, fourth = facts_of(documents, texts, annotations, licences)
    assert (first["language"], first["num_lines"], first["license_type"]) == ("C", 5, MIT)
    assert (first["license_expression"], first["license_method"]) == ("MIT", "header")
    assert (first["url"], first["star_events_count"], first["reason"]) == ("https://a", 3, None)
    assert (second["language"], second["num_lines"], second["license_type"]) == (None, 5, "no_license")
    assert (second["license_expression"], second["license_method"]) == (None, "none")
    assert (third["reason"], third["detail"], third["num_lines"]) == ("error.binary", "NUL", None)
    assert (fourth["reason"], fourth["detail"]) == ("source.submodule", "d")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_query_is_in_the_common_subset(profile: str) -> None:
    recipe = recipe_of(profile=profile)
    texts = [stage.compiled(recipe).text for stage in decide.SQL_STAGES.values()]
    queries = [decide.FACTS_QUERY, RELEASED_QUERY, *MARKS, *summary.PER_SHARD, *summary.ALL]
    texts += [LEDGER_QUERY, COUNTS_QUERY, *(each.text for each in queries)]
    texts.append(licence_decision.licences_query(recipe.licence))
    texts += [scan.wanted_query(decide.ALIVE, clusters=each).text for each in (False, True)]
    texts.append(scan.drops_query(decide.ALIVE).text)
    assert [violations(text) for text in texts] == [[]] * len(texts)
    assert set(decide.SQL_STAGES) | {"near", "scan"} == set(recipe.order)

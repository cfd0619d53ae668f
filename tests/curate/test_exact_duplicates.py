"""Exact duplicates: winners by a total order, the same whatever the order of rows; conflicts by each of three rules."""

from collections.abc import Callable, Sequence
from itertools import count, pairwise
from typing import Any

import duckdb
import hypothesis
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.exact_duplicates import conflict_query, exact_query, repository_query
from starsmith.decide import CONFLICTS, FACTS
from starsmith.document import ORIGINS
from starsmith.engines.sql_subset import violations
from starsmith.ledger import DROPS
from starsmith.settings import ExactDuplicateSettings

ALIVE = "SELECT facts.* FROM facts"
RULES = ("any_permissive", "all_permissive", "earliest")
PLAIN: dict[pa.DataType, Any] = {pa.string(): "", pa.int64(): 1, pa.bool_(): False, pa.binary(20): bytes(20)}

OF_ORIGIN = ("star_events_count", "fork_events_count", "revision_date", "visit_date", "url")

Row = dict[str, Any]
Keys = list[tuple[str, list[Any], Callable[[Any], Any]]]
TREES = st.lists(st.sampled_from([None, 0, 1]), min_size=8, max_size=8)


def ident(number: int) -> bytes:
    return number.to_bytes(20, "big")


def table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows of a schema; what is not said is null, or plain where it may not be."""
    base = {field.name: None if field.nullable else PLAIN[field.type] for field in schema}
    return pa.Table.from_pylist([base | row for row in rows], schema=schema)


def run(query: str, schema: pa.Schema, **tables: pa.Table) -> list[Row]:
    assert violations(query) == []
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        for name, rows in tables.items():
            connection.register(name, rows)
        result = connection.sql(f"SELECT {', '.join(schema.names)} FROM ({query}) AS result").to_arrow_table()
    rows: list[Row] = result.cast(schema).to_pylist()
    return rows


def exact(facts: Sequence[Row], conflicts: Sequence[Row] = ()) -> list[Row]:
    """Ask for the drops of facts, in which what they say of their origins makes the origins."""
    found: dict[tuple[Any, ...], Row] = {}
    placed = []
    for fact in facts:
        said = {name: fact[name] for name in OF_ORIGIN if name in fact}
        origin = found.setdefault(tuple(said.items()), said | {"origin_id": ident(500 - len(found))})
        placed.append(fact | {"origin_id": origin["origin_id"]})
    tables = {"facts": table(placed, FACTS), "origins": table(list(found.values()), ORIGINS)}
    return run(exact_query(ALIVE), DROPS, conflicts=table(conflicts, CONFLICTS), **tables)


def repositories(origins: Sequence[Row], facts: Sequence[Row]) -> list[Row]:
    return run(repository_query(ALIVE), DROPS, facts=table(facts, FACTS), origins=table(origins, ORIGINS))


def conflicts_of(facts: Sequence[Row], rule: str) -> list[Row]:
    query = conflict_query(ExactDuplicateSettings(conflict=rule))
    return run(query, CONFLICTS, facts=table(facts, FACTS))


def last(value: Any, key: Callable[[Any], Any]) -> tuple[bool, Any]:
    """A sort key that puts what is not known last."""
    return value is None, 0 if value is None else key(value)


def same(value: Any) -> Any:
    return value


def negative(value: int) -> int:
    return -value


LICENCE_TYPES = ["permissive", "no_license", "non_permissive"]
# The keys of sections 4 and 1.4, first to last, each with what is better and what is worse, best first.
WINNER_KEYS: Keys = [
    ("license_type", LICENCE_TYPES, LICENCE_TYPES.index),
    ("star_events_count", [10, 9, 0, None], negative),
    ("fork_events_count", [10, 9, 0, None], negative),
    ("revision_date", [10, 9, 0, None], negative),
    ("visit_date", [10, 9, 0, None], negative),
    ("url", ["http://a", "http://b"], same),
    ("path", ["A", "a", "a/b", "é"], str.encode),
    ("document_id", [ident(1), ident(2)], same),
]
REPOSITORY_KEYS: Keys = [
    ("gha_license_id", ["Apache-2.0", "GPL-3.0", "MIT", None], same),
    ("star_events_count", [10, 9, 0, None], negative),
    ("fork_events_count", [10, 9, 0, None], negative),
    ("revision_date", [0, 9, 10, None], same),
    ("github_id", [0, 9, 10, None], same),
    ("visit_date", [0, 9, 10, None], same),
    ("url", ["http://a", "http://b"], same),
]


def steps(keys: Keys) -> list[tuple[Row, Row]]:
    """Pairs (better, worse): equal up to one key, a step apart in it; in the rest the worse is as good as can be."""
    pairs = []
    for number, (name, values, _) in enumerate(keys):
        for better, worse in pairwise(values):
            equal = {key: options[-1] for key, options, _ in keys[:number]}
            rest = keys[number + 1 :]
            pairs.append(
                (
                    equal | {name: better} | {key: options[-1] for key, options, _ in rest},
                    equal | {name: worse} | {key: options[0] for key, options, _ in rest},
                )
            )
    return pairs


@pytest.mark.parametrize(("better", "worse"), steps(WINNER_KEYS))
def test_each_key_of_the_winner_order_decides_in_its_turn(better: Row, worse: Row) -> None:
    rows = [row | {"content_id": ident(7)} for row in (worse, better)]
    if better["document_id"] == worse["document_id"]:
        rows[0]["document_id"] = ident(9)
    (drop,) = exact(rows)
    assert drop["document_id"] == rows[0]["document_id"]
    assert drop["winner_id"] == better["document_id"]
    assert (drop["stage"], drop["reason"], drop["similarity"]) == ("exact", "duplicate.exact", 1.0)


@pytest.mark.parametrize(("better", "worse"), steps(REPOSITORY_KEYS))
def test_each_key_of_the_repository_order_decides_in_its_turn(better: Row, worse: Row) -> None:
    origins = [
        row | {"origin_id": ident(number), "directory_id": ident(7), "repo_name": f"r{number}"}
        for number, row in enumerate((worse, better))
    ]
    facts = [{"document_id": ident(10 + number), "origin_id": ident(number), "path": "a"} for number in (0, 1)]
    (drop,) = repositories(origins, facts)
    assert (drop["document_id"], drop["winner_id"]) == (ident(10), ident(11))
    assert (drop["stage"], drop["reason"], drop["detail"]) == ("repository", "duplicate.repository", "r1")


def copies_by(keys: Keys, most: int) -> st.SearchStrategy[list[Row]]:
    row = st.fixed_dictionaries({name: st.sampled_from(values) for name, values, _ in keys})
    return st.lists(row, min_size=1, max_size=most)


def best(rows: Sequence[Row], keys: Keys) -> Row:
    return min(rows, key=lambda row: [last(row[name], key) for name, _, key in keys])


@hypothesis.settings(max_examples=25)
@given(rows=copies_by(WINNER_KEYS, 12), contents=st.lists(st.integers(0, 2), min_size=12, max_size=12), data=st.data())
def test_the_winner_is_the_best_whatever_the_order_of_rows(rows: list[Row], contents: list[int], data: Any) -> None:
    for number, row in enumerate(rows):
        row |= {"document_id": ident(number), "content_id": ident(contents[number])}
    dropped = {drop["document_id"]: drop["winner_id"] for drop in exact(rows)}
    expected = {}
    for row in rows:
        winner = best([each for each in rows if each["content_id"] == row["content_id"]], WINNER_KEYS)
        if winner is not row:
            expected[row["document_id"]] = winner["document_id"]
    assert dropped == expected
    again = exact(data.draw(st.permutations(rows)))
    assert {drop["document_id"]: drop["winner_id"] for drop in again} == expected


@hypothesis.settings(max_examples=25)
@given(rows=copies_by(REPOSITORY_KEYS, 8), trees=TREES, data=st.data())
def test_of_equal_repositories_the_best_is_kept_whole(rows: list[Row], trees: list[int | None], data: Any) -> None:
    origins: list[Row] = []
    for number, row in enumerate(rows):
        tree = trees[number]
        directory = None if tree is None else ident(tree)
        url = f"{row['url']}/{number}"
        origins.append(row | {"origin_id": ident(number), "directory_id": directory, "url": url})
    ids = count(100)
    facts = [
        {"document_id": ident(next(ids)), "origin_id": origin["origin_id"], "path": path}
        for origin in origins
        for path in ("a", "b/c")
    ]
    places = {(fact["origin_id"], fact["path"]): fact["document_id"] for fact in facts}
    expected = {}
    for origin in origins:
        twins = [each for each in origins if each["directory_id"] == origin["directory_id"]]
        winner = origin if origin["directory_id"] is None else best(twins, REPOSITORY_KEYS)
        if winner is not origin:
            for path in ("a", "b/c"):
                expected[places[origin["origin_id"], path]] = places[winner["origin_id"], path]
    shuffled = data.draw(st.permutations(origins)), data.draw(st.permutations(facts))
    assert {drop["document_id"]: drop["winner_id"] for drop in repositories(*shuffled)} == expected


def test_a_document_is_dropped_once_even_where_two_paths_of_its_twin_read_alike() -> None:
    """Paths that are not UTF-8 may become the same text."""
    origins = [{"origin_id": ident(n), "directory_id": ident(7), "url": f"{n}", "repo_name": f"{n}"} for n in (0, 1)]
    ids = {0: (10, 11), 1: (20, 21)}
    facts = [{"document_id": ident(n), "origin_id": ident(o), "path": "caf\\xe9"} for o in ids for n in ids[o]]
    drops = repositories(origins, facts)
    assert sorted((drop["document_id"], drop["winner_id"]) for drop in drops) == [
        (ident(20), ident(10)),
        (ident(21), ident(10)),
    ]


def copy(license_type: str, committed_at: int | None = None, *, method: str = "licence_file", **values: Any) -> Row:
    return {"license_type": license_type, "license_method": method, "committed_at": committed_at} | values


def blocked(rule: str, *copies: Row) -> bool | None:
    """Whether a conflict blocks the content of these copies; None where there is no conflict."""
    rows = [row | {"document_id": ident(number), "content_id": ident(7)} for number, row in enumerate(copies)]
    found = conflicts_of(rows, rule)
    assert len(found) <= 1
    return bool(found[0]["blocked"]) if found else None


MIT, GPL, NONE = "permissive", "non_permissive", "no_license"


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        # An MIT file that a GPL project took in, and the other way round.
        ([copy(MIT, 1), copy(GPL, 2)], (False, True, False)),
        ([copy(MIT, 2), copy(GPL, 1)], (False, True, True)),
        # Equally early: nothing tells which came first.
        ([copy(MIT, 1), copy(GPL, 1)], (False, True, True)),
        # The first of all decides, however many there are.
        ([copy(MIT, 1), copy(GPL, 2), copy(GPL, 3), copy(MIT, 4)], (False, True, False)),
        ([copy(MIT, 2), copy(GPL, 1), copy(MIT, 3)], (False, True, True)),
        # Without a time it may have been there first.
        ([copy(MIT, 1), copy(GPL)], (False, True, True)),
        ([copy(MIT), copy(GPL, 2)], (False, True, True)),
        ([copy(MIT), copy(GPL)], (False, True, True)),
        ([copy(MIT, 1), copy(GPL, 2), copy(MIT)], (False, True, True)),
        # Copies without a licence say nothing, early, late or without a time.
        ([copy(MIT, 2), copy(GPL, 3), copy(NONE, 1), copy(NONE)], (False, True, False)),
        ([copy(MIT, 2), copy(NONE, 1)], (None, None, None)),
        ([copy(GPL, 2), copy(NONE, 1)], (None, None, None)),
        # No conflict among copies of a kind.
        ([copy(MIT, 2), copy(MIT, 1)], (None, None, None)),
        ([copy(GPL, 2), copy(GPL)], (None, None, None)),
        # What the file itself states holds for every copy.
        ([copy(MIT, 2, method="header"), copy(GPL, 1, method="header")], (None, None, None)),
        # What is no text is not released anyway.
        ([copy(MIT, 2), copy(GPL, 1, reason="error.binary")], (None, None, None)),
        # Nobody owns an empty file.
        ([copy(MIT, 2, length=0), copy(GPL, 1, length=0)], (None, None, None)),
    ],
)
def test_conflicts_by_each_rule(copies: list[Row], expected: tuple[bool | None, ...]) -> None:
    assert tuple(blocked(rule, *copies) for rule in RULES) == expected
    assert tuple(blocked(rule, *reversed(copies)) for rule in RULES) == expected


COPIES = st.lists(
    st.builds(
        copy,
        st.sampled_from([MIT, GPL, NONE]),
        st.sampled_from([None, 1, 2, 3]),
        method=st.sampled_from(["licence_file", "manifest", "header"]),
        content_id=st.sampled_from([ident(1), ident(2)]),
        reason=st.sampled_from([None, None, None, "error.decode"]),
    ),
    max_size=10,
)


@given(copies=COPIES, rule=st.sampled_from(RULES))
def test_conflicts_equal_the_rule(copies: list[Row], rule: str) -> None:
    for number, row in enumerate(copies):
        row["document_id"] = ident(number)
    expected = {}
    for content in (ident(1), ident(2)):
        own = [row for row in copies if row["content_id"] == content and row["reason"] is None]
        known = [row for row in own if row["license_type"] != NONE and row["license_method"] != "header"]
        strict = [row for row in known if row["license_type"] == GPL]
        if strict and len(strict) < len(known):
            counts = len(known) - len(strict), len(strict)
            expected[content] = (*counts, is_blocked(known, rule), strict[0]["document_id"])
    found = conflicts_of(copies, rule)
    columns = ("permissive", "non_permissive", "blocked", "witness_id")
    assert {row["content_id"]: tuple(row[name] for name in columns) for row in found} == expected


def is_blocked(known: list[Row], rule: str) -> bool:
    if rule != "earliest":
        return rule == "all_permissive"
    times = [row["committed_at"] for row in known]
    if None in times:
        return True
    return any(row["license_type"] == GPL for row in known if row["committed_at"] == min(times))


def test_a_blocked_content_is_dropped_with_a_witness_and_another_is_not() -> None:
    facts = [{"document_id": ident(n), "content_id": ident(n // 3), "license_type": MIT} for n in range(9)]
    conflicts = [
        {"content_id": ident(0), "blocked": True, "witness_id": ident(50)},
        {"content_id": ident(1), "blocked": False, "witness_id": ident(51)},
    ]
    drops = {drop["document_id"]: (drop["reason"], drop["winner_id"]) for drop in exact(facts, conflicts)}
    blocked_by = ("licence.conflict", ident(50))
    assert drops == {
        **dict.fromkeys([ident(0), ident(1), ident(2)], blocked_by),
        **dict.fromkeys([ident(4), ident(5)], ("duplicate.exact", ident(3))),
        **dict.fromkeys([ident(7), ident(8)], ("duplicate.exact", ident(6))),
    }

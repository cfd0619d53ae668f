"""The ledger: one row for every document, whatever dropped it, and sums that are checked."""

import duckdb
import hypothesis
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.decide import FACTS
from starsmith.engines.sql_subset import violations
from starsmith.errors import StarsmithError
from starsmith.ledger import COUNTS, COUNTS_QUERY, DROPS, LEDGER, LEDGER_QUERY, check_sums
from starsmith.verdict import REASONS

STAGES = ("errors", "licence", "filters", "near")
VERDICTS = st.none() | st.tuples(st.sampled_from(STAGES), st.sampled_from(sorted(REASONS)))


def ident(number: int) -> bytes:
    return number.to_bytes(20, "big")


def run(query: str, schema: pa.Schema, **tables: pa.Table) -> pa.Table:
    assert violations(query) == []
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            connection.register(name, rows)
        result = connection.sql(f"SELECT {', '.join(schema.names)} FROM ({query}) AS result").to_arrow_table()
    return result.cast(schema)


def facts_of(count: int) -> pa.Table:
    rows = [
        {"document_id": ident(n), "shard": "s", "origin_id": ident(99), "path": f"{n}", "length": n, "url": ""}
        | {"file_name": "", "extension": "", "license_type": "", "license_method": ""}
        for n in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=FACTS)


def drops_of(verdicts: list[tuple[str, str] | None]) -> pa.Table:
    rows = [
        {
            "document_id": ident(n),
            "shard": "s",
            "stage": verdict[0],
            "reason": verdict[1],
            "value": 2.5,
            "threshold": 1.0,
        }
        | {"winner_id": ident(n + 1), "similarity": 0.75, "detail": f"d{n}"}
        for n, verdict in enumerate(verdicts)
        if verdict is not None
    ]
    return pa.Table.from_pylist(rows, schema=DROPS)


@hypothesis.settings(max_examples=25)
@given(verdicts=st.lists(VERDICTS, max_size=12))
def test_every_document_has_exactly_one_row_and_the_counts_add_up(verdicts: list[tuple[str, str] | None]) -> None:
    ledger = run(LEDGER_QUERY, LEDGER, facts=facts_of(len(verdicts)), dropped=drops_of(verdicts))
    rows = sorted(ledger.to_pylist(), key=lambda row: bytes(row["document_id"]))
    assert [row["document_id"] for row in rows] == [ident(n) for n in range(len(verdicts))]
    assert [(row["stage"], row["verdict"]) for row in rows] == [each or ("release", "keep") for each in verdicts]
    for number, row in enumerate(rows):
        evidence = (row["value"], row["threshold"], row["winner_id"], row["similarity"], row["detail"])
        kept = verdicts[number] is None
        assert evidence == ((None,) * 5 if kept else (2.5, 1.0, ident(number + 1), 0.75, f"d{number}"))
    ones = pa.array([1] * ledger.num_rows, pa.int64())
    totals = ledger.append_column("documents", ones).append_column("bytes", ledger["length"])
    counts = run(COUNTS_QUERY, COUNTS, totals=totals).to_pylist()
    assert sum(row["documents"] for row in counts) == len(verdicts)
    assert sum(row["bytes"] for row in counts) == sum(range(len(verdicts)))
    found = {(row["stage"], row["verdict"]): row["documents"] for row in counts}
    assert found.get(("release", "keep"), 0) == verdicts.count(None)


def test_a_document_dropped_twice_does_not_pass_the_check() -> None:
    drops = drops_of([("licence", "licence.none"), None])
    twice = pa.concat_tables([drops, drops])
    ledger = run(LEDGER_QUERY, LEDGER, facts=facts_of(2), dropped=twice)
    with pytest.raises(StarsmithError, match="does not add up"):
        check_sums(collected=2, dropped={"drops_licence": 2}, ledger=ledger.num_rows, kept=1)


@pytest.mark.parametrize(
    ("ledger", "kept", "dropped"),
    [(9, 5, {"a": 5}), (11, 5, {"a": 5}), (10, 4, {"a": 5}), (10, 5, {"a": 5, "b": 1}), (10, 5, {})],
)
def test_sums_that_do_not_hold_end_the_build(ledger: int, kept: int, dropped: dict[str, int]) -> None:
    with pytest.raises(StarsmithError, match=r"10 documents collected.*Nothing was released"):
        check_sums(collected=10, dropped=dropped, ledger=ledger, kept=kept)


def test_sums_that_hold_pass() -> None:
    check_sums(collected=10, dropped={"a": 2, "b": 3}, ledger=10, kept=5)
    check_sums(collected=0, dropped={}, ledger=0, kept=0)

"""Every rule of the SQL subset fires on what it forbids and stays silent on what to write instead."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.engines.sql_subset import FRACTIONS, violations

FORBIDDEN = [
    ("null order", "SELECT a FROM t ORDER BY a", "ORDER BY a"),
    ("null order", "SELECT a FROM t ORDER BY a NULLS LAST, b DESC LIMIT 3", "ORDER BY b DESC"),
    (
        "null order",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY lower(b), c NULLS LAST) FROM t",
        "ORDER BY lower",
    ),
    ("null order", "SELECT * FROM (SELECT a FROM t ORDER BY a) AS s", "ORDER BY a"),
    ("null order", "SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t", "ORDER BY a:"),
    ("null order", "SELECT sum(a) OVER w FROM t WINDOW w AS (ORDER BY a)", "ORDER BY a:"),
    ("ordered aggregate", "SELECT array_agg(a ORDER BY b NULLS LAST) FROM t", "order inside an aggregate"),
    (
        "ordered aggregate",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a NULLS LAST) FROM t",
        "inside an aggregate",
    ),
    ("array_agg unsorted", "SELECT array_agg(a) FILTER (WHERE a IS NOT NULL) FROM t", "its order is not fixed"),
    ("array_agg NULL", "SELECT array_sort(array_agg(a)) FROM t", "keeps NULLs"),
    ("array_agg NULL", "SELECT array_sort(array_agg(a) FILTER (WHERE b IS NOT NULL)) FROM t", "keeps NULLs"),
    ("list", "SELECT list(a) FROM t", "list"),
    ("list", "SELECT string_agg(a, ',') FROM t", "string_agg"),
    ("index", "SELECT a[1] FROM t", "[ :"),
    ("index", "SELECT element_at(a, 1) FROM t", "element_at"),
    ("integer cast", "SELECT CAST(a / 2 AS BIGINT) FROM t", "rounds"),
    ("integer cast", "SELECT CAST(1.5 AS INTEGER)", "rounds"),
    ("integer cast", "SELECT CAST(alpha_fraction AS INT) FROM t", "rounds"),
    ("integer cast", "SELECT TRY_CAST(floor(a) / b AS BIGINT) FROM t", "rounds"),
    ("integer cast", "SELECT CAST(CAST(a AS DOUBLE) AS BIGINT) FROM t", "rounds"),
    ("integer cast", "SELECT a::BIGINT FROM t", ":: :"),
    ("integer division", "SELECT a // 2 FROM t", "// :"),
    ("quoted name", 'SELECT "a" FROM t', "plain names"),
    ("quoted name", "SELECT `a` FROM t", "plain names"),
    ("concat", "SELECT concat(a, 'x') FROM t", "skips NULL"),
    ("concat", "SELECT concat(coalesce(a, b), 'x') FROM t", "skips NULL"),
    ("backslash", r"SELECT 'a\n' FROM t", "backslash"),
    ("EXCLUDE", "SELECT * EXCLUDE (a) FROM t", "EXCLUDE"),
    ("unnest", "SELECT unnest(a) FROM t", "unnest"),
    ("explode", "SELECT explode(a) FROM t", "explode"),
    ("approximate", "SELECT approx_quantile(a, 0.5) FROM t", "approximate"),
    ("approximate", "SELECT approx_count_distinct(a) FROM t", "approximate"),
    ("float sum", "SELECT sum(alpha_fraction) FROM t", "depends on the order"),
    ("float sum", "SELECT avg(t.avg_line_length) FROM t", "depends on the order"),
    ("float sum", "SELECT sum(a / b) FROM t", "depends on the order"),
    ("float sum", "SELECT sum(CASE WHEN a THEN 0.5 ELSE 0 END) FROM t", "depends on the order"),
    ("ties", "SELECT max_by(a, b) FROM t", "row_number"),
    ("ties", "SELECT min_by(a, b) FROM t", "row_number"),
    ("ties", "SELECT any_value(a) FROM t", "row_number"),
    ("unsigned", "SELECT CAST(a AS UINTEGER) FROM t", "signed"),
    ("hugeint", "SELECT CAST(a AS HUGEINT) FROM t", "BIGINT"),
    ("nanoseconds", "SELECT CAST(a AS TIMESTAMP_NS) FROM t", "microseconds"),
    ("hash", "SELECT hash(a) FROM t", "in stages"),
    ("hash", "SELECT md5(a) FROM t", "in stages"),
    ("random", "SELECT random() FROM t", "same rows"),
    ("random", "SELECT uuid() FROM t", "same rows"),
    ("now", "SELECT now()", "same rows"),
    ("now", "SELECT current_timestamp", "same rows"),
    ("sample", "SELECT a FROM t USING SAMPLE 10", "sample in a stage"),
    ("sample", "SELECT a FROM t TABLESAMPLE (10 PERCENT)", "sample in a stage"),
    ("star", "SELECT DISTINCT * FROM t", "*: decides"),
    ("star", "SELECT a, t.* FROM t UNION ALL SELECT a, b FROM u", "t . *: decides"),
    ("star", "SELECT a FROM (SELECT b FROM t EXCEPT SELECT * FROM u) AS s", "*: decides"),
    ("star", "SELECT *, count(*) AS n FROM t GROUP BY ALL", "*: decides"),
    ("power", "SELECT a ^ 2 FROM t", "^ :"),
]

ALLOWED = [
    "SELECT a FROM t ORDER BY a NULLS FIRST, b DESC NULLS LAST LIMIT 3",
    "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY c DESC NULLS LAST, d NULLS LAST) = 1",
    "SELECT sum(a) OVER (ORDER BY coalesce(b, 0) NULLS LAST ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM t",
    "SELECT b, array_sort(array_agg(DISTINCT a) FILTER (WHERE a IS NOT NULL)) AS items FROM t GROUP BY b",
    "SELECT CAST(floor(a / 2) AS BIGINT), CAST(b AS BIGINT), CAST(count(*) AS BIGINT) FROM t GROUP BY ALL",
    "SELECT CAST(round(alpha_fraction * 100) AS INT) FROM t",
    "SELECT CAST(a AS DOUBLE) / b AS share FROM t",
    "SELECT CAST(alpha_fraction < 0.25 AS INT) FROM t",
    "SELECT a || 'x', concat('x', coalesce(a, '')) FROM t",
    "SELECT sum(length), avg(num_lines), max(alpha_fraction) FROM t",
    "SELECT sum(CASE WHEN alpha_fraction < 0.25 THEN 1 ELSE 0 END) AS few FROM t",
    "SELECT sum(CAST(round(alpha_fraction * 1000) AS BIGINT)) FROM t",
    "SELECT a, count(*) * 2 AS n FROM (SELECT * FROM t) AS s GROUP BY ALL",
    "SELECT DISTINCT a FROM (SELECT t.* FROM t) AS s UNION SELECT a FROM (SELECT u.* FROM u) AS v",
    "SELECT 'it''s [fine]; \"quoted\" in a literal' AS s FROM t -- ORDER BY a, unnest(b) [1]",
    "SELECT a /* hash(a) */ FROM t ANTI JOIN u ON t.a = u.a",
    "WITH s AS (SELECT a FROM t) SELECT a FROM s UNION ALL SELECT b FROM u EXCEPT SELECT c FROM v",
    "SELECT hash, list, mode, first FROM t WHERE reason IS NOT DISTINCT FROM 'x'",
]


@pytest.mark.parametrize(("rule", "query", "says"), FORBIDDEN, ids=[f"{row[0]}-{i}" for i, row in enumerate(FORBIDDEN)])
def test_forbidden(rule, query, says):
    found = violations(query)
    assert any(says in message for message in found), f"{rule}: {found}"


@pytest.mark.parametrize("query", ALLOWED)
def test_allowed(query):
    assert violations(query) == []


def test_columns_of_other_tables_are_named_by_the_caller():
    assert violations("SELECT sum(weight) FROM t") == []
    assert violations("SELECT sum(weight) FROM t", fractions={"weight"}) != []


def test_fractions_come_from_the_row_types():
    assert "alpha_fraction" in FRACTIONS
    assert "num_lines" not in FRACTIONS


def test_every_violation_is_told():
    query = 'SELECT "a", hash(b) FROM t ORDER BY a'
    assert len(violations(query)) == 3


@given(st.text(alphabet="SELECT FROM()[],.'\"\\\n-*/01ab", max_size=60))
def test_any_text_is_read_to_its_end(query):
    assert isinstance(violations(query), list)


@given(st.text(alphabet="ab '\"[]:/^$\n-()", max_size=40))
def test_a_literal_never_violates(text):
    literal = text.replace("'", "''")
    assert violations(f"SELECT '{literal}' AS s FROM t") == []


def test_a_sorted_aggregate_without_nulls_means_what_it_says():
    rows = "(VALUES (3), (NULL), (1), (3)) AS t (a)"
    query = f"SELECT array_sort(array_agg(DISTINCT a) FILTER (WHERE a IS NOT NULL)) AS items FROM {rows}"
    assert violations(query) == []
    assert duckdb.connect().execute(query).fetchall() == [([1, 3],)]

"""The SQL both engines read alike, held by a lint: every query text passes it before an engine runs it.

DuckDB and Spark SQL agree on most of what the queries need, and differ on the rest, sometimes without an error: the
same text gives other rows. Each rule here forbids one such construct and says what to write instead. No section of
the paper; the rule list is Starsmith's.

This is a lint over tokens, not a parser: it knows no types beyond the names of the fraction columns it is given, so a
fraction that a query renames escapes the rules on sums and casts. It does not check that a function exists.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa

from starsmith import document
from starsmith.engines import Query

_TOKEN = re.compile(
    r"""
    (?P<skip>\s+|--[^\n]*|/\*.*?\*/)
  | (?P<string>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
  | (?P<number>\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+)
  | (?P<word>[^\W\d]\w*)
  | (?P<symbol>::|//|\*\*|<=>|<>|!=|<=|>=|\|\||->>|->|.)
    """,
    re.VERBOSE | re.DOTALL,
)

_CLAUSES_AFTER_ORDER = {
    "LIMIT",
    "OFFSET",
    "ROWS",
    "RANGE",
    "GROUPS",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "QUALIFY",
    "WINDOW",
}
_INTEGER_TYPES = {"TINYINT", "SMALLINT", "INT", "INTEGER", "BIGINT", "LONG", "INT1", "INT2", "INT4", "INT8"}
_WHOLE_CALLS = {"FLOOR", "CEIL", "CEILING", "ROUND", "TRUNC", "COUNT", "LENGTH"}
_COMPARISONS = {"<", ">", "<=", ">=", "=", "<>", "!=", "IS", "IN", "LIKE", "AND", "OR", "NOT", "BETWEEN"}
_FRACTION_TYPES = {"FLOAT", "DOUBLE", "REAL", "FLOAT4", "FLOAT8"}
_SET_OPERATIONS = {"UNION", "EXCEPT", "INTERSECT"}
_FLOAT_SUMS = {"SUM", "AVG", "MEAN", "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "VARIANCE", "VAR_POP", "VAR_SAMP"}

_FORBIDDEN_CALLS: dict[str, str] = {
    **dict.fromkeys(("UNNEST", "EXPLODE", "EXPLODE_OUTER", "POSEXPLODE", "INLINE"), "write the rows out in a stage"),
    **dict.fromkeys(
        (
            "MAX_BY",
            "MIN_BY",
            "ARG_MAX",
            "ARG_MIN",
            "ARGMAX",
            "ARGMIN",
            "ANY_VALUE",
            "FIRST",
            "LAST",
            "ARBITRARY",
            "MODE",
        ),
        "ties are broken at random: use row_number() over a total order",
    ),
    **dict.fromkeys(
        ("APPROX_QUANTILE", "APPROX_COUNT_DISTINCT", "APPROX_PERCENTILE", "PERCENTILE_APPROX", "RESERVOIR_QUANTILE"),
        "engines approximate differently: count exactly",
    ),
    **dict.fromkeys(
        ("HASH", "XXHASH64", "MURMUR_HASH", "CRC32", "MD5", "MD5_NUMBER", "SHA", "SHA1", "SHA2", "SHA256"),
        "hashes are computed in stages",
    ),
    **dict.fromkeys(
        ("RANDOM", "RAND", "RANDN", "SETSEED", "UUID", "GEN_RANDOM_UUID", "SHUFFLE", "MONOTONICALLY_INCREASING_ID"),
        "a query must give the same rows every time",
    ),
    **dict.fromkeys(("NOW", "TODAY", "GET_CURRENT_TIMESTAMP"), "a query must give the same rows every time"),
    **dict.fromkeys(("ELEMENT_AT", "LIST_EXTRACT", "ARRAY_EXTRACT", "LIST_ELEMENT"), "engines count from 0 or from 1"),
    **dict.fromkeys(("LIST", "STRING_AGG", "GROUP_CONCAT", "LISTAGG"), "use array_sort(array_agg(…) FILTER (…))"),
}
_FORBIDDEN_WORDS: dict[str, str] = {
    "EXCLUDE": "name the columns",
    "TABLESAMPLE": "sample in a stage, by a hash of the id",
    **dict.fromkeys(
        ("CURRENT_TIMESTAMP", "CURRENT_DATE", "LOCALTIMESTAMP"), "a query must give the same rows every time"
    ),
    **dict.fromkeys(
        ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "UINT8", "UINT16", "UINT32", "UINT64", "UNSIGNED"),
        "one engine widens unsigned integers: use signed ones",
    ),
    **dict.fromkeys(("HUGEINT", "INT128"), "written to Parquet as a fraction: cast to BIGINT"),
    **dict.fromkeys(
        ("TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "NANOSECOND", "NANOSECONDS"), "times are in microseconds"
    ),
}
_FORBIDDEN_SYMBOLS: dict[str, str] = {
    "[": "engines count from 0 or from 1: keep lists out of queries",
    "::": "write CAST(… AS …)",
    "//": "write CAST(floor(a / b) AS BIGINT)",
    "^": "a power here, an exclusive or there",
    "**": "one engine lacks it",
    "<=>": "write IS NOT DISTINCT FROM",
    "@": "one engine lacks it",
    "$": "one engine lacks it",
}


def _float_columns() -> frozenset[str]:
    schemas = [value for value in vars(document).values() if isinstance(value, pa.Schema)]
    return frozenset(field.name for schema in schemas for field in schema if pa.types.is_floating(field.type))


FRACTIONS = _float_columns()
"""Names of the columns of Starsmith's own row types that hold fractions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Token:
    kind: str
    text: str
    depth: int
    opener: int
    """Index of the parenthesis this token stands in, or -1."""

    @property
    def upper(self) -> str:
        return self.text.upper() if self.kind == "word" else self.text


_Rule = Callable[[list[_Token], frozenset[str]], Iterator[str]]


def check(query: Query) -> None:
    """Raise ValueError unless every engine reads the query alike."""
    if found := violations(query.text):
        raise ValueError(f"query {query.name} leaves the common SQL subset: {'; '.join(found)}")


def violations(query: str, *, fractions: Collection[str] = FRACTIONS) -> list[str]:
    """Return one sentence per forbidden construct of `query`, rule by rule; none means that it may run.

    `fractions` are the names of the columns with fractions among the tables the query reads.

    >>> violations("SELECT a FROM t ORDER BY a NULLS FIRST")
    []
    >>> violations("SELECT a FROM t ORDER BY a")
    ['ORDER BY a: say NULLS FIRST or NULLS LAST; engines place NULL at different ends.']
    """
    tokens = _tokens(query)
    names = frozenset(name.upper() for name in fractions)
    return [message for rule in _RULES for message in rule(tokens, names)]


def _tokens(query: str) -> list[_Token]:
    tokens: list[_Token] = []
    openers: list[int] = []
    for match in _TOKEN.finditer(query):
        kind, text = str(match.lastgroup), match.group()
        if kind == "skip":
            continue
        if text == ")" and openers:
            openers.pop()
        tokens.append(_Token(kind=kind, text=text, depth=len(openers), opener=openers[-1] if openers else -1))
        if text == "(":
            openers.append(len(tokens) - 1)
    return tokens


def _text(tokens: list[_Token]) -> str:
    return " ".join(token.text for token in tokens)


def _group_end(tokens: list[_Token], opener: int) -> int:
    """Return the index of the parenthesis that closes the one at `opener` (the end of the query if none does)."""
    depth = tokens[opener].depth
    closers = (i for i in range(opener + 1, len(tokens)) if tokens[i].text == ")" and tokens[i].depth == depth)
    return next(closers, len(tokens))


def _calls(tokens: list[_Token], names: Collection[str]) -> Iterator[tuple[int, list[_Token]]]:
    """Yield (index of the name, tokens between its parentheses) of every call of one of `names`."""
    for i, (token, following) in enumerate(pairwise(tokens)):
        if token.upper in names and following.text == "(":
            yield i, tokens[i + 2 : _group_end(tokens, i + 1)]


def _split(tokens: list[_Token], separator: str = ",") -> list[list[_Token]]:
    """Split at the separators that stand in no deeper parenthesis than the first token."""
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        if token.upper == separator and token.depth == tokens[0].depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _orders(tokens: list[_Token]) -> Iterator[tuple[int, list[_Token]]]:
    """Yield (index of ORDER, tokens of its items) of every ORDER BY."""
    for i, (token, following) in enumerate(pairwise(tokens)):
        if token.upper == "ORDER" and following.upper == "BY":
            end = i + 2
            while end < len(tokens) and not _ends_order(tokens[end], token.depth):
                end += 1
            yield i, tokens[i + 2 : end]


def _ends_order(token: _Token, depth: int) -> bool:
    return token.depth < depth or (token.depth == depth and (token.upper in _CLAUSES_AFTER_ORDER or token.text == ";"))


def _null_order(tokens: list[_Token], _fractions: frozenset[str]) -> Iterator[str]:
    for _, items in _orders(tokens):
        for item in _split(items):
            if [token.upper for token in item[-2:]] not in (["NULLS", "FIRST"], ["NULLS", "LAST"]):
                yield f"ORDER BY {_text(item)}: say NULLS FIRST or NULLS LAST; engines place NULL at different ends."


def _ordered_aggregate(tokens: list[_Token], _fractions: frozenset[str]) -> Iterator[str]:
    for i, _ in _orders(tokens):
        opener = tokens[i].opener
        before = tokens[opener - 1] if opener > 0 else None
        opens_window = before is not None and before.upper in {"OVER", "AS"}
        is_argument = opener >= 0 and "SELECT" not in {
            token.upper for token in tokens[opener:i] if token.opener == opener
        }
        if before is not None and before.kind == "word" and is_argument and not opens_window:
            yield f"{before.text}(… ORDER BY …): an order inside an aggregate is not read alike; sort the result."


def _array_aggregate(tokens: list[_Token], _fractions: frozenset[str]) -> Iterator[str]:
    for i, argument in _calls(tokens, {"ARRAY_AGG", "COLLECT_LIST", "COLLECT_SET"}):
        if [token.upper for token in tokens[max(i - 2, 0) : i]] != ["ARRAY_SORT", "("]:
            yield f"{tokens[i].text}(…): its order is not fixed; write array_sort(array_agg(…) …)."
        after = [token.upper for token in tokens[_group_end(tokens, i + 1) + 1 :]]
        value = [token.upper for token in argument if token.upper != "DISTINCT"]
        if after[: 3 + len(value) + 3] != ["FILTER", "(", "WHERE", *value, "IS", "NOT", "NULL"]:
            yield f"{tokens[i].text}(…): one engine keeps NULLs; add FILTER (WHERE … IS NOT NULL)."


def _integer_casts(tokens: list[_Token], fractions: frozenset[str]) -> Iterator[str]:
    for _, inside in _calls(tokens, {"CAST", "TRY_CAST"}):
        value, *kind = _split(inside, "AS")
        if kind and kind[0] and kind[0][0].upper in _INTEGER_TYPES and _is_fraction(value, fractions):
            yield f"CAST({_text(inside)}): one engine rounds, one cuts off; write floor(…) or round(…) inside the cast."


def _is_fraction(value: list[_Token], fractions: frozenset[str]) -> bool:
    """Tell whether an expression may have a fractional part."""
    if not value or _is_whole(value):
        return False
    return any(_is_fractional(token, fractions) for token in _results(value))


def _is_whole(value: list[_Token]) -> bool:
    """Tell whether an expression is one call that rounds or counts, one cast to an integer, or a condition."""
    outermost = [token.upper for token in value if token.depth == value[0].depth]
    is_one_call = len(outermost) == 3 and outermost[1:] == ["(", ")"]
    casts = is_one_call and value[0].upper in {"CAST", "TRY_CAST"} and value[-2].upper in _INTEGER_TYPES
    is_condition = value[0].upper != "CASE" and not _COMPARISONS.isdisjoint(outermost)
    return casts or is_condition or (is_one_call and value[0].upper in _WHOLE_CALLS)


def _results(value: list[_Token]) -> Iterator[_Token]:
    """Yield the tokens of an expression less those of the conditions of a CASE."""
    in_condition = False
    for token in value:
        if token.upper in {"WHEN", "CASE"}:
            in_condition = True
        elif token.upper in {"THEN", "ELSE", "END"}:
            in_condition = False
        elif not in_condition:
            yield token


def _is_fractional(token: _Token, fractions: frozenset[str]) -> bool:
    if token.kind == "number":
        return not token.text.isdigit()
    return token.text == "/" or (token.kind == "word" and token.upper in fractions | _FRACTION_TYPES)


def _float_sums(tokens: list[_Token], fractions: frozenset[str]) -> Iterator[str]:
    for i, argument in _calls(tokens, _FLOAT_SUMS):
        if _is_fraction(argument, fractions):
            yield f"{tokens[i].text}({_text(argument)}): a sum of fractions depends on the order; sum integers."


def _concat(tokens: list[_Token], _fractions: frozenset[str]) -> Iterator[str]:
    for i, inside in _calls(tokens, {"CONCAT"}):
        if not all(_cannot_be_null(argument) for argument in _split(inside)):
            yield f"{tokens[i].text}({_text(inside)}): one engine skips NULL, one returns it; use ||."


def _cannot_be_null(argument: list[_Token]) -> bool:
    is_literal = len(argument) == 1 and argument[0].kind in {"string", "number"}
    ends_in_literal = len(argument) > 1 and argument[-2].kind in {"string", "number"}
    return is_literal or (argument[:1] != [] and argument[0].upper == "COALESCE" and ends_in_literal)


def _literals_and_names(tokens: list[_Token], _fractions: frozenset[str]) -> Iterator[str]:
    for token in tokens:
        if token.kind == "string" and "\\" in token.text:
            yield f"{token.text}: one engine reads a backslash as an escape; leave it out."
        if token.kind == "quoted":
            yield f"{token.text}: a name to one engine, a string or an error to the other; use plain names."


def _stars(tokens: list[_Token], _fractions: frozenset[str]) -> Iterator[str]:
    """An engine may read only the columns that a query names, so what a star stands for must change no row."""
    for i, token in enumerate(tokens):
        before = tokens[i - 1].upper if i else ""
        if token.text != "*" or before not in {"SELECT", "DISTINCT", ",", "."}:
            continue
        start = i - 2 if before == "." else i
        beside = [other.upper for other in tokens if other.opener == token.opener]
        groups_all = any(beside[j : j + 3] == ["GROUP", "BY", "ALL"] for j in range(len(beside)))
        if groups_all or tokens[start - 1].upper == "DISTINCT" or not _SET_OPERATIONS.isdisjoint(beside):
            yield f"{_text(tokens[start : i + 1])}: decides which rows are equal; name the columns."


def _words(tokens: list[_Token], _fractions: frozenset[str]) -> Iterator[str]:
    for token, following in pairwise([*tokens, _Token(kind="symbol", text=";", depth=0, opener=-1)]):
        reason = _FORBIDDEN_WORDS.get(token.upper) or (following.text == "(" and _FORBIDDEN_CALLS.get(token.upper))
        if reason:
            yield f"{token.text}: {reason}."
        elif token.kind == "symbol" and token.text in _FORBIDDEN_SYMBOLS:
            yield f"{token.text} : {_FORBIDDEN_SYMBOLS[token.text]}."
        if token.upper == "USING" and following.upper == "SAMPLE":
            yield "USING SAMPLE: sample in a stage, by a hash of the id."


_RULES: tuple[_Rule, ...] = (
    _null_order,
    _ordered_aggregate,
    _array_aggregate,
    _integer_casts,
    _float_sums,
    _concat,
    _literals_and_names,
    _stars,
    _words,
)

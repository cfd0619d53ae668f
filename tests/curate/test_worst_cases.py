"""Texts made to be slow: for every rule of every scanner the work grows with the text, and no faster.

Each text is a unit over and over: near-matches, runs of what a rule accepts, prefixes one after the other. Work is
processor time. Four times the text may take no more than nine times as long, where quadratic work takes sixteen; what
fails that is measured again with twice the text, since noise shrinks as the work grows and a square does not.
"""

import re._parser as parser  # the only place that knows how wide a pattern can match
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import processor_time
import pyarrow as pa
import pytest
from processor_time import LEAST_SECONDS, takes_at_most

from starsmith.curate import (
    decontaminate,
    encoding,
    language,
    licence,
    licence_expression,
    licence_manifests,
    minhash,
    redact,
    text_stats,
)
from starsmith.curate.benchmark_texts import ProblemText, before_solution, docstring_of
from starsmith.curate.licence_statements import statements_of
from starsmith.curate.personal_data import find_addresses
from starsmith.curate.secret_formats import TokenFormat, token_formats
from starsmith.curate.secrets import MAX_TOKEN
from starsmith.settings import DecontaminationSettings, LicenceSettings, NearDuplicateSettings, RedactionSettings

Work = Callable[[bytes], object]

SMALL = 5_000
LARGEST = 1_300_000


def column(text: bytes) -> pa.LargeBinaryArray:
    return pa.array([text], pa.large_binary())


def seconds(work: Work, text: bytes) -> float:
    return processor_time.seconds(lambda: work(text))


def is_linear(work: Work, unit: bytes, before: bytes = b"", *, size: int = SMALL) -> bool:
    while size <= LARGEST:
        whole = seconds(work, before + unit * (4 * size // len(unit)))
        if whole < LEAST_SECONDS or whole < 9 * seconds(work, before + unit * (size // len(unit))):
            return True
        size *= 2
    return False


def scan(text: bytes) -> object:
    return redact.scan(column(text), RedactionSettings())


def find(text: bytes) -> object:
    return find_addresses(column(text), RedactionSettings())


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Compiled kernels are loaded before anything is measured."""
    for work in WORKS.values():
        work(b"x = 1\n")


# ---- formats of tokens


def examples(pattern: bytes) -> bytes:
    """Return the shortest text a pattern matches, always by the first of what it accepts."""
    return b"".join(_example(str(kind), value) for kind, value in parser.parse(pattern))


def _example(kind: str, value: Any) -> bytes:
    if kind == "LITERAL":
        return bytes([value])
    if kind == "IN":
        first, members = value[0]
        return bytes([members[0] if str(first) == "RANGE" else members])
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        return b"".join(_example(str(each), inner) for each, inner in value[2]) * int(value[0])
    if kind == "SUBPATTERN":
        return b"".join(_example(str(each), inner) for each, inner in value[3])
    return b"".join(_example(str(each), inner) for each, inner in value[1][0]) if kind == "BRANCH" else b""


def units_of(token_format: TokenFormat) -> Iterator[bytes]:
    prefix, body = token_format.prefix, examples(token_format.pattern.pattern)
    yield prefix
    yield prefix + b"."
    yield prefix + body[:-1] + b" "
    yield prefix + body + b" "
    widest = min(int(parser.parse(token_format.pattern.pattern).getwidth()[1]), MAX_TOKEN)
    yield prefix + body + (body[-1:] or b"a") * (widest + 1)


@pytest.mark.parametrize("first", range(8))
def test_every_format_of_a_token(first: int) -> None:
    slow = [
        (token_format.provider, token_format.prefix, unit[:80])
        for token_format in token_formats()[first::8]
        for unit in units_of(token_format)
        if not is_linear(scan, unit, size=2 * SMALL)
    ]
    assert slow == []


def test_examples_are_of_their_format() -> None:
    wrong = [
        token_format
        for token_format in token_formats()
        if not token_format.pattern.match(examples(token_format.pattern.pattern))
    ]
    assert wrong == []


# ---- everything else that reads a text

PROBLEMS = [
    ProblemText(benchmark="b", problem=str(number), field="prompt", text=text)
    for number, text in enumerate(["def f(a, b):\n    return a + b", "a" * 40, "x " * 20, "</" * 30])
]
INDEX = decontaminate.Index.build(PROBLEMS, DecontaminationSettings(rule="both"))
FILES = (
    "LICENSE README.md package.json pyproject.toml setup.cfg PKG-INFO setup.py pom.xml a.gemspec DESCRIPTION a.cabal "
    "mix.exs a.h a.m a.pl a.j a.php a.asm a.js noextension"
).split()
DETECTOR = language.LanguageDetector()


def described(name: str) -> Work:
    """Return what annotate asks about a text under a file name."""

    def work(text: bytes) -> None:
        statements_of(name, text.decode(), LicenceSettings())
        DETECTOR.detect([name], column(text))
        language.is_generated(name, text)

    return work


WORKS: dict[str, Work] = {
    "secrets and addresses": scan,
    "authors kept": lambda text: redact.scan(column(text), RedactionSettings(keep_licence_authors=True)),
    "licence notices": lambda text: licence.header_statements(column(text)),
    "licence expressions": lambda text: licence_expression.normalise(text.decode()),
    "licence values": lambda text: licence_manifests.value_expression(text.decode()),
    "statistics and visible text": lambda text: text_stats.measure(
        column(text), html=np.ones(1, np.bool_), hex_spaces=True
    ),
    "encodings": lambda text: encoding.decode(column(b"\xe9" + text)),
    "shingles": lambda text: minhash.sign(column(text), NearDuplicateSettings()),
    "benchmark texts": lambda text: decontaminate.scan(column(text), INDEX),
    "problems": lambda text: (docstring_of(text.decode()), before_solution(text.decode())),
    **{name: described(name) for name in FILES},
}

SECRETS = [
    *(
        "a@",
        "@a",
        "a.a@",
        "a@b.c",
        "x@y.com ",
        "1.",
        "1.2.3.4 ",
        "93.184.216.34.",
        "2a00:",
        "::",
        "2a00:1450:4001::200e ",
    ),
    *("password", "password=", "password='", 'password="a', 'password=\\"', "pass\\", "secretkey[", "token : str = "),
    *("key-", "-pwd ", "<password>", "user=a password=b ", "password='hunter2x!' ", "password=hunter2x1 ", "api_key="),
    *("auth=(", "auth=('a','", "sshpass -p ", "curl -u ", "curl ", "mysql -p", "identified by ", "basic ", "bearer "),
    *("Basic dXNlcjpwYXNz", "bearer aaaaaaaaaaaaaaaa1", "://", "://a:", "://a:b@", "http://user:pass@", "-----"),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "Private-Lines: 9\n"),
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCabcdefghijkl\n-----END PRIVATE KEY-----\n",
    "Private-Lines: 14\n" + "A" * 64 + "\n",
]
RUNS = list("aA1-_.:;@/\\\"'`=+ \t\n\r([{<>&#*%$!?,|~^é一") + ["0x41,", "\\x41", "\\u0041", "41 ", "QUJD", "\\u{41}"]
MARKUP = [
    *("<a ", "<a b='", "</", "<!", "<!--", "<!-- --!", "-->", "<![CDATA[", "]]", "<?", "<script>", "<script><!--"),
    *("</script", "<template>", "<ruby><rt>", "<textarea>", "&amp", "&#", "&#x", "&#x4", "&#99999999999", "&lol;"),
    *("<!DOCTYPE [", "<!ENTITY a '&b;&b;'>", "<div>", "&ThickSpace", "<license>", "<license><name>a", "<name>", "<a:"),
]
PROSE = [
    *("SPDX-License-Identifier: ", "SPDX-License-Identifier: MIT OR ", "// ", "/*", "/* ", "# ", '"""', "'''", "-- "),
    *("(* ", "{- ", "copyright (c) 2020 ", "(c) ", "licensed under ", "License, version ", "MIT OR ", "(MIT AND "),
    *("MIT/", "or later ", ">= 2.", "Permission is hereby granted, ", "# License\n", "License\n=======\n", "](http://"),
    *("-*- mode: ", "-*- a:b;", "vim: ft=", "#!/usr/bin/env ", "#!/bin/sh\nexec a ", "exec a $0\n", "takes returns "),
    *("template <", "public:", "  : ", "=head1\n", "coding: utf-9 ", "charset=x", "generated by ", "@generated"),
    *("def f(a, b):\n    return a + b\n", "# SOLUTION START\n", "BEGIN SOLUTION"),
]
DATA = [
    *("[", '{"a":', '{"a":[', '{"cells":[', '"a",', "[license]\n", "a.a.a=1\n", "a.", "[[a]]\n", "license = {"),
    *("License: MIT\n", '"License :: OSI', "x.license = ", "'type' => ", "type: '", "licenses: [", " file LICENSE"),
    *("file license + ", "(>= 2", "classifiers=[", '{"version":3,"sources":[', "see "),
]


@pytest.mark.parametrize("kind", ["SECRETS", "RUNS", "MARKUP", "PROSE", "DATA"])
def test_every_rule_that_reads_a_text(kind: str) -> None:
    """Each unit alone, and each behind a long line, where rules that look back have far to look."""
    slow = [
        (name, unit)
        for name, work in WORKS.items()
        for unit in globals()[kind]
        for before in ((b"",) if name in FILES else (b"", b"x" * 3000 + b" "))
        if not is_linear(work, unit.encode(), before)
    ]
    assert slow == []


def test_a_hundred_thousand_findings() -> None:
    count = 100_000
    lines = b"".join(b"user%d@host%d.com\n" % (number, number) for number in range(count))
    assert len(redact.scan(column(lines), RedactionSettings())) == count
    assert takes_at_most(9, lambda: scan(lines), lambda: scan(lines[: len(lines) // 4]))


@pytest.mark.parametrize("unit", [b"1.2.3.4 ", b"93.184.216.34 ", b"0:0:0:93.184.216.34 "])
def test_a_line_of_addresses_costs_what_as_many_lines_do(unit: bytes) -> None:
    """Every address used to have the 800 bytes on either side gone through, a hundred addresses each."""
    line, lines = unit * 3000, (unit[:-1] + b"\n") * 3000
    assert takes_at_most(6, lambda: find(line), lambda: find(lines))


def test_one_line_of_ten_megabytes() -> None:
    text = b"password = 'x'; a@b, 1.2.3, &#x; <a " * 280_000
    assert len(text) > 10_000_000
    for name in ("secrets and addresses", "licence notices", "statistics and visible text", "benchmark texts", "a.js"):
        work = WORKS[name]
        assert takes_at_most(9, lambda: work(text), lambda: work(text[: len(text) // 4])), name  # noqa: B023


def test_comments_that_never_end() -> None:
    """Each opening used to be followed to the end of the text."""
    assert is_linear(WORKS["problems"], b"/* ")
    assert docstring_of("/* a */ /* b */ /* c") == " b "
    assert docstring_of("/* a") == ""

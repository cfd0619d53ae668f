"""Language detection: each strategy on small real inputs, the data files, and hostile names and contents."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate import language as language_module
from starsmith.curate.language import (
    ALPHANUM_LANGUAGES,
    CLASSIFIER_BYTES,
    DATA_LANGUAGES,
    LANGUAGE_VERSION,
    LONG_LINE_LANGUAGES,
    NO_LANGUAGE,
    Language,
    LanguageDetector,
    current_name,
    is_generated,
    is_vendor,
)
from starsmith.curate.language_data import (
    EXCLUDED_PAIRS,
    INSPECTED_PAIRS,
    LANGUAGE_DATA,
    LANGUAGE_DATA_DIGEST,
    parse_languages,
    present_pairs,
)
from starsmith.curate.language_rules import RULES

EXAMPLES = [
    ("setup.py", b"import setuptools\n", "Python", "extension"),
    ("SETUP.PY", b"import setuptools\n", "Python", "extension"),
    ("Makefile", b"all:\n\tcc a.c\n", "Makefile", "filename"),
    ("CMakeLists.txt", b"project(x)\n", "CMake", "filename"),
    ("view.blade.php", b"@if (true)\n", "Blade", "extension"),
    ("run", b"#!/usr/bin/env -S LANG=C python3.12 -u\n", "Python", "shebang"),
    ("run", b"#!/bin/bash\n", "Shell", "shebang"),
    ("run", b'#!/bin/sh\n# \\\nexec tclsh "$0" "$@"\n', "Tcl", "shebang"),
    ("run.js", b"#!/usr/bin/env osascript -l JavaScript\n", "JavaScript", "shebang"),
    ("vector", b"// -*- C++ -*-\n#pragma once\n", "C++", "modeline"),
    ("a.h", b"/* -*- Mode: C++; tab-width: 4 -*- */\n", "C++", "modeline"),
    ("rules", b"a = 1\n# vim: set ts=4 ft=python :\n", "Python", "modeline"),
    ("data", b'<?xml version="1.0"?>\n<a/>\n', "XML", "xml"),
    ("a.h", b"#include <stdio.h>\n/* a class of\nclass things */\nint f(void);\n", "C", "content"),
    ("a.h", b"#pragma once\nnamespace a {\nclass B {\npublic:\n  int c();\n};\n}\n", "C++", "content"),
    ("a.h", b"#import <Foundation/Foundation.h>\n@interface A : NSObject\n@end\n", "Objective-C", "content"),
    ("a.ts", b"export const a: number = 1;\n", "TypeScript", "content"),
    ("a.ts", b'<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS version="2.1"></TS>\n', "XML", "content"),
    ("README.md", b"# Title\n\ntext\n", "Markdown", "content"),
    ("a.pl", b"use strict;\nmy $x = 1;\n", "Perl", "content"),
    ("a.pl", b":- module(a, [b/1]).\nb(X) :- X > 1.\n", "Prolog", "content"),
    ("api.yaml", b'openapi: "3.0.0"\ninfo:\n  title: a\n', "OASv3-yaml", "content"),
    ("a.vim", b"let g:a = 1\n", "Vim script", "extension"),
    ("a.wl", b"f[x_] := x^2\n", "Wolfram Language", "extension"),
    ("libz.pc", b"Name: zlib\nDescription: x\nVersion: 1\nLibs: -lz\n", "pkg-config", "content"),
    ("ls.1p", b".TH LS 1\n.SH NAME\nls \\- list\n", "Roff Manpage", "content"),
    ("LICENSE.unknown-extension", b"Permission is hereby granted\n", None, "none"),
    ("LICENSE_", b"int main(void) { return 0; }\n", None, "none"),
    ("a.target", b"not a unit\n", None, "none"),
    ("a.target", b"[Unit]\nDescription=x\n", "INI", "content"),
]
HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "a\0.py",
    "a\n.py",
    "\udcff.py",
    "." * 10_000,
    "a" * 10_000 + ".py",
    "-",
    "é.py",
    "\u202e.py",
]


def detect(names: Sequence[str], contents: Sequence[bytes | None]) -> list[Language]:
    return LanguageDetector().detect(names, pa.array(contents, pa.large_binary()))


@pytest.mark.parametrize(("name", "content", "expected", "method"), EXAMPLES)
def test_each_strategy_decides_what_it_should(name: str, content: bytes, expected: str | None, method: str) -> None:
    assert detect([name], [content]) == [Language(name=expected, method=method)]


def test_an_unambiguous_name_never_reaches_the_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("the classifier was asked")

    monkeypatch.setattr(language_module.enry, "get_language", refuse)
    detect(["a.py", "Makefile", "a.h", "a.md", "a.unknown"], [b"x"] * 5)
    with pytest.raises(AssertionError, match="was asked"):
        detect(["a.inc"], [b"x"])


def test_the_answer_depends_on_no_other_document() -> None:
    names, contents = [row[0] for row in EXAMPLES], [row[1] for row in EXAMPLES]
    together = detect(names, contents)
    assert detect(names[::-1], contents[::-1])[::-1] == together
    assert [detect([name], [content])[0] for name, content in zip(names, contents, strict=True)] == together


def test_slices_small_offsets_and_nulls_are_read_correctly() -> None:
    contents = [b"#!/bin/bash\n", None, b"#!/usr/bin/perl\n", b""]
    expected = ["Shell", None, "Perl", None]
    array = pa.array(contents, pa.large_binary())
    detector = LanguageDetector()
    assert [language.name for language in detector.detect(["x"] * 2, array[1:3])] == expected[1:3]
    assert [language.name for language in detector.detect(["x"] * 4, array.cast(pa.binary()))] == expected
    assert detector.detect([], pa.array([], pa.large_binary())) == []
    with pytest.raises(ValueError, match="1 file names for 4 texts"):
        detector.detect(["x"], array)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_answered(name: str) -> None:
    language = detect([name], [b"x = 1\n"])[0]
    assert language.name == ("Python" if name.endswith(".py") else None)
    assert not is_generated(name, b"x = 1\n")
    assert not is_vendor(name)


@pytest.mark.parametrize("name", ["a.h", "a.m", "a.inc", "a.md", "a", "a.js"])
@pytest.mark.parametrize(
    "content", [b"x" * 10_000_000, b"\n" * 10_000_000, b"class " * 1_700_000, b"#!" + b"/" * 10_000_000]
)
def test_large_and_odd_contents_are_answered(name: str, content: bytes) -> None:
    assert detect([name], [content])[0] == detect([name], [content[: 2 * CLASSIFIER_BYTES] + content[-4096:]])[0]


@given(st.text(max_size=40), st.binary(max_size=400))
def test_any_name_and_content_give_a_known_language_and_method(name: str, content: bytes) -> None:
    language = detect([name], [content])[0]
    assert language.name is None or language.name in LANGUAGE_DATA.types
    assert (language.name is None) == (language == NO_LANGUAGE)


@given(st.binary(max_size=60), st.sampled_from(["-*-", "vim:", "#!", "ex:", "mode:", "set ft="]))
def test_mangled_modelines_and_interpreter_lines_are_survived(noise: bytes, hint: str) -> None:
    for content in (hint.encode() + noise, noise + hint.encode(), noise + b"\n" + hint.encode() + noise + b" -*-"):
        detect(["x"], [content])


def test_over_600_languages_are_recognised_by_name_alone() -> None:
    names = [*LANGUAGE_DATA.filenames, *(f"x{extension}" for extension in LANGUAGE_DATA.extensions)]
    recognised = {language.name for language in detect(names, [b""] * len(names))} - {None}
    assert len(recognised) > 600
    assert len(LANGUAGE_DATA.types) > 800


def test_filter_sets_name_real_languages() -> None:
    for names in (LONG_LINE_LANGUAGES, DATA_LANGUAGES, ALPHANUM_LANGUAGES):
        assert names <= set(LANGUAGE_DATA.types)
    assert (len(LONG_LINE_LANGUAGES), len(DATA_LANGUAGES), len(ALPHANUM_LANGUAGES)) == (9, 5, 2)


def test_every_rule_names_languages_of_its_extension() -> None:
    for extension, rules in RULES.items():
        for rule in rules:
            named = getattr(rule, "usual", None) or getattr(rule, "language", None) or "C"
            assert named in LANGUAGE_DATA.extensions[extension], (extension, named)


def test_former_names_lead_to_present_ones() -> None:
    assert current_name("Vim Script") == "Vim script"
    assert current_name("Python") == "Python"
    assert current_name("") is None
    assert current_name("Klingon") is None
    assert set(LANGUAGE_DATA.former_names.values()) <= set(LANGUAGE_DATA.types)


def test_excluded_pairs_are_the_published_ones_and_follow_renames() -> None:
    assert len(INSPECTED_PAIRS) == 179
    assert {
        ("C++", ""),
        ("XML", "resx"),
        ("Bison", "bison"),
        ("World of Warcraft Addon Data", "toc"),
    } <= INSPECTED_PAIRS
    assert all(extension == extension.lower() and not extension.startswith(".") for _, extension in INSPECTED_PAIRS)
    assert {("Wolfram Language", "cdf"), ("INI", "service"), ("Dotenv", "env")} == EXCLUDED_PAIRS - INSPECTED_PAIRS


def test_excluded_pairs_equal_the_published_table(test_data: Path) -> None:
    with (test_data / "bigcode" / "language_labels.csv").open(newline="") as lines:
        rejected = {
            (row["language"], row["extension"]) for row in csv.DictReader(lines) if row["include_final"] == "FALSE"
        }
    assert rejected == INSPECTED_PAIRS


def test_languages_equal_the_source(test_data: Path) -> None:
    source = gzip.decompress((test_data / "linguist" / "languages.yml.gz").read_bytes()).decode()
    names = {
        line[:-1].strip("\"'")
        for line in source.splitlines()
        if line.endswith(":") and not line.startswith((" ", "#", "-"))
    }
    assert names == set(LANGUAGE_DATA.types)


def test_a_moved_extension_is_added_only_where_one_language_took_it() -> None:
    data = parse_languages(
        '{"version": "1", "generic_extensions": [], "former_names": {"Old": "New"}, "languages": {'
        '"New": {"type": "data"}, "A": {"type": "data", "extensions": [".a", ".s"]},'
        '"B": {"type": "data", "extensions": [".b", ".s"], "filenames": ["x.a"]}}}'
    )
    given_pairs = {("Old", "o"), ("New", "s"), ("New", "a"), ("B", "a")}
    assert present_pairs(given_pairs, data) - given_pairs == {("New", "o"), ("A", "a")}


def test_generated_and_vendored_flags() -> None:
    assert is_generated("a.pb.go", b"// Code generated by protoc-gen-go. DO NOT EDIT.\npackage a\n")
    assert is_generated("package-lock.json", b"{}")
    assert is_generated("a.js", b"x" * 100_000 + b"\n//# sourceMappingURL=a.js.map\n")
    assert not is_generated("a.py", b"x = 1\n")
    assert is_vendor("node_modules/a/index.js")
    assert not is_vendor("src/a.js")


def test_the_version_names_classifier_and_data() -> None:
    assert "enry-" in LANGUAGE_VERSION
    assert f"linguist-{LANGUAGE_DATA.version}-{LANGUAGE_DATA_DIGEST[:12]}" in LANGUAGE_VERSION

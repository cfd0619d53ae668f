"""The leading comment of a source file, without its comment markers, whatever the language.

A licence that a file states about itself stands there (section 11: the complaint that such statements were missed).
Only comment and docstring lines before the first line of code count, so that a string, a test case or a licence
scanner's own patterns state nothing. It knows comment openers by sight, not by language: a line it wrongly takes for a
comment can only add words to what is searched for complete licence notices.
"""

import re
from collections.abc import Iterable
from typing import Final

MAX_LINES: Final = 150

_BLOCKS: Final = (
    ("/*", "*/"),
    ("<!--", "-->"),
    ('"""', '"""'),
    ("'''", "'''"),
    ("(*", "*)"),
    ("{-", "-}"),
    ("{#", "#}"),
    ("{{!--", "--}}"),
    ("{{/*", "*/}}"),
    ("<%--", "--%>"),
    ("<%#", "%>"),
    ("--[[", "]]"),
    ("--[==[", "]==]"),
    ("#[[", "]]"),
    ("#|", "|#"),
    ("#=", "=#"),
    ("<#", "#>"),
    ("%{", "%}"),
    ("/+", "+/"),
    ("=begin", "=end"),
    ("=pod", "=cut"),
    ("comment *", "*"),
)
_CLOSERS = dict(_BLOCKS)
_OPENER = re.compile(
    "(?:[rRuUbB]{0,2}(?=[\"']))?(" + "|".join(re.escape(o) for o, _ in sorted(_BLOCKS, key=lambda b: -len(b[0]))) + ")"
)
_LINE = re.compile(
    r"""#|//|;|--|%|!|\.\.(?=\s)|\*|::|\.\\"|'\\"|\\\s|"(?=\s)|'(?=\s)|"""
    r"""dnl\b|[rR][eE][mM]\b|@c\b|@rem\b|@REM\b|[cC](?=\s)|NB\."""
)
_PASSED = re.compile(
    r"<\?(?:php|xml|hh)\b|<!doctype|<html|<%@|---\s*$|%YAML|"
    r"package\s+[\w.:;]+\s*$|@echo off|['\"]use strict['\"]|module;|"
    r"(?:export )?default;|%!PS|\ufeff|syntax\s*=",
    re.IGNORECASE,
)
_DECORATION = " \t*#;/%!|>~=+-_\"'"
_TAIL_DECORATION = " \t*#|/=~-_+"
_STOP = ("reuse-ignorestart", "spdx-snippetbegin")


def leading_comment(head: str) -> list[str]:
    """Return the lines of the comment `head` begins with, stripped of markers and decoration; blank lines stay.

    >>> leading_comment("#!/bin/sh\\n# SPDX-License-Identifier: MIT\\n\\necho '# License: GPL'\\n")
    ['bin/sh', 'SPDX-License-Identifier: MIT', '']
    """
    found: list[str] = []
    closer = ""
    for raw in head.removeprefix("\ufeff").split("\n", MAX_LINES)[:MAX_LINES]:
        line = raw.strip()
        if not closer and line and (opened := _OPENER.match(line)):
            closer = _CLOSERS[opened[1]]
            line = line[opened.end() :]
        elif not closer and line:
            marker = _LINE.match(line)
            if marker is None and _PASSED.match(line):
                continue
            if marker is None:
                break
            line = line[marker.end() :]
        text, closing, _ = line.partition(closer) if closer else (line, "", "")
        closer = "" if closing else closer
        text = text.lstrip(_DECORATION).rstrip(_TAIL_DECORATION)
        if text.lower().startswith(_STOP):
            break
        found.append(text)
    return found


def running_text(lines: Iterable[str]) -> str:
    """Return comment lines as one lower-case text with single spaces."""
    return " ".join(" ".join(lines).lower().split())

"""Which files may state a licence, and the licence that a file states about itself.

Follows section 1.4 for the names of candidate files. The paper reads no further than those; here the leading comment
of every file is read too (section 11: such statements were missed). What a candidate file says is `licence_statements`,
what holds for a document is `licence_decision`.
"""

import re
from functools import lru_cache
from typing import Final, Literal

import pyarrow as pa

from starsmith.curate.kernel import text_buffers
from starsmith.curate.licence_comments import leading_comment, running_text
from starsmith.curate.licence_expression import Statement, join
from starsmith.curate.licence_gate import WORDS, candidates
from starsmith.curate.licence_manifests import is_manifest
from starsmith.curate.licence_notices import (
    is_permission,
    known_expression,
    labels,
    notice,
    public_domain,
    tags,
)
from starsmith.curate.licence_text import shared_detector

CandidateKind = Literal["licence_file", "readme", "manifest"]

HEAD_BYTES: Final = 4096
"""A licence stated inside a file is looked for in this many bytes of its head."""

_NAMES = (
    r"li[cs]en[cs]e(s?)|copy(left|right|ing)|unlicense|[al]?gpl([-_ v]?)(\d\.?\d?)?|bsd(l?)|mit(x?)|apache|artistic|"
    r"copying(v?)(\d?)|eupl|gfdl|[cm]pl|cc0|al([-_ v]?)(\d\.?\d)?"
)
_README_NAMES = r"legal|disclaimer|about|notice|readme|guidelines"
_LICENCE_FILE = re.compile(rf"^(|.*[-_. ])({_NAMES})(|[-_. ].*)$", re.IGNORECASE | re.DOTALL)
_NAMED_FOR_LICENCE = re.compile(
    rf"^(?:{_NAMES})(?:[-_. ]|$)|(?:^|[-_. ])(?:{_NAMES})(?:\.[a-z]{{2,5}})?$", re.IGNORECASE
)
_README_FILE = re.compile(rf"^(|.*[-_. ])({_README_NAMES})(|[-_. ].*)$", re.IGNORECASE | re.DOTALL)
_THIRD_PARTY = re.compile(r"third[-_ .]?part|3rd[-_ .]?part|vendor", re.IGNORECASE)
_MAX_NAME: Final = 255
_MAX_PROSE: Final = 16_384


def candidate_kind(file_name: str) -> CandidateKind | None:
    """Return what a file of this name may state a licence as, or None (1.4).

    Lists of third parties' licences count among the readmes: they speak of other works.

    >>> candidate_kind("LICENSE-MIT"), candidate_kind("README.md"), candidate_kind("Cargo.toml"), candidate_kind("a.py")
    ('licence_file', 'readme', 'manifest', None)
    """
    if len(file_name) > _MAX_NAME:
        return None
    if is_manifest(file_name):
        return "manifest"
    if _LICENCE_FILE.match(file_name):
        return "readme" if _THIRD_PARTY.search(file_name) else "licence_file"
    return "readme" if _README_FILE.match(file_name) else None


def is_named_for_licence(file_name: str) -> bool:
    """Return whether a candidate's name begins or ends with a word for a licence: it is one even if it is not known.

    >>> is_named_for_licence("LICENSE-ACME.txt"), is_named_for_licence("12-licence-talk.md")
    (True, False)
    """
    return _NAMED_FOR_LICENCE.search(file_name) is not None


def header_statement(head: bytes) -> Statement | None:
    """Return the licence that a file states in its leading comment, or None; HEAD_BYTES bytes are read.

    SPDX tags decide where there are any (several are ANDed), else the standard notices, else labels.

    >>> header_statement(b"// SPDX-License-Identifier: MIT\\n").expression
    'MIT'
    """
    return header_statements(pa.array([head], pa.large_binary()))[0]


def header_statements(texts: pa.LargeBinaryArray) -> list[Statement | None]:
    """Return `header_statement` of every text (None for a null), reading only heads from the Arrow buffers."""
    data, offsets = text_buffers(texts.fill_null(b"") if texts.null_count else texts)
    found: list[Statement | None] = [None] * len(texts)
    for row in candidates(data, offsets, HEAD_BYTES).tolist():
        start, end = int(offsets[row]), int(offsets[row + 1])
        found[row] = _read_head(data[start : min(end, start + HEAD_BYTES)].tobytes())
    return found


def _read_head(head: bytes) -> Statement | None:
    text = head[:HEAD_BYTES].decode("utf-8", errors="replace").replace("\r\n", "\n")
    lines = tuple(line for line in leading_comment(text) if line)
    running = running_text(lines)
    return _comment_statement(lines) if any(word in running for word in WORDS) else None


@lru_cache(maxsize=2048)
def _comment_statement(lines: tuple[str, ...]) -> Statement | None:
    expression = stated_in(lines)
    return None if expression is None else Statement(kind="header", expression=expression)


def stated_in(lines: tuple[str, ...]) -> str | None:
    """Return the expression that tags, else notices, else permission texts, else labels state, or None."""
    if tagged := tags(lines):
        return join("AND", tagged)
    text = running_text(lines)
    if (noticed := notice(text)) is not None:
        return noticed
    if is_permission(text) and (detection := shared_detector().detect("\n".join(lines))):
        return detection.expression
    labelled = labels(lines)
    return join("AND", labelled) if labelled else public_domain(lines)


def plain_statement(text: str) -> str | None:
    """Return the expression that prose states without a licence's full text: a tag, a label or a notice, or None.

    A text that is nothing but a licence's name states that licence. Reads at most 16,384 characters.

    >>> plain_statement("MIT"), plain_statement("Released under the Apache License, Version 2.0.")
    ('MIT', 'Apache-2.0')
    """
    lines = [line.strip(" \t*#>=-`_") for line in text[:_MAX_PROSE].splitlines()]
    words = [line for line in lines if line]
    return (known_expression(words[0]) if len(words) == 1 else None) or stated_in(tuple(words))

"""Which licences stand in a text in full: the `licenseclassifier` package, which this module alone imports.

Detection of section 1.4, run once per distinct licence text. It finds complete licence texts and some standard notices
only; phrases, tags and labels are `licence_notices`. What a hostile text can cost is bounded: its length is cut, markup
that the classifier would read in quadratic time is taken away, and the classifier's memory is cleared when it has
grown.
"""

import hashlib
import importlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise
from typing import Final, Literal

import licenseclassifier

from starsmith.curate.licence_expression import detector_expression, ids, join
from starsmith.curate.licence_notices import asks_choice, notice

MAX_TEXT: Final = 131_072
"""Characters of a licence file that are read: GPL-3.0 has 35,000, the longest bundle of an installed package 60,000."""
MAX_ENGINE_STATES: Final = 120_000
"""The classifier remembers every automaton state it meets, about 0.6 KB each, and never forgets; at this many its
memory is cleared (measured: all SPDX texts need 600,000 states and 324 MB; with clearing the process stays at 145)."""

_CLEAR_SCORE: Final = 95.0
_MAX_PREFACE: Final = 250
"""Words around licence texts up to which they can offer alternatives; a bundle of others' licences has more."""
_WORDS = (
    "licen",
    "copyright",
    "permission",
    "permitted",
    "warranty",
    "public domain",
    "creativecommons",
    "redistribut",
)
_TAG = re.compile(r"</?[a-z](?:[^<>\n@:]|:(?!/)){0,200}>")
_LINK = re.compile(r"\]\((?:https?://|mailto:|file:|#)[^)\s]{0,300}\)")
_HARMFUL = str.maketrans({"<": " ", ">": " ", "{": " ", "}": " ", "&": " "})
_COPYRIGHT_LINE = re.compile(r"^(?:[^\w\n]|_){0,40}(?:copyright|\(c\)|©)[^\n]{0,160}?\d{4}[^\n]{0,160}$", re.MULTILINE)
_GNU_TEXT = re.compile(r"(?:AGPL|LGPL|GPL|GFDL)-\d\.\d")


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """The licences found in a text, in normal form, and the share of the text's words that is theirs, in percent."""

    expression: str
    score: float


class Detector:
    """The classifier with a cache by normalised text.

    One per process suffices: what the classifier itself loads and remembers is shared by all instances (about 50 MB).
    """

    def __init__(self, *, cached: int = 2048) -> None:
        self._cached = cached
        self._found: OrderedDict[bytes, Detection | None] = OrderedDict()

    def detect(self, text: str) -> Detection | None:
        """Return what licence texts `text` holds, or None if it holds none in full; MAX_TEXT characters are read.

        First without copyright lines, so that one licence under many names is classified once; then, where that
        explains little of the text, with them, since some licences name their holder.
        """
        text = normalised(text)
        if not any(word in text for word in _WORDS):
            return None
        first = self._classified(_COPYRIGHT_LINE.sub("", text))
        if first is not None and first.score >= _CLEAR_SCORE:
            return first
        second = self._classified(text)
        return max((found for found in (first, second) if found), key=lambda found: found.score, default=None)

    def _classified(self, text: str) -> Detection | None:
        text = " ".join(text.split())
        digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
        if digest not in self._found:
            self._found[digest] = _classify(text)
            if len(self._found) > self._cached:
                self._found.popitem(last=False)
        self._found.move_to_end(digest)
        return self._found[digest]


@cache
def shared_detector() -> Detector:
    """Return the detector of this process."""
    return Detector()


def normalised(text: str) -> str:
    """Return a text in lower case and without markup, cut at MAX_TEXT characters; lines stay."""
    text = _LINK.sub("] ", _TAG.sub(" ", text[:MAX_TEXT].lower()))
    return text.replace("](", "] (").translate(_HARMFUL)


def _classify(text: str) -> Detection | None:
    spans = licenseclassifier.identify_license(text, coverage_threshold=0.0)
    _trim_engine()
    if not spans:
        return None
    edges = pairwise([0, *(edge for span in spans for edge in (span.start, span.end)), len(text)])
    between = [text[start:end] for start, end in islice(edges, 0, None, 2)]
    covered = sum(len(text[span.start : span.end].split()) for span in spans)
    expressions = _distinct([span.id for span in spans], preface=between[0])
    operator: Literal["AND", "OR"] = "OR" if _is_choice(expressions, between) else "AND"
    return Detection(expression=join(operator, expressions), score=round(100 * covered / len(text.split()), 1))


def _trim_engine() -> None:
    """Clear the automaton states the classifier has remembered, of which it offers no other way to be rid."""
    states = importlib.import_module("licenseclassifier._engine.scan").builtin_scanner().re._info
    if len(states) > MAX_ENGINE_STATES:
        states.clear()


def _is_choice(expressions: list[str], between: list[str]) -> bool:
    """Return whether the little that stands around two or three licence texts offers them as alternatives."""
    if not 2 <= len(expressions) <= 3 or sum(len(text.split()) for text in between) > _MAX_PREFACE:
        return False
    return asks_choice(" ".join(between[:2]))


def _distinct(found: list[str], *, preface: str) -> list[str]:
    """Return the distinct expressions for the classifier's ids, in order of appearance.

    The texts of GPL-x-only and -or-later are the same: a notice before the full text says which is meant, one after it
    is the text's own appendix. LGPL-3.0 supplements GPL-3.0 and comes with its text.
    """
    kept: list[str] = []
    has_gnu_text = any(map(_GNU_TEXT.fullmatch, found))
    stated = ids(notice(" ".join(preface[-8192:].split())) or "NONE") if has_gnu_text else ()
    for identifier in found:
        full = _GNU_TEXT.fullmatch(identifier) is not None
        later = f"{identifier}-or-later"
        if full and (later in kept or later in stated):
            kept.append(later)
        elif not any(identifier.startswith(f"{text}-") for text in kept if _GNU_TEXT.fullmatch(text)):
            kept.append(identifier)
    if any(identifier.startswith("LGPL-3.0") for identifier in kept):
        kept = [identifier for identifier in kept if not identifier.startswith("GPL-3.0")]
    return list(dict.fromkeys(map(detector_expression, kept)))

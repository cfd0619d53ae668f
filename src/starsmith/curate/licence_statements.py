"""What one candidate file states about the folder it governs: the single entry point for the annotate pass.

Follows section 1.4 (candidates by name, then detection) with manifests beside it. Each statement is one file's; how
several in a folder go together, and which folder governs which file, is decided in `licence_decision`.
"""

import hashlib
import re
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Final

from starsmith.curate.licence import candidate_kind, is_named_for_licence, plain_statement
from starsmith.curate.licence_expression import UNKNOWN, Statement, join
from starsmith.curate.licence_manifests import manifest_statement
from starsmith.curate.licence_text import shared_detector
from starsmith.settings import LicenceSettings

RULES: Final = 2
"""Raised with every change to how licences are detected or expressions read, in any module `licence*`."""
PHRASE_SCORE: Final = 75.0
"""Score of a licence file recognised by its key sentences or a notice instead of its whole text."""
MIN_UNKNOWN_WORDS: Final = 60
"""Words from which prose in a licence file that is not recognised counts as an unknown licence: pointers to another
file are shorter (20 to 45 words in the packages looked at), the shortest common licence texts have over 100."""

_PROSE = re.compile(r"\.(?:txt|text|md|mkd|markdown|rst|adoc|asciidoc|org|html?|rtf|textile)$", re.IGNORECASE)
_CODE = re.compile(r"\.[a-z][a-z0-9+]{0,8}$", re.IGNORECASE)
_TERMS = re.compile(r"licen[cs]|all rights reserved|permission|agreement|terms and conditions|copyright", re.IGNORECASE)
_README_HEADING = re.compile(r"^[#=* \t]{0,20}licen[cs](?:e|es|ing)\b[^\n]{0,40}$", re.IGNORECASE | re.MULTILINE)
_README_SECTION: Final = 2000


@cache
def rules_version() -> str:
    """Return what changes whenever a licence could be detected or judged differently: rules, classifier, data."""
    data = resources.files("starsmith").joinpath("data/licences.json").read_bytes()
    return f"{RULES}+licenseclassifier-{version('licenseclassifier')}+{hashlib.sha256(data).hexdigest()[:12]}"


def statements_of(file_name: str, text: str, settings: LicenceSettings) -> list[Statement]:
    """Return what a file of this name states for its folder: no statement or one, of its candidate kind.

    Files that are no candidates, and kinds the settings switch off, state nothing.

    >>> [s.expression for s in statements_of("setup.cfg", "[metadata]\\nlicense = MIT\\n", LicenceSettings())]
    ['MIT']
    """
    kind = candidate_kind(file_name)
    if kind == "manifest":
        found = manifest_statement(file_name, text) if settings.manifests else None
    elif kind == "readme":
        found = _readme(text) if settings.readmes else None
    else:
        found = _licence_file(file_name, text, settings) if kind else None
    return [] if found is None else [found]


def _licence_file(file_name: str, text: str, settings: LicenceSettings) -> Statement | None:
    detection = shared_detector().detect(text)
    if detection is not None and detection.score >= settings.min_score:
        return Statement(kind="licence_file", expression=detection.expression, score=detection.score)
    if not _is_prose(file_name) or not is_named_for_licence(file_name):
        return None
    if detection is not None:
        # A licence and much else that was not understood: the rest may take back what the licence grants.
        return Statement(
            kind="licence_file", expression=join("AND", [detection.expression, UNKNOWN]), score=detection.score
        )
    stated = plain_statement(text)
    if stated is not None and settings.min_score <= PHRASE_SCORE:
        return Statement(kind="licence_file", expression=stated, score=PHRASE_SCORE)
    if len(text[:20_000].split()) >= MIN_UNKNOWN_WORDS and _TERMS.search(text[:20_000]):
        return Statement(kind="licence_file", expression=UNKNOWN, score=0.0)
    return None


def _is_prose(file_name: str) -> bool:
    """Return whether a licence file's name leaves it open or says that it holds prose, not code.

    `LICENSE.MIT` and `COPYING.LESSER` are prose, `license.py` is not.
    """
    if _PROSE.search(file_name) or not _CODE.search(file_name):
        return True
    name, _, extension = file_name.rpartition(".")
    return (
        candidate_kind(extension) == "licence_file"
        or extension.lower() in {"lesser", "lib", "boost", "zlib", "isc"}
        or name.isupper()
    )


def _readme(text: str) -> Statement | None:
    """Full texts anywhere, else notices in the section headed "License"."""
    detection = shared_detector().detect(text)
    if detection is not None:
        return Statement(kind="readme", expression=detection.expression, score=detection.score)
    sections = [text[m.end() : m.end() + _README_SECTION] for m in _README_HEADING.finditer(text)][:3]
    stated = [expression for section in sections if (expression := plain_statement(section)) is not None]
    return Statement(kind="readme", expression=join("AND", stated), score=PHRASE_SCORE) if stated else None

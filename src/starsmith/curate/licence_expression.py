"""Licence expressions: how they are read, written in one normal form, and judged permissive or not.

Follows section 1.4: the permissive list is the Blue Oak Council's plus ScanCode's categories "Permissive" and "Public
Domain", and some ids are neutral. Under choice semantics `A OR B` is as good as its best part and `A AND B` as bad as
its worst; the paper's own rule, which flattens every expression into a set of ids, is kept beside it.

It reads what people write ("Apache 2.0", "MIT/Apache-2.0", "GPL v2 or later") as far as the list of names in the
package data knows it, and guesses nothing else: an unknown name becomes a reference to an unknown licence, which is
not permissive.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import Final, Literal

LicenceType = Literal["permissive", "non_permissive", "no_license"]

UNKNOWN: Final = "LicenseRef-scancode-unknown-license-reference"
PROPRIETARY: Final = "LicenseRef-scancode-proprietary-license"
PUBLIC_DOMAIN: Final = "LicenseRef-scancode-public-domain"
PERMISSIVE_CATEGORIES: Final = frozenset({"Permissive", "Public Domain"})
NEUTRAL: Final = frozenset(
    f"LicenseRef-scancode-{key}"
    for key in (
        *("dco-1.1", "generic-cla", "google-cla", "jetty-ccla-1.1", "newton-king-cla", "generic-exception"),
        *("generic-export-compliance", "generic-tos", "generic-trademark", "warranty-disclaimer"),
    )
)
"""Ids that change nothing about what may be done with the code (1.4)."""

MAX_LENGTH: Final = 4096
"""Characters of a stated expression that are read; a longer one states nothing. The longest real one seen has 350."""
MAX_DEPTH: Final = 32

_HARMLESS_EXCEPTIONS: Final = frozenset({"Permissive", "Public Domain", "Copyleft Limited", "Copyleft"})
_LATER = re.compile(
    r"[\s,(]+or[\s(]+(?:at your option\)?[\s,]+)?(?:any )?(?:later|newer|higher|above)(?: versions?)?\)?", re.IGNORECASE
)
_LEAST = re.compile(r"\(?\s*>=?\s*(\d+(?:\.\d+)*)\s*\)?")
_REFERENCE = re.compile(r"(?:documentref-[a-z0-9.\-]+:)?licenseref-[a-z0-9.\-]+", re.IGNORECASE)
_TOKEN = re.compile(r"\(|\)|\|\|?|&&?|/|,|;|[^\s()|&/,;]+")
_NAME_PART = re.compile(r"[a-z]+|\d+(?:\.\d+)*|\+")
_VERSION_LETTER = re.compile(r"(?<=[a-z\s_-])v(?:\.\s?)?(?=\d)|(?<=[\s,])(?:version|ver\.?|v\.?)(?=\s*\d)")
_FILLERS = frozenset({"the", "license", "licenses", "licence", "licences", "licensed", "version", "v", "a", "an"})
_OPERATORS = {"or": "OR", "and": "AND", "with": "WITH", "w": "WITH", "/": "OR", ",": "OR", ";": "OR"} | {
    **dict.fromkeys(("|", "||"), "OR"),
    **dict.fromkeys(("&", "&&"), "AND"),
    **dict.fromkeys("()"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A licence that one file, manifest field or header states.

    `kind` is header, licence_file, manifest, readme or origin; `expression` is in normal form; `score` is the share of
    the file's words that is licence text, in percent, or 100 where a field or tag names the licence.
    """

    kind: str
    expression: str
    score: float = 100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Expression:
    """One node: a single licence (`operator` is ""), or an AND / OR of at least two different nodes in sorted order."""

    operator: Literal["", "AND", "OR"] = ""
    licence: str = ""
    exception: str = ""
    parts: tuple["Expression", ...] = ()

    def __str__(self) -> str:
        if not self.operator:
            return f"{self.licence} WITH {self.exception}" if self.exception else self.licence
        shown = (f"({part})" if self.operator == "AND" and part.operator else str(part) for part in self.parts)
        return f" {self.operator} ".join(shown)

    def ids(self) -> Iterator[str]:
        """Yield every licence and exception id, in order of appearance; repeats are possible."""
        if not self.operator:
            yield self.licence
            if self.exception:
                yield self.exception
        for part in self.parts:
            yield from part.ids()


@dataclass(frozen=True, slots=True)
class _Names:
    """What the package data knows: entries by id, canonical ids by lower-cased id, expressions by name key."""

    entries: Mapping[str, Mapping[str, object]]
    ids: Mapping[str, str]
    names: Mapping[str, str]
    detector: Mapping[str, str]
    permissive: frozenset[str]
    sources: tuple[Mapping[str, str], ...] = field(default=())


@cache
def _names() -> _Names:
    data = json.loads(resources.files("starsmith").joinpath("data/licences.json").read_text("utf-8"))
    entries: dict[str, dict[str, object]] = data["licences"]
    ids = {former.lower(): spdx for spdx, entry in entries.items() for former in _former(entry) if " " not in former}
    ids |= {spdx.lower(): spdx for spdx in entries}
    names: dict[str, str] = {}
    for expression, spellings in data["aliases"].items():
        for spelling in spellings:
            names.setdefault(name_key(spelling), expression)
    for spdx, entry in entries.items():
        for name in ("name", "short_name"):
            names.setdefault(name_key(str(entry.get(name, spdx))), spdx)
    permissive = frozenset(
        i for i, e in entries.items() if e.get("category") in PERMISSIVE_CATEGORIES or "blue_oak" in e
    )
    return _Names(entries, ids, names, data["detector"], permissive, tuple(data["sources"]))


def _former(entry: Mapping[str, object]) -> list[str]:
    former = entry.get("former", [])
    return [str(name) for name in former] if isinstance(former, list) else []


def permissive_ids() -> frozenset[str]:
    """Return every SPDX id and LicenseRef-scancode id that counts as permissive (1.4)."""
    return _names().permissive


def data_sources() -> tuple[Mapping[str, str], ...]:
    """Return name, version, licence, page and author of each list the licence data were built from."""
    return _names().sources


def name_key(name: str) -> str:
    """Return what is left of a licence name when spelling is taken away; equal keys mean the same licence.

    >>> name_key("The MIT License"), name_key("Apache License, Version 2.0"), name_key("GPLv3+")
    ('mit', 'apache-2.0', 'gpl-3-+')
    """
    lowered = _LATER.sub("+", _LEAST.sub(r"\1+", name.lower()[:200]))
    parts = _NAME_PART.findall(_VERSION_LETTER.sub(" ", lowered))
    kept = [part for part in parts if part not in _FILLERS]
    return "-".join(part for i, part in enumerate(kept) if i == 0 or part != kept[i - 1])


def known_id(text: str) -> str | None:
    """Return the current SPDX spelling of an id in any case, a former id or an SPDX-like `id+`; None if unknown.

    >>> known_id("gpl-3.0"), known_id("GPL-2.0+"), known_id("apache-2.0"), known_id("nonsense")
    ('GPL-3.0-only', 'GPL-2.0-or-later', 'Apache-2.0', None)
    """
    if _REFERENCE.fullmatch(text):
        return _names().ids.get(text.lower(), text)
    found = _names().ids.get(text.lower())
    if found or not text.endswith("+"):
        return found
    base = _names().ids.get(text[:-1].lower())
    if base is None:
        return None
    later = base.removesuffix("-only").removesuffix("-or-later") + "-or-later"
    return later if later in _names().entries else base + "+"


@lru_cache(maxsize=4096)
def named(text: str) -> str | None:
    """Return the expression that a licence's name, id, URL or trove classifier stands for, or None if it is unknown.

    >>> named("License :: OSI Approved :: MIT License"), named("GNU GPL v2 or later"), named("Frobnicate 7")
    ('MIT', 'GPL-2.0-or-later', None)
    """
    text = text.strip().strip("\"'`*_.").strip()[:MAX_LENGTH]
    text = text.rpartition("::")[2].strip() if text.lower().startswith("license ::") else text
    if "(" not in text and (found := known_id(text)):
        return found
    key = name_key(text) if text.count("(") == text.count(")") else ""
    if not key:
        return None
    if found := _names().names.get(key):
        return found
    base = _names().names.get(key.removesuffix("-+")) if key.endswith("-+") else None
    return known_id(base + "+") if base else None


def detector_expression(identifier: str) -> str:
    """Return the expression for an id the text classifier reports; one that no list holds becomes a LicenseRef."""
    found = _names().detector.get(identifier) or known_id(identifier)
    return found or f"LicenseRef-{identifier}"


def combine(operator: Literal["AND", "OR"], parts: Iterable[Expression]) -> Expression:
    """Return the AND or OR of `parts` (at least one): nested ones flattened, repeats removed, sorted."""
    flat = {str(leaf): leaf for part in parts for leaf in (part.parts if part.operator == operator else (part,))}
    ordered = tuple(flat[text] for text in sorted(flat, key=lambda text: (text.lower(), text)))
    return ordered[0] if len(ordered) == 1 else Expression(operator=operator, parts=ordered)


def join(operator: Literal["AND", "OR"], expressions: Iterable[str]) -> str:
    """Return the AND or OR of expressions (at least one) in normal form.

    >>> join("OR", ["MIT", "Apache-2.0 OR MIT"])
    'Apache-2.0 OR MIT'
    """
    return str(combine(operator, [_read(expression) for expression in expressions]))


def flatten(expression: str) -> str:
    """Return the AND of every id in an expression: the set the paper makes of it, written as an expression."""
    return str(combine("AND", [Expression(licence=spdx) for spdx in ids(expression)]))


def ids(expression: str) -> tuple[str, ...]:
    """Return the distinct licence and exception ids of an expression, sorted.

    >>> ids("MIT AND (GPL-2.0-only WITH Classpath-exception-2.0 OR MIT)")
    ('Classpath-exception-2.0', 'GPL-2.0-only', 'MIT')
    """
    return tuple(sorted(set(_read(expression).ids())))


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression | None:
    """Read an expression in SPDX syntax or as people write it; None if it is empty, malformed or too long.

    Ids in any case; `/`, `,` and `|` read as OR (as manifests use them), `&` as AND; AND binds tighter than OR.

    >>> str(parse("mit/APACHE-2.0")), str(parse("(GPL-2.0+ or MIT) and ISC")), parse("MIT OR")
    ('Apache-2.0 OR MIT', '(GPL-2.0-or-later OR MIT) AND ISC', None)
    """
    if not text.strip() or len(text) > MAX_LENGTH:
        return None
    whole = named(text)
    if whole is not None and whole != text.strip():
        return parse(whole)
    tokens = _tokens(text)
    if not tokens:
        return None
    reader = _Reader(tokens)
    found = reader.alternatives(depth=0)
    return found if found is not None and reader.position == len(tokens) else None


def normalise(text: str) -> str | None:
    """Return the normal form of an expression, or None where there is none to read.

    >>> normalise("Apache License 2.0 or the MIT License")
    'Apache-2.0 OR MIT'
    """
    found = parse(text)
    return None if found is None else str(found)


def _tokens(text: str) -> list[str]:
    """Return operators ("AND", "OR", "WITH", "(", ")") and names; words between operators make up one name."""
    tokens: list[str] = []
    words: list[str] = []
    for token in [*_TOKEN.findall(_LATER.sub("+", text)), ")"]:
        if token.lower() not in _OPERATORS:
            words.append(token)
            continue
        if words:
            tokens.append(" ".join(words))
            words = []
        tokens.append(_OPERATORS[token.lower()] or token)
    return tokens[:-1]


@dataclass(slots=True)
class _Reader:
    """Recursive descent over tokens; every method returns None where the text does not fit."""

    tokens: list[str]
    position: int = 0

    def _take(self, token: str) -> bool:
        found = self.position < len(self.tokens) and self.tokens[self.position] == token
        self.position += found
        return found

    def alternatives(self, *, depth: int) -> Expression | None:
        parts = [self._together(depth=depth)]
        while parts[-1] is not None and self._take("OR"):
            parts.append(self._together(depth=depth))
        return _joined("OR", parts)

    def _together(self, *, depth: int) -> Expression | None:
        parts = [self._single(depth=depth)]
        while parts[-1] is not None and self._take("AND"):
            parts.append(self._single(depth=depth))
        return _joined("AND", parts)

    def _single(self, *, depth: int) -> Expression | None:
        if depth > MAX_DEPTH or self.position >= len(self.tokens):
            return None
        if self._take("("):
            inner = self.alternatives(depth=depth + 1)
            return inner if self._take(")") else None
        name = self.tokens[self.position]
        if name in {"AND", "OR", "WITH", ")"}:
            return None
        self.position += 1
        return self._with_exception(_single_licence(name))

    def _with_exception(self, licence: Expression) -> Expression | None:
        if not self._take("WITH"):
            return licence
        if self.position >= len(self.tokens) or licence.operator or licence.exception:
            return None
        name = self.tokens[self.position]
        self.position += 1
        exception = known_id(name) or named(name)
        known = exception is not None and bool(_names().entries.get(exception, {}).get("exception"))
        return Expression(licence=licence.licence, exception=exception if known and exception else UNKNOWN)


def _joined(operator: Literal["AND", "OR"], parts: list[Expression | None]) -> Expression | None:
    present = [part for part in parts if part is not None]
    return combine(operator, present) if len(present) == len(parts) else None


def _single_licence(name: str) -> Expression:
    found = known_id(name) or named(name)
    if found is None:
        return Expression(licence=UNKNOWN)
    if " " not in found:
        return Expression(licence=found)
    return parse(found) or Expression(licence=UNKNOWN)


def _read(expression: str) -> Expression:
    return parse(expression) or Expression(licence=UNKNOWN)


def license_type(expression: str, *, expressions: bool = True) -> LicenceType:
    """Return permissive, non_permissive, or no_license where only neutral ids are stated (1.4).

    `expressions` True: OR is a choice, AND a sum, neutral parts are passed over. False: the paper's rule over the set
    of all ids, in which a permissive id also outweighs a reference to an unknown licence.

    >>> license_type("MIT OR GPL-3.0-only"), license_type("MIT OR GPL-3.0-only", expressions=False)
    ('permissive', 'non_permissive')
    """
    return _by_choice(_read(expression)) if expressions else _by_set(frozenset(ids(expression)))


def _by_choice(expression: Expression) -> LicenceType:
    if not expression.operator:
        return _single_type(expression)
    types = {_by_choice(part) for part in expression.parts} - {"no_license"}
    if not types:
        return "no_license"
    if len(types) == 2:
        return "permissive" if expression.operator == "OR" else "non_permissive"
    return "permissive" if "permissive" in types else "non_permissive"


def _single_type(expression: Expression) -> LicenceType:
    if expression.licence in NEUTRAL:
        return "no_license"
    if not _is_permissive(expression.licence):
        return "non_permissive"
    entry = _names().entries.get(expression.exception, {"category": "Permissive"})
    return "permissive" if entry.get("category") in _HARMLESS_EXCEPTIONS else "non_permissive"


def _is_permissive(identifier: str) -> bool:
    return identifier.removesuffix("+") in permissive_ids()


def _by_set(found: frozenset[str]) -> LicenceType:
    permissive = {spdx for spdx in found if _is_permissive(spdx)}
    bad = found - permissive - NEUTRAL - ({UNKNOWN} if permissive else set())
    if permissive and not bad:
        return "permissive"
    return "non_permissive" if bad else "no_license"

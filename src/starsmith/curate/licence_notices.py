"""Short licence notices in running text: the standard notices of a source file's head, and "released under X".

Works on text whose comment markers are already gone. It belongs to section 1.4 only in purpose: the paper reads no
notices in source files, and what that missed is the complaint of section 11. It is not a licence scanner: a fixed set
of statements that speak about *this* file is known, everything else states nothing.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from starsmith.curate.licence_expression import (
    MAX_LENGTH,
    PROPRIETARY,
    PUBLIC_DOMAIN,
    UNKNOWN,
    join,
    known_id,
    named,
    normalise,
)

MAX_TAG: Final = 300
_TAG: Final = "spdx-license-identifier:"
_CLOSERS = r"\s*(?:\*+/|-->|--%>|--}}|#}|\*\)|-}|\]\]|\|#|=#|#>|%}|\?>|\"\"\"|'''|\\n).*$"
_TAG_END = re.compile(_CLOSERS)

_GNU = re.compile(
    r"(?:terms (?:and conditions )?(?:of|in)|under|licen[cs]ed (?:as|using)|covered by)"
    r"(?: the)?(?: terms (?:and conditions )?of)?(?: both| either)?"
    r"(?: (?:the )?(?:version |v\.? ?)?(?P<before>[123](?:\.[01])?)"
    r"(?P<before_later>[^.;]{0,40}? later[^.;]{0,12}?)? of)?"
    r"(?: the| a)? "
    r"(?:(?:gnu )?(?P<kind>affero |lesser |library )?(?:or lesser )?(?:gnu )?general public licen[cs]e"
    r"|gnu (?P<kind2>affero|lesser|library) public licen[cs]e|(?:gnu[/ ])?(?P<short>[al]?gpl)(?![a-z]))"
)
_GNU_END = re.compile(r"without even|you should have|\bgnu (?:affero |lesser |library )?general public|alternatively")
_GNU_VERSION = re.compile(
    r"(?:\bversions? |\bv\.? ?|^[ ,(-]{0,2}v?|licen[cs]e,? )(?P<version>[123](?:\.[01])?)(?P<plus> ?\+)?(?![\d.]*\d)"
)
_GNU_LATER = re.compile(
    r"\bor,? \(?(?:at your \w{6,10}\)?,? )?(?:\(at your \w{6,10}\) )?(?:any )?"
    r"(?:later|newer|higher|above)"
)
_GNU_KINDS = {"affero": "AGPL", "agpl": "AGPL", "lesser": "LGPL", "library": "LGPL", "lgpl": "LGPL"}
_GNU_VAGUE = {"GPL": "GPL-1.0-or-later", "LGPL": "LGPL-2.0-or-later", "AGPL": "AGPL-3.0-only"}
_GNU_EXCEPTIONS = (
    (re.compile(r"gcc runtime library exception"), "GPL-3.0-or-later", "GCC-exception-3.1"),
    (re.compile(r'"classpath" exception|classpath exception'), "GPL-2.0-only", "Classpath-exception-2.0"),
)

_PERL: Final = "Artistic-1.0-Perl OR GPL-1.0-or-later"
_STANDARD = (
    (
        r"licen[cs](?:ed|es)\b[^.]{0,120}?\bunder (?:the )?(?:terms of the )?apache licen[cs]e,? (?:version )?2",
        "Apache-2.0",
    ),
    (r"terms of the mozilla public licen[cs]e,? (?:v\. ?|version )2\.0", "MPL-2.0"),
    (r"mozilla public licen[cs]e(?: version|,? v\.) ?1\.1", "MPL-1.1"),
    (r"(?:distributed under|licen[cs]ed under|subject to) the boost software licen[cs]e", "BSL-1.0"),
    (r"this is free and unencumbered software released into the public domain", "Unlicense"),
    (r"to the extent possible under law.{0,300}?waived all copyright", "CC0-1.0"),
    (r"do what the f\S{1,4} you want to public licen[cs]e", "WTFPL"),
    (r"under the same terms as perl", _PERL),
    (
        r"(?:terms of|under) (?:either )?(?:the gnu .{6,20} licen[cs]e or )?the artistic licen[cs]e(?! .{0,9}2)",
        "Artistic-1.0-Perl",
    ),
)
_STANDARD_PATTERNS = tuple((re.compile(pattern), expression) for pattern, expression in _STANDARD)

_MIT = "permission is hereby granted, free of charge, to any person obtaining a copy of this"
_ISC = re.compile(
    r"permission to use, copy, modify,? and(?:/or)? distribute this software(?: and its documentation)? "
    r"for any purpose with or without fee is hereby granted"
)
_ZLIB = "permission is granted to anyone to use this software for any purpose"
_BSD = "redistribution and use in source and binary forms"
_PERMISSION = re.compile(
    r"permission (?:is|to)\b[^.]{0,120}\bgranted|redistribution and use|redistribution and modification"
)
_RESTRICTED = re.compile(
    r"non-?commercial (?:use|purposes?)|not for commercial|commons clause|for good, not evil|"
    r"may not be (?:sold|used commercially)|"
    r"for (?:research|academic|educational|personal|evaluation) (?:use|purposes) only"
)
_PUBLIC_DOMAIN = re.compile(
    r"(?:\bthis|\bthe) (?:source |python |example )?"
    r"(?:file|code|software|program|module|script|source|library|work|header|implementation)(?: file| code)?"
    r"(?: has been| have been| is| was|:)(?: hereby| explicitly)?"
    r"(?: placed| released| dedicated| put| donated)? (?:in|into|to) the public domain|"
    r"(?:i|we|the authors?|author)(?: hereby)? (?:place|release|dedicate|put|places|releases|dedicates) "
    r"(?:this|the|it)\b[^.]{0,60}(?:in|into|to) the public domain"
)
_PUBLIC_DOMAIN_LINE = re.compile(
    r"^(?:(?:released|placed|dedicated|donated) (?:in|into|to) the public domain\b|"
    r"(?:licen[cs]e:? )?public domain[.!]?$)"
)
_PROPRIETARY = re.compile(
    r"proprietary and confidential|confidential and proprietary|"
    r"unauthori[sz]ed copying of this (?:file|software|program)|this (?:file|software|code) is proprietary"
)

_NAMED = re.compile(
    r"(?:licen[cs]ed|released|distributed|available|published|provided|offered|open[- ]sourced|covered|governed)"
    r"(?: to you)? "
    r"(?:under|by)(?: both| either)?(?: the)?(?: terms(?: and conditions)? of)?(?: either)?(?: the| an?)? "
    r"(?P<name>[^;:|]{2,140})"
)
_BARE = re.compile(
    r"(?:^|[|.!,;-] ?)(?:the )?(?P<name>mit|isc|apache[ -]2(?:\.0)?|bsd[ -][23](?:[ -]clause)?) "
    r"licen[cs]ed?\b(?! (?:header|text))"
)
_LABEL = re.compile(
    r"^[@:]?licen[cs]e(?: type| name)?(?:\s*(?:::?|=|-{1,2})\s*|(?<=@license)\s+)(?P<name>\S.{0,120})$", re.IGNORECASE
)
_LABEL_END = re.compile(r"(?:[,;.]? \(?see\b|\.\s|\.$|,? (?:copyright|\(c\))|,? (?:which|https?:)).*$", re.IGNORECASE)
_NAME_END = re.compile(
    r"licen[cs]es?\b|\(the|, see|\. |\.$| as (?:published|described|found)| that can| which| \(?see | found in| <|"
    r", (?:a copy|you)| in the | at http| \(https?:"
)
_TAIL_VERSION = re.compile(r"^(?:,? (?:version |v\.?)?(?P<version>\d(?:\.\d)?)(?![\d.]*\d))?")
_SPLIT = re.compile(r",? (?:and/or|or|and)(?: the| a)? |/| ?& ?")
_NO_NAMES = frozenset(
    {"a", "this", "same", "following", "private", "commercial", "python", "ruby", "bsd-style", "bsd style"}
)
_CHOICE = re.compile(
    r"\b(?:under|of|choose|using|licen[cs]ed) either\b(?! version| express)|"
    r"\beither (?:of the|licen[cs]e)|\bdual|\balternatively\b|"
    r"at your (?:option|choice)(?!\)?,? any)|\bor (?:under )?(?:the )?(?:mit|bsd|apache|gpl|isc|artistic)\b|"
    r"your choice of|any of the"
)


def tags(lines: Iterable[str]) -> list[str]:
    """Return the normal form of every `SPDX-License-Identifier:` tag that begins a line, in order.

    >>> tags(["SPDX-License-Identifier: (MIT OR GPL-2.0) */"])
    ['GPL-2.0-only OR MIT']
    """
    found = (line[len(_TAG) :] for line in lines if line[: len(_TAG)].lower() == _TAG)
    read = (normalise(_TAG_END.sub("", value[:MAX_TAG]).strip().rstrip(";,.")) for value in found)
    return [expression for expression in read if expression is not None]


def labels(lines: Iterable[str]) -> list[str]:
    """Return the licences of lines such as `License: MIT` or `@license Apache-2.0`; unknown names are passed over.

    "BSD, see LICENSE" is passed over too: the file it points to says which BSD licence it is.

    >>> labels(["@license MIT", "License: see LICENSE", ":license: BSD, see LICENSE for details."])
    ['MIT']
    """
    matches = (_LABEL.match(line) for line in lines)
    values = [_TAG_END.sub("", match["name"]) for match in matches if match]
    cut = [(_LABEL_END.sub("", value), value) for value in values]
    read = [known_expression(name) for name, value in cut if name == value or name.strip().lower() != "bsd"]
    return [expression for expression in read if expression is not None]


def known_expression(text: str) -> str | None:
    """Return the normal form of `text` if every licence in it is known by name, else None."""
    expression = normalise(text.strip().strip(".,;").strip()) if len(text) <= MAX_LENGTH else None
    return None if expression is None or UNKNOWN in expression else expression


def is_permission(text: str) -> bool:
    """Return whether `text` (lower case, single spaces) reads like a licence's own permission text."""
    return _PERMISSION.search(text) is not None


def full_text(text: str) -> str | None:
    """Return the licence whose permission text stands in full in `text` (lower case, single spaces), or None.

    Only MIT, ISC, 0BSD, Zlib and the BSD licences are told apart; one of these with a further restriction is unknown.
    """
    found = [spdx for spdx in (_mit(text), _isc(text), _zlib(text), _bsd(text)) if spdx]
    if found and _RESTRICTED.search(text):
        return UNKNOWN
    return join("AND", found) if found else None


def _mit(text: str) -> str | None:
    return "MIT" if _MIT in text and "above copyright notice and this permission notice" in text else None


def _isc(text: str) -> str | None:
    if not _ISC.search(text):
        return None
    if "above copyright notice and this permission notice" in text:
        return "ISC"
    return None if "provided" in text.split("hereby granted", 1)[1][:20] else "0BSD"


def _zlib(text: str) -> str | None:
    return "Zlib" if _ZLIB in text and "altered source versions must be plainly marked" in text else None


def _bsd(text: str) -> str | None:
    if _BSD not in text or "must retain" not in text:
        return None
    if "all advertising materials" in text:
        return "BSD-4-Clause"
    if "endorse or promote" in text:
        return "BSD-3-Clause"
    return "BSD-2-Clause" if "must reproduce" in text else "BSD-1-Clause"


def notice(text: str) -> str | None:
    """Return the expression that the notices in `text` (lower case, single spaces) state together, or None.

    >>> notice("licensed under the apache license, version 2.0 or the mit license, at your option.")
    'Apache-2.0 OR MIT'
    """
    complete = full_text(text)
    found = list(dict.fromkeys([*_gnu(text), *_standard(text), *([complete] if complete else [])]))
    found += [name for name in dict.fromkeys(_named(text)) if not _is_same_family(name, found)]
    if not found and _PUBLIC_DOMAIN.search(text):
        found.append(PUBLIC_DOMAIN)
    if not found and _PROPRIETARY.search(text):
        found.append(PROPRIETARY)
    if not found:
        return None
    together = join("OR" if len(found) > 1 and asks_choice(text) else "AND", found)
    return join("AND", [together, UNKNOWN]) if complete is None and _RESTRICTED.search(text) else together


def public_domain(lines: Iterable[str]) -> str | None:
    """Return the public-domain id if a line is such a dedication by itself, else None."""
    return PUBLIC_DOMAIN if any(_PUBLIC_DOMAIN_LINE.match(line.lower()) for line in lines) else None


def asks_choice(text: str) -> bool:
    """Return whether `text` (lower case) offers a choice between licences."""
    return _CHOICE.search(text) is not None


def _is_same_family(name: str, found: list[str]) -> bool:
    families = {part.partition("-")[0] for known in found for part in known.split()}
    return all(part.partition("-")[0] in families for part in name.split() if part not in {"AND", "OR"})


def _gnu(text: str) -> Iterator[str]:
    """Yield the GNU licences a text is under; a versioned statement makes a vague one of the same kind superfluous."""
    stated = [_gnu_mention(text, match) for match in _GNU.finditer(text)]
    for identifier in dict.fromkeys(stated):
        kind, _, rest = identifier.partition("-")
        vague = identifier == _GNU_VAGUE[kind] and any(
            other.startswith(f"{kind}-") for other in stated if other != identifier
        )
        narrower = rest.endswith("-only") and identifier.replace("-only", "-or-later") in stated
        if not vague and not narrower:
            yield _with_exception(identifier, text)


def _gnu_mention(text: str, match: re.Match[str]) -> str:
    kind = _GNU_KINDS.get((match["kind"] or match["kind2"] or match["short"] or "").strip(), "GPL")
    window = text[match.end() : match.end() + 260]
    end = _GNU_END.search(window)
    window = window[: end.start()] if end else window
    version = _GNU_VERSION.search(window)
    number = match["before"] or (version["version"] if version else None)
    if number is None:
        return _GNU_VAGUE[kind]
    later = match["before_later"] or _GNU_LATER.search(window) or (version and version["plus"])
    return _gnu_id(kind, number, suffix="-or-later" if later else "-only")


def _gnu_id(kind: str, number: str, *, suffix: str) -> str:
    return known_id(f"{kind}-{number if '.' in number else number + '.0'}{suffix}") or _GNU_VAGUE[kind]


def _with_exception(identifier: str, text: str) -> str:
    for pattern, licence, exception in _GNU_EXCEPTIONS:
        if identifier == licence and pattern.search(text):
            return f"{licence} WITH {exception}"
    return identifier


def _standard(text: str) -> Iterator[str]:
    yield from (expression for pattern, expression in _STANDARD_PATTERNS if pattern.search(text))


def _named(text: str) -> Iterator[str]:
    for match in _NAMED.finditer(text):
        yield from _names_in(match["name"])
    yield from (known for match in _BARE.finditer(text) if (known := named(match["name"])))


def _names_in(name: str) -> Iterator[str]:
    """Yield the licences in "apache license, version 2.0 or the mit license …", stopping at the first unknown one."""
    for part in _SPLIT.split(name):
        end = _NAME_END.search(part)
        head = part[: end.start()] if end else part
        tail = _TAIL_VERSION.match(part[end.end() :]) if end else None
        known = _short_name(head.strip(" ,.\"'`*"), version=f" {tail['version']}" if tail and tail["version"] else "")
        if known is None:
            return
        yield known


def _short_name(head: str, *, version: str) -> str | None:
    if not head or len(head) > 60 or head in _NO_NAMES:
        return None
    found = named(head + version)
    return None if found is None or found.startswith("LicenseRef-") else found

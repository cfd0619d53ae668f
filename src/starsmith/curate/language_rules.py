"""Quick decisions for extensions that several languages share, by words that only one of them has.

Two reasons lead here. The classifier takes 0.1 to 10 ms a file, and a few shared extensions (C headers, Markdown,
TypeScript, JSON, YAML …) make up most of the files it would be asked about; and it does not know languages that are
younger than its data. The rules are our own, written from the languages' syntax and kept narrow: whatever no rule
settles is left to the classifier (the answer is None). How often they agree with it on real trees is printed by
`benchmarks/language.py`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_JSON_NAMES: Final = ("JSON", "JSON with Comments")
_OBJECTIVE_C: Final = (b"@interface", b"@protocol", b"@class", b"@end", b"@property", b"#import")
_COMMENT: Final = re.compile(rb"/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)
_INDENT: Final = 64
_ALONE: Final = frozenset({b""})
_SECTION: Final = re.compile(rb"[ \t]*:[ \t\r]*$", re.MULTILINE)
_NAMED: Final = re.compile(rb"[ \t]+\w")
_CPP_HEADER: Final = re.compile(
    rb"(?:string|vector|map|memory|list|array|set|deque|queue|stack|bitset|utility|functional|algorithm|type_traits"
    rb"|[io]?stream|sstream|fstream|iosfwd|iostream|unordered_map|unordered_set|initializer_list|cstd\w+|cmath|cassert)>"
)
_CPP_STATEMENTS: Final[Mapping[bytes, tuple[frozenset[bytes], re.Pattern[bytes]]]] = {
    b"class": (_ALONE, _NAMED),
    b"namespace": (frozenset({b"", b"inline", b"using"}), _NAMED),
    b"template": (_ALONE, re.compile(rb"[ \t]*<")),
    b"constexpr": (_ALONE, _NAMED),
    b"public": (_ALONE, _SECTION),
    b"private": (_ALONE, _SECTION),
    b"protected": (_ALONE, _SECTION),
    b"catch": (_ALONE, re.compile(rb"[ \t]*\(")),
    b"include <": (frozenset({b"#"}), _CPP_HEADER),
}
"""A keyword of C++, what may stand before it on its line, and what must follow for it to be a statement."""


def _c_header(prefix: bytes) -> str | None:
    """C unless a statement of C++ stands outside comments; Objective-C is left to other rules."""
    if (b"@" in prefix or b"#import" in prefix) and any(word in prefix for word in _OBJECTIVE_C):
        return None
    return "C++" if _is_cpp(prefix) and _is_cpp(_COMMENT.sub(b" ", prefix)) else "C"


def _is_cpp(text: bytes) -> bool:
    return b"std::" in text or any(_has_statement(text, word) for word in _CPP_STATEMENTS)


def _has_statement(text: bytes, word: bytes) -> bool:
    """Find a keyword first and look around it then: `find` reads several times faster than a pattern does."""
    before, after = _CPP_STATEMENTS[word]
    at = text.find(word)
    while at >= 0:
        near = text[max(0, at - _INDENT) : at]
        if near.rpartition(b"\n")[2].strip() in before and after.match(text, at + len(word)):
            return True
        at = text.find(word, at + len(word))
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Unless:
    """The usual language of an extension, unless the text holds one of the words another language cannot do without."""

    usual: str
    words: tuple[bytes, ...]

    def __call__(self, prefix: bytes) -> str | None:
        return None if any(word in prefix for word in self.words) else self.usual


@dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    """A language for texts in which a pattern of its syntax occurs."""

    language: str
    pattern: re.Pattern[bytes]

    def __call__(self, prefix: bytes) -> str | None:
        return self.language if self.pattern.search(prefix) else None


Rule = Callable[[bytes], str | None]


def _lines(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"^[ \t]*(?:" + pattern + rb")", re.MULTILINE)


_YAML = Unless(usual="YAML", words=(b"openapi", b"swagger", b"\t"))
_FPP = _lines(rb"(?:module|topology|(?:active|passive|queued) component)\s+\w+\s*\{")
_REDSCRIPT = _lines(rb"(?:@\w+\([^\n]*\)|(?:public|private|protected|native)[ \t]+\w|func[ \t]+\w+\()")
_PERL = Matching(language="Perl", pattern=_lines(rb"use[ \t]+(?:strict|warnings)\b"))
_UNIT = Matching(language="INI", pattern=_lines(rb"\[(?:Unit|Install|Match|Network|Link|NetDev|Socket|Timer|Mount)\]"))

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    ".cs": (Matching(language="C#", pattern=_lines(rb"(?:(?:global )?using|namespace)[ \t]+[\w.]+[ \t\r]*[;{\n]")),),
    ".ex": (Matching(language="Elixir", pattern=_lines(rb"defmodule[ \t]+[A-Z]")),),
    ".fs": (Matching(language="F#", pattern=_lines(rb"(?:module|namespace|open)[ \t]+[A-Z][\w.]*[ \t\r]*(?:=|$)")),),
    ".h": (_c_header,),
    ".html": (Unless(usual="HTML", words=(b"<emu-",)),),
    ".json": (Unless(usual="JSON", words=(b"openapi", b"swagger")),),
    ".m": (
        Matching(language="Objective-C", pattern=_lines(rb"@(?:interface|implementation|protocol|end)\b|#import[ \t]")),
    ),
    ".md": (Unless(usual="Markdown", words=(b"(define_",)),),
    ".php": (Unless(usual="PHP", words=(b"<?hh",)),),
    ".pl": (_PERL,),
    ".pm": (_PERL,),
    ".rs": (Unless(usual="Rust", words=(b"#pragma", b"<?xml")),),
    ".t": (_PERL,),
    ".ts": (Unless(usual="TypeScript", words=(b"<TS", b"<?xml")),),
    ".tsx": (Unless(usual="TSX", words=(b"<tileset", b"<?xml")),),
    ".txt": (
        Matching(language="Adblock Filter List", pattern=re.compile(rb"\A(?:\xef\xbb\xbf)?\s*\[Ad[bB]lock")),
        Unless(usual="Text", words=(b"[Ad", b"[uBlock", b"vim:", b"vi:", b"ex:")),
    ),
    ".yaml": (_YAML,),
    ".yml": (_YAML,),
    # Younger than the classifier's data.
    ".b": (Matching(language="B", pattern=_lines(rb"extrn[ \t]+\w")),),
    ".fpp": (Matching(language="FPP", pattern=_FPP),),
    ".j": (Matching(language="JASS", pattern=re.compile(rb"\btakes[ \t][^\n]*\breturns[ \t]")),),
    ".ms": (Matching(language="MiniScript", pattern=_lines(rb"end (?:function|if|while|for)\b")),),
    ".network": (_UNIT,),
    ".pc": (
        Matching(language="pkg-config", pattern=re.compile(rb"^(?:Libs|Cflags|Requires)(?:\.private)?:", re.MULTILINE)),
        Matching(language="Pro*C", pattern=_lines(rb"(?i:EXEC[ \t]+SQL)\b")),
    ),
    ".reds": (Matching(language="Redscript", pattern=_REDSCRIPT),),
    ".target": (_UNIT,),
    ".uc": (Matching(language="ucode", pattern=_lines(rb"(?:let|import|export)[ \t]+[\w{*]|'use strict'")),),
}


def decide_shared(extension: str, candidates: tuple[str, ...], prefix: bytes) -> str | None:
    """Return the one of `candidates` a rule settles on, or None.

    `extension` is lower case with its dot, `prefix` the beginning of the text.
    """
    for rule in RULES.get(extension, ()):
        language = rule(prefix)
        if language in candidates:
            return language
    if "YAML" in candidates and any(name in candidates for name in _JSON_NAMES):
        return _json_or_yaml(candidates, prefix)
    return None


def _json_or_yaml(candidates: tuple[str, ...], prefix: bytes) -> str:
    """Configuration files that may be either (`.eslintrc`): JSON opens with a brace or a comment."""
    if not prefix.lstrip().startswith((b"{", b"[", b"//", b"/*")):
        return "YAML"
    return next(name for name in _JSON_NAMES if name in candidates)

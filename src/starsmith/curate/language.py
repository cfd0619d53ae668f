"""The programming language of a document, and whether it is generated or vendored.

Follows section 1.3 of the paper's data description (linguist's strategies over file name and content, here with the
names and extensions of a newer linguist), and holds the sets of languages that the filters of section 2 treat
specially and the pairs of section 1.7. Names, extensions, interpreters and aliases are looked up in package data; the
classifier library (enry) is asked only where these and a few quick rules leave more than one language.

Deliberately not here: guessing from content alone where no name or interpreter line points anywhere, reading
`.gitattributes`, and isolating a crash of the native library (the engine's task).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import dropwhile
from typing import Final

import enry
import numpy as np
import pyarrow as pa

from starsmith.curate.language_data import LANGUAGE_DATA, LANGUAGE_DATA_DIGEST
from starsmith.curate.language_rules import decide_shared

LANGUAGE_VERSION: Final = (
    f"1+enry-{version('enry-python')}+linguist-{LANGUAGE_DATA.version}-{LANGUAGE_DATA_DIGEST[:12]}"
)
"""Changes whenever a language could be decided differently: these rules, the classifier, or the data."""

LONG_LINE_LANGUAGES: Final = frozenset(
    {"HTML", "JSON", "Markdown", "Roff", "Roff Manpage", "SMT", "TeX", "Text", "XML"}
)
"""Section 2, filter 2: only the longest line counts."""

ALPHANUM_LANGUAGES: Final = frozenset({"Motorola 68K Assembly", "WebAssembly"})
"""Section 2, filter 4: letters and digits are counted instead of letters."""

DATA_LANGUAGES: Final = frozenset({"Graphviz (DOT)", "JSON", "Text", "Web Ontology Language", "YAML"})
"""Section 2, filter 6: dropped above a number of lines."""

HEAD_BYTES: Final = 4096
"""How much of the beginning and of the end is searched for interpreter lines and editor modelines."""

CLASSIFIER_BYTES: Final = 32 * 1024
"""How much of a text the classifier and the rules read. On 3,372 samples of linguist and 10,274 files of an installed
Python environment no answer of the classifier differed from that for the whole text (with 16 KiB one did in each). The
worst input found takes under 100 ms, however large the file; it would otherwise grow with it."""

MODELINE_LINES: Final = 5
_CACHED_NAME_LENGTH: Final = 255

_MODELINE_HINTS = (b"-*-", b"vim", b"Vim", b"vi:", b"ex:")
_EMACS = re.compile(rb"-\*-(.{1,400}?)-\*-")
_VIM = re.compile(rb"(?:^|[ \t])(?:[vV]im|vi|ex)(?:[<=>]?[0-9]+)?:[ \t]*(.{1,400})")
_VIM_TYPE = re.compile(rb"(?:^|[ \t:])(?:filetype|ft|syntax)[ \t]*=[ \t]*([^\s:]+)")
_EXEC = re.compile(rb"^[ \t]*exec[ \t]+(\S+).*\$0", re.MULTILINE)
_VERSION_SUFFIX = re.compile(r"[-.]?[0-9][-.0-9]*$")
_MANUAL_PAGE = re.compile(r"\.[1-9][a-z_0-9]*(\.in)?$")
_ROFF = ("Roff", "Roff Manpage")


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """A language by its linguist name, or None, and what decided it.

    `method` is one of `modeline`, `filename`, `shebang`, `extension`, `xml`, `content` and `none`.
    """

    name: str | None
    method: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NameFacts:
    """What a file name alone says: languages that own the name, and languages that share its extension.

    `generic` marks extensions that other formats use just as often: there a rule or the classifier must agree.
    """

    by_name: tuple[str, ...]
    by_extension: tuple[str, ...]
    extension: str
    generic: bool


NO_LANGUAGE: Final = Language(name=None, method="none")


class LanguageDetector:
    """Decides languages for batches of documents; each answer depends on its own document only."""

    def detect(self, file_names: Sequence[str], texts: pa.Array) -> list[Language]:
        """Return the language of each document, in order.

        `file_names` are last path components. `texts` is a binary array of the same length (any offset width; null
        counts as empty). Raises ValueError if the lengths differ.
        """
        if len(file_names) != len(texts):
            raise ValueError(f"{len(file_names)} file names for {len(texts)} texts.")
        data, offsets = _bytes_of(texts)
        bounds = offsets.tolist()
        return [
            detect_one(name, data[start:end]) for name, start, end in zip(file_names, bounds, bounds[1:], strict=False)
        ]


def detect_one(file_name: str, text: memoryview) -> Language:
    """Return the language of one document: the first strategy that leaves a single language decides."""
    names = name_facts(file_name)
    head, tail = bytes(text[:HEAD_BYTES]), bytes(text[-HEAD_BYTES:])
    if language := modeline_language(head, tail):
        return Language(name=language, method="modeline")
    if len(names.by_name) == 1:
        return Language(name=names.by_name[0], method="filename")
    candidates = names.by_name or shebang_languages(head)
    if len(candidates) == 1:
        return Language(name=candidates[0], method="shebang")
    shared = tuple(name for name in names.by_extension if name in candidates) if candidates else names.by_extension
    if len(shared) == 1 and not names.generic:
        return Language(name=shared[0], method="extension")
    return _from_content(file_name, names, candidates=shared or candidates, text=text, head=head)


def _from_content(
    file_name: str, names: NameFacts, *, candidates: tuple[str, ...], text: memoryview, head: bytes
) -> Language:
    if not candidates and _is_xml(head):
        return Language(name="XML", method="xml")
    candidates = candidates or (_ROFF if _MANUAL_PAGE.search(file_name) else ())
    if not candidates:
        return NO_LANGUAGE
    prefix = bytes(text[:CLASSIFIER_BYTES])
    if decided := decide_shared(names.extension, candidates, prefix):
        return Language(name=decided, method="content")
    guess = current_name(enry.get_language(safe_name(file_name), prefix))
    if guess in candidates:
        return Language(name=guess, method="content")
    primary = [name for name in candidates if LANGUAGE_DATA.primary_extension.get(name) == names.extension]
    if len(primary) == 1 and not names.generic:
        return Language(name=primary[0], method="extension")
    return NO_LANGUAGE


def _is_xml(head: bytes) -> bool:
    return any(b"<?xml version=" in line for line in head.split(b"\n", 2)[:2])


def current_name(name: str) -> str | None:
    """Return today's name of a language the classifier knows by an older one; None for ``""`` and unknown names."""
    name = LANGUAGE_DATA.former_names.get(name, name)
    return name if name in LANGUAGE_DATA.types else None


def name_facts(file_name: str) -> NameFacts:
    """Return what the data say of a file name. Names of more than 255 characters are not cached."""
    return _cached_facts(file_name) if len(file_name) <= _CACHED_NAME_LENGTH else _facts(file_name)


def _facts(file_name: str) -> NameFacts:
    extension = _known_extension(file_name)
    return NameFacts(
        by_name=LANGUAGE_DATA.filenames.get(file_name, ()),
        by_extension=LANGUAGE_DATA.extensions.get(extension, ()),
        extension=extension,
        generic=extension in LANGUAGE_DATA.generic_extensions,
    )


_cached_facts = lru_cache(maxsize=65_536)(_facts)


def _known_extension(file_name: str) -> str:
    """Return the longest known extension with its dot (`.blade.php` before `.php`), lower case, or ``""``."""
    parts = file_name.lower().rsplit(".", LANGUAGE_DATA.most_dots)
    for first in range(1, len(parts)):
        suffix = "." + ".".join(parts[first:])
        if suffix in LANGUAGE_DATA.extensions:
            return suffix
    return ""


def modeline_language(head: bytes, tail: bytes) -> str | None:
    """Return the language an Emacs or Vim modeline in the first or last five lines names, if it is a known one."""
    lines = head.split(b"\n", MODELINE_LINES)[:MODELINE_LINES] + tail.rsplit(b"\n", MODELINE_LINES)[-MODELINE_LINES:]
    joined = b"\n".join(lines)
    if not any(hint in joined for hint in _MODELINE_HINTS):
        return None
    for find in (_emacs_mode, _vim_type):
        for line in lines:
            mode = find(line)
            if mode and (language := LANGUAGE_DATA.aliases.get(mode.decode("utf-8", "replace").lower())):
                return language
    return None


def _emacs_mode(line: bytes) -> bytes | None:
    found = _EMACS.search(line)
    if found is None:
        return None
    if b":" not in found[1]:
        return found[1].strip(b"; \t")
    for variable in found[1].split(b";"):
        key, _, value = variable.partition(b":")
        if key.strip().lower() == b"mode":
            return value.strip()
    return None


def _vim_type(line: bytes) -> bytes | None:
    found = _VIM.search(line)
    option = _VIM_TYPE.search(found[1]) if found else None
    return option[1] if option else None


def shebang_languages(head: bytes) -> tuple[str, ...]:
    """Return the languages of the interpreter in a ``#!`` first line, looking through `env` and version numbers.

    >>> shebang_languages(b"#!/usr/bin/env -S python3.11 -u")
    ('Python',)
    """
    if not head.startswith(b"#!"):
        return ()
    words = head[2:].partition(b"\n")[0].decode("utf-8", "replace").split()
    if words and words[0].rpartition("/")[2] == "env":
        words = list(dropwhile(lambda word: word.startswith("-") or "=" in word, words[1:]))
    if not words:
        return ()
    interpreter = words[0].rpartition("/")[2]
    if interpreter == "osascript" and (stated := _osascript_language(words)):
        return (stated,)
    if interpreter == "sh" and (
        handed_on := _EXEC.search(b"\n".join(head.split(b"\n", MODELINE_LINES)[1:MODELINE_LINES]))
    ):
        interpreter = handed_on[1].decode("utf-8", "replace").rpartition("/")[2]
    return _interpreter_languages(interpreter)


def _osascript_language(words: Sequence[str]) -> str | None:
    """macOS's script runner takes its language as an option: `osascript -l JavaScript`."""
    named = words[words.index("-l") + 1 :] if "-l" in words else ()
    return LANGUAGE_DATA.aliases.get(named[0].lower()) if named else None


def _interpreter_languages(interpreter: str) -> tuple[str, ...]:
    """Look `python3.11` up as it stands, then without the minor version, then without any."""
    for name in (interpreter, interpreter.partition(".")[0], _VERSION_SUFFIX.sub("", interpreter)):
        if name in LANGUAGE_DATA.interpreters:
            return LANGUAGE_DATA.interpreters[name]
    return ()


def safe_name(name: str) -> str:
    """Return a name the native library takes as a whole: no NUL, nothing that UTF-8 cannot encode."""
    return name.replace("\0", "\ufffd").encode("utf-8", errors="replace").decode()


def is_generated(file_name: str, text: bytes) -> bool:
    """Return whether linguist's rules call a document generated, by its name or by marks in its content.

    The whole text is read, since marks stand at its end too (source maps): 9 to 18 µs a file on average on the trees
    of `benchmarks/language.py`, 76 ms for the worst 10 MB text found. Cutting it to 64 KiB changed 2 of 58 flags on
    linguist's samples and saved nothing measurable, so there is no short cut.
    """
    return bool(enry.is_generated(safe_name(file_name), text))


def is_vendor(path: str) -> bool:
    """Return whether linguist's rules call a path vendored: third-party code kept inside a repository."""
    return bool(enry.is_vendor(safe_name(path)))


def _bytes_of(texts: pa.Array) -> tuple[memoryview, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return the data buffer and the length + 1 offsets of a binary array, without copying content."""
    array = texts.cast(pa.large_binary())
    _, offsets, data = array.buffers()
    if offsets is None:
        return memoryview(b""), np.zeros(len(array) + 1, dtype=np.int64)
    bounds = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data) if data is not None else memoryview(b""), bounds

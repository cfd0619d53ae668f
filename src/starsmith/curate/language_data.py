"""The package data of language detection: what linguist states of each language, and the pairs inspection rejected.

Sections 1.3 and 1.7 of the paper's data description. Sources, dates and licences stand in the files themselves. Only
facts are held; how they are applied is `starsmith.curate.language`'s.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, TypeAlias

Index: TypeAlias = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageData:
    """Indexes over the facts. Extensions are lower case with their dot; values are language names in sorted order."""

    version: str
    types: Mapping[str, str]
    extensions: Index
    filenames: Index
    interpreters: Index
    aliases: Mapping[str, str]
    primary_extension: Mapping[str, str]
    generic_extensions: frozenset[str]
    former_names: Mapping[str, str]
    most_dots: int


def _index(languages: Mapping[str, Mapping[str, Any]], key: str, *, lower: bool) -> dict[str, tuple[str, ...]]:
    owners: dict[str, list[str]] = {}
    for name in sorted(languages):
        for value in languages[name].get(key, ()):
            known = owners.setdefault(value.lower() if lower else value, [])
            if name not in known:
                known.append(name)
    return {value: tuple(names) for value, names in owners.items()}


def _alias_index(languages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Map what editors call a language to its name; a language's own name wins over another's alias."""
    aliases = {alias.lower(): name for name, facts in languages.items() for alias in facts.get("aliases", ())}
    aliases |= {name.lower().replace(" ", "-"): name for name in languages}
    return aliases | {name.lower(): name for name in languages}


def parse_languages(text: str) -> LanguageData:
    """Index the text of `languages.json`. Raises KeyError or ValueError on anything but that file's form."""
    raw = json.loads(text)
    languages = raw["languages"]
    extensions = _index(languages, "extensions", lower=True)
    return LanguageData(
        version=raw["version"],
        types={name: facts["type"] for name, facts in languages.items()},
        extensions=extensions,
        filenames=_index(languages, "filenames", lower=False),
        interpreters=_index(languages, "interpreters", lower=False),
        aliases=_alias_index(languages),
        primary_extension={
            name: facts["extensions"][0].lower() for name, facts in languages.items() if "extensions" in facts
        },
        generic_extensions=frozenset(raw["generic_extensions"]),
        former_names=raw["former_names"],
        most_dots=max(extension.count(".") for extension in extensions),
    )


def read_inspected_pairs(text: str) -> frozenset[tuple[str, str]]:
    """Return the (language, extension) pairs of `excluded_pairs.csv` as published (``""``: no extension)."""
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return frozenset((row["language"], row["extension"]) for row in rows)


def present_pairs(pairs: Iterable[tuple[str, str]], data: LanguageData) -> frozenset[tuple[str, str]]:
    """Return the pairs under today's names as well, so that what inspection saw is still left out.

    A renamed language is added under its new name. Where linguist has since handed an extension from one language to
    exactly one other (`.service` from desktop to INI), the other is added: the inspected files are now called that.
    """
    named = {(data.former_names.get(language, language), extension) for language, extension in pairs}
    moved = set()
    for language, extension in named:
        owners = data.extensions.get(f".{extension}", ())
        if language not in owners and len(owners) == 1 and not _in_file_names(language, extension, data):
            moved.add((owners[0], extension))
    return frozenset(pairs) | named | moved


def _in_file_names(language: str, extension: str, data: LanguageData) -> bool:
    return any(name.lower().endswith(f".{extension}") for name, owners in data.filenames.items() if language in owners)


def _package_text(name: str) -> str:
    return files("starsmith").joinpath("data", name).read_text(encoding="utf-8")


_LANGUAGES_TEXT = _package_text("languages.json")
LANGUAGE_DATA: Final = parse_languages(_LANGUAGES_TEXT)
LANGUAGE_DATA_DIGEST: Final = hashlib.sha256(_LANGUAGES_TEXT.encode()).hexdigest()
INSPECTED_PAIRS: Final = read_inspected_pairs(_package_text("excluded_pairs.csv"))
"""The 179 pairs as published."""

EXCLUDED_PAIRS: Final = present_pairs(INSPECTED_PAIRS, LANGUAGE_DATA)
"""The pairs filter 9 leaves out: those published, and the same files under today's language names."""

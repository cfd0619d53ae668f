"""Builds the two data files of `starsmith.curate.language` from public facts.

`languages.json` holds what linguist's `languages.yml` and `generic.yml` state of each language (type, extensions, file
names, interpreters, aliases). `excluded_pairs.csv` holds the (language, extension) pairs that visual inspection
rejected (section 1.7), from the published table of inspected pairs. Neither rules nor code are taken over.

    python scripts/build_language_data.py LANGUAGES_YML GENERIC_YML INSPECTED_PAIRS_CSV OUTPUT_FOLDER \
        --version 9.6.0 --commit b45dbe9b2825a43285bcd035861be91cc0a7299e --date 2026-08-20 --pairs-date 2024-02-27

The first three may be gzip files. Needs PyYAML, which Starsmith itself does not.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

# Names that a classifier trained on an older linguist still gives, with the name the same language id has now.
FORMER_NAMES = {
    "Coq": "Rocq Prover",
    "FreeBasic": "FreeBASIC",
    "KoLMafia ASH": "KoLmafia ASH",
    "Mathematica": "Wolfram Language",
    "SaltStack": "Salt",
    "Vim Script": "Vim script",
    "omnetpp-msg": "OMNeT++ MSG",
    "omnetpp-ned": "OMNeT++ NED",
    "robots.txt": "Robots Exclusion Rules",
}
KEPT_KEYS = ("extensions", "filenames", "interpreters", "aliases")


def read_text(path: Path) -> str:
    """Return the text of a file that may be gzip-compressed."""
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()


def facts(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of one language that name-based detection uses; empty lists are left out."""
    kept: dict[str, Any] = {"type": description["type"]}
    if "group" in description:
        kept["group"] = description["group"]
    for key in KEPT_KEYS:
        if description.get(key):
            kept[key] = [str(value) for value in description[key]]
    return kept


def language_file(languages_yml: str, generic_yml: str, source: Mapping[str, str]) -> str:
    """Return the text of languages.json: one line per language, sorted, so that a change of data shows as a diff."""
    languages = yaml.safe_load(languages_yml)
    former = {old: new for old, new in FORMER_NAMES.items() if old not in languages and new in languages}
    header = {**source, "former_names": former, "generic_extensions": yaml.safe_load(generic_yml)["extensions"]}
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in header.items()]
    rows = [
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(facts(languages[name]), ensure_ascii=False)}"
        for name in sorted(languages)
    ]
    return "{\n" + "\n".join(lines) + '\n"languages": {\n' + ",\n".join(rows) + "\n}}\n"


def excluded_pairs(rows: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return the sorted (language, lower-case extension without dot) pairs that were not to be included."""
    return sorted(
        {(row["language"], row["extension"].lower().lstrip(".")) for row in rows if row["include_final"] == "FALSE"}
    )


def pair_file(pairs_csv: str, date: str) -> str:
    """Return the text of excluded_pairs.csv."""
    pairs = excluded_pairs(csv.DictReader(pairs_csv.splitlines()))
    header = (
        "# (language, extension) pairs left out after visual inspection; an empty extension: a name without one.\n"
        "# Source: bigcode-project/the-stack-v2 @ 91720418, pull_requests_and_issues/language_labels.csv, "
        f"rows with include_final = FALSE. Date: {date}. Licence: Apache-2.0.\n"
    )
    return header + "language,extension\n" + "".join(f"{language},{extension}\n" for language, extension in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("languages_yml", "generic_yml", "inspected_pairs_csv", "output_folder"):
        parser.add_argument(name, type=Path)
    for option in ("--version", "--commit", "--date", "--pairs-date"):
        parser.add_argument(option, required=True)
    arguments = parser.parse_args()
    source = {
        "source": "github-linguist/linguist, lib/linguist/languages.yml and generic.yml",
        "version": arguments.version,
        "commit": arguments.commit,
        "date": arguments.date,
        "licence": "MIT",
    }
    languages = language_file(read_text(arguments.languages_yml), read_text(arguments.generic_yml), source)
    (arguments.output_folder / "languages.json").write_text(languages, encoding="utf-8")
    pairs = pair_file(read_text(arguments.inspected_pairs_csv), arguments.pairs_date)
    (arguments.output_folder / "excluded_pairs.csv").write_text(pairs, encoding="utf-8")


if __name__ == "__main__":
    main()

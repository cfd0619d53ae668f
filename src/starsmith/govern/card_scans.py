"""Card scans: what a dataset card says of secrets, personal data, benchmarks and malware, and what it has to admit.

Counts and kinds alone: where something was replaced stands in no release, and what it was nowhere.
"""

from typing import Final

from starsmith.govern.composition import Composition, Row
from starsmith.govern.foreign_text import markdown_code, visible
from starsmith.govern.markdown import table
from starsmith.govern.scan_words import (
    KIND_OF_MATCH,
    done,
    kind_words,
    left_as_they_are,
    listed,
    looked_for,
    not_done,
    opt_out_words,
    replaced_by,
    rule_words,
)
from starsmith.recipe import Recipe

_TOP: Final = 40
_NAMES: Final = "Names of people and user names are not looked for."


def redaction(composition: Composition, recipe: Recipe) -> str:
    """Return the section on what was replaced in the texts."""
    wanted = looked_for(recipe.redaction)
    if not wanted:
        return f"## Secrets and personal data\n\nNot looked for: the recipe says so. {_NAMES} Expect all of them.\n"
    values, documents = composition.replaced_in_all
    kept = left_as_they_are(recipe.redaction)
    exempt = f"Left as they are: {listed(kept)}.\n" if kept else ""
    found = (
        f"**{values:,} values in {documents:,} of {composition.kept_documents:,} documents were replaced.**"
        if values
        else "**Nothing was found to be replaced.**"
    )
    return f"""## Secrets and personal data

Looked for in every released document, and replaced: {listed(wanted)}. {found}
{exempt}{_NAMES}

{_replaced(composition.replaced_kinds) if values else ""}
Within a document, equal values got equal replacements; no line was added or taken away. The columns `redacted_emails`,
`redacted_ip_addresses`, `redacted_keys` and `redacted_passwords` count the replacements of a document (`redacted_names`
is always 0), and `text_sha256` is the digest of `content` as it is here. All else was measured before anything was
replaced: `content_sha256`, `blob_id`, `length_bytes`, the counts and shares of the text, and its likeness to others.
"""


def _replaced(rows: list[Row]) -> str:
    shown = [
        (kind_words(row["kind"]), _replacement(row["kind"]), f"{row['findings']:,}", f"{row['documents']:,}")
        for row in rows[:_TOP]
    ]
    rest = rows[_TOP:]
    more = f"\nand {len(rest):,} further kinds with {sum(row['findings'] for row in rest):,} values.\n" if rest else ""
    return table(["kind", "replaced with", "values", "documents"], shown, text=2) + more


def _replacement(kind: str) -> str:
    words = replaced_by(kind)
    return markdown_code(words) if words.startswith("<") else words


def benchmarks_and_malware(composition: Composition, recipe: Recipe, versions: dict[str, str]) -> str:
    """Return the section on what was left out as malware, or because a benchmark's problem stands in it."""
    benchmarks = _benchmarks(composition, recipe) if recipe.benchmarks else "Problems of benchmarks: not looked for.\n"
    database = versions.get("malware")
    malware = _malware(composition, database) if database else "Malware: not looked for.\n"
    return f"## Benchmarks and malware\n\n{benchmarks}\n{malware}"


def _benchmarks(composition: Composition, recipe: Recipe) -> str:
    names = listed([markdown_code(each.name) for each in recipe.benchmarks])
    rows: list[tuple[object, ...]] = []
    for benchmark in recipe.benchmarks:
        found = [row for row in composition.benchmarks if row["benchmark"] == benchmark.name]
        name = markdown_code(benchmark.name)
        rows += [
            (name, KIND_OF_MATCH[row["kind"]], f"{row['problems']:,}", f"{row['documents']:,}") for row in found
        ] or [(name, "none", "0", "0")]
    head = ["benchmark", "what was found", "its problems", "documents left out"]
    return f"""Looked for in every released document: {composition.benchmark_texts:,} texts of {names}.
{rule_words(recipe.decontamination)}

{table(head, rows, text=2)}
A document counts in every row that is true of it.
"""


def _malware(composition: Composition, database: str) -> str:
    said = (
        f"Every released document was handed to {visible(database)}, archives within documents included; one that came "
        "back since, as a copy of what was opted out, perhaps to newer signatures."
    )
    if not composition.signatures:
        return f"{said} None was left out for malware.\n"
    rows = [
        (markdown_code(row["signature"]), f"{row['documents']:,}", f"{row['bytes']:,}")
        for row in composition.signatures[:_TOP]
    ]
    rest = composition.signatures[_TOP:]
    more = f"\nand {len(rest):,} further signatures.\n" if rest else ""
    return f"{said} Left out:\n\n{table(['signature', 'documents', 'bytes'], rows)}{more}"


def limits(composition: Composition, recipe: Recipe) -> str:
    """Return the list items of the known limits that the scans have, and of what was asked to be left out."""
    asked = opt_out_words(recipe.opt_out.copies, documents=composition.content_left)
    items = [
        f"**Not done:** {not_done(recipe)}",
        *(f"**{subject}** {rest}" for subject, rest in done(recipe)),
        f"**Requests to be left out:** {asked}",
    ]
    return "\n".join(f"- {each}" for each in items)

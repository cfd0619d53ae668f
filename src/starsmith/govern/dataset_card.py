"""The dataset card: what is in a release, what was left out, by which rule, and what is known to be missing.

Every number is read from the tables of the build. The header is YAML that dataset hubs and loaders read.
"""

from dataclasses import dataclass
from typing import Any

from starsmith.recipe import Recipe
from starsmith.storage import Store
from starsmith.table import Table
from starsmith.verdict import KEEP, REASONS

_TOP_LANGUAGES = 40
_TOP_LICENCES = 40
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """The numbers of a build: rows of its summary tables, as plain dicts."""

    counts: list[dict[str, Any]]
    languages: list[dict[str, Any]]
    licences: list[dict[str, Any]]
    origins: list[dict[str, Any]]
    clusters: list[dict[str, Any]]
    conflicts: int

    @classmethod
    def read(cls, store: Store, tables: dict[str, Table], recipe: Recipe) -> "Composition":
        def rows(name: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = tables[name].read(store).to_pylist()
            return found

        return cls(
            counts=rows("counts"),
            languages=rows("by_language"),
            licences=rows("by_licence"),
            origins=rows("by_origin"),
            clusters=rows("cluster_sizes"),
            conflicts=tables["conflicts"].rows,
        )

    def total(self, column: str, *, kept: bool) -> int:
        """Sum `documents` or `bytes` over all documents or the kept ones."""
        return sum(row[column] for row in self.counts if not kept or row["verdict"] == KEEP)


def card(composition: Composition, recipe: Recipe, versions: dict[str, str]) -> str:
    """Return the card of a release as Markdown with a YAML header."""
    return "\n".join(
        [
            _header(composition, recipe),
            _opening(composition, recipe),
            _left_out(composition),
            _languages(composition),
            _licences(composition),
            _method(recipe, versions),
            _LIMITS,
        ]
    )


def _header(composition: Composition, recipe: Recipe) -> str:
    kept = composition.total("documents", kept=True)
    size = next((name for limit, name in _SIZES if kept < limit), "n>1M")
    ids = "- config_name: ids\n  data_files: ids/*.parquet\n" if recipe.release.ids_only else ""
    return (
        f"---\npretty_name: {_quoted(recipe.release.name)}\nlicense: other\nlanguage:\n- code\n"
        f"task_categories:\n- text-generation\ntags:\n- code\nsize_categories:\n- {size}\nconfigs:\n"
        f"- config_name: default\n  default: true\n  data_files: data/*.parquet\n{ids}---\n"
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _opening(composition: Composition, recipe: Recipe) -> str:
    seen, kept = composition.total("documents", kept=False), composition.total("documents", kept=True)
    size, kept_size = composition.total("bytes", kept=False), composition.total("bytes", kept=True)
    origins = sum(1 for row in composition.origins if row["kept_documents"])
    return f"""# {recipe.release.name}

{kept:,} documents ({kept_size:,} bytes) of source code from {origins:,} origins, chosen from {seen:,} documents
({size:,} bytes). Built by Starsmith with the profile `{recipe.profile}`. Every document carries its Software Heritage
id (`swhid`), its origin, and the licence statement it was let in by.
"""


def _left_out(composition: Composition) -> str:
    rows = sorted((row for row in composition.counts if row["verdict"] != KEEP), key=lambda row: -row["documents"])
    lines = [f"| `{row['verdict']}` | {REASONS[row['verdict']]} | {row['documents']:,} | {row['bytes']:,} |" for row in rows]
    return "## What was left out\n\n| reason | in words | documents | bytes |\n|---|---|--:|--:|\n" + "\n".join(lines) + "\n"


def _languages(composition: Composition) -> str:
    rows = _most_kept(composition.languages)
    lines = [
        f"| {row['language'] or 'none'} | {row['kept_documents']:,} | {row['kept_bytes']:,} | {row['documents']:,} |"
        for row in rows[:_TOP_LANGUAGES]
    ]
    rest = _rest(rows[_TOP_LANGUAGES:], "languages")
    return "## Languages\n\n| language | documents | bytes | collected |\n|---|--:|--:|--:|\n" + "\n".join(lines) + rest


def _licences(composition: Composition) -> str:
    rows = _most_kept(composition.licences)
    lines = [
        f"| {row['license_expression'] or 'none found'} | {row['kept_documents']:,} | {row['kept_bytes']:,} |"
        for row in rows[:_TOP_LICENCES]
    ]
    rest = _rest(rows[_TOP_LICENCES:], "licence expressions")
    conflicts = (
        f"\nContents whose copies lie under licences of different kinds: {composition.conflicts:,} "
        "(column `license_conflict`).\n"
    )
    return "## Licences\n\n| expression | documents | bytes |\n|---|--:|--:|\n" + "\n".join(lines) + rest + conflicts


def _most_kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [row for row in rows if row["kept_documents"]]
    return sorted(kept, key=lambda row: (-row["kept_bytes"], str(list(row.values())[0])))


def _rest(rows: list[dict[str, Any]], what: str) -> str:
    if not rows:
        return "\n"
    return f"\n\nand {len(rows):,} further {what} with {sum(row['kept_documents'] for row in rows):,} documents.\n"


def _method(recipe: Recipe, versions: dict[str, str]) -> str:
    order = " → ".join(recipe.order)
    used = "\n".join(f"| {name} | {version} |" for name, version in sorted(versions.items()))
    return f"""## How it was made

The stages in order: {order}. The first stage that drops a document gives the reason. The settings of every stage and
the digest of every file stand in `manifest.json`.

| part | version |
|---|---|
{used}
"""


_LIMITS = """## Known limits

- Personal data and secrets have not been removed, malware has not been looked for, and benchmark problems have not
  been taken out.
- A licence is what the origin states: that a file was placed there with the right to do so cannot be checked.
- Near-duplicates are compared by their words; a program rewritten with other names is not found.
"""

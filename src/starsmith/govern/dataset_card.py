"""The dataset card: what is in a release, what was left out by which rule, how to load it, and what it lacks.

Every number is read from the tables of the build. The header is YAML that dataset hubs and loaders read. The card holds
no time, path or machine, so that equal releases have equal cards. Names from outside stand in code spans, where they
are text to every reader of Markdown.
"""

from typing import Final

from starsmith.curate.licence_expression import data_sources
from starsmith.govern import card_scans
from starsmith.govern.composition import CONFLICT_RULES, Composition, Row, reason_words, stage_words
from starsmith.govern.foreign_text import markdown_code, number, share, size, visible
from starsmith.govern.markdown import table
from starsmith.recipe import Recipe

_TOP: Final = 40
_SIZES: Final = (
    *((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")),
    *((10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B"), (10**12, "100B<n<1T")),
)
"""The size categories that dataset hubs know."""


def card(composition: Composition, recipe: Recipe, versions: dict[str, str]) -> str:
    """Return the card of a release as Markdown with a YAML header."""
    return "\n".join(
        [
            _header(composition, recipe),
            _opening(composition, recipe),
            _loading(composition, recipe),
            _funnel(composition, recipe),
            _left_out(composition),
            _filters(composition, recipe),
            _languages(composition),
            _licences(composition, recipe),
            _duplicates(composition, recipe),
            card_scans.redaction(composition, recipe),
            card_scans.benchmarks_and_malware(composition, recipe, versions),
            _origins(composition),
            _method(recipe, versions),
            _limits(composition, recipe),
        ]
    )


def _header(composition: Composition, recipe: Recipe) -> str:
    size_name = next((name for limit, name in _SIZES if composition.kept_documents < limit), "n>1T")
    ids = "- config_name: ids\n  data_files: ids/*.parquet\n" if recipe.release.ids_only else ""
    return (
        f"---\npretty_name: {_quoted(recipe.release.name)}\nlicense: other\nlicense_name: stated-per-document\n"
        "language:\n- code\nannotations_creators:\n- machine-generated\ntask_categories:\n- text-generation\n"
        f"tags:\n- code\n- source-code\nsize_categories:\n- {size_name}\nconfigs:\n"
        f"- config_name: default\n  default: true\n  data_files: data/*.parquet\n{ids}---\n"
    )


def _quoted(text: str) -> str:
    """Return text as a YAML string; control characters are spelled out before, so two escapes are enough."""
    return '"' + visible(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _opening(composition: Composition, recipe: Recipe) -> str:
    kept, seen = composition.kept_documents, composition.documents
    origins = f"{composition.kept_origins:,} of {composition.total_origins:,}"
    return f"""# {_heading(recipe.release.name)}

**{kept:,} documents** ({size(composition.kept_bytes)}) of source code from {origins} origins, chosen from {seen:,}
documents ({size(composition.bytes)}). A document is one file at one path of one origin; an origin is a repository
or a software distribution. {_licence_sentence(composition)}

Built by Starsmith with the profile `{recipe.profile}`. Every document carries its Software Heritage id (`swhid`), its
origin, and the licence statement it was let in by; every document that was left out has one reason on record.
"""


def _heading(name: str) -> str:
    """Return a name as plain text of a heading: characters that Markdown or HTML read get a backslash."""
    return "".join(f"\\{char}" if char in r"\`*_[]<>#|~&$" else char for char in visible(name).strip())


def _licence_sentence(composition: Composition) -> str:
    kept = {row["license_type"]: row["kept_documents"] for row in composition.licence_types if row["kept_documents"]}
    if set(kept) == {"permissive"}:
        return "Every one of them lies under a permissive licence (column `license_type`)."
    parts = ", ".join(f"{count:,} `{kind}`" for kind, count in sorted(kept.items()))
    return f"By `license_type`: {parts}." if parts else "Nothing passed every rule."


def _loading(composition: Composition, recipe: Recipe) -> str:
    none = not composition.kept_documents
    streaming = ", streaming=True" if none else ""
    aside = ". The files hold the columns and no row; `datasets` loads such a split only when it streams"
    ids = ""
    if recipe.release.ids_only:
        ids = (
            "\nThe configuration `ids` (`ids/*.parquet`) has one row per repository with its files as a list, Software "
            "Heritage ids\nand no contents.\n"
        )
    return f"""## How to load it

With any of these, where `RELEASE` stands for the path of the folder that holds this card{aside if none else ""}:

```python
from datasets import load_dataset

documents = load_dataset("RELEASE", split="train"{streaming})
```

```python
import pyarrow.dataset as ds

documents = ds.dataset("RELEASE/data", format="parquet").to_table(columns=["repo_name", "path", "content"])
```

```python
import duckdb

documents = duckdb.sql("SELECT language, count(*) AS files FROM 'RELEASE/data/*.parquet' GROUP BY language").fetchall()
```

```python
import polars as pl

documents = pl.scan_parquet("RELEASE/data/*.parquet").filter(pl.col("language") == "Python").collect()
```

The columns have the names of The Stack v2, followed by Starsmith's own; `content` is the text as UTF-8, whatever the
encoding it was found in (`src_encoding`); what was replaced in it is told below. `content_sha256` and `blob_id` are
digests of the original bytes.
{ids}
To ask why a document is in or out, where the workspace of the build is at hand:

```
starsmith why WORKSPACE swh:1:cnt:…          # the column swhid
starsmith why WORKSPACE OWNER/REPOSITORY:PATH
```
"""


def _funnel(composition: Composition, recipe: Recipe) -> str:
    rows: list[tuple[object, ...]] = [("collected", "", "", f"{composition.documents:,}", size(composition.bytes))]
    documents, volume = composition.documents, composition.bytes
    for stage in recipe.order:
        gone = composition.left_out(stage)
        left = sum(row["documents"] for row in gone)
        documents, volume = documents - left, volume - sum(row["bytes"] for row in gone)
        rows.append((f"`{stage}`", stage_words(stage).asks, f"{left:,}", f"{documents:,}", size(volume)))
    head = ["step", "question", "left out", "documents after it", "size after it"]
    return f"## From collected to released\n\n{table(head, rows, text=2)}"


def _left_out(composition: Composition) -> str:
    rows = [
        (f"`{row['verdict']}`", reason_words(row["verdict"]), f"{row['documents']:,}", f"{row['bytes']:,}")
        for row in composition.left_out()
    ]
    head = ["reason", "in words", "documents", "bytes"]
    shown = table(head, rows, text=2) if rows else "Nothing.\n"
    return f"## What was left out\n\nThe first rule that a document does not pass gives the reason.\n\n{shown}"


def _filters(composition: Composition, recipe: Recipe) -> str:
    rows = [
        (
            f"`{rule.reason}`",
            rule.what,
            "" if rule.threshold is None else number(rule.threshold),
            f"{gone:,}",
            f"{volume:,}",
        )
        for rule, gone, volume in composition.filter_rows(recipe)
    ]
    head = ["reason", "measure", "limit", "documents", "bytes"]
    return f"## Every filter\n\nIn their order, with what each left out.\n\n{table(head, rows, text=2)}"


def _languages(composition: Composition) -> str:
    rows = [row for row in composition.languages if row["kept_documents"]]
    shown = [
        (
            visible(row["language"] or "not recognised"),
            f"{row['kept_documents']:,}",
            f"{row['kept_bytes']:,}",
            share(row["kept_bytes"], composition.kept_bytes),
            f"{row['documents']:,}",
        )
        for row in rows[:_TOP]
    ]
    head = ["language", "documents", "bytes", "share", "collected"]
    return f"## Languages\n\n{table(head, shown)}{_rest(rows, 'languages')}"


def _licences(composition: Composition, recipe: Recipe) -> str:
    rows = [row for row in composition.licences if row["kept_documents"]]
    shown = [
        (
            markdown_code(row["license_expression"]) if row["license_expression"] else "none found",
            f"{row['kept_documents']:,}",
            f"{row['kept_bytes']:,}",
            share(row["kept_bytes"], composition.kept_bytes),
        )
        for row in rows[:_TOP]
    ]
    chosen = recipe.exact_duplicates.conflict
    lists = ", ".join(f"{source['name']} {source['version']} ({source['by']})" for source in data_sources())
    unlicensed = "kept" if recipe.licence.no_licence == "keep" else "left out"
    return f"""## Licences

{table(["expression", "documents", "bytes", "share"], shown)}{_rest(rows, "licence expressions")}
The evidence for each document is in `license_expression`, `license_method` and `license_evidence`. What is
permissive is read from these lists: {lists}. Documents for which no licence was found are {unlicensed}.

Contents whose copies lie under licences of different kinds: {composition.conflicts:,} (column `license_conflict`). The
rule, `{chosen}`: {CONFLICT_RULES.get(chosen, chosen)}.
"""


def _rest(rows: list[Row], what: str) -> str:
    rest = rows[_TOP:]
    if not rest:
        return ""
    return f"\nand {len(rest):,} further {what} with {sum(row['kept_documents'] for row in rest):,} documents.\n"


def _duplicates(composition: Composition, recipe: Recipe) -> str:
    near = recipe.near_duplicates
    by_reason = {row["verdict"]: row["documents"] for row in composition.left_out()}
    groups = sum(row["clusters"] for row in composition.clusters)
    checked = "its own Jaccard similarity with the kept one was computed" if near.verify else "not checked pair by pair"
    scope = "across all languages" if near.across_languages else "within a language"
    rows = [(f"{row['size']:,}", f"{row['clusters']:,}") for row in composition.clusters[:_TOP]]
    rest = sum(row["clusters"] for row in composition.clusters[_TOP:])
    sizes = table(["documents in a cluster", "clusters"], [*rows, *([("more", f"{rest:,}")] if rest else [])], text=0)
    return f"""## Duplicates

- Copies of whole repositories: {by_reason.get("duplicate.repository", 0):,} documents left out.
- Equal bytes: {by_reason.get("duplicate.exact", 0):,} documents left out.
- Near-duplicates (Jaccard similarity of runs of {near.ngram} words at least {near.threshold:g}, {scope}; {checked}):
  {by_reason.get("duplicate.near", 0):,} documents left out of {groups:,} clusters. The kept one of a cluster has
  the cluster's id in `dedup_cluster`.

{sizes if rows else ""}"""


def _origins(composition: Composition) -> str:
    rows = [
        (
            markdown_code(row["repo_name"] or row["url"]),
            row["source"],
            f"{row['kept_documents']:,}",
            f"{row['kept_bytes']:,}",
        )
        for row in composition.origins
        if row["kept_documents"]
    ]
    shown = f"The {len(rows):,} with most bytes of {composition.kept_origins:,}" if rows else "There are none"
    head = ["origin", "source", "documents", "bytes"]
    return f"## Origins\n\n{shown}; `origin_url` names the origin of each document.\n\n{table(head, rows, text=2)}"


def _method(recipe: Recipe, versions: dict[str, str]) -> str:
    used = table(["part", "version"], [(name, f"`{version}`") for name, version in sorted(versions.items())], text=2)
    return f"""## How it was made

The stages, in order: {" → ".join(recipe.order)}.
The settings of every stage and the SHA-256 of every file stand in `manifest.json`.

{used}"""


def _limits(composition: Composition, recipe: Recipe) -> str:
    near = recipe.near_duplicates
    verified = (
        ""
        if near.verify
        else " Not every pair was checked, so some documents were left out that are less similar than that."
    )
    unknown = (
        "- Documents without any licence statement are in it; without one, the law of most countries allows no use.\n"
        if recipe.licence.no_licence == "keep"
        else ""
    )
    return f"""## Known limits

{card_scans.limits(composition, recipe)}
- **Licences** are what the origins state: that a file was placed there with the right to do so cannot be checked. A
  licence in prose, or on a web page only, is not recognised. None of this is legal advice.
{unknown}- **Languages** are guessed from name and content; rare and new ones less well than common ones.
- **Near-duplicates** are compared by their words: a program rewritten with other names is not found, and documents
  shorter than {near.ngram} words are compared by their bytes only.{verified}
- **Filters** are rules of thumb about form. They let bad code through and leave some good code out, above all long word
  lists, tables and test data.
- **Nothing was run or tested.** Expect code that is wrong, outdated or insecure, and opinions and errors of its authors
  in comments.
- The composition follows the sources of the recipe; it represents neither all software nor all who write it.
"""

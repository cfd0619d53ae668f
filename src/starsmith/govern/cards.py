"""The release folder: data files under plain names, the dataset card, and the manifest that is written last.

A release is named by the digest of its manifest, which holds the digests of all its files and no time, path or engine.
So the same recipe over the same sources gives the same release under the same name, wherever it was built.
"""

import hashlib
import json
from dataclasses import asdict, fields
from typing import Any

from starsmith.builder import Builder
from starsmith.errors import StarsmithError
from starsmith.govern.composition import Composition
from starsmith.govern.dataset_card import card
from starsmith.recipe import Recipe
from starsmith.storage import NAME_DIGITS, Store, to_json
from starsmith.table import Part

MANIFEST_FORMAT = 1
_PLACES = frozenset({"path", "metadata", "clamd", "probe"})
"""Settings that say where something lies on one machine."""


def publish(builder: Builder, recipe: Recipe, *, versions: dict[str, str]) -> str:
    """Write the release folder of the tables `data` and `ids`; return its name in the workspace."""
    store, tables = builder.store, builder.tables
    files = {f"{table}/{part.shard}.parquet": part for table in ("data", "ids") for part in tables[table].parts}
    composition = Composition.read(store, tables)
    readme = card(composition, recipe, versions).encode()
    manifest = to_json(_manifest(recipe, versions, files, readme, documents=tables["data"].rows))
    release = f"releases/{hashlib.sha256(manifest).hexdigest()[: NAME_DIGITS // 2]}"
    store.each(lambda file: store.copy(file[1].name, f"{release}/{file[0]}"), files.items())
    store.write(f"{release}/README.md", readme)
    store.write(f"{release}/manifest.json", manifest)
    return release


def _manifest(
    recipe: Recipe, versions: dict[str, str], files: dict[str, Part], readme: bytes, *, documents: int
) -> dict[str, Any]:
    listed = [
        {"path": name, "sha256": part.digest, "bytes": part.bytes, "rows": part.rows}
        for name, part in sorted(files.items())
    ]
    listed.append({"path": "README.md", "sha256": hashlib.sha256(readme).hexdigest(), "bytes": len(readme), "rows": 0})
    return {
        "format": MANIFEST_FORMAT,
        "name": recipe.release.name,
        "profile": recipe.profile,
        "order": list(recipe.order),
        "recipe": settings_of(recipe),
        "versions": versions,
        "documents": documents,
        "files": listed,
    }


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Return everything in a recipe that says what is done, and nothing that says where things lie."""
    stages = {
        field.name: _placeless(getattr(recipe, field.name))
        for field in fields(recipe)
        if field.name not in ("profile", "base", "workspace", "sources", "benchmarks")
    }
    sources = [_placeless(source) for source in recipe.sources]
    return {"sources": sources, "benchmarks": [_placeless(each) for each in recipe.benchmarks], **stages}


def _placeless(settings: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name not in _PLACES}


def read_manifest(store: Store, release: str) -> dict[str, Any]:
    """Return the manifest of a release.

    Raises StarsmithError if its bytes are not those the release is named by.
    """
    name = f"{release}/manifest.json"
    data = store.read(name) if store.exists(name) else b""
    digest = hashlib.sha256(data).hexdigest()
    if digest[: NAME_DIGITS // 2] != release.rpartition("/")[2]:
        found = f"damaged: its SHA-256 is {digest}, the release's name says otherwise" if data else "missing or empty"
        raise StarsmithError(f"{store.path(name)} is {found}. Run `starsmith build` again: it is made anew.")
    manifest: dict[str, Any] = json.loads(data)
    return manifest

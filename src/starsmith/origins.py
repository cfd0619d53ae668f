"""Origins of a build: found, described, told apart, and joined with what a metadata file knows of them.

The metadata file is the user's own: a CSV or Parquet table keyed by `owner` and `name` whose further columns carry
The Stack v2's names (`star_events_count`, `gha_license_id`, `gha_created_at` …).
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from starsmith.document import ORIGINS, Origin
from starsmith.errors import StarsmithError
from starsmith.progress import Reporter
from starsmith.recipe import Recipe
from starsmith.shard import Located, order_of
from starsmith.sources import Source, open_source

METADATA_COLUMNS = tuple(ORIGINS.names[ORIGINS.names.index("snapshot_id") : ORIGINS.names.index("error")])
_KEYS = ("owner", "name")
_SHORT = {"stars": "star_events_count", "forks": "fork_events_count", "license": "gha_license_id"}
"""Plain names for the columns people have at hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The origins of a build in order, and notes on what was set aside."""

    located: tuple[Located, ...]
    notes: tuple[str, ...]


def find(recipe: Recipe, reporter: Reporter, *, workers: int) -> Found:
    """Locate and describe every origin of a recipe. Opening origins waits for disk and git, so threads do it."""
    sources = [open_source(settings, recipe.base) for settings in recipe.sources]
    places = [(source, location) for source in sources for location in source.locate()]
    with reporter.stage("describe origins", total=len(places)) as progress, ThreadPoolExecutor(workers) as pool:

        def describe(place: tuple[Source, str]) -> Located:
            source, location = place
            origin = source.describe(location, shard_documents=recipe.shards.documents)
            progress.advance(1)
            return Located(source=source, origin=origin)

        located = list(pool.map(describe, places))
    return _distinct(located)


def _distinct(located: Sequence[Located]) -> Found:
    """Keep one of several clones of the same origin: the one with the newest commit, then by state."""
    best: dict[str, Located] = {}
    notes = []
    newest = sorted(located, key=lambda each: (-(each.origin.committer_date or 0), each.origin.state))
    for item in newest:
        kept = best.setdefault(item.origin.url, item)
        if kept is not item:
            notes.append(f"{item.origin.url} was found more than once; the clone with the newest commit is used.")
    ordered = sorted(best.values(), key=lambda each: order_of(each.origin))
    notes += [f"{item.origin.repo_name}: {item.origin.error}" for item in ordered if item.origin.error]
    return Found(located=tuple(ordered), notes=tuple(sorted(notes)))


def origins_table(located: Iterable[Located], metadata: dict[tuple[str, str], dict[str, Any]]) -> pa.Table:
    """Return the ORIGINS rows; what the metadata file says of an origin wins over what the source says."""
    rows = []
    for item in located:
        origin = item.origin
        row: dict[str, Any] = {name: getattr(origin, name) for name in ORIGINS.names if hasattr(origin, name)}
        known = metadata.get(_key(origin.owner, origin.name), {})
        rows.append(row | {name: value for name, value in known.items() if value is not None})
    return pa.Table.from_pylist(rows, schema=ORIGINS)


def _key(owner: str, name: str) -> tuple[str, str]:
    return owner.lower(), name.lower()


def read_metadata(recipe: Recipe) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows of the recipe's metadata files by (owner, name), lower-cased.

    Raises StarsmithError for a file that is missing, no table, lacks a key or holds a value of the wrong type.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for settings in recipe.sources:
        if settings.metadata:
            rows |= _metadata_rows(recipe.base / settings.metadata)
    return rows


def _metadata_rows(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise StarsmithError(f"The metadata file {path} cannot be read: {error}") from error
    table = table.rename_columns([_SHORT.get(name, name) for name in table.column_names])
    if missing := [key for key in _KEYS if key not in table.column_names]:
        raise StarsmithError(f"The metadata file {path} has no column {missing[0]!r}; it is keyed by owner and name.")
    wanted = [name for name in METADATA_COLUMNS if name in table.column_names]
    try:
        fields = [pa.field(key, pa.string()) for key in _KEYS] + [ORIGINS.field(name) for name in wanted]
        typed = table.select([*_KEYS, *wanted]).cast(pa.schema(fields))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StarsmithError(f"The metadata file {path} has a value of the wrong type: {error}") from error
    return {_key(row["owner"], row["name"]): {name: row[name] for name in wanted} for row in typed.to_pylist()}

"""Origins of a build: found, described, told apart, and joined with what a metadata file knows of them.

The metadata file is the user's own: a CSV or Parquet table keyed by `owner` and `name` whose further columns carry
The Stack v2's names (`star_events_count`, `gha_license_id`, `gha_created_at` …).
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from starsmith.document import ID_BYTES, ORIGINS, Origin
from starsmith.errors import StarsmithError
from starsmith.plain_file import open_plain
from starsmith.progress import Reporter
from starsmith.recipe import Recipe
from starsmith.shard import Located, order_of
from starsmith.sources import Source, open_source

METADATA_COLUMNS = tuple(ORIGINS.names[ORIGINS.names.index("github_id") : ORIGINS.names.index("error")])
"""What others know of a repository. What was read from it (ids, branch, dates of commits) nobody else may say."""

ORIGIN_STATES = pa.schema(
    [
        pa.field("origin_id", pa.binary(ID_BYTES), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("cuts", pa.list_(pa.binary()), nullable=False),
    ]
)
"""Beside ORIGINS, what is needed to plan the shards of a build again without its sources. Not part of a release."""

Metadata = dict[tuple[str, str], dict[str, Any]]
_KEYS = ("owner", "name")
_COLUMN_TYPES = {name: ORIGINS.field(name).type for name in (*_KEYS, *METADATA_COLUMNS)}
_SHORT = {"stars": "star_events_count", "forks": "fork_events_count", "license": "gha_license_id"}
"""Plain names for the columns people have at hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The origins of a build in order, notes on what was set aside, and those that have left, whom no note names."""

    located: tuple[Located, ...]
    notes: tuple[str, ...]
    left: tuple[Located, ...] = ()


def nobody(origin: Origin) -> bool:
    """The rule where no one has asked to be left out."""
    return False


def find(recipe: Recipe, reporter: Reporter, *, workers: int, is_left: Callable[[Origin], bool] = nobody) -> Found:
    """Locate and describe every origin of a recipe. Opening origins waits for disk and git, so threads do it.

    `is_left` says of an origin whether it has asked to be left out.
    """
    sources = [open_source(settings, recipe.base) for settings in recipe.sources]
    places = [(source, location) for source in sources for location in source.locate()]
    with reporter.stage("describe origins", total=len(places)) as progress, ThreadPoolExecutor(workers) as pool:

        def describe(place: tuple[Source, str]) -> Located:
            source, location = place
            origin = source.describe(location, shard_documents=recipe.shards.documents)
            progress.advance(1)
            return Located(source=source, origin=origin)

        located = list(pool.map(describe, places))
    return _distinct(located, is_left)


def _distinct(located: Sequence[Located], is_left: Callable[[Origin], bool]) -> Found:
    """Keep one of several clones of the same origin: one that can be read, with the newest commit, then by state.

    An origin whose best clone has left has left: no older clone takes its place.
    """
    best: dict[str, Located] = {}
    others = []
    for item in sorted(located, key=_freshness):
        if best.setdefault(item.origin.url, item) is not item:
            others.append(item.origin.url)
    left = {url for url, item in best.items() if is_left(item.origin)}
    ordered = sorted(best.values(), key=lambda each: order_of(each.origin))
    staying = tuple(item for item in ordered if item.origin.url not in left)
    notes = [twice(url) for url in others if url not in left] + errors(staying)
    gone = tuple(item for item in ordered if item.origin.url in left)
    return Found(located=staying, notes=tuple(sorted(notes)), left=gone)


def twice(url: str) -> str:
    """Return the note on an origin of which there are several clones."""
    return f"{url} was found more than once; the clone with the newest commit is used."


def errors(located: Iterable[Located]) -> list[str]:
    """Return a note on each origin that cannot be read."""
    return [f"{item.origin.repo_name}: {item.origin.error}" for item in located if item.origin.error]


def _freshness(item: Located) -> tuple[bool, int, str]:
    origin = item.origin
    return origin.error is not None, -(origin.committer_date or 0), origin.state


def origins_table(located: Iterable[Located], metadata: Metadata) -> pa.Table:
    """Return the ORIGINS rows; what the metadata file says of an origin wins over what the source says."""
    rows = []
    for item in located:
        origin = item.origin
        row: dict[str, Any] = {name: getattr(origin, name) for name in ORIGINS.names if hasattr(origin, name)}
        known = metadata.get(_key(origin.owner, origin.name), {})
        rows.append(row | {name: value for name, value in known.items() if value is not None})
    return pa.Table.from_pylist(rows, schema=ORIGINS)


def states_table(located: Iterable[Located]) -> pa.Table:
    """Return the ORIGIN_STATES rows."""
    rows = [
        {"origin_id": item.origin.origin_id, "state": item.origin.state, "cuts": list(item.origin.cuts)}
        for item in located
    ]
    return pa.Table.from_pylist(rows, schema=ORIGIN_STATES)


def _key(owner: str, name: str) -> tuple[str, str]:
    return owner.lower(), name.lower()


def read_metadata(recipe: Recipe) -> Metadata:
    """Return the rows of the recipe's metadata files by (owner, name), lower-cased.

    Raises StarsmithError for a file that is missing, no table, lacks a key or holds a value of the wrong type.
    """
    rows: Metadata = {}
    for settings in recipe.sources:
        if settings.metadata:
            rows |= _metadata_rows(recipe.base / Path(settings.metadata).expanduser())
    return rows


def _metadata_rows(path: Path) -> Metadata:
    is_parquet = path.suffix.lower() == ".parquet"
    try:
        with open_plain(path, name=f"The metadata file {path}", expected="a CSV or Parquet file"):
            table = pq.read_table(path) if is_parquet else _read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise StarsmithError(f"The metadata file {path} cannot be read: {_first_line(error)}") from error
    try:
        table = table.rename_columns([_SHORT.get(name, name) for name in table.column_names])
    except UnicodeDecodeError:
        raise StarsmithError(
            f"The metadata file {path} has a column whose name is not UTF-8; save it as UTF-8."
        ) from None
    if missing := [key for key in _KEYS if key not in table.column_names]:
        raise StarsmithError(f"The metadata file {path} has no column {missing[0]!r}; it is keyed by owner and name.")
    wanted = [*_KEYS, *(name for name in METADATA_COLUMNS if name in table.column_names)]
    for name in wanted:
        if table.column_names.count(name) > 1:
            raise StarsmithError(f"The metadata file {path} has more than one column for {name!r}; keep one of them.")
    columns = {name: _typed(table[name], name, path) for name in wanted}
    return _by_key(columns, path)


def _read_csv(path: Path) -> pa.Table:
    """Read a CSV file; only what is empty is null, and no name becomes a number, whatever it looks like."""
    texts = [name for name in _COLUMN_TYPES if pa.types.is_string(_COLUMN_TYPES[name])]
    kinds = dict.fromkeys([*texts, *(short for short, name in _SHORT.items() if name in texts)], pa.string())
    options = pa.csv.ConvertOptions(null_values=[""], strings_can_be_null=True, column_types=kinds)
    return pa.csv.read_csv(path, convert_options=options)


def _typed(column: pa.ChunkedArray, name: str, path: Path) -> list[Any]:
    kind = _COLUMN_TYPES[name]
    try:
        # A bare number is no date: Arrow would take it for microseconds since 1970.
        if pa.types.is_timestamp(kind) and pa.types.is_integer(column.type):
            raise pa.ArrowInvalid(f"{column.type} is not a date")
        values: list[Any] = column.cast(kind).to_pylist()
    except pa.ArrowException as error:
        raise StarsmithError(
            f"The metadata file {path} has a value of the wrong type in column {name!r}; expected {kind}: "
            f"{_first_line(error)}"
        ) from error
    return values


def _by_key(columns: dict[str, list[Any]], path: Path) -> Metadata:
    rows: Metadata = {}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        owner, name = row.pop("owner"), row.pop("name")
        if name is None:
            raise StarsmithError(f"The metadata file {path} has a row without a name; it is keyed by owner and name.")
        rows[_key(owner or "", name)] = row
    return rows


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

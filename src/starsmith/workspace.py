"""A workspace: the store of one corpus, its format, and the record of its latest build.

The build record is written last. Whatever a build did before is reachable through it; the rest is `starsmith gc`'s.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from starsmith.errors import StarsmithError, StoreFault
from starsmith.storage import Store, sealed, to_json, unsealed
from starsmith.table import Part, Table

FORMAT = 1
FORMAT_FILE = "workspace.json"
BUILD_FILE = "build.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class StageReport:
    """What one stage of a build did. `ran` of `items` pieces of work were done in this run, the rest reused.

    `seconds` is time on the wall in this run; `work_seconds` is what the work took when it was done. `moved` is what
    the engine spilled and shuffled in this run, in bytes: `engines.Usage` without what is 0.
    """

    name: str
    seconds: float
    work_seconds: float
    items: int
    ran: int
    documents_in: int
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRecord:
    """The latest build: its recipe as text, its stages, the parts of its tables, and where its release lies."""

    recipe: str
    base: str
    profile: str
    engine: str
    workers: int
    until: str
    stages: tuple[StageReport, ...]
    tables: dict[str, tuple[Part, ...]]
    records: tuple[str, ...]
    release: str | None
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    executors: int = 1

    def table(self, name: str, schema: pa.Schema) -> Table:
        """Return a table of this build.

        Raises StarsmithError if the build stopped before it.
        """
        if name not in self.tables:
            raise StarsmithError(
                f"The workspace has no table {name!r}: its last build stopped after {self.until!r}. "
                "Run `starsmith build` to the end."
            )
        return Table(name=name, schema=schema, parts=self.tables[name])


def open_store(path: Path | str, *, create: bool) -> Store:
    """Return the store of a workspace, made if it is new and `create`.

    Raises StarsmithError for a folder that is no workspace or one of another version.
    """
    store = Store.at(path)
    if store.exists(FORMAT_FILE):
        _check_format(store)
        return store
    if not create:
        if not store.is_local:
            # Where there is no bucket, that is what is to be said.
            store.entries()
        raise StarsmithError(f"{path} is not a workspace. Make one with `starsmith build RECIPE --workspace {path}`.")
    _refuse_foreign(store)
    store.write(FORMAT_FILE, to_json({"format": FORMAT}))
    return store


def _refuse_foreign(store: Store) -> None:
    """Raise for anything but a workspace, an empty folder, or what a build leaves that was killed as it began."""
    found = store.entries()
    if FORMAT_FILE not in found and found not in (set(), {"lock"}, {"lock", "tmp"}):
        raise StarsmithError(f"{store.root} is not a workspace and not empty. Choose another folder for the workspace.")


def _check_format(store: Store) -> None:
    try:
        found = json.loads(store.read(FORMAT_FILE))["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StarsmithError(f"{store.path(FORMAT_FILE)} is damaged: {error}. Build into another folder.") from error
    if found != FORMAT:
        raise StarsmithError(
            f"{store.root} is a workspace of format {found}; this version of Starsmith reads format {FORMAT}. "
            "Use the version that made it, or build into another folder."
        )


@contextmanager
def writing(path: Path | str) -> Iterator[Store]:
    """Open a workspace for writing, alone."""
    store = Store.at(path)
    # Before anything is written: the lock would be the first file of ours in a folder of somebody else.
    _refuse_foreign(store)
    with store.lock():
        store = open_store(path, create=True)
        store.clear_spool()
        with store.telling():
            yield store


def write_build(store: Store, build: BuildRecord) -> None:
    """Write the record of a build. If nothing was done it stays, with the times of the run that did the work."""
    if any(stage.ran for stage in build.stages) or not _is_recorded(store, build):
        store.write(BUILD_FILE, sealed(_plain(build)))


def _plain(build: BuildRecord) -> dict[str, Any]:
    # `asdict` copies each of the parts slot by slot, of which there are tens of thousands.
    tables = {
        name: [{slot: getattr(part, slot) for slot in Part.__slots__} for part in parts]
        for name, parts in build.tables.items()
    }
    return asdict(replace(build, tables={})) | {"tables": tables}


def _is_recorded(store: Store, build: BuildRecord) -> bool:
    try:
        return _untimed(read_build(store)) == _untimed(build)
    except StoreFault:
        raise
    except StarsmithError:
        return False


def _untimed(build: BuildRecord) -> BuildRecord:
    """Return the record without what differs between two runs of the same build."""
    stages = tuple(replace(stage, seconds=0.0, ran=0, moved={}) for stage in build.stages)
    return replace(build, stages=stages, workers=0, executors=0, engine="")


def read_build(store: Store) -> BuildRecord:
    """Return the record of the latest build.

    Raises StarsmithError if there is none.
    """
    if not store.exists(BUILD_FILE):
        raise StarsmithError(f"The workspace {store.root} holds no finished build. Run `starsmith build` first.")
    try:
        plain = unsealed(store.read(BUILD_FILE))
        plain["stages"] = tuple(StageReport(**stage) for stage in plain["stages"])
        plain["tables"] = {name: tuple(Part(**part) for part in parts) for name, parts in plain["tables"].items()}
        plain["records"], plain["notes"] = tuple(plain["records"]), tuple(plain["notes"])
        return BuildRecord(**plain)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StarsmithError(
            f"{store.path(BUILD_FILE)} is damaged or of another version. "
            "Run `starsmith build` again, which writes it anew."
        ) from error


def last_build(store: Store) -> BuildRecord | None:
    """Return the record of the latest build, for what may be taken over from it; None if none can be read."""
    try:
        return read_build(store)
    except StoreFault:
        raise
    except StarsmithError:
        return None


def collect_garbage(store: Store, build: BuildRecord) -> tuple[int, int]:
    """Remove every table file and record that the latest build does not refer to; return (files, bytes) removed."""
    used = {part.name for parts in build.tables.values() for part in parts} | set(build.records)
    unused = [name for prefix in ("tables", "records") for name in store.names(prefix) if name not in used]
    unused += _unfinished_releases(store)
    size = sum(store.each(lambda name: store.size(name) or 0, unused))
    store.each(store.delete, unused)
    return len(unused), size


def _unfinished_releases(store: Store) -> list[str]:
    """Return the files of releases without a manifest, which is written last."""
    names = store.names("releases")
    finished = {name.split("/")[1] for name in names if name.endswith("/manifest.json")}
    return [name for name in names if name.split("/")[1] not in finished]

"""Integrity: every file the last build refers to, held against what is on record of it.

A build notices damage where it reads; `verify` reads everything: the records, the parts of all tables, and the files of
the release, whose manifest is known by the release's name. `missing_or_cut` looks at sizes alone. Nothing is mended.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starsmith.errors import StarsmithError, StoreFault
from starsmith.govern.cards import read_manifest
from starsmith.part_file import Recorded, damage, size_problem
from starsmith.storage import Store
from starsmith.table import read_record
from starsmith.workspace import BuildRecord, read_build

_MEND = "Delete it and run `starsmith build` again: it is made anew."


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was looked at, and what is wrong, one sentence a file."""

    workspace: str
    files: int
    bytes: int
    problems: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {"files": self.files, "bytes": self.bytes, "problems": list(self.problems)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """A file of a release as its manifest has it."""

    name: str
    bytes: int
    digest: str


def verify(store: Store) -> Verified:
    """Hash everything that the last build of a workspace refers to.

    Raises StarsmithError if the record of the build itself is missing or damaged.
    """
    build = read_build(store)
    files, problems = _files(store, build)
    problems = [*_record_problems(store, build), *problems]
    said = store.each(lambda file: damage(store, file, fresh=True), files)
    wrong = {file.name: words for file, words in zip(files, said, strict=True) if words}
    return Verified(
        workspace=store.root,
        files=len({file.name for file in files}) + len(build.records) + 1,
        bytes=sum(file.bytes for file in files),
        problems=(*problems, *wrong.values()),
    )


def missing_or_cut(store: Store, build: BuildRecord) -> tuple[str, ...]:
    """Return a sentence for every file of a build that is not there or has another size; nothing is hashed."""
    files, problems = _files(store, build)
    sizes = store.each(lambda file: store.size(file.name), files)
    wrong = {
        file.name: words
        for file, size in zip(files, sizes, strict=True)
        if (words := size_problem(store.path(file.name), file, size))
    }
    return (*problems, *wrong.values())


def _files(store: Store, build: BuildRecord) -> tuple[list[Recorded], list[str]]:
    """Return the parts of a build and the files of its release, and what is wrong with the list of these."""
    files: list[Recorded] = [part for parts in build.tables.values() for part in parts]
    if build.release is None:
        return files, []
    try:
        listed = read_manifest(store, build.release)["files"]
    except StoreFault:
        raise
    except StarsmithError as error:
        return files, [str(error)]
    names = [f"{build.release}/{each['path']}" for each in listed]
    pairs = zip(names, listed, strict=True)
    return [*files, *(_File(name=name, bytes=each["bytes"], digest=each["sha256"]) for name, each in pairs)], []


def _record_problems(store: Store, build: BuildRecord) -> Iterator[str]:
    yield from filter(None, store.each(lambda name: _record_problem(store, name), build.records))


def _record_problem(store: Store, name: str) -> str | None:
    stage, _, key = name.removeprefix("records/").removesuffix(".json").rpartition("/")
    if not store.exists(name):
        return f"{store.path(name)} is missing. Run `starsmith build` again: it is made anew."
    if read_record(store, stage, key, whole=False) is None:
        return f"{store.path(name)} is damaged: its bytes are not those that were written. {_MEND}"
    return None

"""The data files of a release, as a tokenizer or a pack is made from them.

A release is named by a workspace, whose latest one is meant, or by its own folder. Of a manifest only what is needed
here is read: the data files with their digests, against which every byte that is used is held.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from starsmith.document import document_id, origin_id
from starsmith.errors import StarsmithError
from starsmith.part_file import PartFile
from starsmith.storage import Store
from starsmith.table import Part
from starsmith.workspace import FORMAT_FILE, open_store, read_build

MANIFEST: Final = "manifest.json"

Cell = tuple[str, str]
"""(source, language)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One data file. `shard` is its name without folder and ending, `part` where it lies and what its digest is."""

    shard: str
    part: Part

    def open(self, store: Store) -> PartFile:
        return PartFile(store, self.part)


@dataclass(frozen=True, kw_only=True)
class Released:
    """A release. `digest` is the SHA-256 of its manifest; `workspace` is what holds it, if that was named."""

    store: Store
    folder: str
    digest: str
    files: tuple[DataFile, ...]
    workspace: str | None

    @cached_property
    def documents(self) -> int:
        return sum(file.part.rows for file in self.files)

    def tables(self, columns: Sequence[str]) -> Iterator[tuple[DataFile, pa.Table]]:
        """Yield some columns of every row group."""
        for file in self.files:
            with file.open(self.store) as opened:
                for group in range(opened.row_groups):
                    yield file, opened.read_group(group, columns)

    def sums_by_cell(self) -> Iterator[tuple[DataFile, dict[Cell, tuple[int, int]]]]:
        """Yield (documents, bytes) of every source and language in every row group; bytes of the original contents."""
        for file, rows in self.tables(["source", "language", "length_bytes"]):
            sums = rows.group_by(["source", "language"]).aggregate([("length_bytes", "sum"), ([], "count_all")])
            yield (
                file,
                {
                    (row["source"] or "", row["language"] or ""): (row["count_all"], row["length_bytes_sum"])
                    for row in sums.to_pylist()
                },
            )

    def bytes_by_language(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, sums in self.sums_by_cell():
            for (_, language), (_, size) in sums.items():
                found[language] = found.get(language, 0) + size
        return found


def open_release(place: str) -> Released:
    """Return the release at a path or URI: of a workspace the latest, or a release's own folder.

    Raises StarsmithError if there is none.
    """
    store = Store.at(place)
    if store.exists(MANIFEST):
        return _released(store, "", workspace=None)
    if not store.exists(FORMAT_FILE):
        raise StarsmithError(f"{place} is neither a workspace nor a release. Build one with `starsmith build`.")
    store = open_store(place, create=False)
    release = read_build(store).release
    if release is None:
        raise StarsmithError(f"The last build of {place} stopped before its release. Run `starsmith build` to the end.")
    return _released(store, f"{release}/", workspace=store.uri)


def _released(store: Store, folder: str, *, workspace: str | None) -> Released:
    data = store.read(f"{folder}{MANIFEST}") if store.exists(f"{folder}{MANIFEST}") else b""
    try:
        listed = [file for file in json.loads(data)["files"] if _is_data(file["path"])]
        files = tuple(_data_file(folder, file) for file in sorted(listed, key=lambda file: str(file["path"])))
    except (ValueError, KeyError, TypeError) as error:
        where = store.path(f"{folder}{MANIFEST}")
        raise StarsmithError(f"{where} is missing or damaged: {error}. Run `starsmith build` again.") from error
    digest = hashlib.sha256(data).hexdigest()
    return Released(store=store, folder=folder, digest=digest, files=files, workspace=workspace)


def _is_data(path: str) -> bool:
    folder, _, name = path.partition("/")
    return folder == "data" and name.endswith(".parquet") and "/" not in name


def _data_file(folder: str, file: dict[str, Any]) -> DataFile:
    shard = str(file["path"]).removeprefix("data/").removesuffix(".parquet")
    rows, size, digest = int(file["rows"]), int(file["bytes"]), str(file["sha256"])
    return DataFile(
        shard=shard, part=Part(shard=shard, name=f"{folder}{file['path']}", rows=rows, bytes=size, digest=digest)
    )


IDENTITY: Final = ("origin_url", "revision_id", "path")
"""The columns of a release that a document's id follows from."""


def document_ids(rows: pa.Table) -> list[bytes]:
    """Return the id of every row: that of the workspace, but where a path is not UTF-8 an id of the path as shown."""
    columns = [rows[name].to_pylist() for name in IDENTITY]
    return [
        document_id(origin_id(url or ""), bytes.fromhex(revision or ""), (path or "").removeprefix("/").encode())
        for url, revision, path in zip(*columns, strict=True)
    ]

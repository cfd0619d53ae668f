"""A release as somebody else holds it: a folder with a manifest and nothing that is taken on trust.

It may have been downloaded, copied or changed, so its manifest is read as foreign text, no name in it is followed out
of the folder, and what its files hold is known by their digests. What a manifest says and why stands in `cards`.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.govern.cards import MANIFEST_FORMAT
from starsmith.govern.foreign_json import SHA256, Fields, parse, read_file
from starsmith.storage import Located, StoredFile

MANIFEST: Final = "manifest.json"
WITHDRAWN: Final = "withdrawn.json"
"""Beside the manifest of a release that another has replaced because documents left; no part of the release."""

DATA_FILE: Final = re.compile(r"data/[0-9A-Za-z_-]{1,100}\.parquet")
FILE: Final = re.compile(rf"{DATA_FILE.pattern}|ids/[0-9A-Za-z_-]{{1,100}}\.parquet|README\.md")
_LARGEST_MANIFEST: Final = 256 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedFile:
    """A file of a release as its manifest lists it."""

    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a manifest says that does not depend on trust. `digest` is the SHA-256 of its own bytes, which names it."""

    digest: str
    files: dict[str, ListedFile]
    compression_level: int
    versions: dict[str, str]

    @property
    def data_files(self) -> dict[str, ListedFile]:
        return {name: file for name, file in self.files.items() if DATA_FILE.fullmatch(name)}


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Return a manifest.

    Raises StarsmithError for what is none, or lists a file under a name that no release has.
    """
    fields = parse(data, where)
    if (found := fields.number("format")) != MANIFEST_FORMAT:
        raise StarsmithError(f"{where} is of format {found}; this version of Starsmith reads {MANIFEST_FORMAT}.")
    versions = fields.fields("versions")
    files = {}
    for file in fields.objects("files"):
        path = file.text("path", FILE)
        if path in files:
            raise StarsmithError(f"{where} lists {path} twice.")
        files[path] = ListedFile(
            sha256=file.text("sha256", SHA256), bytes=file.number("bytes"), rows=file.number("rows")
        )
    return Manifest(
        digest=hashlib.sha256(data).hexdigest(),
        files=files,
        compression_level=_compression_level(fields),
        versions={name: versions.text(name) for name in versions.members},
    )


def _compression_level(fields: Fields) -> int:
    return fields.fields("recipe").fields("release").number("compression_level", least=1, most=22)


def read_manifest(folder: Located) -> Manifest:
    """Return the manifest of the release in `folder`.

    Raises StarsmithError if there is none.
    """
    if not folder.is_dir():
        raise StarsmithError(f"{folder} is no folder; expected a release, which is a folder with a {MANIFEST}.")
    if not (folder / MANIFEST).exists():
        raise StarsmithError(f"{folder} is no release: it has no {MANIFEST}.")
    data = read_file(folder / MANIFEST, most=_LARGEST_MANIFEST, what="manifest")
    return parse_manifest(data, f"The manifest {folder / MANIFEST}")


def sha256_of(path: Located) -> str | None:
    """Return the SHA-256 of a plain file in hex, or None if there is none."""
    if isinstance(path, StoredFile):
        return path.store.sha256(path.name, fresh=True)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def opened(path: Located) -> Any:
    """Return what a reader of Parquet takes: a file that is here by its name, an object open."""
    return path if isinstance(path, Path) else path.open("rb")


def names_in(folder: Located) -> Iterator[str]:
    """Yield the name of everything below a folder that is no folder itself; links are not followed.

    Names at the top that begin with a dot belong to whoever keeps the copy (`.gitattributes`, `.cache`).
    """
    if isinstance(folder, StoredFile):
        names = (name[len(folder.name) + 1 :] for name in folder.store.names(folder.name))
        yield from (name for name in names if not name.startswith("."))
        return
    for place, folders, files in os.walk(folder):
        base = os.path.relpath(place, folder)
        if base == ".":
            folders[:] = [name for name in folders if not name.startswith(".")]
            files = [name for name in files if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (os.path.normpath(os.path.join(base, name)) for name in files + links)

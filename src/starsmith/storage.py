"""Where a workspace lives: the one module that the rest of the package asks for it.

A `Store` is a folder on a disk (`disk`) or a prefix on an object store (`object_folder`), seen through `pyarrow.fs`.
Objects appear whole or not at all: data is spooled to a file of ours, digested, and only then published under its name.
There is no update in place and no reliance on listings being ordered. What this module does not do: it knows nothing
of tables, stages or builds.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from starsmith.disk import DiskFolder
from starsmith.errors import StarsmithError, StoreFault
from starsmith.object_folder import ObjectFolder
from starsmith.object_store import address_of, is_uri

NAME_DIGITS = 32
"""Hex digits of a digest that go into a file name: 128 bits, so names do not collide at 10^10 files."""
_COPY_BYTES = 1 << 20
_SEAL = b',\n "sha256": "'

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _Place(Protocol):
    """What a store needs of the place it is at. `key` is what `filesystem` calls an object, `path` what people do."""

    @property
    def filesystem(self) -> fs.FileSystem: ...
    def path(self, name: str) -> str: ...
    def key(self, name: str) -> str: ...
    def size(self, name: str) -> int | None: ...
    def changed(self, name: str) -> int | None: ...
    def open(self, name: str) -> pa.NativeFile: ...
    def map(self, name: str) -> pa.NativeFile: ...
    def sha256(self, name: str, *, fresh: bool) -> str | None: ...
    def spool(self) -> AbstractContextManager[IO[bytes]]: ...
    def publish(self, file: IO[bytes], name: str, *, private: bool, digest: str | None) -> None: ...
    def copy(self, source: str, target: str) -> None: ...
    def names(self, prefix: str) -> list[str]: ...
    def entries(self) -> set[str]: ...
    def delete(self, name: str) -> None: ...
    def delete_folder(self, name: str) -> None: ...
    def clear_spool(self) -> None: ...
    def scratch(self) -> AbstractContextManager[str]: ...
    def fault(self, error: BaseException, name: str) -> str | None: ...
    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]: ...
    def lock(self) -> AbstractContextManager[None]: ...


@lru_cache(maxsize=16)
def _place(root: str, options: str) -> _Place:
    return ObjectFolder(root, address_of(root, options)) if is_uri(root) else DiskFolder(root)


@dataclass(frozen=True, slots=True)
class Store:
    """Immutable objects below a root; their names are relative, with forward slashes.

    `root` is an absolute local path, or the URI of a prefix on an object store, whose parameters are `options`. A store
    can be sent to another process; each has its own connections.
    """

    root: str
    options: str = ""

    @classmethod
    def at(cls, workspace: Path | str) -> "Store":
        """Return the store that a user names by a path or a URI; whether it is there is not looked at.

        Raises StarsmithError for a URI that cannot be one, or a path that is not UTF-8.
        """
        if isinstance(workspace, str) and is_uri(workspace):
            root, _, options = workspace.partition("?")
            if (parts := urlsplit(root)).scheme.lower() != "file":
                address_of(root, options)
                return cls(root.rstrip("/"), options)
            if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or options:
                raise StarsmithError(f"{workspace} is no file URI of this machine; expected file:///path.")
            workspace = unquote(parts.path)
        root = str(Path(workspace).absolute())
        try:
            root.encode()
        except UnicodeEncodeError:
            raise StarsmithError(f"The name of the workspace {root!a} is not UTF-8. Choose another.") from None
        return cls(root)

    @property
    def _at(self) -> _Place:
        return _place(self.root, self.options)

    @property
    def uri(self) -> str:
        """What a command is given to open this store again."""
        return f"{self.root}?{self.options}" if self.options else self.root

    @property
    def is_local(self) -> bool:
        """Whether objects are files of this machine, at `path`."""
        return not is_uri(self.root)

    @property
    def filesystem(self) -> fs.FileSystem:
        return self._at.filesystem

    def path(self, name: str) -> str:
        """Return what a person calls an object: its path, or its URI without parameters."""
        return self._at.path(name)

    def key(self, name: str) -> str:
        """Return what `filesystem` calls an object."""
        return self._at.key(name)

    def file(self, name: str) -> "Located":
        """Return an object or folder for those who take it from a folder of files as well as from a store."""
        return Path(self.path(name)) if self.is_local else StoredFile(self, name)

    def exists(self, name: str) -> bool:
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, or None if it does not exist."""
        return self._at.size(name)

    def changed(self, name: str) -> int | None:
        """Return when an object was last written, in nanoseconds by the clock of where it lies; None if never."""
        return self._at.changed(name)

    def read(self, name: str) -> bytes:
        with self.telling(name), self.open(name) as file:
            return bytes(file.read())

    def open(self, name: str) -> pa.NativeFile:
        """Open for random access."""
        return self._at.open(name)

    def map(self, name: str) -> pa.NativeFile:
        """Open for zero-copy access: pages are read as they are touched and the system may drop them again.

        From an object store all of it is copied to the local disk first, once in a process.
        """
        return self._at.map(name)

    def sha256(self, name: str, *, fresh: bool = False) -> str | None:
        """Return the digest of an object's bytes, None if it does not exist.

        Unless `fresh`, a file that looks as it did when this process last read or wrote it is not read again.
        """
        return self._at.sha256(name, fresh=fresh)

    def write(self, name: str, data: bytes, *, private: bool = False) -> None:
        """Publish a small object whole. One that holds these bytes already is left as it is.

        A private one can be read by its owner alone, and so can a folder that is made for it. On an object store who
        may read is a matter of the bucket.
        """
        if self.size(name) == len(data) and self.read(name) == data:
            return
        with self.spool() as file:
            file.write(data)
            self.publish(file, name, private=private)

    def spool(self) -> AbstractContextManager[IO[bytes]]:
        """Yield an unnamed local file to write an object into before it is published."""
        return self._at.spool()

    def publish(self, file: IO[bytes], name: str, *, private: bool = False, digest: str | None = None) -> None:
        """Give a spooled file its name. An object that is there already has the same bytes and is replaced.

        `digest` is the SHA-256 of it, if that is known.
        """
        file.flush()
        self._at.publish(file, name, private=private, digest=digest)

    def publish_digested(self, file: IO[bytes], template: str) -> tuple[str, str, int]:
        """Publish under a name with part of the SHA-256 (`{digest}` in `template`); return (name, digest, bytes)."""
        file.flush()
        file.seek(0)
        digest, size = hashlib.sha256(), 0
        while block := file.read(_COPY_BYTES):
            digest.update(block)
            size += len(block)
        name = template.format(digest=digest.hexdigest()[:NAME_DIGITS])
        self.publish(file, name, digest=digest.hexdigest())
        return name, digest.hexdigest(), size

    def copy(self, source: str, target: str) -> None:
        """Make an object available under a second name, without its bytes passing through here if that is possible."""
        self._at.copy(source, target)

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of all objects below a folder."""
        return self._at.names(prefix)

    def entries(self) -> set[str]:
        """Return the first part of every name.

        Raises StarsmithError where no folder can be.
        """
        return self._at.entries()

    def delete(self, name: str) -> None:
        self._at.delete(name)

    def delete_folder(self, name: str) -> None:
        """Remove a folder with all that is in it; one that is not there is left so."""
        self._at.delete_folder(name)

    def clear_spool(self) -> None:
        """Remove what killed runs left half-written. Only the holder of the lock may do this."""
        self._at.clear_spool()

    def scratch(self) -> AbstractContextManager[str]:
        """Yield a folder of the local disk for what outgrows memory; what it holds may be gone afterwards."""
        return self._at.scratch()

    def fault(self, error: BaseException, name: str = "") -> str | None:
        """Return what went wrong with the store and what to do about it; None for an error of another kind.

        `name` is the object that was asked for, if it was one.
        """
        return self._at.fault(error, name)

    @contextmanager
    def telling(self, name: str = "") -> Iterator[None]:
        """Raise StoreFault for an error of an object store, whoever reported it."""
        try:
            yield
        except Exception as error:
            if said := self.fault(error, name):
                raise StoreFault(said) from error
            raise

    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Return a function of every item, which asks the store something: at once where it takes a while to answer."""
        return self._at.each(function, items)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the workspace for writing; a second writer gets an error that names the first.

        On a disk the kernel releases the lock when its holder dies. What holds on an object store stands in `claims`.
        """
        return self._at.lock()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object of a store, or a folder of objects, as far as a `Path` that is only read from is needed."""

    store: Store
    name: str

    def __truediv__(self, name: str) -> "StoredFile":
        return StoredFile(self.store, f"{self.name}/{name}")

    def __str__(self) -> str:
        return self.store.path(self.name)

    def exists(self) -> bool:
        return self.store.exists(self.name)

    is_file = exists

    def is_dir(self) -> bool:
        return not self.exists()

    def open(self, mode: str) -> Any:
        assert mode == "rb", "whoever has a stored file only reads it"
        return self.store.open(self.name)


Located = Path | StoredFile
"""A file or folder that may as well lie on an object store."""


def located(text: str) -> Located:
    """Return what a user names by a path, or by a URI on an object store."""
    if not is_uri(text):
        return Path(text)
    root, mark, options = text.partition("?")
    folder, _, name = root.rstrip("/").rpartition("/")
    store = Store.at(folder + mark + options)
    return Path(store.path(name)) if store.is_local else StoredFile(store, name)


def to_json(value: object) -> bytes:
    """Return readable JSON with sorted keys: equal values give equal bytes. Paths not in UTF-8 come back whole."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "surrogatepass")


def sealed(value: Mapping[str, object]) -> bytes:
    """Return the JSON of an object with the SHA-256 of all the rest as its last member, a line for each member.

    With lines within lines it would take 2.4 times as long: the record of a build of 500 shards names 20,000 parts.
    """
    members = (f" {json.dumps(name)}: {_in_a_line(value[name])}" for name in sorted(value))
    text = ("{\n" + ",\n".join(members) + "\n}\n").encode("utf-8", "surrogatepass")
    return text[:-3] + _SEAL + hashlib.sha256(text).hexdigest().encode() + b'"\n}\n'


def _in_a_line(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def unsealed(data: bytes) -> dict[str, Any]:
    """Return the object that was `sealed`.

    Raises ValueError if any byte of it has changed.
    """
    text, _, digest = data.rpartition(_SEAL)
    text += b"\n}\n"
    if digest != hashlib.sha256(text).hexdigest().encode() + b'"\n}\n':
        raise ValueError("its bytes are not those that were written")
    value: dict[str, Any] = json.loads(text)
    return value

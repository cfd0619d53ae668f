"""Where a workspace lives: the one module that touches storage.

A `Store` is a folder seen through `pyarrow.fs`. Objects appear whole or not at all: data is spooled to a file of
ours, digested, and only then published under its name. There is no update in place and no reliance on directory
listings being ordered. What this module does not do: it knows nothing of tables, stages or builds.
"""

import errno
import fcntl
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from starsmith.errors import StarsmithError

NAME_DIGITS = 32
"""Hex digits of a digest that go into a file name: 128 bits, so names do not collide at 10^10 files."""
_COPY_BYTES = 1 << 20
_UNWRITABLE = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ELOOP)
)
"""What a path is to blame for. A link that leads nowhere exists already where a folder is to be made."""
_SEAL = b',\n "sha256": "'

_Look = tuple[int, int, int]
_DIGESTS: dict[str, tuple[_Look, str]] = {}
"""By path: inode, bytes and time of change of a file when this process last had all its bytes, and their SHA-256."""


@contextmanager
def disk_errors(place: str) -> Iterator[None]:
    """Turn the errors of a full or unwritable disk into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error):
            raise StarsmithError(
                f"The disk that holds {place} is full. Free some space and run the same command again; "
                "nothing that was published is damaged."
            ) from error
        if error.errno in _UNWRITABLE:
            raise StarsmithError(f"{place} cannot be written: {error.strerror}. Choose another workspace.") from error
        raise


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of immutable objects. `root` is an absolute local path; names are relative, with forward slashes."""

    root: str

    @property
    def filesystem(self) -> fs.FileSystem:
        return fs.LocalFileSystem(use_mmap=False)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(self.path(name)).type == fs.FileType.File)

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, or None if it does not exist."""
        info = self.filesystem.get_file_info(self.path(name))
        return int(info.size) if info.type == fs.FileType.File else None

    def read(self, name: str) -> bytes:
        with self.filesystem.open_input_file(self.path(name)) as file:
            return bytes(file.read())

    def open(self, name: str) -> pa.NativeFile:
        """Open for random access."""
        return self.filesystem.open_input_file(self.path(name))

    def map(self, name: str) -> pa.NativeFile:
        """Open for zero-copy access: pages are read as they are touched and the system may drop them again."""
        return pa.memory_map(self.path(name))

    def sha256(self, name: str, *, fresh: bool = False) -> str | None:
        """Return the digest of an object's bytes, None if it does not exist.

        Unless `fresh`, a file that looks as it did when this process last read or wrote it is not read again.
        """
        try:
            with open(self.path(name), "rb") as file:
                look = _look(os.fstat(file.fileno()))
                known = _DIGESTS.get(file.name)
                if known is None or known[0] != look or fresh:
                    known = _DIGESTS[file.name] = look, hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, IsADirectoryError):
            return None
        return known[1]

    def write(self, name: str, data: bytes, *, private: bool = False) -> None:
        """Publish a small object whole. One that holds these bytes already is left as it is.

        A private one can be read by its owner alone, and so can a folder that is made for it.
        """
        if self.size(name) == len(data) and self.read(name) == data:
            return
        with self.spool() as file:
            file.write(data)
            self.publish(file, name, private=private)

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        """Yield an unnamed file to write an object into before it is published."""
        with disk_errors(self.root):
            os.makedirs(self.path("tmp"), exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path("tmp"), delete=False) as file:
                try:
                    yield file
                finally:
                    Path(file.name).unlink(missing_ok=True)

    def publish(self, file: IO[bytes], name: str, *, private: bool = False) -> None:
        """Give a spooled file its name. An object that is there already has the same bytes and is replaced."""
        with disk_errors(self.root):
            file.flush()
            target = self.path(name)
            os.makedirs(os.path.dirname(target), mode=0o700 if private else 0o777, exist_ok=True)
            os.chmod(file.name, 0o600 if private else 0o644)
            os.replace(file.name, target)

    def publish_digested(self, file: IO[bytes], template: str) -> tuple[str, str, int]:
        """Publish under a name with part of the SHA-256 (`{digest}` in `template`); return (name, digest, bytes)."""
        file.flush()
        file.seek(0)
        digest, size = hashlib.sha256(), 0
        while block := file.read(_COPY_BYTES):
            digest.update(block)
            size += len(block)
        name = template.format(digest=digest.hexdigest()[:NAME_DIGITS])
        self.publish(file, name)
        _DIGESTS[self.path(name)] = _look(os.stat(self.path(name))), digest.hexdigest()
        return name, digest.hexdigest(), size

    def copy(self, source: str, target: str) -> None:
        """Make an object available under a second name (a hard link where the disk allows it)."""
        with disk_errors(self.root):
            os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
            if self._is_copied(source, target):
                return
            Path(self.path(target)).unlink(missing_ok=True)
            try:
                os.link(self.path(source), self.path(target))
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP):
                    raise
                fs.copy_files(
                    self.path(source),
                    self.path(target),
                    source_filesystem=self.filesystem,
                    destination_filesystem=self.filesystem,
                )

    def _is_copied(self, source: str, target: str) -> bool:
        """Whether `target` is there and no older than `source`, which may have been damaged and made again."""
        if self.size(target) != self.size(source):
            return False
        old, new = os.stat(self.path(source)), os.stat(self.path(target))
        return os.path.samestat(old, new) or (old.st_nlink == 1 and new.st_mtime_ns >= old.st_mtime_ns)

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of all objects below a folder."""
        selector = fs.FileSelector(self.path(prefix), allow_not_found=True, recursive=True)
        found = self.filesystem.get_file_info(selector)
        return sorted(info.path[len(self.root) + 1 :] for info in found if info.type == fs.FileType.File)

    def delete(self, name: str) -> None:
        self.filesystem.delete_file(self.path(name))

    def delete_folder(self, name: str) -> None:
        """Remove a folder with all that is in it; one that is not there is left so."""
        if self.filesystem.get_file_info(self.path(name)).type == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))

    def clear_spool(self) -> None:
        """Remove what killed runs left half-written. Only the holder of the lock may do this."""
        for name in self.names("tmp"):
            # A worker of the killed run may be about to die, and have removed its file itself.
            Path(self.path(name)).unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace for writing; a second writer gets an error that names the first.

        The kernel releases the lock when its holder dies, however it dies.
        """
        with disk_errors(self.root):
            os.makedirs(self.root, exist_ok=True)
            handle = os.open(self.path("lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(handle, 4096, 0).decode(errors="replace") or "another process"
                raise StarsmithError(
                    f"The workspace {self.root} is being written by {holder}. "
                    "Wait for it to end, or choose another workspace."
                ) from None
            with disk_errors(self.root):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield
        finally:
            os.close(handle)


def _look(found: os.stat_result) -> _Look:
    return found.st_ino, found.st_size, found.st_mtime_ns


def to_json(value: object) -> bytes:
    """Return readable JSON with sorted keys: equal values give equal bytes. Paths not in UTF-8 come back whole."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "surrogatepass")


def sealed(value: Mapping[str, object]) -> bytes:
    """Return the JSON of an object with the SHA-256 of all the rest as its last member."""
    text = to_json(value)
    return text[:-3] + _SEAL + hashlib.sha256(text).hexdigest().encode() + b'"\n}\n'


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

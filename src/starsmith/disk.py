"""A workspace on a disk: a folder whose files appear whole or not at all.

Data is spooled to a file of ours in the same folder and renamed into place, which a disk does in one step. Nothing
outside the package uses `DiskFolder` itself; it is one of the two kinds of place a `Store` can be.
"""

import errno
import fcntl
import hashlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TypeVar

import pyarrow as pa
from pyarrow import fs

from starsmith.errors import StarsmithError

_UNWRITABLE: Final = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ELOOP)
)
"""What a path is to blame for. A link that leads nowhere exists already where a folder is to be made."""

_Look = tuple[int, int, int]
_DIGESTS: dict[str, tuple[_Look, str]] = {}
"""By path: inode, bytes and time of change of a file when this process last had all its bytes, and their SHA-256."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


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
class DiskFolder:
    """A folder by its absolute path."""

    root: str

    @property
    def filesystem(self) -> fs.FileSystem:
        return fs.LocalFileSystem(use_mmap=False)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    key = path

    def size(self, name: str) -> int | None:
        info = self.filesystem.get_file_info(self.path(name))
        return int(info.size) if info.type == fs.FileType.File else None

    def changed(self, name: str) -> int | None:
        try:
            return os.stat(self.path(name)).st_mtime_ns
        except FileNotFoundError:
            return None

    def open(self, name: str) -> pa.NativeFile:
        return self.filesystem.open_input_file(self.path(name))

    def map(self, name: str) -> pa.NativeFile:
        return pa.memory_map(self.path(name))

    def sha256(self, name: str, *, fresh: bool) -> str | None:
        """Return the digest of a file's bytes; one that looks as it did is not read again, unless `fresh`."""
        try:
            with open(self.path(name), "rb") as file:
                look = _look(os.fstat(file.fileno()))
                known = _DIGESTS.get(file.name)
                if known is None or known[0] != look or fresh:
                    known = _DIGESTS[file.name] = look, hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, IsADirectoryError):
            return None
        return known[1]

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        with disk_errors(self.root):
            os.makedirs(self.path("tmp"), exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path("tmp"), delete=False) as file:
                try:
                    yield file
                finally:
                    Path(file.name).unlink(missing_ok=True)

    def publish(self, file: IO[bytes], name: str, *, private: bool, digest: str | None) -> None:
        with disk_errors(self.root):
            target = self.path(name)
            os.makedirs(os.path.dirname(target), mode=0o700 if private else 0o777, exist_ok=True)
            os.chmod(file.name, 0o600 if private else 0o644)
            os.replace(file.name, target)
        if digest is not None:
            _DIGESTS[target] = _look(os.stat(target)), digest

    def copy(self, source: str, target: str) -> None:
        """Give a file a second name: a hard link where the disk allows it."""
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
        selector = fs.FileSelector(self.path(prefix), allow_not_found=True, recursive=True)
        found = self.filesystem.get_file_info(selector)
        return sorted(info.path[len(self.root) + 1 :] for info in found if info.type == fs.FileType.File)

    def entries(self) -> set[str]:
        root = Path(self.root)
        with disk_errors(self.root):
            if root.exists() and not root.is_dir():
                raise StarsmithError(f"{root} is a file. Choose a folder for the workspace.")
            return {entry.name for entry in root.iterdir()} if root.is_dir() else set()

    def delete(self, name: str) -> None:
        self.filesystem.delete_file(self.path(name))

    def delete_folder(self, name: str) -> None:
        if self.filesystem.get_file_info(self.path(name)).type == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))

    def clear_spool(self) -> None:
        for name in self.names("tmp"):
            # A worker of the killed run may be about to die, and have removed its file itself.
            Path(self.path(name)).unlink(missing_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[str]:
        yield self.path("tmp/spill")

    def fault(self, error: BaseException, name: str) -> str | None:
        """Return None: what a disk does wrong is told by `disk_errors`, or found where a part is read."""

    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        return [function(item) for item in items]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder; the kernel lets go when the holder dies, however it dies."""
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

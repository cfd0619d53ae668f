"""A workspace on an object store: a prefix whose objects appear whole or not at all.

An object exists from the moment its upload is complete. It is uploaded from a file without a name on the local disk.
Arrow completes the upload of whatever has been written to a stream when the stream is closed or just forgotten, after
an error too; so a stream is closed only when all of an object went into it, and is otherwise never taken down. What the
server has of it then is no object. Where a file is mapped into memory, the object is copied into such a file first;
those copies are bounded, and the system drops them when the process ends, however it ends.

Nothing here relies on renaming, on folders, or on access rights: whoever may read the bucket reads what is private.
"""

import ctypes
import hashlib
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final, TypeVar

import pyarrow as pa
from pyarrow import fs

from starsmith import object_store
from starsmith.claims import claim, refuse_if_lost
from starsmith.disk import disk_errors
from starsmith.errors import StoreFault
from starsmith.object_store import Address

COPIES_BYTES: Final = 4 << 30
"""Of objects that are mapped, what a process keeps on the local disk at most; one object may be larger."""
REQUESTS: Final = 16
"""Requests that wait for the server at the same time. Each is one round trip and hardly any work."""
_COPY_MOST: Final = 5 << 30
"""What S3 copies on the server's side in one request."""
_BLOCK_BYTES: Final = 4 << 20
_LOCAL: Final = fs.LocalFileSystem(use_mmap=False)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Look = tuple[int, int]
_COPIES: "OrderedDict[tuple[Address, str, _Look], tuple[IO[bytes], int]]" = OrderedDict()
"""By object and its look: the open file that holds its bytes, and how many they are; the longest unused first."""

_COPYING = threading.Lock()

_keep, _let_go = ctypes.pythonapi.Py_IncRef, ctypes.pythonapi.Py_DecRef
"""What makes that an object is never taken down, not even when the interpreter ends, and what undoes it."""
_keep.argtypes = _let_go.argtypes = (ctypes.py_object,)


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """A prefix. `root` is the URI as it is shown, without parameters."""

    root: str
    address: Address

    @property
    def filesystem(self) -> fs.FileSystem:
        return object_store.filesystem(self.address)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def key(self, name: str) -> str:
        return f"{self.address.key}/{name}".rstrip("/")

    @contextmanager
    def _asking(self, name: str = "") -> Iterator[None]:
        """Turn an error of the store into a message that says what to do."""
        try:
            yield
        except OSError as error:
            if said := self.fault(error, name):
                raise StoreFault(said) from error
            raise

    def fault(self, error: BaseException, name: str) -> str | None:
        return object_store.fault(error, self.address, name)

    def _info(self, name: str) -> Any:
        with self._asking(name):
            info = self.filesystem.get_file_info(self.key(name))
        return info if info.type == fs.FileType.File else None

    def size(self, name: str) -> int | None:
        # `get_file_info` would look for a folder of that name, in a second request, where there is no object.
        try:
            with self.open(name) as file:
                return int(file.size())
        except FileNotFoundError:
            return None

    def changed(self, name: str) -> int | None:
        info = self._info(name)
        return None if info is None else int(info.mtime_ns)

    def open(self, name: str) -> pa.NativeFile:
        with self._asking(name):
            return self.filesystem.open_input_file(self.key(name))

    def read(self, name: str) -> bytes:
        with self._asking(name), self.filesystem.open_input_file(self.key(name)) as file:
            return bytes(file.read())

    def map(self, name: str) -> pa.NativeFile:
        info = self._info(name)
        if info is None:
            raise FileNotFoundError(f"{self.path(name)} is not there")
        look = int(info.size), int(info.mtime_ns)
        key = self.address, name, look
        with _COPYING:
            if key not in _COPIES:
                _COPIES[key] = self._bring(name, look[0]), look[0]
            _COPIES.move_to_end(key)
            return pa.memory_map(_unnamed(_COPIES[key][0]))

    def _bring(self, name: str, size: int) -> IO[bytes]:
        """Copy an object to the local disk; what was not used for longest makes room, maps of it stay valid."""
        while _COPIES and sum(size for _, size in _COPIES.values()) + size > COPIES_BYTES:
            _COPIES.popitem(last=False)[1][0].close()
        with disk_errors(tempfile.gettempdir()), self._asking(name):
            file = tempfile.TemporaryFile()  # noqa: SIM115 (open until it makes room for another)
            fs.copy_files(
                self.key(name), _unnamed(file), source_filesystem=self.filesystem, destination_filesystem=_LOCAL
            )
        return file

    def sha256(self, name: str, *, fresh: bool) -> str | None:
        """Return the digest of an object's bytes, all of which are read: nothing else would tell."""
        digest = hashlib.sha256()
        try:
            with self._asking(name), self.filesystem.open_input_stream(self.key(name), compression=None) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        with disk_errors(tempfile.gettempdir()), tempfile.TemporaryFile() as file:
            yield file

    def publish(self, file: IO[bytes], name: str, *, private: bool, digest: str | None) -> None:
        refuse_if_lost(self)
        file.seek(0)
        self._upload(file, name)

    def _upload(self, source: Any, name: str) -> None:
        # In a thread of its own: a user's Ctrl-C interrupts the main thread alone, and there it only waits.
        with self._asking(name), ThreadPoolExecutor(1) as thread:
            thread.submit(self._send, source, name).result()

    def _send(self, source: Any, name: str) -> None:
        stream = self.filesystem.open_output_stream(self.key(name))
        _keep(stream)
        while block := source.read(_BLOCK_BYTES):
            stream.write(block)
        stream.close()
        _let_go(stream)

    def write(self, name: str, data: bytes) -> None:
        with self.spool() as file:
            file.write(data)
            file.flush()
            self.publish(file, name, private=False, digest=None)

    def copy(self, source: str, target: str) -> None:
        """Copy an object on the server's side, where it is not too large for that."""
        refuse_if_lost(self)
        size = self.size(source)
        if size is None:
            raise FileNotFoundError(f"{self.path(source)} is not there")
        if self.size(target) == size and (self.changed(target) or 0) >= (self.changed(source) or 0):
            return
        with self._asking(target):
            if size <= _COPY_MOST:
                self.filesystem.copy_file(self.key(source), self.key(target))
                return
            with self.filesystem.open_input_stream(self.key(source), compression=None) as stream:
                self._upload(stream, target)

    def _listed(self, prefix: str, *, recursive: bool = True) -> list[Any]:
        selector = fs.FileSelector(self.key(prefix), allow_not_found=True, recursive=recursive)
        with self._asking(prefix):
            found: list[Any] = self.filesystem.get_file_info(selector)
        return found

    def names(self, prefix: str) -> list[str]:
        start = len(self.address.key) + 1
        return sorted(info.path[start:] for info in self._listed(prefix) if info.type == fs.FileType.File)

    def times(self, prefix: str) -> dict[str, float]:
        """Return when each object below a prefix was written, in seconds by the store's clock."""
        start = len(self.address.key) + 1
        files = [info for info in self._listed(prefix) if info.type == fs.FileType.File]
        return {info.path[start:]: info.mtime_ns / 1e9 for info in files}

    def entries(self) -> set[str]:
        """Return the first part of the name of everything there is.

        Raises StarsmithError if the bucket is not there.
        """
        with self._asking():
            bucket = self.filesystem.get_file_info(self.address.bucket)
        if bucket.type == fs.FileType.NotFound:
            raise StoreFault(object_store.missing_bucket(self.address))
        found = self._listed("", recursive=False)
        # An empty object named like the folder is how consoles make one.
        return {info.base_name for info in found if info.path.rstrip("/") != self.address.key}

    def delete(self, name: str) -> None:
        refuse_if_lost(self)
        with self._asking(name):
            self.filesystem.delete_file(self.key(name))

    def delete_folder(self, name: str) -> None:
        refuse_if_lost(self)
        with self._asking(name):
            if self.filesystem.get_file_info(self.key(name)).type == fs.FileType.Directory:
                self.filesystem.delete_dir(self.key(name))

    def clear_spool(self) -> None:
        """Do nothing: what a killed process spooled has gone with it, and half an upload is no object."""

    @contextmanager
    def scratch(self) -> Iterator[str]:
        with disk_errors(tempfile.gettempdir()):
            folder = tempfile.mkdtemp(prefix="starsmith-")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        waiting = list(items)
        if len(waiting) < 2:
            return [function(item) for item in waiting]
        with ThreadPoolExecutor(min(REQUESTS, len(waiting))) as pool:
            return list(pool.map(function, waiting))

    @contextmanager
    def lock(self) -> Iterator[None]:
        with claim(self):
            yield


def _unnamed(file: IO[bytes]) -> str:
    """Return a path by which Arrow opens a file that has no name."""
    return f"/proc/self/fd/{file.fileno()}"

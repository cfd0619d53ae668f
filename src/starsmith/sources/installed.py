"""The `installed` source: what is installed in a Python environment, each distribution an origin, and its library.

A distribution's documents are the files its RECORD lists and that are there; the standard library's are the files of
its folder. Most of them have no licence file above them: the licence is stated once, in the metadata and in the
licence files beside it, and holds for the whole distribution (section 1.4 of the paper's data description knows only
licence files in folders). Origins carry a package URL, since where a distribution was downloaded from is not known.

Nothing of the environment is imported or run but its `python` executable, once and isolated, which says where its
folders are. Symbolic links are not followed and no path leads out of the environment. What differs between machines is
left out: compiled bytecode, launchers, build configuration and the installer's notes. So are editable installs, whose
files lie elsewhere, Starsmith itself, and distributions in formats older than `*.dist-info`.
"""

import errno
import functools
import hashlib
import json
import os
import posixpath
import re
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from starsmith.document import Origin, RawDocument, content_id
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange, cut_points
from starsmith.sources.distribution import (
    UnreadableDistribution,
    declared_licence,
    folders_of,
    is_distribution,
    is_editable,
    licence_scope,
    named_by_folder,
    read_metadata,
    read_record,
)

STANDARD_LIBRARY_LICENCE: Final = "Python-2.0.1"
"""What CPython's LICENSE.txt is by the SPDX list of 2025: 99.6 % of the five-word sequences of Python-2.0.1 stand in
it, and make up 90 % of it; those of PSF-2.0 make up 30 %."""

LARGE_BYTES: Final = 10 * 1024 * 1024
"""From this size on a file's state is the digest and size its RECORD declares; it would be no source code anyway."""

_PIECE_BYTES = 1024 * 1024
_FILE, _PROGRAM, _LINK = 0o100644, 0o100755, 0o120000
_OUTSIDE = "its path leads out of the environment"

_UV_NOTES = frozenset({"uv_build.json", "uv_cache.json"})
_INSTALLER_NOTES = _UV_NOTES | {"RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json"}
_LAUNCHER_FOLDERS = frozenset({"bin", "Scripts"})
_NOT_THE_LIBRARY = frozenset({"site-packages", "dist-packages"})
_BUILD_CONFIGURATION = re.compile(r"config-[^/]*|_sysconfigdata[^/]*|build-details\.json|EXTERNALLY-MANAGED")
_BYTECODE = (".pyc", ".pyo")

_QUESTION = """
import json, platform, site, sys, sysconfig
folders = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
prefixes = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
answer = {"folders": folders, "prefixes": prefixes, "library": sysconfig.get_path("stdlib")}
print(json.dumps({**answer, "version": platform.python_version()}))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Environment:
    """Where an interpreter keeps its things: folders of distributions, roots none may leave, the standard library."""

    folders: tuple[str, ...]
    prefixes: tuple[str, ...]
    library: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Identity:
    """What an origin is called, and the licence stated for all of it."""

    url: str
    owner: str
    name: str
    declared_license: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One file of an origin: its path there, its place here (None: not to be opened), what RECORD declares of it."""

    path: bytes
    place: str | None
    declared: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledSource:
    """The distributions of one Python environment; a location is a `*.dist-info` folder, or the library's folder.

    `path` is the environment's `python` executable; empty: the running one.
    """

    path: str = ""
    standard_library: bool = True

    def locate(self) -> list[str]:
        environment = _environment(self.path)
        found = _distributions(environment)
        if self.standard_library and Path(environment.library).is_dir():
            found.append(environment.library)
        if not found:
            raise StarsmithError(f"{self.path or 'This Python'} has no distributions installed; name another python.")
        return sorted(found)

    def describe(self, location: str, *, shard_documents: int) -> Origin:
        environment = _environment(self.path)
        identity = _identity(location, environment)
        entries: list[_Entry] = []
        error = None
        try:
            if location != environment.library:
                identity = replace(identity, declared_license=declared_licence(read_metadata(location)))
            entries = _entries(location, environment)
        except UnreadableDistribution as unreadable:
            error = str(unreadable)
        return Origin(
            source="installed",
            url=identity.url,
            owner=identity.owner,
            name=identity.name,
            location=location,
            state=_state(entries, error),
            documents=len(entries),
            cuts=cut_points((entry.path for entry in entries), shard_documents=shard_documents),
            declared_license=identity.declared_license,
            error=error,
        )

    def times(self, origin: Origin) -> dict[bytes, int]:
        """Return nothing: installed files have no commits."""
        del origin
        return {}

    def read(
        self, origin: Origin, part: PathRange, settings: CollectSettings, times: Mapping[bytes, int] | None = None
    ) -> Iterator[RawDocument]:
        del times
        if origin.error:
            return
        environment = _environment(self.path)
        try:
            entries = _entries(origin.location, environment)
        except UnreadableDistribution as error:
            raise StarsmithError(
                f"{origin.repo_name} has changed since the build began: {error} Run it again."
            ) from None
        info = None if origin.location == environment.library else os.fsencode(posixpath.basename(origin.location))
        folders = folders_of(entry.path for entry in entries)
        for entry in entries:
            if entry.path in part:
                yield _document(entry, licence_scope(entry.path, info, folders), settings)


@functools.cache
def _environment(python: str) -> _Environment:
    """Ask an interpreter, once a process, where its folders are. Isolated, it reads no variable and no user folder."""
    program = python or sys.executable
    try:
        answer = subprocess.run([program, "-I", "-c", _QUESTION], capture_output=True, check=True, timeout=60).stdout
        facts = json.loads(answer.splitlines()[-1])
        return _Environment(
            folders=tuple(dict.fromkeys(map(str, facts["folders"]))),
            prefixes=tuple(dict.fromkeys(map(str, facts["prefixes"]))),
            library=str(facts["library"]),
            version=str(facts["version"]),
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise StarsmithError(
            f"{program} does not run as a Python ({reason}); set `path` to a python executable."
        ) from None
    except (ValueError, LookupError, TypeError):
        raise StarsmithError(f"{program} did not answer like a Python; set `path` to a python executable.") from None


def _distributions(environment: _Environment) -> list[str]:
    """Return the `*.dist-info` folders. Of one name in several site folders Python imports the first only."""
    found: list[str] = []
    taken: set[str] = {"starsmith"}
    for folder in environment.folders:
        names: set[str] = set()
        seen: set[tuple[str, str]] = set()
        for info in _subfolders(folder):
            identity = named_by_folder(info)
            if not is_distribution(info) or identity[0] in taken or identity in seen or is_editable(info):
                continue
            found.append(info)
            seen.add(identity)
            names.add(identity[0])
        taken |= names
    return found


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        # Pythons name site folders that need not exist.
        return []


def _identity(location: str, environment: _Environment) -> _Identity:
    if location == environment.library:
        return _Identity(
            url=f"pkg:generic/python@{quote(environment.version, safe='')}",
            owner="python",
            name="cpython-stdlib",
            declared_license=STANDARD_LIBRARY_LICENCE,
        )
    # The folder's name, not the metadata's: folders have different names, so origins have too.
    name, version = named_by_folder(location)
    return _Identity(url=f"pkg:pypi/{quote(name, safe='')}@{quote(version, safe='')}", owner="pypi", name=name)


def _entries(location: str, environment: _Environment) -> list[_Entry]:
    """List the files of an origin, by raw path."""
    is_library = location == environment.library
    found = _library_entries(location) if is_library else _recorded_entries(location, environment)
    return sorted({entry.path: entry for entry in found}.values(), key=lambda entry: entry.path)


def _library_entries(library: str) -> Iterator[_Entry]:
    def refuse(error: OSError) -> None:
        raise UnreadableDistribution(f"A folder of it cannot be read: {error.strerror}.")

    for folder, subfolders, files in os.walk(library, onerror=refuse):
        inner = folder.removeprefix(library).strip("/")
        links = [name for name in subfolders if posixpath.islink(posixpath.join(folder, name))]
        for name in (*files, *links):
            path = posixpath.join(inner, name)
            if not _is_bytecode(path) and not _BUILD_CONFIGURATION.fullmatch(path.partition("/")[0]):
                yield _Entry(path=os.fsencode(path), place=posixpath.join(folder, name))
        subfolders[:] = [name for name in subfolders if inner or name not in _NOT_THE_LIBRARY]


def _recorded_entries(info: str, environment: _Environment) -> Iterator[_Entry]:
    """Yield what RECORD lists and what is there; what it lists outside the environment gets no place."""
    site = posixpath.dirname(info)
    prefix = _prefix_of(site, environment)
    inside = _Inside(prefix)
    for row in read_record(info):
        path = posixpath.normpath(row[0])
        place = posixpath.normpath(posixpath.join(site, path))
        if _is_bytecode(path) or _is_machine_made(place, info, prefix):
            continue
        if posixpath.isabs(path) or place not in inside:
            yield _Entry(path=os.fsencode(path), place=None)
        elif _is_there(place):
            yield _Entry(path=os.fsencode(path), place=place, declared=" ".join(row[1:3]))


def _prefix_of(site: str, environment: _Environment) -> str:
    """Return the innermost prefix that holds a site folder: a virtual environment's own, not that of its base."""
    holding = [prefix for prefix in environment.prefixes if site.startswith(f"{prefix}/")]
    return max(holding, key=len, default=site)


def _is_bytecode(path: str) -> bool:
    return path.endswith(_BYTECODE) or "__pycache__" in path.split("/")


def _is_machine_made(place: str, info: str, prefix: str) -> bool:
    """Whether the installer made the file, so that it differs between machines: its notes, and launchers."""
    folder, _, name = place.rpartition("/")
    if folder == info:
        return name in _INSTALLER_NOTES
    return place.startswith(tuple(f"{prefix}/{launchers}/" for launchers in _LAUNCHER_FOLDERS))


def _is_there(place: str) -> bool:
    try:
        return not stat.S_ISDIR(os.lstat(place).st_mode)
    except OSError:
        return False


class _Inside:
    """The places whose folder really lies under a prefix, with no symbolic link that leads out of it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._root = os.path.realpath(prefix)
        self._known: dict[str, bool] = {}

    def __contains__(self, place: str) -> bool:
        folder = posixpath.dirname(place)
        if folder not in self._known:
            self._known[folder] = _lies_in(folder, self._prefix) and _lies_in(os.path.realpath(folder), self._root)
        return self._known[folder]


def _lies_in(folder: str, root: str) -> bool:
    return folder == root or folder.startswith(f"{root}/")


def _state(entries: Iterable[_Entry], error: str | None) -> str:
    """Return the digest of everything that determines the documents: paths, kinds and contents, or what is wrong."""
    digest = hashlib.sha256((error or "").encode() + b"\0")
    for entry in entries:
        digest.update(entry.path + b"\0" + _file_state(entry) + b"\0")
    return digest.hexdigest()


def _file_state(entry: _Entry) -> bytes:
    if entry.place is None:
        return b"outside"
    try:
        if posixpath.islink(entry.place):
            return b"link " + os.fsencode(os.readlink(entry.place))
        with _opened(entry.place) as (descriptor, facts):
            if facts.st_size >= LARGE_BYTES and entry.declared:
                return b"large %o %d " % (_mode(facts), facts.st_size) + os.fsencode(entry.declared)
            return b"file %o " % _mode(facts) + _digest(descriptor, facts.st_size, hashlib.sha256())
    except OSError as error:
        return f"unreadable {error.strerror}".encode()


def _document(entry: _Entry, scope: str | None, settings: CollectSettings) -> RawDocument:
    """Read one file, or say why not. What is wrong is told without a path of this machine."""
    document = functools.partial(RawDocument, path=entry.path, licence_scope=scope)
    unread = functools.partial(document, content=None, content_id=None, length=0, mode=_FILE, reason="error.read")
    if entry.place is None:
        return unread(detail=_OUTSIDE)
    try:
        if posixpath.islink(entry.place):
            return _link(os.fsencode(os.readlink(entry.place)), document, settings)
        with _opened(entry.place) as (descriptor, facts):
            return _file(descriptor, facts, document, settings)
    except OSError as error:
        return unread(detail=error.strerror)


def _link(target: bytes, document: functools.partial[RawDocument], settings: CollectSettings) -> RawDocument:
    document = functools.partial(document, mode=_LINK, length=len(target), content_id=content_id(target))
    if settings.symlinks:
        return document(content=target)
    return document(content=None, reason="source.symlink")


def _file(
    descriptor: int, facts: os.stat_result, document: functools.partial[RawDocument], settings: CollectSettings
) -> RawDocument:
    size = facts.st_size
    document = functools.partial(document, mode=_mode(facts), length=size)
    if size >= settings.max_bytes:
        # A content id is git's: the SHA-1 of a header and the bytes.
        identity = _digest(descriptor, size, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False))
        return document(content=None, content_id=identity, reason="source.too_large", detail=f"{size} bytes")
    content = b"".join(_pieces(descriptor, size))
    return document(content=content, content_id=content_id(content))


@contextmanager
def _opened(place: str) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file and nothing else: no link is followed, no pipe or device waited for."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield descriptor, facts
    finally:
        os.close(descriptor)


def _pieces(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield the bytes of an open file; raises OSError where they are not `size` many."""
    left = size
    while left >= 0 and (piece := os.read(descriptor, min(_PIECE_BYTES, left + 1))):
        left -= len(piece)
        yield piece
    if left:
        raise OSError(errno.EIO, "it changed while it was read")


def _digest(descriptor: int, size: int, digest: "hashlib._Hash") -> bytes:
    for piece in _pieces(descriptor, size):
        digest.update(piece)
    return digest.digest()


def _mode(facts: os.stat_result) -> int:
    return _PROGRAM if facts.st_mode & stat.S_IXUSR else _FILE

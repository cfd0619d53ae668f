"""A foreign git repository as its files show it: what HEAD names, and whether its object store can be trusted.

git itself is never started in a foreign repository: whatever of one is needed besides its objects is parsed here.
The default branch follows section 1.2 of the paper's data description. Symbolic links are followed nowhere; an object
store that points elsewhere is refused, since it would make other people's files part of the corpus.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from starsmith.document import readable_path

_MOST_SMALL_FILE_BYTES = 16 * 1024 * 1024
_MOST_REF_LINE_BYTES = 64 * 1024
_MOST_SYMBOLIC_REFS = 5  # as git itself
_FALLBACK_BRANCHES = ("refs/heads/master", "refs/heads/main")

_OBJECT_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF_NAME = re.compile(r"refs(?:/(?!\.)[^\x00-\x20\x7f~^:?*\[\\/]+)+")


class UnreadableRepository(Exception):
    """A repository cannot be read as a whole; the message is one sentence without a path of this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """What reading a repository's objects takes.

    `revision` is the hexadecimal name of the commit (or tag) that HEAD means, `branch` its full ref name (None for a
    detached HEAD), `shallow` the sorted names of the commits whose parents were never fetched, `fetched_packs` the
    packs of a partial clone, which says what of it is here.
    """

    objects: Path
    revision: str
    branch: str | None
    shallow: tuple[str, ...]
    fetched_packs: tuple[str, ...]


def is_repository(folder: Path) -> bool:
    """Whether a folder looks like a git repository, with a work tree or without one."""
    return os.path.lexists(folder / ".git") or (
        os.path.lexists(folder / "HEAD") and (folder / "objects").is_dir() and (folder / "refs").is_dir()
    )


def git_folder(location: Path) -> Path:
    """Return the folder that holds HEAD and the objects; raises UnreadableRepository if it lies elsewhere."""
    inner = location / ".git"
    if not os.path.lexists(inner):
        folder = location
    elif inner.is_symlink():
        raise UnreadableRepository("its .git is a symbolic link; name the repository that it leads to instead")
    elif not inner.is_dir():
        raise UnreadableRepository(
            "its .git is a file that points elsewhere (a linked work tree or a submodule); "
            "name the main repository instead, or clone this one"
        )
    else:
        folder = inner
    if os.path.lexists(folder / "commondir"):
        raise UnreadableRepository("it is a linked work tree; name the main repository instead")
    return folder


def read_config(folder: Path) -> str:
    """Return the text of the repository's own configuration, empty if there is none."""
    return (_small_file(folder, "config") or b"").decode("utf-8", errors="replace")


def open_repository(folder: Path) -> Repository:
    """Find out what HEAD means and inspect the object store of the git folder `folder`.

    Raises UnreadableRepository with the reason, and OSError where the disk or its permissions are at fault.
    """
    if os.path.lexists(folder / "reftable"):
        raise UnreadableRepository("it keeps its refs in a reftable, which cannot be read; clone it with files as refs")
    fetched_packs = _inspect_objects(folder / "objects")
    branch, revision = _head(folder)
    return Repository(
        objects=folder / "objects",
        revision=revision,
        branch=None if branch is None else readable_path(os.fsencode(branch)),
        shallow=_shallow(folder),
        fetched_packs=fetched_packs,
    )


def _head(folder: Path) -> tuple[str | None, str]:
    """Return (branch, object name) for HEAD; where it dangles, for the first of master and main that exists."""
    text = _ref_text(folder, "HEAD")
    if text is None:
        raise UnreadableRepository("it has no readable HEAD; it is not a git repository or a damaged one")
    if _OBJECT_NAME.fullmatch(text):
        return None, text
    target = _symbolic_target(text)
    if target is None:
        raise UnreadableRepository("its HEAD is neither a branch nor a revision")
    for branch in (target, *_FALLBACK_BRANCHES):
        revision = _resolve(folder, branch)
        if revision is not None:
            return branch, revision
    if _has_refs(folder):
        shown = readable_path(os.fsencode(target))
        raise UnreadableRepository(f"its HEAD names {shown}, which does not exist, and it has no master or main branch")
    raise UnreadableRepository("empty repository")


def _resolve(folder: Path, ref: str) -> str | None:
    for _ in range(_MOST_SYMBOLIC_REFS):
        text = _ref_text(folder, ref) if _is_ref_name(ref) else None
        if text is None:
            return _packed_ref(folder, ref)
        if _OBJECT_NAME.fullmatch(text):
            return text
        ref = _symbolic_target(text) or ""
    return None


def _ref_text(folder: Path, ref: str) -> str | None:
    """Return what a loose ref says. Old versions of git made a symbolic ref by a symbolic link, which is only read."""
    if (folder / ref).is_symlink():
        return f"ref: {os.readlink(folder / ref)}"
    content = _small_file(folder, ref)
    return None if content is None else os.fsdecode(content).rstrip()


def _symbolic_target(text: str) -> str | None:
    target = text.removeprefix("ref:").strip()
    return target if text.startswith("ref:") and _is_ref_name(target) else None


def _is_ref_name(ref: str) -> bool:
    return bool(_REF_NAME.fullmatch(ref)) and ".." not in ref and not ref.endswith(".lock")


def _packed_refs(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (object name, ref) of every packed ref; there may be millions."""
    file = _open_file(folder, "packed-refs")
    if file is None:
        return
    with file:
        while line := file.readline(_MOST_REF_LINE_BYTES):
            name, _, ref = os.fsdecode(line).rstrip("\r\n").partition(" ")
            if _OBJECT_NAME.fullmatch(name):
                yield name, ref


def _packed_ref(folder: Path, wanted: str) -> str | None:
    return next((name for name, ref in _packed_refs(folder) if ref == wanted), None)


def _has_refs(folder: Path) -> bool:
    loose = any(files for _, _, files in os.walk(folder / "refs"))
    return loose or next(_packed_refs(folder), None) is not None


def _shallow(folder: Path) -> tuple[str, ...]:
    lines = (_small_file(folder, "shallow") or b"").decode("utf-8", errors="replace").split()
    return tuple(sorted(line for line in lines if _OBJECT_NAME.fullmatch(line)))


def _inspect_objects(objects: Path) -> tuple[str, ...]:
    """Refuse an object store that leads out of itself; return the names of its fetched packs, sorted.

    A named pipe in it would also make git wait for ever, so nothing but files and folders may be there.
    """
    if objects.is_symlink():
        raise UnreadableRepository("its object store is a symbolic link; name the repository that it leads to instead")
    for name in ("alternates", "http-alternates"):
        if os.path.lexists(objects / "info" / name):
            raise UnreadableRepository(
                f"it borrows objects from another repository (objects/info/{name}); "
                "run `git repack -a -d` in it and remove that file"
            )
    fetched_packs: list[str] = []
    pending = [objects]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise UnreadableRepository(
                        "its object store holds a symbolic link or a special file; read a clone of it"
                    )
                elif entry.name.endswith(".promisor"):
                    fetched_packs.append(os.fsencode(entry.name).hex())
    return tuple(sorted(fetched_packs))


def _small_file(folder: Path, name: str) -> bytes | None:
    """Return the bytes of a regular file below `folder`, None if there is none."""
    file = _open_file(folder, name)
    if file is None:
        return None
    with file:
        if os.fstat(file.fileno()).st_size > _MOST_SMALL_FILE_BYTES:
            raise UnreadableRepository(f"its {name} is larger than {_MOST_SMALL_FILE_BYTES} bytes")
        return file.read()


def _open_file(folder: Path, name: str) -> BinaryIO | None:
    """Open a regular file below `folder`, None if there is none. No symbolic link is followed, no pipe waited for."""
    path = folder
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")

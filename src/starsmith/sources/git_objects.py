"""Git's answers about a foreign repository: the commit, the tree, the contents, the time of each path's last commit.

git runs only in a bare directory of our own, made for the purpose and removed afterwards, whose
`objects/info/alternates` names the foreign object store. So git sees the objects and nothing else: no configuration,
hook, attribute, filter, replacement or remote of the repository, and none of the user's. Nothing is fetched.

Output of git is never trusted to be complete: git may die at any object. Nothing it says on stderr is passed on, since
that would carry paths of this machine into tables.
"""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from starsmith.errors import StarsmithError
from starsmith.sources import PathRange
from starsmith.sources.git_repository import Repository, UnreadableRepository

_PIECE_BYTES = 256 * 1024
_MOST_COMMIT_BYTES = 1024 * 1024
_MOST_FIELD_BYTES = 1024 * 1024
_MOST_LISTING_BYTES = 256 * 1024 * 1024
"""About 2.5 million paths. A tree that contains itself tenfold, ten levels deep, would list 10^10."""
_MOST_HISTORY_BYTES = 4 * 1024 * 1024 * 1024
_MOST_GIT_MEMORY = 1024 * 1024 * 1024
"""What one git process may allocate: a small object can be a delta of one that fills the memory."""

_ALGORITHMS = {40: "sha1", 64: "sha256"}
_FILE_KINDS = frozenset({b"blob", b"commit"})
_CONFIG = """[core]
\tbare = true
\tcommitGraph = false
\tmultiPackIndex = false
\trepositoryformatversion = {version}
{extensions}"""
"""The commit graph and the multi-pack index are left aside: they are caches, which a foreign repository can fake."""
_SHA256_EXTENSION = "[extensions]\n\tobjectFormat = sha256\n"

_PERSON_LINE = re.compile(rb"^(author|committer) (?:.* )?(-?\d{1,15}) [+-]\d{1,8}$", re.MULTILINE)
_TREE_LINE = re.compile(rb"tree ([0-9a-f]+)\n")
_MOST_STATUS_BYTES = 8
_EARLIEST_SECOND, _LATEST_SECOND = -62_135_596_800, 253_402_300_799  # years 1 to 9999


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """A commit: hexadecimal names, times in microseconds since 1970 UTC (None where they make no sense)."""

    revision: str
    tree: str
    authored_at: int | None
    committed_at: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One path of a tree. `size` is None where git could not find the object, or for a submodule."""

    path: bytes
    mode: int
    name: str
    size: int | None


class ObjectStore:
    """The objects of one foreign repository, read by git from a directory of our own."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self._repository = repository
        self._folder = folder

    def commit(self) -> Commit:
        """Return the commit that HEAD means; raises UnreadableRepository if it is absent or damaged."""
        request = self._requests([f"{self._repository.revision}^{{commit}}"])
        with open(request, "rb") as stdin, self._git("cat-file", "--batch", stdin=stdin) as process:
            header = _output(process).readline(_MOST_FIELD_BYTES).split()
            if len(header) != 3 or header[1] != b"commit" or int(header[2]) > _MOST_COMMIT_BYTES:
                raise UnreadableRepository("the commit that its HEAD names is missing or damaged; run `git fsck` in it")
            text = _output(process).read(int(header[2]))
        return _parse_commit(header[0].decode(), text)

    def listing(self, commit: Commit, part: PathRange) -> Iterator[Entry]:
        """Yield the paths of the commit's tree that lie in `part`.

        Raises UnreadableRepository where a tree is absent or damaged.
        """
        with self._git("ls-tree", "-r", "-l", "-z", "--full-tree", commit.tree) as process:
            for field in _fields(_output(process), most_bytes=_MOST_LISTING_BYTES):
                head, _, path = field.partition(b"\t")
                if path in part:
                    yield _parse_entry(head, path)
            if process.wait() != 0:
                raise UnreadableRepository("a folder of its tree is missing or damaged; run `git fsck` in it")

    def contents(self, entries: Sequence[Entry]) -> Iterator[bytes | None]:
        """Yield the bytes of each entry, None where git cannot read it or they do not hash to its name.

        git dies at a damaged object; it is then started again behind it. One content is held at a time, so the
        caller bounds memory by what it asks for.
        """
        if not entries:
            return
        requests = self._requests([entry.name for entry in entries])
        record_bytes = len(entries[0].name) + 1
        done = 0
        while done < len(entries):
            before = done
            with open(requests, "rb", buffering=0) as stdin:
                stdin.seek(done * record_bytes)
                for content in self._batch(stdin, entries[done:] if done else entries):
                    yield content
                    done += 1
            if done == before:  # a fresh process died at once: this object is what kills it
                yield None
                done += 1

    def commit_times(self, commit: Commit, paths: set[bytes]) -> dict[bytes, int]:
        """Return the time in microseconds at which each path was last changed, for the paths where that is known.

        That is the committer's time of the newest commit on the first-parent line that differs from its first parent
        in this path: for a change that came by a merge, the time of the merge. What was last changed behind the edge
        of a shallow clone, or behind a damaged commit, has no known time.
        """
        times: dict[bytes, int] = {}
        missing = set(paths)
        arguments = ("log", "--first-parent", "-m", "--name-status", "--no-renames", "-z", "--format=%H %ct")
        with self._git(*arguments, commit.revision, "--") as process, suppress(UnreadableRepository):
            fields = _fields(_output(process), most_bytes=_MOST_HISTORY_BYTES)
            time = None
            for field in fields:
                # A commit's own field is longer than any status and stands where one would, so no path is taken for it.
                if len(field) > _MOST_STATUS_BYTES:
                    time = self._time_of(field)
                elif (path := next(fields, b"")) in missing and time is not None:
                    times[path] = time
                    missing.discard(path)
                    if not missing:
                        break
        return times

    def _time_of(self, field: bytes) -> int | None:
        """Return the committer's time of a commit of the history, None where it or what it changed is not known."""
        revision, _, seconds = field.decode().partition(" ")
        return _microseconds(int(seconds)) if seconds and revision not in self._repository.shallow else None

    def _batch(self, stdin: IO[bytes], entries: Sequence[Entry]) -> Iterator[bytes | None]:
        """Yield the answers of one git process, ending early where it dies or says what was not asked."""
        with self._git("cat-file", "--batch", "--buffer", stdin=stdin) as process:
            output = _output(process)
            for entry in entries:
                header = output.readline(_PIECE_BYTES).split()
                if len(header) < 2 or header[0] != entry.name.encode():
                    return
                if header[1] == b"missing":
                    yield None
                    continue
                if header[1:] != [b"blob", b"%d" % (entry.size or 0)]:
                    yield None
                    return
                content = output.read(entry.size or 0)
                ended = output.read(1) != b"\n"
                yield None if ended or not _has_name(content, entry.name) else content
                if ended:
                    return

    def _requests(self, names: Sequence[str]) -> Path:
        """Write what to ask git for into a file: read from a pipe, questions and answers could block each other."""
        path = self._folder / "requests"
        path.write_text("\n".join(names) + "\n", encoding="ascii")
        return path

    @contextmanager
    def _git(self, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            [*_within_memory(), _git_program(), "--git-dir=.", *arguments],
            cwd=self._folder,
            env=_environment(self._folder),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=_PIECE_BYTES,
        )
        try:
            yield process
        finally:
            process.kill()
            _output(process).close()
            process.wait()


@contextmanager
def object_store(repository: Repository) -> Iterator[ObjectStore]:
    """Open the objects of a repository in a bare directory of our own, which is removed at the end.

    Raises StarsmithError where that directory cannot be written or git cannot be started: no fault of the repository.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="starsmith-git-") as name:
            _make_bare(Path(name), repository)
            yield ObjectStore(repository, Path(name))
    except OSError as error:
        raise StarsmithError(
            f"git could not be run in a temporary folder: {error.strerror}; "
            "free some space and memory there, or name another folder in TMPDIR."
        ) from error


def _make_bare(folder: Path, repository: Repository) -> None:
    """Make `folder` a bare git directory that borrows the repository's objects and has nothing else of it."""
    (folder / "objects" / "info").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "HEAD").write_text("ref: refs/heads/none\n")
    sha256 = _ALGORITHMS[len(repository.revision)] == "sha256"
    extensions = _SHA256_EXTENSION if sha256 else ""
    (folder / "config").write_text(_CONFIG.format(version=int(sha256), extensions=extensions))
    (folder / "objects" / "info" / "alternates").write_bytes(_quoted(os.path.abspath(repository.objects)))
    if repository.shallow:
        (folder / "shallow").write_text("\n".join(repository.shallow) + "\n")


@functools.cache
def _git_program() -> str:
    program = shutil.which("git")
    if program is None:
        raise StarsmithError("The program 'git' was not found; install it and put it on the PATH.")
    return os.path.abspath(program)


def _environment(folder: Path) -> dict[str, str]:
    """Return the whole environment of a git process: nothing is inherited but where programs are."""
    nowhere = str(folder / "nowhere")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": nowhere,
        "XDG_CONFIG_HOME": nowhere,
        "LC_ALL": "C",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _within_memory() -> list[str]:
    """Return the beginning of a command line that bounds what the rest of it may allocate, from its first moment on.

    A shell does it, since a bound set from outside comes too late on a busy machine. A lower one of the user's stays.
    """
    return ["/bin/sh", "-c", 'ulimit -d "$0" 2>/dev/null; exec "$@"', str(_MOST_GIT_MEMORY // 1024)]


def _quoted(path: str) -> bytes:
    """Quote a path as a line of git's alternates file, whatever characters it has."""
    escaped = b"".join(
        b"\\%03o" % byte if byte < 32 or byte in b'"\\' else bytes((byte,)) for byte in os.fsencode(path)
    )
    return b'"' + escaped + b'"\n'


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def _fields(stream: IO[bytes], *, most_bytes: int) -> Iterator[bytes]:
    """Yield the NUL-terminated fields of a stream; raises UnreadableRepository if they or one of them is too long."""
    rest = b""
    total = 0
    while piece := stream.read(_PIECE_BYTES):
        total += len(piece)
        *fields, rest = (rest + piece).split(b"\0")
        yield from fields
        if total > most_bytes or len(rest) > _MOST_FIELD_BYTES:
            raise UnreadableRepository("its tree or history is larger than any real one")


def _parse_entry(head: bytes, path: bytes) -> Entry:
    mode, kind, name, size = head.split()
    known = kind in _FILE_KINDS and size.isdigit()
    return Entry(path=path, mode=int(mode, 8), name=name.decode(), size=int(size) if known else None)


def _parse_commit(revision: str, text: bytes) -> Commit:
    if _named(b"commit", text, len(revision)) != revision:
        raise UnreadableRepository("the commit that its HEAD names does not hash to its own name; run `git fsck` in it")
    headers = text.partition(b"\n\n")[0]
    tree = _TREE_LINE.match(headers + b"\n")
    if tree is None:
        raise UnreadableRepository("the commit that its HEAD names has no tree; run `git fsck` in it")
    seconds = {person: int(second) for person, second in reversed(_PERSON_LINE.findall(headers))}
    return Commit(
        revision=revision,
        tree=tree[1].decode(),
        authored_at=_microseconds(seconds.get(b"author")),
        committed_at=_microseconds(seconds.get(b"committer")),
    )


def _microseconds(seconds: int | None) -> int | None:
    if seconds is None or not _EARLIEST_SECOND <= seconds <= _LATEST_SECOND:
        return None
    return seconds * 1_000_000


def _has_name(content: bytes, name: str) -> bool:
    return _named(b"blob", content, len(name)) == name


def _named(kind: bytes, content: bytes, length: int) -> str:
    """Return the object name of `content` in hexadecimal digits, `length` of them."""
    digest = hashlib.new(_ALGORITHMS[length], usedforsecurity=False)
    digest.update(b"%s %d\0" % (kind, len(content)))
    digest.update(content)
    return digest.hexdigest()

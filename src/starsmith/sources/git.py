"""The `git` source: repositories on this machine, read without running anything that they bring.

An origin is one repository at its default branch (section 1.2 of the paper's data description); its documents are all
paths of that commit's tree, in the order of their raw bytes. Nothing is fetched or checked out, and no history but the
time of each path's last commit is looked at. How a repository is read safely stands in `git_repository` and
`git_objects`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

from starsmith.document import ID_BYTES, Origin, RawDocument, content_id
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange, cut_points
from starsmith.sources.git_objects import Commit, Entry, ObjectStore, object_store
from starsmith.sources.git_remote import RepositoryName, repository_name
from starsmith.sources.git_repository import (
    Repository,
    UnreadableRepository,
    git_folder,
    is_repository,
    open_repository,
    read_config,
)
from starsmith.sources.path_list import listed_paths

VERSION: Final = 1
"""Raised with every change that makes other documents of the same repository."""

_MOST_DEPTH = 8
"""Folders between a folder of repositories and a repository: host, organisation, groups, repository."""
_DAMAGED = ("error.read", "the object is damaged: git cannot read it or its id is wrong")
_KIND_BITS, _SYMLINK, _SUBMODULE = 0o170000, 0o120000, 0o160000


@dataclass(frozen=True, kw_only=True, slots=True)
class GitSource:
    """Repositories at `path`: one of them, a folder that holds some, or a text file that lists such paths.

    Folders are searched eight levels deep, through no symbolic link and not inside a repository. `commit_times` asks
    for the time of each path's last commit, which takes a walk through the first-parent history.
    """

    path: Path
    commit_times: bool = True

    def locate(self) -> list[str]:
        """Return the folder of every repository, sorted.

        Raises StarsmithError where the path, or one in a list, does not exist or holds no repository.
        """
        path = self.path.absolute()
        if not path.exists():
            raise StarsmithError(f"{path} does not exist; set `path` to a git repository or a folder of them.")
        if path.is_dir():
            return sorted(_found(path, what=str(path)))
        listed = listed_paths(
            path,
            wrong="is neither a folder nor a text file; a list names one repository a line.",
            empty="lists no repository; write one path a line.",
        )
        return sorted({location for each, what in listed for location in _found_by_line(each, what)})

    def describe(self, location: str, *, shard_documents: int) -> Origin:
        """Return the repository at `location` as an origin; what is wrong with it stands in its `error`."""
        name = RepositoryName(url="", owner="", name="")
        try:
            name = repository_name("", Path(location))
            folder = git_folder(Path(location))
            name = repository_name(read_config(folder), Path(location))
            repository = open_repository(folder)
            with object_store(repository) as store:
                commit = store.commit()
                paths = {entry.path for entry in store.listing(commit, PathRange())}
        except UnreadableRepository as error:
            return _failed(name, location, str(error))
        except OSError as error:
            return _failed(name, location, f"it cannot be read: {error.strerror or 'input/output error'}")
        return replace(
            _origin(name, location, self._state(name.url, repository, commit)),
            documents=len(paths),
            cuts=cut_points(paths, shard_documents=shard_documents),
            revision_id=_identifier(commit.revision),
            directory_id=_identifier(commit.tree),
            branch_name=repository.branch,
            revision_date=commit.authored_at,
            committer_date=commit.committed_at,
        )

    def times(self, origin: Origin) -> dict[bytes, int]:
        """Return the time in microseconds of each path's last commit: one walk through the history."""
        with self._opened(origin) as (store, commit):
            return store.commit_times(commit, {entry.path for entry in store.listing(commit, PathRange())})

    def read(
        self, origin: Origin, part: PathRange, settings: CollectSettings, times: Mapping[bytes, int] | None = None
    ) -> Iterator[RawDocument]:
        """Yield the documents of a repository in `part`, sorted by raw path.

        `content_id` is the id that the tree states, also where the content is not taken in; it is None for submodules
        and, in SHA-256 repositories, wherever there is no content to compute it from. Raises StarsmithError where the
        repository is no longer what was described.
        """
        if origin.error is not None:
            return
        with self._opened(origin) as (store, commit):
            entries = sorted(store.listing(commit, part), key=_path)
            if times is None and self.commit_times and entries:
                times = store.commit_times(commit, {entry.path for entry in entries})
            yield from _documents(store, entries, times or {}, settings)

    @contextmanager
    def _opened(self, origin: Origin) -> Iterator[tuple[ObjectStore, Commit]]:
        """Open the repository of an origin at its commit; raises StarsmithError if it is not what was described."""
        try:
            repository = open_repository(git_folder(Path(origin.location)))
            with object_store(repository) as store:
                commit = store.commit()
                if self._state(origin.url, repository, commit) != origin.state:
                    raise StarsmithError(
                        f"{origin.location} was changed while it was read; run the same command again."
                    )
                yield store, commit
        except (UnreadableRepository, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StarsmithError(
                f"{origin.location} can no longer be read: {reason}; run the same command again."
            ) from error

    def _state(self, url: str, repository: Repository, commit: Commit) -> str:
        return _digest(
            VERSION,
            url,
            commit.revision,
            repository.branch,
            repository.shallow if self.commit_times else (),
            repository.fetched_packs,
            self.commit_times,
        )


def _found(path: Path, *, what: str) -> list[str]:
    """Return the repositories at or below `path`; a folder that cannot be looked into is returned as if it were one."""
    if path.name == ".git":
        path = path.parent
    locations: list[str] = []
    pending = [(path, 0)]
    while pending:
        folder, depth = pending.pop()
        if is_repository(folder):
            locations.append(str(folder))
        elif depth < _MOST_DEPTH:
            try:
                with os.scandir(folder) as entries:
                    pending += [
                        (folder / entry.name, depth + 1) for entry in entries if entry.is_dir(follow_symlinks=False)
                    ]
            except OSError:
                locations.append(str(folder))
    if not locations:
        raise StarsmithError(f"{what} holds no git repository; name a repository or a folder with repositories in it.")
    return locations


def _found_by_line(path: Path, what: str) -> list[str]:
    if not path.is_dir():
        raise StarsmithError(f"{what} is not a folder; each line names a git repository or a folder of them.")
    return _found(path, what=what)


def _documents(
    store: ObjectStore, entries: Sequence[Entry], times: Mapping[bytes, int], settings: CollectSettings
) -> Iterator[RawDocument]:
    """Yield one document per path of the sorted `entries`."""
    planned = [(same[0], _refusal(same, settings)) for same in _by_path(entries)]
    contents = store.contents([entry for entry, refusal in planned if refusal is None])
    for entry, refusal in planned:
        content = next(contents) if refusal is None else None
        reason, detail = refusal or ((None, None) if content is not None else _DAMAGED)
        yield RawDocument(
            path=entry.path,
            length=entry.size or 0,
            mode=entry.mode,
            content=content,
            content_id=_content_id(entry, content),
            committed_at=times.get(entry.path),
            reason=reason,
            detail=detail,
        )


def _by_path(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    for _, same in groupby(entries, key=_path):
        yield list(same)


def _refusal(same: Sequence[Entry], settings: CollectSettings) -> tuple[str, str | None] | None:
    """Return why a path is not taken in, before its content is read. A sound tree names no path twice."""
    entry = same[0]
    kind = entry.mode & _KIND_BITS
    if len(same) > 1:
        return "error.read", "the tree names this path more than once"
    if kind == _SUBMODULE:
        return "source.submodule", f"commit {entry.name} of another repository"
    if kind == _SYMLINK and not settings.symlinks:
        return "source.symlink", None
    if entry.size is None:
        return "error.read", "the object is missing from the repository or damaged"
    if entry.size >= settings.max_bytes:
        return "source.too_large", f"{entry.size} bytes; the limit is {settings.max_bytes}"
    return None


def _content_id(entry: Entry, content: bytes | None) -> bytes | None:
    if entry.mode & _KIND_BITS == _SUBMODULE:
        return None
    identifier = _identifier(entry.name)
    return content_id(content) if identifier is None and content is not None else identifier


def _origin(name: RepositoryName, location: str, state: str) -> Origin:
    return Origin(source="git", url=name.url, owner=name.owner, name=name.name, location=location, state=state)


def _failed(name: RepositoryName, location: str, error: str) -> Origin:
    return replace(_origin(name, location, _digest(VERSION, name.url, error)), error=error)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _identifier(name: str) -> bytes | None:
    """Return the 20-byte id of an object name; SHA-256 names are no Software Heritage ids."""
    identifier = bytes.fromhex(name)
    return identifier if len(identifier) == ID_BYTES else None


def _path(entry: Entry) -> bytes:
    return entry.path

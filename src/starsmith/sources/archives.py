"""The `archives` source: archive files on this machine, each an origin, read without unpacking them to any folder.

Tar (plain, gzip, bzip2, xz, Zstandard) and zip: source distributions, wheels, npm packages, crates, and what else comes
so. A document is a member that is no folder; its path is the member's name without the one folder that holds
everything (`name-1.0/`), if there is one. Every such member becomes a row, read or not. An archive of which not all
members can be listed is an origin with an error and no documents, since half of one would look like a whole.

The state of an origin is the SHA-256 of its file, as registries publish it; a change here that makes other documents of
the same file raises `collect.VERSION`. How archives are read safely stands in `archive_readers`, what they are called
in `archive_metadata`. Archives in archives are not opened, and dates of members are not taken.
"""

import errno
import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from starsmith.document import Origin, RawDocument, content_id
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange, cut_points
from starsmith.sources.archive_members import LINK, Listing, Member, UnreadableArchive
from starsmith.sources.archive_metadata import (
    MOST_BYTES,
    distribution_folder,
    identity,
    metadata_path,
    unnamed,
)
from starsmith.sources.archive_readers import SUFFIXES, Archive, opened
from starsmith.sources.archive_streams import allowance
from starsmith.sources.distribution import licence_scope
from starsmith.sources.path_list import listed_paths

_WORKSPACE = frozenset({"workspace.json", "lock", "records", "tables"})
"""What a folder holds that is a workspace of ours: the archives in it are none that anybody collects."""
_NO_LIST = f"is neither a folder, an archive by its name ({', '.join(SUFFIXES)}) nor a text file listing some."
_FAULTS_OF_THIS_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS})


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveSource:
    """Archives at `path`: one of them, a folder that holds some, or a text file that lists such paths.

    Folders are searched through no symbolic link, for regular files named like archives.
    """

    path: Path

    def locate(self) -> list[str]:
        """Return the path of every archive, sorted.

        Raises StarsmithError where the path, or one in a list, does not exist or holds no archive.
        """
        path = self.path.absolute()
        if not path.exists():
            raise StarsmithError(f"{path} does not exist; set `path` to an archive or a folder of them.")
        if path.is_dir() or _is_archive(path.name):
            return sorted(_found(path, what=str(path)))
        listed = listed_paths(path, wrong=_NO_LIST, empty="lists no archive; write one path a line.")
        return sorted({location for each, what in listed for location in _found_by_line(each, what)})

    def describe(self, location: str, *, shard_documents: int) -> Origin:
        """Return the archive at `location` as an origin; what is wrong with it stands in its `error`."""
        file_name = os.path.basename(location)
        named, listing, digest, error = unnamed(file_name, self._place(location)), Listing(), "", None
        try:
            with opened(location) as archive:
                digest = archive.digest()
                named = identity(file_name, digest, None)
                listing = archive.listing()
                named = identity(file_name, digest, _metadata(archive, file_name, listing))
        except UnreadableArchive as unreadable:
            error, listing = str(unreadable), Listing()
        except OSError as failure:
            if failure.errno in _FAULTS_OF_THIS_MACHINE:
                raise
            error, listing = f"It cannot be read: {failure.strerror or 'input/output error'}.", Listing()
        return Origin(
            source="archives",
            url=named.url,
            owner=named.owner,
            name=named.name,
            location=location,
            state=digest or hashlib.sha256((error or "").encode()).hexdigest(),
            documents=len(listing),
            cuts=cut_points(listing.paths(), shard_documents=shard_documents),
            declared_license=named.declared_license,
            error=error,
        )

    def _place(self, location: str) -> str:
        """Return what tells an archive that cannot be read from others of its name: its folder below `path`."""
        root = self.path.absolute()
        folder = os.path.relpath(os.path.dirname(location), root if root.is_dir() else root.parent)
        return "unread" if folder == "." else f"unread/{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}"

    def times(self, origin: Origin) -> dict[bytes, int]:
        """Return nothing: members have dates, which say when they were packed and not when they were written."""
        del origin
        return {}

    def read(
        self, origin: Origin, part: PathRange, settings: CollectSettings, times: Mapping[bytes, int] | None = None
    ) -> Iterator[RawDocument]:
        """Yield the documents of an archive in `part`, sorted by raw path.

        `content_id` is None where the content is not taken in. Raises StarsmithError where the archive is no longer
        what was described.
        """
        del times
        if origin.error is not None:
            return
        try:
            with opened(origin.location) as archive:
                before = os.fstat(archive.descriptor)
                if archive.digest() != origin.state:
                    raise _changed(origin)
                is_wheel = origin.location.lower().endswith(".whl")
                yield from _documents(archive, _listing(origin, archive), part, settings, is_wheel=is_wheel)
                if _times(os.fstat(archive.descriptor)) != _times(before):
                    raise _changed(origin)
        except (UnreadableArchive, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StarsmithError(
                f"{origin.location} can no longer be read: {reason}; run the same command again."
            ) from error


def _times(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _changed(origin: Origin) -> StarsmithError:
    return StarsmithError(f"{origin.location} was changed while it was read; run the same command again.")


def _listing(origin: Origin, archive: Archive) -> Listing:
    if not origin.cuts:
        return archive.listing()
    return _listing_of(origin.location, origin.state)


@functools.lru_cache(maxsize=1)
def _listing_of(location: str, state: str) -> Listing:
    """Return the listing of a large archive. Kept, because every part of it needs all of it."""
    with opened(location) as archive:
        return archive.listing()


def _documents(
    archive: Archive, listing: Listing, part: PathRange, settings: CollectSettings, *, is_wheel: bool
) -> Iterator[RawDocument]:
    members = list(_within_allowance(archive, listing, part, settings))
    contents = archive.contents([each for each in members if _is_wanted(each, settings)], listing.folder)
    folders = _Folders(listing)
    info = distribution_folder(listing.paths()) if is_wheel else None
    for member in members:
        content = next(contents) if _is_wanted(member, settings) else member.target
        yield _document(member, content, licence_scope(member.name, info, folders), settings)


def _is_wanted(member: Member, settings: CollectSettings) -> bool:
    """Whether the content has to be fetched. Links of tar archives have theirs in the header."""
    return member.problem is None and member.size < settings.max_bytes and member.target is None


def _within_allowance(
    archive: Archive, listing: Listing, part: PathRange, settings: CollectSettings
) -> Iterator[Member]:
    """Yield the members in `part`; those of a zip archive past what it may unpack to, counted by path, with a problem.

    All contents that are to be fetched count, so that what is read does not depend on which part is asked for. (What a
    compressed tar archive unpacks to is known once it is listed.)
    """
    most = allowance(archive.size)
    if archive.form != "zip" or listing.total() <= most:
        yield from listing.between(part.start, part.stop)
        return
    total = 0
    for member in listing:
        if _is_wanted(member, settings):
            total += member.size
            if total > most:
                member = replace(member, problem=f"the archive unpacks to more than {most} bytes")
        if member.name in part:
            yield member


def _document(member: Member, content: bytes | str | None, scope: str | None, settings: CollectSettings) -> RawDocument:
    """Return a member as a document: with its content, or with the reason why it has none."""
    document = RawDocument(
        path=member.name, length=member.size, mode=member.mode, content=None, content_id=None, licence_scope=scope
    )
    if member.problem is not None or isinstance(content, str):
        return replace(document, reason="error.read", detail=member.problem or str(content))
    if content is None:
        detail = f"{member.size} bytes; the limit is {settings.max_bytes}"
        return replace(document, reason="source.too_large", detail=detail)
    document = replace(document, content_id=content_id(content), length=len(content))
    if member.mode == LINK and not settings.symlinks:
        return replace(document, reason="source.symlink")
    return replace(document, content=content)


class _Folders:
    """The folders that hold a document, told from the sorted paths and never listed: there may be very many."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def __contains__(self, folder: object) -> bool:
        if not isinstance(folder, bytes):
            return False
        path = self._listing.first_from(folder + b"/")
        return path is not None and path.startswith(folder + b"/")


def _metadata(archive: Archive, file_name: str, listing: Listing) -> bytes | None:
    """Return the content of the metadata file that an archive of this name should have."""
    path = metadata_path(file_name, listing.paths())
    if path is None:
        return None
    member = next(listing.between(path, None))
    if member.mode == LINK or member.problem is not None or member.size > MOST_BYTES:
        return None
    content = next(archive.contents([member], listing.folder))
    return content if isinstance(content, bytes) else None


def _is_archive(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _found(path: Path, *, what: str) -> list[str]:
    """Return the archives at or below `path`; a folder that cannot be looked into is returned as if it were one."""
    if not path.is_dir():
        return [os.path.realpath(path)]
    locations: list[str] = []
    pending = [str(path)]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as scanned:
                entries = list(scanned)
                if {entry.name for entry in entries} >= _WORKSPACE:
                    continue
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif _is_archive(entry.name) and entry.is_file(follow_symlinks=False):
                        locations.append(entry.path)
        except OSError:
            locations.append(folder)
    if not locations:
        raise StarsmithError(f"{what} holds no archive; name an archive or a folder with archives in it.")
    return locations


def _found_by_line(path: Path, what: str) -> list[str]:
    if not path.is_dir() and not path.is_file():
        raise StarsmithError(f"{what} does not exist; each line names an archive or a folder of them.")
    return _found(path, what=what)

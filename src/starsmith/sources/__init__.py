"""Sources: where documents come from, behind one protocol.

A source finds its origins, describes each of them (what it is, how many documents, where it may be cut) and hands over
their documents in the order of their raw paths. It follows section 1.2 of the paper's data description in what an
origin is. It decides nothing about a document beyond whether its bytes can be taken in: language, licence and filters
are the business of `curate`. It writes nothing anywhere.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starsmith.document import Origin, RawDocument
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings, SourceSettings

_HASH_BYTES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PathRange:
    """A half-open range of raw paths: `start` ≤ path < `stop`; None leaves that side open."""

    start: bytes | None = None
    stop: bytes | None = None

    def __contains__(self, path: bytes) -> bool:
        """Whether `path` lies in the range.

        >>> b"b" in PathRange(start=b"a", stop=b"c"), b"c" in PathRange(start=b"a", stop=b"c"), b"x" in PathRange()
        (True, False, True)
        """
        return (self.start is None or path >= self.start) and (self.stop is None or path < self.stop)


class Source(Protocol):
    """One `[[source]]` of a recipe. Implementations are frozen dataclasses that can be sent to another process."""

    def locate(self) -> list[str]:
        """Return one location per origin, sorted. Cheap: nothing is opened.

        Raises StarsmithError where the configured path does not exist or can hold no origin.
        """
        ...

    def describe(self, location: str, *, shard_documents: int) -> Origin:
        """Open one origin, list it, and say what it is: ids, dates, counts and cuts.

        Never raises for a bad origin: what is wrong with it stands in `Origin.error`.
        """
        ...

    def times(self, origin: Origin) -> dict[bytes, int]:
        """Return the time in microseconds of the last commit of each raw path, for the paths where that is known.

        Asked for where an origin is read in several parts, so that its history is walked once.
        """
        ...

    def read(
        self, origin: Origin, part: PathRange, settings: CollectSettings, times: Mapping[bytes, int] | None = None
    ) -> Iterator[RawDocument]:
        """Yield the origin's documents whose raw path lies in `part`, sorted by raw path.

        `times` is what `times` returned for the origin, if it was asked; otherwise the source finds out by itself.
        A document that cannot be read is yielded without content and with a reason; memory stays bounded by
        `settings.max_bytes`.
        """
        ...


def cut_points(paths: Iterable[bytes], *, shard_documents: int) -> tuple[bytes, ...]:
    """Return the sorted raw paths at which an origin may be cut, on average one in `shard_documents`.

    A path is a cut because of its own hash, so an added or removed file moves no other cut. An origin of fewer
    than `shard_documents` paths is not cut at all; neither is there a cut at its first path.

    >>> cut_points([b"a", b"b"], shard_documents=3)
    ()
    """
    ordered = sorted(paths)
    if len(ordered) < shard_documents:
        return ()
    limit = 2 ** (8 * _HASH_BYTES)
    return tuple(path for path in ordered[1:] if _path_hash(path) * shard_documents < limit)


def open_source(settings: SourceSettings, base: Path) -> Source:
    """Return the source that `settings` describe; relative paths start at `base`, the recipe's folder.

    Raises StarsmithError for a kind that does not exist, or a `git` or `archives` source without a path.
    """
    if settings.kind == "git":
        from starsmith.sources.git import GitSource

        if not settings.path:
            raise StarsmithError("A source of kind 'git' has no path: set `path` to a repository or a folder of them.")
        return GitSource(path=base / Path(settings.path).expanduser(), commit_times=settings.commit_times)
    if settings.kind == "installed":
        from starsmith.sources.installed import InstalledSource

        path = str(base / Path(settings.path).expanduser()) if settings.path else ""
        return InstalledSource(path=path, standard_library=settings.standard_library)
    if settings.kind == "archives":
        from starsmith.sources.archives import ArchiveSource

        if not settings.path:
            raise StarsmithError(
                "A source of kind 'archives' has no path: set `path` to an archive or a folder of them."
            )
        return ArchiveSource(path=base / Path(settings.path).expanduser())
    raise StarsmithError(f"A source cannot be of kind {settings.kind!r}; it can be 'git', 'installed' or 'archives'.")


def _path_hash(path: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(path, digest_size=_HASH_BYTES).digest(), "big")

"""An archive file, opened: its form, its digest, the listing of its members, and their contents in the listing's order.

The form is told by the first bytes, for `.zip` and `.whl` by the name. Nothing is unpacked to a named file. A plain tar
archive and a zip archive are read where their data lie. In a compressed tar archive data can be reached only in its own
order, so those that are wanted go through an anonymous temporary file (in memory while they are small) into the order
of the paths. No content is looked into: an archive in an archive is a content like any other.
"""

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from starsmith.sources import archive_tar, archive_zip
from starsmith.sources.archive_members import Listing, Member, UnreadableArchive
from starsmith.sources.archive_streams import Stream, allowance, unpacked

ZIP_SUFFIXES: Final = (".zip", ".whl")
SUFFIXES: Final = (*ZIP_SUFFIXES, ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".crate")

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\3\4": "zip",
    b"PK\5\6": "zip",
}
_DIGEST_PIECE = 1024 * 1024
_MEMORY_BYTES = 16 * 1024 * 1024
"""Contents of a compressed tar archive that are kept in memory rather than on disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An open archive file. `form` is "zip" or how the tar archive is packed, "stored" being not at all."""

    descriptor: int
    size: int
    form: str

    def digest(self) -> str:
        """Return the SHA-256 of the file in hex."""
        digest = hashlib.sha256()
        read = archive_zip.reader(self.descriptor, 0, self.size)
        while piece := read(_DIGEST_PIECE):
            digest.update(piece)
        return digest.hexdigest()

    def listing(self) -> Listing:
        """Return the members by path; raises UnreadableArchive where not all of them can be listed."""
        if not self.size:
            raise UnreadableArchive("It is an empty file.")
        if self.form == "zip":
            found = archive_zip.listing(self.descriptor, self.size)
        else:
            found = Listing()
            for member in archive_tar.members(self._stream()):
                found.add(member)
        found.settle()
        return found

    def contents(self, members: Sequence[Member], folder: bytes) -> Iterator[bytes | str]:
        """Yield the content of each of the members that lie in `folder`, or why it cannot be had.

        Raises UnreadableArchive where a tar archive that could be listed can no longer be unpacked.
        """
        if self.form == "zip":
            return self._inflated(members, folder)
        if self.form == "stored":
            return (os.pread(self.descriptor, member.size, member.offset) for member in members)
        return self._spooled(members)

    def _stream(self) -> Stream:
        most = None if self.form == "stored" else allowance(self.size)
        return Stream(unpacked(archive_zip.reader(self.descriptor, 0, self.size), self.form), most=most)

    def _inflated(self, members: Iterable[Member], folder: bytes) -> Iterator[bytes | str]:
        for member in members:
            try:
                name = folder + b"/" + member.name if folder else member.name
                yield archive_zip.content(self.descriptor, member, name=name)
            except archive_zip.Damaged as damage:
                yield str(damage)

    def _spooled(self, members: Sequence[Member]) -> Iterator[bytes | str]:
        """Copy the wanted data to a file without a name, and read them from there in the order asked for."""
        places: dict[int, int] = {}
        with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as spool:
            stream = self._stream()
            for member in sorted(members, key=lambda each: each.offset):
                stream.skip(member.offset - stream.position)
                places[member.offset] = spool.tell()
                _copy(stream, member.size, spool)
            for member in members:
                spool.seek(places[member.offset])
                yield spool.read(member.size)


def _copy(stream: Stream, size: int, spool: IO[bytes]) -> None:
    for piece in stream.pieces(size):
        spool.write(piece)


@contextmanager
def opened(location: str) -> Iterator[Archive]:
    """Open an archive file and nothing else: no link is followed, no pipe or device waited for.

    Raises OSError where it cannot be opened.
    """
    descriptor = os.open(location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield Archive(descriptor=descriptor, size=facts.st_size, form=_form(descriptor, location))
    finally:
        os.close(descriptor)


def _form(descriptor: int, location: str) -> str:
    if location.lower().endswith(ZIP_SUFFIXES):
        return "zip"
    start = os.pread(descriptor, max(map(len, _MAGIC)), 0)
    return next((form for magic, form in _MAGIC.items() if start.startswith(magic)), "stored")

"""Unpacked streams: gzip, bzip2, xz, Zstandard and deflate, read piece by piece and never beyond an allowance.

A decompressor is asked for a limited number of bytes at a time and may use a limited amount of memory, so what a few
bytes can unpack to bounds neither memory nor, with the allowance, work. No archive format is known here.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

import pyarrow as pa

from starsmith.sources.archive_members import UnreadableArchive

Read = Callable[[int], bytes]
"""Returns the next bytes, at most as many as asked for; none at the end."""

PIECE_BYTES: Final = 256 * 1024
_INPUT_BYTES = 32 * 1024
_MOST_STREAMS = 100_000
"""Compressed streams one after the other in one file, as parallel compressors write them: 90 GB of pbzip2's."""
_XZ_MEMORY = 100 * 1024 * 1024
"""`xz -9` needs 65 MiB to unpack; what needs more was made by hand. Zstandard refuses windows above 128 MiB itself."""

_LONGEST_MAGIC = 6

FREE_BYTES = 64 * 1024 * 1024
MOST_RATIO = 250
MOST_BYTES = 4 * 1024**3


def allowance(size: int) -> int:
    """Return how many bytes an archive of `size` bytes may unpack to.

    250 times its size, between 64 MiB and 4 GiB. Source packages unpack to 3 to 10 times theirs; deflate can reach
    1,032 and the others far more.

    >>> allowance(1000) == 64 * 1024**2, allowance(1024**2) == 250 * 1024**2, allowance(1024**3) == 4 * 1024**3
    (True, True, True)
    """
    return min(MOST_BYTES, max(FREE_BYTES, MOST_RATIO * size))


def unpacked(read: Read, form: str, *, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """Yield the pieces that compressed bytes unpack to, each of at most `piece_bytes` bytes.

    `form` is one of "stored", "deflate", "gzip", "bzip2", "xz", "zstd". Raises UnreadableArchive where the bytes are
    damaged, cut off, or ask for more memory than any real file.
    """
    try:
        yield from _FORMS[form](read, piece_bytes)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnreadableArchive(f"Its {form} data are damaged, cut off or made to use up memory.") from None


def _stored(read: Read, most: int) -> Iterator[bytes]:
    while piece := read(most):
        yield piece


def _deflate(read: Read, most: int) -> Iterator[bytes]:
    yield from _inflated(read, b"", most, zlib.decompressobj(wbits=-zlib.MAX_WBITS))


def _gzip(read: Read, most: int) -> Iterator[bytes]:
    rest = read(_INPUT_BYTES)
    for _ in range(_MOST_STREAMS):
        rest = yield from _inflated(read, rest, most, zlib.decompressobj(wbits=16 + zlib.MAX_WBITS))
        # What follows the last stream is padding, or rubbish that other programs pass over too.
        if not (rest := _next_stream(read, rest)).startswith(b"\x1f\x8b"):
            return
    raise EOFError


def _inflated(read: Read, rest: bytes, most: int, decompressor: Any) -> Generator[bytes, None, bytes]:
    """Yield what one zlib stream unpacks to; return the input behind it."""
    while not decompressor.eof:
        rest = rest or read(_INPUT_BYTES)
        if not rest:
            raise EOFError
        piece = decompressor.decompress(rest, most)
        rest = decompressor.unconsumed_tail
        yield piece
    rest = decompressor.unused_data
    return rest


def _bzip2(read: Read, most: int) -> Iterator[bytes]:
    return _streams(read, most, bz2.BZ2Decompressor, b"BZh")


def _xz(read: Read, most: int) -> Iterator[bytes]:
    return _streams(read, most, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), b"\xfd7zXZ\0")


def _streams(read: Read, most: int, decompressors: Callable[[], Any], magic: bytes) -> Iterator[bytes]:
    """Yield what the streams in a file unpack to, one after the other."""
    rest = read(_INPUT_BYTES)
    for _ in range(_MOST_STREAMS):
        decompressor = decompressors()
        while not decompressor.eof:
            if decompressor.needs_input:
                rest = rest or read(_INPUT_BYTES)
                if not rest:
                    raise EOFError
            yield decompressor.decompress(rest, most)
            rest = b""
        if not (rest := _next_stream(read, decompressor.unused_data)).startswith(magic):
            return
    raise EOFError


def _next_stream(read: Read, rest: bytes) -> bytes:
    """Return what follows a stream: enough of it to tell whether another begins."""
    return rest if len(rest) >= _LONGEST_MAGIC else rest + read(_INPUT_BYTES)


class _Raw(io.RawIOBase):
    """A `Read` as a file, for Arrow."""

    def __init__(self, read: Read) -> None:
        super().__init__()
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _zstd(read: Read, most: int) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(_Raw(read), mode="r"), "zstd") as stream:
        while piece := stream.read(most):
            yield piece


_FORMS: Final[dict[str, Callable[[Read, int], Iterator[bytes]]]] = {
    "stored": _stored,
    "deflate": _deflate,
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstd": _zstd,
}


class Stream:
    """Reads pieces forward only, as many bytes at a time as asked for, within an allowance (None: no limit)."""

    def __init__(self, pieces: Iterator[bytes], *, most: int | None) -> None:
        self._pieces, self._most = pieces, most
        self._piece, self._at, self._taken = b"", 0, 0

    @property
    def position(self) -> int:
        """Bytes handed out so far."""
        return self._taken - len(self._piece) + self._at

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        if len(self._piece) - self._at >= size:
            self._at += size
            return self._piece[self._at - size : self._at]
        return b"".join(self.pieces(size))

    def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes; raises UnreadableArchive where the stream ends before."""
        data = self.read(size)
        if len(data) < size:
            raise UnreadableArchive("It is cut off: it ends within a member.")
        return data

    def skip(self, size: int) -> None:
        """Pass over `size` bytes; raises UnreadableArchive where the stream ends before."""
        if sum(map(len, self.pieces(size))) < size:
            raise UnreadableArchive("It is cut off: it ends within a member.")

    def drain(self) -> None:
        """Read to the end, so that check sums at the end are held against what was read."""
        while self._refill():
            self._at = len(self._piece)

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes in pieces, fewer at the end."""
        while size > 0 and (self._at < len(self._piece) or self._refill()):
            piece = self._piece[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def _refill(self) -> bool:
        """Fetch the next piece that is not empty; return whether there was one."""
        self._piece, self._at = next((piece for piece in self._pieces if piece), b""), 0
        self._taken += len(self._piece)
        if self._most is not None and self._taken > self._most:
            raise UnreadableArchive(f"It unpacks to more than {self._most} bytes, far more than its size lets expect.")
        return bool(self._piece)

"""Zip archives: the members of one by its central directory, and the content of one member.

Follows the format's specification (APPNOTE 6.3): the central directory is what counts, wherever in the file it lies.
Every size in it is a claim that is held against the data. Names stay the bytes they are; the flag that calls them UTF-8
and the field that gives them anew in Unicode are not believed.
"""

import os
import stat
import struct
import zlib
from typing import Final

import numpy as np

from starsmith.sources.archive_members import FILE, LINK, PROGRAM, Listing, Member, UnreadableArchive, without_dots
from starsmith.sources.archive_streams import PIECE_BYTES, Read, Stream, unpacked

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_BYTES = 20
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 65535
_ABSENT_32 = 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UNIX_SYSTEMS = (3, 19)
"""Hosts whose files have modes: Unix and macOS."""

_METHODS: Final = {0: "stored", 8: "deflate", 12: "bzip2", 93: "zstd", 95: "xz"}
_OVERLAP = "its data overlap those of another member"
_MOST_SIZE = 1 << 40
_LIES = "its sizes contradict each other or lie outside of the archive"


class Damaged(Exception):
    """One member cannot be read; the message says why in a few words."""


def listing(descriptor: int, size: int) -> Listing:
    """Return the members of a zip archive of `size` bytes; raises UnreadableArchive where it has no sound directory."""
    start, length, shift = _directory(descriptor, size)
    stream = Stream(unpacked(reader(descriptor, start, length), "stored"), most=None)
    found = Listing()
    while stream.position < length:
        entry = _entry(stream, shift=shift, end=start)
        if entry is not None:
            found.add(entry)
    _refuse_overlaps(found)
    return found


def reader(descriptor: int, start: int, length: int) -> Read:
    """Return what reads a range of an open file from its beginning, however often the file is read elsewhere."""
    stop = start + length

    def read(size: int) -> bytes:
        nonlocal start
        piece = os.pread(descriptor, max(0, min(size, stop - start)), start)
        start += len(piece)
        return piece

    return read


def _directory(descriptor: int, size: int) -> tuple[int, int, int]:
    """Return where the central directory begins, its length, and by how much all offsets are off.

    They are where something was put before the archive, as before one that unpacks itself.
    """
    tail_start = max(0, size - _LONGEST_COMMENT - _END.size)
    tail = os.pread(descriptor, size - tail_start, tail_start)
    place = _end_record(tail)
    _, disk, _, _, _, length, offset, _ = _END.unpack_from(tail, place)
    end = tail_start + place
    place_64 = place - _LOCATOR_BYTES - _END_64.size
    locator = tail[place - _LOCATOR_BYTES : place] if place >= _LOCATOR_BYTES else b""
    if locator.startswith(b"PK\6\7") and place_64 >= 0 and tail.startswith(b"PK\6\6", place_64):
        _, _, _, _, disk, _, _, _, length, offset = _END_64.unpack_from(tail, place_64)
        end = tail_start + place_64
    start = end - length
    if disk or start < 0 or start < offset:
        raise UnreadableArchive("Its zip directory does not lie where it says, or in another file.")
    return start, length, start - offset


def _end_record(tail: bytes) -> int:
    """Return where the last end record stands; one whose comment reaches just to the end of the file comes first."""
    places = []
    place = tail.rfind(b"PK\5\6")
    while place >= 0:
        if place + _END.size <= len(tail):
            places.append(place)
            if place + _END.size + _END.unpack_from(tail, place)[-1] == len(tail):
                return place
        place = tail.rfind(b"PK\5\6", 0, place)
    if not places:
        raise UnreadableArchive("It is no zip archive, or its end is cut off.")
    return places[0]


def _entry(stream: Stream, *, shift: int, end: int) -> Member | None:
    """Read the next entry of the central directory; None where it is a folder."""
    fixed = _CENTRAL.unpack(stream.exactly(_CENTRAL.size))
    magic, _, host, _, _, flags, method, _, _, crc, stored, size, name_length, extra_length, comment, _, _ = fixed[:17]
    outer, offset = fixed[17:]
    if magic != b"PK\1\2":
        raise UnreadableArchive("Its zip directory is damaged.")
    name = stream.exactly(name_length)
    extra = stream.exactly(extra_length)
    stream.skip(comment)
    size, stored, offset = _wide(extra, size, stored, offset)
    offset += shift
    if name.endswith(b"/") and not size:
        return None
    mode = outer >> 16 if host in _UNIX_SYSTEMS else 0
    problem = _problem(name, mode, flags, method)
    if size > _MOST_SIZE or offset + _LOCAL.size + name_length + stored > end:
        problem, size, stored, offset = problem or _LIES, 0, 0, end
    return Member(
        name=name,
        size=size,
        offset=offset,
        mode=_kind(mode),
        stored=stored,
        method=method,
        crc=crc,
        problem=problem,
    )


def _wide(extra: bytes, *numbers: int) -> tuple[int, ...]:
    """Return size, stored size and offset, each from the zip64 field where the entry has no room for it."""
    wide = _extra_field(extra, 1)
    found = []
    for number in numbers:
        if number == _ABSENT_32 and len(wide) >= 8:
            number, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        found.append(number)
    return tuple(found)


def _extra_field(extra: bytes, wanted: int) -> bytes:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == wanted:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def _kind(mode: int) -> int:
    if stat.S_ISLNK(mode):
        return LINK
    return PROGRAM if mode & stat.S_IXUSR else FILE


def _problem(name: bytes, mode: int, flags: int, method: int) -> str | None:
    if name.endswith(b"/"):
        return "a folder that has content"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFLNK):
        return "a device, pipe or other special file"
    if flags & _ENCRYPTED:
        return "it is encrypted"
    if method not in _METHODS:
        return f"it is packed by a method that is not read ({method})"
    return None


def _refuse_overlaps(found: Listing) -> None:
    """Refuse members that share bytes with others, which no program makes and which multiplies what unpacks."""
    offsets = np.array(found.offsets(), np.int64)
    if not len(offsets):
        return
    order = np.argsort(offsets, kind="stable")
    starts = offsets[order]
    ends = starts + _LOCAL.size + np.array(found.stored(), np.int64)[order]
    furthest = np.maximum.accumulate(ends)
    # Which member reaches furthest so far: the last one whose own end is the furthest.
    reaching = np.maximum.accumulate(np.where(ends == furthest, np.arange(len(ends)), 0))
    overlapping = np.flatnonzero(starts[1:] < furthest[:-1])
    for place in np.union1d(overlapping + 1, reaching[overlapping]):
        found.refuse(int(order[place]), _OVERLAP)


def content(descriptor: int, member: Member, *, name: bytes) -> bytes:
    """Return the content of a member, having held its `name`, sizes and check sum against it; raises Damaged."""
    local = os.pread(descriptor, _LOCAL.size, member.offset)
    if len(local) < _LOCAL.size or not local.startswith(b"PK\3\4"):
        raise Damaged("its local header is damaged")
    name_length, extra_length = _LOCAL.unpack(local)[-2:]
    if without_dots(os.pread(descriptor, name_length, member.offset + _LOCAL.size)) != name:
        raise Damaged("its local header gives it another name")
    start = member.offset + _LOCAL.size + name_length + extra_length
    # A member that holds more than it says is found out one byte beyond, whatever it would unpack to.
    pieces = unpacked(
        reader(descriptor, start, member.stored),
        _METHODS[member.method],
        piece_bytes=min(PIECE_BYTES, member.size + 1),
    )
    stream = Stream(pieces, most=None)
    try:
        data = stream.read(member.size + 1)
    except UnreadableArchive:
        raise Damaged("its packed data are damaged") from None
    if len(data) != member.size:
        raise Damaged("its size is not the declared one")
    if zlib.crc32(data) != member.crc:
        raise Damaged("its check sum is wrong")
    return data

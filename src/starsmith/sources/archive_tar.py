"""Tar archives: the members of one, from its unpacked bytes. Knows ustar, GNU's long names and sparse files, and pax.

Follows POSIX.1 in the format and GNU tar in what it adds. Only names, kinds, sizes and the executable bit are looked
at; owners, times and extended attributes are not. An archive whose headers do not lead from one to the next cannot be
listed completely, so it is not listed at all.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from starsmith.sources.archive_members import FILE, LINK, MOST_MEMBERS, PROGRAM, Member, UnreadableArchive
from starsmith.sources.archive_streams import Stream

BLOCK: Final = 512
_ZEROS = bytes(BLOCK)
_OWNER_MAY_RUN = 0o100
_MOST_SIZE = 1 << 60

MOST_EXTENDED_BYTES = 1024 * 1024
"""Largest extended header that is read: names, and attributes of which Linux keeps 64 KiB a file."""
MOST_EXTENDED_BYTES_TOGETHER = 256 * 1024 * 1024
_MOST_RECORDS = 1000
_OCTAL = re.compile(rb"[0-7]+")
_LENGTH = re.compile(rb"([1-9][0-9]{0,7}) ")

_REGULAR, _LINK, _FOLDER = (b"0", b"\0", b"7"), b"2", b"5"
_SPECIAL = {
    b"1": "a hard link: the content is that of another member",
    b"3": "a device, pipe or other special file",
    b"4": "a device, pipe or other special file",
    b"6": "a device, pipe or other special file",
    b"S": "a sparse file: not all of its bytes are there",
}
_LONG_NAME, _LONG_LINK, _EXTENDED, _EXTENDED_FOR_ALL, _SPARSE = b"L", b"K", (b"x", b"X"), b"g", b"S"
_UNKNOWN = "a member of a kind that is not known"
_BAD_EXTENDED = "its extended header is damaged or larger than any real one"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Extension:
    """What stands before a header and overrides it."""

    name: bytes | None = None
    target: bytes | None = None
    size: int | None = None
    sparse: bool = False
    problem: str | None = None


def members(stream: Stream) -> Iterator[Member]:
    """Yield the members in the archive's order; raises UnreadableArchive where there is no way to go on."""
    extension = _Extension()
    extended = count = 0
    while header := _header(stream, first=count == 0):
        count += 1
        if count > 4 * MOST_MEMBERS:
            raise UnreadableArchive(f"It has more than {4 * MOST_MEMBERS} headers.")
        kind, size = header[156:157], _size(header)
        if kind in (_LONG_NAME, _LONG_LINK, _EXTENDED_FOR_ALL, *_EXTENDED):
            extended += size
            if extended > MOST_EXTENDED_BYTES_TOGETHER:
                raise UnreadableArchive("Its extended headers are larger than any real ones.")
            extension = _extended(stream, kind, size, extension)
            continue
        if extension.size is not None:
            size = extension.size
        yield from _member(stream, header, kind, size, extension)
        extension = _Extension()
    stream.drain()


def _header(stream: Stream, *, first: bool) -> bytes:
    """Return the next header, or nothing at the end, which is a block of zeros or, in some archives, no block."""
    block = stream.read(BLOCK)
    if block == _ZEROS or (not block and not first):
        return b""
    if len(block) == BLOCK and _adds_up(block):
        return block
    raise UnreadableArchive(
        "It is no archive of a known form." if first else f"The header before byte {stream.position} is damaged."
    )


def _adds_up(block: bytes) -> bool:
    """Whether a header's check sum is right, by the standard or as old programs had it, for which bytes had a sign."""
    stated = _number(block[148:156])
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    return stated == total or stated == total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])


def _number(field: bytes) -> int | None:
    """Return the number in a field of a header: octal digits, or GNU's big-endian bytes. None where it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    return int(digits, 8) if _OCTAL.fullmatch(digits) else None


def _size(header: bytes) -> int:
    return _possible(_number(header[124:136]))


def _possible(size: int | None) -> int:
    """Return a size, without which the next header cannot be found; raises UnreadableArchive where it is none."""
    if size is None or size > _MOST_SIZE:
        raise UnreadableArchive("A member's size is negative, enormous or no number.")
    return size


def _padding(size: int) -> int:
    return -size % BLOCK


def _member(stream: Stream, header: bytes, kind: bytes, size: int, extension: _Extension) -> Iterator[Member]:
    """Yield the member of a header, unless it is a folder, and pass over its data."""
    name = _name(header) if extension.name is None else extension.name
    problem = extension.problem or _SPECIAL.get(kind) or (_SPECIAL[_SPARSE] if extension.sparse else None)
    if kind == _LINK:
        target = _text(header[157:257]) if extension.target is None else extension.target
        yield Member(name=name, size=len(target), offset=0, mode=LINK, target=target, problem=problem)
        return
    if kind == _SPARSE:
        _skip_sparse_map(stream, header)
    offset = stream.position
    has_data = kind == _SPARSE or (kind not in _SPECIAL and kind != _FOLDER)
    if kind not in (*_REGULAR, *_SPECIAL):
        problem = problem or _UNKNOWN
    if kind != _FOLDER and not (kind in _REGULAR and name.endswith(b"/") and not size):
        mode = PROGRAM if (_number(header[100:108]) or 0) & _OWNER_MAY_RUN else FILE
        yield Member(name=name, size=size if has_data else 0, offset=offset, mode=mode, problem=problem)
    if has_data:
        stream.skip(size + _padding(size))


def _name(header: bytes) -> bytes:
    name = _text(header[:100])
    # Only POSIX has a prefix here; GNU's own form keeps times in its place.
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _skip_sparse_map(stream: Stream, header: bytes) -> None:
    """Pass over the further blocks of GNU's list of pieces; each says whether another follows."""
    more = header[482]
    while more:
        more = stream.exactly(BLOCK)[504]


def _extended(stream: Stream, kind: bytes, size: int, extension: _Extension) -> _Extension:
    """Read one extended header. One that is too large is passed over, and what it speaks of has a problem."""
    if size > MOST_EXTENDED_BYTES:
        stream.skip(size + _padding(size))
        return replace(extension, problem=_BAD_EXTENDED)
    data = stream.exactly(size)
    stream.skip(_padding(size))
    if kind == _LONG_NAME:
        return replace(extension, name=data.removesuffix(b"\0"))
    if kind == _LONG_LINK:
        return replace(extension, target=_text(data))
    if kind == _EXTENDED_FOR_ALL:
        # It would say the same name or size of every member; what else stands there is of no interest.
        return extension
    return _with_records(extension, data)


def _with_records(extension: _Extension, data: bytes) -> _Extension:
    """Add what a pax header says: records of `length key=value`, each on a line, the last of a key counting."""
    found: dict[bytes, bytes] = {}
    start = 0
    for _ in range(_MOST_RECORDS):
        if start >= len(data) or data[start] == 0:
            return _with_facts(extension, found)
        length = _LENGTH.match(data, start)
        stop = start + int(length[1]) if length else 0
        if length is None or stop > len(data) or stop <= length.end() or data[stop - 1] != ord("\n"):
            break
        key, _, value = data[length.end() : stop - 1].partition(b"=")
        if key in (b"path", b"linkpath", b"size") or key.startswith(b"GNU.sparse."):
            found[key] = value
        start = stop
    return replace(extension, problem=_BAD_EXTENDED)


def _with_facts(extension: _Extension, found: dict[bytes, bytes]) -> _Extension:
    size = extension.size
    if b"size" in found:
        size = _possible(int(found[b"size"]) if re.fullmatch(rb"[0-9]{1,18}", found[b"size"]) else None)
    sparse = any(key.startswith(b"GNU.sparse.") for key in found)
    return replace(
        extension,
        name=found.get(b"GNU.sparse.name", found.get(b"path", extension.name)),
        target=found.get(b"linkpath", extension.target),
        size=size,
        sparse=extension.sparse or sparse,
    )

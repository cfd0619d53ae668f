"""The members of an archive: what a reader found under which name, and the path each of them gets as a document.

A `Listing` keeps up to a million members in little memory. Once all of them are known, `settle` gives each one path of
its own: a leading `./` and the one folder that holds everything (`name-1.0/`) are taken off. What has a name that no
document may have keeps a row, with the name told as well as it can be, and is not read. Nothing here opens anything.

The limits are our own. They bound work and memory for archives that were made to use up either; each stands far above
what packages in registries have.
"""

import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

FILE: Final = 0o100644
PROGRAM: Final = 0o100755
LINK: Final = 0o120000

MOST_MEMBERS = 1_000_000
"""Members of an archive. Listing as many takes 20 s and 220 MB; the sources of Linux are 90,000."""
MOST_NAME_BYTES = 128 * 1024 * 1024
"""Bytes of all names and link targets of an archive together."""
LONGEST_PATH, DEEPEST_PATH = 1024, 100
"""Bytes and folders of a path. Every document makes a row for each folder above it, so depth multiplies."""

_SHOWN_BYTES = 200
_DRIVE = re.compile(rb"[A-Za-z]:[\\/]")
_SEPARATOR = re.compile(rb"[\\/]")
_FACTS = 7
_MOST_NUMBER = (1 << 63) - 1


class UnreadableArchive(Exception):
    """An archive cannot be read, or not all of it; the message is one sentence without a path of this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One thing in an archive that is no folder.

    `mode` is FILE, PROGRAM or LINK. `size` is in bytes as declared. `offset` is where its data begin in the unpacked
    stream of a tar archive, and where its local header begins in a zip archive; `stored`, `method` and `crc` are the
    zip's. `target` is what a link of a tar archive leads to. `problem` says why it is not to be read.
    """

    name: bytes
    size: int
    offset: int
    mode: int = FILE
    stored: int = 0
    method: int = 0
    crc: int = 0
    target: bytes | None = None
    problem: str | None = None


@dataclass(kw_only=True, slots=True)
class Listing:
    """The members of one archive. Before `settle` in the archive's order, afterwards by path, which `name` then is."""

    names: list[bytes] = field(default_factory=list)
    folder: bytes = b""
    _facts: "array[int]" = field(default_factory=lambda: array("q"))
    _targets: dict[int, bytes] = field(default_factory=dict)
    _problems: dict[str | None, int] = field(default_factory=lambda: {None: 0})
    _order: list[int] = field(default_factory=list)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def add(self, member: Member) -> None:
        """Take in the next member; raises UnreadableArchive where there are more than any real archive has."""
        self._bytes += len(member.name) + len(member.target or b"")
        if len(self.names) >= MOST_MEMBERS or self._bytes > MOST_NAME_BYTES:
            raise UnreadableArchive(f"It has more than {MOST_MEMBERS} members, or names of {MOST_NAME_BYTES} bytes.")
        if member.target is not None:
            self._targets[len(self.names)] = member.target
        self._order.append(len(self.names))
        self.names.append(member.name)
        numbers = (member.size, member.offset, member.mode, member.stored, member.method, member.crc)
        self._facts.extend(min(number, _MOST_NUMBER) for number in numbers)
        self._facts.append(self._problem(member.problem))

    def _problem(self, problem: str | None) -> int:
        return self._problems.setdefault(problem, len(self._problems))

    def refuse(self, number: int, problem: str) -> None:
        """Say that a member, numbered in the archive's order, is not to be read; what was said first stays."""
        place = number * _FACTS + _FACTS - 1
        self._facts[place] = self._facts[place] or self._problem(problem)

    def offsets(self) -> Sequence[int]:
        """Return the offsets, by number in the archive's order."""
        return self._facts[1::_FACTS]

    def stored(self) -> Sequence[int]:
        """Return the stored bytes, by number in the archive's order."""
        return self._facts[3::_FACTS]

    def __iter__(self) -> Iterator[Member]:
        return self.between(None, None)

    def between(self, start: bytes | None, stop: bytes | None) -> Iterator[Member]:
        """Yield the members of a settled listing whose paths lie in a half-open range; None leaves a side open."""
        problems = list(self._problems)
        path = self.names.__getitem__
        first = 0 if start is None else bisect_left(self._order, start, key=path)
        last = len(self) if stop is None else bisect_left(self._order, stop, key=path)
        for place in range(first, last):
            number = self._order[place]
            size, offset, mode, stored, method, crc, problem = self._facts[number * _FACTS : (number + 1) * _FACTS]
            yield Member(
                name=self.names[number],
                size=size,
                offset=offset,
                mode=mode,
                stored=stored,
                method=method,
                crc=crc,
                target=self._targets.get(number),
                problem=problems[problem],
            )

    def first_from(self, path: bytes) -> bytes | None:
        """Return the first path of a settled listing that does not come before `path`."""
        place = bisect_left(self._order, path, key=self.names.__getitem__)
        return self.names[self._order[place]] if place < len(self) else None

    def total(self) -> int:
        """Return the bytes of all members as declared."""
        return sum(self._facts[::_FACTS])

    def settle(self) -> None:
        """Give every member its path, and put them in the order of the paths."""
        self._strip_folder(self._name_all())
        self._order.sort(key=self.names.__getitem__)
        self._part_equals()
        self._order.sort(key=self.names.__getitem__)

    def paths(self) -> Iterator[bytes]:
        """Yield the paths in order."""
        return (self.names[number] for number in self._order)

    def _name_all(self) -> frozenset[int]:
        """Take off leading dots and refuse names that no document may have; return the numbers of those."""
        refused = set()
        for number, name in enumerate(self.names):
            self.names[number] = path = without_dots(name)
            if problem := name_problem(path):
                self.refuse(number, problem)
                self.names[number] = showable(path) or b"#%d" % (number + 1)
                refused.add(number)
        return frozenset(refused)

    def _strip_folder(self, refused: frozenset[int]) -> None:
        """Take off the folder that holds every member but those of `refused`."""
        usable = (name for number, name in enumerate(self.names) if number not in refused)
        folder = next(usable, b"").partition(b"/")[0] + b"/"
        if folder == b"/" or not self._holds_all(folder, refused):
            return
        for number, name in enumerate(self.names):
            if number not in refused:
                self.names[number] = name[len(folder) :]
        self.folder = folder[:-1]

    def _holds_all(self, folder: bytes, refused: frozenset[int]) -> bool:
        return all(name.startswith(folder) for number, name in enumerate(self.names) if number not in refused)

    def _part_equals(self) -> None:
        """Leave a path that several members have to the last of them, as unpacking would; the rest are numbered."""
        equal = [
            (before, after)
            for before, after in zip(self._order, self._order[1:], strict=False)
            if self.names[before] == self.names[after]
        ]
        taken = set(self.names) if equal else set()
        for number, _ in equal:
            path = b"%s#%d" % (self.names[number], number + 1)
            while path in taken:
                path += b"#"
            taken.add(path)
            self.names[number] = path
            self.refuse(number, "a later member of the archive has the same name")


def without_dots(name: bytes) -> bytes:
    """Return a name without the `./` that some programs begin each with.

    >>> without_dots(b"././a/./b")
    b'a/./b'
    """
    while name.startswith(b"./"):
        name = name[2:].lstrip(b"/")
    return name


def name_problem(name: bytes) -> str | None:
    """Return why a document may not have this name, or None.

    >>> name_problem(b"../x"), name_problem(b"a/..b/c")
    ('its path leads out of the archive', None)
    """
    if not name:
        return "it has no name"
    if b"\0" in name:
        return "its name holds a NUL byte"
    if name[:1] in (b"/", b"\\") or _DRIVE.match(name) or (b".." in name and b".." in _SEPARATOR.split(name)):
        return "its path leads out of the archive"
    if len(name) > LONGEST_PATH or name.count(b"/") > DEEPEST_PATH:
        return f"its path is longer than {LONGEST_PATH} bytes or {DEEPEST_PATH} folders"
    return None


def showable(name: bytes) -> bytes:
    """Return a name that a row can carry: without NUL, and with a digest in place of what is too long.

    >>> showable(b"a\\0b")
    b'a\\\\x00b'
    """
    shown = name.replace(b"\0", b"\\x00")
    if len(shown) > LONGEST_PATH or shown.count(b"/") > DEEPEST_PATH:
        return shown[:_SHOWN_BYTES] + b"~" + hashlib.sha256(name).hexdigest()[:32].encode()
    return shown

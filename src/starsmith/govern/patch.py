"""Patch: the release that replaced another, made from that other and a delta.

Both come from somewhere else, so each is held against what it says of itself: the old release against its manifest,
what is made against the manifest in the delta. Nothing is written outside the new folder, and no folder is left behind
that is not whole. What a delta holds, and how one is made, stands in `delta`.
"""

import hashlib
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from starsmith.disk import disk_errors
from starsmith.errors import StarsmithError
from starsmith.govern.delta import (
    INDEX,
    ROWS,
    WHOLE,
    Copy,
    Index,
    Insert,
    Rebuilt,
    read_index,
    read_narrow,
    rows_digest,
    schema_as_written,
)
from starsmith.govern.foreign_json import parse
from starsmith.govern.release_folder import FILE, MANIFEST, Manifest, parse_manifest, read_manifest, sha256_of
from starsmith.plain_file import open_plain
from starsmith.table import write_rows

_MEMBER: Final = re.compile(rf"{re.escape(INDEX)}|{re.escape(ROWS)}|{WHOLE}({re.escape(MANIFEST)}|{FILE.pattern})")
_LARGEST_JSON: Final = 256 << 20
_LARGEST_ROW_GROUP: Final = 1 << 30
"""Bytes of a row group in memory: a group of ours ends at 8 MiB of text, so even one huge text stays far below."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patched:
    """A release made from another. `rewritten` are its files with equal rows but other bytes than the original's."""

    folder: str
    files: int
    rebuilt: int
    rewritten: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "release": self.folder,
            "files": self.files,
            "rebuilt": self.rebuilt,
            "equal_rows_only": list(self.rewritten),
        }

    def words(self) -> str:
        """Return what a person reads."""
        said = f"Wrote {self.folder}: {self.files:,} files, {self.rebuilt:,} of them made anew, all as in the manifest."
        if self.rewritten:
            names = ", ".join(self.rewritten)
            said += f"\nEqual in every row, but not in their bytes, to the files of the manifest: {names}."
        return said


def patch(delta: Path, release: Path, out: Path, *, equal_rows: bool) -> Patched:
    """Make the release that `delta` leads to from the old one in the folder `release`; write it to `out`.

    With `equal_rows` a file may have other bytes than the original's, as another version of pyarrow gives it, if its
    rows are equal. Raises StarsmithError if the delta is damaged or for another release, a file of the old release is
    not what its manifest says, or anything comes out otherwise than the new manifest says.
    """
    with _opened(delta) as archive, ExitStack() as stack:
        old = read_manifest(release)
        if old.digest != archive.index.before:
            raise StarsmithError(
                f"The delta {delta} is for the release whose manifest has the SHA-256 {archive.index.before}; "
                f"that of {release} has {old.digest}."
            )
        with disk_errors(str(out)):
            _make(out)
            stack.callback(shutil.rmtree, out, ignore_errors=True)
            work = _Patch(archive=archive, release=release, old=old, out=out, equal_rows=equal_rows)
            work.run()
        stack.pop_all()
    rewritten = tuple(work.rewritten)
    return Patched(
        folder=str(out), files=len(work.archive.after.files), rebuilt=len(archive.index.rebuilt), rewritten=rewritten
    )


def _make(out: Path) -> None:
    try:
        out.mkdir()
    except FileExistsError:
        raise StarsmithError(f"{out} exists already. Choose another folder for the new release.") from None
    except FileNotFoundError:
        raise StarsmithError(f"The folder {out.absolute().parent} does not exist. Make it first.") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Archive:
    """An open delta whose members have been checked."""

    name: str
    zip: zipfile.ZipFile
    index: Index
    after: Manifest

    def extract(self, member: str, target: IO[bytes]) -> None:
        with _damage(self.name), self.zip.open(member) as source:
            shutil.copyfileobj(source, target)


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Say in one sentence whatever a damaged or forged archive makes its readers say."""
    try:
        yield
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, KeyError, pa.ArrowException) as error:
        raise StarsmithError(_damaged(name, error)) from error
    except OSError as error:
        # What Arrow says of a damaged file carries no number of the system.
        if error.errno is not None:
            raise
        raise StarsmithError(_damaged(name, error)) from error


def _damaged(name: str, error: Exception) -> str:
    return f"The delta {name} is damaged: " + str(error).partition("\n")[0].rstrip(".") + "."


@contextmanager
def _opened(delta: Path) -> Iterator[_Archive]:
    name = str(delta)
    with open_plain(delta, name=f"The delta {name}", expected="a zip file") as file, ExitStack() as closing:
        with _damage(name):
            archive = closing.enter_context(zipfile.ZipFile(file))
            _check_members(archive, os.fstat(file.fileno()).st_size)
        index = read_index(parse(_read(archive, name, INDEX), f"{INDEX} of {name}"))
        manifest = _read(archive, name, WHOLE + MANIFEST)
        after = parse_manifest(manifest, f"The manifest in {name}")
        with _damage(name):
            if hashlib.sha256(manifest).hexdigest() != index.after:
                raise ValueError("its manifest is not the one it names")
            _check_index(index, after, {entry.filename for entry in archive.infolist()})
        yield _Archive(name=name, zip=archive, index=index, after=after)


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError for members under other names, compressed, encrypted, twice, or larger than the archive."""
    seen = set()
    for entry in archive.infolist():
        if not _MEMBER.fullmatch(entry.filename) or entry.filename in seen:
            raise ValueError(f"it has a member {entry.filename!a:.80} that no delta has")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise ValueError(f"its member {entry.filename} is compressed or encrypted")
        seen.add(entry.filename)
    if missing := {INDEX, WHOLE + MANIFEST} - seen:
        raise ValueError(f"it has no {min(missing)}")
    if sum(entry.file_size for entry in archive.infolist()) > size:
        raise ValueError("its members are larger than it is itself")


def _check_index(index: Index, after: Manifest, members: set[str]) -> None:
    """Raise ValueError unless every file of the new release is accounted for once, and rows are copied once."""
    rebuilt = [file.path for file in index.rebuilt]
    if sorted([*index.same, *index.whole, *rebuilt]) != sorted(after.files):
        raise ValueError("it does not account for every file of the new release once")
    if members - {INDEX, ROWS, WHOLE + MANIFEST} != {WHOLE + name for name in index.whole}:
        raise ValueError("it does not hold the files that it says it holds")
    if rebuilt and ROWS not in members:
        raise ValueError(f"it has no {ROWS}")
    copies = [each for file in index.rebuilt for each in file.operations if isinstance(each, Copy)]
    ends: dict[str, int] = {}
    for each in sorted(copies, key=lambda copy: (copy.file, copy.first)):
        if each.first < ends.get(each.file, 0):
            raise ValueError(f"it copies a row of {each.file} twice")
        ends[each.file] = each.first + each.rows


def _read(archive: zipfile.ZipFile, name: str, member: str) -> bytes:
    with _damage(name):
        if archive.getinfo(member).file_size > _LARGEST_JSON:
            raise ValueError(f"{member} is larger than any")
        return archive.read(member)


@dataclass(kw_only=True, slots=True)
class _Patch:
    """The making of one release."""

    archive: _Archive
    release: Path
    old: Manifest
    out: Path
    equal_rows: bool
    rewritten: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Write every file; the manifest, which makes a folder a release, is the last."""
        index, after = self.archive.index, self.archive.after
        for folder in sorted({name.split("/")[0] for name in after.files if "/" in name}):
            (self.out / folder).mkdir()
        for name in index.same:
            _link_or_copy(self._source(name), self.out / name)
            self._check(name)
        for name in index.whole:
            self._extract(name)
            self._check(name)
        self._rebuild(index.rebuilt)
        self._extract(MANIFEST)

    def _extract(self, name: str) -> None:
        with (self.out / name).open("xb") as file:
            self.archive.extract(WHOLE + name, file)

    def _source(self, name: str) -> Path:
        """Return where a file of the old release lies, which is as its manifest says."""
        path = self.release / name
        if name not in self.old.files:
            raise StarsmithError(f"The delta {self.archive.name} is damaged: {self.release} lists no {name}.")
        if (found := sha256_of(path)) != self.old.files[name].sha256:
            said = "is missing" if found is None else f"has the SHA-256 {found}"
            raise StarsmithError(f"{path} {said}; the manifest says {self.old.files[name].sha256}. Fetch it again.")
        return path

    def _check(self, name: str) -> None:
        if sha256_of(self.out / name) != self.archive.after.files[name].sha256:
            raise StarsmithError(f"The delta {self.archive.name} is damaged: {name} is not as its manifest says.")

    def _rebuild(self, files: Sequence[Rebuilt]) -> None:
        if not files:
            return
        used = {each.file for file in files for each in file.operations if isinstance(each, Copy)}
        with ExitStack() as stack, _damage(self.archive.name):
            spool = stack.enter_context(tempfile.TemporaryFile(dir=self.out))
            self.archive.extract(ROWS, spool)
            spool.seek(0)
            inserted = stack.enter_context(_Rows.of(spool))
            opened = {name: stack.enter_context(_Rows.of(self._source(name))) for name in sorted(used)}
            position = 0
            for file in files:
                self._write(file, _pieces(file.operations, opened, inserted, position), inserted.schema)
                position += sum(each.rows for each in file.operations if isinstance(each, Insert))

    def _write(self, file: Rebuilt, pieces: Iterator[pa.Table], schema: pa.Schema) -> None:
        path, level = self.out / file.path, self.archive.after.compression_level
        with path.open("xb") as target:
            write_rows(target, schema, pieces, compression_level=level)
        if sha256_of(path) == self.archive.after.files[file.path].sha256:
            return
        if not self.equal_rows:
            raise StarsmithError(self._other_bytes(file.path))
        if not _has_rows(path, file):
            raise StarsmithError(f"The delta {self.archive.name} is damaged: {file.path} comes out with other rows.")
        self.rewritten.append(file.path)

    def _other_bytes(self, name: str) -> str:
        wanted = self.archive.after.versions.get("pyarrow", "of another version")
        if wanted == pa.__version__:
            return f"The delta {self.archive.name} is damaged: {name} is not as its manifest says."
        return (
            f"{name} comes out with other bytes than the manifest says: it was written with pyarrow {wanted}, and this "
            f"is pyarrow {pa.__version__}. Install pyarrow {wanted}, or accept equal rows in other bytes with "
            "--equal-rows."
        )


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the disk has no second names."""
    try:
        # A name in a download cache may itself be a link.
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def _has_rows(path: Path, file: Rebuilt) -> bool:
    """Whether a file that was written holds the rows it should, and each text the digest beside it."""
    if rows_digest(read_narrow(path)) != file.rows_sha256:
        return False
    with pq.ParquetFile(path) as written:
        for batch in written.iter_batches(batch_size=1024, columns=["text_sha256", "content"]):
            for digest, text in zip(batch["text_sha256"].to_pylist(), batch["content"], strict=True):
                if hashlib.sha256(text.as_buffer() or b"").hexdigest() != digest:
                    return False
    return True


def _pieces(
    operations: Sequence[Copy | Insert], old: dict[str, "_Rows"], inserted: "_Rows", position: int
) -> Iterator[pa.Table]:
    """Yield the rows that operations name, the inserted ones from `position` on."""
    for each in operations:
        if isinstance(each, Copy):
            yield from old[each.file].slice(each.first, each.rows)
        else:
            yield from inserted.slice(position, each.rows)
            position += each.rows


@dataclass(kw_only=True, slots=True)
class _Rows:
    """Any rows of a Parquet file by their numbers, one row group in memory."""

    file: Any
    starts: list[int]
    _number: int = -1
    _group: Any = None

    @classmethod
    def of(cls, place: Path | IO[bytes]) -> "_Rows":
        file = pq.ParquetFile(place)
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        if any(group.total_byte_size > _LARGEST_ROW_GROUP for group in groups):
            raise ValueError("a row group is larger than any that a release has")
        starts = [0]
        for group in groups:
            starts.append(starts[-1] + group.num_rows)
        return cls(file=file, starts=starts)

    @property
    def schema(self) -> pa.Schema:
        return schema_as_written(self.file)

    def slice(self, first: int, rows: int) -> Iterator[pa.Table]:
        if first + rows > self.starts[-1]:
            raise ValueError(f"it asks for row {first + rows - 1} where there are {self.starts[-1]}")
        while rows:
            number = int(np.searchsorted(self.starts, first, side="right")) - 1
            if number != self._number:
                self._number, self._group = number, self.file.read_row_group(number)
            taken = min(rows, self.starts[number + 1] - first)
            yield self._group.slice(first - self.starts[number], taken)
            first, rows = first + taken, rows - taken

    def __enter__(self) -> "_Rows":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

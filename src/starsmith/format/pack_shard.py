"""One shard of a pack: the tokens of one data file of a release, and which document each of them comes from.

The shard is a function of the data file (by its digest), the tokenizer, the settings, the pinned rates of what the file
holds, seed and epoch: so it is made once, by whatever worker, and is the same. Files of one repository lie in one data
file, but for a repository so large that it was cut; each part of it is then a unit of its own.

Memory: one row group of contents at a time (8 MiB) and its tokens; fragments wait in a file until their repository is
put together, since its files come in random order.
"""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.document import origin_id
from starsmith.fingerprint import fingerprint
from starsmith.format.choice import Draw
from starsmith.format.encoder import Encoder
from starsmith.format.pack_file import RUNS
from starsmith.format.released_files import IDENTITY, Cell, DataFile, document_ids
from starsmith.format.repository import File, Plan
from starsmith.format.sentinels import END_OF_TEXT
from starsmith.format.settings import FormatSettings
from starsmith.format.tokenizer import Tokenizer
from starsmith.job import Outcome, Progress
from starsmith.storage import Store
from starsmith.table import Part, write_rows

VERSION: Final = 1
BATCH_CHARACTERS: Final = 2 << 20
"""Text that is encoded at a time; tokens of it take up to four times as many bytes."""
RUN_ROWS: Final = 1 << 16

_COLUMNS: Final = (*IDENTITY, "source", "language", "repo_name", "swhid")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What is packed, and how: everything that a shard follows from but its data file and tokenizer."""

    seed: int
    epoch: int
    format: FormatSettings
    rates: tuple[tuple[str, str, float], ...]
    """(source, language, rate) of what the data file holds."""
    share: float
    held_out: float
    is_held_out: bool
    """Whether it is the held-out repositories that are packed, or the others."""

    def takes(self, origin: bytes) -> bool:
        """Whether a repository is in this part of the pack."""
        held_out = Draw(seed=self.seed, epoch=0, document_id=origin).chance("held out", self.held_out)
        if held_out or self.is_held_out:
            return held_out and self.is_held_out
        return self.draw(origin).chance("share", self.share)

    def draw(self, identifier: bytes, *, copy: int = 0) -> Draw:
        return Draw(seed=self.seed, epoch=self.epoch, document_id=identifier, copy=copy)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A document of the data file, without its text."""

    document_id: bytes
    origin: bytes
    cell: Cell
    repo_name: str
    swhid: str
    path: str
    copies: int


@dataclass(frozen=True, slots=True)
class _Fragment:
    """Where the tokens of one copy of a document wait."""

    row: _Row
    start: int
    length: int

    @property
    def document_id(self) -> bytes:
        return self.row.document_id


@dataclass(kw_only=True, slots=True)
class _Unit:
    """One copy of a repository while its files are encoded."""

    name: str
    plan: Plan
    fragments: list[_Fragment] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class PackShard:
    """Write one shard of a pack. `tokenizer_folder` lies in the pack itself."""

    release: Store
    file: DataFile
    folder: str
    tokenizer_folder: str
    tokenizer: str
    wide: bool
    choices: Choices

    def __str__(self) -> str:
        return f"{self.folder}/{self.file.shard}"

    @property
    def fingerprint(self) -> str:
        return fingerprint([VERSION, self.folder, self.file.shard, self.file.part.digest, self.tokenizer, self.choices])

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        encoder = _encoder(store, self.tokenizer_folder, self.tokenizer)
        dtype = np.dtype("<u4" if self.wide else "<u2")
        with store.spool() as waiting, store.spool() as tokens, store.spool() as runs:
            units = self._fragments(waiting, dtype, encoder, progress)
            assembled = _Assembled(waiting, tokens, dtype, encoder)
            write_rows(runs, RUNS, _batches(assembled.runs(units)), compression_level=3)
            parts = {
                "tokens": (self._publish(store, tokens, "tokens", assembled.tokens),),
                "runs": (self._publish(store, runs, "parquet", assembled.documents),),
            }
        return Outcome(parts=parts, counts=assembled.counts)

    def _publish(self, store: Store, file: IO[bytes], ending: str, rows: int) -> Part:
        name, digest, size = store.publish_digested(file, f"{self.folder}/{self.file.shard}-{{digest}}.{ending}")
        return Part(shard=self.file.shard, name=name, rows=rows, bytes=size, digest=digest)

    def _fragments(self, waiting: IO[bytes], dtype: np.dtype[Any], encoder: Encoder, progress: Progress) -> list[_Unit]:
        """Encode every document that is taken; return the units they belong to, in the order of the file."""
        units: dict[tuple[bytes, int], _Unit] = {}
        written = 0
        with self.file.open(self.release) as opened:
            for group in range(opened.row_groups):
                described = self._rows(opened.read_group(group, _COLUMNS))
                if any(row.copies for row in described):
                    contents = opened.read_group(group, ["content"])["content"]
                    for batch in _copies(described, contents):
                        written = self._encode(batch, units, waiting, dtype, encoder, written)
                progress(len(described))
        return list(units.values())

    def _rows(self, rows: pa.Table) -> list[_Row]:
        rates = {(source, language): rate for source, language, rate in self.choices.rates}
        taken: dict[str, bytes | None] = {}
        found = []
        columns = [
            rows[name].to_pylist() for name in ("origin_url", "source", "language", "repo_name", "swhid", "path")
        ]
        for identifier, url, source, language, name, swhid, path in zip(document_ids(rows), *columns, strict=True):
            if url not in taken:
                origin = origin_id(url or "")
                taken[url] = origin if self.choices.takes(origin) else None
            cell, kept = (source or "", language or ""), taken[url]
            copies = self.choices.draw(identifier).copies("mixture", rates[cell]) if kept else 0
            row = _Row(
                document_id=identifier,
                origin=kept or b"",
                cell=cell,
                repo_name=name or "",
                swhid=swhid or "",
                path=path or "",
                copies=copies,
            )
            found.append(row)
        return found

    def _encode(
        self,
        batch: Sequence[tuple[_Row, int, str]],
        units: dict[tuple[bytes, int], _Unit],
        waiting: IO[bytes],
        dtype: np.dtype[Any],
        encoder: Encoder,
        written: int,
    ) -> int:
        """Encode some (row, copy, text) and note where their tokens wait; return how many do."""
        fragments = []
        for row, copy, text in batch:
            unit = units.get((row.origin, copy))
            if unit is None:
                plan = Plan.of(self.choices.format, self.choices.draw(row.origin, copy=copy))
                unit = units[row.origin, copy] = _Unit(name=row.repo_name, plan=plan)
            file = File(path=row.path.removeprefix("/"), text=text, document_id=row.document_id)
            fragments.append((unit, row, unit.plan.fragment(file)))
        ids, lengths = woven([told for _, _, told in fragments], encoder, dtype)
        waiting.write(ids.tobytes())
        for (unit, row, _), length in zip(fragments, lengths, strict=True):
            unit.fragments.append(_Fragment(row, written, length))
            written += length
        return written


@lru_cache(maxsize=2)
def _encoder(store: Store, folder: str, expected: str) -> Encoder:
    """Return the encoder of a tokenizer, once in a process."""
    tokenizer = Tokenizer.open(store.file(folder))
    assert tokenizer.fingerprint == expected, "the pack's own copy of the tokenizer"
    return tokenizer.encoder


def _copies(described: Sequence[_Row], contents: pa.ChunkedArray) -> Iterator[list[tuple[_Row, int, str]]]:
    """Yield (row, number of the copy, text) of every document that is taken, in batches of bounded text."""
    batch: list[tuple[_Row, int, str]] = []
    size = 0
    for row, content in zip(described, contents, strict=True):
        if not row.copies:
            continue
        text = content.as_py() or ""
        for copy in range(row.copies):
            batch.append((row, copy, text))
            size += len(text)
            if size >= BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def woven(
    fragments: Sequence[Sequence[int | str]], encoder: Encoder, dtype: np.dtype[Any]
) -> tuple[npt.NDArray[Any], list[int]]:
    """Return the ids of fragments after each other, and how many each has. A number is an id, a text is encoded."""
    ids, counts = encoder.encode_texts([each for told in fragments for each in told if isinstance(each, str)])
    sentinels = sum(isinstance(each, int) for told in fragments for each in told)
    out = np.empty(len(ids) + sentinels, dtype)
    lengths: list[int] = []
    at = place = 0
    sizes = iter(counts.tolist())
    for told in fragments:
        first = at
        for each in told:
            if isinstance(each, int):
                out[at] = each
                at += 1
            else:
                size = next(sizes)
                out[at : at + size] = ids[place : place + size]
                at, place = at + size, place + size
        lengths.append(at - first)
    return out, lengths


class _Assembled:
    """Units put together: tokens written in order, runs yielded beside them."""

    def __init__(self, waiting: IO[bytes], target: IO[bytes], dtype: np.dtype[Any], encoder: Encoder) -> None:
        waiting.flush()
        self._is_empty = waiting.tell() == 0
        self._waiting, self._target, self._dtype, self._encoder = waiting, target, dtype, encoder
        self.tokens = self.documents = self.units = 0
        self._by_cell: dict[Cell, list[int]] = {}

    @property
    def counts(self) -> dict[str, int]:
        """What came out: of all, and of each source and language."""
        cells = {
            f"{what}/{source}/{language}": number
            for (source, language), numbers in sorted(self._by_cell.items())
            for what, number in zip(("documents", "tokens"), numbers, strict=True)
        }
        return {"tokens": self.tokens, "units": self.units, "documents": self.documents} | cells

    def runs(self, units: Sequence[_Unit]) -> Iterator[dict[str, Any]]:
        """Write every unit; yield the rows of RUNS."""
        if self._is_empty:
            return
        with mmap.mmap(self._waiting.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            for unit in units:
                yield from self._unit(unit, mapped)

    def _unit(self, unit: _Unit, mapped: mmap.mmap) -> Iterator[dict[str, Any]]:
        width = self._dtype.itemsize
        opening, _ = woven([unit.plan.opening(unit.name)], self._encoder, self._dtype)
        self._target.write(opening.tobytes())
        before = len(opening)
        order = unit.plan.order(unit.fragments)
        for number, fragment in enumerate(order):
            self._target.write(mapped[fragment.start * width : (fragment.start + fragment.length) * width])
            is_last = number == len(order) - 1
            length = before + fragment.length + is_last
            yield self._run(fragment.row, length)
            self.tokens, before = self.tokens + length, 0
        self._target.write(np.array([END_OF_TEXT], self._dtype).tobytes())
        self.units += 1

    def _run(self, row: _Row, length: int) -> dict[str, Any]:
        self.documents += 1
        numbers = self._by_cell.setdefault(row.cell, [0, 0])
        numbers[0] += 1
        numbers[1] += length
        return {
            "start": self.tokens,
            "length": length,
            "unit": self.units,
            "document_id": row.document_id,
            "swhid": row.swhid,
            "repo_name": row.repo_name,
            "path": row.path,
            "kind": "repository",
        }


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.Table]:
    while batch := list(islice(rows, RUN_ROWS)):
        yield pa.Table.from_pylist(batch, RUNS)

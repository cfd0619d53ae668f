"""Packing: a release becomes shards of tokens that training reads as they are.

File order, metadata and fill in the middle are chosen here, once for each epoch, so that training needs no tokenizer
and every token it saw can be named. Tokenizer and rates are pinned: packing a later release into the same folder, or
like an earlier pack, changes the shards whose data files changed and no other. Work that is done is known by its
records, so a killed run goes on, and any number of workers writes the same bytes. `pack.json` is written last; until
then the old one and all files it names stay as they are.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import pyarrow as pa

from starsmith.errors import StarsmithError
from starsmith.format.choice import Draw
from starsmith.format.mixture import Rates, rates_of, unused
from starsmith.format.pack_file import (
    HELD_OUT,
    PACK_FILE,
    TOKENIZER_FOLDER,
    WORKSPACE_FILE,
    Composition,
    Pack,
    PackRecord,
    Portion,
    Shard,
    is_wide,
)
from starsmith.format.pack_shard import Choices, PackShard
from starsmith.format.released_files import IDENTITY, Cell, DataFile, Released, document_ids, open_release
from starsmith.format.settings import FormatSettings, MixtureRule, PackSettings
from starsmith.format.tokenizer import Tokenizer
from starsmith.job import Job, run_job
from starsmith.progress import Reporter
from starsmith.storage import Store, to_json
from starsmith.table import Part, Record, read_record, record_name

_OWN: Final = {PACK_FILE, WORKSPACE_FILE, TOKENIZER_FOLDER, HELD_OUT, "records", "lock", "tmp"}
_MEASURED_BYTES: Final = 4 << 20
"""Text on which is measured how much a token holds, where a pack is limited to a number of them."""
_SEPARATOR: Final = "/"


class Workers(Protocol):
    """What packing needs of an engine: a function run on every item, somewhere."""

    def map(
        self, function: Any, items: Sequence[Any], *, label: str, progress: Callable[[int], None]
    ) -> Iterator[Any]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """How to pack. With `like`, tokenizer, settings and rates are those of an earlier pack."""

    tokenizer: Tokenizer | None = None
    settings: PackSettings = field(default_factory=PackSettings)
    format: FormatSettings = field(default_factory=FormatSettings)
    rules: tuple[MixtureRule, ...] = ()
    like: Pack | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """What packing did. `written` of `shards` were made by this run, `copied` taken from the earlier pack."""

    out: str
    record: PackRecord
    shards: int
    written: int
    copied: int
    seconds: float

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "pack": self.out,
            "fingerprint": self.record.fingerprint,
            "release": self.record.release,
            "tokenizer": self.record.tokenizer,
            "epochs": {each.name: each.tokens for each in self.record.epochs},
            "held_out": self.record.held_out.tokens,
            "shards": self.shards,
            "written": self.written,
            "copied": self.copied,
            "composition": [
                {"source": each.source, "language": each.language, "documents": each.documents, "tokens": each.tokens}
                for each in self.record.composition
            ],
            "seconds": round(self.seconds, 3),
        }


def pack(place: str, out: str, options: PackOptions, *, engine: Workers, reporter: Reporter) -> Packed:
    """Pack the release at `place` (a workspace, or a release's folder) into the folder `out`.

    Raises StarsmithError where there is nothing to pack, and for a folder that holds anything else.
    """
    started = time.perf_counter()
    released = open_release(place)
    store = Store.at(out)
    _refuse_foreign(store)
    with store.lock():
        store.clear_spool()
        with store.telling():
            done = _Packing(store, released, options, reporter).run(engine)
    return replace(done, seconds=time.perf_counter() - started)


def _refuse_foreign(store: Store) -> None:
    found = store.entries()
    foreign = {name for name in found - _OWN if not name.startswith("epoch-")}
    if found == {"tmp"}:
        # Its files would be taken for what a killed run left.
        foreign = found
    if foreign:
        raise StarsmithError(f"{store.root} holds {min(foreign)}, which is no part of a pack. Choose another folder.")


class _Packing:
    """One run."""

    def __init__(self, store: Store, released: Released, options: PackOptions, reporter: Reporter) -> None:
        self.store, self.released, self.reporter = store, released, reporter
        earlier = options.like or _earlier(store)
        self.tokenizer = _agreed(options, earlier)
        self.settings, self.format, rules = options.settings, options.format, options.rules
        if options.like is not None:
            record = options.like.record
            self.settings, self.format, rules = record.settings, record.format, record.rates.rules
        if not released.documents:
            raise StarsmithError(f"The release {released.digest[:16]} holds no documents: there is nothing to pack.")
        self.earlier = earlier
        self.cells = _cells_by_file(released)
        self.rates = self._rates(rules)

    def _rates(self, rules: Sequence[MixtureRule]) -> Rates:
        """Return the earlier pack's rates if nothing was set otherwise since, else those of this release."""
        if self.earlier is not None:
            record = self.earlier.record
            now = self.tokenizer.fingerprint, _of_rates(self.settings), tuple(rules)
            if now == (record.tokenizer, _of_rates(record.settings), record.rates.rules):
                return record.rates
        rates = rates_of(_summed(self.cells), rules)
        for rule in unused(rates):
            self.reporter.note(
                f"No document is of source {rule.source!r} and language {rule.language!r}: check the name."
            )
        if not rates.bytes:
            raise StarsmithError("The mixture leaves out everything in the release. Set a weight above 0.")
        if not self.settings.max_tokens:
            return rates
        expected = rates.bytes / _bytes_per_token(self.tokenizer, self.released)
        return replace_share(rates, min(1.0, self.settings.max_tokens / expected))

    def run(self, engine: Workers) -> Packed:
        self.tokenizer.write(self.store, TOKENIZER_FOLDER)
        works = {name: self._works(name, epoch) for name, epoch in self._portions()}
        pending = [work for portion in works.values() for work in portion if self._record(work) is None]
        copied = [work for work in pending if self._copy(work)]
        made = [work for work in pending if work not in copied]
        self._do(engine, made)
        portions = [Portion(name=name, shards=tuple(map(self._shard, each))) for name, each in works.items()]
        *epochs, held_out = portions
        record = PackRecord(
            tokenizer=self.tokenizer.fingerprint,
            vocabulary=self.tokenizer.vocabulary,
            release=self.released.digest,
            settings=self.settings,
            format=self.format,
            rates=self.rates,
            epochs=tuple(epochs),
            held_out=held_out,
            composition=self._composition([work for name, each in works.items() if name != HELD_OUT for work in each]),
        )
        if not any(portion.tokens for portion in epochs):
            raise StarsmithError(
                "Nothing came out: every repository is held out or left out. Set held_out lower, or max_tokens higher."
            )
        self.store.write(PACK_FILE, record.dumped())
        if self.released.workspace is not None:
            self.store.write(WORKSPACE_FILE, to_json({"workspace": self.released.workspace}), private=True)
        self._clean(record, works)
        count = sum(map(len, works.values()))
        return Packed(
            out=self.store.uri, record=record, shards=count, written=len(made), copied=len(copied), seconds=0.0
        )

    def _portions(self) -> list[tuple[str, int]]:
        return [(f"epoch-{epoch}", epoch) for epoch in range(self.settings.epochs)] + [(HELD_OUT, 0)]

    def _works(self, folder: str, epoch: int) -> list[PackShard]:
        if folder == HELD_OUT and not self.settings.held_out:
            return []
        is_held_out = folder == HELD_OUT
        return [
            PackShard(
                release=self.released.store,
                file=file,
                folder=folder,
                tokenizer_folder=TOKENIZER_FOLDER,
                tokenizer=self.tokenizer.fingerprint,
                wide=is_wide(self.tokenizer.vocabulary),
                choices=Choices(
                    seed=self.settings.seed,
                    epoch=epoch,
                    format=replace(self.format, fim_rate=0.0) if is_held_out else self.format,
                    rates=tuple((*cell, self.rates.rate(cell)) for cell in sorted(self.cells[file.shard])),
                    share=self.rates.share,
                    held_out=self.settings.held_out,
                    is_held_out=is_held_out,
                ),
            )
            for file in self.released.files
        ]

    def _record(self, work: PackShard) -> Record | None:
        return read_record(self.store, _stage(work), work.fingerprint)

    def _copy(self, work: PackShard) -> bool:
        """Take a shard over from the pack this one is to be like, if that has it."""
        if self.earlier is None or self.earlier.store == self.store:
            return False
        known = {shard.key: shard for portion in self.earlier.record.portions for shard in portion.shards}
        if (shard := known.get(work.fingerprint)) is None:
            return False
        width = self.earlier.record.dtype.itemsize
        source = read_record(self.earlier.store, _stage(work), work.fingerprint)
        if source is None:
            return False
        parts: dict[str, tuple[Part, ...]] = {}
        for name, is_runs in (("tokens", False), ("runs", True)):
            part = shard.part(runs=is_runs, width=width)
            if not _copied(self.earlier.store, self.store, part):
                return False
            parts[name] = (part,)
        replace(source, outputs=parts).write(self.store)
        return True

    def _do(self, engine: Workers, works: Sequence[PackShard]) -> None:
        jobs = [Job(stage=_stage(work), fingerprint=work.fingerprint, store=self.store, work=work) for work in works]
        if jobs:
            with self.reporter.stage("pack", total=sum(work.file.part.rows for work in works)) as progress:
                for _ in engine.map(run_job, jobs, label="pack", progress=progress.advance):
                    pass

    def _shard(self, work: PackShard) -> Shard:
        record = self._record(work)
        if record is None:
            raise StarsmithError(
                f"The files of {work} changed while they were being packed. Run `starsmith pack` again."
            )
        (tokens,), (runs,) = record.outputs["tokens"], record.outputs["runs"]
        return Shard(
            name=work.file.shard,
            key=work.fingerprint,
            tokens=record.counts["tokens"],
            units=record.counts["units"],
            documents=record.counts["documents"],
            tokens_file=tokens.name,
            tokens_sha256=tokens.digest,
            runs_file=runs.name,
            runs_sha256=runs.digest,
            runs_bytes=runs.bytes,
            source_sha256=work.file.part.digest,
        )

    def _composition(self, works: Sequence[PackShard]) -> tuple[Composition, ...]:
        found: dict[Cell, dict[str, int]] = {}
        for work in works:
            record = self._record(work)
            for name, count in (record.counts if record else {}).items():
                what, mark, cell = name.partition(_SEPARATOR)
                if mark:
                    source, _, language = cell.partition(_SEPARATOR)
                    numbers = found.setdefault((source, language), {})
                    numbers[what] = numbers.get(what, 0) + count
        return tuple(
            Composition(source=source, language=language, documents=numbers["documents"], tokens=numbers["tokens"])
            for (source, language), numbers in sorted(found.items())
        )

    def _clean(self, record: PackRecord, works: dict[str, list[PackShard]]) -> None:
        """Remove what an earlier pack left in this folder: nothing of a document that has left stays behind."""
        used = {
            name
            for portion in record.portions
            for shard in portion.shards
            for name in (shard.tokens_file, shard.runs_file)
        } | {record_name(_stage(work), work.fingerprint) for each in works.values() for work in each}
        folders = {name for name in self.store.entries() if name.startswith("epoch-")} | {HELD_OUT, "records"}
        for folder in sorted(folders):
            self.store.each(self.store.delete, [name for name in self.store.names(folder) if name not in used])


def _agreed(options: PackOptions, earlier: Pack | None) -> Tokenizer:
    """Return the tokenizer to pack with."""
    given = options.tokenizer
    if options.like is not None:
        if given is not None and given.fingerprint != options.like.record.tokenizer:
            raise StarsmithError(
                f"{options.like.store.root} was packed with another tokenizer than the one given. Give one of them."
            )
        return options.like.tokenizer
    if given is not None:
        return given
    if earlier is None:
        raise StarsmithError("There is no tokenizer to pack with. Train one with `starsmith tokenizer train`.")
    return earlier.tokenizer


def replace_share(rates: Rates, share: float) -> Rates:
    """Return rates of which a part of the repositories is taken."""
    return Rates(rules=rates.rules, cells=rates.cells, share=share)


def _of_rates(settings: PackSettings) -> tuple[int, int]:
    """Return what the rates follow from, beside the release and the rules."""
    return settings.seed, settings.max_tokens


def _stage(work: PackShard) -> str:
    return f"pack/{work.folder}"


def _earlier(store: Store) -> Pack | None:
    """Return the pack that lies in a folder already, whatever state its shards are in."""
    if not store.exists(PACK_FILE):
        return None
    return Pack(store, PackRecord.parse(store.read(PACK_FILE), store.path(PACK_FILE)))


def _copied(source: Store, target: Store, part: Part) -> bool:
    """Copy a file between stores; False if it is not the one that was recorded."""
    if source.size(part.name) != part.bytes:
        return False
    if target.size(part.name) == part.bytes and target.sha256(part.name) == part.digest:
        return True
    template = part.name.replace(part.name.rpartition("-")[2].partition(".")[0], "{digest}")
    with target.spool() as file, source.open(part.name) as opened:
        while block := opened.read(1 << 20):
            file.write(block)
        _, digest, _ = target.publish_digested(file, template)
    return digest == part.digest


def _cells_by_file(released: Released) -> dict[str, dict[Cell, tuple[int, int]]]:
    """Return (documents, bytes) of every source and language in every data file."""
    found: dict[str, dict[Cell, tuple[int, int]]] = {file.shard: {} for file in released.files}
    for file, sums in released.sums_by_cell():
        cells = found[file.shard]
        for cell, (documents, size) in sums.items():
            before = cells.get(cell, (0, 0))
            cells[cell] = before[0] + documents, before[1] + size
    return found


def _summed(cells: dict[str, dict[Cell, tuple[int, int]]]) -> dict[Cell, tuple[int, int]]:
    found: dict[Cell, tuple[int, int]] = {}
    for each in cells.values():
        for cell, (documents, size) in each.items():
            before = found.get(cell, (0, 0))
            found[cell] = before[0] + documents, before[1] + size
    return found


def _bytes_per_token(tokenizer: Tokenizer, released: Released) -> float:
    """Return how many bytes of a content a token stands for, on a random part of the release."""
    size = sum(file.part.bytes for file in released.files)
    rate = min(1.0, _MEASURED_BYTES / max(size, 1))
    texts, counted = 0, 0
    for file in _some(released.files):
        with file.open(released.store) as opened:
            for group in range(opened.row_groups):
                rows = opened.read_group(group, [*IDENTITY, "length_bytes", "content"])
                chosen = _chosen(rows, rate)
                _, counts = tokenizer.encoder.encode_texts(chosen["content"].to_pylist())
                texts += sum(chosen["length_bytes"].to_pylist())
                counted += int(counts.sum()) + chosen.num_rows
    return texts / counted if counted else 3.0


def _chosen(rows: pa.Table, rate: float) -> pa.Table:
    places = [
        place
        for place, identifier in enumerate(document_ids(rows))
        if Draw(seed=0, epoch=0, document_id=identifier).chance("measure", rate)
    ]
    return rows.take(pa.array(places, pa.int64()))


def _some(files: Sequence[DataFile]) -> Sequence[DataFile]:
    """Return at most 16 data files, evenly spread."""
    step = -(-len(files) // 16)
    return files[:: max(step, 1)]

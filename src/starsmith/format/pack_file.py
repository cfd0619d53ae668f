"""Packs as they are read: shards of tokens, memory-mapped, and the document that each token comes from.

A pack is a folder, on a disk or an object store, that can be read without Starsmith: `pack.json` says everything,
`epoch-N/*.tokens` are raw little-endian ids of the type it names, `epoch-N/*.parquet` say which document each run of
them comes from, `held-out/` has the same of repositories that no epoch holds, and `tokenizer/` loads with
`transformers.AutoTokenizer`. How one is made stands in `pack`.
"""

import bisect
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.document import ID_BYTES
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.format.mixture import CellRate, Rates
from starsmith.format.settings import FormatSettings, MixtureRule, PackSettings
from starsmith.format.tokenizer import Tokenizer
from starsmith.part_file import PartFile
from starsmith.storage import Store, sealed, unsealed
from starsmith.table import Part

PACK_FILE: Final = "pack.json"
FORMAT: Final = 1
TOKENIZER_FOLDER: Final = "tokenizer"
HELD_OUT: Final = "held-out"
WORKSPACE_FILE: Final = "workspace.json"
"""Which workspace the release lies in, on this machine; not part of the pack."""
_PLACE: Final = re.compile(
    r"(?P<pack>.+?)/(?P<folder>epoch-[0-9]{1,6}|held-out)/(?P<shard>[\w.-]+):(?P<token>[0-9]{1,18})"
)

RUNS = pa.schema(
    [
        pa.field("start", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("document_id", pa.binary(ID_BYTES), nullable=False),
        pa.field("swhid", pa.string(), nullable=False),
        pa.field("repo_name", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
    ]
)
"""One row per run of tokens from one document, in order: `start` is the first of `length` tokens, `unit` counts the
repositories of the shard, `path` begins with a slash. Sentinels belong to the document that follows them, the last one
of a unit to the last document."""

Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One shard. `key` is the fingerprint of all that it follows from, `source_sha256` the data file it is made of."""

    name: str
    key: str
    tokens: int
    units: int
    documents: int
    tokens_file: str
    tokens_sha256: str
    runs_file: str
    runs_sha256: str
    runs_bytes: int
    source_sha256: str

    def part(self, *, runs: bool, width: int) -> Part:
        """Return one of its files as a record has it."""
        if runs:
            name, digest, size, rows = self.runs_file, self.runs_sha256, self.runs_bytes, self.documents
        else:
            name, digest, size, rows = self.tokens_file, self.tokens_sha256, self.tokens * width, self.tokens
        return Part(shard=self.name, name=name, rows=rows, bytes=size, digest=digest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Portion:
    """One epoch, or what is held out: its folder and its shards."""

    name: str
    shards: tuple[Shard, ...]

    @property
    def tokens(self) -> int:
        return sum(shard.tokens for shard in self.shards)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRun:
    """Tokens [start, start + length) of a shard come from one document."""

    start: int
    length: int
    unit: int
    document_id: bytes
    swhid: str
    repo_name: str
    path: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """What came out of one source and language: of all epochs together, without what is held out."""

    source: str
    language: str
    documents: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class PackRecord:
    """What `pack.json` says."""

    tokenizer: str
    vocabulary: int
    release: str
    settings: PackSettings
    format: FormatSettings
    rates: Rates
    epochs: tuple[Portion, ...]
    held_out: Portion
    composition: tuple[Composition, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<u4" if is_wide(self.vocabulary) else "<u2")

    @property
    def portions(self) -> tuple[Portion, ...]:
        return (*self.epochs, self.held_out)

    @property
    def fingerprint(self) -> str:
        """Digest of every token in its place: equal for equal packs, wherever they lie."""
        shards = [
            [portion.name, [[each.name, each.tokens_sha256] for each in portion.shards]] for portion in self.portions
        ]
        return fingerprint([FORMAT, self.tokenizer, shards])

    def dumped(self) -> bytes:
        """Return `pack.json`."""
        return sealed(
            {
                "format": FORMAT,
                "dtype": self.dtype.name,
                "fingerprint": self.fingerprint,
                "tokenizer": self.tokenizer,
                "vocabulary": self.vocabulary,
                "release": self.release,
                "settings": asdict(self.settings),
                "formatting": asdict(self.format),
                "mixture": {
                    "rules": [asdict(rule) for rule in self.rates.rules],
                    "rates": [asdict(cell) for cell in self.rates.cells],
                    "share": self.rates.share,
                },
                "composition": [asdict(each) for each in self.composition],
                "portions": [asdict(each) | {"tokens": each.tokens} for each in self.portions],
            }
        )

    @classmethod
    def parse(cls, data: bytes, where: str) -> "PackRecord":
        """Return what a `pack.json` says.

        Raises StarsmithError for one that is damaged or of another version.
        """
        try:
            plain = unsealed(data)
            if plain["format"] != FORMAT:
                raise StarsmithError(
                    f"{where} is of format {plain['format']}; this version of Starsmith reads {FORMAT}."
                )
            return cls._of(plain)
        except (ValueError, KeyError, TypeError) as error:
            raise StarsmithError(f"{where} is damaged: {error}. Run `starsmith pack` again.") from error

    @classmethod
    def _of(cls, plain: Mapping[str, Any]) -> "PackRecord":
        *epochs, held_out = [
            Portion(name=each["name"], shards=tuple(Shard(**shard) for shard in each["shards"]))
            for each in plain["portions"]
        ]
        mixture = plain["mixture"]
        return cls(
            tokenizer=plain["tokenizer"],
            vocabulary=plain["vocabulary"],
            release=plain["release"],
            settings=PackSettings(**plain["settings"]),
            format=FormatSettings(**plain["formatting"]),
            rates=Rates(
                rules=tuple(MixtureRule(**rule) for rule in mixture["rules"]),
                cells=tuple(CellRate(**cell) for cell in mixture["rates"]),
                share=mixture["share"],
            ),
            epochs=tuple(epochs),
            held_out=held_out,
            composition=tuple(Composition(**each) for each in plain["composition"]),
        )


def is_wide(vocabulary: int) -> bool:
    """Whether ids need 32 bits."""
    return vocabulary > 1 << 16


class Pack:
    """A pack, open for reading."""

    def __init__(self, store: Store, record: PackRecord) -> None:
        self.store, self.record = store, record
        self._runs: dict[str, _Runs] = {}

    @classmethod
    def open(cls, place: str) -> "Pack":
        """Return the pack in a folder, or at a URI.

        Raises StarsmithError if there is none, or a file of it is missing or has another size than it should.
        """
        store = Store.at(place)
        if not store.exists(PACK_FILE):
            raise StarsmithError(f"{place} holds no pack: it has no {PACK_FILE}. Make one with `starsmith pack`.")
        pack = cls(store, PackRecord.parse(store.read(PACK_FILE), store.path(PACK_FILE)))
        for problem in pack.problems():
            raise StarsmithError(problem)
        return pack

    @property
    def fingerprint(self) -> str:
        return self.record.fingerprint

    @property
    def vocabulary(self) -> int:
        return self.record.vocabulary

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids.

        Raises StarsmithError if the folder holds another one.
        """
        tokenizer = Tokenizer.open(self.store.file(TOKENIZER_FOLDER))
        if tokenizer.fingerprint != self.record.tokenizer:
            raise StarsmithError(
                f"{self.store.path(TOKENIZER_FOLDER)} is not the tokenizer that the pack was made with. "
                "Run `starsmith pack` again."
            )
        return tokenizer

    @property
    def token_bytes(self) -> npt.NDArray[np.int64]:
        """How many bytes of text each id stands for."""
        return self.tokenizer.token_bytes

    @cached_property
    def epochs(self) -> list[list[Tokens]]:
        """The tokens of every shard of every epoch: read-only, mapped, nothing in memory until it is touched."""
        return [self._tokens(portion) for portion in self.record.epochs]

    @cached_property
    def held_out(self) -> list[Tokens]:
        """The tokens of every shard of repositories that no epoch holds."""
        return self._tokens(self.record.held_out)

    def token(self, folder: str, shard: str, token: int) -> int:
        """Return the id at a place.

        Raises StarsmithError for a place that the pack does not have.
        """
        return int(self._mapped(self._shard(folder, shard, token))[token])

    def _tokens(self, portion: Portion) -> list[Tokens]:
        return [self._mapped(shard) for shard in portion.shards]

    def _mapped(self, shard: Shard) -> Tokens:
        if not shard.tokens:
            return np.zeros(0, self.record.dtype)
        mapped = self.store.map(shard.tokens_file)
        return np.frombuffer(mapped.read_buffer(), self.record.dtype)

    def runs(self, epoch: int, number: int, start: int, stop: int) -> Iterator[TokenRun]:
        """Yield what the tokens [start, stop) of a shard, given by its number, come from."""
        yield from self._runs_of(self.record.epochs[epoch].shards[number]).between(start, stop)

    def trace(self, folder: str, shard: str, token: int) -> TokenRun:
        """Return what one token comes from.

        Raises StarsmithError for a place that the pack does not have.
        """
        return next(self._runs_of(self._shard(folder, shard, token)).between(token, token + 1))

    def _shard(self, folder: str, shard: str, token: int) -> Shard:
        portion = next((each for each in self.record.portions if each.name == folder), None)
        if portion is None:
            names = ", ".join(each.name for each in self.record.portions)
            raise StarsmithError(f"{self.store.root} has no {folder}; it has {names}.")
        found = next((each for each in portion.shards if shard in (each.name, *_file_names(each))), None)
        if found is None:
            raise StarsmithError(f"{self.store.path(folder)} has no shard {shard!r}; {PACK_FILE} lists its shards.")
        if token >= found.tokens:
            raise StarsmithError(f"{folder}/{shard} has {found.tokens:,} tokens; there is no token {token:,}.")
        return found

    def _runs_of(self, shard: Shard) -> "_Runs":
        if shard.runs_file not in self._runs:
            part = shard.part(runs=True, width=self.record.dtype.itemsize)
            with PartFile(self.store, part) as file:
                self._runs[shard.runs_file] = _Runs(file.read(RUNS.names))
        return self._runs[shard.runs_file]

    def problems(self, *, verify: bool = False) -> list[str]:
        """Return a sentence for every file that is missing or cut; with `verify`, that has another byte, too."""
        width = self.record.dtype.itemsize
        parts = [
            shard.part(runs=runs, width=width)
            for portion in self.record.portions
            for shard in portion.shards
            for runs in (False, True)
        ]
        said = self.store.each(lambda part: _problem(self.store, part, verify=verify), parts)
        return [problem for problem in said if problem]


def _file_names(shard: Shard) -> tuple[str, ...]:
    names = [name.rpartition("/")[2] for name in (shard.tokens_file, shard.runs_file)]
    return (*names, names[0].removesuffix(".tokens"))


def _problem(store: Store, part: Part, *, verify: bool) -> str | None:
    size, path = store.size(part.name), store.path(part.name)
    if size is None:
        return f"{path} is missing. Run `starsmith pack` again: it is made anew."
    if size != part.bytes:
        found = f"it has {size:,} bytes, {PACK_FILE} says {part.bytes:,}"
        return f"{path} is damaged: {found}. Delete it and run `starsmith pack` again: it is made anew."
    if verify and (digest := store.sha256(part.name, fresh=True)) != part.digest:
        found = f"its SHA-256 is {digest}, {PACK_FILE} says {part.digest}"
        return f"{path} is damaged: {found}. Delete it and run `starsmith pack` again: it is made anew."
    return None


class _Runs:
    """The runs of one shard, found by token."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self._starts: list[int] = rows["start"].to_pylist()

    def between(self, start: int, stop: int) -> Iterator[TokenRun]:
        first = max(bisect.bisect_right(self._starts, start) - 1, 0)
        last = bisect.bisect_left(self._starts, stop)
        for row in self._rows.slice(first, max(last - first, 0)).to_pylist():
            yield TokenRun(**row)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPlace:
    """A token as people name it: PACK/epoch-0/SHARD:NUMBER."""

    pack: str
    folder: str
    shard: str
    token: int


def token_place(text: str) -> TokenPlace | None:
    """Return the place that a text names, or None if it names none.

    >>> token_place("my.pack/epoch-0/01a91c910b209eca:17")
    TokenPlace(pack='my.pack', folder='epoch-0', shard='01a91c910b209eca', token=17)
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        return None
    return TokenPlace(pack=match["pack"], folder=match["folder"], shard=match["shard"], token=int(match["token"]))

"""The narrow tables of a corpus without its contents: what the decisions of a build read, for any number of documents.

    python benchmarks/narrow_tables.py WORKSPACE --documents 10000000

It writes what collect and annotate would have left behind: DOCUMENTS, ORIGINS, FOLDERS, TEXTS, ANNOTATIONS,
BANDS, SHINGLES and LICENCE_STATEMENTS, one part per shard, in memory bounded by one shard. Every row follows from the
seed and the number of its origin, content or family, so shards can be made alone and in any order.

The distributions (`distributions.py`) are those of the 17 repositories of `whole_build.py`, but for three things that
17 well-kept repositories cannot tell: the sizes of origins are those of the distributions in the quickstart; a share of
all documents are copies of popular contents, and a share of origins are copies of others. These two shares are
assumptions, COPIED and TWINS. Near-duplicates come in families: each member differs from its family's base by a share
that gives the similarity drawn for it, and has the base's key in a band with the probability that MinHash gives. Only
sets that a bucket leads to are ever read; all others are left empty.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from distributions import (
    AT,
    BINARY,
    COPIED,
    DOCUMENTS_PER_FOLDER,
    FAMILIES,
    FAMILY_TAIL,
    HEADER,
    IN_FAMILIES,
    LANGUAGES,
    LENGTH,
    LETTERS,
    LONGEST_LINE,
    MEAN_LINE,
    ORIGIN_DOCUMENTS,
    POPULAR,
    POPULAR_TAIL,
    SHINGLES_PER_BYTE,
    SIMILARITY,
    STATED,
    TOO_SHORT,
    TWINS,
)

from starsmith import document
from starsmith.annotate_rows import packed_bands
from starsmith.curate import minhash
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store, to_json
from starsmith.table import Part, Table, write_mapped_part, write_part
from starsmith.workspace import open_store

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

SHARD_DOCUMENTS = 4000
MOST_SHINGLES = 2000
"""The sets of families are no larger, which keeps 10^7 documents within 15 GB."""
OWNER_ORIGINS = 4

_STEP = np.uint64(0x9E3779B97F4A7C15)
_SHIFTS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def mixed(*numbers: "Ints | Words | int") -> Words:
    """Return a 64-bit hash of each row of numbers (splitmix64's finisher, applied once for each)."""
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for number in numbers:
            state = state * _STEP + np.asarray(number).astype(np.uint64) + _STEP
            for shift, factor in _SHIFTS:
                state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(*numbers: "Ints | Words | int") -> Floats:
    """Return a number in [0, 1) for each row of numbers."""
    return (mixed(*numbers) >> np.uint64(11)).astype(np.float64) / 2.0**53


def drawn(quantiles: tuple[float, ...], at: Floats) -> Floats:
    return np.interp(at, AT, quantiles)


def chosen(shares: list[float], at: Floats) -> Ints:
    return np.minimum(np.searchsorted(np.cumsum(shares), at, side="right"), len(shares) - 1)


def ids(*numbers: "Ints | Words | int") -> pa.Array:
    """Return 20-byte ids that nothing else has."""
    words = [mixed(*numbers, part) for part in range(3)]
    raw = np.stack(words, axis=1).astype("<u8").view(np.uint8).reshape(len(words[0]), 24)[:, :20]
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(document.ID_BYTES), len(raw), [None, pa.py_buffer(np.ascontiguousarray(raw))]
    )


def joined(*pieces: "pa.Array | str") -> pa.Array:
    return pc.binary_join_element_wise(*(pieces if len(pieces) > 1 else (*pieces, "")), "")


def texts_of(numbers: "Ints | Words") -> pa.Array:
    return pa.array(np.asarray(numbers)).cast(pa.string())


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """`documents` documents from a seed. `starts` has the first document of every origin and the end."""

    documents: int
    seed: int = 1
    bands: int = field(default_factory=lambda: minhash.layout(NearDuplicateSettings()).bands)
    rows: int = field(default_factory=lambda: minhash.layout(NearDuplicateSettings()).rows)

    def origins(self) -> "Origins":
        guess = 64 + self.documents // 100
        numbers = np.arange(guess)
        twin = np.where(uniform(self.seed, 1, numbers) < TWINS, uniform(self.seed, 2, numbers) * numbers, numbers)
        twin = twin.astype(np.int64)
        sizes = drawn(ORIGIN_DOCUMENTS, uniform(self.seed, 3, twin)).astype(np.int64)
        ends = np.cumsum(sizes)
        count = int(np.searchsorted(ends, self.documents)) + 1
        return Origins(twin=twin[:count], starts=np.concatenate([[0], ends[:count]]))


@dataclass(frozen=True, kw_only=True)
class Origins:
    """The origin that each origin is a copy of (or itself), and where the documents of each begin."""

    twin: Ints
    starts: Ints

    def shards(self) -> list[tuple[int, int]]:
        """Return (first origin, origin after the last) of every shard: whole origins, about SHARD_DOCUMENTS."""
        cuts = np.flatnonzero(np.diff(self.starts[:-1] // SHARD_DOCUMENTS, prepend=-1))
        return list(zip(cuts.tolist(), [*cuts[1:].tolist(), len(self.twin)], strict=True))

    @property
    def owners(self) -> Ints:
        return np.arange(len(self.twin)) // OWNER_ORIGINS


def shard_name(first: int) -> str:
    return f"{first:016x}"


def url(numbers: "Ints") -> pa.Array:
    return joined("https://example.org/", owner(numbers), "/project-", padded(numbers))


def owner(numbers: "Ints") -> pa.Array:
    return joined("owner-", padded(numbers // OWNER_ORIGINS))


def padded(numbers: "Ints") -> pa.Array:
    return pc.utf8_lpad(texts_of(numbers), 8, "0")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Some whole origins, for which every table has one part. Origins in `without` have left."""

    corpus: Corpus
    origins: Origins
    first: int
    last: int
    without: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        return shard_name(self.first)

    def write(self, store: Store) -> dict[str, Part]:
        numbers = np.array([each for each in range(self.first, self.last) if each not in self.without], np.int64)
        sizes = self.origins.starts[numbers + 1] - self.origins.starts[numbers]
        origin = np.repeat(numbers, sizes)
        place = np.arange(len(origin)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        content = self._contents(self.origins.twin[origin], place)
        documents = self._documents(origin, place, content)
        known, first = np.unique(content, return_index=True)
        known = known[np.argsort(first, kind="stable")]
        texts, signed = self._texts(known)
        parts = {
            "documents": write_part(store, "documents", document.DOCUMENTS, [documents], shard=self.name),
            "folders": write_part(store, "folders", document.FOLDERS, [self._folders(numbers, sizes)], shard=self.name),
            "texts": write_part(store, "texts", document.TEXTS, [texts], shard=self.name),
            "annotations": self._annotations(store, documents, content),
            "licence_statements": self._statements(store, numbers),
        }
        keys, sets = self._signatures(signed)
        bands = packed_bands([keys])
        parts["bands"] = write_mapped_part(store, "bands", document.BANDS, bands, shard=self.name)
        parts["shingles"] = write_mapped_part(store, "shingles", document.SHINGLES, sets, shard=self.name)
        return parts

    def _contents(self, origin: Ints, place: Ints) -> Words:
        """Return the number of each document's content. Popular ones have the numbers from 0."""
        seed = self.corpus.seed
        popular = max(1, int(POPULAR * self.corpus.documents))
        rank = (popular * uniform(seed, 4, origin, place) ** POPULAR_TAIL).astype(np.uint64)
        own = mixed(seed, 5, origin, place) | np.uint64(1 << 63)
        return np.where(uniform(seed, 6, origin, place) < COPIED, rank, own)

    def _language(self, content: Words) -> Ints:
        """Return the number of each content's language; a family has one."""
        in_family, family = self._family(content)
        number = np.where(in_family, family.astype(np.uint64), content)
        return chosen([share for _, _, share in LANGUAGES], uniform(self.corpus.seed, 7, number))

    def _length(self, content: Words) -> Ints:
        return drawn(LENGTH, uniform(self.corpus.seed, 8, content)).astype(np.int64)

    def _family(self, content: Words) -> tuple[npt.NDArray[np.bool_], Ints]:
        """Return which contents are in a family, and the number of it (of any, where it is in none)."""
        seed, families = self.corpus.seed, max(1, int(FAMILIES * self.corpus.documents))
        number = (families * uniform(seed, 10, content) ** FAMILY_TAIL).astype(np.int64)
        return uniform(seed, 9, content) < IN_FAMILIES, number

    def _documents(self, origin: Ints, place: Ints, content: Words) -> pa.Table:
        twin = self.origins.twin[origin]
        folder = folder_names(place // DOCUMENTS_PER_FOLDER)
        extension = pa.array([each[1] for each in LANGUAGES]).take(pa.array(self._language(content)))
        name = joined("module_", texts_of(place), ".", extension)
        count = len(origin)
        time = (1.2e15 + 5e14 * uniform(self.corpus.seed, 11, twin, place)).astype(np.int64)
        columns = {
            "document_id": ids(self.corpus.seed, 12, origin, place),
            "origin_id": ids(self.corpus.seed, 13, origin),
            "shard": pa.repeat(pa.scalar(self.name), count),
            "path": joined(folder, "/", name),
            "folder": folder,
            "file_name": name,
            "extension": extension,
            "content_id": ids(self.corpus.seed, 14, content),
            "length": self._length(content),
            "mode": np.full(count, 0o100644, np.int32),
            "committed_at": pa.array(time, pa.timestamp("us", tz="UTC")),
            "licence_scope": folder,
            "reason": pa.nulls(count, pa.string()),
            "detail": pa.nulls(count, pa.string()),
        }
        return pa.table(columns, schema=document.DOCUMENTS)

    def _folders(self, numbers: Ints, sizes: Ints) -> pa.Table:
        counts = -(-sizes // DOCUMENTS_PER_FOLDER)
        origin = np.repeat(numbers, counts)
        place = np.arange(len(origin)) - np.repeat(np.cumsum(counts) - counts, counts)
        levels = [folder_names(place, depth=depth) for depth in (3, 2, 1, 0)]
        origins = ids(self.corpus.seed, 13, origin)
        tables = [
            pa.table([origins, levels[0], level, np.full(len(origin), distance, np.int32)], schema=document.FOLDERS)
            for distance, level in enumerate(levels)
        ]
        return pa.concat_tables(tables)

    def _texts(self, content: Words) -> tuple[pa.Table, Words]:
        """Return TEXTS, and the contents that have a signature, in the order of their shingle rows."""
        seed, count = self.corpus.seed, len(content)
        length, (in_family, family) = self._length(content), self._family(content)
        binary = uniform(seed, 15, content) < BINARY
        short = binary | (uniform(seed, 16, content) < TOO_SHORT) & ~in_family
        per_byte = drawn(SHINGLES_PER_BYTE, uniform(seed, 17, content))
        shingles = np.where(in_family, self._family_sizes(family), np.maximum(1, (length * per_byte).astype(np.int64)))
        line = drawn(MEAN_LINE, uniform(seed, 18, content))
        letters = drawn(LETTERS, uniform(seed, 19, content))
        is_html = pa.nulls(count, pa.int64())
        zeros, header = np.zeros(count), uniform(seed, 20, content) < HEADER
        stated = self._stated(content)
        columns: dict[str, object] = {
            "shard": pa.repeat(pa.scalar(self.name), count),
            "content_id": ids(seed, 14, content),
            "reason": pa.array(np.where(binary, "error.binary", ""), mask=~binary),
            "detail": pa.nulls(count, pa.string()),
            "src_encoding": masked(np.full(count, "utf-8"), binary),
            "num_chars": masked(length, binary),
            "num_lines": masked(np.maximum(1, length / line).astype(np.int64), binary),
            "avg_line_length": masked(line, binary),
            "max_line_length": masked(drawn(LONGEST_LINE, uniform(seed, 21, content)).astype(np.int64), binary),
            "alpha_fraction": masked(letters, binary),
            "alphanum_fraction": masked(np.minimum(1, letters + 0.06), binary),
        }
        for name in ("base64", "hex", "unicode"):
            columns[f"{name}_longest"] = masked(zeros.astype(np.int64), binary)
            columns[f"{name}_fraction"] = masked(zeros, binary)
        columns |= {
            "generated_phrase": pa.nulls(count, pa.string()),
            "visible_chars": is_html,
            "visible_fraction": pa.nulls(count, pa.float64()),
            "num_shingles": masked(shingles, binary),
            "shingle_row": masked(np.cumsum(~short) - 1, short),
            "licence": pc.if_else(pa.array(header & ~binary), stated, None),
            "licence_method": masked(np.full(count, "spdx"), ~header | binary),
        }
        return pa.table(columns, schema=document.TEXTS), content[~short]

    def _stated(self, numbers: "Ints | Words", *, stream: int = 22) -> pa.Array:
        shares = [share for _, share in STATED]
        return pa.array([name for name, _ in STATED]).take(
            pa.array(chosen(shares, uniform(self.corpus.seed, stream, numbers)))
        )

    def _annotations(self, store: Store, documents: pa.Table, content: Words) -> Part:
        language = pa.array([each[0] for each in LANGUAGES], pa.string()).take(pa.array(self._language(content)))
        count = documents.num_rows
        vendored = uniform(self.corpus.seed, 23, content) < 0.046
        columns = [
            *(documents["document_id"], documents["content_id"], language),
            *(pa.repeat(pa.scalar("extension"), count), vendored, pa.repeat(pa.scalar(value=False), count)),
        ]
        rows = pa.table(columns, schema=document.ANNOTATIONS)
        return write_part(store, "annotations", document.ANNOTATIONS, [rows], shard=self.name)

    def _statements(self, store: Store, numbers: Ints) -> Part:
        """One licence file in the root of an origin, unless it states nothing, and one deeper down in every fourth."""
        twin, tables = self.origins.twin[numbers], []
        for folder, stream, share in (
            ("", 24, 1.0),
            (folder_names(np.zeros(1, np.int64), depth=1)[0].as_py(), 25, 0.25),
        ):
            stated = self._stated(twin, stream=stream)
            there = pc.and_(pc.is_valid(stated), pa.array(uniform(self.corpus.seed, 26, twin) < share))
            count = len(numbers)
            columns = [
                ids(self.corpus.seed, 13, numbers),
                pa.repeat(pa.scalar(folder), count),
                pa.nulls(count, pa.binary(document.ID_BYTES)),
                pa.repeat(pa.scalar(f"{folder}/LICENSE".lstrip("/")), count),
                pa.repeat(pa.scalar("licence_file"), count),
                pc.fill_null(stated, ""),
                np.full(count, 98.0),
            ]
            tables.append(pa.table(columns, schema=document.LICENCE_STATEMENTS).filter(there))
        rows = pa.concat_tables(tables)
        return write_part(store, "licence_statements", document.LICENCE_STATEMENTS, [rows], shard=self.name)

    def _family_sizes(self, family: Ints) -> Ints:
        """Return how many shingles the sets of a family have."""
        length = drawn(LENGTH, uniform(self.corpus.seed, 27, family))
        return np.clip((0.1 * length).astype(np.int64), 10, MOST_SHINGLES)

    def _signatures(self, content: Words) -> tuple[Ints, pa.Table]:
        """Return the band keys [contents, bands] and the SHINGLES of contents."""
        seed, (in_family, family) = self.corpus.seed, self._family(content)
        similarity = drawn(SIMILARITY, uniform(seed, 28, content))
        keys = np.empty((len(content), self.corpus.bands), np.uint64)
        for band in range(self.corpus.bands):
            same = in_family & (uniform(seed, 29, content, band) < similarity**self.corpus.rows)
            keys[:, band] = np.where(same, mixed(seed, 30, family, band), mixed(seed, 31, content, band))
        sizes = np.where(in_family, self._family_sizes(family), 0)
        sets = self._sets(content, family, sizes, similarity)
        offsets = np.concatenate([[0], 4 * np.cumsum(sizes)])
        binary = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(content), [None, pa.py_buffer(offsets.astype("<i8")), pa.py_buffer(sets)]
        )
        return keys.view(np.int64), pa.table([ids(seed, 14, content), binary], schema=document.SHINGLES)

    def _sets(self, content: Words, family: Ints, sizes: Ints, similarity: Floats) -> npt.NDArray[np.uint32]:
        """Return all sets in a row, each sorted. A window of the base's hashes is replaced by the member's own."""
        seed = self.corpus.seed
        row = np.repeat(np.arange(len(content)), sizes)
        place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        replaced = np.round(sizes * (1 - similarity) / (1 + similarity)).astype(np.int64)
        start = (uniform(seed, 32, content) * sizes).astype(np.int64)
        is_own = (place - start[row]) % np.maximum(sizes, 1)[row] < replaced[row]
        base, own = mixed(seed, 33, family[row], place), mixed(seed, 34, content[row], place)
        hashes = (np.where(is_own, own, base) >> np.uint64(32)).astype(np.uint32)
        return hashes[np.lexsort((hashes, row))]


def masked(values: npt.NDArray, missing: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, mask=missing)


def folder_names(place: Ints, *, depth: int = 3) -> pa.Array:
    """Return the names of folders, three deep, or those of their ancestors at a depth."""
    if depth == 0:
        return pa.array([""] * len(place), pa.string())
    pieces = [joined("src-", texts_of(place // 100)), joined("package-", texts_of(place // 10)), texts_of(place)]
    return pc.binary_join_element_wise(*pieces[:depth], "/") if depth > 1 else pieces[0]


def origin_rows(corpus: Corpus, origins: Origins, without: frozenset[int] = frozenset()) -> pa.Table:
    """Return ORIGINS."""
    numbers = np.array([each for each in range(len(origins.twin)) if each not in without], np.int64)
    twin, count = origins.twin[numbers], len(numbers)
    stars = (1 / (1e-5 + uniform(corpus.seed, 35, numbers))).astype(np.int64)
    time = pa.array((1.3e15 + 4e14 * uniform(corpus.seed, 36, twin)).astype(np.int64), pa.timestamp("us", tz="UTC"))
    names = joined("project-", padded(numbers))
    columns: dict[str, object] = {
        "origin_id": ids(corpus.seed, 13, numbers),
        "source": pa.repeat(pa.scalar("git"), count),
        "url": url(numbers),
        "owner": owner(numbers),
        "name": names,
        "repo_name": joined(owner(numbers), "/", names),
        "documents": (origins.starts[1:] - origins.starts[:-1])[numbers],
        "revision_id": ids(corpus.seed, 37, twin),
        "directory_id": ids(corpus.seed, 38, twin),
        "branch_name": pa.repeat(pa.scalar("refs/heads/main"), count),
        "revision_date": time,
        "committer_date": time,
        "star_events_count": stars,
        "fork_events_count": stars // 5,
    }
    arrays = [
        pa.array(columns[each.name], each.type) if each.name in columns else pa.nulls(count, each.type)
        for each in document.ORIGINS
    ]
    return pa.table(arrays, schema=document.ORIGINS)


SCHEMAS = {
    "documents": document.DOCUMENTS,
    "folders": document.FOLDERS,
    "texts": document.TEXTS,
    "annotations": document.ANNOTATIONS,
    "licence_statements": document.LICENCE_STATEMENTS,
    "bands": document.BANDS,
    "shingles": document.SHINGLES,
}
LISTED = "narrow_tables.json"


def generate(store: Store, corpus: Corpus, *, workers: int) -> dict[str, Table]:
    """Write all tables unless they are there; return them."""
    if store.exists(LISTED):
        return listed(store)
    origins = corpus.origins()
    shards = [Shard(corpus=corpus, origins=origins, first=first, last=last) for first, last in origins.shards()]
    parts: dict[str, list[Part]] = {name: [] for name in SCHEMAS}
    for made in _made(store, shards, workers):
        for name, part in made.items():
            parts[name].append(part)
    rows = origin_rows(corpus, origins)
    parts["origins"] = [write_part(store, "origins", document.ORIGINS, [rows])]
    plain = {
        name: [{slot: getattr(each, slot) for slot in Part.__slots__} for each in own] for name, own in parts.items()
    }
    store.write(LISTED, to_json(plain))
    return listed(store)


def _made(store: Store, shards: list[Shard], workers: int) -> Iterator[dict[str, Part]]:
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(partial(_write, store), shards, chunksize=8)


def _write(store: Store, shard: Shard) -> dict[str, Part]:
    return shard.write(store)


def listed(store: Store) -> dict[str, Table]:
    """Return the tables that were generated."""
    schemas = {**SCHEMAS, "origins": document.ORIGINS}
    found = json.loads(store.read(LISTED))
    return {
        name: Table(name=name, schema=schemas[name], parts=tuple(Part(**each) for each in own))
        for name, own in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    store = open_store(options.workspace, create=True)
    tables = generate(store, Corpus(documents=options.documents, seed=options.seed), workers=options.workers)
    for name, table in tables.items():
        print(f"{name}: {table.rows:,} rows, {sum(part.bytes for part in table.parts) / 1e6:,.1f} MB")


if __name__ == "__main__":
    main()

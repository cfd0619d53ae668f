"""How much of a text's wording stands in a document: the share of its runs of `n` words, and where the first one is.

A word is what near-duplicates count: a run of letters, digits, underscores and characters beyond ASCII, in lower case
(ASCII only). What stands between words does not count, so indentation, comment marks and punctuation may differ.
A text with fewer than `n` words is one run of all its words, and must stand in the document whole.
The paper has no such rule; that of n = 10, and whole runs where there are 3 to 9 words, is DeepSeek-Coder's (section
6 of the data description). Runs are compared by 64-bit hashes.

Which share is too much is for `decontaminate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.curate.kernel import Bytes, Indices, compiled, read_only, text_buffers

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]

LEAST_WORDS = 3
"""Texts of fewer words say nothing: section 6, exact runs of 3 to 9 words."""
MOST_WORDS = 64
"""The largest `n`."""
ROOM = 4096
"""Texts that a kernel call may find beside those of one document."""
FILTER_BITS = 8
"""Bits of a filter for each of its members, at least. Two filters answer nearly every question that a document asks
without a look into the table: one holds the last LEAST_WORDS words of every run, whatever its length, the other the
runs."""

_U64 = np.uint64
_BYTE_STEP = _U64(0x9E3779B97F4A7C15)
_WORD_STEP = _U64(0x5851F42D4C957F2D)
_MIX = _U64(0xD6E8FEB86659FD93)
_HALF = _U64(32)
_RING = 128
"""Places that remember the last words: more than MOST_WORDS, a power of two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Every run of words of the texts, in an open hash table.

    lengths: int64 [lengths], in words, the lengths runs have: `n`, and those of shorter texts.
    tails: uint64 [words], a bit for the last LEAST_WORDS words of each run: may a run end here?
    seen: uint64 [words], a bit for each run: may it be in the table?
    keys: uint64 [slots], hashes of runs; 0 where there is none. slots: int32 [slots], the run's number.
    starts: int32 [runs + 1], texts: int32, where the texts that have a run begin, and which they are.
    totals: int32 [texts], the distinct runs of each text; 0 where it has fewer than LEAST_WORDS words.
    """

    lengths: Indices
    tails: Hashes
    seen: Hashes
    keys: Hashes
    slots: Numbers
    starts: Numbers
    texts: Numbers
    totals: Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlaps:
    """Pairs of a document and a text that share runs, by document.

    documents, texts: int64 [pairs]. counts: int64 [pairs], distinct runs of the text that the document holds.
    positions: int64 [pairs], the byte of the document where the first of them begins.
    """

    documents: Indices
    texts: Indices
    counts: Indices
    positions: Indices


def build(texts: Sequence[bytes], *, n: int) -> Runs:
    """Return the runs of `texts`, each of `n` words (from LEAST_WORDS to MOST_WORDS)."""
    if not LEAST_WORDS <= n <= MOST_WORDS:
        raise ValueError(f"runs have {LEAST_WORDS} to {MOST_WORDS} words, not {n}")
    data, offsets = text_buffers(pa.array(texts, pa.large_binary()))
    counts = _count_words(data, offsets, _WORD_BYTES)
    sizes = np.minimum(counts, n)
    bounds = np.where(counts >= LEAST_WORDS, counts - sizes + 1, 0)
    owners = np.repeat(np.arange(len(texts), dtype=np.int64), bounds)
    hashes, tails = np.empty(len(owners), np.uint64), np.empty(len(owners), np.uint64)
    _all_runs(data, offsets, sizes, _WORD_BYTES, hashes, tails)
    pairs = np.unique(np.rec.fromarrays([hashes, owners])) if len(owners) else np.rec.fromarrays([hashes, owners])
    runs, starts = np.unique(pairs["f0"], return_index=True)
    keys, slots = _table(read_only(runs.astype(np.uint64)))
    return Runs(
        lengths=np.unique(sizes[counts >= LEAST_WORDS]),
        tails=_filter(read_only(np.unique(tails)), FILTER_BITS),
        seen=_filter(read_only(runs.astype(np.uint64)), FILTER_BITS),
        keys=keys,
        slots=slots,
        starts=np.append(starts, len(pairs)).astype(np.int32),
        texts=pairs["f1"].astype(np.int32),
        totals=np.bincount(pairs["f1"], minlength=len(texts)).astype(np.int32),
    )


def find(documents: pa.LargeBinaryArray, runs: Runs, *, share: float) -> Overlaps:
    """Return which texts have at least `share` (0 to 1) of their distinct runs, and one at least, in each document.

    Documents do not influence each other. Time is that of reading, and for each run of a document that is in the
    table, once, the number of texts that have it.
    """
    data, offsets = text_buffers(documents)
    needed = np.maximum(1, np.ceil(runs.totals * share - 1e-9)).astype(np.int64)
    met_runs = np.full(len(runs.starts) - 1, -1, np.int64)
    met_texts = np.full(len(needed), -1, np.int64)
    tallies = np.zeros((len(needed), 2), np.int64)
    room = np.empty((len(needed) + ROOM, 4), np.int64)
    arrays = (runs.lengths, runs.tails, runs.seen, runs.keys, runs.slots, runs.starts, runs.texts)
    flat = (read_only(array) for array in arrays)
    rest: tuple[Any, ...] = (*flat, needed, met_runs, met_texts, tallies, room)
    parts = [np.zeros((0, 4), np.int64)]
    document = 0
    while document + 1 < len(offsets):
        document, number = _find(data, offsets, document, _WORD_BYTES, *rest)
        parts.append(room[:number].copy())
    columns = (np.ascontiguousarray(column) for column in np.concatenate(parts).T)
    return Overlaps(**dict(zip(("documents", "texts", "counts", "positions"), columns, strict=True)))


def _word_bytes() -> Bytes:
    """Return for each byte its lower-cased value if it belongs to a word, else 0."""
    table = np.arange(256, dtype=np.uint8)
    table[ord("A") : ord("Z") + 1] += 32
    table[[byte for byte in range(128) if not (chr(byte).isalnum() or byte == ord("_"))]] = 0
    return read_only(table)


_WORD_BYTES = _word_bytes()


@compiled
def _mix(value: np.uint64) -> np.uint64:
    """Return a bijective hash of 64 bits: every input bit reaches every output bit."""
    value = (value ^ (value >> _HALF)) * _MIX
    value = (value ^ (value >> _HALF)) * _MIX
    return value ^ (value >> _HALF)


@compiled
def _count_words(data: Bytes, offsets: Indices, word_bytes: Bytes) -> Indices:
    counts = np.zeros(len(offsets) - 1, np.int64)
    for text in range(len(counts)):
        inside = False
        for position in range(offsets[text], offsets[text + 1]):
            belongs = word_bytes[data[position]] != 0
            counts[text] += int(belongs and not inside)
            inside = belongs
    return counts


@compiled
def _power(exponent: int) -> np.uint64:
    power = _U64(1)
    for _ in range(exponent):
        power *= _WORD_STEP
    return power


@compiled
def _run_hash(polynomials: Hashes, words: int, length: int, power: np.uint64) -> np.uint64:
    """Return the hash, not 0, of the last `length` of `words` words, from the polynomials of all words up to each."""
    last, before = polynomials[words & (_RING - 1)], polynomials[(words - length) & (_RING - 1)]
    hashed = _mix((last - before * power) ^ (_U64(length) * _BYTE_STEP))
    return hashed if hashed else _U64(1)


@compiled
def _all_runs(data: Bytes, offsets: Indices, sizes: Indices, word_bytes: Bytes, out: Hashes, tails: Hashes) -> None:
    """Write the hashes of each text's runs of its size to `out`, those of their last words to `tails`."""
    polynomials = np.zeros(_RING, np.uint64)
    tail_power = _power(LEAST_WORDS)
    number = 0
    for text in range(len(sizes)):
        power = _power(sizes[text])
        word = polynomials[0] = _U64(0)
        words = length = 0
        for position in range(offsets[text], offsets[text + 1] + 1):
            byte = word_bytes[data[position]] if position < offsets[text + 1] else np.uint8(0)
            if byte:
                word = (word ^ _U64(byte)) * _BYTE_STEP
                length += 1
            elif length:
                words += 1
                polynomials[words & (_RING - 1)] = polynomials[(words - 1) & (_RING - 1)] * _WORD_STEP + _mix(word)
                if words >= sizes[text] and sizes[text] >= LEAST_WORDS:
                    out[number] = _run_hash(polynomials, words, sizes[text], power)
                    tails[number] = _run_hash(polynomials, words, LEAST_WORDS, tail_power)
                    number += 1
                word, length = _U64(0), 0


@compiled
def _table(runs: Hashes) -> tuple[Hashes, Numbers]:
    """Return (keys, numbers) of an open hash table, at most half full."""
    size = 2
    while size < 2 * len(runs):
        size *= 2
    keys, slots = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    for run in range(len(runs)):
        slot = np.int64(runs[run] & _U64(size - 1))
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot], slots[slot] = runs[run], run
    return keys, slots


@compiled
def _filter(hashes: Hashes, bits_each: int) -> Hashes:
    """Return a power of two of bits, of which those are set that the upper halves of hashes point to."""
    bits = 64
    while bits < bits_each * len(hashes):
        bits *= 2
    seen = np.zeros(bits // 64, np.uint64)
    for hashed in hashes:
        bit = (hashed >> _HALF) & _U64(bits - 1)
        seen[np.int64(bit >> _U64(6))] |= _U64(1) << (bit & _U64(63))
    return seen


@compiled
def _may_hold(seen: Hashes, hashed: np.uint64) -> bool:
    """Return whether the bit of this hash is set in a filter."""
    bit = (hashed >> _HALF) & _U64(64 * len(seen) - 1)
    return bool((seen[np.int64(bit >> _U64(6))] >> (bit & _U64(63))) & _U64(1))


@compiled
def _run_number(hashed: np.uint64, keys: Hashes, slots: Numbers) -> int:
    """Return the number of a run, or -1."""
    slot = np.int64(hashed & _U64(len(keys) - 1))
    while keys[slot]:
        if keys[slot] == hashed:
            return int(slots[slot])
        slot = (slot + 1) & (len(keys) - 1)
    return -1


@compiled
def _find(
    data: Bytes,
    offsets: Indices,
    document: int,
    word_bytes: Bytes,
    lengths: Indices,
    tails: Hashes,
    seen: Hashes,
    keys: Hashes,
    slots: Numbers,
    starts: Numbers,
    texts: Numbers,
    needed: Indices,
    met_runs: Indices,
    met_texts: Indices,
    tallies: Indices,
    found: Indices,
) -> tuple[int, int]:
    """Write (document, text, runs, position) to `found`, from `document` on; return (the next document, rows).

    It stops where the next document could have more texts than there is room, as `automaton` does.
    `tallies` holds for each text that the document has met the number of its runs and where the first begins.
    """
    powers = np.empty(len(lengths), np.uint64)
    for which in range(len(lengths)):
        powers[which] = _power(lengths[which])
    polynomials, begins = np.zeros(_RING, np.uint64), np.zeros(_RING, np.int64)
    touched = np.empty(len(needed), np.int64)
    tail_power = _power(LEAST_WORDS)
    number = 0
    while document + 1 < len(offsets) and number + len(needed) <= len(found):
        first, stop = offsets[document], offsets[document + 1]
        word = polynomials[0] = _U64(0)
        words = length = met = 0
        for position in range(first, stop + 1):
            byte = word_bytes[data[position]] if position < stop else np.uint8(0)
            if byte:
                word = (word ^ _U64(byte)) * _BYTE_STEP
                length += 1
                continue
            if length == 0:
                continue
            words += 1
            polynomials[words & (_RING - 1)] = polynomials[(words - 1) & (_RING - 1)] * _WORD_STEP + _mix(word)
            begins[words & (_RING - 1)] = position - length - first
            word, length = _U64(0), 0
            if words < LEAST_WORDS:
                continue
            if not _may_hold(tails, _run_hash(polynomials, words, LEAST_WORDS, tail_power)):
                continue
            for which in range(len(lengths)):
                if words < lengths[which]:
                    break
                hashed = _run_hash(polynomials, words, lengths[which], powers[which])
                if not _may_hold(seen, hashed):
                    continue
                run = _run_number(hashed, keys, slots)
                if run < 0 or met_runs[run] == document:
                    continue
                met_runs[run] = document
                for entry in range(starts[run], starts[run + 1]):
                    text = texts[entry]
                    if met_texts[text] != document:
                        met_texts[text] = document
                        tallies[text, 0] = 0
                        tallies[text, 1] = begins[(words - lengths[which] + 1) & (_RING - 1)]
                        touched[met] = text
                        met += 1
                    tallies[text, 0] += 1
        for i in range(met):
            text = touched[i]
            if tallies[text, 0] >= needed[text]:
                found[number, 0], found[number, 1] = document, text
                found[number, 2], found[number, 3] = tallies[text, 0], tallies[text, 1]
                number += 1
        document += 1
    return document, number

r"""MinHash: from texts to shingle hashes, and from shingle hashes to the band keys under which near copies meet.

Follows section 4 of the paper's data description (5-grams, 256 permutations, bands of rows), with three changes:
texts with fewer tokens than a shingle get no signature at all (in the paper they all share one), the permutations run
over distinct shingles only, and the band layout follows from a recall that is asked for.

A token is a run of word characters: ASCII letters, lower-cased, digits, ``_`` and every byte above 127. The paper's
``\w`` knows the letters of Unicode; here all that is not ASCII counts as a letter and keeps its case, so that the
text need not be decoded. A shingle is a 32-bit hash of `ngram` consecutive tokens, in order; it does not depend on
the seed. Everything is integer arithmetic modulo 2^32 or 2^64: equal on every machine.

Which candidates are duplicates is decided in `near_duplicates`; nothing here compares two texts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.curate.kernel import Bytes, Indices, compiled, text_buffers
from starsmith.errors import StarsmithError
from starsmith.settings import NearDuplicateSettings

Hashes = npt.NDArray[np.uint32]
Words = npt.NDArray[np.uint64]

GROUP_SHINGLES = 4 * 1024 * 1024
"""Shingles that one kernel call may meet (or one text's, if it has more): bounds the memory of any batch."""
SHORTEST_TOKEN = {"words": 1, "paper": 0}
"""Bytes of the shortest token: splitting as the paper does leaves empty strings, which count."""
LANES = 64
"""Shingles are padded to a multiple of this before the permutations: four vectors of 16, as LLVM unrolls the loop.
Measured on 6,000 Python files: 1,200 MB of text per second and core, against 520 with the loops the other way round."""

_U32 = np.uint32
_U64 = np.uint64
_BYTE_STEP = _U64(0x9E3779B97F4A7C15)
_TOKEN_STEP = _U64(0x5851F42D4C957F2D)
_MIX = _U64(0xD6E8FEB86659FD93)
_HALF = _U64(32)
_MAX_U32 = _U32(0xFFFFFFFF)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a signature is cut: `bands` groups of `rows` minima; `bands` × `rows` permutations are computed."""

    bands: int
    rows: int

    def recall(self, similarity: float) -> float:
        """Return the probability that a pair of this Jaccard similarity shares at least one band.

        >>> round(Layout(bands=25, rows=10).recall(0.7), 3)
        0.511
        """
        return float(1 - (1 - similarity**self.rows) ** self.bands)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """What `sign` found in a batch of texts.

    num_shingles: int64 [texts], distinct shingles of each text; 0 where it has fewer than `ngram` tokens.
    shingles: [texts], the sorted distinct shingle hashes as little-endian uint32; empty where there are none.
    signed: int64 [signed], the indices of the texts that have shingles, rising.
    band_keys: int64 [signed, bands]; texts that agree in all rows of a band have the same key there.
    """

    num_shingles: Indices
    shingles: pa.LargeBinaryArray
    signed: Indices
    band_keys: Indices


def layout(settings: NearDuplicateSettings) -> Layout:
    """Return the band layout: the one that is set, else the most selective one that reaches the recall asked for.

    More rows mean fewer false candidates, so the largest number of rows wins for which `permutations` still give
    `recall` at similarity `recall_at`.

    >>> layout(NearDuplicateSettings())
    Layout(bands=36, rows=7)
    """
    if settings.bands or settings.rows:
        return _explicit_layout(settings)
    for rows in range(settings.permutations, 0, -1):
        found = Layout(bands=settings.permutations // rows, rows=rows)
        if found.recall(settings.recall_at) >= settings.recall:
            return found
    raise StarsmithError(
        f"`recall` = {settings.recall} at `recall_at` = {settings.recall_at} cannot be reached with "
        f"{settings.permutations} permutations; raise `permutations` or lower `recall`."
    )


def _explicit_layout(settings: NearDuplicateSettings) -> Layout:
    bands, rows = settings.bands, settings.rows
    if not bands or not rows:
        given, missing = ("bands", "rows") if bands else ("rows", "bands")
        raise StarsmithError(f"`{given}` is set but `{missing}` is not; set both, or neither to follow `recall`.")
    if bands * rows > settings.permutations:
        raise StarsmithError(
            f"`bands` × `rows` = {bands} × {rows} needs {bands * rows} permutations; "
            f"`permutations` is {settings.permutations}."
        )
    return Layout(bands=bands, rows=rows)


def sign(texts: pa.LargeBinaryArray, settings: NearDuplicateSettings) -> Signed:
    """Return shingles and band keys of `texts` (UTF-8, no nulls). Neighbours in the batch do not influence each other.

    Beside the result (twice, for a moment), memory is at most 8 bytes for each byte of the longest text, or 32 MiB.
    """
    if texts.null_count:
        raise ValueError("texts to sign must not be null")
    bands = layout(settings)
    data, offsets = text_buffers(texts)
    bounds = _shingle_bounds(np.diff(offsets), settings)
    counts = np.zeros(len(texts), np.int64)
    keys = np.zeros((len(texts), bands.bands), np.int64)
    parts = [np.zeros(0, np.uint32)]
    scratch = np.empty(int(bounds.max(initial=0)) + LANES, np.uint32)
    multipliers, addends = _permutations(settings.seed, bands.bands * bands.rows)
    for first, last in _groups(bounds):
        found = np.empty(int(bounds[first:last].sum()) + LANES, np.uint32)
        used = _sign_group(
            data,
            offsets[first : last + 1],
            settings.ngram,
            SHORTEST_TOKEN[settings.tokens],
            _WORD_BYTES,
            multipliers,
            addends,
            bands.rows,
            found,
            scratch,
            counts[first:last],
            keys[first:last],
        )
        parts.append(found[:used].copy())
    signed = np.flatnonzero(counts)
    return Signed(num_shingles=counts, shingles=_pack(parts, counts), signed=signed, band_keys=keys[signed])


def _word_bytes() -> Bytes:
    """Return for each byte its lower-cased value if it belongs to a word, else 0."""
    table = np.arange(256, dtype=np.uint8)
    table[ord("A") : ord("Z") + 1] += 32
    for byte in range(128):
        if not (chr(byte).isalnum() or byte == ord("_")):
            table[byte] = 0
    return table


_WORD_BYTES = _word_bytes()


def _shingle_bounds(lengths: Indices, settings: NearDuplicateSettings) -> Indices:
    """Return the most shingles a text of each length (bytes) can have: a token needs a byte and a separator."""
    tokens = (lengths + 1) // (1 + SHORTEST_TOKEN[settings.tokens])
    return cast(Indices, np.maximum(tokens - settings.ngram + 1, 0))


def _groups(bounds: Indices) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts that hold at most GROUP_SHINGLES together, or one text each."""
    ends = np.cumsum(bounds)
    first = 0
    while first < len(bounds):
        room = (ends[first - 1] if first else 0) + GROUP_SHINGLES
        last = max(first + 1, int(np.searchsorted(ends, room, side="right")))
        yield first, last
        first = last


def _permutations(seed: int, number: int) -> tuple[Hashes, Hashes]:
    """Return odd multipliers and addends of `number` permutations x ↦ a·x + b of the 32-bit integers.

    The paper's rule also reduces modulo a prime after the product has already wrapped; without it the map is a
    true permutation.
    """
    steps = np.arange(1, 2 * number + 1, dtype=np.uint64) * _BYTE_STEP
    state = steps + _U64(seed & 0xFFFF_FFFF_FFFF_FFFF)
    state = (state ^ (state >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> _U64(27))) * _U64(0x94D049BB133111EB)
    values = (state >> _HALF).astype(np.uint32)
    return values[:number] | _U32(1), values[number:]


def _pack(parts: list[Hashes], counts: Indices) -> pa.LargeBinaryArray:
    """Return shingles that lie one after another as one binary value per text."""
    flat = np.concatenate(parts).astype("<u4", copy=False)
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts * 4, out=offsets[1:])
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(counts), [None, pa.py_buffer(offsets), pa.py_buffer(flat)]
    )


@compiled
def _mix(value: np.uint64) -> np.uint64:
    """Return a bijective hash of 64 bits: every input bit reaches the upper half."""
    value = (value ^ (value >> _HALF)) * _MIX
    value = (value ^ (value >> _HALF)) * _MIX
    return value ^ (value >> _HALF)


@compiled
def _shingle(data: Bytes, start: int, stop: int, ngram: int, shortest: int, word_bytes: Bytes, out: Hashes) -> int:
    """Write the shingle hashes of data[start:stop] to `out` in text order and return their number.

    The last `ngram` token hashes form a polynomial that rolls along; its mixed upper half is the shingle.
    """
    window = np.zeros(ngram, np.uint64)
    leaving = _U64(1)
    for _ in range(ngram):
        leaving *= _TOKEN_STEP
    token = rolled = _U64(0)
    length = slot = tokens = found = 0
    for position in range(start, stop + 1):
        byte = word_bytes[data[position]] if position < stop else np.uint8(0)
        if byte:
            token = (token ^ _U64(byte)) * _BYTE_STEP
            length += 1
        elif length >= shortest:
            hashed = _mix(token)
            rolled = rolled * _TOKEN_STEP + hashed - window[slot] * leaving
            window[slot] = hashed
            slot = slot + 1 if slot + 1 < ngram else 0
            tokens += 1
            if tokens >= ngram:
                out[found] = _U32(_mix(rolled) >> _HALF)
                found += 1
            token = _U64(0)
            length = 0
    return found


@compiled
def _sort(values: Hashes, number: int, scratch: Hashes) -> None:
    """Sort the first `number` values in place: four counting passes, one per byte, whatever the input."""
    counts = np.zeros((4, 256), np.uint32)
    byte = _U32(255)
    for i in range(number):
        value = values[i]
        counts[0, value & byte] += _U32(1)
        counts[1, (value >> _U32(8)) & byte] += _U32(1)
        counts[2, (value >> _U32(16)) & byte] += _U32(1)
        counts[3, value >> _U32(24)] += _U32(1)
    source, target = values, scratch
    for level in range(4):
        total = _U32(0)
        for digit in range(256):
            here = counts[level, digit]
            counts[level, digit] = total
            total = _U32(total + here)
        shift = _U32(8 * level)
        for i in range(number):
            value = source[i]
            digit = (value >> shift) & byte
            target[counts[level, digit]] = value
            counts[level, digit] += _U32(1)
        source, target = target, source


@compiled
def _drop_repeats(values: Hashes, number: int) -> int:
    """Move the distinct ones of `number` sorted values to the front and return how many there are."""
    if number == 0:
        return 0
    kept = 1
    for i in range(1, number):
        value = values[i]
        differs = value != values[kept - 1]
        values[kept] = value
        kept += int(differs)
    return kept


@compiled
def _minima(shingles: Hashes, number: int, multipliers: Hashes, addends: Hashes, out: Hashes) -> None:
    """Write to `out` the least value of each permutation over `number` (≥ 1) shingles.

    Overwrites up to LANES - 1 values after them: repeating a shingle changes no minimum and spares the loop its
    scalar rest. Products must be cut to 32 bits at once: numba computes uint32 × uint32 in 64 bits.
    """
    padded = (number + LANES - 1) // LANES * LANES
    for i in range(number, padded):
        shingles[i] = shingles[0]
    for p in range(len(multipliers)):
        least = _MAX_U32
        multiplier, addend = multipliers[p], addends[p]
        for i in range(padded):
            least = min(least, _U32(_U32(shingles[i] * multiplier) + addend))
        out[p] = least


@compiled
def _band_keys(minima: Hashes, rows: int, out: Indices) -> None:
    """Write one 64-bit key per band to `out`: a hash of the band's number and its rows."""
    for band in range(len(out)):
        key = _mix(_U64(band + 1))
        for row in range(rows):
            key = _mix(key ^ _U64(minima[band * rows + row]))
        out[band] = np.int64(key)


@compiled
def _sign_group(
    data: Bytes,
    offsets: Indices,
    ngram: int,
    shortest: int,
    word_bytes: Bytes,
    multipliers: Hashes,
    addends: Hashes,
    rows: int,
    found: Hashes,
    scratch: Hashes,
    counts: Indices,
    keys: Indices,
) -> int:
    """Fill `counts` and `keys`, write each text's shingles to `found` one after another, return where they end."""
    minima = np.empty(len(multipliers), np.uint32)
    end = 0
    for text in range(len(counts)):
        room = found[end:]
        number = _shingle(data, offsets[text], offsets[text + 1], ngram, shortest, word_bytes, room)
        _sort(room, number, scratch)
        number = _drop_repeats(room, number)
        if number:
            _minima(room, number, multipliers, addends, minima)
            _band_keys(minima, rows, keys[text])
        counts[text] = number
        end += number
    return end

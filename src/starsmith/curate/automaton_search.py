"""Which texts of an automaton stand in a document, whatever its case and white space.

Nearly all of a document is nothing like any text, so most of it is only sampled: every text has a sequence of GRAM
bytes at each of its first few places, and every `stride` bytes the document is asked whether such a sequence stands
there. Where the answer is no, no text can begin in the bytes since the last sample. Where it is yes, the automaton is
run from there, for as long as what it has read could be the beginning of a text that the sample stands for. So what is
found is exactly what the automaton alone would find. A document made of nothing but samples costs the automaton's
time, which is linear.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.curate.automaton import Automaton, Numbers
from starsmith.curate.kernel import Bytes, Indices, compiled, read_only, text_buffers
from starsmith.curate.normal_form import classed, places

ROOM = 4096
"""Occurrences that a kernel call may find beside those of one document."""
GRAM = 12
"""Bytes of a sample. Measured on 60 MB of real code against 22,499 texts of 30 bytes and more: with 8 bytes every 23,
5.2 % of samples are found; 12 every 19, 1.1 %; 16 every 15, 0.8 %."""
SHORTEST = 16
"""With a text shorter than this nothing is skipped."""
FILTER_BITS = 32
"""Bits of the filter for each sequence, at least: one answer in 30 or fewer is yes by chance."""

_U64 = np.uint64
_LOW_STEP = _U64(0x9E3779B97F4A7C15)
_HIGH_STEP = _U64(0xD6E8FEB86659FD93)
_BYTE = _U64(8)
_TOP = _U64(56)
_HIGH_MASK = _U64(0xFFFFFFFF)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grams:
    """What is asked of samples of a document.

    bits: uint64 [a power of two], a bit for each hash of GRAM bytes that stand at one of the first `stride` places of
    a text. stride: bytes from sample to sample; 0 where nothing may be skipped. levels: int64 [depths + 1], the first
    state of each depth, and the number of states.
    """

    bits: npt.NDArray[np.uint64]
    stride: int
    levels: Indices


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """First occurrences, by document, then by where they end: each text once for a document.

    documents, texts: int64 [found]. positions: int64 [found], the byte of the document where the occurrence begins.
    """

    documents: Indices
    texts: Indices
    positions: Indices


def grams_of(automaton: Automaton) -> Grams:
    """Return what samples are held against; takes a few milliseconds for a hundred thousand short prefixes."""
    levels = [0, 1]
    while levels[-1] < len(automaton.labels):
        # States are in the order of their depth: the first child of a depth's first state begins the next depth.
        levels.append(int(automaton.children[levels[-1]]))
    shortest = int(automaton.lengths.min()) if len(automaton.lengths) else 0
    if shortest < SHORTEST:
        return Grams(bits=read_only(np.zeros(1, _U64)), stride=0, levels=read_only(np.array(levels, np.int64)))
    first, last = levels[GRAM], levels[shortest + 1]
    words = 1 << max(0, ((last - first) * FILTER_BITS // 64 - 1).bit_length())
    bits = np.zeros(words, _U64)
    _fill(read_only(automaton.labels), read_only(automaton.children), first, last, bits)
    return Grams(bits=read_only(bits), stride=shortest - GRAM + 1, levels=read_only(np.array(levels, np.int64)))


def find(documents: pa.LargeBinaryArray, automaton: Automaton, grams: Grams) -> Found:
    """Return which texts of the automaton each document holds; `grams` are those of the automaton.

    Documents do not influence each other. Memory beside the result is a byte for each of the documents, 8 bytes a text
    and, where something was found, 8 bytes a byte of that document.
    """
    data, offsets = text_buffers(documents)
    normal, normal_offsets = classed(data, offsets, automaton.classes, automaton.plain)
    parts = list(_found_parts(normal, normal_offsets, automaton, grams))
    found = np.concatenate([np.zeros((0, 3), np.int64), *parts])
    ids, texts, stops = (np.ascontiguousarray(column) for column in found.T)
    positions = np.empty(len(found), np.int64)
    for document in np.unique(ids):
        first, last = np.searchsorted(ids, (document, document + 1))
        starts = stops[first:last] - normal_offsets[document] - automaton.lengths[texts[first:last]]
        positions[first:last] = places(data[offsets[document] : offsets[document + 1]])[starts]
    return Found(documents=ids, texts=texts, positions=positions)


def _found_parts(normal: Bytes, offsets: Indices, automaton: Automaton, grams: Grams) -> Iterator[Indices]:
    """Yield rows of (document, text, normalised byte after its end) in order."""
    last_met = np.full(len(automaton.lengths), -1, np.int64)
    room = np.empty((len(last_met) + ROOM, 3), np.int64)
    arrays = (
        automaton.table,
        automaton.labels,
        automaton.children,
        automaton.fallback,
        automaton.reports,
        automaton.ends,
        grams.levels,
        grams.bits,
    )
    width = int(automaton.plain.max()) + 1
    rest: tuple[Any, ...] = (width, grams.stride, *(read_only(array) for array in arrays), last_met, room)
    document = 0
    while document + 1 < len(offsets):
        document, number = _find(normal, offsets, document, *rest)
        yield room[:number].copy()


@compiled
def _bit_of(high: np.uint64, low: np.uint64, words: int) -> tuple[np.uint64, np.uint64]:
    """Return (word, bit) of GRAM bytes in the filter: four of them in `high`, eight in `low`."""
    mixed = low * _LOW_STEP + high * _HIGH_STEP
    mixed ^= mixed >> _U64(32)
    mixed *= _LOW_STEP
    return (mixed >> _U64(16)) & _U64(words - 1), _U64(1) << (mixed >> _U64(58))


@compiled
def _fill(labels: Bytes, children: Numbers, first: int, last: int, bits: npt.NDArray[np.uint64]) -> None:
    """Set the bits of the last GRAM bytes of every state from `first` to `last`."""
    low, high = np.zeros(last, np.uint64), np.zeros(last, np.uint64)
    for state in range(last):
        for child in range(children[state], min(last, children[state + 1])):
            low[child] = low[state] << _BYTE | _U64(labels[child])
            high[child] = (high[state] << _BYTE | low[state] >> _TOP) & _HIGH_MASK
    for state in range(first, last):
        word, bit = _bit_of(high[state], low[state], len(bits))
        bits[word] |= bit


@compiled
def _may_begin(data: Bytes, at: np.uint64, bits: npt.NDArray[np.uint64]) -> bool:
    """Whether the GRAM bytes at `at` may stand near the beginning of a text."""
    low, high = _U64(0), _U64(0)
    for i in range(_U64(4)):
        high = high << _BYTE | _U64(data[at + i])
    for i in range(_U64(4), _U64(GRAM)):
        low = low << _BYTE | _U64(data[at + i])
    word, bit = _bit_of(high, low, len(bits))
    return bool(bits[word] & bit)


@compiled
def _follow(labels: Bytes, children: Numbers, fallback: Numbers, rows: int, state: int, label: int) -> tuple[int, int]:
    """Return (the state `label` leads to, 0) from a state without a row, or (0, a state with a row to go on from)."""
    while state >= rows:
        for child in range(children[state], children[state + 1]):
            if labels[child] == label:
                return child, 0
        state = fallback[state]
    return 0, state


@compiled
def _depth(levels: Indices, state: int) -> int:
    low, high = 0, len(levels) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if levels[middle] <= state:
            low = middle
        else:
            high = middle
    return low


@compiled
def _find(
    data: Bytes,
    offsets: Indices,
    document: int,
    width: int,
    stride: int,
    table: Numbers,
    labels: Bytes,
    children: Numbers,
    fallback: Numbers,
    reports: Numbers,
    ends: Numbers,
    levels: Indices,
    bits: npt.NDArray[np.uint64],
    last_met: Indices,
    found: Indices,
) -> tuple[int, int]:
    """Write (document, text, byte after its end in `data`) of first occurrences to `found`, from `document` on.

    Returns (the document to go on with, rows written); it stops where the next document could have more texts than
    there is room. The room is fixed because a kernel that may replace an array runs at a fifth of the speed.
    `row` walks the table while nothing happens; `state` is 0 as long as it does. A text that a document is known to
    hold ends the walk over suffixes: those were met with it. `met` is the last sample that was found: the walk goes on
    until no text that begins at it or before can still end.
    """
    number = 0
    size, rows = len(table), len(table) // width
    while document + 1 < len(offsets) and number + len(last_met) <= len(found):
        first, stop = offsets[document], offsets[document + 1]
        row = state = 0
        is_walking = False
        sample = met = position = first
        while sample < stop:
            if stride == 0 or (sample + GRAM <= stop and _may_begin(data, _U64(sample), bits)):
                if not is_walking:
                    row = state = 0
                    position = max(first, sample - max(stride, 1) + 1)
                is_walking, met = True, sample
            sample = min(stop, sample + stride) if stride else stop
            if not is_walking:
                continue
            while position < sample:
                label = data[position]
                position += 1
                if state:
                    state, suffix = _follow(labels, children, fallback, rows, state, label)
                    row = suffix * width
                if state == 0:
                    row = table[row + label]
                    if row < size:
                        continue
                    state = row - size
                report = reports[state]
                while report and last_met[ends[report]] != document:
                    last_met[ends[report]] = document
                    found[number, 0], found[number, 1], found[number, 2] = document, ends[report], position
                    number += 1
                    report = reports[fallback[report]]
                if state < rows:
                    row, state = state * width, 0
            is_walking = position - _depth(levels, state if state else row // width) <= met
        document += 1
    return document, number

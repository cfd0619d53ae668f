"""One automaton over many texts: which of them stand in a document, whatever its case and white space.

Follows section 6 of the paper's data description, which compares after lower-casing and removing all white space.
Both sides are normalised alike, the document while it is read: ASCII letters are lowered, what Python calls white
space is skipped (also the wide spaces of Unicode), every other byte stands for itself. So the case of other alphabets
counts. The automaton is that of Aho and Corasick (1975): one step for each byte and one more for each byte gone back,
however many texts there are and whatever the document holds.

Which texts are worth looking for, and what a match means, is for `decontaminate`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.curate.kernel import Bytes, Indices, compiled, read_only, text_buffers
from starsmith.errors import StarsmithError

Numbers = npt.NDArray[np.int32]

TABLE_STATES = 4096
"""States that have a full row of successors; the others have a list of children and a link to fall back on. Measured
on 60 MB of real Python and C against 15,756 texts: 512 rows 205, 1024 rows 269, 4096 rows 306, 32768 rows 318 MB/s."""

ROOM = 4096
"""Occurrences that a kernel call may find beside those of one document."""

_SKIPPED = 255
_MAYBE_WIDE = 254
_WIDE_LEADS = (0xC2, 0xE1, 0xE2, 0xE3)
"""First bytes of the white space beyond ASCII, in UTF-8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Automaton:
    """States in the order of their depth, so that the children of one state are neighbours.

    classes: uint8 [256], a byte's number among those that occur in texts, 0 for any other, or what to do with it.
    plain: uint8 [256], the same for bytes that may begin a wide space and do not.
    table: int32 [rows × classes], where the next state's row begins; where it has none or ends a text, the table's
    length plus its number.
    labels: uint8 [states], the class that leads to a state.
    children: int32 [states + 1], where a state's children begin.
    fallback: int32 [states], the state of the longest proper suffix.
    reports: int32 [states], the nearest state on the way of suffixes, itself included, that ends a text; 0: none.
    ends: int32 [states], the text that ends here, or -1.
    lengths: int32 [texts], normalised bytes of each text.
    """

    classes: Bytes
    plain: Bytes
    table: Numbers
    labels: Bytes
    children: Numbers
    fallback: Numbers
    reports: Numbers
    ends: Numbers
    lengths: Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """First occurrences, by document, then by where they end: each text once for a document.

    documents, texts: int64 [found]. positions: int64 [found], the byte of the document where the occurrence begins.
    """

    documents: Indices
    texts: Indices
    positions: Indices


def normalised(text: bytes) -> bytes:
    """Return `text` as it is compared.

    >>> normalised("Return\\u00a0 X;\\n".encode())
    b'returnx;'
    """
    data = read_only(np.frombuffer(text, np.uint8))
    out = np.empty(len(data), np.uint8)
    return out[: _normalise(data, _FOLDED, out)].tobytes()


def build(texts: Sequence[bytes]) -> Automaton:
    """Return the automaton of distinct normalised `texts`, which must be sorted and not empty.

    Memory is 17 bytes for each byte of text that is not a prefix of another, and twice that for a moment.
    Raises StarsmithError above 2^31 bytes of text.
    """
    if any(later <= earlier for earlier, later in pairwise(texts)) or b"" in texts:
        raise ValueError("texts must be sorted, distinct and not empty")
    lengths = np.array([len(text) for text in texts], np.int64)
    if lengths.sum() >= 2**31 - 1:
        raise StarsmithError(f"Benchmark texts of {lengths.sum()} bytes are too many to look for; the most is 2 GiB.")
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    data = np.frombuffer(b"".join(texts), np.uint8)
    plain = _plain_classes(data)
    labels, parents, ends = _tree(read_only(plain[data]), read_only(offsets))
    children = _children(parents)
    width = int(plain.max(initial=0)) + 1
    table = np.zeros((min(len(labels), TABLE_STATES), width), np.int32)
    fallback, reports = _links(read_only(labels), read_only(parents), read_only(children), read_only(ends), table)
    return Automaton(
        classes=_classes(plain),
        plain=plain,
        table=_flat(table, reports),
        labels=labels,
        children=children,
        fallback=fallback,
        reports=reports,
        ends=ends,
        lengths=lengths.astype(np.int32),
    )


def find(documents: pa.LargeBinaryArray, automaton: Automaton) -> Found:
    """Return which texts of the automaton each document holds. Documents do not influence each other.

    Memory beside the result is 4 bytes a text and, where something was found, 8 bytes a byte of that document.
    """
    data, offsets = text_buffers(documents)
    parts = list(_found_parts(data, offsets, automaton))
    found = np.concatenate([np.zeros((0, 3), np.int64), *parts])
    ids, texts, stops = (np.ascontiguousarray(column) for column in found.T)
    positions = np.empty(len(found), np.int64)
    for document in np.unique(ids):
        first, last = np.searchsorted(ids, (document, document + 1))
        places = _places(data[offsets[document] : offsets[document + 1]], _FOLDED)
        ends = np.searchsorted(places, stops[first:last] - offsets[document])
        positions[first:last] = places[ends - automaton.lengths[texts[first:last]]]
    return Found(documents=ids, texts=texts, positions=positions)


def _found_parts(data: Bytes, offsets: Indices, automaton: Automaton) -> Iterator[Indices]:
    """Yield rows of (document, text, byte after its end) in order."""
    last_met = np.full(len(automaton.lengths), -1, np.int64)
    room = np.empty((len(last_met) + ROOM, 3), np.int64)
    arrays = (
        automaton.classes,
        automaton.plain,
        automaton.table,
        automaton.labels,
        automaton.children,
        automaton.fallback,
        automaton.reports,
        automaton.ends,
    )
    rest: tuple[Any, ...] = (*(read_only(array) for array in arrays), last_met, room)
    document = 0
    while document + 1 < len(offsets):
        document, number = _find(data, offsets, document, *rest)
        yield room[:number].copy()


def _folded() -> Bytes:
    """Return what each byte becomes in a normalised text, if it is not part of white space."""
    table = np.arange(256, dtype=np.uint8)
    table[ord("A") : ord("Z") + 1] += 32
    return read_only(table)


def _special() -> Bytes:
    """Return for each byte whether it is skipped, may begin a wide space, or neither."""
    table = np.zeros(256, np.uint8)
    table[[byte for byte in range(128) if chr(byte).isspace()]] = _SKIPPED
    table[list(_WIDE_LEADS)] = _MAYBE_WIDE
    return read_only(table)


_FOLDED = _folded()
_SPECIAL = _special()


def _plain_classes(data: Bytes) -> Bytes:
    """Return a class for each byte that occurs in normalised texts, the same for a letter's two cases."""
    classes = np.zeros(256, np.uint8)
    used = np.unique(data)
    classes[used] = np.arange(1, len(used) + 1)
    return classes[_FOLDED]


def _classes(plain: Bytes) -> Bytes:
    return np.where(_SPECIAL > 0, _SPECIAL, plain)


def _flat(table: Numbers, reports: Numbers) -> Numbers:
    """Return the table of states as `Automaton` holds it."""
    rows, width = table.shape
    special = (table >= rows) | (reports[table] > 0)
    return np.where(special, table.size + table, table * width).astype(np.int32).reshape(-1)


def _children(parents: Numbers) -> Numbers:
    """Return where each state's children begin: states are in the order of their parents."""
    children = np.ones(len(parents) + 1, np.int32)
    children[1:] += np.cumsum(np.bincount(parents[1:], minlength=len(parents)), dtype=np.int32)
    return children


@compiled
def _wide_space(data: Bytes, position: int, stop: int) -> int:
    """Return the bytes of the white space beyond ASCII that begins here, 0 if none does."""
    first = data[position]
    if first == 0xC2:
        return 2 if position + 1 < stop and (data[position + 1] == 0x85 or data[position + 1] == 0xA0) else 0
    if position + 2 >= stop:
        return 0
    second, third = data[position + 1], data[position + 2]
    if first == 0xE2 and second == 0x80:
        is_space = 0x80 <= third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF
    elif first == 0xE2:
        is_space = second == 0x81 and third == 0x9F
    elif first == 0xE1:
        is_space = second == 0x9A and third == 0x80
    else:
        is_space = first == 0xE3 and second == 0x80 and third == 0x80
    return 3 if is_space else 0


@compiled
def _space(data: Bytes, position: int, stop: int) -> int:
    """Return the bytes of the white space that begins here, 0 if none does."""
    special = _SPECIAL[data[position]]
    if special == _SKIPPED:
        return 1
    return _wide_space(data, position, stop) if special else 0


@compiled
def _normalise(data: Bytes, folded: Bytes, out: Bytes) -> int:
    """Write the normalised text to `out` and return its length."""
    position = length = 0
    while position < len(data):
        size = _space(data, position, len(data))
        if size == 0:
            out[length] = folded[data[position]]
            length += 1
        position += max(size, 1)
    return length


@compiled
def _places(data: Bytes, folded: Bytes) -> Indices:
    """Return the byte at which each normalised byte stands."""
    places = np.empty(len(data), np.int64)
    position = length = 0
    while position < len(data):
        size = _space(data, position, len(data))
        if size == 0:
            places[length] = position
            length += 1
        position += max(size, 1)
    return places[:length]


@compiled
def _tree(labels: Bytes, offsets: Indices) -> tuple[Bytes, Numbers, Numbers]:
    """Return (label, parent, text that ends here or -1) of each state, level by level; state 0 is the root.

    Texts are sorted, so texts that share a prefix are neighbours.
    """
    room = len(labels) + 1
    label = np.zeros(room, np.uint8)
    parent = np.zeros(room, np.int32)
    ends = np.full(room, -1, np.int32)
    state_of = np.zeros(len(offsets) - 1, np.int32)
    active = np.arange(len(offsets) - 1)
    states = 1
    depth = 0
    while len(active):
        kept = 0
        last_parent, last_label = -1, 0
        for text in active:
            state = state_of[text]
            if offsets[text] + depth == offsets[text + 1]:
                ends[state] = text
                continue
            here = labels[offsets[text] + depth]
            if state != last_parent or here != last_label:
                last_parent, last_label = state, here
                label[states], parent[states] = here, state
                states += 1
            state_of[text] = states - 1
            active[kept] = text
            kept += 1
        active = active[:kept]
        depth += 1
    return label[:states].copy(), parent[:states].copy(), ends[:states].copy()


@compiled
def _child(labels: Bytes, children: Numbers, state: int, label: int) -> int:
    """Return the state that `label` leads to, 0 if there is none."""
    for child in range(children[state], children[state + 1]):
        if labels[child] == label:
            return child
    return 0


@compiled
def _links(
    labels: Bytes, parents: Numbers, children: Numbers, ends: Numbers, table: Numbers
) -> tuple[Numbers, Numbers]:
    """Fill `table` with states and return (fallback, reports). Suffixes are shallower, so they come first."""
    fallback = np.zeros(len(labels), np.int32)
    reports = np.zeros(len(labels), np.int32)
    for state in range(len(labels)):
        if parents[state]:
            suffix, label = fallback[parents[state]], labels[state]
            while suffix >= len(table) and fallback[state] == 0:
                fallback[state] = _child(labels, children, suffix, label)
                suffix = fallback[suffix]
            if fallback[state] == 0:
                fallback[state] = table[suffix, label]
        reports[state] = state if ends[state] >= 0 else reports[fallback[state]]
        if state < len(table):
            if state:
                table[state] = table[fallback[state]]
            for child in range(children[state], children[state + 1]):
                table[state, labels[child]] = child
    return fallback, reports


@compiled
def _follow(labels: Bytes, children: Numbers, fallback: Numbers, rows: int, state: int, label: int) -> tuple[int, int]:
    """Return (the state `label` leads to, 0) from a state without a row, or (0, a state with a row to go on from)."""
    while state >= rows:
        after = _child(labels, children, state, label)
        if after:
            return after, 0
        state = fallback[state]
    return 0, state


@compiled
def _find(
    data: Bytes,
    offsets: Indices,
    document: int,
    classes: Bytes,
    plain: Bytes,
    table: Numbers,
    labels: Bytes,
    children: Numbers,
    fallback: Numbers,
    reports: Numbers,
    ends: Numbers,
    last_met: Indices,
    found: Indices,
) -> tuple[int, int]:
    """Write (document, text, byte after its end in `data`) of first occurrences to `found`, from `document` on.

    Returns (the document to go on with, rows written); it stops where the next document could have more texts than
    there is room. The room is fixed because a kernel that may replace an array runs at a fifth of the speed.
    `row` walks the table while nothing happens; `state` is 0 as long as it does. A text that a document is known to
    hold ends the walk over suffixes: those were met with it.
    """
    number = 0
    width = int(plain.max()) + 1
    size, rows = len(table), len(table) // width
    while document + 1 < len(offsets) and number + len(last_met) <= len(found):
        row = state = 0
        position, stop = offsets[document], offsets[document + 1]
        while position < stop:
            label = classes[data[position]]
            position += 1
            if label >= _MAYBE_WIDE:
                space = 1 if label == _SKIPPED else _wide_space(data, position - 1, stop)
                if space:
                    position += space - 1
                    continue
                label = plain[data[position - 1]]
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
        document += 1
    return document, number

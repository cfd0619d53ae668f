"""One automaton over many texts, for finding which of them stand in a document.

Texts are in the form of `normal_form`. The automaton is that of Aho and Corasick (1975): one step for each byte and
one more for each byte gone back, however many texts there are and whatever the document holds. `automaton_search`
runs it.

Which texts are worth looking for, and what a match means, is for `decontaminate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from starsmith.curate.kernel import Bytes, Indices, compiled, read_only
from starsmith.curate.normal_form import FOLDED, SPECIAL
from starsmith.errors import StarsmithError

Numbers = npt.NDArray[np.int32]

TABLE_STATES = 4096
"""States that have a full row of successors; the others have a list of children and a link to fall back on. Measured
on 60 MB of real Python and C against 15,756 texts: 512 rows 205, 1024 rows 269, 4096 rows 306, 32768 rows 318 MB/s."""


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


def _plain_classes(data: Bytes) -> Bytes:
    """Return a class for each byte that occurs in normalised texts, the same for a letter's two cases."""
    classes = np.zeros(256, np.uint8)
    used = np.unique(data)
    classes[used] = np.arange(1, len(used) + 1)
    return classes[FOLDED]


def _classes(plain: Bytes) -> Bytes:
    return np.where(SPECIAL > 0, SPECIAL, plain)


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

"""Byte-level BPE as machine code: texts in, token ids out, exactly as the saved tokenizer's own library gives them.

A text is split into pieces by the rule of section 9 of the paper's data description (single digits, then GPT-2's rule),
and the merges are applied to each piece, lowest rank first, leftmost among equals. Three things make it fast and change
no id: a piece that is a token is looked up whole; the tokens of short pieces are remembered; merges are found by a hash
of the pair. A long piece (a megabyte of one letter) takes a heap, so that its cost is n log n.

The rule as a regular expression, tried from left to right, a digit being whatever is split off first:
`'s|'t|'re|'ve|'m|'ll|'d|\\d| ?\\p{L}+| ?[^\\s\\p{L}\\d]+|\\s+(?![^\\s\\d])|\\s+`.

Kernels only; `encoder` makes the tables they take. numba caches a kernel by the file it stands in.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.uint32]
Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
Whole = int | np.integer[Any]

OTHER, LETTER, DIGIT, SPACE = 0, 1, 2, 3

SHORT_PIECE = 64
"""Pieces of more bytes take the heap; up to here scanning all ranks is as fast."""
CACHED_BYTES = 24
CACHED_TOKENS = 8
CACHE_BITS = 16
"""4 MB. Pieces that do not fit, or came before another with the same place, are merged again."""

_NO_RANK = np.int32(2**31 - 1)
_FNV_START = np.uint64(0xCBF29CE484222325)
_FNV_FACTOR = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_EMPTY = np.uint64(2**64 - 1)

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile to machine code on the first call, cached on disk, other threads running beside it."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))


@compiled
def class_at(data: Bytes, place: Whole, classes: Bytes) -> tuple[Whole, Whole]:
    """Return (class, bytes) of the character that begins at a place of valid UTF-8."""
    first = np.int64(data[place])
    if first < 0x80:
        return classes[first], 1
    if first < 0xE0:
        return classes[(first & 0x1F) << 6 | (data[place + 1] & 0x3F)], 2
    if first < 0xF0:
        return classes[(first & 0x0F) << 12 | (data[place + 1] & 0x3F) << 6 | (data[place + 2] & 0x3F)], 3
    high = (first & 0x07) << 18 | (data[place + 1] & 0x3F) << 12
    return classes[high | (data[place + 2] & 0x3F) << 6 | (data[place + 3] & 0x3F)], 4


@compiled
def end_of_run(data: Bytes, place: Whole, stop: Whole, kind: Whole, classes: Bytes) -> Whole:
    """Return where the characters of one class end that begin at a place."""
    while place < stop:
        found, size = class_at(data, place, classes)
        if found != kind:
            break
        place += size
    return place


@compiled
def end_of_contraction(data: Bytes, place: Whole, stop: Whole) -> Whole:
    """Return the end of 's, 't, 're, 've, 'm, 'll or 'd, or the place itself."""
    if data[place] != 39 or place + 1 >= stop:
        return place
    first = data[place + 1]
    if first == 115 or first == 116 or first == 109 or first == 100:
        return place + 2
    second = data[place + 2] if place + 2 < stop else np.uint8(0)
    is_long = second == 101 if first == 114 or first == 118 else first == 108 and second == 108
    return place + 3 if is_long else place


@compiled
def end_of_piece(data: Bytes, place: Whole, stop: Whole, classes: Bytes) -> Whole:
    """Return where the piece ends that begins at a place."""
    kind, size = class_at(data, place, classes)
    if kind == LETTER:
        return end_of_run(data, place + size, stop, LETTER, classes)
    if kind == DIGIT:
        return place + size
    if kind == OTHER:
        contraction = end_of_contraction(data, place, stop)
        return contraction if contraction > place else end_of_run(data, place + size, stop, OTHER, classes)
    if data[place] == 32 and place + 1 < stop:
        follows, width = class_at(data, place + 1, classes)
        if follows in (LETTER, OTHER):
            return end_of_run(data, place + 1 + width, stop, follows, classes)
    end, last = place + size, place
    while end < stop:
        follows, width = class_at(data, end, classes)
        if follows != SPACE:
            # The last space goes to the word that follows it, if it is not the only one.
            return last if follows != DIGIT and last > place else end
        last = end
        end += width
    return end


@compiled
def hash_of(data: Bytes, start: Whole, stop: Whole) -> Whole:
    found = _FNV_START
    for place in range(start, stop):
        found = (found ^ np.uint64(data[place])) * _FNV_FACTOR
    return (found ^ (found >> np.uint64(29))) * _MIX


@compiled
def whole_token(
    data: Bytes, start: Whole, stop: Whole, key: Whole, slots: Small, token_bytes: Bytes, token_ends: Numbers
) -> Whole:
    """Return the token that a piece is, or -1. `slots` hold the tokens by hash, -1 where there is none."""
    mask = len(slots) - 1
    slot = np.int64(np.uint64(key) & np.uint64(mask))
    size = stop - start
    while slots[slot] >= 0:
        token = np.int64(slots[slot])
        first = token_ends[token]
        if token_ends[token + 1] - first == size:
            same = True
            for number in range(size):
                if token_bytes[first + number] != data[start + number]:
                    same = False
                    break
            if same:
                return token
        slot = (slot + 1) & mask
    return -1


@compiled
def slot_of_pair(keys: Keys, left: Whole, right: Whole) -> Whole:
    """Return the slot of a pair of tokens, or the empty one it would take."""
    key = np.uint64(left) << np.uint64(32) | np.uint64(right)
    mask = len(keys) - 1
    slot = np.int64((key * _MIX) >> np.uint64(40)) & mask
    while keys[slot] != key and keys[slot] != _EMPTY:
        slot = (slot + 1) & mask
    return slot


@compiled
def rank_of(keys: Keys, ranks: Small, left: Whole, right: Whole) -> Whole:
    slot = slot_of_pair(keys, left, right)
    return ranks[slot] if keys[slot] != _EMPTY else _NO_RANK


@compiled
def merge_short(
    data: Bytes,
    start: Whole,
    stop: Whole,
    byte_ids: Small,
    keys: Keys,
    ranks: Small,
    merged: Small,
    out: Ids,
    at: Whole,
) -> Whole:
    """Write the tokens of a piece of up to SHORT_PIECE bytes; return where they end."""
    symbols, found = np.empty(SHORT_PIECE, np.int32), np.empty(SHORT_PIECE, np.int32)
    count = stop - start
    for number in range(count):
        symbols[number] = byte_ids[data[start + number]]
    for number in range(count - 1):
        found[number] = rank_of(keys, ranks, symbols[number], symbols[number + 1])
    while count > 1:
        best, least = -1, _NO_RANK
        for number in range(count - 1):
            if found[number] < least:
                best, least = number, found[number]
        if best < 0:
            break
        symbols[best] = merged[slot_of_pair(keys, symbols[best], symbols[best + 1])]
        count -= 1
        for number in range(best + 1, count):
            symbols[number] = symbols[number + 1]
            found[number - 1] = found[number]
        if best > 0:
            found[best - 1] = rank_of(keys, ranks, symbols[best - 1], symbols[best])
        if best < count - 1:
            found[best] = rank_of(keys, ranks, symbols[best], symbols[best + 1])
    for number in range(count):
        out[at + number] = symbols[number]
    return at + count


@compiled
def push(heap: Numbers, count: Whole, value: Whole) -> Whole:
    place = count
    while place > 0 and heap[(place - 1) >> 1] > value:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = value
    return count + 1


@compiled
def pop(heap: Numbers, count: Whole) -> Whole:
    """Move the least value to the end, where it stands after the heap; return how many are left in it."""
    least, value, left = heap[0], heap[count - 1], count - 1
    place = 0
    while True:
        child = 2 * place + 1
        if child >= left:
            break
        if child + 1 < left and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value
    heap[left] = least
    return left


@compiled
def merge_long(
    data: Bytes,
    start: Whole,
    stop: Whole,
    byte_ids: Small,
    keys: Keys,
    ranks: Small,
    merged: Small,
    out: Ids,
    at: Whole,
) -> Whole:
    """Write the tokens of a piece of any length; return where they end.

    The heap holds rank and place of pairs, some of which are no more: `found` says what is at a place now.
    """
    size = stop - start
    symbols, found = np.empty(size, np.int32), np.full(size, _NO_RANK, np.int32)
    before, after = np.arange(-1, size - 1).astype(np.int32), np.arange(1, size + 1).astype(np.int32)
    # Every byte begins a pair once, and every merge makes at most two.
    heap = np.empty(3 * size, np.int64)
    count: Whole = 0
    for place in range(size):
        symbols[place] = byte_ids[data[start + place]]
    for place in range(size - 1):
        found[place] = rank_of(keys, ranks, symbols[place], symbols[place + 1])
        if found[place] != _NO_RANK:
            count = push(heap, count, np.int64(found[place]) << 32 | place)
    while count:
        count = pop(heap, count)
        rank, place = heap[count] >> 32, heap[count] & 0xFFFFFFFF
        if found[place] != rank:
            continue
        right = after[place]
        symbols[place] = merged[slot_of_pair(keys, symbols[place], symbols[right])]
        found[right] = _NO_RANK
        after[place] = after[right]
        if after[place] < size:
            before[after[place]] = place
        for left in (np.int64(before[place]), np.int64(place)):
            if left >= 0 and after[left] < size:
                found[left] = rank_of(keys, ranks, symbols[left], symbols[after[left]])
                if found[left] != _NO_RANK:
                    count = push(heap, count, np.int64(found[left]) << 32 | left)
            elif left >= 0:
                found[left] = _NO_RANK
    place = 0
    while place < size:
        out[at] = symbols[place]
        at += 1
        place = after[place]
    return at


@compiled
def cached(
    data: Bytes, start: Whole, stop: Whole, slot: Whole, cache_bytes: Bytes, cache_ids: Ids, out: Ids, at: Whole
) -> Whole:
    """Write the remembered tokens of a piece; return where they end, -1 if it is not the one that is remembered.

    Of a slot, the first two bytes are the lengths of the piece and of its tokens.
    """
    size = stop - start
    if cache_bytes[slot, 0] != size:
        return -1
    for number in range(size):
        if cache_bytes[slot, 2 + number] != data[start + number]:
            return -1
    count = np.int64(cache_bytes[slot, 1])
    for number in range(count):
        out[at + number] = cache_ids[slot, number]
    return at + count


@compiled
def remember(
    data: Bytes,
    start: Whole,
    stop: Whole,
    slot: Whole,
    cache_bytes: Bytes,
    cache_ids: Ids,
    out: Ids,
    at: Whole,
    end: Whole,
) -> None:
    cache_bytes[slot, 0], cache_bytes[slot, 1] = stop - start, end - at
    for number in range(stop - start):
        cache_bytes[slot, 2 + number] = data[start + number]
    for number in range(end - at):
        cache_ids[slot, number] = out[at + number]


@compiled
def encode(
    data: Bytes,
    ends: Numbers,
    classes: Bytes,
    slots: Small,
    token_bytes: Bytes,
    token_ends: Numbers,
    byte_ids: Small,
    keys: Keys,
    ranks: Small,
    merged: Small,
    cache_bytes: Bytes,
    cache_ids: Ids,
    out: Ids,
    counts: Numbers,
) -> Whole:
    """Write the tokens of texts after each other, and how many each has; return how many there are.

    Text i is ``data[ends[i] : ends[i + 1]]``, valid UTF-8. `out` must have room for a token a byte.
    """
    at: Whole = 0
    for number in range(len(ends) - 1):
        place: Whole = ends[number]
        stop, first = ends[number + 1], at
        while place < stop:
            end = end_of_piece(data, place, stop, classes)
            if end == place + 1:
                out[at] = byte_ids[data[place]]
                at += 1
                place = end
                continue
            key = hash_of(data, place, end)
            token = whole_token(data, place, end, key, slots, token_bytes, token_ends)
            if token >= 0:
                out[at] = token
                at += 1
                place = end
                continue
            slot = np.int64(np.uint64(key) >> np.uint64(64 - CACHE_BITS))
            known: Whole = np.int64(-1)
            if end - place <= CACHED_BYTES:
                known = cached(data, place, end, slot, cache_bytes, cache_ids, out, at)
            if known >= 0:
                at = known
                place = end
                continue
            if end - place <= SHORT_PIECE:
                last = merge_short(data, place, end, byte_ids, keys, ranks, merged, out, at)
            else:
                last = merge_long(data, place, end, byte_ids, keys, ranks, merged, out, at)
            if end - place <= CACHED_BYTES and last - at <= CACHED_TOKENS:
                remember(data, place, end, slot, cache_bytes, cache_ids, out, at, last)
            at = last
            place = end
        counts[number] = at - first
    return at


@compiled
def fill_pairs(keys: Keys, ranks: Small, merged: Small, pairs: Numbers) -> None:
    """Enter the merges, rows of (left, right, merged) by rank; of a pair that comes twice the first counts."""
    for rank in range(len(pairs)):
        slot = slot_of_pair(keys, pairs[rank, 0], pairs[rank, 1])
        if keys[slot] == _EMPTY:
            keys[slot] = np.uint64(pairs[rank, 0]) << np.uint64(32) | np.uint64(pairs[rank, 1])
            ranks[slot], merged[slot] = rank, pairs[rank, 2]


@compiled
def fill_tokens(
    slots: Small, token_bytes: Bytes, token_ends: Numbers, byte_ids: Small, keys: Keys, ranks: Small, merged: Small
) -> None:
    """Enter the tokens that the merges make of their own bytes; no other may stand for a piece."""
    longest = 1
    for token in range(len(token_ends) - 1):
        longest = max(longest, token_ends[token + 1] - token_ends[token])
    out = np.empty(longest, np.uint32)
    mask = len(slots) - 1
    for token in range(len(token_ends) - 1):
        start, stop = token_ends[token], token_ends[token + 1]
        if start == stop:
            continue
        end = merge_long(token_bytes, start, stop, byte_ids, keys, ranks, merged, out, 0)
        if end != 1 or out[0] != token:
            continue
        slot = np.int64(np.uint64(hash_of(token_bytes, start, stop)) & np.uint64(mask))
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = token

"""The form in which texts of benchmarks and documents are compared: lower case, no white space.

Follows section 6 of the paper's data description. ASCII letters are lowered, what Python calls white space is skipped
(also the wide spaces of Unicode), every other byte stands for itself. So the case of other alphabets counts. Both
sides go through the same tables. What is looked for in the result is the business of `automaton`.
"""

import numpy as np

from starsmith.curate.kernel import Bytes, Indices, Whole, compiled, read_only

SKIPPED = 255
MAYBE_WIDE = 254
"""What `SPECIAL` says of a byte that is not a class: never part of a normal form, or perhaps."""
_WIDE_LEADS = (0xC2, 0xE1, 0xE2, 0xE3)
"""First bytes of the white space beyond ASCII, in UTF-8."""
_U64 = np.uint64
_BLOCK = _U64(256)
"""Bytes that are classed without a branch; if not all are ASCII, they are gone through again."""


def _folded() -> Bytes:
    """Return what each byte becomes in a normalised text, if it is not part of white space."""
    table = np.arange(256, dtype=np.uint8)
    table[ord("A") : ord("Z") + 1] += 32
    return read_only(table)


def _special() -> Bytes:
    """Return for each byte whether it is skipped, may begin a wide space, or neither."""
    table = np.zeros(256, np.uint8)
    table[[byte for byte in range(128) if chr(byte).isspace()]] = SKIPPED
    table[list(_WIDE_LEADS)] = MAYBE_WIDE
    return read_only(table)


FOLDED = _folded()
SPECIAL = _special()


def normalised(text: bytes) -> bytes:
    """Return `text` as it is compared.

    >>> normalised("Return\\u00a0 X;\\n".encode())
    b'returnx;'
    """
    data = read_only(np.frombuffer(text, np.uint8))
    return FOLDED[data[places(data)]].tobytes()


def places(data: Bytes) -> Indices:
    """Return the byte at which each normalised byte stands."""
    return _places(read_only(data))


def classed(data: Bytes, offsets: Indices, classes: Bytes, plain: Bytes) -> tuple[Bytes, Indices]:
    """Return (data, offsets) of the normal forms of texts, each byte as its class.

    classes: uint8 [256], a byte's class, SKIPPED or MAYBE_WIDE; plain: its class where it begins no wide space.
    """
    out = np.empty(max(0, int(offsets[-1] - offsets[0])), np.uint8)
    out_offsets = np.zeros(len(offsets), np.int64)
    _class(data, offsets, read_only(classes), read_only(plain), out, out_offsets)
    return read_only(out[: out_offsets[-1]]), read_only(out_offsets)


@compiled
def _wide_space(data: Bytes, position: Whole, stop: Whole) -> int:
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
def _places(data: Bytes) -> Indices:
    found = np.empty(len(data), np.int64)
    position = length = 0
    while position < len(data):
        special = SPECIAL[data[position]]
        size = 0
        if special:
            size = 1 if special == SKIPPED else _wide_space(data, position, len(data))
        if size == 0:
            found[length] = position
            length += 1
        position += max(size, 1)
    return found[:length]


@compiled
def _class(data: Bytes, offsets: Indices, classes: Bytes, plain: Bytes, out: Bytes, out_offsets: Indices) -> None:
    """Write classes to `out` and where each text ends in it. Unsigned places: numba asks of others if they count from
    the end, which takes longer than all the rest."""
    keeps = (classes < MAYBE_WIDE).astype(np.uint64)
    length = _U64(0)
    for row in range(len(offsets) - 1):
        position, stop = _U64(offsets[row]), _U64(offsets[row + 1])
        while position < stop:
            block = min(stop, position + _BLOCK)
            after, seen = length, np.uint8(0)
            for i in range(position, block):
                byte = data[i]
                out[after] = classes[byte]
                after += keeps[byte]
                seen |= byte
            if seen < 0x80:
                position, length = block, after
            else:
                place, size = _class_carefully(data, position, block, stop, classes, plain, out, length)
                position, length = _U64(place), _U64(size)
        out_offsets[row + 1] = length


@compiled
def _class_carefully(
    data: Bytes, start: Whole, block: Whole, stop: Whole, classes: Bytes, plain: Bytes, out: Bytes, before: Whole
) -> tuple[Whole, Whole]:
    """Do the same for one block; return (where the next begins, bytes written so far)."""
    position, length = np.int64(start), np.int64(before)
    while position < np.int64(block):
        label, size = classes[data[position]], 0
        if label >= MAYBE_WIDE:
            size = 1 if label == SKIPPED else _wide_space(data, position, np.int64(stop))
            label = plain[data[position]]
        if size == 0:
            out[length] = label
            length += 1
        position += max(size, 1)
    return position, length

"""Where an e-mail or IP address might stand: one compiled pass over an Arrow buffer.

Most bytes are only asked, many at once, whether the middle of an address is among them. Where it is, the pass finds
the whole of what could be an address, from its first byte to its last; whether it is one that names a
person or a machine is the business of `personal_data`. No section of the paper.
"""

from typing import Final

import numpy as np

from starsmith.curate.kernel import Bytes, Indices, Whole, compiled, read_only

EMAIL: Final = 0
IPV4: Final = 1
IPV6: Final = 2

ROW, KIND, START, MIDDLE, END = range(5)
"""Columns of a candidate. MIDDLE: where the ``@`` of an e-mail stands; the 32 bits of an IPv4 address."""
COLUMNS: Final = 5

MAX_LOCAL: Final = 64
MAX_DOMAIN: Final = 255
MAX_IPV6: Final = 45

_LOCAL: Final = 1
_DOMAIN: Final = 2
_DIGIT: Final = 4
_HEX: Final = 8
_WORD: Final = 16
_TRIGGER: Final = 32
_LATIN: Final = 64

_AT, _DOT, _COLON, _DASH = 64, 46, 58, 45
_ZERO, _TWO, _THREE, _NINE = 48, 50, 51, 57
_U64: Final = np.uint64
_BACK: Final = 4
"""Bytes of the number that an IPv6 address begins with, before its first colon."""
_BLOCK: Final = 64
"""Bytes that are looked over at once for the middle of an address."""
_ALNUM: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def candidates(data: Bytes, offsets: Indices) -> Indices:
    """Return what could be addresses, int64 of shape (candidates, COLUMNS), positions counting from `data`'s start.

    `data` and `offsets` as `kernel.text_buffers` returns them.
    """
    room = 256 + (int(offsets[-1]) - int(offsets[0])) // 512
    while True:
        found = np.empty((room, COLUMNS), np.int64)
        count = _scan(data, offsets, _CLASSES, found)
        if count <= room:
            return found[:count]
        room = count


def _byte_classes() -> Bytes:
    classes = np.zeros(256, np.uint8)
    # Letters of Latin alphabets beyond ASCII (U+00C0 to U+024F) take two bytes, C3–C9 and one of 80–BF.
    latin = bytes(range(0xC3, 0xCA)) + bytes(range(0x80, 0xC0))
    for bit, members in (
        (_LOCAL, _ALNUM + b"._%+-" + latin),
        (_DOMAIN, _ALNUM + b".-" + latin),
        (_DIGIT, b"0123456789"),
        (_HEX, b"0123456789abcdefABCDEF:"),
        (_WORD, _ALNUM + b"_"),
        (_TRIGGER, b"@.:"),
        (_LATIN, latin),
    ):
        classes[list(members)] |= bit
    return read_only(classes)


_CLASSES: Final = _byte_classes()


@compiled
def _scan(data: Bytes, offsets: Indices, classes: Bytes, found: Indices) -> int:
    """Fill `found` and return how many candidates there are, which may be more than it can hold."""
    count = 0
    candidate = np.empty(5, np.int64)
    for row in range(offsets.size - 1):
        first, end = offsets[row], offsets[row + 1]
        ipv4_after, ipv6_after = first, first
        candidate[0] = row
        block, stop = first, min(end, first + _BACK)
        while block < end:
            for position in range(block, stop):
                byte = data[position]
                if not classes[byte] & 32:
                    continue
                passes = False
                if byte == _AT:
                    passes = _email(data, first, end, position, classes, candidate)
                elif byte == _DOT:
                    if position >= ipv4_after and position > first and classes[data[position - 1]] & 4:
                        passes, ipv4_after = _ipv4(data, first, end, position, classes, candidate)
                elif position >= ipv6_after and position > first and classes[data[position - 1]] & 8:
                    passes, ipv6_after = _ipv6(data, first, end, position, classes, candidate)
                if passes:
                    if count < found.shape[0]:
                        found[count] = candidate
                    count += 1
            block = _next_block(data, stop, end)
            stop = min(end, block + _BLOCK)
    return count


@compiled
def _next_block(data: Bytes, position: Whole, end: Whole) -> int:
    """Return where the next block begins that may hold the middle of an address: an ``@``, a dot between digits, a
    colon behind what an IPv6 address begins with.

    Written so that the compiler does it for many bytes at once; the places are unsigned for its sake. _BACK bytes
    before `position` are read.
    """
    block, last = _U64(position), _U64(end)
    while block + _U64(_BLOCK) < last:
        seen = False
        for i in range(block, block + _U64(_BLOCK)):
            byte, before, after, number = data[i], data[i - _U64(1)], data[i + _U64(1)], data[i - _U64(_BACK)]
            digits = (before >= _ZERO) & (before <= _NINE) & (after >= _ZERO) & (after <= _NINE)
            begins = (number == _TWO) | (number == _THREE)
            seen |= (byte == _AT) | ((byte == _DOT) & digits) | ((byte == _COLON) & begins)
        if seen:
            break
        block += _U64(_BLOCK)
    return int(block)


@compiled
def _email(data: Bytes, first: Whole, end: Whole, at: Whole, classes: Bytes, candidate: Indices) -> bool:
    """Widen to both sides of the ``@``; the domain must hold a dot and end with two letters or more."""
    start, lowest = at, max(first, at - MAX_LOCAL - 1)
    while start > lowest and classes[data[start - 1]] & 1:
        start -= 1
    # A character is not cut, and punctuation begins no address.
    while start < at and (data[start] & 0xC0 == 0x80 or (not classes[data[start]] & 80 and data[start] != 37)):
        start += 1
    if start == at or at - start > MAX_LOCAL or data[at - 1] == _DOT:
        return False
    stop, highest = at + 1, min(end, at + 1 + MAX_DOMAIN)
    while stop < highest and classes[data[stop]] & 2:
        stop += 1
    while stop > at + 1 and (data[stop - 1] == _DOT or data[stop - 1] == _DASH):
        stop -= 1
    dot = stop
    while dot > at + 1 and data[dot - 1] != _DOT:
        dot -= 1
    if dot <= at + 2 or stop - dot < 2:
        return False
    candidate[1], candidate[2], candidate[3], candidate[4] = 0, start, at, stop
    return True


@compiled
def _ipv4(data: Bytes, first: Whole, end: Whole, dot: Whole, classes: Bytes, candidate: Indices) -> tuple[bool, Whole]:
    """Read four numbers around a first dot; return whether they make an address, and how far they were read."""
    start = dot
    while start > first and classes[data[start - 1]] & 4 and dot - start < 4:
        start -= 1
    if dot - start > 3 or (start > first and (classes[data[start - 1]] & 16 or data[start - 1] == _DOT)):
        return False, dot + 1
    bits, i = np.int64(0), start
    for part in range(4):
        value, digits = np.int64(0), i
        while i < end and classes[data[i]] & 4 and i - digits < 4:
            value = value * 10 + data[i] - 48
            i += 1
        if i == digits or value > 255 or (i - digits > 1 and data[digits] == 48):
            return False, max(i, dot + 1)
        bits = bits << 8 | value
        if part < 3:
            if i >= end or data[i] != _DOT:
                return False, max(i, dot + 1)
            i += 1
    if i < end and (classes[data[i]] & 16 or data[i] >= 0x80):
        return False, i
    # A fifth number or a file name's end; but a range of addresses may follow a dash.
    if i + 1 < end and data[i] == _DOT and classes[data[i + 1]] & 16:
        return False, i
    if i + 1 < end and data[i] == _DASH and classes[data[i + 1]] & 20 == 16:
        return False, i
    candidate[1], candidate[2], candidate[3], candidate[4] = 1, start, bits, i
    return True, i


@compiled
def _ipv6(
    data: Bytes, first: Whole, end: Whole, colon: Whole, classes: Bytes, candidate: Indices
) -> tuple[bool, Whole]:
    """Widen to the whole run of hexadecimal digits and colons; it must begin as public addresses do, with 2 or 3."""
    start, lowest = colon, max(first, colon - 5)
    while start > lowest and classes[data[start - 1]] & 8:
        start -= 1
    stop, highest = colon + 1, min(end, colon + MAX_IPV6 + 1)
    colons = 1
    while stop < highest and classes[data[stop]] & 8:
        colons += data[stop] == _COLON
        stop += 1
    following = stop
    if colons < 2 or colon - start != _BACK or (data[start] != _TWO and data[start] != _THREE):
        return False, following
    # Not the first colon: what stands before that one is shorter.
    if data[colon - 1] == _COLON or data[colon - 2] == _COLON or data[colon - 3] == _COLON:
        return False, following
    if start > first and (classes[data[start - 1]] & 24 or data[start - 1] == _DOT):
        return False, following
    if stop < end and (
        classes[data[stop]] & 24 or (data[stop] == _DOT and stop + 1 < end and classes[data[stop + 1]] & 16)
    ):
        return False, following
    while stop > start and data[stop - 1] == _COLON and data[stop - 2] != _COLON:
        stop -= 1
    candidate[1], candidate[2], candidate[3], candidate[4] = 2, start, 0, stop
    return True, following

"""Encoded data inside source code: base64-like runs, tables of hexadecimal bytes, runs of Unicode escapes.

Follows filter 5 of section 2 of the paper's data description and 2.1, where the behaviour of its patterns was measured:

- base64: ``[a-zA-Z0-9+/\\n=]{64,}``
- hexadecimal: ``(?:\\b(?:0x|\\\\x)?[0-9a-fA-F]{2}(?:,|\\b\\s*)){8,}``; with `hex_spaces` ``(?:,\\s*|\\b\\s*)`` ends
  each byte, so that the commonest C style ``0x00, 0x01`` is found, which the paper's pattern misses
- Unicode escapes: ``(?:\\\\u[0-9a-fA-F]{4}){8,}``

Matches are exactly those of Python's `re.finditer` over the decoded text, ``\\b`` and ``\\s`` meaning what Unicode
means by them. What makes that possible in linear time without backtracking, for any input:

- A match of any of the three lies inside one run of bytes of a small class (letters of the pattern and, for
  hexadecimal, the bytes of all white space) of a least length: 64, 8 × 2 + 7 and 8 × 6. Looking for such runs from
  their far end skips most bytes of ordinary code, so the patterns that cost most are the rarest to be tried.
- Given where it starts, each pattern can match in one way only. A byte ends with the comma if there is one (without
  it, nothing could follow), and with all the white space that follows (the next byte cannot start inside of it).
- If a chain of fewer than eight bytes ends, no later start inside it leads further: starts are where the chain's own
  bytes start, since ``\\b`` holds neither between two digits nor after an ``x``.

What is decided from these numbers is the business of `filters`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from starsmith.curate.characters import ALNUM, SPACE, character_flags
from starsmith.curate.kernel import Bytes, Indices, Whole, compiled

LEAST_BASE64: Final = 64
LEAST_BYTES: Final = 8
"""Filter 5: repetitions a match needs, of base64 characters and of hexadecimal bytes or escapes."""
ESCAPE_LENGTH: Final = 6
LEAST_ESCAPES_LENGTH: Final = LEAST_BYTES * ESCAPE_LENGTH
LEAST_HEX_LENGTH: Final = LEAST_BYTES * 2 + (LEAST_BYTES - 1)
"""Eight bytes without prefix, and between any two of them a comma or a white space."""

# Classes of bytes.
_BASE64: Final = 1
_HEX: Final = 2
_ESCAPE: Final = 4
_DIGIT: Final = 8
_WORD: Final = 16
_BEGINS_BYTE: Final = 32

_BACKSLASH: Final = ord("\\")
_COMMA: Final = ord(",")
_LOWER_U: Final = ord("u")
_LOWER_X: Final = ord("x")
_ZERO: Final = ord("0")
_ASCII_END: Final = 0x80


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedData:
    """Per text and kind (columns: base64, hexadecimal, Unicode escapes), in characters; each of shape (texts, 3)."""

    longest: Indices
    matched: Indices


def find_encoded_data(data: Bytes, offsets: Indices, *, hex_spaces: bool) -> EncodedData:
    """Return the longest match and the number of matched characters of each kind for each text.

    `data` and `offsets` as `kernel.text_buffers` returns them; the texts must be valid UTF-8.
    """
    found = EncodedData(
        longest=np.zeros((len(offsets) - 1, 3), np.int64), matched=np.zeros((len(offsets) - 1, 3), np.int64)
    )
    _find_all(data, offsets, _byte_classes(), character_flags(), bool(hex_spaces), found.longest, found.matched)
    return found


@cache
def _byte_classes() -> npt.NDArray[np.uint8]:
    classes = np.zeros(256, np.uint8)
    digits = b"0123456789abcdefABCDEF"
    word = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    spaces = "".join(map(chr, np.flatnonzero(character_flags() & SPACE)))
    for bit, members in (
        (_BASE64, word + b"+/\n="),
        (_HEX, digits + b"x\\," + spaces.encode()),
        (_ESCAPE, digits + b"u\\"),
        (_DIGIT, digits),
        (_WORD, word + b"_"),
        (_BEGINS_BYTE, digits + b"\\"),
    ):
        classes[list(members)] |= bit
    classes.flags.writeable = False
    return classes


@compiled
def _find_all(
    data: Bytes,
    offsets: Indices,
    classes: Bytes,
    flags: Bytes,
    hex_spaces: bool,
    longest: Indices,
    matched: Indices,
) -> None:
    for text in range(len(offsets) - 1):
        start, stop = offsets[text], offsets[text + 1]
        longest[text, 0], matched[text, 0] = _base64(data, start, stop, classes)
        longest[text, 1], matched[text, 1] = _hexadecimal(data, start, stop, classes, flags, hex_spaces)
        longest[text, 2], matched[text, 2] = _escapes(data, start, stop, classes)


@compiled
def _next_run(data: Bytes, first: int, stop: int, classes: Bytes, bit: int, least: int) -> tuple[int, int]:
    """Return (first, end) of the next run of at least `least` bytes of class `bit`, or (stop, stop).

    Each window of `least` bytes is read from its end; the first byte outside the class rules out all starts up to it.
    `known` is how far the class was already seen to hold, so no byte is read twice.
    """
    known = first
    while first + least <= stop:
        last = first + least - 1
        while last >= known and classes[data[last]] & bit:
            last -= 1
        found = last < known
        known = first + least
        if found:
            end = known
            while end < stop and classes[data[end]] & bit:
                end += 1
            return first, end
        first = last + 1
    return stop, stop


@compiled
def _base64(data: Bytes, start: int, stop: int, classes: Bytes) -> tuple[int, int]:
    longest, matched = 0, 0
    first, end = _next_run(data, start, stop, classes, _BASE64, LEAST_BASE64)
    while first < stop:
        longest = max(longest, end - first)
        matched += end - first
        first, end = _next_run(data, end, stop, classes, _BASE64, LEAST_BASE64)
    return longest, matched


@compiled
def _escapes(data: Bytes, start: int, stop: int, classes: Bytes) -> tuple[int, int]:
    longest, matched = 0, 0
    first, end = _next_run(data, start, stop, classes, _ESCAPE, LEAST_ESCAPES_LENGTH)
    while first < stop:
        position = first
        while position < end:
            count, after = 0, position
            while _is_escape(data, after, end, classes):
                count += 1
                after += ESCAPE_LENGTH
            if count >= LEAST_BYTES:
                longest = max(longest, after - position)
                matched += after - position
            position = max(after, position + 1)
        first, end = _next_run(data, end, stop, classes, _ESCAPE, LEAST_ESCAPES_LENGTH)
    return longest, matched


@compiled
def _is_escape(data: Bytes, position: int, stop: int, classes: Bytes) -> bool:
    if position + ESCAPE_LENGTH > stop or data[position] != _BACKSLASH or data[position + 1] != _LOWER_U:
        return False
    for digit in range(position + 2, position + ESCAPE_LENGTH):
        if not classes[data[digit]] & _DIGIT:
            return False
    return True


@compiled
def _hexadecimal(
    data: Bytes,
    start: int,
    stop: int,
    classes: Bytes,
    flags: Bytes,
    hex_spaces: bool,
) -> tuple[int, int]:
    longest, matched = 0, 0
    first, end = _next_run(data, start, stop, classes, _HEX, LEAST_HEX_LENGTH)
    while first < stop:
        position = first
        while position < end:
            if not classes[data[position]] & _BEGINS_BYTE:
                position += 1
                continue
            count, after = 0, position
            following = _after_hex_byte(data, position, start, stop, classes, flags, hex_spaces)
            while following > 0:
                count, after = count + 1, following
                following = _after_hex_byte(data, after, start, stop, classes, flags, hex_spaces)
            if count >= LEAST_BYTES:
                length = _characters(data, position, after)
                longest = max(longest, length)
                matched += length
            position = max(after, position + 1)
        first, end = _next_run(data, end, stop, classes, _HEX, LEAST_HEX_LENGTH)
    return longest, matched


@compiled
def _after_hex_byte(
    data: Bytes,
    position: int,
    start: int,
    stop: int,
    classes: Bytes,
    flags: Bytes,
    hex_spaces: bool,
) -> int:
    """Return where the next byte of the table may begin if one stands at `position`, else -1."""
    if position + 2 > stop:
        return -1
    escaped = data[position] == _BACKSLASH
    if not escaped and not classes[data[position]] & _DIGIT:
        return -1
    # A boundary: before a backslash, which is no word character, there must be one; before a digit there must be none.
    if escaped != _is_word_before(data, position, start, classes, flags):
        return -1
    if escaped and data[position + 1] != _LOWER_X:
        return -1
    if data[position + 1] == _LOWER_X and (escaped or data[position] == _ZERO):
        position += 2
    if position + 2 > stop or not classes[data[position]] & classes[data[position + 1]] & _DIGIT:
        return -1
    position += 2
    if position < stop and data[position] == _COMMA:
        return _after_spaces(data, position + 1, stop, flags) if hex_spaces else position + 1
    if _is_word_at(data, position, stop, classes, flags):
        return -1
    return _after_spaces(data, position, stop, flags)


@compiled
def _is_word_before(data: Bytes, position: int, start: int, classes: Bytes, flags: Bytes) -> bool:
    if position == start:
        return False
    position -= 1
    while data[position] & 0xC0 == 0x80:
        position -= 1
    return _is_word(data, position, classes, flags)


@compiled
def _is_word_at(data: Bytes, position: int, stop: int, classes: Bytes, flags: Bytes) -> bool:
    return position < stop and _is_word(data, position, classes, flags)


@compiled
def _is_word(data: Bytes, position: int, classes: Bytes, flags: Bytes) -> bool:
    if data[position] < _ASCII_END:
        return bool(classes[data[position]] & _WORD)
    return bool(flags[_code_point(data, position)[0]] & ALNUM)


@compiled
def _after_spaces(data: Bytes, position: int, stop: int, flags: Bytes) -> int:
    while position < stop:
        code_point, length = _code_point(data, position)
        if not flags[code_point] & SPACE:
            break
        position += length
    return position


@compiled
def _code_point(data: Bytes, position: int) -> tuple[Whole, Whole]:
    """Return the code point that begins at `position` and how many bytes it takes."""
    lead = np.int64(data[position])
    if lead < _ASCII_END:
        return lead, 1
    length = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    code_point = lead & (0x7F >> length)
    for offset in range(1, length):
        code_point = code_point << 6 | np.int64(data[position + offset]) & 0x3F
    return code_point, length


@compiled
def _characters(data: Bytes, start: int, stop: int) -> int:
    continuations = 0
    for position in range(start, stop):
        continuations += data[position] & 0xC0 == 0x80
    return stop - start - continuations

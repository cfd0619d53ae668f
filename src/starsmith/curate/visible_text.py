"""How many characters of an HTML file its readers see.

Follows filter 7 of section 2 of the paper's data description. The reference is the number of characters of what
BeautifulSoup with `html.parser` returns from `get_text()` after the `script` and `style` elements were removed. So:

- markup does not count: tags, comments, declarations, processing instructions, the contents of `script` and `style`,
  and what `get_text()` passes over as well, the contents of `template`, `rt` and `rp`;
- a character reference counts as the characters it stands for (one, for some names two). An unknown name counts as
  ``&`` and the name, without the semicolon, as there;
- white space counts, but a stretch of text between two pieces of markup that is nothing else counts as one character,
  except inside `pre` and `textarea`, as there;
- the text of a CDATA section counts.

Where the reference depends on the version of Python, or looks ahead without bound, the HTML standard decides: what
follows a tag, comment or `script` that never ends is not visible. A `template`, `rt` or `rp` ends at its own end tag
(`rt` and `rp` also with their `ruby`), not at that of an element around it. Every input takes linear time.

No tree is built, and nothing is decided here.
"""

import html.entities
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from starsmith.curate.kernel import Bytes, Indices, Whole, compiled

_LT: Final = ord("<")
_GT: Final = ord(">")
_AMPERSAND: Final = ord("&")
_SEMICOLON: Final = ord(";")
_SLASH: Final = ord("/")
_EQUALS: Final = ord("=")
_QUOTE: Final = ord('"')
_APOSTROPHE: Final = ord("'")
_HYPHEN: Final = ord("-")
_EXCLAMATION: Final = ord("!")
_QUESTION: Final = ord("?")
_HASH: Final = ord("#")
_NEWLINE: Final = ord("\n")
_LOWER_X: Final = ord("x")

# Kinds of bytes.
_LETTER: Final = 1
_DECIMAL: Final = 2
_HEXADECIMAL: Final = 4
_SPACE: Final = 8
_IN_REFERENCE: Final = 16
_OPENS_MARKUP: Final = 32


def _packed(name: bytes) -> int:
    return int.from_bytes(name, "little")


_NAME_BYTES: Final = 8
"""Longer names of elements are none of those below; these fit into one integer."""
_SCRIPT: Final = _packed(b"script")
_STYLE: Final = _packed(b"style")
_TEMPLATE: Final = _packed(b"template")
_TEXTAREA: Final = _packed(b"textarea")
_PRE: Final = _packed(b"pre")
_RUBY: Final = _packed(b"ruby")
_RT: Final = _packed(b"rt")
_RP: Final = _packed(b"rp")
_CDATA: Final = _packed(b"[CDATA[")

# Places of the state array.
_COUNTED: Final = 0
_PENDING: Final = 1
_PENDING_OTHER_THAN_SPACE: Final = 2
_TEMPLATES: Final = 3
_RUBY_TEXT: Final = 4
_PRESERVING: Final = 5
_STATES: Final = 6

_TABLE_BITS: Final = 13
_TABLE_MASK: Final = (1 << _TABLE_BITS) - 1
_HASH_START: Final = 5381
_HASH_STEP: Final = 1_000_003
_HASH_MASK: Final = (1 << 40) - 1


def count_visible_characters(data: Bytes, offsets: Indices, html_texts: npt.NDArray[np.bool_]) -> Indices:
    """Return for each text the number of visible characters, 0 where `html_texts` is false.

    `data` and `offsets` as `kernel.text_buffers` returns them; the texts must be valid UTF-8.
    """
    visible = np.zeros(len(offsets) - 1, np.int64)
    chosen = np.array(html_texts, np.bool_)  # A copy of one type, whatever the caller has: read-only, strided …
    _count_all(data, offsets, chosen, _byte_kinds(), *_reference_table(), visible)
    return visible


@cache
def _byte_kinds() -> npt.NDArray[np.uint8]:
    kinds = np.zeros(256, np.uint8)
    letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for bit, members in (
        (_LETTER, letters),
        (_DECIMAL, b"0123456789"),
        (_HEXADECIMAL, b"0123456789abcdefABCDEF"),
        (_SPACE, b" \t\n\r\f"),
        (_IN_REFERENCE, letters + b"0123456789-."),
        (_OPENS_MARKUP, letters + b"/!?"),
    ):
        kinds[list(members)] |= bit
    kinds.flags.writeable = False
    return kinds


@cache
def _reference_table() -> tuple[Indices, Indices]:
    """Return an open hash table of the names of character references: (hashes, -1 where free; lengths)."""
    hashes, lengths = np.full(1 << _TABLE_BITS, -1, np.int64), np.zeros(1 << _TABLE_BITS, np.int64)
    for name, characters in {name.rstrip(";"): text for name, text in html.entities.html5.items()}.items():
        value = _HASH_START
        for byte in name.encode():
            value = (value * _HASH_STEP ^ byte) & _HASH_MASK
        slot = value & _TABLE_MASK
        while hashes[slot] >= 0:
            slot = (slot + 1) & _TABLE_MASK
        hashes[slot], lengths[slot] = value, len(characters)
    hashes.flags.writeable = lengths.flags.writeable = False
    return hashes, lengths


@compiled
def _count_all(
    data: Bytes,
    offsets: Indices,
    html_texts: npt.NDArray[np.bool_],
    kinds: Bytes,
    hashes: Indices,
    lengths: Indices,
    visible: Indices,
) -> None:
    state = np.zeros(_STATES, np.int64)
    for text in range(len(offsets) - 1):
        if html_texts[text]:
            state[:] = 0
            _count_one(data, offsets[text], offsets[text + 1], kinds, hashes, lengths, state)
            visible[text] = state[_COUNTED]


@compiled
def _count_one(
    data: Bytes, position: int, stop: int, kinds: Bytes, hashes: Indices, lengths: Indices, state: Indices
) -> None:
    while position < stop:
        byte = data[position]
        if byte == _LT and _opens_markup(data, position, stop, kinds):
            _end_stretch(state)
            position = _after_markup(data, position, stop, kinds, state)
            continue
        if byte == _AMPERSAND:
            after, characters = _reference(data, position, stop, kinds, hashes, lengths)
            if after > position:
                state[_PENDING] += characters
                state[_PENDING_OTHER_THAN_SPACE] = 1
                position = after
                continue
        if byte & 0xC0 != 0x80:
            state[_PENDING] += 1
        if not kinds[byte] & _SPACE:
            state[_PENDING_OTHER_THAN_SPACE] = 1
        position += 1
    _end_stretch(state)


@compiled
def _end_stretch(state: Indices) -> None:
    """Count the text since the last piece of markup; white space alone counts as one character."""
    if state[_TEMPLATES] == 0 and state[_RUBY_TEXT] == 0:
        if state[_PENDING_OTHER_THAN_SPACE] or state[_PRESERVING]:
            state[_COUNTED] += state[_PENDING]
        else:
            state[_COUNTED] += min(state[_PENDING], 1)
    state[_PENDING] = state[_PENDING_OTHER_THAN_SPACE] = 0


@compiled
def _opens_markup(data: Bytes, position: int, stop: int, kinds: Bytes) -> bool:
    if position + 1 == stop:
        return False
    byte = data[position + 1]
    return bool(kinds[byte] & _OPENS_MARKUP)


@compiled
def _after_markup(data: Bytes, position: int, stop: int, kinds: Bytes, state: Indices) -> int:
    """Return where the markup at `position` ends, with the whole of a `script` or `style`; note what it opens."""
    byte = data[position + 1]
    if byte == _EXCLAMATION:
        return _after_declaration(data, position, stop, state)
    if byte == _QUESTION:
        return _find(data, position + 2, stop, _GT) + 1
    if byte == _SLASH:
        _close(_name(data, position + 2, stop, kinds), state)
        return _find(data, position + 2, stop, _GT) + 1
    name = _name(data, position + 1, stop, kinds)
    after = _after_tag(data, position + 1, stop, kinds)
    if after > stop or data[after - 2] == _SLASH:
        return after
    if name in (_SCRIPT, _STYLE):
        return _after_raw_text(data, after, stop, kinds, name)
    if name == _TEMPLATE:
        state[_TEMPLATES] += 1
    elif name in (_RT, _RP):
        state[_RUBY_TEXT] = 1
    elif name in (_PRE, _TEXTAREA):
        state[_PRESERVING] += 1
    return after


@compiled
def _close(name: Whole, state: Indices) -> None:
    if name == _TEMPLATE:
        state[_TEMPLATES] = max(state[_TEMPLATES] - 1, 0)
    elif name in (_RT, _RP, _RUBY):
        state[_RUBY_TEXT] = 0
    elif name in (_PRE, _TEXTAREA):
        state[_PRESERVING] = max(state[_PRESERVING] - 1, 0)


@compiled
def _after_declaration(data: Bytes, position: int, stop: int, state: Indices) -> int:
    """Skip a comment, doctype or other declaration; the text of a CDATA section is counted on the way."""
    if position + 3 < stop and data[position + 2] == _HYPHEN and data[position + 3] == _HYPHEN:
        end = _find(data, position + 4, stop, _GT)
        while end < stop and not (data[end - 1] == _HYPHEN and data[end - 2] == _HYPHEN and end - 2 > position + 1):
            end = _find(data, end + 1, stop, _GT)
        return end + 1
    opening = np.int64(0)
    for offset in range(min(7, stop - position - 2)):
        opening |= np.int64(data[position + 2 + offset]) << (8 * offset)
    if opening != _CDATA:
        return _find(data, position + 2, stop, _GT) + 1
    return _after_cdata(data, position + 9, stop, state)


@compiled
def _after_cdata(data: Bytes, start: int, stop: int, state: Indices) -> int:
    position = start
    end = _find(data, start, stop, _GT)
    while end < stop and not (end - 2 >= start and data[end - 1] == ord("]") and data[end - 2] == ord("]")):
        end = _find(data, end + 1, stop, _GT)
    if end == stop:
        return stop
    while position < end - 2:
        state[_PENDING] += data[position] & 0xC0 != 0x80
        position += 1
    state[_PENDING_OTHER_THAN_SPACE] = 1
    _end_stretch(state)
    return end + 1


@compiled
def _find(data: Bytes, position: int, stop: int, byte: int) -> int:
    while position < stop and data[position] != byte:
        position += 1
    return min(position, stop)


@compiled
def _name(data: Bytes, position: int, stop: int, kinds: Bytes) -> Whole:
    """Return the element's name, lower-cased and packed as `_packed` does, or 0 if it is longer than eight bytes."""
    packed, length = np.int64(0), 0
    while position < stop and data[position] != _GT and data[position] != _SLASH and not kinds[data[position]] & _SPACE:
        byte = np.int64(data[position])
        if kinds[data[position]] & _LETTER:
            byte |= 0x20
        if length == _NAME_BYTES:
            return np.int64(0)
        packed |= byte << (8 * length)
        length += 1
        position += 1
    return packed


@compiled
def _after_tag(data: Bytes, position: int, stop: int, kinds: Bytes) -> int:
    """Return the position after the ``>`` that ends a start tag, or stop + 1; one in a quoted value does not end it."""
    while position < stop and data[position] != _GT:
        if data[position] != _EQUALS:
            position += 1
            continue
        position += 1
        while position < stop and kinds[data[position]] & _SPACE:
            position += 1
        if position < stop and (data[position] == _QUOTE or data[position] == _APOSTROPHE):
            position = _find(data, position + 1, stop, data[position]) + 1
        else:
            while position < stop and data[position] != _GT and not kinds[data[position]] & _SPACE:
                position += 1
    return min(position, stop) + 1


@compiled
def _after_raw_text(data: Bytes, position: int, stop: int, kinds: Bytes, name: Whole) -> int:
    """Return the position after the end tag that closes a `script` or `style` whose content begins at `position`."""
    while position < stop:
        position = _find(data, position, stop, _LT)
        if position + 1 < stop and data[position + 1] == _SLASH and _name(data, position + 2, stop, kinds) == name:
            return _find(data, position + 2, stop, _GT) + 1
        position += 1
    return stop


@compiled
def _reference(
    data: Bytes, position: int, stop: int, kinds: Bytes, hashes: Indices, lengths: Indices
) -> tuple[int, Whole]:
    """Return (where the character reference at `position` ends, characters it counts as); no progress if it is none."""
    first = position + 1
    if first < stop and data[first] == _HASH:
        hexadecimal = first + 1 < stop and data[first + 1] | 0x20 == _LOWER_X
        digits = first + 1 + hexadecimal
        after = _after_kind(data, digits, stop, kinds, _HEXADECIMAL if hexadecimal else _DECIMAL)
        if after == digits:
            return position, 0
        return after + (after < stop and data[after] == _SEMICOLON), 1
    if first >= stop or not kinds[data[first]] & _LETTER:
        return position, 0
    after = _after_kind(data, first, stop, kinds, _IN_REFERENCE)
    characters = _characters_of_name(data, first, after, hashes, lengths)
    return after + (after < stop and data[after] == _SEMICOLON), characters


@compiled
def _after_kind(data: Bytes, position: int, stop: int, kinds: Bytes, kind: int) -> int:
    while position < stop and kinds[data[position]] & kind:
        position += 1
    return position


@compiled
def _characters_of_name(data: Bytes, first: int, after: int, hashes: Indices, lengths: Indices) -> Whole:
    value = np.int64(_HASH_START)
    for position in range(first, after):
        value = (value * _HASH_STEP ^ np.int64(data[position])) & _HASH_MASK
    slot = value & _TABLE_MASK
    while hashes[slot] >= 0:
        if hashes[slot] == value:
            return np.int64(lengths[slot])
        slot = (slot + 1) & _TABLE_MASK
    return after - first + 1

"""Where a secret might begin: one automaton over all prefixes and words, run over an Arrow buffer.

Most code holds no secret. The gate reads every byte once and names the few places worth an exact rule: the prefix of a
token with enough of a body behind it, a name such as `db_password` with the value assigned to it, a URL with a
password, the first line of a private key. It may name a place that turns out to be nothing. No section of the paper.

The automaton is Aho and Corasick's (Communications of the ACM 18, 1975), over bytes whose case is folded. It runs where
the next few bytes are those that some pattern begins with, until no more than the first bytes of another have been
read: nearly all of a text is only asked for such bytes, four places at once. The work is linear in the text: what is
read behind a hit is bounded by the constants below. `secret_patterns` builds the automaton.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from starsmith.curate.kernel import Bytes, Indices, Whole, compiled, read_only

PREFIX: Final = 0
"""A pattern that counts in its exact case, at the start of a word, with `least` token bytes behind it."""
NAME: Final = 1
"""A pattern that makes the identifier around it the name of a secret, if a value is assigned to it."""
PLACE: Final = 2
"""A pattern that counts wherever it stands."""
URL: Final = 3
"""``://``, which counts if a user and a password follow."""

ROW, PATTERN, START, END, VALUE_START, VALUE_END, OPERATOR, QUOTE = range(8)
"""Columns of a hit. START and END are of the pattern, or of the whole name; the last four are for names only."""
COLUMNS: Final = 8

MAX_NAME: Final = 80
MAX_VALUE: Final = 400
MAX_SPACES: Final = 30
MAX_ANNOTATION: Final = 48
MAX_URL_USER: Final = 300

_TOKEN_BYTE: Final = 1
_NAME_BYTE: Final = 2
_WORD_BYTE: Final = 4
_ANNOTATION_BYTE: Final = 8
_ENDS_BARE: Final = 16
_DIGIT_OR_MARK: Final = 32

_SPACE, _TAB, _QUOTE, _APOSTROPHE, _BACKTICK, _BACKSLASH = 32, 9, 34, 39, 96, 92
_EQUALS, _COLON, _COMMA, _OPENS, _CLOSES, _LESS, _GREATER, _DASH = 61, 58, 44, 40, 41, 60, 62, 45
_OPENS_LIST, _CLOSES_LIST, _AT, _SLASH, _BANG, _ASK, _PLUS, _HASH = 91, 93, 64, 47, 33, 63, 43, 35
_U32: Final = np.uint32
_U64: Final = np.uint64
_UPPER_THREE: Final = _U32(0xFFFFFF00)
_BYTE: Final = _U32(8)

BEGINNING: Final = 3
"""Bytes of a pattern that a text is asked for; a shorter pattern has bytes of a body behind it."""
GOES_ON: Final = 255
BEGINNING_BITS: Final = 16
STEP: Final = 0x9E3779B1
"""Three bytes, the first the lowest, stand at the upper BEGINNING_BITS of their product with STEP × 256."""
LONGER_BITS: Final = 15
"""Four bytes stand at the upper LONGER_BITS of their product with STEP."""
IS_LONGER: Final = 1
IS_WHOLE: Final = 2
WITHIN_WORDS: Final = 2
"""A pattern of four bytes and more begins like this, a shorter one does; the same WITHIN_WORDS bits further left if
it counts after letters and digits too. All of these may be."""
_EVER_WHOLE: Final = IS_WHOLE | IS_WHOLE << WITHIN_WORDS

_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALNUM: Final = _LETTERS + b"0123456789"
TOKEN_BYTES: Final = _ALNUM + b"_-+/=.:%|$!@?&~"
"""What the body of a token is made of."""


def _byte_classes() -> Bytes:
    classes = np.zeros(256, np.uint8)
    for bit, members in (
        (_TOKEN_BYTE, TOKEN_BYTES),
        (_NAME_BYTE, _ALNUM + b"_-.$"),
        (_WORD_BYTE, _ALNUM + b"_"),
        (_ANNOTATION_BYTE, _ALNUM + b"_<>[]&'.|?* "),
        (_ENDS_BARE, bytes(range(33)) + b"\"'`<>\x7f"),
        (_DIGIT_OR_MARK, bytes(sorted(set(range(33, 127)) - set(_LETTERS + b"_-.")))),
    ):
        classes[list(members)] |= bit
    return read_only(classes)


CLASSES: Final = _byte_classes()


@compiled
def scan(
    data: Bytes,
    offsets: Indices,
    fold: Bytes,
    following: npt.NDArray[np.uint32],
    shift: int,
    output: npt.NDArray[np.int32],
    link: npt.NDArray[np.int32],
    returns: Bytes,
    letters: Bytes,
    bounds: Indices,
    kinds: Bytes,
    least: Indices,
    beginnings: Bytes,
    longer: Bytes,
    classes: Bytes,
    found: Indices,
) -> int:
    """Fill `found` and return how many hits there are, which may be more than it can hold."""
    count = 0
    hit = np.empty(8, np.int64)
    for row in range(offsets.size - 1):
        first, end = offsets[row], offsets[row + 1]
        known_name = np.int64(-1)
        hit[0] = row
        position = _next_place(data, first, first, end, beginnings, longer, classes)
        while position < end:
            place, state = position, np.uint32(0)
            while position < end:
                state = following[state + np.uint32(fold[data[position]])]
                position += 1
                back = returns[state >> np.uint32(shift)]
                if back != GOES_ON:
                    # What may still become a pattern is so short that `_next_place` finds it again.
                    if position - back > place:
                        position -= back
                        break
                    continue
                pattern = output[state >> np.uint32(shift)]
                while pattern >= 0:
                    start = position - (bounds[pattern + 1] - bounds[pattern])
                    kind = kinds[pattern]
                    hit[1], hit[2], hit[3] = pattern, start, position
                    if kind == 0:
                        passes = _is_prefix(data, first, end, start, letters, bounds, pattern, least[pattern], classes)
                    elif kind == 1:
                        passes = start >= known_name and _names_a_value(data, first, end, classes, hit)
                        if start >= known_name:
                            known_name = hit[3]
                    elif kind == 3:
                        passes = _holds_user(data, position, end)
                    else:
                        passes = True
                    if passes:
                        if count < found.shape[0]:
                            found[count] = hit
                        count += 1
                    pattern = link[pattern]
            position = _next_place(data, first, position, end, beginnings, longer, classes)
    return count


@compiled
def _next_place(
    data: Bytes, first: Whole, position: Whole, end: Whole, beginnings: Bytes, longer: Bytes, classes: Bytes
) -> Whole:
    """Return the first place from `position` on where a pattern may begin, `end` if there is none. The last few bytes
    of a text are always such a place.

    Places are unsigned and hashes have 32 bits, so that the compiler makes two loads of four bytes and little else.
    """
    start, place, last = _U64(first), _U64(position), _U64(end)
    while place + _U64(7) <= last:
        low, high = _four_bytes(data, place), _four_bytes(data, place + _U64(2))
        if (
            beginnings[_of_three(low << _BYTE)]
            | beginnings[_of_three(low & _UPPER_THREE)]
            | beginnings[_of_three(high << _BYTE)]
            | beginnings[_of_three(high & _UPPER_THREE)]
        ):
            for i in range(place, place + _U64(4)):
                four = _four_bytes(data, _U64(i))
                known = beginnings[_of_three(four << _BYTE)]
                if i > start and classes[data[i - _U64(1)]] & _WORD_BYTE:
                    known = known >> WITHIN_WORDS
                if known & _EVER_WHOLE or (known and longer[_of_four(four)]):
                    return np.int64(i)
        place += _U64(4)
    return np.int64(place if place + _U64(BEGINNING) <= last else last)


@compiled
def _four_bytes(data: Bytes, at: np.uint64) -> np.uint32:
    four = _U32(data[at])
    four |= _U32(_U32(data[at + _U64(1)]) << _U32(8))
    four |= _U32(_U32(data[at + _U64(2)]) << _U32(16))
    four |= _U32(_U32(data[at + _U64(3)]) << _U32(24))
    return four


@compiled
def _of_three(shifted: np.uint32) -> np.uint32:
    return _U32(_U32(shifted) * _U32(STEP)) >> _U32(32 - BEGINNING_BITS)


@compiled
def _of_four(four: np.uint32) -> np.uint32:
    return _U32(_U32(four) * _U32(STEP)) >> _U32(32 - LONGER_BITS)


@compiled
def _is_prefix(
    data: Bytes,
    first: Whole,
    end: Whole,
    start: Whole,
    letters: Bytes,
    bounds: Indices,
    pattern: Whole,
    least: Whole,
    classes: Bytes,
) -> bool:
    if start > first and classes[data[start - 1]] & 4 and classes[letters[bounds[pattern]]] & 4:
        return False
    body = start + bounds[pattern + 1] - bounds[pattern]
    if body + least > end:
        return False
    for i in range(bounds[pattern + 1] - bounds[pattern]):
        if data[start + i] != letters[bounds[pattern] + i]:
            return False
    for i in range(body, body + least):
        if not classes[data[i]] & 1:
            return False
    return True


@compiled
def _holds_user(data: Bytes, position: Whole, end: Whole) -> bool:
    """Whether ``user:password@`` stands at `position`."""
    colon = False
    for i in range(position, min(end, position + MAX_URL_USER)):
        byte = data[i]
        if byte <= _SPACE or byte in (_SLASH, _QUOTE, _APOSTROPHE, _LESS, _BACKTICK):
            return False
        if byte == _COLON:
            colon = True
        elif byte == _AT:
            return colon
    return False


@compiled
def _names_a_value(data: Bytes, first: Whole, end: Whole, classes: Bytes, hit: Indices) -> bool:
    """Widen hit to the whole name and find the value that is assigned to it, if it may be a secret."""
    start, stop = hit[2], hit[3]
    lowest, highest = max(first, start - MAX_NAME), min(end, stop + MAX_NAME)
    while start > lowest and classes[data[start - 1]] & 2:
        start -= 1
    while stop < highest and classes[data[stop]] & 2:
        stop += 1
    # A colon with a dash (a shell's default value) leaves no dash here; an arrow does: `$this->password`, `key->x`.
    hit[2], hit[3] = start, stop
    value, operator = _value_start(data, stop, end, classes)
    if value < 0:
        return False
    quote = 0
    if value < end and data[value] == _BACKSLASH:
        value += 1
        if value >= end or (data[value] != _QUOTE and data[value] != _APOSTROPHE):
            return False
    if value < end and (data[value] == _QUOTE or data[value] == _APOSTROPHE or data[value] == _BACKTICK):
        quote = data[value]
        value += 1
    elif operator in (_COMMA, _OPENS):
        return False
    value_end = _value_end(data, value, end, quote, classes)
    if value_end - value < 4:
        return False
    hit[4], hit[5], hit[6], hit[7] = value, value_end, operator, quote
    for i in range(value, value_end):
        if classes[data[i]] & 32:
            return True
    return _mixes_case(data, value, value_end)


@compiled
def _mixes_case(data: Bytes, start: Whole, end: Whole) -> bool:
    """Whether letters alone look random: lower and upper case change more often than in a name of several words."""
    changes = 0
    for i in range(start + 1, end):
        changes += (data[i] ^ data[i - 1]) & 32 != 0
    return bool(changes * 3 >= end - start and end - start >= 8)


@compiled
def _spaces(data: Bytes, position: Whole, end: Whole) -> Whole:
    last = min(end, position + MAX_SPACES)
    while position < last and (data[position] == _SPACE or data[position] == _TAB):
        position += 1
    return position


@compiled
def _value_start(data: Bytes, position: Whole, end: Whole, classes: Bytes) -> tuple[Whole, Whole]:
    """Return (start of the value, operator byte) for a name that ends at `position`; (-1, 0) if none is assigned."""
    quoted = False
    if position < end and data[position] == _BACKSLASH:
        position += 1
    if position < end and (data[position] == _QUOTE or data[position] == _APOSTROPHE or data[position] == _BACKTICK):
        quoted = True
        position += 1
    if position < end and data[position] == _OPENS_LIST:
        last = min(end, position + 8)
        while position < last and data[position] != _CLOSES_LIST:
            position += 1
    if position < end and (data[position] == _CLOSES_LIST or data[position] == _CLOSES):
        position += 1
    after = _spaces(data, position, end)
    if after + 1 >= end:
        return -1, 0
    byte, ahead = data[after], data[after + 1]
    if byte == _EQUALS or (byte == _BANG and ahead == _EQUALS) or (byte == _ASK and ahead == _EQUALS):
        after += 1
        while after < end and (data[after] == _EQUALS or data[after] == _GREATER):
            after += 1
        return _after_mark(data, after, end), _EQUALS
    if byte == _COLON and ahead != _COLON:
        if ahead in (_EQUALS, _DASH):
            return _after_mark(data, after + 2, end), _EQUALS if ahead == _EQUALS else _DASH
        return _after_colon(data, after + 1, end, classes)
    if byte == _LESS and ahead == _DASH:
        return _after_mark(data, after + 2, end), _EQUALS
    if byte == _COMMA and quoted:
        return _after_mark(data, after + 1, end), _COMMA
    if byte == _OPENS and not quoted:
        return _after_mark(data, after + 1, end), _OPENS
    if byte == _GREATER:
        return after + 1, _GREATER
    if after == position:
        return -1, 0
    if quoted:
        return _after_value_attribute(data, after, end), _EQUALS
    return after, _SPACE


@compiled
def _after_value_attribute(data: Bytes, position: Whole, end: Whole) -> Whole:
    """Return where the value begins in ``value="…"``, the second attribute of many XML settings; -1 elsewhere."""
    if position + 7 > end or data[position] | 32 != 118 or data[position + 4] | 32 != 101:
        return -1
    if data[position + 1] | 32 != 97 or data[position + 2] | 32 != 108 or data[position + 3] | 32 != 117:
        return -1
    position = _spaces(data, position + 5, end)
    return position + 1 if position < end and data[position] == _EQUALS else -1


@compiled
def _after_colon(data: Bytes, position: Whole, end: Whole, classes: Bytes) -> tuple[Whole, Whole]:
    """Skip a type annotation that ends with ` = `, as in ``token: str = "…"``."""
    position = _after_mark(data, position, end)
    last = min(end - 1, position + MAX_ANNOTATION)
    i = position
    while i < last and classes[data[i]] & 8:
        i += 1
    if position < i < last and data[i] == _EQUALS and data[i - 1] == _SPACE and data[i + 1] != _EQUALS:
        return _after_mark(data, i + 1, end), _EQUALS
    return position, _COLON


@compiled
def _after_mark(data: Bytes, position: Whole, end: Whole) -> Whole:
    """Skip spaces and what may stand before a string: ``b"``, ``@"``, ``[]byte("``."""
    position = _spaces(data, position, end)
    if position + 8 < end and data[position] == _OPENS_LIST and data[position + 1] == _CLOSES_LIST:
        return position + 7 if data[position + 2] == 98 and data[position + 6] == _OPENS else position
    if position + 1 < end and (data[position + 1] == _QUOTE or data[position + 1] == _APOSTROPHE):
        letter = data[position] | 32
        if letter == 98 or letter == 114 or letter == 117 or letter == 108 or data[position] == _AT:
            return position + 1
    return position


@compiled
def _value_end(data: Bytes, position: Whole, end: Whole, quote: Whole, classes: Bytes) -> Whole:
    """Return where the value ends: at its closing quote, or at white space; `position` if it is too long or open."""
    last = min(end, position + MAX_VALUE + 1)
    i = position
    if quote:
        while i < last and data[i] != quote and data[i] >= _SPACE:
            i += 2 if data[i] == _BACKSLASH and i + 1 < last and data[i + 1] != quote else 1
            if i < last and data[i - 1] == _BACKSLASH and data[i] == quote and i - 1 >= position:
                return i - 1
        return i if i < last and data[i] == quote else position
    while i < last and not classes[data[i]] & 16:
        i += 1
    return i if i < last or i == end else position

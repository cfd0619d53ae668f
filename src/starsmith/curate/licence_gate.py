"""Which texts are worth reading for a licence in their leading comment: one compiled pass over an Arrow buffer.

Most files state nothing, and finding that out in Python would cost more than all else that is measured of a file. The
gate may let a text pass that states nothing; it must stop none that states something (held by a test). No section of
the paper.
"""

from typing import Final

import numpy as np

from starsmith.curate.kernel import Bytes, Indices, Whole, compiled

WORDS: Final = ("licen", "gpl", "proprietary", "permission", "domain", "redistribution", "unauthor")
"""One of these, in any case, stands in every statement that is understood."""

_LICEN, _GPL, _PROPRIETARY, _PERMISSION, _DOMAIN, _REDISTRIBUTION, _UNAUTHORISED = (
    np.frombuffer(word.encode(), dtype=np.uint8) for word in WORDS
)
_CODE_LINES: Final = 6
"""Lines of code after which the leading comment is over for good; it is over after one, a few stand before it."""


@compiled
def candidates(data: Bytes, offsets: Indices, limit: Whole) -> Indices:
    """Return the rows of a binary array whose first `limit` bytes mention a licence before the code has well begun.

    `data`: uint8 buffer; `offsets`: int64, one more than there are rows.
    """
    rows = np.empty(offsets.size - 1, dtype=np.int64)
    count = 0
    for row in range(offsets.size - 1):
        start = offsets[row]
        end = min(offsets[row + 1], start + limit)
        if _mentions(data, start, _code_begins(data, start, end)):
            rows[count] = row
            count += 1
    return rows[:count]


@compiled
def _code_begins(data: Bytes, start: Whole, end: Whole) -> Whole:
    """Return where the code has begun, or `end`: after some lines that are no comments, outside block comments."""
    closer, code = 0, 0
    i = start
    while i < end:
        while i < end and (data[i] == 32 or data[i] == 9 or data[i] == 13):
            i += 1
        opened = False
        if closer == 0 and i + 2 < end and data[i] != 10:
            closer = _block_opened(data, i)
            opened = closer != 0
            if closer < 0:
                return end
            if not opened and _is_code(data, i):
                code += 1
                if code > _CODE_LINES:
                    return i
        i += 3 if opened else 0
        while i < end and data[i] != 10:
            if closer > 0 and _is_closed(data, i, end, closer):
                closer = 0
            i += 1
        i += 1
    return end


@compiled
def _block_opened(data: Bytes, i: Whole) -> int:
    """Return which block comment opens at `i`: 1 to 4 for /* and <!-- and triple quotes, -1 for a rarer one, or 0."""
    a, b, c = data[i], data[i + 1], data[i + 2]
    if a == 47 and b == 42:
        return 1
    if a == b == c == 34 or a == b == c == 39:
        return 2 if a == 34 else 3
    if b == c == 34 or b == c == 39:  # r\"\"\" and the like
        return -1
    if a == 60 and b == 33 and c == 45:
        return 4
    # {- {# {{ (* <% <# %{ /+ #| #= #[ -- followed by [, and =begin, =pod, "comment *"
    if (a == 123 and (b == 45 or b == 35 or b == 123)) or (a == 40 and b == 42) or (a == 60 and (b == 37 or b == 35)):
        return -1
    if (a == 37 and b == 123) or (a == 47 and b == 43) or (a == 35 and (b == 124 or b == 61 or b == 91)):
        return -1
    if (a == 45 and b == 45 and c == 91) or a == 61:
        return -1
    return -1 if a | 32 == 99 and b | 32 == 111 and c | 32 == 109 else 0


@compiled
def _is_closed(data: Bytes, i: Whole, end: Whole, closer: int) -> bool:
    if closer == 1:
        return bool(data[i] == 42 and i + 1 < end and data[i + 1] == 47)
    if i + 2 >= end:
        return False
    if closer == 4:
        return bool(data[i] == 45 and data[i + 1] == 45 and data[i + 2] == 62)
    quote = 34 if closer == 2 else 39
    return bool(data[i] == quote and data[i + 1] == quote and data[i + 2] == quote)


@compiled
def _is_code(data: Bytes, i: Whole) -> bool:
    """Whether a line beginning with the three bytes at `i` can be no comment line in any language known here."""
    a, b, c = data[i], data[i + 1], data[i + 2]
    if 48 <= a <= 57 or a == 95 or a == 36 or a == 123 or a == 91 or a == 40:
        return True
    letter = a | 32
    if not 97 <= letter <= 122:
        return False
    second, third = b | 32, c | 32
    dnl = letter == 100 and second == 110 and third == 108
    rem = letter == 114 and second == 101 and third == 109
    nb = letter == 110 and second == 98
    fortran = letter == 99 and (b == 32 or b == 9 or b == 10 or b == 13)
    return not (dnl or rem or nb or fortran)


@compiled
def _mentions(data: Bytes, start: Whole, end: Whole) -> bool:
    """Whether one of WORDS stands in the text, in letters of any case."""
    for i in range(start, end):
        letter = data[i] | 32
        # One rare enough letter of each word is looked at first: liCen, gPl, perMission, …
        if letter == 99:
            if _is_at(data, i - 2, end, start, _LICEN):
                return True
        elif letter == 112:
            if _is_at(data, i - 1, end, start, _GPL) or _is_at(data, i - 3, end, start, _PROPRIETARY):
                return True
        elif letter == 109:
            if _is_at(data, i - 3, end, start, _PERMISSION) or _is_at(data, i - 2, end, start, _DOMAIN):
                return True
        elif letter == 98:
            if _is_at(data, i - 8, end, start, _REDISTRIBUTION):
                return True
        elif letter == 104 and _is_at(data, i - 5, end, start, _UNAUTHORISED):
            return True
    return False


@compiled
def _is_at(data: Bytes, position: Whole, end: Whole, start: Whole, word: Bytes) -> bool:
    """Whether the lower-cased bytes at `position` are `word`."""
    if position < start or position + word.size > end:
        return False
    for i in range(word.size):
        if data[position + i] | 32 != word[i]:
            return False
    return True

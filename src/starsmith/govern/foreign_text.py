"""Foreign text: names and paths that somebody else chose, made safe to show and easy to read.

Whatever a repository calls its files, a terminal, a web page and a Markdown table must show the name and obey none of
it. HTML is escaped where it is made, in `markup`; this module does what holds for every place.
"""

import math
from typing import Final

LONGEST: Final = 300
"""Characters of one name that are shown; a path may be 4,096 bytes long."""


def visible(text: str) -> str:
    r"""Return text with control, bidirectional, invisible and line-breaking characters spelled out.

    >>> visible("a\nb\u202e")
    'a\\nb\\u202e'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shortened(text: str, limit: int = LONGEST) -> str:
    """Return visible text of at most `limit` characters; what is cut out of the middle becomes an ellipsis.

    >>> shortened("a/very/long/path.py", 11)
    'a/ver…th.py'
    """
    shown = visible(text)
    if len(shown) <= limit:
        return shown
    left = limit // 2
    return f"{shown[:left]}…{shown[len(shown) - (limit - left - 1) :]}"


def markdown_code(text: str) -> str:
    r"""Return text as a code span that neither ends itself nor a table cell: nothing inside a code span is markup.

    >>> markdown_code("a`b|c")
    '`a\\x60b\\x7cc`'
    """
    shown = shortened(text).replace("`", "\\x60").replace("|", "\\x7c").strip(" ")
    return f"`{shown}`" if shown else "(empty)"


def number(value: float) -> str:
    """Return a measured value: whole, to two digits behind the point, or, below one, to three digits that count.

    >>> number(2493.0), number(0.012490104), number(102.714)
    ('2,493', '0.0125', '102.71')
    """
    if math.isfinite(value) and value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"


def counted(count: int, noun: str) -> str:
    """Return how many there are of something.

    >>> counted(1, "origin"), counted(2000, "document")
    ('1 origin', '2,000 documents')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Return bytes in the unit a person would choose, powers of a thousand.

    >>> size(999), size(138_543_061), size(2_000)
    ('999 B', '138.5 MB', '2.0 kB')
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.95 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:,.1f} {unit}"


def share(part: int, whole: int) -> str:
    """Return a part in percent of the whole; what is not all is never called 100 %, nor what is not none 0 %.

    >>> share(1, 3), share(999, 1000), share(1, 10_000), share(0, 7), share(0, 0)
    ('33 %', '99.9 %', '< 0.1 %', '0 %', '0 %')
    """
    if part == 0 or part == whole:
        return "100 %" if part else "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    if percent > 99.9:
        return "> 99.9 %"
    return f"{percent:.0f} %" if 9.5 <= percent < 99 else f"{percent:.1f} %"


def seconds(value: float) -> str:
    """Return a time in the unit a person would choose.

    >>> seconds(0.0312), seconds(12.93), seconds(7384.2)
    ('0.03 s', '12.9 s', '2 h 03 min')
    """
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"

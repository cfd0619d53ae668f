"""What Python says of every Unicode character: letter, letter or digit, white space, as one table of flags.

Follows section 2 of the paper's data description where it counts letters (`str.isalpha`, `str.isalnum`) and where its
patterns say ``\\b`` and ``\\s``. The table is that of the running interpreter, so `UNICODE_VERSION` belongs into the
fingerprint of whatever is measured with it.

Nothing here looks at a text.
"""

import re
import sys
import unicodedata
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

UNICODE_VERSION: Final = unicodedata.unidata_version
"""The version of Unicode the table was made from; another version may call other characters letters."""

ALPHA: Final = 1
"""`str.isalpha`."""
ALNUM: Final = 2
"""`str.isalnum`: with ``_`` the word characters of `re`."""
SPACE: Final = 4
"""`str.isspace`: what ``\\s`` matches."""


@cache
def character_flags() -> npt.NDArray[np.uint8]:
    """Return a read-only array of 0x110000 flag bytes, one per code point. Made once per process (about 0.05 s).

    >>> flags = character_flags()
    >>> [int(flags[ord(character)]) for character in "é1_ "]
    [3, 2, 0, 4]
    """
    flags = np.zeros(sys.maxunicode + 1, np.uint8)
    code_points = np.arange(len(flags), dtype="<u4")
    every_character = code_points.tobytes().decode("utf-32-le", errors="surrogatepass")
    for run in re.finditer(r"[^\W_]+", every_character):
        flags[run.start() : run.end()] |= ALNUM
        letters = np.fromiter(map(str.isalpha, run.group()), np.bool_, run.end() - run.start())
        flags[run.start() : run.end()][letters] |= ALPHA
    for run in re.finditer(r"\s+", every_character):
        flags[run.start() : run.end()] |= SPACE
    flags.flags.writeable = False
    return flags

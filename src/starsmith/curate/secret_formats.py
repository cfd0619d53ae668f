"""The formats of tokens that providers issue, read from `data/secret_formats.tsv`, and their public checksums.

Section 5 of the paper's data description left keys to general detectors; formats are what makes their precision. Only
what a token looks like stands here; where one is looked for is the business of `secrets`.
"""

import re
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

BASE62: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CHECKSUM_LENGTH: Final = 6
CHECKED_PREFIXES: Final = frozenset({b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"npm_"})
"""Tokens of 36 characters whose last six are the CRC-32 of the first thirty, in base 62 (GitHub, April 2021)."""
CHECKED_LENGTH: Final = 36

_FOLLOWED_BY_MORE: Final = rb"(?![A-Za-z0-9_])"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFormat:
    """One format: a literal prefix and what follows it."""

    provider: str
    prefix: bytes
    least: int
    pattern: re.Pattern[bytes]
    """Matches from after the prefix; group 0 is the rest of the token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedFormat:
    """One format without a prefix: the whole of a value whose name holds `word`."""

    provider: str
    word: str
    pattern: re.Pattern[bytes]


@cache
def token_formats() -> tuple[TokenFormat, ...]:
    """Return the formats that have a prefix, in the order of the file."""
    return tuple(
        TokenFormat(
            provider=provider,
            prefix=prefix.encode(),
            least=int(least),
            pattern=re.compile(b"(?:" + body.encode() + b")" + _FOLLOWED_BY_MORE),
        )
        for provider, prefix, least, body in _lines()
        if not prefix.startswith("=")
    )


@cache
def named_formats() -> tuple[NamedFormat, ...]:
    """Return the formats that are known by the name of what holds them."""
    return tuple(
        NamedFormat(provider=provider, word=prefix[1:].replace("_", ""), pattern=re.compile(body.encode()))
        for provider, prefix, _, body in _lines()
        if prefix.startswith("=")
    )


def _lines() -> list[list[str]]:
    text = (files("starsmith") / "data" / "secret_formats.tsv").read_text(encoding="utf-8")
    lines = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return lines[1:]


def crc_base62(text: bytes) -> bytes:
    """Return the six base-62 digits of the CRC-32 of `text`, as GitHub and npm end their tokens.

    >>> crc_base62(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ")
    b'0mLq17'
    """
    value, digits = zlib.crc32(text), bytearray()
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, len(BASE62))
        digits.append(BASE62[digit])
    return bytes(reversed(digits))


def has_checksum(prefix: bytes, body: bytes) -> bool:
    """Whether a token carries its issuer's checksum, which no made-up example does."""
    if prefix not in CHECKED_PREFIXES or len(body) != CHECKED_LENGTH:
        return False
    return crc_base62(body[:-CHECKSUM_LENGTH]) == body[-CHECKSUM_LENGTH:]

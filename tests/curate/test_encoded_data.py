"""The kernels against the patterns of the paper in Python's `re`, which they must equal exactly."""

import re
import sysconfig
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processor_time import takes_at_most

from starsmith.curate.encoded_data import find_encoded_data
from starsmith.curate.kernel import text_buffers

BASE64 = re.compile(r"[a-zA-Z0-9+/\n=]{64,}")
HEXADECIMAL = {
    False: re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}"),
    True: re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,\s*|\b\s*)){8,}"),
}
ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}")
NEAR_MISS_BYTES = 10_000_000

Found = list[tuple[int, int]]


def ours(text: str, *, hex_spaces: bool) -> Found:
    found = find_encoded_data(*text_buffers(pa.array([text.encode()], pa.large_binary())), hex_spaces=hex_spaces)
    return list(zip(found.longest[0].tolist(), found.matched[0].tolist(), strict=True))


def expected(text: str, *, hex_spaces: bool) -> Found:
    lengths = [
        [match.end() - match.start() for match in pattern.finditer(text)]
        for pattern in (BASE64, HEXADECIMAL[hex_spaces], ESCAPES)
    ]
    return [(max(found, default=0), sum(found)) for found in lengths]


def assert_equal(text: str) -> None:
    for hex_spaces in (False, True):
        assert ours(text, hex_spaces=hex_spaces) == expected(text, hex_spaces=hex_spaces)


def pieces_of(*pieces: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=60).map("".join)


HEX_PIECES = (*"F, \n\t_gé²\u2003\x85\x1c\U0001d54f→", "0x", "\\x", "ab", "12")
HEX_BYTES = ("0x1f", "\\xAB", "00", "ab,", "0xff,", "\\x00,", "12 ", "0x12, ", "7f\u3000", "ff,\u2003", "aB\n\n")
HEX_TOKENS = (*HEX_BYTES, *"\\éx", "0x")


@settings(max_examples=1500, deadline=None)
@given(pieces_of(*HEX_PIECES))
@example("é" + "12 " * 8)
@example("\\x41" * 9)
@example("a\\x41" * 9)
@example("00\u2003" * 8)
@example("12 " * 7 + "12é")
@example("12 " * 7 + "12→")
def test_hexadecimal_pieces(text: str) -> None:
    assert_equal(text)


@settings(max_examples=1500, deadline=None)
@given(st.lists(pieces_of(*HEX_TOKENS), max_size=4).map("".join))
def test_hexadecimal_tokens(text: str) -> None:
    assert_equal(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0aF9x\\,_ \nuz\xa0\u2028é", max_size=300))
def test_characters_of_the_patterns(text: str) -> None:
    assert_equal(text)


@settings(max_examples=500, deadline=None)
@given(pieces_of("\\u00e9", "\\uABCD", "\\u12", "\\", "u", "00", "z", "\\u0000" * 8, "é"))
def test_escapes(text: str) -> None:
    assert_equal(text)


@settings(max_examples=500, deadline=None)
@given(pieces_of("a" * 63, "a", "=" * 10, "\n", " ", "/+9Z" * 15, "é", "-", "a" * 130))
def test_base64(text: str) -> None:
    assert_equal(text)


def test_least_lengths() -> None:
    assert ours("A" * 63, hex_spaces=False)[0] == (0, 0)
    assert ours("A" * 64, hex_spaces=False)[0] == (64, 64)
    assert ours("12 " * 7, hex_spaces=False)[1] == (0, 0)
    assert ours("-" + " ".join(["12"] * 8) + "-", hex_spaces=False)[1] == (23, 23)
    assert ours("\\u1234" * 8, hex_spaces=False)[2] == (48, 48)


def test_c_tables_need_the_variant_with_spaces() -> None:
    table = ", ".join(["0x1f"] * 100)
    assert ours(table, hex_spaces=False)[1] == (0, 0)
    assert ours(table, hex_spaces=True)[1] == (len(table), len(table))


def test_matches_do_not_cross_from_one_text_into_the_next() -> None:
    texts = pa.array([b"a" * 40, b"12 " * 5, b"12 " * 5, b"\\u1234" * 4, b"\\u1234" * 4], pa.large_binary())
    assert find_encoded_data(*text_buffers(texts), hex_spaces=False).matched.sum() == 0
    # What precedes in the buffer is no word character before the first digit of the second text.
    found = find_encoded_data(*text_buffers(pa.array([b"x", b"12," * 8], pa.large_binary())), hex_spaces=False)
    assert found.longest[1, 1] == 24


def test_standard_library() -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    named = [folder / name for name in ("doctest.py", "zipimport.py", "html/__init__.py")]
    paths = [*named, *sorted(folder.glob("*.py"))[::6]]
    matched = [0, 0, 0]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert_equal(text)
        matched = [total + count for total, (_, count) in zip(matched, ours(text, hex_spaces=True), strict=True)]
    assert min(matched) > 100, "these files no longer hold what they are read for"


NEAR_MISSES = {
    "base64": b"a" * 63 + b" ",
    "hexadecimal": b"12 " * 7 + b"zz ",
    "hexadecimal, all white space": b"12" + b" " * 500,
    "hexadecimal, prefixes only": b"0x\\x",
    "escapes": b"\\u1234" * 7 + b"\\u12 ",
    "one run without a match": b"0f",
    "backslashes": b"\\",
    "white space": "\u3000".encode(),
}


@pytest.mark.parametrize("unit", NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses_take_linear_time(unit: bytes) -> None:
    """Ten times the text may not take much more than ten times as long; quadratic time would take a hundred."""
    text = unit * (NEAR_MISS_BYTES // len(unit))
    whole = len(text) // len(unit) // 10 * len(unit)
    assert takes_at_most(60, lambda: _find(text), lambda: _find(text[:whole]))


def _find(text: bytes) -> object:
    return find_encoded_data(*text_buffers(pa.array([text], pa.large_binary())), hex_spaces=True)

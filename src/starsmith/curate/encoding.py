"""Encodings: from the bytes of a content to its text as UTF-8, and the name of the encoding it was in.

Follows section 1.3 of the paper's data description (UTF-8 first, then a detector, NUL means binary) and goes beyond it:
a byte order mark decides, a NUL does not condemn UTF-16, an encoding that the file itself declares is believed if it
fits, and UTF-8 with a few broken bytes is refused rather than read as a jumble of Western letters.

The order for one content: valid UTF-8 without NUL; a byte order mark; NUL (UTF-16 without a mark if nothing else is
plausible, otherwise binary); too many control characters (binary); broken UTF-8; a declared encoding; a detected one.

A byte order mark is a signature and not text: one at the very start is stripped, so a text can be shorter than its
content. Otherwise `content.decode(name)` in Python gives the text for every name this module writes.

What it does not do: 7-bit encodings with escapes (ISO-2022-JP, UTF-7, HZ) are ASCII and stay as they are, and no
line ending, normal form or control character of a text is changed. Valid UTF-8 without NUL is text whatever it says;
whether it is worth keeping is the filters' business.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

NAME = "encoding"
VERSION = 1

SAMPLE_BYTES = 64 * 1024
"""What the detector sees at most. It takes under 5 ms for that, whatever the bytes are."""

MAX_CONTROL_SHARE = 0.05
"""Above this share of control characters a guess is wrong. Random bytes without NUL have 0.1; legacy text has none."""

BROKEN_UTF8_SHARE = 0.9
"""Bytes above 0x7f that form valid UTF-8, as a share, from which the content is broken UTF-8 and nothing else.
The largest share measured in 770 legacy texts that were not valid UTF-8 as a whole: 0.82 (one line of Big5)."""

UTF16_NUL_SHARE = 0.7
"""Share of high bytes that must be NUL for UTF-16 without a byte order mark: text mostly in ASCII."""

WESTERN_BONUS = 0.005
DOS_MALUS = 0.01
"""Added to Windows-1252 and taken from DOS and Mac code pages. Chosen on 770 texts in 54 (language, encoding) pairs:
read right 94 % without either, 95 % with both; of the Western ones, the most frequent by far in source code, 88 and
98 %."""

_DETECTED = (
    *("big5hkscs", "cp932", "cp949", "euc_jis_2004", "gb18030"),
    *("cp874", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("koi8-r", "koi8-u", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-8", "iso8859-9"),
    *("cp437", "cp850", "cp866", "mac-roman"),
)
_DOS = frozenset({"cp437", "cp850", "mac-roman"})
_DECLARED_ONLY = ("cp852", "iso8859-4", "iso8859-6", "iso8859-13", "iso8859-15", "mac-cyrillic")
"""Too easily mistaken for others to be guessed, but believed when the file says so."""

_NAMES = {
    "big5": "BIG5",
    "big5hkscs": "BIG5-HKSCS",
    "cp437": "IBM437",
    "cp850": "IBM850",
    "cp866": "IBM866",
    "cp949": "UHC",
    "euc_jis_2004": "EUC-JIS-2004",
    "euc_jp": "EUC-JP",
    "euc_kr": "EUC-KR",
    "mac-roman": "MACINTOSH",
    "shift_jis": "SHIFT_JIS",
}
"""Python's codec name → the name written, where upper case alone does not make it. Python knows all of them."""

_NARROWER = {
    "big5hkscs": "big5",
    "cp932": "shift_jis",
    "cp949": "euc_kr",
    "cp1252": "iso8859-1",
    "euc_jis_2004": "euc_jp",
}
"""A wide encoding → the well-known one inside it, whose name is written where it gives the same text."""

_WIDER = {
    **{narrow: wide for wide, narrow in _NARROWER.items()},
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "tis-620": "cp874",
}
"""What authors declare → what their files really are in."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNICODE_NAMES = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
    "utf-32-le": "UTF-32LE",
    "utf-32-be": "UTF-32BE",
}

# Backspace, tab, line feed, vertical tab, form feed, carriage return, DOS end of file and escape are at home in text.
_CONTROL_BYTES = bytes(byte for byte in range(32) if byte not in b"\b\t\n\v\f\r\x1a\x1b") + b"\x7f"
_CONTROL_CHARS = re.compile("[\x00-\x07\x0e-\x19\x1c-\x1f\x7f-\x84\x86-\x9f\ue000-\uf8ff\ufffe\uffff]")
_DECLARED = re.compile(rb"(?:coding|charset)[ \t]*[:=][ \t]*[\"']?([A-Za-z0-9][A-Za-z0-9._-]{1,30})")
_DECLARED_WITHIN = 1024
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """What became of a batch; four columns of the batch's length.

    `texts` is valid UTF-8, empty where decoding failed. `encodings` is null where it failed; `reasons` (of
    verdict.REASONS) and `details` are null where it did not.
    """

    texts: pa.LargeBinaryArray
    encodings: pa.StringArray
    reasons: pa.StringArray
    details: pa.StringArray


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedOne:
    """What became of one content; the fields are those of `Decoded`."""

    text: bytes = b""
    encoding: str | None = None
    reason: str | None = None
    detail: str | None = None


def decode(contents: pa.BinaryArray | pa.LargeBinaryArray) -> Decoded:
    """Decode a batch. Where every content is plain UTF-8 the texts share the memory of the contents.

    Raises ValueError if a content is null: what was not read has no place in a batch.
    """
    if contents.null_count:
        raise ValueError(f"{contents.null_count} of {len(contents)} contents are null; leave them out of the batch.")
    large = contents.cast(pa.large_binary())
    odd = odd_rows(large)
    if not len(odd):
        return _columns(large, odd, [])
    return _columns(large, odd, [decode_one(large[row].as_py()) for row in odd.tolist()])


def decode_one(content: bytes) -> DecodedOne:
    """Decode one content.

    >>> decode_one("Größe".encode()).encoding, decode_one("# Größe der Fläche".encode("latin-1")).encoding
    ('UTF-8', 'ISO-8859-1')
    >>> decode_one(b"GIF89a" + bytes(10)).reason
    'error.binary'
    """
    marked = _by_mark(content)
    if marked is not None:
        return marked
    has_nul = b"\0" in content
    if not has_nul and _decodes(content, "utf-8"):
        return DecodedOne(text=content, encoding="UTF-8")
    if has_nul:
        return _with_nul(content)
    return _legacy(content)


def odd_rows(contents: pa.LargeBinaryArray) -> npt.NDArray[np.int64]:
    """Return the sorted rows that are not simply UTF-8 text: not valid, with a NUL, or with a byte order mark."""
    starts, ends, data = _layout(contents)
    rows = [np.array(_invalid_rows(contents, 0), dtype=np.int64), _rows_with_utf8_mark(starts, ends, data)]
    if len(contents) and not data[starts[0] : ends[-1]].all():
        rows.append(_rows_with_nul(starts, ends, data))
    return np.unique(np.concatenate(rows))


def _layout(
    contents: pa.LargeBinaryArray,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    _, offsets_buffer, data_buffer = contents.buffers()
    if not len(contents):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, np.zeros(0, dtype=np.uint8)
    first = contents.offset
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[first : first + len(contents) + 1]
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer else np.zeros(0, dtype=np.uint8)
    return offsets[:-1], offsets[1:], data


def _invalid_rows(contents: pa.LargeBinaryArray, first: int) -> list[int]:
    """Find the rows that are not UTF-8 by halving: Arrow checks 5 GB/s, and bad rows are few."""
    try:
        contents.cast(pa.large_string())
        return []
    except pa.ArrowInvalid:
        if len(contents) == 1:
            return [first]
    half = len(contents) // 2
    return _invalid_rows(contents.slice(0, half), first) + _invalid_rows(contents.slice(half), first + half)


def _rows_with_nul(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    filled = np.flatnonzero(ends > starts)
    smallest = np.minimum.reduceat(data[: ends[-1]], starts[filled])
    rows: npt.NDArray[np.int64] = filled[smallest == 0]
    return rows


def _rows_with_utf8_mark(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    rows = np.flatnonzero(ends - starts >= len(codecs.BOM_UTF8))
    for position, byte in enumerate(codecs.BOM_UTF8):
        rows = rows[data[starts[rows] + position] == byte]
    return rows


def _columns(contents: pa.LargeBinaryArray, rows: npt.NDArray[np.int64], decoded: list[DecodedOne]) -> Decoded:
    """Put what was decoded one by one back among the rows that are plain UTF-8."""
    size = len(contents)
    mask = np.zeros(size, dtype=bool)
    mask[rows] = True
    odd = pa.array(mask)

    def column(default: pa.Array, values: list[str | None] | list[bytes]) -> pa.Array:
        return pc.replace_with_mask(default, odd, pa.array(values, default.type)) if decoded else default

    return Decoded(
        texts=column(contents, [one.text for one in decoded]),
        encodings=column(pa.repeat("UTF-8", size), [one.encoding for one in decoded]),
        reasons=column(pa.nulls(size, pa.string()), [one.reason for one in decoded]),
        details=column(pa.nulls(size, pa.string()), [one.detail for one in decoded]),
    )


def _by_mark(content: bytes) -> DecodedOne | None:
    """Decode by the byte order mark; None if there is none, or if NULs show that it only looked like one."""
    fitting = [(mark, codec) for mark, codec in _MARKS if content.startswith(mark)]
    for mark, codec in fitting:
        text = _text_in(content[len(mark) :], codec)
        if text is not None and "\0" not in text:
            return DecodedOne(text=text.encode(), encoding=_UNICODE_NAMES[codec])
    if not fitting or b"\0" in content:
        return None
    claim = _UNICODE_NAMES[fitting[0][1]]
    return DecodedOne(reason="error.decode", detail=f"has the byte order mark of {claim} but is not valid {claim}")


def _with_nul(content: bytes) -> DecodedOne:
    codec = _bare_utf16(content)
    text = _text_in(content, codec) if codec else None
    if codec and text and not _CONTROL_CHARS.search(text):
        return DecodedOne(text=text.encode(), encoding=_UNICODE_NAMES[codec])
    return DecodedOne(reason="error.binary", detail=f"a NUL byte at offset {content.index(0)}")


def _bare_utf16(content: bytes) -> str | None:
    """Return the UTF-16 codec whose high bytes are mostly NUL and whose low bytes never are."""
    if len(content) < 8 or len(content) % 2:
        return None
    units = np.frombuffer(content, dtype=np.uint8).reshape(-1, 2)
    even, odd = (int(count) for count in (units == 0).sum(axis=0))
    if even == 0 and odd >= UTF16_NUL_SHARE * len(units):
        return "utf-16-le"
    if odd == 0 and even >= UTF16_NUL_SHARE * len(units):
        return "utf-16-be"
    return None


def _legacy(content: bytes) -> DecodedOne:
    """Decode what is neither Unicode nor holds a NUL."""
    controls = len(content) - len(content.translate(None, _CONTROL_BYTES))
    if controls > MAX_CONTROL_SHARE * len(content):
        return DecodedOne(reason="error.binary", detail=f"{controls} of {len(content)} bytes are control characters")
    broken = _broken_utf8(content)
    if broken:
        return DecodedOne(reason="error.decode", detail=broken)
    soup = False
    for codec in _candidates(content):
        text = _text_in(content, codec)
        if text is None:
            continue
        if not _is_soup(text):
            return DecodedOne(text=text.encode(), encoding=_encoding_name(content, text, codec))
        soup = True
    if soup:
        return DecodedOne(reason="error.binary", detail="decodes to control characters only")
    return DecodedOne(reason="error.decode", detail="no encoding fits all of its bytes")


def _broken_utf8(content: bytes) -> str | None:
    high = np.count_nonzero(np.frombuffer(content, dtype=np.uint8) >= 0x80)
    invalid = len(content) - len(content.decode("utf-8", errors="ignore").encode())
    if invalid > (1 - BROKEN_UTF8_SHARE) * high:
        return None
    return f"UTF-8 with {invalid} invalid bytes"


def _candidates(content: bytes) -> Iterator[str]:
    """Yield Python codec names to try, best first: the declared encoding, the detected ones, Windows-1252."""
    declared = _declared(content)
    if declared:
        yield declared
    detected = _detected(_sample(content))
    yield from detected
    if "cp1252" not in detected:
        yield "cp1252"


def _declared(content: bytes) -> str | None:
    """Return the codec that the content names near its start (Python, XML, HTML, editor lines), if we know it."""
    match = _DECLARED.search(content, 0, _DECLARED_WITHIN)
    if match is None:
        return None
    try:
        codec = codecs.lookup(match[1].decode("ascii")).name
    except LookupError:
        return None
    codec = _WIDER.get(codec, codec)
    return codec if codec in _DETECTED or codec in _DECLARED_ONLY else None


def _sample(content: bytes) -> bytes:
    """Return the lines with bytes above 0x7f, up to `SAMPLE_BYTES`: English code around them misleads the detector.

    Measured on 580 of the same texts: 89 % read right from these lines, 53 % from the whole text.
    """
    sample = bytearray()
    high = _HIGH_BYTE.search(content)
    end = 0
    while high and len(sample) < SAMPLE_BYTES:
        begin = max(content.rfind(b"\n", end, high.start()) + 1, end, high.start() - SAMPLE_BYTES // 2)
        end = content.find(b"\n", high.end()) + 1 or len(content)
        sample += content[begin : min(end, begin + SAMPLE_BYTES)]
        high = _HIGH_BYTE.search(content, end)
    return bytes(sample[:SAMPLE_BYTES])


def _detected(sample: bytes) -> list[str]:
    """Return codec names by falling plausibility. The order is total: equal scores go by name."""
    # chardet costs 35 ms to import and most batches need none of it.
    from chardet import detect_all

    found = detect_all(
        sample, ignore_threshold=True, include_encodings=_DETECTED, compat_names=False, prefer_superset=False
    )
    scores: dict[str, float] = {}
    for result in found:
        if result["encoding"]:
            codec = _WIDER.get(result["encoding"], result["encoding"])
            scores[codec] = max(scores.get(codec, -1.0), result["confidence"] + _bias(codec))
    return sorted(scores, key=lambda codec: (-scores[codec], codec))


def _bias(codec: str) -> float:
    return WESTERN_BONUS if codec == "cp1252" else -DOS_MALUS if codec in _DOS else 0.0


def _encoding_name(content: bytes, text: str, codec: str) -> str:
    """Return the name of the narrowest well-known encoding that gives the same text."""
    narrow = _NARROWER.get(codec)
    if narrow and _text_in(content, narrow) == text:
        codec = narrow
    if codec in _NAMES:
        return _NAMES[codec]
    return codec.upper().replace("ISO8859", "ISO-8859").replace("CP125", "WINDOWS-125")


def _is_soup(text: str) -> bool:
    return sum(1 for _ in _CONTROL_CHARS.finditer(text)) > MAX_CONTROL_SHARE * len(text)


def _text_in(content: bytes, codec: str) -> str | None:
    try:
        return content.decode(codec)
    except UnicodeDecodeError:
        return None


def _decodes(content: bytes, codec: str) -> bool:
    return _text_in(content, codec) is not None

"""The scan for secrets and personal data, and the edits that replace them.

Follows section 5 of the paper's data description: its replacements, the same value getting the same one within a file.
What the paper draws at random is chosen by a hash of the content's id and the value. Laws, held by property tests:
redacting a redacted text changes nothing; no edit changes the number of lines (a private key leaves its line breaks);
a row's findings depend on no other row. What is a secret is decided in `secrets` and `personal_data`.
"""

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa

from starsmith.curate.findings import (
    EMAIL,
    IPV4,
    IPV6,
    KEY,
    NAME,
    PASSWORD,
    PRIVATE_KEY,
    TOKEN,
    USER_NAME,
    Findings,
    Span,
    rank,
    resolve,
)
from starsmith.curate.kernel import Indices, text_buffers
from starsmith.curate.personal_data import NameFinder, find_addresses
from starsmith.curate.secrets import find_secrets
from starsmith.document import SHA256_BYTES
from starsmith.settings import RedactionSettings

DETECTOR_VERSION: Final = "1"
"""Part of the fingerprint of every scan: raise it when a rule, a format or a list changes."""

REPLACEMENTS: Final = {
    EMAIL: b"<EMAIL>",
    KEY: b"<KEY>",
    PRIVATE_KEY: b"<KEY>",
    PASSWORD: b"<PASSWORD>",
    NAME: b"<NAME>",
}
IPV4_POOL: Final = tuple(
    b"172.16.31.10 172.16.58.3 172.16.17.32 192.168.127.12 192.168.3.11".split(),
)
IPV6_POOL: Final = tuple(
    b"fd00:c2b6:b24b:be67:2827:688d:e6a1:6a3b fd00:a516:7c1b:17cd:6d81:2137:bd2a:2c5b fc00:e968:6179::de52:7100 "
    b"fc00:db20:35b:7399::5 fdf8:f53e:61e4::18".split()
)
"""Section 5. All are private addresses, so none is found again."""

_SHORTEST: Final = {IPV4: min(IPV4_POOL, key=len), IPV6: min(IPV6_POOL, key=len)}

MAX_ROUNDS: Final = 8
"""A replacement can bring a rule to bear that something beside it had kept from it; so texts with findings are looked
at again as redacted. In 100 MB of real code the second look found nothing new in all but a few texts."""

_NO_LINE_BREAKS: Final = re.compile(rb"[^\r\n]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Redacted:
    """Edited texts. `counts`: per row, how many findings of each kind were replaced."""

    texts: pa.LargeBinaryArray
    counts: tuple[dict[str, int], ...]

    @property
    def sha256(self) -> pa.FixedSizeBinaryArray:
        """The digest of each edited text."""
        return _digests(self.texts)


def scan(texts: pa.LargeBinaryArray, settings: RedactionSettings, *, name_finder: NameFinder | None = None) -> Findings:
    """Return what must not be published in `texts`, which must be valid UTF-8 without nulls.

    Raises TypeError for another type of array and ValueError for nulls.
    """
    found = _scan_once(texts, settings, name_finder)
    by_row: dict[int, list[Span]] = {}
    for span in found.spans():
        by_row.setdefault(span.row, []).append(span)
    pending = list(by_row)
    for _ in range(MAX_ROUNDS):
        if not pending:
            break
        pending = _look_again(texts, settings, name_finder, by_row, pending)
    return resolve(span for spans in by_row.values() for span in spans)


def _scan_once(texts: pa.LargeBinaryArray, settings: RedactionSettings, name_finder: NameFinder | None) -> Findings:
    spans = find_addresses(texts, settings) if settings.emails or settings.ip_addresses else []
    if settings.keys or settings.passwords:
        spans += find_secrets(texts, keys=settings.keys, passwords=settings.passwords)
    if name_finder is not None:
        spans += name_finder(texts)
    return resolve(spans)


def _look_again(
    texts: pa.LargeBinaryArray,
    settings: RedactionSettings,
    name_finder: NameFinder | None,
    by_row: dict[int, list[Span]],
    rows: Sequence[int],
) -> list[int]:
    """Scan rows as they will be after redaction, add what is new to `by_row`, and return the rows that had any."""
    previews = [_preview(texts[row].as_py(), by_row[row]) for row in rows]
    new: dict[int, list[Span]] = {}
    for span in _scan_once(pa.array([p.text for p in previews], pa.large_binary()), settings, name_finder).spans():
        if span.kind != USER_NAME:
            row = rows[span.row]
            new.setdefault(row, []).append(_original(span, row, previews[span.row], by_row[row]))
    for row, spans in new.items():
        by_row[row] = _merged([*by_row[row], *spans])
    return sorted(new)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Preview:
    """A text as it will be after redaction; `starts` and `ends` of each replacement in it."""

    text: bytes
    starts: list[int]
    ends: list[int]


def _preview(text: bytes, spans: Sequence[Span]) -> _Preview:
    """Return the text with `spans`, which are in order, replaced.

    Every address is replaced by the shortest of its pool: limits on lengths let pass no less in a shorter text.
    """
    pieces: list[bytes] = []
    starts: list[int] = []
    ends: list[int] = []
    position = length = 0
    for span in spans:
        new = _SHORTEST.get(span.kind) or replacement(span.kind, text[span.start : span.end], b"")
        pieces += [text[position : span.start], new]
        starts.append(length + span.start - position)
        ends.append(starts[-1] + len(new))
        position, length = span.end, ends[-1]
    return _Preview(text=b"".join([*pieces, text[position:]]), starts=starts, ends=ends)


def _original(span: Span, row: int, preview: _Preview, replaced: Sequence[Span]) -> Span:
    """Return a span of the preview as one of the original text; what it has of a replacement counts whole."""
    before = bisect_right(preview.ends, span.start) - 1
    start = span.start
    if before + 1 < len(replaced) and preview.starts[before + 1] <= span.start:
        start = replaced[before + 1].start
    elif before >= 0:
        start = replaced[before].end + span.start - preview.ends[before]
    last = bisect_left(preview.starts, span.end) - 1
    end = span.end
    if last >= 0:
        end = replaced[last].end + max(0, span.end - preview.ends[last])
    return Span(row, span.kind, start, end)


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Return the spans in order; those that overlap become one, of the kind that takes precedence."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if merged and span.start < merged[-1].end:
            last = merged.pop()
            kind = min(last.kind, span.kind, key=rank)
            span = Span(span.row, kind, last.start, max(last.end, span.end))
        merged.append(span)
    return merged


def replacement(kind: str, value: bytes, content_id: bytes) -> bytes:
    r"""Return what stands in the place of `value` in the text of that content.

    >>> replacement("private_key", b"-----BEGIN\nMIIE\n-----END", b"")
    b'<KEY>\n\n<KEY>'
    """
    if kind in (IPV4, IPV6):
        pool = IPV4_POOL if kind == IPV4 else IPV6_POOL
        digest = hashlib.blake2b(content_id + b"\0" + value, digest_size=8).digest()
        return pool[int.from_bytes(digest, "big") % len(pool)]
    if kind == USER_NAME:
        return value
    mark = REPLACEMENTS[KEY if kind.startswith(TOKEN) else kind]
    # A private key has lines, and a model's name may. The last line is marked too: a text may end with it.
    breaks = _NO_LINE_BREAKS.sub(b"", value)
    return mark + breaks + mark if breaks else mark


def redact(texts: pa.LargeBinaryArray, findings: Findings, *, content_ids: Sequence[bytes]) -> Redacted:
    """Return `texts` with the findings replaced; `content_ids` are those of the texts before redaction.

    Raises ValueError if there are not as many ids as texts, or if a finding lies outside its text.
    """
    if len(content_ids) != len(texts):
        raise ValueError(f"{len(texts)} texts need as many content ids, not {len(content_ids)}.")
    data, offsets = text_buffers(texts)
    view = data.data
    counts: list[dict[str, int]] = [{} for _ in content_ids]
    growth = np.zeros(len(texts), np.int64)
    pieces: list[bytes | memoryview] = []
    position = int(offsets[0])
    for span in findings.spans():
        start, end = int(offsets[span.row]) + span.start, int(offsets[span.row]) + span.end
        if not position <= start <= end <= offsets[span.row + 1]:
            raise ValueError(f"The finding of {span.kind} at {span.start} in row {span.row} fits no text or order.")
        new = replacement(span.kind, bytes(view[start:end]), content_ids[span.row])
        pieces += [view[position:start], new]
        position = end
        growth[span.row] += len(new) - (end - start)
        counts[span.row][span.kind] = counts[span.row].get(span.kind, 0) + 1
    edited = _array([*pieces, view[position : int(offsets[-1])]], offsets, growth)
    return Redacted(texts=edited, counts=tuple(counts))


def _array(pieces: Sequence[bytes | memoryview], offsets: Indices, growth: Indices) -> pa.LargeBinaryArray:
    new_offsets = offsets - offsets[0]
    new_offsets[1:] += np.cumsum(growth)
    buffers = [None, pa.py_buffer(new_offsets.tobytes()), pa.py_buffer(b"".join(pieces))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(growth), buffers)


def _digests(texts: pa.LargeBinaryArray) -> pa.FixedSizeBinaryArray:
    data, offsets = text_buffers(texts)
    view, bounds = data.data, offsets.tolist()
    digests = [hashlib.sha256(view[first:end]).digest() for first, end in pairwise(bounds)]
    return pa.array(digests, pa.binary(SHA256_BYTES))

"""The encoder: texts to token ids in bulk, and segments to ids with the document each id comes from.

What a text says is always encoded as text: no sentinel can come out of it, whatever it holds. The tables of `bpe` are
made from a vocabulary and its merges alone, so that the ids are those of the saved tokenizer, which tests and
`benchmarks/encode_speed.py` hold against the library that everybody loads it with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from starsmith.errors import StarsmithError
from starsmith.format import bpe
from starsmith.format.bpe import Bytes, Ids, Numbers
from starsmith.format.sentinels import Piece, Segment, text_of

_CLASSES: Final = {"letter": bpe.LETTER, "digit": bpe.DIGIT, "space": bpe.SPACE}
_CODE_POINTS: Final = 0x110000


@cache
def character_classes() -> Bytes:
    """Return the class of every code point."""
    classes = np.full(_CODE_POINTS, bpe.OTHER, np.uint8)
    text = (files("starsmith") / "data" / "character_classes.tsv").read_text("utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            name, first, last = line.split("\t")
            classes[int(first, 16) : int(last, 16) + 1] = _CLASSES[name]
    return classes


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens next to each other that come from one document: how many, and which."""

    length: int
    document_id: bytes | None


class Encoder:
    """Encodes with one vocabulary. It remembers short pieces; threads that share one take turns."""

    def __init__(self, tokens: Sequence[bytes | None], merges: Sequence[tuple[int, int, int]]) -> None:
        """Take every token's bytes by id, None for sentinels, and merges by rank: left, right, what they become.

        Each single byte must be a token.
        """
        byte_ids = {token: number for number, token in enumerate(tokens) if token is not None and len(token) == 1}
        self._byte_ids = np.array([byte_ids[bytes([byte])] for byte in range(256)], np.int32)
        self._token_bytes = np.frombuffer(b"".join(token or b"" for token in tokens) or b"\0", np.uint8)
        self._token_ends = np.cumsum([0, *(len(token or b"") for token in tokens)], dtype=np.int64)
        size = _slots(len(merges))
        self._keys = np.full(size, 2**64 - 1, np.uint64)
        self._ranks, self._merged = np.zeros(size, np.int32), np.zeros(size, np.int32)
        pairs = np.array(merges, np.int64).reshape(-1, 3)
        bpe.fill_pairs(self._keys, self._ranks, self._merged, pairs)
        self._slots = np.full(_slots(len(tokens)), -1, np.int32)
        bpe.fill_tokens(
            self._slots, self._token_bytes, self._token_ends, self._byte_ids, self._keys, self._ranks, self._merged
        )
        places = 1 << bpe.CACHE_BITS
        self._cache_bytes = np.zeros((places, 2 + bpe.CACHED_BYTES), np.uint8)
        self._cache_ids = np.zeros((places, bpe.CACHED_TOKENS), np.uint32)
        self._turn = Lock()

    def encode_texts(self, texts: Sequence[str]) -> tuple[Ids, Numbers]:
        """Return the ids of texts after each other, and how many each text has.

        Raises StarsmithError for a text that is none: one with half of a surrogate pair.
        """
        encoded = [_utf8(text) for text in texts]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return self.encode_buffer(np.frombuffer(b"".join(encoded), np.uint8), ends)

    def encode_buffer(self, data: Bytes, ends: Numbers) -> tuple[Ids, Numbers]:
        """Return the same of texts in valid UTF-8, text i being ``data[ends[i] : ends[i + 1]]``."""
        ids, counts = np.empty(int(ends[-1] - ends[0]), np.uint32), np.zeros(len(ends) - 1, np.int64)
        with self._turn:
            total = bpe.encode(
                data,
                ends,
                character_classes(),
                self._slots,
                self._token_bytes,
                self._token_ends,
                self._byte_ids,
                self._keys,
                self._ranks,
                self._merged,
                self._cache_bytes,
                self._cache_ids,
                ids,
                counts,
            )
        return ids[: int(total)], counts

    def encode(self, segments: Iterable[Segment]) -> tuple[Ids, list[Run]]:
        """Return the ids of segments, and the runs they come in.

        Every id belongs to exactly one run. Sentinels and texts of ours belong to the document that follows them, what
        comes last to the last document.
        """
        listed = list(segments)
        ids, counts = self.encode_texts([text_of(each) for each in listed if not isinstance(each, int)])
        return _woven(listed, ids, counts), _runs(listed, counts)


def _slots(entries: int) -> int:
    """Return a power of two of which the entries take at most half."""
    return 1 << max(entries * 2, 1).bit_length()


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise StarsmithError(
            f"Character {error.start:,} of a text is half of a surrogate pair, which is no character. "
            "Decode the text anew from its bytes."
        ) from None


def _woven(segments: Sequence[Segment], ids: Ids, counts: Numbers) -> Ids:
    """Return ids with the sentinels where they stand."""
    parts: list[npt.NDArray[Any]] = []
    place = number = 0
    for segment in segments:
        if isinstance(segment, int):
            parts.append(np.array([segment], np.uint32))
        else:
            count = int(counts[number])
            parts.append(ids[place : place + count])
            place, number = place + count, number + 1
    return np.concatenate(parts) if parts else np.zeros(0, np.uint32)


def _runs(segments: Sequence[Segment], counts: Numbers) -> list[Run]:
    runs: list[Run] = []
    document, length, waiting, number = None, 0, 0, 0
    for segment in segments:
        waiting += 1 if isinstance(segment, int) else int(counts[number])
        number += not isinstance(segment, int)
        if isinstance(segment, Piece):
            if document is not None and segment.document_id != document:
                runs.append(Run(length, document))
                length = 0
            document, length, waiting = segment.document_id, length + waiting, 0
    last = Run(length + waiting, document)
    return [*runs, last] if last.length else runs

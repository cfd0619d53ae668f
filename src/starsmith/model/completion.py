"""What generation tells: pieces of text as they come, and the completion that they add up to.

Tokens are bytes, and a character may take several of them; a stop string may lie across tokens too. So text is told
only as far as it can no longer change. What this module does not do: it runs no model.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from starsmith.format.sentinels import Segment

Finish = Literal["stop", "length"]


class Tokens(Protocol):
    """What generation needs of a tokenizer; `format.tokenizer.Tokenizer` has it."""

    @property
    def vocabulary(self) -> int: ...
    def encode(self, segments: Sequence[Segment]) -> list[int]: ...
    def bytes_of(self, ids: Sequence[int]) -> bytes: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenScore:
    """A token, the natural logarithm of its probability, and the likeliest tokens at its place with theirs."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """What one step adds to one row: text that may be empty, the token, and why the row ends, if it does."""

    row: int
    text: str
    ids: tuple[int, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    finish: Finish | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """All pieces of one row. `text` ends before the stop string; `ids` are all tokens that were generated."""

    text: str
    ids: tuple[int, ...]
    finish: Finish
    scores: tuple[TokenScore, ...] = ()


def joined(pieces: Sequence[Piece]) -> Completion:
    """Return the completion that the pieces of one row make."""
    finish = pieces[-1].finish
    assert finish is not None
    return Completion(
        text="".join(piece.text for piece in pieces),
        ids=tuple(number for piece in pieces for number in piece.ids),
        scores=tuple(score for piece in pieces for score in piece.scores),
        finish=finish,
    )


class Telling:
    """The text of one row, told piece by piece."""

    def __init__(self, tokens: Tokens | None, stop: Sequence[str]) -> None:
        self._tokens = tokens
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def add(self, number: int) -> tuple[str, bool]:
        """Take one more token; return the text that is now certain, and whether a stop string has come."""
        if self._tokens is None:
            return "", False
        self._held += self._decoder.decode(self._tokens.bytes_of([number]))
        found = [place for text in self._stop if (place := self._held.find(text)) >= 0]
        if found:
            text, self._held = self._held[: min(found)], ""
            return text, True
        keep = max((_overlap(self._held, text) for text in self._stop), default=0)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text, False

    def rest(self) -> str:
        """Return what was held back; the text ends here."""
        text = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of `text` could be the beginning of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)

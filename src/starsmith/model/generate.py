"""Generation: batches of prompts of different lengths, told as they grow (StarCoder2, section 6: how it is used).

A prompt is read in parts through a cache no longer than the window, so memory does not grow with its length. What it
says is segments or ids: text in it is never a sentinel; `format.fill_in_middle.prompt` and `format.repository` make the
prompts that fill a gap or know a repository. What this module does not do: it loads no model and prints nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from starsmith.errors import StarsmithError
from starsmith.format.sentinels import END_OF_TEXT, FILE_SEP, Segment
from starsmith.model.cache import RingCache
from starsmith.model.completion import Completion, Finish, Piece, Telling, Tokens, TokenScore, joined
from starsmith.model.decoder import PACKED_ROWS, Decoder
from starsmith.model.sampling import Sampling, choose
from starsmith.model.single_row import SingleRow
from starsmith.model.transformer import StarCoder2

Prompt = Sequence[Segment]
"""Ids and texts; ids alone need no tokenizer."""

PREFILL_TOKENS: Final = 2048
"""Tokens of all rows together that are read at once: bounds the memory a prompt takes."""
ENDS: Final = (END_OF_TEXT, FILE_SEP)
"""What ends a text: after a file there comes its separator as well as the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """How texts go on and when they end.

    Attributes:
        max_tokens: the most tokens to add to a prompt.
        sampling: how each is chosen.
        stop: strings that end a text; they are not part of it.
        stop_ids: tokens that end a text; they have no text of their own.
        top_logprobs: None for no log-probabilities; else how many of the likeliest tokens are told at each place.
        batch: the most rows that go at once.
        longer: go on past the positions the model was made for.
        draws: the number by which each prompt draws (`sampling.choose`), in place of its own; empty for its own.
    """

    max_tokens: int = 128
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ENDS
    top_logprobs: int | None = None
    batch: int = 16
    longer: bool = False
    draws: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_tokens", "batch"):
            if getattr(self, name) < 1:
                raise StarsmithError(f"{name} is {getattr(self, name)}; 1 or more was expected.")
        if "" in self.stop:
            raise StarsmithError("stop holds an empty string, which would end every text at once; leave it out.")
        if self.top_logprobs is not None and self.top_logprobs < 0:
            raise StarsmithError(f"top_logprobs is {self.top_logprobs}; 0 or more was expected.")


class Generator:
    """A model and its tokenizer, ready to go on with prompts. Not for several threads at a time."""

    def __init__(self, model: StarCoder2, tokens: Tokens | None = None) -> None:
        """Take a model as it is, on its device and in its type. Without `tokens` there are ids but no text.

        Raises StarsmithError where the tokenizer has ids that the model lacks.
        """
        if tokens is not None and tokens.vocabulary > model.config.vocab_size:
            raise StarsmithError(
                f"The tokenizer has {tokens.vocabulary:,} ids and the model {model.config.vocab_size:,}: "
                "they do not belong together."
            )
        self.model = model.eval()
        self.tokens = tokens
        self.device = model.embedding.weight.device
        # A model's vocabulary may be rounded up; what the tokenizer lacks is nothing that could be told.
        self._most = model.config.vocab_size if tokens is None else tokens.vocabulary
        self._decoders: dict[bool, Decoder] = {}
        self._single: SingleRow | None = None

    def generate(self, prompts: Sequence[Prompt], how: Generation | None = None) -> list[Completion]:
        """Return a completion for each prompt, in their order; see `stream` for errors."""
        pieces: list[list[Piece]] = [[] for _ in prompts]
        for piece in self.stream(prompts, how):
            pieces[piece.row].append(piece)
        return [joined(row) for row in pieces]

    def stream(self, prompts: Sequence[Prompt], how: Generation | None = None) -> Iterator[Piece]:
        """Yield what each step adds to each row, until every row has ended.

        Raises:
            StarsmithError: before the first piece, for an id the model lacks, text without a tokenizer, or a prompt
                that with its completion has more positions than the model was made for.
        """
        how = how or Generation()
        if how.stop and self.tokens is None:
            raise StarsmithError("Stop strings need a tokenizer.")
        if how.draws and len(how.draws) != len(prompts):
            raise StarsmithError(f"draws has {len(how.draws)} numbers for {len(prompts)} prompts.")
        ids = [self._ids(prompt, row, how) for row, prompt in enumerate(prompts)]
        return self._pieces(ids, how)

    def _pieces(self, ids: Sequence[Sequence[int]], how: Generation) -> Iterator[Piece]:
        for start in range(0, len(ids), how.batch):
            rows = range(start, min(start + how.batch, len(ids)))
            yield from self._batch([ids[row] for row in rows], rows, how)

    def _ids(self, prompt: Prompt, row: int, how: Generation) -> list[int]:
        config = self.model.config
        if all(isinstance(each, int) for each in prompt):
            found = [each for each in prompt if isinstance(each, int)]
        elif self.tokens is None:
            raise StarsmithError("A prompt with text needs a tokenizer.")
        else:
            found = self.tokens.encode(prompt)
        # A text of nothing begins where another ended.
        found = found or [END_OF_TEXT]
        wrong = next((number for number in found if not 0 <= number < self._most), None)
        if wrong is not None:
            raise StarsmithError(f"Prompt {row} has the id {wrong}; there are {self._most:,} ids from 0 on.")
        most = config.max_position_embeddings - how.max_tokens
        if len(found) > most and not how.longer:
            raise StarsmithError(
                f"Prompt {row} has {len(found):,} tokens and {how.max_tokens:,} are to follow; the model was made for "
                f"{config.max_position_embeddings:,} positions. Shorten it, or allow longer texts."
            )
        return found

    def _batch(self, ids: Sequence[Sequence[int]], rows: Sequence[int], how: Generation) -> Iterator[Piece]:
        told = {row: Telling(self.tokens, how.stop) for row in rows}
        draws = [how.draws[row] for row in rows] if how.draws else rows
        with torch.inference_mode():
            decoder = self._decoder(len(rows))
            cache, logits_bv = self._read(ids, decoder, how.max_tokens)
        for step in range(how.max_tokens):
            # Whoever takes the pieces runs in between, so inference mode ends before each.
            with torch.inference_mode():
                logits_bv = logits_bv[:, : self._most]
                next_b = choose(logits_bv, how.sampling, rows=draws, step=step)
                scores = _scores(logits_bv, next_b, how.top_logprobs)
            for place, (row, number) in enumerate(zip(rows, next_b.tolist(), strict=True)):
                if row in told:
                    text, finish = _told(told[row], number, how, last=step + 1 == how.max_tokens)
                    yield Piece(row=row, text=text, ids=(number,), scores=scores[place : place + 1], finish=finish)
                    if finish:
                        del told[row]
            if not told:
                return
            with torch.inference_mode():
                logits_bv = decoder.step(next_b, cache)

    def _decoder(self, rows: int) -> Decoder | SingleRow:
        if rows == 1 and SingleRow.can_run(self.model):
            self._single = self._single or SingleRow(self.model)
            return self._single
        many = rows >= PACKED_ROWS
        if many not in self._decoders:
            self._decoders[many] = Decoder(self.model, rows=16 if many else 1)
        return self._decoders[many]

    def _read(self, ids: Sequence[Sequence[int]], decoder: Decoder | SingleRow, more: int) -> tuple[RingCache, Tensor]:
        """Read all prompts; return the cache with room for `more` columns, and the logits of what follows."""
        columns = max(len(row) for row in ids)
        padding_b = torch.tensor([columns - len(row) for row in ids], device=self.device)
        ids_bl = torch.tensor([[END_OF_TEXT] * (columns - len(row)) + list(row) for row in ids], device=self.device)
        cache = self._cache(len(ids), columns + more, padding_b)
        length = max(1, PREFILL_TOKENS // len(ids))
        for start in range(0, columns, length):
            x_bld = self.model.hidden(ids_bl[:, start : start + length], cache=cache)
        return cache, decoder.logits(x_bld[:, -1])

    def _cache(self, rows: int, columns: int, padding_b: Tensor | None = None) -> RingCache:
        dtype = self.model.embedding.weight.dtype
        return RingCache(
            self.model.config, rows=rows, columns=columns, padding_b=padding_b, device=self.device, dtype=dtype
        )

    def score(self, prompt: Prompt, *, top: int = 0, longer: bool = False) -> list[TokenScore | None]:
        """Return how likely each token of a text was after those before it; the first has none before it."""
        ids = self._ids(prompt, 0, Generation(max_tokens=1, longer=longer))
        found: list[TokenScore | None] = [None]
        cache = self._cache(1, len(ids))
        with torch.inference_mode():
            decoder = self._decoder(PACKED_ROWS)
            for start in range(0, len(ids) - 1, _SCORED):
                part = ids[start : start + _SCORED]
                following = torch.tensor(ids[start + 1 : start + 1 + _SCORED], device=self.device)
                x_ld = self.model.hidden(torch.tensor([part], device=self.device), cache=cache)[0]
                found += _scores(decoder.logits(x_ld[: len(following)]), following, top)
        return found


def _told(row: Telling, number: int, how: Generation, *, last: bool) -> tuple[str, Finish | None]:
    """Return what a token adds to a row's text, and why the row ends with it, if it does."""
    if number in how.stop_ids:
        return row.rest(), "stop"
    text, stopped = row.add(number)
    if stopped:
        return text, "stop"
    return (text + row.rest(), "length") if last else (text, None)


_SCORED: Final = 512
"""Tokens whose logits are held at once when a text is scored: 100 MB at the largest vocabulary."""


def _scores(logits_bv: Tensor, ids_b: Tensor, top: int | None) -> tuple[TokenScore, ...]:
    if top is None:
        return ()
    logprobs_bv = torch.log_softmax(logits_bv.float(), dim=-1)
    own = logprobs_bv.gather(1, ids_b[:, None])[:, 0].tolist()
    values_bk, places_bk = logprobs_bv.topk(min(top, logprobs_bv.shape[1]), dim=-1)
    best = zip(places_bk.tolist(), values_bk.tolist(), strict=True)
    return tuple(
        TokenScore(id=number, logprob=logprob, top=tuple(zip(*likely, strict=True)))
        for number, logprob, likely in zip(ids_b.tolist(), own, best, strict=True)
    )

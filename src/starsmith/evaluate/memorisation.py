"""Memorisation: how often a model, given the beginning of a document it was trained on, writes the document.

A probe of our own. Prompts are beginnings of documents of a pack; a completion counts as copied where 50 or more of its
tokens in a row stand in one document of the pack, any of them, which is named by its SWHID. All of the pack is looked
through, by a hash over windows that is checked token by token. Prompts from the repositories that a pack holds out
tell how much of that is chance, or common to all code.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from starsmith.errors import StarsmithError
from starsmith.evaluate.dataset import Data, File, Row, Source
from starsmith.evaluate.metrics import Estimate, estimate
from starsmith.evaluate.problem import Benchmark, Check, Problem, Sampling, matched
from starsmith.evaluate.run import Run
from starsmith.format.pack_file import Pack, TokenRun, Tokens
from starsmith.format.sentinels import SENTINELS

WINDOW: Final = 50
"""Tokens in a row that count as copied: the length that studies of memorisation use (Carlini et al. 2023)."""
PROMPT_TOKENS: Final = 50
_CHUNK: Final = 1 << 20
_BASE: Final = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2**64."""

From = Literal["training", "held-out"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """The longest piece of a completion that stands in the pack."""

    tokens: int
    swhid: str
    repo_name: str
    path: str
    place: str
    """The token it begins with, as `starsmith why` takes it."""
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Memorised:
    """What a probe found."""

    share: Estimate
    copies: Mapping[str, Copy]
    """By problem; those that copied nothing are not here."""
    problems: int


class MemorisationProbe(Benchmark[Problem]):
    """Prompts made of a pack, as a benchmark that models can be asked for. It is judged by `memorised`."""

    name = "memorisation"
    title = "Memorisation"
    recipe = "Our own: the first 50 tokens of a training document, greedy; copied where 50 tokens in a row are."
    sampling = Sampling(max_tokens=128)

    def sources(self) -> tuple[Source, ...]:
        return ()

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[Problem]:
        return []

    def check(self, problem: Problem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False) -> Check:
        return matched(passed=not completion)


def prompts(pack: Pack, *, number: int, seed: int, source: From = "training") -> tuple[list[Problem], Data]:
    """Return beginnings of `number` documents, drawn by the seed, and the pack as the data they come from.

    Raises StarsmithError where no document is long enough.
    """
    drawn: dict[str, tuple[bytes, list[int]]] = {}
    for run, tokens in _runs(pack, source):
        piece = _longest_piece(tokens)
        if len(piece) < PROMPT_TOKENS + WINDOW:
            continue
        order = hashlib.blake2b(f"{seed}/{run.swhid}".encode(), digest_size=8).digest()
        drawn[run.swhid] = order, piece[:PROMPT_TOKENS]
        if len(drawn) > 2 * number:
            # Only the first in the order of their draws, so that memory does not grow with the pack.
            drawn = dict(sorted(drawn.items(), key=lambda item: item[1])[:number])
    if not drawn:
        raise StarsmithError(f"The pack has no document with {PROMPT_TOKENS + WINDOW} tokens in a row.")
    made = [
        Problem(id=swhid, prompt=pack.tokenizer.bytes_of(ids).decode("utf-8", "ignore"), group=source)
        for swhid, (_, ids) in sorted(drawn.items(), key=lambda item: item[1])[:number]
    ]
    file = File(key="", path="pack", digest=pack.fingerprint, version="pack", rows=len(made))
    return made, Data(rows={}, files=(file,), missing=(), warnings=())


def _longest_piece(ids: Tokens) -> list[int]:
    """Return the most tokens of a document that have no sentinel between them, as where it was cut for a gap."""
    ends = [-1, *np.flatnonzero(np.less(ids, len(SENTINELS))).tolist(), len(ids)]
    start, stop = max(pairwise(ends), key=lambda each: each[1] - each[0])
    found: list[int] = np.asarray(ids[start + 1 : stop]).tolist()
    return found


def _runs(pack: Pack, source: From) -> Iterator[tuple[TokenRun, Tokens]]:
    """Yield the documents of the first epoch, or of what is held out, with their tokens."""
    if source == "training":
        portion, mapped = pack.record.epochs[0], pack.epochs[0]
    else:
        portion, mapped = pack.record.held_out, pack.held_out
    for shard, tokens in zip(portion.shards, mapped, strict=True):
        place = 0
        while place < shard.tokens:
            run = pack.trace(portion.name, shard.name, place)
            place = run.start + run.length
            yield run, tokens[run.start : place]


def memorised(pack: Pack, completions: Mapping[str, Sequence[str]]) -> Memorised:
    """Look through all epochs' documents for what the completions (problem: texts) have in common with them."""
    encode = pack.tokenizer.encode
    outputs = [(task, np.array(encode(text), np.int64)) for task, texts in completions.items() for text in texts]
    best: dict[int, Copy] = {}
    for shard, run, place, output, start in _matches(pack, [ids for _, ids in outputs]):
        folder, name, tokens = shard
        length = _common(tokens[place : run.start + run.length], outputs[output][1][start:])
        if length >= WINDOW and length > (best[output].tokens if output in best else 0):
            found = outputs[output][1][start : start + length].tolist()
            best[output] = Copy(
                tokens=length,
                swhid=run.swhid,
                repo_name=run.repo_name,
                path=run.path,
                place=f"{folder}/{name}:{place}",
                text=pack.tokenizer.bytes_of(found).decode("utf-8", "replace"),
            )
    copied: dict[str, list[float]] = {}
    for number, (task, _) in enumerate(outputs):
        copied.setdefault(task, []).append(float(number in best))
    longest: dict[str, Copy] = {}
    for number, copy in sorted(best.items(), key=lambda item: item[1].tokens):
        longest[outputs[number][0]] = copy
    shares = [sum(each) / len(each) for each in copied.values()]
    return Memorised(share=estimate(shares), copies=longest, problems=len(shares))


_Place = tuple[tuple[str, str, Tokens], TokenRun, int, int, int]


def _matches(pack: Pack, outputs: Sequence[npt.NDArray[np.int64]]) -> Iterator[_Place]:
    """Yield (folder, shard and tokens), run, place in the shard, output, place in the output, of equal hashes."""
    hashes = [_hashes(ids) for ids in outputs]
    if not sum(map(len, hashes)):
        return
    known = np.concatenate(hashes)
    owners = np.concatenate([np.full(len(each), number) for number, each in enumerate(hashes)])
    places = np.concatenate([np.arange(len(each)) for each in hashes])
    order = np.argsort(known, kind="stable")
    known, owners, places = known[order], owners[order], places[order]
    for portion, mapped in zip(pack.record.epochs, pack.epochs, strict=True):
        for shard, tokens in zip(portion.shards, mapped, strict=True):
            for place, value in _hits(tokens, known):
                run = pack.trace(portion.name, shard.name, place)
                first, last = (int(np.searchsorted(known, value, side)) for side in ("left", "right"))
                for at in range(first, last):
                    yield (portion.name, shard.name, tokens), run, place, int(owners[at]), int(places[at])


def _hits(tokens: Tokens, known: npt.NDArray[np.uint64]) -> Iterator[tuple[int, np.uint64]]:
    for start in range(0, max(0, len(tokens) - WINDOW + 1), _CHUNK):
        found = _hashes(np.asarray(tokens[start : start + _CHUNK + WINDOW - 1]).astype(np.int64))
        nearest = known[np.minimum(np.searchsorted(known, found), len(known) - 1)]
        for at in np.flatnonzero(nearest == found).tolist():
            yield start + at, found[at]


def _hashes(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return the hash of each window: sums of powers, divided by the first power, modulo 2**64."""
    if len(ids) < WINDOW:
        return np.zeros(0, np.uint64)
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(len(ids), _BASE, np.uint64))
        inverses = np.cumprod(np.full(len(ids), pow(_BASE, -1, 2**64), np.uint64))
        # A token's own number would leave patterns in the low bits.
        mixed = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
        mixed ^= mixed >> np.uint64(32)
        sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mixed * powers)))
        found: npt.NDArray[np.uint64] = (sums[WINDOW:] - sums[:-WINDOW]) * inverses[: len(ids) - WINDOW + 1]
        return found


def _common(one: Tokens, other: npt.NDArray[np.int64]) -> int:
    """Return how many tokens two texts have in common from their beginning."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(np.asarray(one[:length]).astype(np.int64) != other[:length])
    return int(differ[0]) if len(differ) else length


def plain(found: Memorised) -> dict[str, Any]:
    """Return a result as plain values."""
    return {
        "share": asdict(found.share),
        "window": WINDOW,
        "copies": {task: asdict(copy) for task, copy in found.copies.items()},
    }

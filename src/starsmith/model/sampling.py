"""How the next token is chosen: the most likely one, or one drawn at a temperature from the likeliest.

What is drawn is a function of the seed, the row and the number of the token: neither the batch a prompt is in nor the
machine changes it, as far as the logits are the same. What this module does not do: it ends no text (`generate`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from starsmith.errors import StarsmithError


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """The rule. With `temperature` 0 the likeliest token is taken, and the rest has no meaning.

    `top_k` keeps the k likeliest tokens (0: all), then `top_p` the fewest of them that hold that share of probability.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise StarsmithError(f"temperature is {self.temperature}; a number from 0 on was expected.")
        if not 0 < self.top_p <= 1:
            raise StarsmithError(f"top_p is {self.top_p}; a number above 0 and up to 1 was expected.")
        if self.top_k < 0:
            raise StarsmithError(f"top_k is {self.top_k}; 0 (all tokens) or more was expected.")


def choose(logits_bv: Tensor, rule: Sampling, *, rows: Sequence[int], step: int) -> Tensor:
    """Return the next id of each row [b].

    Args:
        logits_bv: of the next token.
        rule: how to choose.
        rows: a number for each row, which decides what it draws.
        step: how many tokens were drawn before.
    """
    if rule.temperature == 0:
        return logits_bv.argmax(-1)
    shares_bv, ids_bv = _shares(logits_bv.float(), rule)
    drawn_b = torch.tensor([_uniform(rule.seed, row, step) for row in rows], dtype=torch.float64)
    sums_bv = shares_bv.double().cumsum(-1)
    # Rounding may leave the last sum below the number drawn; what holds nothing is not to be hit.
    limits_b1 = (drawn_b.to(logits_bv.device) * sums_bv[:, -1])[:, None]
    places_b1 = torch.searchsorted(sums_bv, limits_b1, right=True).clamp(max=sums_bv.shape[1] - 1)
    return ids_bv.gather(1, places_b1)[:, 0]


def _shares(logits_bv: Tensor, rule: Sampling) -> tuple[Tensor, Tensor]:
    """Return the probabilities of the tokens that are left, the likeliest first, and their ids."""
    kept = min(rule.top_k or logits_bv.shape[1], logits_bv.shape[1])
    # A stable order, so that equal logits are told apart by their ids.
    ordered_bv, ids_bv = logits_bv.sort(dim=-1, descending=True, stable=True)
    ordered_bv, ids_bv = ordered_bv[:, :kept], ids_bv[:, :kept]
    # The largest is taken off first: a tiny temperature must not make an infinity.
    shares_bv = torch.softmax((ordered_bv - ordered_bv[:, :1]) / rule.temperature, dim=-1)
    if rule.top_p < 1:
        before_bv = shares_bv.cumsum(-1) - shares_bv
        shares_bv = shares_bv * (before_bv < rule.top_p)
    return shares_bv, ids_bv


def _uniform(seed: int, row: int, step: int) -> float:
    """Return a number in [0, 1) with 53 random bits."""
    digest = hashlib.blake2b(f"{seed}/{row}/{step}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53

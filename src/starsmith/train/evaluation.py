"""Bits per byte on text that was held out: what a model needs to tell a byte of it, whatever its tokenizer is."""

import math

import numpy as np
import torch
from torch import Tensor

from starsmith.format.pack_file import Pack
from starsmith.model.transformer import StarCoder2
from starsmith.train.batches import Row
from starsmith.train.loop import autocast, tensors
from starsmith.train.processes import Processes
from starsmith.train.recipe import TrainingRecipe


@torch.no_grad()
def bits_per_byte(model: StarCoder2, pack: Pack, recipe: TrainingRecipe, among: Processes) -> float | None:
    """Return the mean bits per byte of UTF-8 over held-out samples, or None if the pack holds none out.

    Samples are taken evenly from all that is held out. Sentinels have to be told too, and count as no bytes.
    """
    row = Row.of(pack.held_out)
    length, size = recipe.data.sequence_length, recipe.training.micro_batch
    share = size * among.count
    # Every process computes as often, or those that are done would keep the others waiting.
    portions = min(recipe.data.held_out_batches * recipe.training.batch, row.samples(length)) // share
    if not portions:
        return None
    bytes_of = torch.from_numpy(pack.token_bytes).to(among.device)
    total = torch.zeros(2, dtype=torch.float64, device=among.device)
    model.eval()
    apart = row.samples(length) // (portions * share)
    for portion in range(portions):
        first = (portion * among.count + among.rank) * size
        samples = [(first + number) * apart for number in range(size)]
        total += _portion(model, row, samples, recipe, among, bytes_of)
    model.train()
    nats, count = among.sum(total).tolist()
    return nats / math.log(2) / count if count else None


def _portion(
    model: StarCoder2, row: Row, samples: list[int], recipe: TrainingRecipe, among: Processes, bytes_of: Tensor
) -> Tensor:
    """Return (nats, bytes) of some samples."""
    length = recipe.data.sequence_length
    inputs, targets = tensors(np.stack([row.window(each * length, length + 1) for each in samples]), among.device)
    with autocast(recipe, among):
        mean = model.loss(inputs, targets)
    return torch.stack([mean.double() * targets.numel(), bytes_of[targets].sum().double()])

"""AdamW and the learning rate of every step; section 9 of the paper's data description."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from starsmith.train.settings import OptimizerSettings


def rate(step: int, settings: OptimizerSettings, steps: int) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up, then a cosine down to the final rate.

    >>> settings = OptimizerSettings(peak_rate=1.0, final_rate=0.1, warm_up=4)
    >>> [round(rate(step, settings, 14), 3) for step in (0, 3, 4, 9, 14, 99)]
    [0.25, 1.0, 1.0, 0.55, 0.1, 0.1]
    """
    if step < settings.warm_up:
        return settings.peak_rate * (step + 1) / settings.warm_up
    end = settings.decay_steps or steps
    gone = min((step - settings.warm_up) / max(end - settings.warm_up, 1), 1.0)
    return settings.final_rate + (settings.peak_rate - settings.final_rate) * (1 + math.cos(math.pi * gone)) / 2


def build_optimizer(named: Iterable[tuple[str, nn.Parameter]], settings: OptimizerSettings) -> torch.optim.AdamW:
    """Return AdamW over parameters; matrices decay, norms and biases do not."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for _, parameter in named:
        (matrices if parameter.dim() >= 2 else others).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # One kernel for all of it; as exact as the loop over tensors, and several times faster.
    return torch.optim.AdamW(
        groups,
        lr=settings.peak_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value

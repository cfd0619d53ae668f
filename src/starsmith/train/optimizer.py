"""AdamW, Muon, and the learning rate of every step; section 9 of the paper's data description.

The paper's optimizer is AdamW. Muon (K. Jordan and others, 2024) is an option for small models on few processors, where
it learns far more in the same time (docs/tutorial-model.md). What this module does not do: it divides no matrix among
processes, so that Muon is for one of them.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn

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


def build_optimizer(named: Iterable[tuple[str, nn.Parameter]], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Return AdamW over parameters, or Muon where a rate for it is set; matrices decay, norms and biases do not."""
    of_layers: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named:
        if settings.matrix_rate and parameter.dim() == 2 and name.startswith("layers."):
            of_layers.append(parameter)
        else:
            (matrices if parameter.dim() >= 2 else others).append(parameter)
    # One kernel for all of it; as exact as the loop over tensors, and several times faster.
    adam = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.peak_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )
    return Muon(of_layers, adam, settings) if of_layers else adam


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of a step; a group's `scale` is what it has of it."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("scale", 1.0)


MOMENTUM: Final = 0.95
ROUNDS: Final = 5
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of the quintic by which singular values come near 1 in five rounds (K. Jordan and others, 2024)."""


class Muon(torch.optim.Optimizer):
    """Muon for matrices, and another optimizer for all else; the state of both is in `state`.

    A matrix moves along its mean gradient with all singular values set to about 1: no direction waits for another.
    """

    def __init__(self, matrices: list[nn.Parameter], rest: torch.optim.Optimizer, settings: OptimizerSettings) -> None:
        own = {"scale": settings.matrix_rate / settings.peak_rate, "weight_decay": settings.weight_decay}
        super().__init__([{"params": matrices, **own}], {"lr": settings.matrix_rate})
        self._rest = rest
        rest.state = self.state
        # The same dictionaries: a rate that is set here is set there.
        self.param_groups += rest.param_groups

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step. There is no use for `closure`."""
        self._rest.step()
        group = self.param_groups[0]
        alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for matrix in group["params"]:
            if matrix.grad is not None:
                alike[matrix.shape].append(matrix)
        for shape, matrices in alike.items():
            turned = orthogonal(torch.stack([self._direction(matrix) for matrix in matrices]))
            far = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, direction in zip(matrices, turned, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-far)

    def _direction(self, matrix: nn.Parameter) -> Tensor:
        """Return Nesterov's mean of the gradients."""
        gradient, state = matrix.grad, self.state[matrix]
        if gradient is None:
            raise AssertionError("only matrices with a gradient are moved")
        if not state:
            state["step"], state["exp_avg"] = torch.zeros(()), torch.zeros_like(matrix)
        state["step"] += 1
        mean: Tensor = state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(mean, MOMENTUM)


def orthogonal(x_nij: Tensor) -> Tensor:
    """Return matrices with the same singular vectors and singular values of about 1 (0.7 to 1.2), by products alone."""
    if x_nij.shape[-2] > x_nij.shape[-1]:
        return orthogonal(x_nij.mT).mT
    a, b, c = _COEFFICIENTS
    x_nij = x_nij / (torch.linalg.matrix_norm(x_nij, keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        square_nii = x_nij @ x_nij.mT
        x_nij = a * x_nij + (b * square_nii + c * (square_nii @ square_nii)) @ x_nij
    return x_nij

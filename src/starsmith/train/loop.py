"""The loop: batch, loss, gradient, step; what is measured on the way, and where it may stop.

Of section 9 of the paper's data description. A step is a function of the recipe, the pack and the weights before it:
where a run was stopped, and how often, does not show in its weights.
"""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from starsmith.errors import StarsmithError
from starsmith.format.sentinels import END_OF_TEXT
from starsmith.model.transformer import StarCoder2
from starsmith.train.batches import Batches
from starsmith.train.metrics import Spikes, utilisation
from starsmith.train.optimizer import rate, set_rate
from starsmith.train.processes import Processes
from starsmith.train.recipe import TrainingRecipe, for_processes

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""What asks a run to end: a person at the terminal, or a cluster that takes its machine back."""

Loss = Callable[..., Tensor]
"""The mean loss of (inputs, targets, document_bl=…), each (batch, length), in nats per token."""


@dataclass(kw_only=True, slots=True)
class Loop:
    """A run at work. `loss` is the model's, compiled or not."""

    recipe: TrainingRecipe
    model: StarCoder2
    loss: Loss
    optimizer: torch.optim.Optimizer
    batches: Batches
    among: Processes
    flops_per_token: float
    peak: float | None
    """Operations a second of all devices together, if they are known."""
    step: int = 0
    samples: int = 0
    spikes: Spikes = field(default_factory=lambda: Spikes(0.0))
    seconds: float = 0.0
    is_asked_to_stop: bool = False
    _since: float = field(default_factory=time.perf_counter)
    _tokens: int = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let a signal end the run after the step that is being computed, instead of in the middle of it."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self.is_asked_to_stop:
                raise KeyboardInterrupt
            self.is_asked_to_stop = True

        before = {number: signal.signal(number, stop) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def advance(self, refused: Callable[[str, list[tuple[int, int]]], None]) -> dict[str, Any] | None:
        """Compute one step; return what there is to say of it, or None if the batch was left out.

        A batch that is left out, or ends the run, is told to `refused` with the places of its samples.
        """
        training = self.recipe.training
        loss, norm = self._gradient()
        places = self.batches.places(self.samples, training.batch)
        if wrong := self.spikes.refuses(loss, norm):
            refused(wrong, places)
            self.optimizer.zero_grad(set_to_none=True)
            if training.not_finite == "stop":
                raise StarsmithError(
                    f"Step {self.step + 1:,} was not taken: {wrong}. Its documents are named in the metrics; the "
                    "last checkpoint is from before it. Lower the learning rate, or set [training] not_finite to skip."
                )
            self._count(training.batch)
            return None
        value = rate(self.step, self.recipe.optimizer, training.steps)
        set_rate(self.optimizer, value)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._count(training.batch)
        return {"step": self.step, "loss": loss, "norm": norm, "rate": value}

    def _count(self, samples: int) -> None:
        self.step += 1
        self.samples += samples
        self._tokens += samples * self.recipe.data.sequence_length

    def _gradient(self) -> tuple[float, float]:
        """Compute the gradient of a batch; return its loss, and its norm before clipping."""
        count = for_processes(self.recipe, self.among.count)
        total = torch.zeros((), device=self.among.device)
        for number in range(count):
            inputs, targets = self._micro_batch(number)
            if self.among.count > 1:
                # Gradients travel once a step.
                self.model.set_requires_gradient_sync(number == count - 1)  # type: ignore[operator]
            with self._precision():
                units = units_of(inputs) if self.recipe.data.within_documents else None
                loss = self.loss(inputs, targets, document_bl=units) / count
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        mean = self.among.sum(total) / self.among.count
        limit = self.recipe.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        return float(mean), float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _micro_batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of one of this process's shares of the batch."""
        size = self.recipe.training.micro_batch
        first = self.samples + (number * self.among.count + self.among.rank) * size
        return tensors(self.batches.take(first, size), self.among.device)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return autocast(self.recipe, self.among)

    def measured(self) -> dict[str, float | None]:
        """Return speed since the last call, and the time that is left at it."""
        now = time.perf_counter()
        seconds = now - self._since
        per_second = self._tokens / max(seconds, 1e-9)
        self.seconds += seconds
        self._since, self._tokens = now, 0
        left = (self.recipe.training.steps - self.step) * self.recipe.training.batch
        return {
            "tokens_per_second": per_second,
            "utilisation": utilisation(per_second, self.flops_per_token, self.peak),
            "seconds": self.seconds,
            "seconds_left": left * self.recipe.data.sequence_length / max(per_second, 1e-9),
        }


def tensors(samples: np.ndarray[Any, Any], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (inputs, targets) of samples of one token more."""
    ids = torch.from_numpy(samples)
    if device.type == "cuda":
        ids = ids.pin_memory().to(device, non_blocking=True)
    return ids[:, :-1], ids[:, 1:]


def units_of(ids_bl: Tensor) -> Tensor:
    """Return for each token the number of its unit in the sample: a unit ends with its end-of-text."""
    ends = (ids_bl == END_OF_TEXT).long()
    return ends.cumsum(1) - ends


def autocast(recipe: TrainingRecipe, among: Processes) -> contextlib.AbstractContextManager[Any]:
    """Return in what precision products are computed. Processes that share a model have set it when they divided it."""
    if recipe.training.precision == "bfloat16" and among.count == 1:
        return torch.autocast(among.device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()

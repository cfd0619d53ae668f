"""Metrics: what a run says of itself while it goes on, as lines for people, JSON lines for programs, and a plot."""

import importlib
import json
import math
import os
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError

PEAKS: Final[tuple[tuple[str, float], ...]] = (
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("A10", 125e12),
    ("V100", 125e12),
    ("T4", 65e12),
)
"""Dense bfloat16 (before Ampere: float16) operations a second of a device, by a part of its name; from the vendor's
data sheets, without sparsity, read in 2026."""

_KEPT: Final = 100
_POINTS: Final = 400


def peak_of(device: str) -> float | None:
    """Return the operations a second of a device by its name, or None for one that is not known."""
    return next((peak for part, peak in PEAKS if part.casefold() in device.casefold()), None)


def utilisation(tokens_per_second: float, flops_per_token: float, peak: float | None) -> float | None:
    """Return the model-flops utilisation: the share of a device's peak that the model's own products take."""
    return None if not peak else tokens_per_second * flops_per_token / peak


class Spikes:
    """Knows the last losses and says which is no number, or too far above them."""

    def __init__(self, factor: float, losses: Iterable[float] = ()) -> None:
        self._factor = factor
        self._losses = deque(losses, maxlen=_KEPT)

    @property
    def losses(self) -> list[float]:
        """The last losses, which a resumed run needs to decide alike."""
        return list(self._losses)

    def refuses(self, loss: float, norm: float) -> str | None:
        """Return what is wrong with the loss and gradient of a batch, or None and remember the loss."""
        if not math.isfinite(loss):
            return f"its loss is {loss}"
        if not math.isfinite(norm):
            return f"the norm of its gradient is {norm}"
        mean = sum(self._losses) / len(self._losses) if self._losses else None
        # A mean of few is no measure: the first steps of every run fall steeply.
        if self._factor and mean and len(self._losses) >= 10 and loss > self._factor * mean:
            return f"its loss of {loss:.3f} is more than {self._factor:g} times the mean of {mean:.3f}"
        self._losses.append(loss)
        return None


class MetricsFile:
    """A file of JSON lines. What a resumed run says again, from the checkpoint on, takes the place of what was said."""

    def __init__(self, path: Path, *, step: int) -> None:
        self._path = path
        kept = [line for line in _lines(path) if line["step"] <= step] if path.exists() else []
        text = "".join(json.dumps(line) + "\n" for line in kept)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line; it is on its way to the disk when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        return _lines(self._path)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file; the last may be cut off where a run was killed."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            found.append(value)
    return found


def words(line: Mapping[str, Any], *, steps: int) -> str:
    """Return a line of metrics as people read it."""
    use = line.get("utilisation")
    parts = [
        f"step {line['step']:,} of {steps:,}",
        f"loss {line['loss']:.3f}",
        f"{line['tokens_per_second']:,.0f} tokens/s",
        *([] if use is None else [f"{use:.0%} of the device's peak"]),
        f"rate {line['rate']:.1e}",
        f"norm {line['norm']:.2f}",
        f"{duration(line['seconds_left'])} left",
    ]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(42), duration(200), duration(9000), duration(200000)
    ('42 s', '3 min', '2 h 30 min', '2 d 7 h')
    """
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{round(whole / 60)} min"
    if whole < 172800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def plot(lines: list[dict[str, Any]]) -> str:
    """Return the losses of a run as one SVG: of training as a line, held-out bits per byte as dots with numbers."""
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    held_out = [(line["step"], line["bits_per_byte"]) for line in lines if "bits_per_byte" in line]
    losses = losses[:: max(len(losses) // _POINTS, 1)]
    width, height, left, bottom = 720, 360, 60, 40
    every = [float(value) for _, value in losses + held_out] or [0.0, 1.0]
    low, high = min(every), max(every)
    last = max([step for step, _ in losses + held_out], default=1) or 1

    def x(step: int) -> float:
        return left + (width - left - 20) * step / last

    def y(value: float) -> float:
        return 20 + (height - bottom - 20) * (high - value) / max(high - low, 1e-9)

    path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in losses)
    dots = "".join(
        f'<circle cx="{x(step):.1f}" cy="{y(value):.1f}" r="3" fill="#b3471d"/>'
        f'<text x="{x(step):.1f}" y="{y(value) - 7:.1f}" text-anchor="end">{value:.3f}</text>'
        for step, value in held_out
    )
    marks = "".join(
        f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        f'<line x1="{left}" x2="{width - 20}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
        for value in (low + (high - low) * part / 4 for part in range(5))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>Loss of training, and bits per byte on held-out text</title>{marks}'
        f'<polyline points="{path}" fill="none" stroke="#1d5fb3" stroke-width="1.5"/>{dots}'
        f'<text x="{width - 20}" y="{height - 8}" text-anchor="end">step {last:,}</text>'
        f'<text x="{left}" y="{height - 8}" fill="#1d5fb3">loss (nats per token)</text>'
        f'<text x="{left + 160}" y="{height - 8}" fill="#b3471d">held-out bits per byte</text></svg>\n'
    )


class TensorBoard:
    """Writes numbers as TensorBoard events, with the writer that PyTorch has."""

    def __init__(self, folder: Path) -> None:
        try:
            writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise StarsmithError(
                f"[checkpoints] tensorboard = true, but {error}. Run `pip install tensorboard`, or leave it out."
            ) from error
        self._writer = writer(str(folder))

    def write(self, line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()

"""Checkpoints of a run: weights, optimizer, random numbers and position, as safetensors and JSON.

A checkpoint is written beside its place and takes it when it is whole, so that a run that is killed, or whose disk is
full, has the ones before it. What is read is what was written: every file's digest stands in `state.json`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from starsmith.disk import disk_errors
from starsmith.errors import StarsmithError
from starsmith.train.processes import Processes, assign, whole

STATE_FILE: Final = "state.json"
_FORMAT: Final = 1
_FILE_BYTES: Final = 4 << 30
"""Tensors are written in files of about this size: no process holds more of a sharded model than that at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a run stands."""

    step: int
    samples: int
    losses: list[float] = field(default_factory=list)
    """The last losses, by which spikes are told."""
    seconds: float = 0.0
    recipe: str = ""
    """Fingerprint of what decides the weights."""
    pack: str = ""
    """Fingerprint of the pack."""


def names(folder: Path) -> list[str]:
    """Return the checkpoints of a run, the newest last."""
    if not folder.is_dir():
        return []
    return sorted(each.name for each in folder.iterdir() if each.name.startswith("step-"))


def save(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position, among: Processes, *, keep: int
) -> Path:
    """Write a checkpoint below `folder`, then remove all but the newest `keep`. Every process must call this.

    Raises StarsmithError in every process if it could not be written; those before it stay.
    """
    path = folder / f"step-{position.step:09d}"
    writer = _Writer(folder / f"tmp-{path.name}") if among.is_first else None
    for kind, name, tensor in _tensors(model, optimizer):
        # All of them lift a tensor together, also where the disk of the first is full by now.
        value = whole(tensor)
        if writer is not None:
            writer.add(kind, name, value)
    for name, value in _generators(among).items():
        if writer is not None:
            writer.add("random", name, value)
    if writer is not None:
        writer.finish(position, path)
    if error := among.told(writer.error if writer is not None else None):
        raise StarsmithError(error)
    if among.is_first:
        _remove_all_but(folder, keep)
    return path


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, str, Tensor]]:
    """Yield (kind, name, tensor) of all that training changes."""
    for name, parameter in model.named_parameters():
        yield "model", name, parameter
        for moment, value in sorted(optimizer.state[parameter].items()):
            yield "optimizer", f"{name}.{moment}", value


def _generators(among: Processes) -> dict[str, Tensor]:
    """Return the states of every process's random numbers, of which dropout is made."""
    own = {f"cpu.{among.rank}": torch.get_rng_state()}
    if among.device.type == "cuda":
        own[f"cuda.{among.rank}"] = torch.cuda.get_rng_state()
    return {name: state for each in among.gathered(own) for name, state in each.items()}


class _Writer:
    """Writes the files of a checkpoint; after an error nothing more, so that the error can be told to all."""

    def __init__(self, folder: Path) -> None:
        self.error: str | None = None
        self._folder = folder
        self._pending: dict[str, dict[str, Tensor]] = {}
        self._digests: dict[str, str] = {}
        with self._trying():
            folder.parent.mkdir(parents=True, exist_ok=True)
            for left in folder.parent.glob("tmp-step-*"):
                shutil.rmtree(left)
            folder.mkdir()

    @contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            with disk_errors(str(self._folder.parent)):
                yield
        except (OSError, SafetensorError, StarsmithError) as error:
            self.error = f"The checkpoint {self._folder.name.removeprefix('tmp-')} could not be written: {error}"
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, kind: str, name: str, value: Tensor) -> None:
        """Take one tensor; write the file of its kind once it is large enough."""
        tensors = self._pending.setdefault(kind, {})
        tensors[name] = value.contiguous()
        if sum(each.nbytes for each in tensors.values()) >= _FILE_BYTES:
            self._write(kind)

    def _write(self, kind: str) -> None:
        tensors = self._pending.pop(kind, {})
        if self.error or not tensors:
            return
        with self._trying():
            number = 1 + sum(name.startswith(f"{kind}-") for name in self._digests)
            path = self._folder / f"{kind}-{number:05d}.safetensors"
            save_file(tensors, path)
            self._digests[path.name] = _synced(path)

    def finish(self, position: Position, path: Path) -> None:
        """Write what is left, and let the checkpoint take its place."""
        for kind in list(self._pending):
            self._write(kind)
        if self.error:
            return
        with self._trying():
            state = {"format": _FORMAT, **asdict(position), "files": self._digests}
            file = self._folder / STATE_FILE
            file.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
            _synced(file)
            if path.exists():
                shutil.rmtree(path)
            os.rename(self._folder, path)
            _sync_folder(path.parent)


def _synced(path: Path) -> str:
    """Wait until a file is on the disk; return its SHA-256."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_all_but(folder: Path, keep: int) -> None:
    for name in names(folder)[:-keep]:
        shutil.rmtree(folder / name)


def read_position(path: Path) -> Position:
    """Return where the run stood. Raises StarsmithError for what is no whole checkpoint."""
    return _read_state(path)[0]


def _read_state(path: Path) -> tuple[Position, dict[str, str]]:
    try:
        state: dict[str, Any] = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        if state.pop("format") != _FORMAT:
            raise StarsmithError(f"The checkpoint {path} was written by another version of Starsmith.")
        files = {str(name): str(digest) for name, digest in state.pop("files").items()}
        return Position(**state), files
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StarsmithError(
            f"The checkpoint {path} is damaged: {error}. Remove it, and --resume goes on from the one before."
        ) from error


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, among: Processes) -> Position:
    """Set model, optimizer and random numbers to a checkpoint, written by any number of processes.

    Raises StarsmithError for a damaged checkpoint or one of another model.
    """
    position, files = _read_state(path)
    _check(path, files)
    wanted = dict(model.named_parameters())
    found: set[str] = set()
    for file in sorted(files):
        kind = file.partition("-")[0]
        with safe_open(path / file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (it is no dictionary)
                if kind == "model":
                    _set_weight(path, wanted, name, tensors.get_tensor(name))
                    found.add(name)
                elif kind == "optimizer":
                    _set_moment(path, wanted, optimizer, name, tensors.get_tensor(name))
                elif name == f"cpu.{among.rank}":
                    torch.set_rng_state(tensors.get_tensor(name))
                elif name == f"cuda.{among.rank}" and among.device.type == "cuda":
                    torch.cuda.set_rng_state(tensors.get_tensor(name))
    if missing := wanted.keys() - found:
        raise _another_model(path, f"it lacks {min(missing)}")
    return position


def _check(path: Path, files: dict[str, str]) -> None:
    for name, digest in files.items():
        try:
            with (path / name).open("rb") as file:
                is_whole = hashlib.file_digest(file, "sha256").hexdigest() == digest
        except OSError:
            is_whole = False
        if not is_whole:
            raise StarsmithError(
                f"{path / name} is missing or not as it was written. Remove the checkpoint {path.name}, and --resume "
                "goes on from the one before."
            )


def _set_weight(path: Path, wanted: dict[str, nn.Parameter], name: str, value: Tensor) -> None:
    if name not in wanted:
        raise _another_model(path, f"it has {name}")
    if wanted[name].shape != value.shape:
        raise _another_model(path, f"{name} is {tuple(value.shape)} there and {tuple(wanted[name].shape)} here")
    assign(wanted[name], value)


def _set_moment(
    path: Path, wanted: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, name: str, value: Tensor
) -> None:
    owner, _, moment = name.rpartition(".")
    if owner not in wanted:
        raise _another_model(path, f"its optimizer has {owner}")
    parameter = wanted[owner]
    state = optimizer.state[parameter]
    if moment == "step":
        state[moment] = value.to(parameter.device)
        return
    state[moment] = torch.zeros_like(parameter)
    assign(state[moment], value)


def _another_model(path: Path, why: str) -> StarsmithError:
    return StarsmithError(f"The checkpoint {path} is of another model than the recipe's: {why}.")

"""Processes: one alone, or many that `torchrun` starts and that share a model (FSDP2).

Whatever their number, the same weights are drawn and the same samples are summed; only the order of additions differs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from starsmith.errors import StarsmithError

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """This process among the others of a run."""

    device: torch.device
    rank: int = 0
    count: int = 1
    mesh: DeviceMesh | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a value over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        """Wait for all others."""
        if self.count > 1:
            dist.barrier()

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes, in order."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def told(self, error: str | None) -> str | None:
        """Return what the first process has to say, in every process, so that all end together."""
        if self.count == 1:
            return error
        said = [error]
        dist.broadcast_object_list(said, src=0)
        return said[0]


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` has started; without it, be alone.

    Raises StarsmithError if a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise StarsmithError("[training] device is cuda, and PyTorch sees no GPU. Use auto or cpu, or mend the driver.")
    kind = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=torch.device(kind))
        return
    own = torch.device(kind, int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        mesh = init_device_mesh(kind, (count,))
        yield Processes(device=own, rank=dist.get_rank(), count=count, mesh=mesh)
    finally:
        dist.destroy_process_group()


def shard(model: nn.Module, blocks: nn.ModuleList, among: Processes, *, precision: torch.dtype) -> None:
    """Divide the parameters of a model among processes, block by block (FSDP2). One process keeps all of them."""
    if among.mesh is None:
        return
    policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32)
    for block in blocks:
        fully_shard(block, mesh=among.mesh, mp_policy=policy)
    fully_shard(model, mesh=among.mesh, mp_policy=policy)


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be divided among processes, on the CPU. Every process must call this."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def assign(tensor: Tensor, value: Tensor) -> None:
    """Set a tensor that may be divided among processes to a whole value, of which each takes its share."""
    with torch.no_grad():
        if isinstance(tensor, DTensor):
            value = distribute_tensor(
                value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None
            )
        tensor.copy_(value)


def draw(model: nn.Module, *, deviation: float, seed: int) -> None:
    """Draw all weights from one seed, in place: matrices normal, biases 0, scales of norms 1.

    Numbers come from the CPU, one tensor at a time, so that they are the same on every device and for any number of
    processes.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        value = torch.empty(parameter.shape)
        if parameter.ndim == 2:
            value.normal_(0.0, deviation, generator=generator)
        else:
            value.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        assign(parameter, value)

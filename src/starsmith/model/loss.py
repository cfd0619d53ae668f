"""Cross-entropy over a large vocabulary without ever holding all logits.

At 49,152 entries the logits of 2,048 tokens take 400 MB in float32, and a plain loss holds them three times. Here a few
rows at a time go forward and backward at once: their logits become their gradient in place, flow into the gradients of
the hidden states and of the output matrix, and are overwritten by the next rows. It costs no second product. What this
module does not do: it shifts no targets and knows nothing of the network before the output matrix.
"""

import functools
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from starsmith.model.products import can_pack, packed

IGNORED: Final = -100
"""A target that counts for nothing: padding, or what a recipe masks."""
CHUNK_BYTES_CPU: Final = 50 << 20
"""Logits held at once. Smaller ones stay nearer to the cache but read and write the matrix's gradient more often."""
CHUNK_BYTES_GPU: Final = 512 << 20
PACKED_ROWS: Final = 512
"""Tokens from which on packing the output matrix costs less than it saves, on a CPU."""


def cross_entropy(x_nd: Tensor, weight_vd: Tensor, target_n: Tensor, *, chunk_rows: int | None = None) -> Tensor:
    """Return the sum of -log p(target) in nats, a float32 scalar; targets that are `IGNORED` add nothing.

    Args:
        x_nd: hidden states after the last norm, N tokens.
        weight_vd: the output matrix, one row for each entry of the vocabulary.
        target_n: the ids that should come next, int64.
        chunk_rows: tokens whose logits are held at once; by default what fits a fixed number of bytes.
    """
    rows = chunk_rows or _rows(weight_vd)
    with torch.autograd.profiler.record_function("cross_entropy"):
        loss: Tensor = _CrossEntropy.apply(x_nd, weight_vd, target_n, rows)  # type: ignore[no-untyped-call]
    return loss


def _rows(weight_vd: Tensor) -> int:
    most = CHUNK_BYTES_GPU if weight_vd.is_cuda else CHUNK_BYTES_CPU
    return max(16, most // (4 * weight_vd.shape[0]))


class _CrossEntropy(torch.autograd.Function):
    """The gradients are those of the sum, computed on the way forward; backward multiplies them by what comes in."""

    @staticmethod
    def forward(ctx: Any, x_nd: Tensor, weight_vd: Tensor, target_n: Tensor, rows: int) -> Tensor:
        device = x_nd.device.type
        ctx.types = x_nd.dtype, weight_vd.dtype
        if torch.is_autocast_enabled(device):
            x_nd, weight_vd = (item.to(torch.get_autocast_dtype(device)) for item in (x_nd, weight_vd))
        with torch.autocast(device, enabled=False):
            need_x, need_weight = ctx.needs_input_grad[:2]
            grad_x_nd = torch.empty_like(x_nd) if need_x else None
            # Many small addends: in 16 bits the sum would stand still.
            grad_weight_vd = torch.zeros_like(weight_vd, dtype=torch.float32) if need_weight else None
            sums = []
            many = len(x_nd) >= PACKED_ROWS and can_pack(weight_vd)
            product = packed(weight_vd, rows=rows) if many else functools.partial(F.linear, weight=weight_vd)
            for start in range(0, len(x_nd), rows):
                part = slice(start, start + rows)
                loss, grad_cv = _chunk(product(x_nd[part]), target_n[part], backward=need_x or need_weight)
                sums.append(loss)
                if grad_x_nd is not None:
                    torch.mm(grad_cv, weight_vd, out=grad_x_nd[part])
                if grad_weight_vd is not None:
                    _add_product(grad_weight_vd, grad_cv, x_nd[part])
        ctx.grads = grad_x_nd, grad_weight_vd
        return torch.stack(sums).sum() if sums else x_nd.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if ctx.grads is None:
            raise RuntimeError("the gradients of this loss have been used: they are scaled in place, once")
        (x_nd, weight_vd), ctx.grads = ctx.grads, None
        found = [
            None if item is None else item.mul_(grads[0]).to(kind)
            for item, kind in zip((x_nd, weight_vd), ctx.types, strict=True)
        ]
        return *found, None, None


def _chunk(logits_cv: Tensor, target_c: Tensor, *, backward: bool) -> tuple[Tensor, Tensor]:
    """Return the sum of the loss of some tokens, and the gradient of their logits, which takes their place."""
    kind, logits_cv = logits_cv.dtype, logits_cv.float()
    counts_c = target_c != IGNORED
    index_c1 = torch.where(counts_c, target_c, 0)[:, None]
    of_target_c = logits_cv.gather(1, index_c1)[:, 0]
    most_c = logits_cv.amax(1)
    if not backward:
        loss_c = most_c + (logits_cv - most_c[:, None]).exp_().sum(1).log() - of_target_c
        return (loss_c * counts_c).sum(), logits_cv
    # Of the softmax only its largest value is needed to find log Σ exp: it cannot underflow.
    grad_cv = torch.softmax(logits_cv, 1, out=logits_cv)
    loss_c = most_c - grad_cv.amax(1).log() - of_target_c
    grad_cv.scatter_add_(1, index_c1, grad_cv.new_full(index_c1.shape, -1.0))
    if not bool(counts_c.all()):
        grad_cv *= counts_c[:, None]
        # What is not a number in an ignored row must not reach the sum.
        loss_c = torch.where(counts_c, loss_c, 0.0)
    return loss_c.sum(), grad_cv.to(kind)


def _add_product(total_vd: Tensor, grad_cv: Tensor, x_cd: Tensor) -> None:
    if total_vd.dtype == grad_cv.dtype:
        total_vd.addmm_(grad_cv.T, x_cd)
    else:
        total_vd += grad_cv.T @ x_cd

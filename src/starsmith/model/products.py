"""Products with a matrix that oneDNN has packed: on a CPU often faster than PyTorch's own, float32 as they are.

Measured on AMD EPYC with AVX-512, one thread, float32, in µs for a matrix of 8,192 x 256 plain / transposed / packed:
one row 700 / 135 / 191, sixteen rows 2,947 / 2,038 / 1,049; 256 rows 14,500 / - / 10,500, and packing takes 2,800. What
this module does not do: it has no backward pass.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


def can_pack(weight_oi: Tensor) -> bool:
    """Say whether a matrix can be packed here: float32, on a CPU, and torch.compile's own functions are there."""
    plain = weight_oi.device.type == "cpu" and weight_oi.dtype == torch.float32
    return plain and bool(torch.backends.mkldnn.enabled) and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def packed(weight_oi: Tensor, bias_o: Tensor | None = None, *, rows: int, gelu: bool = False) -> Product:
    """Return a function from x [n, i] to x Wᵀ + bias [n, o], or to its GELU; best for about `rows` rows."""
    matrix = torch.ops.mkldnn._reorder_linear_weight(weight_oi.detach(), rows)
    bias_o = None if bias_o is None else bias_o.detach()
    run = torch.ops.mkldnn._linear_pointwise.default
    attribute, algorithm = ("gelu", "tanh") if gelu else ("none", "")
    return lambda x_ni: run(x_ni, matrix, bias_o, attribute, [], algorithm)

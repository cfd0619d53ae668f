"""One token of generation for a batch: the same network as `transformer`, laid out for the shortest way.

A step of a small model takes about as long as starting its operations, and a step of a large one as long as reading its
weights. So nothing here calls a module or makes a tensor twice, and on a CPU the products go to the faster of two
libraries (`products`). What this module does not do: it reads no prompt, chooses no token and trains nothing. Results
are those of `transformer` up to the order of float32 sums.
"""

from functools import partial
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starsmith.model.cache import RingCache
from starsmith.model.products import Product, can_pack, packed
from starsmith.model.row_kernels import can_multiply, row_product
from starsmith.model.transformer import Layer, StarCoder2, rotation

PACKED_ROWS: Final = 4
"""From how many rows on packed matrices are faster (5 µs more to start, twice as fast a product)."""
COPIES_BYTES: Final = 4 << 30
"""The largest model whose matrices are copied into another layout; above it memory matters more."""


class _How(NamedTuple):
    packed_for: int
    """For how many rows matrices are packed, 0: they are not."""
    few: bool
    """Whether rows are few enough to be multiplied one by one."""


class _Layer(NamedTuple):
    attention_norm: nn.LayerNorm
    qkv: Product
    out: Product
    mlp_norm: nn.LayerNorm
    up: Product
    down: Product


class Decoder:
    """A model ready to take one more token of each row. It shares the model's weights or copies them, at most once."""

    def __init__(self, model: StarCoder2, *, rows: int) -> None:
        """Lay out the weights for batches of about `rows` rows."""
        self.config = model.config
        self.embedding_vd = model.embedding.weight.detach()
        weight = model.output_vd.detach()
        small = not weight.is_cuda and self.config.parameters * weight.itemsize <= COPIES_BYTES
        pack = rows >= PACKED_ROWS and small and can_pack(weight)
        how = _How(rows if pack else 0, rows < PACKED_ROWS and can_multiply(weight))
        self._layers = [_layer(layer, how) for layer in model.layers if isinstance(layer, Layer)]
        self._norm = model.norm
        self._head = _product(weight, None, how)

    def step(self, ids_b: Tensor, cache: RingCache) -> Tensor:
        """Return the logits [b, v] of what follows `ids_b`, and keep its keys and values."""
        config = self.config
        rows, heads, key_heads = len(ids_b), config.num_attention_heads, config.num_key_value_heads
        turned = heads + key_heads
        column = cache.next_column()
        x_bd = self.embedding_vd[ids_b]
        cos, sin = rotation(column.positions, config, x_bd.dtype)
        # [1, 1, q] or [b, 1, q]: whole heads at once, the second half's sine with its sign.
        cos = torch.cat((cos, cos), -1).view(-1, 1, config.head_dim)
        sin = torch.cat((-sin, sin), -1).view(-1, 1, config.head_dim)
        half = config.head_dim // 2
        for layer, slot_bkq, keys_bksq, values_bksq in zip(
            self._layers, column.slots, column.keys, column.values, strict=True
        ):
            qkv_bhq = layer.qkv(_norm(x_bd, layer.attention_norm)).view(rows, -1, config.head_dim)
            plain_bhq = qkv_bhq[:, :turned]
            turned_bhq = torch.addcmul(plain_bhq * cos, plain_bhq.roll(half, -1), sin)
            slot_bkq[:, :key_heads].copy_(turned_bhq[:, heads:])
            slot_bkq[:, key_heads:].copy_(qkv_bhq[:, turned:])
            # The query heads that share a key head stand where queries of several tokens would: nothing is repeated.
            q_bkgq = turned_bhq[:, :heads].view(rows, key_heads, heads // key_heads, config.head_dim)
            mixed = F.scaled_dot_product_attention(q_bkgq, keys_bksq, values_bksq, attn_mask=column.mask)
            x_bd = x_bd + layer.out(mixed.reshape(rows, -1))
            x_bd = x_bd + layer.down(layer.up(_norm(x_bd, layer.mlp_norm)))
        return self._head(_norm(x_bd, self._norm))

    def logits(self, x_bd: Tensor) -> Tensor:
        """Return the logits [b, v] of hidden states that have been through the last norm."""
        return self._head(x_bd)


def _norm(x_bd: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x_bd, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _layer(layer: Layer, how: _How) -> _Layer:
    return _Layer(
        layer.attention_norm,
        _linear(layer.attention.qkv, how),
        _linear(layer.attention.out, how),
        layer.mlp_norm,
        _linear(layer.mlp.up, how, gelu=True),
        _linear(layer.mlp.down, how),
    )


def _linear(linear: nn.Linear, how: _How, *, gelu: bool = False) -> Product:
    return _product(linear.weight.detach(), None if linear.bias is None else linear.bias.detach(), how, gelu=gelu)


def _product(weight: Tensor, bias: Tensor | None, how: _How, *, gelu: bool = False) -> Product:
    """Return the product with a matrix as a function, and its GELU if that follows."""
    if how.packed_for:
        return packed(weight, bias, rows=how.packed_for, gelu=gelu)
    multiply = row_product(weight, bias) if how.few else partial(F.linear, weight=weight, bias=bias)
    return (lambda x_bd: F.gelu(multiply(x_bd), approximate="tanh")) if gelu else multiply

"""One token of generation for a batch: the same network as `transformer`, laid out for the shortest way.

A step of a small model takes about as long as starting its operations, and a step of a large one as long as reading its
weights. So nothing here calls a module or makes a tensor twice, and on a CPU the products go to the faster of two
libraries (`products`). What this module does not do: it reads no prompt, chooses no token and trains nothing. Results
are those of `transformer` up to the order of float32 sums.
"""

from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starsmith.model.cache import RingCache
from starsmith.model.products import Product, can_pack, packed
from starsmith.model.transformer import Layer, StarCoder2, rotation

PACKED_ROWS: Final = 4
"""From how many rows on packed matrices are faster (5 µs more to start, twice as fast a product)."""
COPIES_BYTES: Final = 4 << 30
"""The largest model whose matrices are copied into another layout; above it memory matters more."""


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
        self._layers = [
            _layer(layer, rows=rows if pack else 0, copied=small) for layer in model.layers if isinstance(layer, Layer)
        ]
        self._norm = model.norm
        self._head: Product
        if pack:
            self._head = packed(weight, rows=rows)
        elif small:
            transposed_dv = weight.T.contiguous()
            self._head = lambda x_bd: torch.mm(x_bd, transposed_dv)
        else:
            self._head = lambda x_bd: F.linear(x_bd, weight)

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


def _layer(layer: Layer, *, rows: int, copied: bool) -> _Layer:
    return _Layer(
        layer.attention_norm,
        _product(layer.attention.qkv, rows=rows),
        _product(layer.attention.out, rows=rows),
        layer.mlp_norm,
        _product(layer.mlp.up, rows=rows, gelu=True, copied=copied),
        _product(layer.mlp.down, rows=rows),
    )


def _product(linear: nn.Linear, *, rows: int, gelu: bool = False, copied: bool = False) -> Product:
    """Return the layer as a function, packed where `rows` says for how many, else in the order that reads long rows."""
    weight, bias = linear.weight.detach(), None if linear.bias is None else linear.bias.detach()
    if rows:
        return packed(weight, bias, rows=rows, gelu=gelu)
    if gelu and copied and bias is not None:
        # 26 MB of matrices of 1,024 x 256, from memory, by one row: 4.5 ms as they are, 2.3 ms transposed.
        transposed = weight.T.contiguous()
        return lambda x_bd: F.gelu(torch.addmm(bias, x_bd, transposed), approximate="tanh")
    if gelu:
        return lambda x_bd: F.gelu(F.linear(x_bd, weight, bias), approximate="tanh")
    return lambda x_bd: F.linear(x_bd, weight, bias)

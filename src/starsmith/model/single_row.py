"""One token of generation for a single row on a CPU: `decoder` in a few calls of compiled code.

What this module does not do: it serves no batch, no GPU and no other type than float32; `decoder` does.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from starsmith.model.cache import RingCache
from starsmith.model.row_kernels import can_multiply, layer_step, multiply_rows, normalise, numbers
from starsmith.model.transformer import Layer, StarCoder2


class SingleRow:
    """A model ready to take one more token of one row. It shares the model's weights."""

    def __init__(self, model: StarCoder2) -> None:
        config = model.config
        self.config = config
        self._embedding_vd = numbers(model.embedding.weight)
        self._head_vd = numbers(model.output_vd)
        self._no_bias = np.zeros(len(self._head_vd), np.float32)
        self._norm = numbers(model.norm.weight), numbers(model.norm.bias)
        self._layers = [_weights(layer) for layer in model.layers if isinstance(layer, Layer)]
        half = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
        self._speeds = (1.0 / np.power(np.float32(config.rope_theta), half)).astype(np.float32)
        self._epsilon = np.float32(config.norm_epsilon)
        self._scratch: tuple[Any, ...] = ()

    @staticmethod
    def can_run(model: StarCoder2) -> bool:
        return all(can_multiply(parameter) for parameter in model.parameters())

    def step(self, ids_b: Tensor, cache: RingCache) -> Tensor:
        """Return the logits [1, v] of what follows the one id in `ids_b`, and keep its keys and values."""
        slot, used, position = cache.seen % cache.slots, min(cache.seen + 1, cache.slots), cache.seen
        kept_lksq = cache.store[:, 0].numpy()
        angles = np.float32(position) * self._speeds
        cos, sin = np.cos(angles), np.sin(angles)
        scratch = self._room(cache.slots)
        x_d = self._embedding_vd[int(ids_b[0])].copy()
        for number, weights in enumerate(self._layers):
            layer_step(x_d, weights, self._epsilon, cos, sin, kept_lksq[number], slot, used, scratch)
        cache.advance(1)
        normalise(x_d, *self._norm, self._epsilon, x_d)
        return self.logits(torch.from_numpy(x_d[None]))

    def logits(self, x_bd: Tensor) -> Tensor:
        """Return the logits [b, v] of hidden states that have been through the last norm."""
        logits_bv = torch.empty(len(x_bd), len(self._head_vd))
        multiply_rows(self._head_vd, self._no_bias, x_bd.contiguous().numpy(), logits_bv.numpy())
        return logits_bv

    def _room(self, slots: int) -> tuple[Any, ...]:
        """Return room for what passes between the parts of a layer."""
        if not self._scratch or len(self._scratch[-1]) < slots:
            config = self.config
            wide = config.hidden_size + 2 * config.key_value_size
            sizes = (config.hidden_size, wide, config.hidden_size, config.intermediate_size)
            self._scratch = (*(np.empty((1, size), np.float32) for size in sizes), np.empty(slots, np.float32))
        return self._scratch


def _weights(layer: Layer) -> tuple[Any, ...]:
    return (
        *(numbers(layer.attention_norm.weight), numbers(layer.attention_norm.bias)),
        *_linear(layer.attention.qkv),
        *_linear(layer.attention.out),
        *(numbers(layer.mlp_norm.weight), numbers(layer.mlp_norm.bias)),
        *_linear(layer.mlp.up),
        *_linear(layer.mlp.down),
    )


def _linear(linear: nn.Linear) -> tuple[Any, Any]:
    return numbers(linear.weight), numbers(linear.bias, size=linear.out_features)

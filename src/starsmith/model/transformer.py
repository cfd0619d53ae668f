"""StarCoder2, the network (StarCoder2, section 4.1 and table 6), in one file.

The notable choices:

- a decoder whose blocks add to a stream: norm before attention and before the MLP, one more before the output matrix
- LayerNorm with bias, linear layers with bias, an MLP of two layers with the tanh form of GELU and no gate
- grouped-query attention: a few heads of keys and values, each shared by many query heads
- rotary positions on whole heads, the first half of a head's components paired with the second half
- a sliding window: a token sees itself and the `sliding_window` - 1 tokens before it
- the output matrix is the embedding, except in the largest model
- queries, keys and values come from one matrix; `checkpoint` cuts it where public folders have three
- the loss never holds all logits (`loss`), and samples packed from many documents can keep them apart

Letters in names tell shapes: b samples, l tokens of a sample, s tokens seen, d components of the stream, h query heads,
k key heads, q components of one head, v entries of the vocabulary.

What this module does not do: it loads nothing (`checkpoint`), and generates only as far as a cache lets it (`cache`).
"""

import functools
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint

from starsmith.model.config import ModelConfig
from starsmith.model.loss import IGNORED, cross_entropy

BLOCK_QUERIES: Final = 1024
"""Tokens whose attention is computed at once where a mask is needed: bounds the mask to this many rows."""
Rotation = tuple[Tensor, Tensor]


class Block(NamedTuple):
    """Some consecutive queries, the consecutive keys that any of them sees, and who sees what (None: all before it)."""

    queries: slice
    keys: slice
    mask: Tensor | None


Visible = tuple[Block, ...] | BlockMask


class KeysAndValues(Protocol):
    """What earlier tokens left behind, as `forward` needs it; see `cache`."""

    def positions(self, length: int) -> Tensor:
        """Return the positions of the next `length` tokens, [l] or [b, l]."""

    def visible(self, length: int) -> Visible:
        """Return what the next `length` tokens see of the keys that `extend` will return."""

    def extend(self, layer: int, keys_bskq: Tensor, values_bskq: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of new tokens, and return those of all that they may see."""

    def advance(self, length: int) -> None:
        """Count `length` tokens as seen, after the last layer."""


def rotation(positions: Tensor, config: ModelConfig, dtype: torch.dtype) -> Rotation:
    """Return cosines and sines for positions [l] or [b, l], each [l or b l, 1, q/2], to be used on all heads."""
    steps = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None, None].float() * (1.0 / config.rope_theta ** (steps / config.head_dim))
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x_blhq: Tensor, by: Rotation) -> Tensor:
    """Turn each pair of components (i, i + q/2) of each head by its position's angle."""
    cos, sin = by
    first, second = x_blhq.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def all_before(length: int, config: ModelConfig, document_bl: Tensor | None, device: torch.device) -> Visible:
    """Return what each token of a sample sees: the window before it, within its own document if those are given."""
    window = config.sliding_window
    if document_bl is None and (window is None or length <= window):
        return (Block(slice(0, length), slice(0, length), None),)
    if device.type == "cuda" and config.attention_dropout == 0:
        return _block_mask(length, window, document_bl, device)
    return tuple(_blocks(length, window, document_bl, device))


def _blocks(length: int, window: int | None, document_bl: Tensor | None, device: torch.device) -> list[Block]:
    blocks = []
    for start in range(0, length, BLOCK_QUERIES):
        end = min(start + BLOCK_QUERIES, length)
        first = 0 if window is None else max(0, start - window + 1)
        query_l, key_s = torch.arange(start, end, device=device), torch.arange(first, end, device=device)
        mask = within_window(query_l, key_s, window)
        if document_bl is not None:
            mask = mask & (document_bl[:, None, start:end, None] == document_bl[:, None, None, first:end])
        blocks.append(Block(slice(start, end), slice(first, end), mask))
    return blocks


def within_window(query_l: Tensor, key_s: Tensor, window: int | None) -> Tensor:
    """Return which positions in `key_s` each position in `query_l` sees, bool [l, s]."""
    distance = query_l[:, None] - key_s
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def _block_mask(length: int, window: int | None, document_bl: Tensor | None, device: torch.device) -> BlockMask:
    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = query >= key
        if window is not None:
            seen = seen & (query - key < window)
        if document_bl is not None:
            seen = seen & (document_bl[batch, query] == document_bl[batch, key])
        return seen

    samples = None if document_bl is None else len(document_bl)
    return create_block_mask(sees, samples, None, length, length, device=str(device))


def attend(q_blhq: Tensor, k_bskq: Tensor, v_bskq: Tensor, visible: Visible, *, dropout: float) -> Tensor:
    """Return softmax(q·k / √q) v for each query head over the keys that are visible, [b, l, h, q]."""
    q_bhlq, k_bksq, v_bksq = (item.transpose(1, 2) for item in (q_blhq, k_bskq, v_bskq))
    if isinstance(visible, BlockMask):
        out_bhlq = _flex(q_bhlq, k_bksq, v_bksq, visible)
        return out_bhlq.transpose(1, 2)
    # The fused CPU kernel has no grouped form: `enable_gqa` falls back to one that is half as fast (measured: 0.46).
    shared = q_bhlq.shape[1] != k_bksq.shape[1]
    if shared and not q_bhlq.is_cuda:
        groups = q_bhlq.shape[1] // k_bksq.shape[1]
        k_bksq, v_bksq = (item.repeat_interleave(groups, dim=1) for item in (k_bksq, v_bksq))
    parts = [
        F.scaled_dot_product_attention(
            q_bhlq[:, :, block.queries],
            k_bksq[:, :, block.keys],
            v_bksq[:, :, block.keys],
            attn_mask=block.mask,
            dropout_p=dropout,
            is_causal=block.mask is None,
            enable_gqa=shared and q_bhlq.is_cuda,
        ).transpose(1, 2)
        for block in visible
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


_FLEX: Final[Any] = flex_attention


def _flex(q_bhlq: Tensor, k_bksq: Tensor, v_bksq: Tensor, visible: BlockMask) -> Tensor:
    kernel = _compiled_flex() if q_bhlq.is_cuda else _FLEX
    out: Tensor = kernel(q_bhlq, k_bksq, v_bksq, block_mask=visible, enable_gqa=q_bhlq.shape[1] != k_bksq.shape[1])
    return out


@functools.cache
def _compiled_flex() -> Callable[..., Any]:
    # Only compiled does it skip what is masked.
    return torch.compile(flex_attention)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.key_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.dropout = config.attention_dropout
        width = config.hidden_size + 2 * config.key_value_size
        self.qkv = nn.Linear(config.hidden_size, width, bias=config.use_bias)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=config.use_bias)

    def forward(
        self, x_bld: Tensor, by: Rotation, visible: Visible, cache: KeysAndValues | None = None, layer: int = 0
    ) -> Tensor:
        batch, length, _ = x_bld.shape
        qkv_blhq = self.qkv(x_bld).view(batch, length, -1, self.head_dim)
        turned_blhq = rotate(qkv_blhq[:, :, : self.heads + self.key_heads], by)
        q_blhq, k_bskq = turned_blhq[:, :, : self.heads], turned_blhq[:, :, self.heads :]
        v_bskq = qkv_blhq[:, :, self.heads + self.key_heads :]
        if cache is not None:
            k_bskq, v_bskq = cache.extend(layer, k_bskq, v_bskq)
        dropout = self.dropout if self.training else 0.0
        mixed_blhq = attend(q_blhq, k_bskq, v_bskq, visible, dropout=dropout)
        out_bld: Tensor = self.out(mixed_blhq.reshape(batch, length, -1))
        return out_bld


class MLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.use_bias)

    def forward(self, x_bld: Tensor) -> Tensor:
        out_bld: Tensor = self.down(F.gelu(self.up(x_bld), approximate="tanh"))
        return out_bld


class Layer(nn.Module):
    """One block of the decoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_epsilon)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_epsilon)
        self.mlp = MLP(config)
        self.dropout = config.residual_dropout

    def forward(
        self, x_bld: Tensor, by: Rotation, visible: Visible, cache: KeysAndValues | None = None, layer: int = 0
    ) -> Tensor:
        x_bld = x_bld + self._drop(self.attention(self.attention_norm(x_bld), by, visible, cache, layer))
        return x_bld + self._drop(self.mlp(self.mlp_norm(x_bld)))

    def _drop(self, x_bld: Tensor) -> Tensor:
        return F.dropout(x_bld, self.dropout, self.training) if self.dropout else x_bld


class StarCoder2(nn.Module):
    """The whole network. Made on the meta device it takes no memory: `checkpoint` and `initialise` then fill it.

    `recompute` (activation checkpointing) keeps only each layer's input on the way forward, for a third more work.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.norm_epsilon)
        self.head = None if config.tie_word_embeddings else nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def output_vd(self) -> Tensor:
        """The output matrix."""
        return self.embedding.weight if self.head is None else self.head.weight

    def forward(
        self,
        ids_bl: Tensor,
        *,
        targets_bl: Tensor | None = None,
        document_bl: Tensor | None = None,
        cache: KeysAndValues | None = None,
    ) -> Tensor:
        """Return the logits [b, l, v], or with `targets_bl` the mean loss in nats over those that count.

        Args:
            ids_bl: token ids, int64.
            targets_bl: for each token the id that should come next, or `loss.IGNORED`.
            document_bl: for each token a number of its document; tokens of one never see those of another.
            cache: earlier tokens' keys and values, which grow by these tokens'. Not with `document_bl`.
        """
        x_bld = self.hidden(ids_bl, document_bl=document_bl, cache=cache)
        if targets_bl is None:
            logits_blv: Tensor = F.linear(x_bld, self.output_vd)
            return logits_blv
        target_n = targets_bl.reshape(-1)
        total = cross_entropy(x_bld.flatten(0, 1), self.output_vd, target_n)
        return total / (target_n != IGNORED).sum().clamp(min=1)

    def loss(self, ids_bl: Tensor, targets_bl: Tensor, *, document_bl: Tensor | None = None) -> Tensor:
        """Return the mean loss in nats, a float32 scalar, without holding all logits."""
        loss: Tensor = self(ids_bl, targets_bl=targets_bl, document_bl=document_bl)
        return loss

    def hidden(
        self, ids_bl: Tensor, *, document_bl: Tensor | None = None, cache: KeysAndValues | None = None
    ) -> Tensor:
        """Return the stream after the last norm, [b, l, d]."""
        length, config = ids_bl.shape[1], self.config
        x_bld: Tensor = self.embedding(ids_bl)
        if config.embedding_dropout:
            x_bld = F.dropout(x_bld, config.embedding_dropout, self.training)
        if cache is None:
            positions = torch.arange(length, device=ids_bl.device)
            visible = all_before(length, config, document_bl, ids_bl.device)
        else:
            positions, visible = cache.positions(length), cache.visible(length)
        by = rotation(positions, config, x_bld.dtype)
        for number, layer in enumerate(self.layers):
            if self.recompute and self.training:
                x_bld = checkpoint(layer, x_bld, by, visible, use_reentrant=False)
            else:
                x_bld = layer(x_bld, by, visible, cache, number)
        if cache is not None:
            cache.advance(length)
        out_bld: Tensor = self.norm(x_bld)
        return out_bld

    @torch.no_grad()
    def initialise(self, seed: int) -> "StarCoder2":
        """Draw all weights anew from one seed, in place: normal with `initializer_range`, biases 0, norms 1."""
        generator = torch.Generator(device=self.embedding.weight.device).manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, self.config.initializer_range, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        return self

"""Keys and values of tokens already seen: a ring as long as the window, or as the whole text where there is none.

Rows of a batch have prompts of different lengths; shorter ones are padded on the left, so that all rows write the same
column at the same time. A column's slot is its number modulo the slots, a token's rotary position its column less its
row's padding. What this module does not do: it computes no attention, and no row leaves before the others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from starsmith.model.config import ModelConfig
from starsmith.model.transformer import Block, Visible, within_window


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of the ring, for all layers: where it goes [b, 2k, q], and what its token sees [b, k, s, q]."""

    slots: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    positions: Tensor
    mask: Tensor | None


class RingCache:
    """The cache of one batch. Memory: layers x rows x slots x 2 x key heads x head_dim numbers, all taken at once."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        rows: int,
        columns: int,
        padding_b: Tensor | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Make room for texts of `columns` tokens at most, padding included; `padding_b` is that of each row."""
        self.window = config.sliding_window or columns
        self.slots = min(self.window, columns)
        self.columns = columns
        self.seen = 0
        self.heads = config.num_key_value_heads
        self.most_padding = 0 if padding_b is None else int(padding_b.max())
        self.padding_b = padding_b if self.most_padding else None
        shape = (config.num_hidden_layers, rows, 2 * self.heads, self.slots, config.head_dim)
        self.store = torch.empty(shape, device=device, dtype=dtype)

    def positions(self, length: int) -> Tensor:
        """Return rotary positions of the next `length` columns, [l] or [b, l]; those of padding are 0."""
        columns_l = torch.arange(self.seen, self.seen + length, device=self.store.device)
        return columns_l if self.padding_b is None else (columns_l - self.padding_b[:, None]).clamp(min=0)

    def visible(self, length: int) -> Visible:
        """Return what the next `length` columns see of the keys that `extend` will return."""
        first = self._first()
        end = self.seen + length
        if first == self.seen and length <= self.window and self.padding_b is None:
            return (Block(slice(0, length), slice(0, length), None),)
        query_l = torch.arange(self.seen, end, device=self.store.device)
        key_s = torch.arange(first, end, device=self.store.device)
        mask = within_window(query_l, key_s, self.window)
        if self.padding_b is not None:
            # A padding column sees itself, since a softmax over nothing is no number; nobody sees it.
            in_text = (key_s >= self.padding_b[:, None])[:, None, None] | (query_l[:, None] == key_s)
            mask = mask & in_text
        return (Block(slice(0, length), slice(0, end - first), mask),)

    def _first(self) -> int:
        """Return the first earlier column that the next one sees."""
        return max(0, self.seen - self.window + 1)

    def extend(self, layer: int, keys_bskq: Tensor, values_bskq: Tensor) -> tuple[Tensor, Tensor]:
        """Keep keys and values of new columns; return theirs and, before them, those of the columns they may see."""
        new_bksq = torch.cat((keys_bskq, values_bskq), dim=2).transpose(1, 2)
        all_bksq = new_bksq
        if self.seen > self._first():
            earlier_s = torch.arange(self._first(), self.seen, device=self.store.device) % self.slots
            all_bksq = torch.cat((self.store[layer].index_select(2, earlier_s), new_bksq), dim=2)
        kept = min(new_bksq.shape[2], self.slots)
        end = self.seen + new_bksq.shape[2]
        slots = torch.arange(end - kept, end, device=self.store.device) % self.slots
        self.store[layer].index_copy_(2, slots, new_bksq[:, :, -kept:])
        all_bskq = all_bksq.transpose(1, 2)
        return all_bskq[:, :, : self.heads], all_bskq[:, :, self.heads :]

    def advance(self, length: int) -> None:
        """Count `length` columns as seen."""
        self.seen += length
        if self.seen > self.columns:
            raise ValueError(f"the cache was made for {self.columns} columns and has {self.seen}")

    def next_column(self) -> "Column":
        """Take the next column for one more token of each row; the caller writes its keys and values.

        Keys need no order once their rotary positions are in them, so nothing is moved.
        """
        slot, used = self.seen % self.slots, min(self.seen + 1, self.slots)
        column = Column(
            slots=self.store[:, :, :, slot].unbind(0),
            keys=self.store[:, :, : self.heads, :used].unbind(0),
            values=self.store[:, :, self.heads :, :used].unbind(0),
            positions=self.positions(1),
            mask=self._text(used),
        )
        self.advance(1)
        return column

    def _text(self, used: int) -> Tensor | None:
        """Return which slots hold text, bool [b, 1, 1, s]; None where all do."""
        if self.padding_b is None or self.seen + 1 - used >= self.most_padding:
            return None
        slot_s = torch.arange(used, device=self.store.device)
        # A slot holds the last column, up to this one, that has its number as remainder.
        column_s = self.seen - (self.seen - slot_s) % self.slots
        return (column_s >= self.padding_b[:, None])[:, None, None]

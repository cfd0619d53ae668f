"""Other Hugging Face folders, through transformers where it is installed. Nothing is fetched, no code of theirs runs.

Tokens are chosen by the same rule as ours (`model.sampling`), so that the same seed means the same for every model.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from starsmith.errors import StarsmithError
from starsmith.evaluate.generators.asked import Asked, Batch, Made
from starsmith.evaluate.generators.tokens import Fitted, Room, by_length
from starsmith.evaluate.problem import Sampling, cut
from starsmith.fingerprint import fingerprint
from starsmith.model.checkpoint import file_digests
from starsmith.model.sampling import Sampling as Drawing
from starsmith.model.sampling import choose

BATCH: Final = 8
POSITIONS: Final = 2048
"""Where a configuration does not say."""
GAPS: Final = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)
"""What stands before prefix, suffix and middle in the vocabularies of public code models."""


class PublicModel:
    """A causal language model that transformers knows."""

    def __init__(self, folder: Path, *, tokenizer: Path | None = None, device: str = "cpu", batch: int = BATCH) -> None:
        """Load it from the disk. Raises StarsmithError where that cannot be done."""
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ModuleNotFoundError as error:
            raise StarsmithError(
                f"{folder} is no StarCoder2; other models need transformers. Run `pip install transformers`."
            ) from error
        self._folder, self._batch, self._device = folder, batch, device
        try:
            chosen = str(tokenizer or folder)
            self._tokens = AutoTokenizer.from_pretrained(chosen, local_files_only=True, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="auto"
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            said = " ".join(str(error).split())[:300]
            raise StarsmithError(f"{folder} cannot be loaded by transformers: {said}") from None
        self._model = model.to(device).eval()
        ends = self._model.generation_config.eos_token_id
        ends = self._tokens.eos_token_id if ends is None else ends
        self._ends = set(ends if isinstance(ends, list) else [ends]) - {None}

    def about(self) -> dict[str, Any]:
        import transformers

        return {
            "kind": f"transformers {transformers.__version__}",
            "model": fingerprint(file_digests(self._folder, ("config.json", "*.safetensors"))),
            "tokenizer": fingerprint(file_digests(self._folder, ("tokenizer*", "vocab*", "merges*", "special*"))),
            "type": str(self._model.dtype).removeprefix("torch."),
            "device": self._device,
            "batch": self._batch,
        }

    def batches(self, asked: Sequence[Asked], sampling: Sampling) -> list[Batch]:
        if any(each.suffix is not None for each in asked) and self._gap() is None:
            raise StarsmithError(f"{self._folder}: its tokenizer has no tokens for gaps that are known here.")
        fitted = [self._fitted(each, sampling) for each in asked]
        return by_length(asked, fitted, size=self._batch)

    def _gap(self) -> tuple[int, int, int] | None:
        known = self._tokens.get_vocab()
        for before, after, middle in GAPS:
            if {before, after, middle} <= known.keys():
                return known[before], known[after], known[middle]
        return None

    def _fitted(self, asked: Asked, sampling: Sampling) -> Fitted:
        positions = getattr(self._model.config, "max_position_embeddings", None) or POSITIONS
        room = Room(positions=positions, max_tokens=sampling.max_tokens, gap=self._gap() or (0, 0, 0))
        return room.fitted(asked, lambda text: list(self._tokens(text, add_special_tokens=False)["input_ids"]))

    def completed(self, batches: Iterable[Batch], sampling: Sampling) -> Iterator[list[Made]]:
        rule = Drawing(temperature=sampling.temperature, top_p=sampling.top_p)
        for batch in batches:
            fitted = [self._fitted(asked, sampling) for asked in batch]
            yield [
                Made(asked=asked, text=text, finish=finish, tokens=tokens, shortened=fit.shortened)
                for asked, fit, (text, finish, tokens) in zip(
                    batch, fitted, self._written(batch, fitted, rule), strict=True
                )
            ]

    @torch.inference_mode()
    def _written(self, batch: Batch, fitted: Sequence[Fitted], rule: Drawing) -> list[tuple[str, str, int]]:
        """Return text, why it ended, and the number of tokens, of each row."""
        rows = [_Row(self._tokens, asked.stops, self._ends) for asked in batch]
        columns = max(len(each.ids) for each in fitted)
        pad = next(iter(self._ends), 0)
        ids_bl = torch.tensor([[pad] * (columns - len(each.ids)) + list(each.ids) for each in fitted])
        mask_bl = torch.tensor([[0] * (columns - len(each.ids)) + [1] * len(each.ids) for each in fitted])
        ids_bl, mask_bl, cache = ids_bl.to(self._device), mask_bl.to(self._device), None
        draws = [asked.draw for asked in batch]
        for step in range(fitted[0].budget):
            positions_bl = (mask_bl.cumsum(-1) - 1).clamp(min=0)[:, -ids_bl.shape[1] :]
            told = self._model(
                input_ids=ids_bl,
                attention_mask=mask_bl,
                position_ids=positions_bl,
                past_key_values=cache,
                use_cache=True,
            )
            cache = told.past_key_values
            next_b = choose(told.logits[:, -1], rule, rows=draws, step=step)
            for row, number in zip(rows, next_b.tolist(), strict=True):
                row.add(number)
            if all(row.finish for row in rows):
                break
            ids_bl = next_b[:, None].to(self._device)
            mask_bl = torch.cat((mask_bl, torch.ones_like(ids_bl)), dim=1)
        return [(row.text, row.finish or "length", len(row.ids)) for row in rows]


class _Row:
    """What one row has written."""

    def __init__(self, tokens: Any, stops: Sequence[str], ends: set[int]) -> None:
        self._tokens, self._stops, self._ends = tokens, stops, ends
        self.ids: list[int] = []
        self.text = ""
        self.finish = ""

    def add(self, number: int) -> None:
        if self.finish:
            return
        self.ids.append(number)
        if number in self._ends:
            self.finish = "stop"
            return
        # A sentinel may be a stop string; as text of a completion it stands for nothing, as in ours.
        shown = self._tokens.decode(self.ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        self.text = self._tokens.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if cut(shown, self._stops) != shown:
            self.text, self.finish = cut(self.text, self._stops), "stop"

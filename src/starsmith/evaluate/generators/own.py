"""Models of ours, and public StarCoder2 folders: through `starsmith.model`, in batches of like length."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from starsmith.evaluate.generators.asked import Asked, Batch, Made
from starsmith.evaluate.generators.tokens import Fitted, Room, by_length
from starsmith.evaluate.problem import Sampling
from starsmith.fingerprint import fingerprint
from starsmith.format.sentinels import with_sentinels
from starsmith.format.tokenizer import Tokenizer
from starsmith.model.checkpoint import digests, load, model_folder
from starsmith.model.generate import Generation, Generator
from starsmith.model.sampling import Sampling as Drawing

BATCH: Final = 16
"""Rows that go at once; the generator's own default."""


class OwnModel:
    """A folder that `starsmith train` or `starsmith export --format hf` made, or a public StarCoder2's."""

    def __init__(self, folder: Path, *, tokenizer: Path | None = None, device: str = "cpu", batch: int = BATCH) -> None:
        """Load model and tokenizer. Raises StarsmithError as these do."""
        self._folder = model_folder(folder)
        self._tokens = Tokenizer.open(str(tokenizer or self._folder))
        self._generator = Generator(load(self._folder, device=device), self._tokens)
        self._batch = batch
        self._known: dict[str, list[int]] = {}

    def about(self) -> dict[str, Any]:
        weights = self._generator.model.embedding.weight
        return {
            "kind": "starcoder2",
            "model": fingerprint(digests(self._folder)),
            "tokenizer": self._tokens.fingerprint,
            # What rounding hangs on, and with it now and then a word.
            "type": str(weights.dtype).removeprefix("torch."),
            "device": weights.device.type,
            "batch": self._batch,
        }

    def batches(self, asked: Sequence[Asked], sampling: Sampling) -> list[Batch]:
        room = self._room(sampling)
        return by_length(asked, [self._fitted(room, each) for each in asked], size=self._batch)

    def _room(self, sampling: Sampling) -> Room:
        positions = self._generator.model.config.max_position_embeddings
        return Room(positions=positions, max_tokens=sampling.max_tokens)

    def _fitted(self, room: Room, asked: Asked) -> Fitted:
        return room.fitted(asked, self._encoded)

    def _encoded(self, text: str) -> list[int]:
        # The samples of a problem have the same prompt, and a corpus of prompts is small.
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if key not in self._known:
            self._known[key] = self._tokens.encode(with_sentinels(text))
        return list(self._known[key])

    def completed(self, batches: Iterable[Batch], sampling: Sampling) -> Iterator[list[Made]]:
        room = self._room(sampling)
        for batch in batches:
            fitted = [self._fitted(room, asked) for asked in batch]
            how = Generation(
                max_tokens=fitted[0].budget,
                sampling=Drawing(temperature=sampling.temperature, top_p=sampling.top_p),
                stop=batch[0].stops,
                batch=self._batch,
                draws=tuple(asked.draw for asked in batch),
            )
            found = self._generator.generate([each.ids for each in fitted], how)
            yield [
                Made(
                    asked=asked,
                    text=each.text,
                    finish=each.finish,
                    tokens=len(each.ids),
                    shortened=fit.shortened,
                )
                for asked, each, fit in zip(batch, found, fitted, strict=True)
            ]

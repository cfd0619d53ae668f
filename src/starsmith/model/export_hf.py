"""A folder that `transformers` loads as it is: weights, configuration, tokenizer and a model card.

What this module does not do: it uploads nothing, and knows of a training run only what its record says (`model_card`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from starsmith.errors import StarsmithError
from starsmith.format.tokenizer import Tokenizer
from starsmith.model import checkpoint
from starsmith.model.model_card import model_card
from starsmith.model.training_record import RECORD_FILE
from starsmith.model.transformer import StarCoder2

TYPES: Final[Mapping[str, torch.dtype]] = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
"""How weights may be stored, by the names that `export_gguf` has too."""


def export_hf(
    model: StarCoder2,
    folder: Path,
    *,
    tokenizer: Tokenizer | None = None,
    record: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = checkpoint.SHARD_BYTES,
) -> None:
    """Write the folder, which appears whole or not at all.

    Args:
        model: on any device.
        folder: must not be there yet, or be empty.
        tokenizer: its files go beside the weights.
        record: of the training run, for the model card, kept beside it; what it does not say the card calls unknown.
        dtype: of the weights in the folder; None keeps the model's.
        shard_bytes: the most bytes of weights in one file.

    Raises:
        StarsmithError: the folder is there, the tokenizer does not fit, the disk is full.
    """
    config = model.config
    if tokenizer is not None and tokenizer.vocabulary > config.vocab_size:
        raise StarsmithError(
            f"The tokenizer has {tokenizer.vocabulary:,} ids and the model {config.vocab_size:,}: "
            "they do not belong together."
        )
    generation = {"_from_model_config": True, "bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
    files = {} if tokenizer is None else {**tokenizer.files}
    # A tokenizer's own record would be taken for the model's here.
    files.pop("training.json", None)
    files["generation_config.json"] = (json.dumps(generation, indent=2) + "\n").encode()
    files["README.md"] = model_card(config, record or {}, name=folder.name).encode()
    if record:
        files[RECORD_FILE] = (json.dumps(record, indent=1) + "\n").encode()
    checkpoint.save(model, folder, dtype=dtype, shard_bytes=shard_bytes, files=files)

"""Shape: the model that a recipe means, and whether it fits into the memory there is.

What cannot work is told before the first step: a shape that does not divide, a tokenizer that is not the pack's, too
little memory.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any, Final

import torch

from starsmith.errors import StarsmithError
from starsmith.model.config import PRESETS, ModelConfig
from starsmith.train.recipe import TrainingRecipe
from starsmith.train.settings import ModelSettings

_BYTES_OF_STATE: Final = 16
"""Of a parameter: its value, its gradient and two moments, each in float32."""


def config_of(recipe: TrainingRecipe, *, vocabulary: int, earlier: ModelConfig | None = None) -> ModelConfig:
    """Return the configuration that a recipe means, for a vocabulary of so many entries.

    `earlier` is that of the model to start from, whose sizes stay: only window, θ and dropout may be set anew.
    Raises StarsmithError.
    """
    base = PRESETS[recipe.model.preset] if earlier is None else earlier
    given = _given(recipe.model)
    if earlier is not None:
        sizes = given.keys() - {"sliding_window", "rope_theta"}
        if wrong := sorted(name for name in sizes if given[name] != getattr(earlier, name)):
            raise StarsmithError(
                f"[model] {wrong[0]} is {given[wrong[0]]}, and {recipe.run.start_from} has "
                f"{getattr(earlier, wrong[0])}. Leave it out: weights have the shape they have."
            )
        if vocabulary != earlier.vocab_size:
            raise StarsmithError(
                f"{recipe.run.start_from} has a vocabulary of {earlier.vocab_size:,}, the pack one of {vocabulary:,}. "
                "Pack with that model's tokenizer."
            )
    positions = max(base.max_position_embeddings, recipe.data.sequence_length)
    dropout = recipe.model.dropout
    try:
        return dataclasses.replace(
            base,
            **given,
            vocab_size=vocabulary,
            max_position_embeddings=positions,
            attention_dropout=dropout,
            residual_dropout=dropout,
            embedding_dropout=dropout,
        )
    except StarsmithError as error:
        raise StarsmithError(f"[model] {error}") from error


def _given(settings: ModelSettings) -> dict[str, Any]:
    """Return the fields that a recipe sets, by their names in a configuration."""
    given = {
        key.name: value
        for key in dataclasses.fields(settings)
        if key.name not in ("preset", "dropout", "untied") and (value := getattr(settings, key.name))
    }
    return given | ({"tie_word_embeddings": False} if settings.untied else {})


def needed_bytes(config: ModelConfig, recipe: TrainingRecipe, *, processes: int) -> int:
    """Return an estimate of the memory that a step takes in each process.

    Weights, gradients and moments in float32; what each block keeps for the way back; one chunk of logits. Activations
    are counted as 34 bytes a token and component in bfloat16 and twice that in float32, the figure of V. Korthikanti
    and others (2022, equation 2) without attention scores, which the fused kernels do not keep.
    """
    state = config.parameters * _BYTES_OF_STATE // processes
    tokens = recipe.training.micro_batch * recipe.data.sequence_length
    each = 34 if recipe.training.precision == "bfloat16" else 68
    of_block = tokens * config.hidden_size * each
    if recipe.training.checkpoint_activations:
        return state + of_block + config.num_hidden_layers * tokens * config.hidden_size * 4
    return state + of_block * config.num_hidden_layers


def available_bytes(device: torch.device, *, on_this_machine: int) -> int:
    """Return the memory that one of several processes on this machine may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 // on_this_machine
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // on_this_machine


def check_memory(config: ModelConfig, recipe: TrainingRecipe, device: torch.device, *, processes: int) -> int:
    """Return the estimate of `needed_bytes`; raise StarsmithError if there is less memory than that."""
    needed = needed_bytes(config, recipe, processes=processes)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    there = available_bytes(device, on_this_machine=here)
    if needed > there:
        raise StarsmithError(
            f"A step needs about {needed / 1e9:.1f} GB in each process and {there / 1e9:.1f} GB are free. "
            "Set [training] micro_batch lower or checkpoint_activations, or use more processes."
        )
    return needed

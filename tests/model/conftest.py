"""Tiny models, ours and those of transformers with the same weights."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from starsmith.format.sentinels import SENTINELS, Piece, Segment
from starsmith.format.tokenizer import Tokenizer
from starsmith.format.tokenizer_training import trained_on
from starsmith.model.config import PRESETS, ModelConfig
from starsmith.model.transformer import StarCoder2

CONFIG = replace(
    PRESETS["micro"],
    vocab_size=320,
    hidden_size=48,
    intermediate_size=80,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=128,
    sliding_window=16,
    initializer_range=0.2,
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads cost tiny models more than they give, and tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    """Six query heads on two key heads, a window of 16."""
    return CONFIG


@pytest.fixture
def model(config: ModelConfig) -> StarCoder2:
    return new_model(config)


def new_model(config: ModelConfig, *, seed: int = 1) -> StarCoder2:
    """A model in whose every number, biases and norms too, there is some chance."""
    model = StarCoder2(config).initialise(seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="session")
def make_model() -> Callable[..., StarCoder2]:
    return new_model


@pytest.fixture(scope="session")
def make_public() -> Callable[..., Any]:
    """What makes transformers' own model of a configuration, with random weights."""
    from transformers import Starcoder2Config, Starcoder2ForCausalLM

    def make(config: ModelConfig, *, seed: int = 1) -> Any:
        plain = {key: value for key, value in config.to_hf().items() if key not in ("architectures", "model_type")}
        torch.manual_seed(seed)
        model = Starcoder2ForCausalLM(Starcoder2Config(**plain)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter += 0.2 * torch.randn(parameter.shape)
        return model

    return make


@pytest.fixture(scope="session")
def open_public() -> Callable[[Path], Any]:
    """What loads a folder with transformers, from the disk alone."""
    from transformers import AutoModelForCausalLM

    def load(folder: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()

    return load


class ByteTokens:
    """A tokenizer of single bytes after the sentinels."""

    vocabulary = len(SENTINELS) + 256

    def encode(self, segments: Sequence[Segment]) -> list[int]:
        ids: list[int] = []
        for each in segments:
            text = each.text if isinstance(each, Piece) else each
            ids += [text] if isinstance(text, int) else [len(SENTINELS) + byte for byte in text.encode()]
        return ids

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        return bytes(number - len(SENTINELS) for number in ids if len(SENTINELS) <= number < self.vocabulary)


@pytest.fixture
def tokens() -> ByteTokens:
    return ByteTokens()


SOURCE = Path(__file__).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    """A real tokenizer, trained on this file."""
    return trained_on([[SOURCE]], vocabulary=400)


@pytest.fixture(scope="session")
def trained(bpe: Tokenizer) -> StarCoder2:
    """A model that has learned this file by heart, nearly: what it writes hangs on no rounding."""
    config = replace(CONFIG, vocab_size=bpe.vocabulary, initializer_range=0.1, sliding_window=32)
    model = StarCoder2(config).initialise(3).train()
    ids = torch.tensor(bpe.encode(SOURCE))[: 16 * 65].view(16, 65)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95))
    for _ in range(35):
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()

"""A tiny model with a real tokenizer in a folder, and a benchmark of a few problems."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from starsmith.evaluate.benchmarks.humaneval import STOPS
from starsmith.evaluate.benchmarks.humaneval_plus import HumanEvalPlus
from starsmith.evaluate.dataset import Data, File
from starsmith.evaluate.problem import Problem
from starsmith.format.tokenizer_training import trained_on
from starsmith.model.checkpoint import save
from starsmith.model.config import PRESETS
from starsmith.model.transformer import StarCoder2

SOURCE = Path(__file__).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """Random weights; what it writes is no language, but always the same."""
    torch.set_num_threads(1)
    bpe = trained_on([[SOURCE]], vocabulary=400)
    config = replace(
        PRESETS["micro"],
        vocab_size=bpe.vocabulary,
        hidden_size=48,
        intermediate_size=80,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=128,
        sliding_window=16,
        initializer_range=0.2,
    )
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save(StarCoder2(config).initialise(1).eval(), folder, files=bpe.files)
    return folder


@pytest.fixture(scope="session")
def problems():
    """Prompts of many lengths, one of them too long for the model, and a gap."""
    texts = [f"def f{number}(a):\n" + "    a += 1\n" * number for number in range(9)]
    made = [Problem(id=f"T/{number}", prompt=text, stops=STOPS) for number, text in enumerate(texts)]
    return [
        *made,
        Problem(id="T/long", prompt="x = 1\n" * 200, stops=STOPS),
        Problem(id="T/gap", prompt="a = ", suffix="\nb = 2"),
    ]


@pytest.fixture(scope="session")
def data():
    return Data(
        rows={},
        files=(File(key="", path="/x/T.jsonl", digest="0" * 64, version="1", rows=11),),
        missing=(),
        warnings=(),
    )


@pytest.fixture(scope="session")
def bench():
    return HumanEvalPlus()

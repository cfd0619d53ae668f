"""Shapes: the published ones, and what is refused."""

from dataclasses import replace

import pytest
import torch

from starsmith.errors import StarsmithError
from starsmith.model.config import PRESETS, ModelConfig
from starsmith.model.transformer import StarCoder2


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("3b", 3_030_371_328), ("7b", 7_173_923_840), ("15b", 15_957_889_024)],
)
def test_published_models_have_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        model = StarCoder2(PRESETS[name])
    assert sum(item.numel() for item in model.parameters()) == PRESETS[name].parameters == parameters


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_survives_its_file(name):
    assert ModelConfig.from_hf(PRESETS[name].to_hf()) == PRESETS[name]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_for_every_kind(config, bias, tied):
    kind = replace(config, use_bias=bias, tie_word_embeddings=tied)
    model = StarCoder2(kind)
    # Norms have biases whatever the linear layers have.
    assert sum(item.numel() for item in model.parameters()) == kind.parameters


def test_public_configurations_are_read_as_transformers_reads_them():
    transformers = pytest.importorskip("transformers")
    sparse = {
        "model_type": "starcoder2",
        "vocab_size": 100,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_theta": 12345.0,
    }
    theirs = transformers.Starcoder2Config(**{key: value for key, value in sparse.items() if key != "model_type"})
    ours = ModelConfig.from_hf(sparse)
    for name in ("max_position_embeddings", "sliding_window", "norm_epsilon", "use_bias", "tie_word_embeddings"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"] == 12345.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"hidden_size": 50}, "hidden_size"),
        ({"hidden_size": 48.0}, "hidden_size"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_key_value_heads": 4}, "num_key_value_heads"),
        ({"num_attention_heads": 16}, "num_attention_heads"),
        ({"sliding_window": -1}, "sliding_window"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"norm_epsilon": float("nan")}, "norm_epsilon"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
        ({"use_bias": "yes"}, "use_bias"),
        ({"eos_token_id": -1}, "eos_token_id"),
        ({"model_type": "llama"}, "model_type"),
        ({"hidden_act": "silu"}, "hidden_act"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type"),
        ({"rope_scaling": {"factor": 2}}, "rope_scaling"),
    ],
)
def test_what_cannot_be_is_refused_by_name(config, change, named):
    with pytest.raises(StarsmithError, match=named):
        ModelConfig.from_hf(config.to_hf() | change)


def test_a_missing_size_is_named(config):
    content = config.to_hf()
    del content["intermediate_size"]
    with pytest.raises(StarsmithError, match="intermediate_size is missing"):
        ModelConfig.from_hf(content)


def test_the_work_of_attention_stops_growing_at_the_window(config):
    def attention(length: int) -> float:
        return config.flops_per_token(length) - 6 * config.parameters

    per_seen = 12 * config.num_hidden_layers * config.hidden_size
    assert attention(1) == per_seen
    assert attention(16) == pytest.approx(per_seen * 8.5)
    assert attention(1_000_000) == pytest.approx(per_seen * 16, rel=1e-4)

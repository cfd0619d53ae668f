"""What leaves: folders for transformers with their card, and GGUF files read back and run by llama.cpp."""

from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch

from starsmith.errors import StarsmithError
from starsmith.model.checkpoint import load, public_tensors
from starsmith.model.export_gguf import TYPES, export_gguf
from starsmith.model.export_hf import export_hf
from starsmith.model.generate import Generation, Generator
from starsmith.model.model_card import model_card

PROMPT = '"""Tiny models, ours and'
RECORD = {
    "name": "tiny",
    "license": "apache-2.0",
    "data": {"release": "r1", "manifest_sha256": "ab" * 32, "tokens": 1_234_567},
    "filters": {"lines.too_long": 12},
    "licences": {"MIT": 300, "Evil|<b>\n# x": 100},
    "training": {"steps": 10},
    "evaluation": [{"benchmark": "HumanEval", "metric": "pass@1", "value": 0.5}],
}


@pytest.fixture(scope="module")
def greedy(trained, bpe):
    (found,) = Generator(trained, bpe).generate([[PROMPT]], Generation(max_tokens=16, stop_ids=(), top_logprobs=0))
    return found


@pytest.mark.filterwarnings("ignore")
def test_transformers_writes_the_same_tokens(trained, bpe, greedy, tmp_path, open_public):
    from transformers import AutoTokenizer

    folder = tmp_path / "exported"
    export_hf(trained, folder, tokenizer=bpe, record=RECORD)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids_bl = tokenizer(PROMPT, return_tensors="pt").input_ids
    assert ids_bl[0].tolist() == bpe.encode(PROMPT)
    found = open_public(folder).generate(ids_bl, max_new_tokens=16, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert tuple(found[0, ids_bl.shape[1] :].tolist()) == greedy.ids
    assert tokenizer.decode(greedy.ids) == greedy.text
    assert torch.equal(load(folder).embedding.weight, trained.embedding.weight)
    assert "# tiny" in (folder / "README.md").read_text()


def test_a_tokenizer_that_does_not_fit_is_refused(make_model, config, bpe, tmp_path):
    small = make_model(replace(config, vocab_size=300))
    with pytest.raises(StarsmithError, match="do not belong together"):
        export_hf(small, tmp_path / "a", tokenizer=bpe)
    with pytest.raises(StarsmithError, match="do not belong together"):
        export_gguf(small, bpe, tmp_path / "a.gguf")
    assert list(tmp_path.iterdir()) == []


def test_the_card_tells_what_is_known_and_no_more(config):
    card = model_card(config, RECORD, name="x")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert 'license: "apache-2.0"' in card
    assert "| tokens | 1,234,567 |" in card
    assert "| MIT | 300 | 75.00 % |" in card
    assert "| HumanEval | pass@1 | 0.5 |  |" in card
    assert "| Evil\\|&lt;b> # x | 100 | 25.00 % |" in card
    empty = model_card(config, {"licences": "none", "evaluation": []}, name="x")
    assert empty.count("Not recorded.") == 4
    assert "None has been run." in empty
    assert "license:" not in empty


@pytest.fixture(scope="module")
def gguf_file(trained, bpe, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    export_gguf(trained, bpe, path, type_name="f32", name="tiny")
    return path


def test_a_gguf_file_says_what_the_model_is(gguf_file, trained, bpe):
    reader = gguf.GGUFReader(gguf_file)
    told = {name: field.contents() for name, field in reader.fields.items()}
    config = trained.config
    assert told["general.architecture"] == "starcoder2"
    assert told["starcoder2.block_count"] == config.num_hidden_layers
    assert told["starcoder2.attention.head_count_kv"] == config.num_key_value_heads
    assert told["starcoder2.rope.freq_base"] == pytest.approx(config.rope_theta)
    # llama.cpp has no window here, so texts end where the two would part.
    assert told["starcoder2.context_length"] == config.sliding_window < config.max_position_embeddings
    assert (told["tokenizer.ggml.model"], told["tokenizer.ggml.pre"]) == ("gpt2", "starcoder")
    assert told["tokenizer.ggml.tokens"][0] == "<|endoftext|>"
    assert len(told["tokenizer.ggml.tokens"]) == config.vocab_size
    assert len(told["tokenizer.ggml.merges"]) == len(bpe.merges)
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(found) == len(public_tensors(trained))
    public = public_tensors(trained)
    assert np.array_equal(found["blk.1.attn_k.weight"], public["model.layers.1.self_attn.k_proj.weight"].numpy())
    assert np.array_equal(found["token_embd.weight"], public["model.embed_tokens.weight"].numpy())


@pytest.mark.parametrize(("type_name", "error"), [("f16", 1e-3), ("bf16", 8e-3), ("q8_0", 1e-2)])
def test_smaller_types_are_near(make_model, config, bpe, tmp_path, type_name, error):
    # Rows of 80 are no whole blocks of 32: those of the MLP's second matrix stay at 16 bits.
    model = make_model(replace(config, vocab_size=420, hidden_size=96, tie_word_embeddings=False))
    export_gguf(model, bpe, tmp_path / "small.gguf", type_name=type_name)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "small.gguf").tensors}
    exact = {"output.weight": model.head.weight, "blk.0.ffn_down.weight": model.layers[0].mlp.down.weight}
    for name, weight in exact.items():
        found = gguf.dequantize(tensors[name].data, tensors[name].tensor_type)
        assert np.abs(found - weight.detach().numpy()).max() <= error * weight.abs().max().item()
    assert tensors["output.weight"].tensor_type == TYPES[type_name]
    assert tensors["blk.0.attn_norm.bias"].tensor_type == TYPES["f32"]


def test_a_gguf_file_is_written_whole_or_not_at_all(trained, bpe, gguf_file, tmp_path, monkeypatch):
    with pytest.raises(StarsmithError, match="is there already"):
        export_gguf(trained, bpe, gguf_file)
    with pytest.raises(StarsmithError, match="'q2' is unknown"):
        export_gguf(trained, bpe, tmp_path / "a.gguf", type_name="q2")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", full)
    with pytest.raises(StarsmithError, match="No space left"):
        export_gguf(trained, bpe, tmp_path / "a.gguf")
    assert list(tmp_path.iterdir()) == []


def test_llama_cpp_writes_the_same_text(gguf_file, bpe, greedy):
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf_file)
    parameters.n_ctx, parameters.n_gpu_layers, parameters.n_parallel = 32, 0, 1
    parameters.cpuparams.n_threads = 1
    parameters.warmup = parameters.fit_params = False
    parameters.verbosity = -1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(parameters)
    asked = {"prompt": PROMPT, "n_predict": 16, "temperature": 0, "ignore_eos": True, "n_probs": 1}
    answer = server.handle_completions(asked)
    assert answer["usage"]["prompt_tokens"] == len(bpe.encode(PROMPT))
    assert answer["choices"][0]["text"] == greedy.text
    found = [each["logprob"] for each in answer["choices"][0]["logprobs"]["content"]]
    assert found == pytest.approx([score.logprob for score in greedy.scores], abs=5e-3)

"""Model folders: ours read by transformers, theirs read by us, and damaged ones."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from starsmith.errors import StarsmithError
from starsmith.model import checkpoint
from starsmith.model.checkpoint import load, public_tensors, read_config, save


@pytest.fixture(scope="module")
def model(config, make_model):
    return make_model(config)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "single"
    save(model, folder)
    return folder


@pytest.fixture(scope="module")
def sharded(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "sharded"
    save(model, folder, shard_bytes=40_000)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def equal(one, two):
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_folder_holds_the_model(model, folder, sharded):
    assert equal(load(folder), model)
    assert equal(load(sharded), model)
    assert len(list(sharded.glob("model-*-of-*.safetensors"))) > 2
    assert read_config(folder) == model.config


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard", ["5GB", "30KB"])
def test_a_public_folder_is_read_as_it_is(config, make_public, tmp_path, tied, shard):
    public = make_public(replace(config, tie_word_embeddings=tied))
    public.save_pretrained(tmp_path / "public", max_shard_size=shard)
    ours = load(tmp_path / "public")
    ids_bl = torch.randint(0, config.vocab_size, (2, 50))
    with torch.no_grad():
        assert (ours(ids_bl) - public(ids_bl).logits).abs().max() < 1e-4


@pytest.mark.parametrize("which", ["folder", "sharded"])
def test_transformers_reads_ours(model, which, open_public, request):
    public = open_public(request.getfixturevalue(which))
    ids_bl = torch.randint(0, model.config.vocab_size, (2, 50))
    with torch.no_grad():
        assert (model(ids_bl) - public(ids_bl).logits).abs().max() < 1e-4


def test_weights_are_stored_in_the_type_asked_for(model, tmp_path):
    save(model, tmp_path / "half", dtype=torch.bfloat16)
    assert load(tmp_path / "half").norm.weight.dtype == torch.bfloat16
    whole = load(tmp_path / "half", dtype=torch.float32)
    torch.testing.assert_close(whole.embedding.weight, model.embedding.weight, rtol=0.01, atol=0.01)


def test_a_tied_folder_may_repeat_the_embedding(copy, model):
    from safetensors.torch import save_file

    rows = {name: tensor.detach().clone() for name, tensor in public_tensors(model).items()}
    rows["lm_head.weight"] = rows["model.embed_tokens.weight"].clone()
    (copy / checkpoint.CHECKSUMS).unlink()
    save_file(rows, copy / checkpoint.SINGLE)
    assert equal(load(copy), model)


def test_what_is_there_is_not_written_over(model, folder):
    before = (folder / checkpoint.SINGLE).read_bytes()
    with pytest.raises(StarsmithError, match="is there already"):
        save(model, folder)
    assert (folder / checkpoint.SINGLE).read_bytes() == before


def test_a_folder_that_cannot_be_written_leaves_nothing(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StarsmithError, match="cannot be written"):
        save(model, tmp_path / "file" / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("with_sums", [True, False])
@pytest.mark.parametrize("keep", [0, 4, 300, 0.5, 0.999])
def test_a_truncated_file_is_named(copy, keep, with_sums):
    path = copy / checkpoint.SINGLE
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    if not with_sums:
        (copy / checkpoint.CHECKSUMS).unlink()
    with pytest.raises(StarsmithError, match=r"model\.safetensors"):
        load(copy)


@pytest.mark.parametrize("place", [3, 20, 500, -1])
def test_a_flipped_bit_is_found(copy, place):
    path = copy / checkpoint.SINGLE
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(StarsmithError, match=r"model\.safetensors"):
        load(copy)


@pytest.mark.parametrize("place", [1, 6, 200])
def test_a_flipped_bit_of_a_header_is_found_without_checksums(copy, place):
    path = copy / checkpoint.SINGLE
    data = bytearray(path.read_bytes())
    data[place] ^= 64
    path.write_bytes(data)
    (copy / checkpoint.CHECKSUMS).unlink()
    with pytest.raises(StarsmithError, match=r"model\.safetensors|has no tensor"):
        load(copy)


def test_weights_that_are_no_numbers_are_found_without_checksums(copy):
    path = copy / checkpoint.SINGLE
    data = bytearray(path.read_bytes())
    data[-4:] = b"\0\0\xc0\x7f"
    path.write_bytes(data)
    (copy / checkpoint.CHECKSUMS).unlink()
    with pytest.raises(StarsmithError, match=r"model\.safetensors: the tensor .* no numbers"):
        load(copy)


@pytest.mark.parametrize("name", [checkpoint.CONFIG, checkpoint.SINGLE])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(StarsmithError, match=name.replace(".", r"\.")):
        load(copy)


def test_a_missing_shard_is_named(sharded, tmp_path):
    copy = shutil.copytree(sharded, tmp_path / "copy")
    name = next(copy.glob("model-00002-*")).name
    (copy / name).unlink()
    with pytest.raises(StarsmithError, match=name):
        load(copy)


def test_an_index_names_files_of_its_folder_alone(sharded, tmp_path):
    copy = shutil.copytree(sharded, tmp_path / "copy")
    index = json.loads((copy / checkpoint.INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = "../single/model.safetensors"
    (copy / checkpoint.INDEX).write_text(json.dumps(index))
    with pytest.raises(StarsmithError, match=r"\.\./single"):
        load(copy)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "llama"}, r"config\.json: model_type is 'llama'"),
        ({"hidden_size": 50}, r"config\.json: hidden_size is 50"),
        ({"intermediate_size": 81}, r"mlp\.c_fc"),
        ({"num_hidden_layers": 3}, "has no tensor"),
        ({"num_hidden_layers": 1}, "unknown to StarCoder2"),
        ({"tie_word_embeddings": False}, r"lm_head\.weight"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(copy, change, told):
    path = copy / checkpoint.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (copy / checkpoint.CHECKSUMS).unlink()
    with pytest.raises(StarsmithError, match=told):
        load(copy)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_configuration_is_named(copy, data):
    (copy / checkpoint.CONFIG).write_bytes(data)
    with pytest.raises(StarsmithError, match=r"config\.json"):
        read_config(copy)


def test_pickled_weights_are_never_opened(copy):
    (copy / checkpoint.SINGLE).rename(copy / "pytorch_model.bin")
    with pytest.raises(StarsmithError, match="never opened"):
        load(copy)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StarsmithError, match="absent"):
        load(tmp_path / "absent")

"""The network against transformers' own, and its own laws."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from starsmith.model import transformer
from starsmith.model.checkpoint import public_tensors
from starsmith.model.loss import IGNORED
from starsmith.model.transformer import StarCoder2, _block_mask, _blocks, all_before, attend, within_window


def ids_of(config, rows: int = 2, length: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"tie_word_embeddings": False, "use_bias": False},
        {"sliding_window": None, "num_key_value_heads": 6},
        {"num_key_value_heads": 1, "sliding_window": 1},
    ],
    ids=["window", "untied without bias", "all before", "one key head, window of one"],
)
def pair(request, config, make_model, make_public):
    """A model of ours and transformers' own with the same weights."""
    kind = replace(config, **request.param)
    ours, public = make_model(kind), make_public(kind)
    missing, unknown = public.load_state_dict(public_tensors(ours), strict=False)
    assert unknown == []
    assert set(missing) <= {"lm_head.weight"}
    return ours, public


@torch.no_grad()
def test_logits_are_those_of_transformers(pair):
    ours, public = pair
    ids_bl = ids_of(ours.config)
    assert (ours(ids_bl) - public(ids_bl).logits).abs().max() < 1e-4


def test_logits_are_equal_after_training(trained, make_public):
    public = make_public(trained.config)
    public.load_state_dict(public_tensors(trained), strict=False)
    ids_bl = ids_of(trained.config, length=100)
    with torch.no_grad():
        assert (trained(ids_bl) - public(ids_bl).logits).abs().max() < 1e-4


def test_loss_and_gradients_are_those_of_transformers(pair):
    ours, public = pair
    ids_bl, targets_bl = ids_of(ours.config), ids_of(ours.config, seed=1)
    targets_bl[0, :5] = IGNORED
    loss = ours.loss(ids_bl, targets_bl)
    loss.backward()
    logits_blv = public(ids_bl).logits
    plain = F.cross_entropy(logits_blv.flatten(0, 1), targets_bl.flatten())
    plain.backward()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    torch.testing.assert_close(ours.embedding.weight.grad, public.model.embed_tokens.weight.grad, rtol=1e-3, atol=1e-5)
    mlp = ours.layers[0].mlp.up.weight.grad
    torch.testing.assert_close(mlp, public.model.layers[0].mlp.c_fc.weight.grad, rtol=1e-3, atol=1e-5)
    ours.zero_grad(set_to_none=True)


@torch.no_grad()
def test_a_token_sees_its_window_and_no_more(config, make_model):
    model = make_model(replace(config, num_hidden_layers=1))
    ids_bl = ids_of(config, rows=1)
    other_bl = ids_bl.clone()
    other_bl[0, 10] = (ids_bl[0, 10] + 1) % config.vocab_size
    changed = (model(ids_bl) - model(other_bl)).abs().amax(-1)[0] > 1e-6
    # The window of 16 includes the token itself.
    assert changed.nonzero()[:, 0].tolist() == list(range(10, 26))


@torch.no_grad()
def test_long_samples_are_computed_in_blocks(config, model, monkeypatch):
    ids_bl = ids_of(config, length=60)
    whole = model(ids_bl)
    monkeypatch.setattr(transformer, "BLOCK_QUERIES", 7)
    torch.testing.assert_close(model(ids_bl), whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("window", [16, None])
def test_documents_of_a_packed_sample_do_not_see_each_other(config, make_model, window):
    model = make_model(replace(config, sliding_window=window))
    ids_bl = ids_of(config, rows=2, length=45)
    document_bl = torch.tensor([[0] * 20 + [1] * 25, [5] * 44 + [6]])
    packed = model(ids_bl, document_bl=document_bl)
    # Rotary positions are relative, so a document may begin anywhere.
    torch.testing.assert_close(packed[0, 20:], model(ids_bl[:1, 20:])[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(packed[0, :20], model(ids_bl[:1, :20])[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(packed[1, 44:], model(ids_bl[1:, 44:])[0], rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("documents", [True, False])
def test_flex_attention_sees_the_same(documents):
    torch.manual_seed(0)
    q_blhq, k_bskq, v_bskq = (torch.randn(2, 40, heads, 8) for heads in (4, 2, 2))
    document_bl = torch.randint(0, 3, (2, 40)).sort(-1).values if documents else None
    device = torch.device("cpu")
    blocks = tuple(_blocks(40, 16, document_bl, device))
    plain = attend(q_blhq, k_bskq, v_bskq, blocks, dropout=0.0)
    flex = attend(q_blhq, k_bskq, v_bskq, _block_mask(40, 16, document_bl, device), dropout=0.0)
    torch.testing.assert_close(flex, plain, rtol=1e-4, atol=1e-5)


def test_no_mask_is_made_where_none_is_needed(config):
    device = torch.device("cpu")
    (block,) = all_before(16, config, None, device)
    assert block.mask is None
    assert all_before(17, config, None, device)[0].mask is not None


def test_within_window():
    seen = within_window(torch.tensor([3, 4]), torch.arange(6), 2)
    assert seen.int().tolist() == [[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0]]


def test_activations_made_anew_give_the_same_gradients(config, model):
    ids_bl = ids_of(config)
    model.train()
    model.loss(ids_bl, ids_bl).backward()
    kept = {name: item.grad.clone() for name, item in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    model.recompute = True
    model.loss(ids_bl, ids_bl).backward()
    assert all(torch.equal(item.grad, kept[name]) for name, item in model.named_parameters())


def test_dropout_acts_in_training_alone(config, make_model):
    model = make_model(replace(config, attention_dropout=0.2, residual_dropout=0.2, embedding_dropout=0.2))
    ids_bl = ids_of(config)
    assert torch.equal(model(ids_bl), model(ids_bl))
    model.train()
    assert not torch.equal(model(ids_bl), model(ids_bl))


def test_a_seed_gives_the_same_weights_and_the_configured_spread(config):
    one, two = StarCoder2(config).initialise(7), StarCoder2(config).initialise(7)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    other = StarCoder2(config).initialise(8)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)
    assert one.embedding.weight.std().item() == pytest.approx(config.initializer_range, rel=0.05)
    assert torch.equal(one.norm.weight, torch.ones(config.hidden_size))
    assert not one.layers[0].mlp.up.bias.any()

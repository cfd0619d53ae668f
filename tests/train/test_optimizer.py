"""Muon: what it makes of a matrix, which matrices it moves, and that it goes on where it stopped."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith.model.config import PRESETS
from starsmith.model.transformer import StarCoder2
from starsmith.train.checkpoint import Position, load, save
from starsmith.train.optimizer import Muon, build_optimizer, orthogonal, set_rate
from starsmith.train.processes import Processes
from starsmith.train.settings import OptimizerSettings

ALONE = Processes(device=torch.device("cpu"))
SHAPE = replace(PRESETS["micro"], vocab_size=64, hidden_size=32, intermediate_size=64)
IDS_BL = torch.randint(0, 64, (2, 33), generator=torch.Generator().manual_seed(3))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 24), columns=st.integers(1, 24), seed=st.integers(0, 999), scale=st.floats(1e-4, 1e4))
def test_singular_vectors_stay_and_values_come_near_one(rows, columns, seed, scale):
    # A matrix of which no singular value is hundreds of times another: five rounds reach those.
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=torch.Generator().manual_seed(seed)))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=torch.Generator().manual_seed(seed + 1)))
    least = min(rows, columns)
    values = torch.linspace(1.0, 0.1, least)
    found = orthogonal((scale * left[:, :least] * values @ right[:least])[None])[0]
    turned = left[:, :least].mT @ found @ right[:least].mT
    assert torch.allclose(turned, torch.diag(turned.diag()), atol=2e-3)
    assert turned.diag().min() > 0.6
    assert turned.diag().max() < 1.3


def trained(*, steps, seed=0, matrix_rate=0.02):
    model = StarCoder2(SHAPE).initialise(seed)
    optimizer = build_optimizer(model.named_parameters(), OptimizerSettings(matrix_rate=matrix_rate, peak_rate=0.01))
    return model, optimizer, advance(model, optimizer, steps)


def advance(model, optimizer, steps):
    losses = []
    for _ in range(steps):
        loss = model.loss(IDS_BL[:, :-1], IDS_BL[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_it_moves_the_matrices_of_layers_and_adam_the_rest():
    model, optimizer, losses = trained(steps=12)
    assert losses[-1] < 0.7 * losses[0]
    moved = {id(each) for each in optimizer.param_groups[0]["params"]}
    names = {name for name, each in model.named_parameters() if id(each) in moved}
    assert names == {
        f"layers.{number}.{part}.weight"
        for number in range(SHAPE.num_hidden_layers)
        for part in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    assert all("exp_avg_sq" in optimizer.state[each] for each in model.parameters() if id(each) not in moved)


def test_its_rate_follows_the_other():
    _, optimizer, _ = trained(steps=0)
    set_rate(optimizer, 0.005)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.005, 0.005])


def test_without_a_rate_it_is_adam():
    _, optimizer, _ = trained(steps=0, matrix_rate=0.0)
    assert not isinstance(optimizer, Muon)


def test_what_is_loaded_goes_on_bit_for_bit(tmp_path):
    model, optimizer, _ = trained(steps=3)
    path = save(tmp_path, model, optimizer, Position(step=3, samples=6), ALONE, keep=1)
    other, its_optimizer, _ = trained(steps=1, seed=9)
    load(path, other, its_optimizer, ALONE)
    assert advance(other, its_optimizer, 4) == advance(model, optimizer, 4)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True))

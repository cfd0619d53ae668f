import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from starsmith.errors import StarsmithError
from starsmith.train import checkpoint
from starsmith.train.checkpoint import Position, load, names, read_position, save
from starsmith.train.optimizer import build_optimizer
from starsmith.train.processes import Processes
from starsmith.train.settings import OptimizerSettings

ALONE = Processes(device=torch.device("cpu"))


def trained(seed=0, width=8, steps=3):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width), nn.Dropout(0.5), nn.Linear(width, 2))
    optimizer = build_optimizer(model.named_parameters(), OptimizerSettings(peak_rate=0.1))
    advance(model, optimizer, steps)
    return model, optimizer


def advance(model, optimizer, steps):
    for _ in range(steps):
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_loaded_goes_on_bit_for_bit(tmp_path):
    model, optimizer = trained()
    position = Position(step=3, samples=15, losses=[1.0, 0.5], seconds=2.5, recipe="r", pack="p")
    path = save(tmp_path, model, optimizer, position, ALONE, keep=2)
    advance(model, optimizer, 4)
    other, its_optimizer = trained(seed=9)
    assert load(path, other, its_optimizer, ALONE) == position == read_position(path)
    assert not equal(weights(other), weights(model))
    advance(other, its_optimizer, 4)
    assert equal(weights(other), weights(model))


def test_the_newest_stay(tmp_path):
    model, optimizer = trained()
    for step in (1, 20, 300):
        save(tmp_path, model, optimizer, Position(step=step, samples=step), ALONE, keep=2)
    assert names(tmp_path) == ["step-000000020", "step-000000300"]
    assert names(tmp_path / "nowhere") == []


def test_large_models_lie_in_several_files(tmp_path, monkeypatch):
    model, optimizer = trained()
    monkeypatch.setattr(checkpoint, "_FILE_BYTES", 100)
    path = save(tmp_path, model, optimizer, Position(step=3, samples=3), ALONE, keep=1)
    assert len(list(path.glob("model-*.safetensors"))) > 1
    other, its_optimizer = trained(seed=1)
    load(path, other, its_optimizer, ALONE)
    assert equal(weights(other), weights(model))


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / "tmp-step-000000001").mkdir()
    save(tmp_path, *trained(), Position(step=2, samples=2), ALONE, keep=1)
    assert [each.name for each in tmp_path.iterdir()] == ["step-000000002"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed"])
def test_a_damaged_file_is_named(tmp_path, damage):
    model, optimizer = trained()
    path = save(tmp_path, model, optimizer, Position(step=3, samples=3), ALONE, keep=1)
    file = path / "optimizer-00001.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flipped" else content[:-5])
    with pytest.raises(StarsmithError, match=r"optimizer-00001\.safetensors is missing or not as it was written"):
        load(path, model, optimizer, ALONE)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 9}', '{"format": 1, "files": {}, "step": 1}'])
def test_a_damaged_state_is_told(tmp_path, text):
    path = save(tmp_path, *trained(), Position(step=3, samples=3), ALONE, keep=1)
    (path / "state.json").write_text(text)
    with pytest.raises(StarsmithError, match="step-000000003"):
        read_position(path)


def test_another_shape_is_told(tmp_path):
    path = save(tmp_path, *trained(), Position(step=3, samples=3), ALONE, keep=1)
    with pytest.raises(StarsmithError, match=r"of another model .* is \(8,.* there and \(6,.* here"):
        load(path, *trained(width=6), ALONE)


def test_nothing_is_pickled(tmp_path):
    path = save(tmp_path, *trained(), Position(step=3, samples=3), ALONE, keep=1)
    assert {each.suffix for each in path.iterdir()} == {".safetensors", ".json"}
    assert json.loads((path / "state.json").read_text())["step"] == 3


FULL = """
import resource, signal, sys, torch
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path.insert(0, sys.argv[2])
from test_checkpoint import ALONE, Position, StarsmithError, names, save, trained
folder = Path(sys.argv[1])
model, optimizer = trained(width=500)
save(folder, model, optimizer, Position(step=1, samples=1), ALONE, keep=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    save(folder, model, optimizer, Position(step=2, samples=2), ALONE, keep=1)
except StarsmithError as error:
    print(error)
"""


def test_a_full_disk_leaves_what_there_was(tmp_path):
    """A limit on the size of files stands in for the disk's: the same call fails in the same place."""
    here = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path, here], capture_output=True, text=True, check=True)
    assert "checkpoint step-000000002 could not be written" in done.stdout
    assert [each.name for each in tmp_path.iterdir()] == ["step-000000001"]
    assert read_position(tmp_path / "step-000000001").step == 1

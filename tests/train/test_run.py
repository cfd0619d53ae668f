"""Runs as users have them: started, killed, resumed, shared among processes, stopped by what is wrong with a batch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from starsmith.errors import StarsmithError
from starsmith.model import checkpoint as folders
from starsmith.progress import Quiet
from starsmith.train import checkpoint, shape
from starsmith.train.recipe import load
from starsmith.train.run import train

SHAPE = """
[model]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
sliding_window = 24
"""
SECONDS = 300


@pytest.fixture
def recipe(pack, tmp_path):
    """Write a recipe and return its path; `more` are TOML tables, `training` lines of that table."""

    def write(name="run", *, training="", top="", data="", more="", steps=30):
        path = tmp_path / f"{name}.toml"
        path.write_text(
            f'{top}\n[data]\npack = "{pack.store.root}"\nsequence_length = 32\nheld_out_batches = 4\n{data}\n{SHAPE}\n'
            f"{more}\n[optimizer]\npeak_rate = 0.01\nfinal_rate = 0.001\nwarm_up = 5\n"
            f"[training]\nsteps = {steps}\nbatch = 8\nmicro_batch = 4\nthreads = 1\n{training}\n"
            "[checkpoints]\nevery = 10\nlog_every = 1\n"
        )
        return path

    return write


def run(path, *, resume=False):
    return train(load(path), resume=resume, reporter=Quiet())


def lines(result):
    return [json.loads(line) for line in (result.out / "metrics.jsonl").read_text().splitlines()]


def losses(result):
    return [line["loss"] for line in lines(result) if "loss" in line]


def weights(result):
    return dict(folders.load(result.model).named_parameters())


def test_a_run_learns_and_says_so(recipe):
    result = run(recipe())
    found = losses(result)
    assert len(found) == 30
    assert sum(found[-5:]) < 0.5 * sum(found[:5])
    assert result.bits_per_byte is not None
    assert 0 < result.bits_per_byte < 8
    told = [line for line in lines(result) if "bits_per_byte" in line]
    assert [line["step"] for line in told] == [30]
    assert lines(result)[0]["utilisation"] is None, "the peak of a CPU is not known"
    assert result.tokens == 30 * 8 * 32
    assert (result.out / "loss.svg").read_text().startswith("<svg")
    assert checkpoint.names(result.out / "checkpoints") == ["step-000000020", "step-000000030"]


def test_the_model_is_the_last_checkpoints(recipe):
    result = run(recipe(steps=6))
    model = folders.load(result.model)
    assert model.config.sliding_window == 24
    assert model.config.vocab_size == 320
    found = checkpoint.read_position(result.out / "checkpoints" / "step-000000006")
    assert (found.step, found.samples) == (6, 48)


def test_portions_of_a_batch_change_nothing_but_rounding(recipe):
    whole = run(recipe("whole", training="", steps=6))
    path = recipe("parts", steps=6)
    path.write_text(path.read_text().replace("micro_batch = 4", "micro_batch = 1"))
    assert losses(run(path)) == pytest.approx(losses(whole), abs=1e-5)


def test_what_is_computed_again_changes_nothing(recipe):
    once = run(recipe("once", steps=6))
    again = run(recipe("again", training="checkpoint_activations = true", steps=6))
    assert losses(again) == pytest.approx(losses(once), abs=1e-6)


def test_bfloat16_learns_too(recipe):
    found = losses(run(recipe(training='precision = "bfloat16"', steps=12)))
    assert found[-1] < 0.8 * found[0]


def started(path, *more, processes=1):
    command = [sys.executable, "-m", "starsmith.train", str(path), *more]
    if processes > 1:
        command = [
            sys.executable,
            *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)),
            *command[1:],
        ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)


def test_a_killed_run_goes_on_bit_for_bit(recipe):
    """With dropout, so that random numbers count, and killed where no checkpoint is."""
    dropout = SHAPE + "dropout = 0.1\n"
    paths = [recipe(name, steps=40) for name in ("straight", "killed")]
    for path in paths:
        path.write_text(path.read_text().replace(SHAPE, dropout))
    straight = run(paths[0])
    metrics = paths[1].with_suffix(".run") / "metrics.jsonl"
    process = started(paths[1])
    end = time.monotonic() + SECONDS
    while not metrics.exists() or metrics.read_text().count("\n") < 14:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoint.names(paths[1].with_suffix(".run") / "checkpoints")[-1:] != ["step-000000040"]
    resumed = run(paths[1], resume=True)
    assert losses(resumed) == losses(straight)
    known = weights(straight)
    assert all(torch.equal(value, known[name]) for name, value in weights(resumed).items())


def test_a_run_that_is_asked_to_stop_saves_first(recipe):
    path = recipe(steps=100_000)
    metrics = path.with_suffix(".run") / "metrics.jsonl"
    process = started(path)
    end = time.monotonic() + SECONDS
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    (newest,) = checkpoint.names(path.with_suffix(".run") / "checkpoints")[-1:]
    last = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert checkpoint.read_position(path.with_suffix(".run") / "checkpoints" / newest).step == last


def test_two_processes_learn_what_one_does(recipe):
    alone = run(recipe("alone", steps=8))
    path = recipe("shared", steps=8)
    process = started(path, processes=2)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    shared = [json.loads(line) for line in (path.with_suffix(".run") / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in shared if "loss" in line] == pytest.approx(losses(alone), abs=1e-5)
    assert shared[-1]["bits_per_byte"] == pytest.approx(lines(alone)[-1]["bits_per_byte"], abs=1e-4)
    known = weights(alone)
    model = folders.load(path.with_suffix(".run") / "model")
    assert all(torch.allclose(value, known[name], atol=1e-4) for name, value in model.named_parameters())
    longer = path.read_text().replace("steps = 8", "steps = 8  # as it was")
    path.write_text(longer)
    assert run(path, resume=True).steps == 8, "one process goes on from what two have saved"


def test_a_batch_that_is_no_number_stops_the_run_and_is_named(recipe):
    path = recipe(steps=50)
    path.write_text(
        path.read_text().replace("peak_rate = 0.01", "peak_rate = 1e30").replace("warm_up = 5", "warm_up = 0")
    )
    with pytest.raises(StarsmithError, match=r"was not taken: (its loss|the norm of its gradient) is (nan|inf)"):
        run(path)
    last = json.loads((path.with_suffix(".run") / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["refused"]
    assert 0 < len(last["documents"]) <= 200
    assert all(each.startswith("swh:1:cnt:") for each in last["documents"])


def test_a_batch_that_is_a_spike_can_be_left_out(recipe):
    path = recipe(training='not_finite = "skip"\nspike = 1.0', steps=30)
    rate = "peak_rate = 0.01\nfinal_rate = 0.001"
    path.write_text(path.read_text().replace(rate, "peak_rate = 1e-9\nfinal_rate = 0.0"))
    result = run(path)
    refused = [line for line in lines(result) if "refused" in line]
    assert refused, "with this limit every rise is one"
    assert all("times the mean" in line["refused"] for line in refused)
    assert len(losses(result)) + len(refused) == 30
    assert result.steps == 30


def test_the_long_context_stage_goes_on_from_a_model(recipe):
    first = run(recipe("first", steps=6))
    path = recipe("long", top=f'start_from = "{first.model}"', steps=6)
    text = path.read_text().replace(SHAPE, "[model]\nrope_theta = 500000.0\nsliding_window = 24\n")
    path.write_text(text.replace("sequence_length = 32", "sequence_length = 64"))
    second = run(path)
    assert folders.read_config(second.model).rope_theta == 500_000.0
    assert losses(second)[0] < losses(first)[0], "it goes on and does not begin anew"


def test_a_token_sees_its_own_unit_alone_if_asked(recipe):
    apart = run(recipe("apart", data="within_documents = true", steps=6))
    together = run(recipe("together", steps=6))
    assert losses(apart) != losses(together)


# ---- what is told before the first step


def refused(path, *, resume=False):
    with pytest.raises(StarsmithError) as caught:
        run(path, resume=resume)
    assert not (Path(load(path).run.out) / "metrics.jsonl").exists() or resume
    return str(caught.value)


def test_a_second_run_in_one_folder_is_refused(recipe):
    path = recipe(steps=6)
    run(path)
    with pytest.raises(StarsmithError, match="holds a run already, up to step-000000006"):
        run(path)


def test_a_run_goes_on_as_it_began(recipe, write_pack, tmp_path):
    path = recipe(steps=6)
    run(path)
    text = path.read_text()
    path.write_text(text.replace("peak_rate = 0.01", "peak_rate = 0.02"))
    assert "was trained by another recipe" in refused(path, resume=True)
    other = write_pack(tmp_path / "other", repositories=150)
    path.write_text(text.replace(text.split('pack = "')[1].split('"')[0], other.store.root))
    assert "was trained on another pack" in refused(path, resume=True)


def test_a_shape_that_does_not_divide_is_told(recipe):
    path = recipe()
    path.write_text(path.read_text().replace("num_attention_heads = 4", "num_attention_heads = 5"))
    assert "[model] hidden_size is 32, which num_attention_heads (5) does not divide" in refused(path)


def test_too_little_memory_is_told(recipe, monkeypatch):
    monkeypatch.setattr(shape, "available_bytes", lambda *_, **__: 10**4)
    assert "A step needs about" in refused(recipe())


def test_a_missing_shard_is_told(recipe, write_pack, tmp_path):
    own = write_pack(tmp_path / "own")
    path = recipe()
    text = path.read_text()
    path.write_text(text.replace(text.split('pack = "')[1].split('"')[0], own.store.root))
    shard = Path(own.store.path(own.record.epochs[0].shards[1].tokens_file))
    shard.unlink()
    assert f"{shard} is missing" in refused(path)


def test_a_model_with_another_vocabulary_is_told(recipe, write_pack, tmp_path):
    first = run(recipe("first", steps=6))
    other = write_pack(tmp_path / "other", vocabulary=300)
    path = recipe("second", top=f'start_from = "{first.model}"')
    text = path.read_text().replace(SHAPE, "")
    path.write_text(text.replace(text.split('pack = "')[1].split('"')[0], other.store.root))
    assert "has a vocabulary of 320, the pack one of 300" in refused(path)


def test_a_corpus_smaller_than_a_sample_is_told(recipe):
    path = recipe()
    path.write_text(path.read_text().replace("sequence_length = 32", "sequence_length = 100000"))
    assert "too few for one sample of 100,000" in refused(path)

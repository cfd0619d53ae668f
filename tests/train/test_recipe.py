import dataclasses
from pathlib import Path

import pytest

from starsmith.errors import StarsmithError
from starsmith.train.recipe import for_processes, loads

TEXT = """
seed = 3
[data]
pack = "packs/one"
workspace = "s3://bucket/corpus"
[[mixture]]
language = "Python"
weight = 2
[training]
batch = 12
micro_batch = 3
steps = 50
[optimizer]
warm_up = 5
"""


def read(text=TEXT):
    return loads(text, base=Path("/models"), name="mine.toml")


def test_paths_are_relative_to_the_recipe():
    recipe = read()
    assert recipe.run.out == "/models/mine.run"
    assert recipe.data.pack == "/models/packs/one"
    assert recipe.data.workspace == "s3://bucket/corpus"
    assert recipe.data.tokenizer == ""
    assert [rule.weight for rule in recipe.mixture] == [2.0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('pack = "packs/one"\n', "", r"data.pack is missing"),
        ("batch = 12", "batch = 13", r"line 10: training.batch is 13, which is no multiple of the micro_batch of 3"),
        ("warm_up = 5", "warm_up = 50", r"line 14: optimizer.warm_up of 50 steps leaves nothing of the 50 steps"),
        ("warm_up = 5", "final_rate = 1.0", r"optimizer.final_rate is above the peak_rate of 0.0003"),
        (
            "warm_up = 5",
            "peak_rate = 0.0\nfinal_rate = 0.0\nmatrix_rate = 1.0",
            r"optimizer.matrix_rate needs a peak_rate",
        ),
        ("weight = 2", "wait = 2", r"mixture.* number 1.* is not a key"),
        ("seed = 3", "sead = 3", r"sead is not part of a recipe"),
        ("steps = 50", "steps = 0", r"training.steps is 0"),
        ("[data]", '[model]\npreset = "huge"\n[data]', r'model.preset is "huge"'),
    ],
)
def test_what_cannot_be_is_told_with_its_place(old, new, message):
    assert old in TEXT
    with pytest.raises(StarsmithError, match=message):
        read(TEXT.replace(old, new))


def test_a_run_is_known_by_what_decides_its_weights():
    known = read().fingerprint
    assert read(TEXT.replace("seed = 3", "seed = 4")).fingerprint != known
    assert read(TEXT.replace("batch = 12", "batch = 15")).fingerprint != known
    assert read(TEXT.replace("packs/one", "packs/moved")).fingerprint == known
    assert read(TEXT + "\n[checkpoints]\nevery = 7\n").fingerprint == known


def test_a_batch_is_divided_among_processes():
    recipe = read()
    assert [for_processes(recipe, count) for count in (1, 2, 4)] == [4, 2, 1]
    with pytest.raises(StarsmithError, match="not divisible among 3 processes"):
        for_processes(recipe, 3)
    assert dataclasses.replace(recipe).plain()["training"]["batch"] == 12


def test_muon_is_for_one_process():
    recipe = read(TEXT.replace("warm_up = 5", "warm_up = 5\nmatrix_rate = 0.02"))
    assert for_processes(recipe, 1) == 4
    with pytest.raises(StarsmithError, match="matrix_rate asks for Muon, which needs whole matrices, and 2 processes"):
        for_processes(recipe, 2)

"""The recipes that come along: each can be read, and those of the paper have its sizes."""

import pytest

from starsmith.train.recipe import load
from starsmith.train.shape import config_of

BILLIONS = {"3b": 3.030, "7b": 7.174, "15b": 15.958}
TOKENS = {"3b": 2.6e6, "7b": 3.5e6, "15b": 4.1e6}


@pytest.mark.parametrize("size", BILLIONS)
def test_the_papers_sizes_and_batches(repository, size):
    recipe = load(repository / "recipes" / f"starcoder2-{size}.toml")
    config = config_of(recipe, vocabulary=recipe.tokenizer.vocabulary)
    assert config.parameters / 1e9 == pytest.approx(BILLIONS[size], abs=5e-4)
    assert recipe.training.batch * recipe.data.sequence_length == pytest.approx(TOKENS[size], rel=0.025)
    assert config.sliding_window == recipe.data.sequence_length == 4096


def test_the_long_context_stage(repository):
    recipe = load(repository / "recipes" / "starcoder2-long-context.toml")
    tokens = recipe.training.steps * recipe.training.batch * recipe.data.sequence_length
    assert tokens == pytest.approx(200e9, rel=0.01)
    assert recipe.run.start_from.endswith("starcoder2-3b.run/model")


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_the_small_ones_fit_anywhere(repository, size):
    recipe = load(repository / "recipes" / f"starcoder2-{size}.toml")
    assert config_of(recipe, vocabulary=recipe.tokenizer.vocabulary).parameters < 5e6
    assert recipe.data.workspace.endswith("recipes/quickstart.workspace")

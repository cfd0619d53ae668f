"""Folders that go through transformers: the same model must write the same there as in ours."""

import json
import shutil

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate.generators.asked import all_asked
from starsmith.evaluate.generators.opening import ModelOptions, is_generations, open_model
from starsmith.evaluate.generators.own import OwnModel
from starsmith.evaluate.generators.public import PublicModel
from starsmith.evaluate.problem import Sampling


def told(model, problems, sampling):
    asked = all_asked(problems, sampling, seed=1)
    made = [each for batch in model.completed(model.batches(asked, sampling), sampling) for each in batch]
    return {each.asked.key: (each.text, each.tokens, each.shortened) for each in made}


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=8), Sampling(temperature=0.7, top_p=0.9, max_tokens=8)])
def test_it_writes_what_ours_writes(model_folder, problems, sampling):
    found = told(PublicModel(model_folder, batch=3), problems, sampling)
    assert found == told(OwnModel(model_folder, batch=3), problems, sampling)


def test_the_kind_is_seen_in_the_folder(model_folder, tmp_path):
    assert isinstance(open_model(str(model_folder)), OwnModel)
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "no-such-model"}))
    with pytest.raises(StarsmithError, match="cannot be loaded by transformers"):
        open_model(str(other), ModelOptions(batch=2))
    (other / "config.json").write_text("{")
    with pytest.raises(StarsmithError, match="cannot be read as JSON"):
        open_model(str(other))
    with pytest.raises(StarsmithError, match="There is no"):
        open_model(str(tmp_path / "nothing"))


def test_a_file_of_generations_is_one(tmp_path):
    (tmp_path / "g.jsonl.gz").write_bytes(b"")
    assert is_generations(str(tmp_path / "g.jsonl.gz"))
    assert not is_generations(str(tmp_path))
    assert not is_generations("http://127.0.0.1/v1")

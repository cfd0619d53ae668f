"""`starsmith eval run` and `eval generate`, end to end: a model, a benchmark, a result."""

import json
from dataclasses import replace

import pytest
import torch
from completions_server import CompletionsServer

from starsmith.cli import main
from starsmith.format.tokenizer_training import trained_on
from starsmith.model.checkpoint import save
from starsmith.model.config import PRESETS
from starsmith.model.transformer import StarCoder2


@pytest.fixture(scope="module")
def data(test_data):
    return str(test_data / "humaneval" / "HumanEval.jsonl.gz")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run with a model in it, as training leaves it."""
    torch.set_num_threads(1)
    bpe = trained_on([["def has_close_elements(numbers, threshold):\n    return True\n" * 20]], vocabulary=320)
    config = replace(PRESETS["micro"], vocab_size=bpe.vocabulary, max_position_embeddings=512)
    folder = tmp_path_factory.mktemp("run")
    save(StarCoder2(config).initialise(1).eval(), folder / "model", files=bpe.files)
    return str(folder)


def said(capsys, *words):
    code = main(["eval", *words])
    told = capsys.readouterr()
    return code, json.loads(told.out) if told.out else told.err


def test_a_model_is_evaluated_by_one_command(run_folder, data, tmp_path, capsys):
    words = ["humaneval", "--model", run_folder, "--data", data, "--first", "3", "--temperature", "0"]
    words += ["--max-tokens", "8", "--out", str(tmp_path / "r"), "--json"]
    code, head = said(capsys, "run", *words)
    assert code == 0
    assert head["scores"][0]["problems"] == 3
    generations = tmp_path / "r" / "generations.jsonl"
    rows = [json.loads(line) for line in generations.read_text().splitlines()]
    assert [row["task_id"] for row in rows] == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    again = said(capsys, "run", *words)[1]
    assert again["scores"] == head["scores"]
    # What it wrote can be given instead of it.
    other = ["humaneval", "--model", str(generations), "--data", data, "--first", "3"]
    assert said(capsys, "run", *other, "--out", str(tmp_path / "s"), "--json")[1]["scores"] == head["scores"]
    code, error = said(capsys, "run", *other, "--out", str(tmp_path / "s"), "--seed", "1")
    assert (code, "--seed has no meaning" in error) == (2, True)


def test_generating_alone(data, tmp_path, capsys):
    with CompletionsServer() as server:
        words = ["humaneval", "--model", server.address, "--data", data, "--problems", "HumanEval/5"]
        out = ["--out", str(tmp_path / "g.jsonl")]
        code, told = said(capsys, "generate", *words, *out, "--samples", "2", "--seed", "4", "--json")
        assert (code, told["completions"], told["made"], told["seed"]) == (0, 2, 2, 4)
        assert told["sampling"] == {"temperature": 0.2, "top_p": 0.95, "samples": 2, "max_tokens": 1024}
        assert len(server.requests) == 2
        for more, says in (
            (["--samples", "2", "--temperature", "0", *out], "would all be the same"),
            (["--top-p", "2", *out], "a share above 0 and up to 1"),
            (["--out", str(tmp_path / "g")], "ends in .jsonl"),
        ):
            assert says in said(capsys, "generate", *words, *more)[1]
    # The server is gone, and all it said is there.
    assert not (tmp_path / ".g.jsonl.journal").exists()

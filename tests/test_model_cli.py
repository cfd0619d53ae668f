"""From a corpus to a model that writes, by the commands a newcomer has, in this process."""

import json
import subprocess
import sys

import pytest

from starsmith.cli import main

RECIPE = """
[data]
workspace = "{workspace}"
tokenizer = "t"
pack = "p"
sequence_length = 32
held_out_batches = 2
[tokenizer]
vocabulary = 400
[pack]
held_out = 0.5
[model]
preset = "micro"
[optimizer]
warm_up = 2
[training]
steps = 6
batch = 4
micro_batch = 4
threads = 1
device = "cpu"
"""


@pytest.fixture(scope="module")
def recipe(corpus, build_into, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    build_into(corpus.recipe(), folder / "corpus.workspace", workers=0)
    path = folder / "own.toml"
    path.write_text(RECIPE.format(workspace=folder / "corpus.workspace"))
    return path


@pytest.fixture(scope="module")
def trained(recipe):
    """What the commands up to a model printed."""
    said = []
    for command in (["tokenizer", "train"], ["pack", "--workers", "1"], ["train"]):
        done = subprocess.run(
            [sys.executable, "-m", "starsmith", *command, str(recipe), "--json"],
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout))
    return said


@pytest.fixture
def model(recipe, trained):
    return recipe.with_suffix(".run")


def run(capsys, *arguments):
    """Run a command; return (exit code, output, errors)."""
    code = main([str(each) for each in arguments])
    return code, *capsys.readouterr()


def test_each_step_says_what_it_made(trained, recipe):
    tokenizer, pack, training = trained
    assert tokenizer["vocabulary"] <= 400
    assert pack["tokenizer"] == tokenizer["fingerprint"]
    assert pack["epochs"]["epoch-0"] > 1000
    assert pack["held_out"] > 500
    assert training["steps"] == 6
    assert training["bits_per_byte"] > 0
    assert training["model"] == str(recipe.with_suffix(".run") / "model")
    assert (recipe.with_suffix(".run") / "loss.svg").exists()


def test_packing_again_makes_nothing(capsys, recipe, trained):
    code, out, _ = run(capsys, "pack", recipe, "--workers", 1, "--json")
    assert code == 0
    assert json.loads(out)["written"] == 0


def test_a_model_writes(capsys, model):
    code, out, _ = run(capsys, "generate", model, "--prompt", "def ", "--max-tokens", 5)
    assert code == 0
    assert out.startswith("def ")
    code, out, _ = run(capsys, "generate", model, "--prompt", "def ", "--max-tokens", 5, "--json")
    assert code == 0
    told = json.loads(out)
    assert 1 <= len(told["tokens"]) <= 5
    assert all(each["logprob"] <= 0 for each in told["tokens"])


def test_a_model_fills_gaps_and_knows_a_repository(capsys, model, tmp_path):
    (tmp_path / "before.py").write_text("def area(width):\n    ")
    gap = ("--prefix", f"@{tmp_path / 'before.py'}", "--suffix", "\n", "--max-tokens", 3)
    assert run(capsys, "generate", model, *gap)[0] == 0
    assert run(capsys, "generate", model, "--repo", tmp_path, "--file", "new.py", "--max-tokens", 3)[0] == 0


def test_a_model_is_exported_with_its_card(capsys, model, tmp_path):
    code, out, errors = run(capsys, "export", model, "--format", "hf", "--out", tmp_path / "hf", "--type", "bf16")
    assert (code, errors) == (0, "")
    assert out.strip() == str(tmp_path / "hf")
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "bits per byte" in card
    assert "| MIT |" in card
    assert "| training.steps | 6 |" in card or "| steps | 6 |" in card
    assert (tmp_path / "hf" / "tokenizer.json").exists()
    assert run(capsys, "export", model, "--format", "gguf", "--out", tmp_path / "m.gguf")[0] == 0
    assert (tmp_path / "m.gguf").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["generate", "nowhere", "--prompt", "x"], "nowhere is no folder"),
        (["generate", "nowhere"], "Give --prompt TEXT"),
        (["generate", "nowhere", "--repo", "."], "with --file PATH"),
        (["generate", "nowhere", "--prompt", "x", "--temperature", "-1"], "is not a number of at least 0"),
        (["export", "nowhere", "--format", "hf", "--out", "x"], "nowhere is no folder"),
        (["train", "nowhere.toml"], "There is no recipe nowhere.toml"),
        (["pack", "nowhere"], "Give --out"),
        (["pack", "nowhere", "--out", "p"], "neither a workspace nor a release"),
        (["tokenizer", "train", "nowhere"], "Give --out"),
        (["tokenizer", "train", "nowhere", "--out", "t"], "neither a workspace nor a release"),
    ],
)
def test_what_is_wrong_is_told(capsys, tmp_path, monkeypatch, command, message):
    monkeypatch.chdir(tmp_path)
    code, out, errors = run(capsys, *command)
    assert code in (1, 2)
    assert out == ""
    assert message in errors
    assert errors.count("\n") == 1


def test_a_model_without_a_tokenizer_is_told(capsys, model, tmp_path):
    run(capsys, "export", model, "--format", "hf", "--out", tmp_path / "hf")
    (tmp_path / "hf" / "tokenizer.json").unlink()
    code, _, errors = run(capsys, "generate", tmp_path / "hf", "--prompt", "x")
    assert code == 1
    assert "holds no tokenizer" in errors


def test_a_missing_extra_is_told(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from starsmith.cli import main\n"
        "raise SystemExit(main(['generate', 'nowhere', '--prompt', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'starsmith[model]'" in done.stderr
    assert done.stderr.count("\n") == 1

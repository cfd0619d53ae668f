"""The list of benchmarks: complete, and honest about what is here."""

import pytest

from starsmith.cli import main
from starsmith.errors import StarsmithError
from starsmith.evaluate.benchmarks import PLACES, benchmark
from starsmith.evaluate.catalogue import PROBLEMS, catalogue
from starsmith.evaluate.dataset import load

MISSING_HERE = {"ds-1000", "repobench", "crosscodeeval", "asleep-at-the-keyboard"} | {
    *("winobias", "honest", "bold", "real-toxicity-prompts"),
}


def test_every_benchmark_with_licence_and_origin():
    entries = catalogue(None)
    assert [entry.name for entry in entries] == list(PLACES)
    assert all(file.where and file.licence for entry in entries for file in entry.files)
    assert all(entry.missing for entry in entries)
    assert PROBLEMS.keys() <= PLACES.keys()


def test_what_is_here_is_named_with_its_version(test_data):
    entries = {entry.name: entry for entry in catalogue(test_data)}
    assert {name for name, entry in entries.items() if entry.missing} == MISSING_HERE
    (file,) = entries["humaneval"].files
    assert file.version == "openai/human-eval 6d43fb98"
    assert len(entries["multipl-e"].files) == 18
    with pytest.raises(StarsmithError, match="There is no"):
        catalogue(test_data / "nothing")


@pytest.mark.parametrize("name", ["humaneval", "mbpp", "can-it-edit", "gsm8k-pal", "cruxeval-input", "humaneval-fix"])
def test_the_counts_are_those_of_the_files(test_data, name):
    folder = {"can-it-edit": "canitedit", "humaneval-fix": "humanevalpack"}.get(name, name.partition("-")[0])
    made = benchmark(name)
    problems, _ = load(made.sources(), test_data / folder, benchmark=name, make=made.problems)
    assert len(problems) == PROBLEMS[name]


def test_the_command_says_what_to_get(capsys, monkeypatch):
    monkeypatch.delenv("STARSMITH_BENCHMARKS", raising=False)
    assert main(["eval", "list"]) == 0
    told = capsys.readouterr().out
    assert "https://github.com/openai/human-eval" in told
    assert "Give --data" in told

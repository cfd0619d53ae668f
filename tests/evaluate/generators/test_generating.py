"""Generations files: what they hold, that they go on, and that nothing is written over."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate import provenance
from starsmith.evaluate.dataset import Source
from starsmith.evaluate.generations import Generations
from starsmith.evaluate.generators.asked import all_asked
from starsmith.evaluate.generators.generating import generate
from starsmith.evaluate.generators.journal import Journal
from starsmith.evaluate.generators.own import OwnModel
from starsmith.evaluate.problem import Sampling
from starsmith.progress import Quiet

GREEDY = Sampling(max_tokens=12)
SAMPLED = Sampling(temperature=0.8, top_p=0.95, samples=3, max_tokens=12)


@pytest.fixture(scope="module")
def model(model_folder):
    return OwnModel(model_folder, batch=4)


@pytest.fixture(scope="module", params=[GREEDY, SAMPLED], ids=["greedy", "sampled"])
def unbroken(request, model, bench, problems, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "g.jsonl"
    written(model, bench, problems, data, out, request.param)
    return request.param, out


def written(model, bench, problems, data, out, sampling, seed=0):
    return generate(bench, problems, data, model, out=out, sampling=sampling, seed=seed, reporter=Quiet())


class Breaking:
    """A model that breaks after some batches."""

    def __init__(self, model, batches):
        self.model, self.left, self.asked = model, batches, []

    def about(self):
        return self.model.about()

    def batches(self, asked, sampling):
        return self.model.batches(asked, sampling)

    def completed(self, batches, sampling):
        for batch in batches:
            if not self.left:
                raise StarsmithError("broken")
            self.left -= 1
            self.asked += [each.key for each in batch]
            yield from self.model.completed([batch], sampling)


def test_the_file_is_one_that_is_read(unbroken, problems):
    sampling, out = unbroken
    tasks = [problem.id for problem in problems]
    generations = Generations(out, tasks)
    found = [(each.task, each.number) for each in generations]
    assert found == [(task, sample) for task in tasks for sample in range(sampling.samples)]
    assert generations.report.warnings() == []
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["task_id"] for row in rows if "prompt_shortened_by" in row} == {"T/long"}
    assert all(row["tokens"] <= 12 for row in rows)
    if sampling.samples > 1:
        assert len({row["completion"] for row in rows if row["task_id"] == "T/3"}) > 1


def test_the_record_says_what_determined_it(unbroken, model_folder):
    sampling, out = unbroken
    record = provenance.read(out)
    assert record["sampling"] == {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "samples": sampling.samples,
        "max_tokens": 12,
    }
    assert record["model"]["model"] == OwnModel(model_folder).about()["model"]
    assert len(record["model"]["tokenizer"]) == len(record["prompts"]["sha256"]) == len(record["sha256"]) == 64
    assert record["benchmark"]["name"] == "humaneval-plus"
    assert record["data"] == [{"file": "T.jsonl", "sha256": "0" * 64, "version": "1"}]


def test_it_says_which_file_prompts_are_made_of(model, bench, problems, data, tmp_path):
    shots = Source(names=("shots.json",), where="https://example.org/bench, shots.json", licence="MIT", optional=True)
    bare = [replace(problems[0], prompt=""), *problems[1:]]
    with pytest.raises(StarsmithError) as error:
        written(model, bench, bare, replace(data, missing=(shots,)), tmp_path / "g.jsonl", GREEDY)
    assert str(error.value) == (
        f"{bare[0].id} of HumanEval+ has no prompt. shots.json, which prompts are made of, is missing: "
        "https://example.org/bench, shots.json."
    )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_comes_to_the_same_bytes(unbroken, model, bench, problems, data, tmp_path):
    sampling, whole = unbroken
    out = tmp_path / "g.jsonl"
    asked = []
    for batches in (1, 0, 2, 99):
        breaking = Breaking(model, batches)
        try:
            written(breaking, bench, problems, data, out, sampling)
        except StarsmithError:
            # As a crash leaves it: half of a line at the end.
            with (tmp_path / ".g.jsonl.journal").open("ab") as journal:
                journal.write(b'{"task_id": "T/')
        asked += breaking.asked
    assert out.read_bytes() == whole.read_bytes()
    assert provenance.read(out) == provenance.read(whole)
    assert len(asked) == len(set(asked)) == len(problems) * sampling.samples
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.jsonl", "g.provenance.json"]


def test_a_crash_between_file_and_record(unbroken, model, bench, problems, data, tmp_path, monkeypatch):
    sampling, whole = unbroken
    out = tmp_path / "g.jsonl"
    target = "starsmith.evaluate.provenance.write"
    with monkeypatch.context() as patched:
        patched.setattr(target, lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            written(model, bench, problems, data, out, sampling)
    assert written(Breaking(model, 0), bench, problems, data, out, sampling).made == 0
    assert out.read_bytes() == whole.read_bytes()


def test_what_is_finished_is_not_made_again_or_written_over(unbroken, model, bench, problems, data):
    sampling, out = unbroken
    before = out.read_bytes()
    again = written(Breaking(model, 0), bench, problems, data, out, sampling)
    assert (again.made, again.completions) == (0, len(problems) * sampling.samples)
    with pytest.raises(StarsmithError, match="another model or other settings; name another --out"):
        written(model, bench, problems, data, out, sampling, seed=1)
    out.write_bytes(before + b"\n")
    with pytest.raises(StarsmithError, match="was changed after it was made"):
        written(model, bench, problems, data, out, sampling)
    out.write_bytes(before)


def test_a_journal_of_other_settings_and_of_another_process(tmp_path, model, bench, problems, data):
    with pytest.raises(StarsmithError, match="broken"):
        written(Breaking(model, 1), bench, problems, data, tmp_path / "g.jsonl", GREEDY)
    with pytest.raises(StarsmithError, match="begun with another model, data or settings"):
        written(model, bench, problems[:5], data, tmp_path / "g.jsonl", GREEDY)
    with Journal(tmp_path / "j", {}), pytest.raises(StarsmithError, match="Another run is writing"):
        Journal(tmp_path / "j", {})


def test_samples_follow_from_seed_problem_and_number_alone(model_folder, problems):
    # One row at a time and all at once draw the same; of the logits, only the rounding differs.
    texts = []
    for batch, chosen in ((1, problems[3:5]), (4, problems)):
        model = OwnModel(model_folder, batch=batch)
        asked = all_asked(chosen, SAMPLED, seed=7)
        found = [each for made in model.completed(model.batches(asked, SAMPLED), SAMPLED) for each in made]
        texts.append({each.asked.key: each.text for each in found if each.asked.task in ("T/3", "T/4")})
    assert texts[0] == texts[1]


def test_several_samples_need_a_temperature(model, bench, problems, data, tmp_path):
    with pytest.raises(StarsmithError, match="2 samples at temperature 0"):
        written(model, bench, problems, data, tmp_path / "g.jsonl", Sampling(samples=2))


def test_a_full_disk_is_told_and_loses_nothing(small_disk, tmp_path):
    script = f"""
    {sys.executable} - <<'EOF'
    from pathlib import Path
    from starsmith.errors import StarsmithError
    from starsmith.evaluate.generators.asked import Asked, Made
    from starsmith.evaluate.generators.journal import Journal
    disk = Path("{tmp_path}/disk/j")
    made = [Made(asked=Asked(task="t", sample=n, draw=0, prompt=""), text="x" * 9000, finish="") for n in range(30)]
    try:
        with Journal(disk, {{}}) as journal:
            for each in made: journal.add([each])
    except StarsmithError as error:
        print(error)
    with Journal(disk, {{}}) as journal:
        print(len(journal))
    EOF
    """
    told = small_disk(script, "100k").stdout
    assert "cannot be written: No space left on device. What was generated before is kept" in told
    assert 5 <= int(told.split()[-1]) <= 11


PROGRAM = """
import sys
from pathlib import Path
from starsmith.evaluate.benchmarks.humaneval_plus import HumanEvalPlus
from starsmith.evaluate.dataset import Data
from starsmith.evaluate.generators.endpoint import Endpoint
from starsmith.evaluate.generators.generating import generate
from starsmith.evaluate.problem import Problem, Sampling
from starsmith.progress import Quiet
problems = [Problem(id=f"T/{n}", prompt=f"def f{n}") for n in range(20)]
generate(HumanEvalPlus(), problems, Data(rows={}, files=(), missing=(), warnings=()), Endpoint(sys.argv[1]),
    out=Path(sys.argv[2]), sampling=Sampling(temperature=1, samples=3), seed=0, reporter=Quiet())
"""


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path):
    from completions_server import CompletionsServer

    out, journal = tmp_path / "g.jsonl", tmp_path / ".g.jsonl.journal"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with CompletionsServer(seconds=0.02) as server:
        command = [sys.executable, "-c", PROGRAM, server.address, str(out)]
        for least in (5, 25):
            process = subprocess.Popen(command, env=environment)
            while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > least):
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        kept = journal.read_bytes().count(b"\n") - 1
        asked = len(server.requests)
        subprocess.run(command, env=environment, check=True)
        assert len(server.requests) - asked == 60 - kept
        server.seconds = 0
        command[-1] = str(tmp_path / "unbroken.jsonl")
        subprocess.run(command, env=environment, check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["task_id"], row["sample"]) for row in rows] == [(f"T/{n}", s) for n in range(20) for s in range(3)]
    assert out.read_bytes() == (tmp_path / "unbroken.jsonl").read_bytes()

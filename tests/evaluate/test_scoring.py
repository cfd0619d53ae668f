"""Scoring from end to end: what a killed run leaves, what a bad file does, what is recorded."""

import json
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate.benchmarks import benchmark
from starsmith.evaluate.result import read_result
from starsmith.evaluate.sandbox import Sandbox
from starsmith.evaluate.scoring import Job, score
from starsmith.progress import Quiet

RIGHT, WRONG = "    return a + b\n", "    return a - b\n"


def rows(count):
    return [
        {
            "task_id": f"T/{number}",
            "prompt": f"def add{number}(a, b):\n",
            "entry_point": f"add{number}",
            "canonical_solution": RIGHT,
            "test": "def check(f):\n    assert f(1, 2) == 3\n",
        }
        for number in range(count)
    ]


def lines(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test finds what another has left."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def problems(tmp_path):
    return lines(tmp_path / "HumanEval.jsonl", rows(6))


def job(tmp_path, official, completions, **other):
    generations = tmp_path / "G.jsonl"
    if completions is not None:
        lines(generations, [{"task_id": task, "completion": text} for task, text in completions])
    made = {"benchmark": benchmark("humaneval"), "data": official, "generations": generations, "out": tmp_path / "R"}
    return Job(**(made | other))


def said(result):
    return {task: [each.verdict.reason for each in found] for task, found in result.tasks.items()}


@pytest.mark.usefixtures("box")
def test_a_result_says_everything(tmp_path, problems):
    completions = [("T/0", RIGHT), ("T/0", WRONG), ("T/0", RIGHT), ("T/1", "    return a +"), ("T/2", RIGHT)]
    result = score(job(tmp_path, problems, completions, command=["starsmith", "eval"], workers=2), Quiet())
    assert said(result) == {"T/0": ["passed", "wrong", "passed"], "T/1": ["exception"], "T/2": ["passed"]}
    value = result.score("pass@1")
    assert value.value == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert value.low <= value.value <= value.high
    assert result.score("pass@10") is None
    assert read_result(tmp_path / "R") == result
    assert result.record["problems"] == {"all": 6, "chosen": 6, "judged": 3, "complete": False}
    assert result.record["sandbox"]["isolated"] is True
    assert result.record["versions"]["bubblewrap"]
    assert result.record["generations"]["provenance"] is None
    assert "no version of HumanEval that is known here" in result.warnings[0]
    assert "3 problems have no generation: 'T/3', 'T/4', 'T/5'" in result.warnings[1]
    # Equal completions of a problem are run once.
    assert len((tmp_path / "R/verdicts.jsonl").read_text().splitlines()) == 1 + 4


@pytest.mark.usefixtures("box")
def test_a_second_run_runs_nothing(tmp_path, problems, monkeypatch):
    completions = [("T/0", RIGHT), ("T/1", WRONG)]
    first = score(job(tmp_path, problems, completions), Quiet())
    monkeypatch.setattr("starsmith.evaluate.scoring.Sandbox.__enter__", lambda box: pytest.fail("nothing is to run"))
    assert said(score(job(tmp_path, problems, completions), Quiet())) == said(first)
    assert said(score(job(tmp_path, problems, completions, problems=["T/1"]), Quiet())) == {"T/1": ["wrong"]}
    assert list(score(job(tmp_path, problems, completions, first=1), Quiet()).tasks) == ["T/0"]


@pytest.mark.usefixtures("box")
def test_another_sandbox_judges_anew(tmp_path, problems, monkeypatch):
    generations = [("T/0", RIGHT), ("T/1", WRONG)]
    first = score(job(tmp_path, problems, generations), Quiet())
    monkeypatch.setattr("starsmith.evaluate.scoring.code_digest", lambda: "of a later version")
    assert said(score(job(tmp_path, problems, generations), Quiet())) == said(first)
    assert len((tmp_path / "R/verdicts.jsonl").read_text().splitlines()) == 1 + 2 * 2


@pytest.mark.usefixtures("box")
def test_verdicts_of_another_kind_are_not_mixed(tmp_path, problems):
    score(job(tmp_path, problems, [("T/0", RIGHT)]), Quiet())
    other = benchmark("humaneval", {"test": "beside"})
    with pytest.raises(StarsmithError, match=r'verdicts of another kind: options is .*"apart".* there and .*"beside"'):
        score(job(tmp_path, problems, None, benchmark=other), Quiet())


@pytest.mark.usefixtures("box")
def test_what_cannot_be_judged_apart_is_judged_beside(tmp_path):
    """The program hands over an object of its own class; the test is content with it only where it can compare."""
    made = rows(1)[0] | {"test": "def check(f):\n    assert f(1, 2) == f(1, 2)\n"}
    problems = lines(tmp_path / "HumanEval.jsonl", [made])
    own = "    class Own:\n        def __eq__(self, other): return type(self).__name__ == type(other).__name__\n"
    result = score(job(tmp_path, problems, [("T/0", own + "    return Own()\n")]), Quiet())
    assert said(result) == {"T/0": ["passed"]}
    assert result.tasks["T/0"][0].beside
    assert result.record["sandbox"]["judged_beside"] == 1


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"problems": ["T/9"]}, "has no problem 'T/9'; its ids look like T/0"),
        ({"data": Path("/no/such/file")}, "There is no /no/such/file"),
        ({"generations": Path("/no/such/file.jsonl")}, "/no/such/file.jsonl cannot be read"),
        ({"out": Path("/dev/null/R")}, "/dev/null/R cannot be written"),
    ],
)
def test_what_is_not_there(tmp_path, problems, other, told):
    with pytest.raises(StarsmithError, match=told):
        score(job(tmp_path, problems, [("T/0", RIGHT)], **other), Quiet())


def test_generations_of_another_benchmark(tmp_path, problems):
    with pytest.raises(StarsmithError, match="has none for a problem"):
        score(job(tmp_path, problems, [("Mbpp/2", RIGHT)]), Quiet())


def test_a_record_of_other_generations_is_refused(tmp_path, problems):
    (tmp_path / "G.provenance.json").write_text('{"sha256": "0", "model": {"model": "x"}}')
    with pytest.raises(StarsmithError, match="is not about"):
        score(job(tmp_path, problems, [("T/0", RIGHT)]), Quiet())


def test_a_language_without_tools_is_told_and_never_zero(tmp_path):
    row = {"name": "x", "prompt": "func f() {", "tests": "", "stop_tokens": []}
    problems = lines(tmp_path / "humaneval-swift.jsonl", [row])
    made = benchmark("multipl-e", {"language": "swift"})
    with pytest.raises(StarsmithError, match=r"Nothing of MultiPL-E .* can be run here. swift is left out"):
        score(job(tmp_path, problems, [("swift/x", "}")], benchmark=made), Quiet())


def command(tmp_path, problems, *further):
    words = ["eval", "score", "humaneval", "--data", str(problems), "--generations", str(tmp_path / "G.jsonl")]
    return [sys.executable, "-m", "starsmith", *words, "--out", str(tmp_path / "R"), *further]


@pytest.mark.usefixtures("box")
def test_killed_and_started_again_no_verdict_is_lost_or_doubled(tmp_path):
    problems = lines(tmp_path / "HumanEval.jsonl", rows(60))
    lines(tmp_path / "G.jsonl", [{"task_id": f"T/{n}", "completion": RIGHT if n % 3 else WRONG} for n in range(60)])
    verdicts = tmp_path / "R/verdicts.jsonl"
    with subprocess.Popen(command(tmp_path, problems, "--workers", "1"), stderr=-3, stdout=-3) as process:
        while process.poll() is None and (not verdicts.exists() or verdicts.read_bytes().count(b"\n") < 8):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    before = verdicts.read_bytes()
    assert not (tmp_path / "R/result.json").exists()
    # As if it had died in the middle of a line.
    verdicts.write_bytes(before + b'{"key": "half a')
    done = subprocess.run(command(tmp_path, problems, "--json"), capture_output=True, check=True)
    assert json.loads(done.stdout)["reasons"] == {"passed": 40, "wrong": 20}
    after = verdicts.read_bytes()
    assert after.startswith(before)
    keys = Counter(json.loads(line)["key"] for line in after.splitlines()[1:])
    assert len(keys) == 60
    assert set(keys.values()) == {1}
    assert (tmp_path / "R/report.md").read_text().startswith("# HumanEval\n")


@pytest.mark.usefixtures("box")
def test_a_full_disk_loses_nothing(tmp_path, problems, monkeypatch):
    completions = [(f"T/{number}", RIGHT) for number in range(6)]

    class Filling(Quiet):
        """The disk is full as soon as the first verdicts are there."""

        def stage(self, name, *, total):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 600, hard))
            return super().stage(name, total=total)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    score(job(tmp_path, problems, completions, first=1), Quiet())
    verdicts = tmp_path / "R/verdicts.jsonl"
    size = verdicts.stat().st_size
    # Started before, because the limit holds for what it is made of, too.
    with Sandbox(workers=1) as ready:
        monkeypatch.setattr("starsmith.evaluate.scoring.Sandbox", lambda **chosen: nullcontext(ready))
        try:
            with pytest.raises(StarsmithError, match=r"is full\. Free some space and run the same command again"):
                score(job(tmp_path, problems, completions), Filling())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            monkeypatch.undo()
    kept = verdicts.read_bytes()
    assert kept.endswith(b"\n")
    assert 2 < kept.count(b"\n") < 7
    assert said(score(job(tmp_path, problems, completions), Quiet())) == {f"T/{n}": ["passed"] for n in range(6)}
    assert verdicts.read_bytes().startswith(kept)


MEASURED = """
import resource, sys
from starsmith.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.usefixtures("box")
def test_a_bad_file_costs_rows_and_no_memory(tmp_path, problems):
    with (tmp_path / "G.jsonl").open("wb") as file:
        for task, text in (("T/0", RIGHT), ("T/0", RIGHT), ("T/7", RIGHT)):
            file.write(json.dumps({"task_id": task, "completion": text}).encode() + b"\n")
        file.write(b'{"task_id": "T/1", "completion": "\xff"}\n')
        for _ in range(3):
            file.write(b'{"task_id": "T/2", "completion": "' + b"x" * 100_000_000 + b'"}\n')
    # A process begins with the most that the one it was forked from ever had, so a small shell stands in between.
    words = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", MEASURED, *command(tmp_path, problems)[3:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = done.stderr
    assert done.returncode == 0, told
    assert int(told.split()[-1]) < 300_000
    assert "3 problems have no generation: 'T/3', 'T/4', 'T/5'" in told
    assert "1 generations are of no problem here: 'T/7'" in told
    assert "4 generations cannot be judged and count as failed: line 4, T/1: invalid UTF-8" in told
    result = read_result(tmp_path / "R")
    assert said(result) == {"T/0": ["passed"] * 2, "T/1": ["unreadable"], "T/2": ["unreadable"] * 3}
    assert result.tasks["T/2"][0].verdict.detail == "a line of 100,000,036 bytes"


def test_without_bubblewrap_it_refuses_unless_told_otherwise(tmp_path, problems, monkeypatch):
    completions = [("T/0", RIGHT)]
    monkeypatch.setattr("starsmith.evaluate.bubblewrap.shutil.which", lambda name: None)
    with pytest.raises(StarsmithError, match="apt-get install bubblewrap"):
        score(job(tmp_path, problems, completions), Quiet())

    class Told(Quiet):
        def note(self, text):
            notes.append(text)

    notes = []
    result = score(job(tmp_path, problems, completions, unsafe=True, out=tmp_path / "open"), Told())
    assert said(result) == {"T/0": ["passed"]}
    assert result.record["sandbox"]["isolated"] is False
    assert "WITHOUT a sandbox" in notes[0]


def test_two_at_once_in_one_folder(tmp_path, problems):
    import fcntl

    (tmp_path / "R").mkdir()
    with (tmp_path / "R/.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StarsmithError, match="Another process is scoring into"):
            score(job(tmp_path, problems, [("T/0", RIGHT)]), Quiet())


@pytest.mark.parametrize("damage", [b"{}\n", b'{"settings": {}}\nnonsense\n', b'{"settings": {}}\n{"key": 1}\n'])
@pytest.mark.usefixtures("box")
def test_damaged_verdicts_are_named(tmp_path, problems, damage):
    (tmp_path / "R").mkdir()
    (tmp_path / "R/verdicts.jsonl").write_bytes(damage)
    with pytest.raises(StarsmithError, match=r"verdicts.jsonl, line \d: no verdict that was written here"):
        score(job(tmp_path, problems, [("T/0", RIGHT)]), Quiet())


@pytest.mark.usefixtures("box")
def test_the_official_example_on_a_loaded_machine(test_data, tmp_path):
    """Half of it passes. One completion sleeps for ten seconds, which is too long however busy the machine is."""
    load = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(4)]
    try:
        folder = test_data / "humaneval"
        example = {"generations": folder / "example_samples.jsonl", "workers": 3}
        result = score(job(tmp_path, folder / "example_problem.jsonl", None, **example), Quiet())
    finally:
        for process in load:
            process.kill()
            process.wait()
    assert result.score("pass@1").value == 0.5
    assert said(result) == {"test/0": ["exception", "timeout", "exception", "passed", "passed", "passed"]}

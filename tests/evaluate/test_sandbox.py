"""What the sandbox tells of programs that mean no harm, and of itself."""

import gzip
import json
import shutil

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate import bubblewrap
from starsmith.evaluate.run import Command, Limits, Output, Program
from starsmith.evaluate.sandbox import LARGEST_SOURCE, Sandbox


def one(box, **program):
    (run,) = box.run([Program(id="x", **program)])
    return run


def test_output_input_and_what_was_used(box):
    run = one(box, source="import sys\nprint(input()[::-1])\nprint('two', file=sys.stderr)", stdin="größe\n".encode())
    assert (run.status, run.stdout, run.stderr) == ("passed", "eßörg\n".encode(), b"two\n")
    assert run.cpu_seconds > 0
    assert run.memory_bytes > 1 << 20


def test_calls_give_values(box):
    source = "def f(n, by=2):\n    if n == 3: raise KeyError(n)\n    return [n / by, {n: (n,)}]"
    run = one(box, source=source, entry_point="f", calls=((1,), (3,), (4, 8)))
    assert run.status == "passed"
    assert run.outputs == (Output(value=[0.5, {1: (1,)}]), Output(raised="KeyError"), Output(value=[0.5, {4: (4,)}]))


def test_calls_up_to_the_one_that_never_ends(box):
    source = "def f(n):\n    while n == 2: pass\n    return n"
    run = one(box, source=source, entry_point="f", calls=((1,), (2,), (3,)), limits=Limits(cpu_seconds=0.2))
    assert run.status == "timeout"


def test_a_source_that_fails_before_its_calls(box):
    run = one(box, source="import nothing_of_this_name", entry_point="f", calls=((1,),))
    assert run.status == "exception"
    assert "ModuleNotFoundError" in run.detail


def test_a_test_apart_reaches_what_the_program_defines(box):
    source = (
        "import math\nLIMIT = 3\nclass Box:\n def __init__(s, x): s.x = x\n def twice(s): return 2 * s.x\n"
        "def gen(n):\n for i in range(n): yield i\ndef bad(): raise ValueError('so')\ndef size(box): return box.x"
    )
    test = (
        "assert math.floor(2.5) == 2 and LIMIT == 3\nb = Box(4)\nassert b.twice() == 8 and b.x == 4 and size(b) == 4\n"
        "assert list(gen(3)) == [0, 1, 2]\n"
        "try: bad()\nexcept ValueError as e: assert str(e) == 'so'\nelse: assert False\n"
    )
    for beside in (False, True):
        run = one(box, source=source, test=test, beside=beside)
        assert run.status == "passed", run


@pytest.mark.parametrize("beside", [False, True])
def test_humaneval_solutions_pass_and_stubs_do_not(box, test_data, beside):
    path = test_data / "humaneval" / "HumanEval.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    programs = []
    for row in rows:
        test = f"{row['test']}\ncheck({row['entry_point']})\n"
        source = row["prompt"] + row["canonical_solution"]
        programs.append(Program(id=f"right {row['task_id']}", source=source, test=test, beside=beside))
    for row in rows[::5]:
        test = f"{row['test']}\ncheck({row['entry_point']})\n"
        source = f"{row['prompt']}    return None\n"
        programs.append(Program(id=f"wrong {row['task_id']}", source=source, test=test, beside=beside))
    runs = list(box.run(programs))
    assert len(runs) == len(programs)
    assert [run for run in runs if (run.status == "passed") != run.id.startswith("right")] == []


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    ("test", "detail"),
    [
        ("def check(f:", "SyntaxError: '(' was never closed (<test>, line 1)"),
        ("x = " + 5000 * "(" + 5000 * ")", "SyntaxError: too many nested parentheses (<test>, line 1)"),
        ("assert f() == 2" + 70_000 * " ", "AssertionError"),
    ],
)
def test_a_test_that_cannot_be_kept_compiled(box, test, detail, beside):
    runs = [one(box, source="def f(): return 1", test=test, beside=beside) for _ in range(2)]
    assert [(run.status == "passed", run.detail) for run in runs] == 2 * [(False, detail)]


def test_steps_end_at_the_first_that_fails(box):
    steps = (("sh", "-c", "cat a/b; exit 4"), ("sh", "-c", "echo never"))
    (run,) = box.run([Command(id="", steps=steps, files={"a/b": b"\xff\n"})])
    assert (run.status, run.stdout, run.exit_code) == ("exception", b"\xff\n", 4)
    assert "step 1 of 2" in run.detail


def test_a_tool_that_is_not_there(box):
    (run,) = box.run([Command(id="", steps=(("no-such-tool",),))])
    assert (run.status, run.exit_code) == ("exception", 127)
    assert b"no-such-tool" in run.stderr


def test_a_command_is_measured_with_its_children(box):
    limits = Limits(cpu_seconds=0.3, wall_seconds=60)
    (run,) = box.run([Command(id="", steps=(("sh", "-c", "sh -c 'while :; do :; done'"),), limits=limits)])
    assert run.status == "timeout"


def test_a_source_too_long_is_not_run(box):
    assert one(box, source=" " * (LARGEST_SOURCE + 1)).status == "exception"


def test_without_bubblewrap_it_says_how_to_mend_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(StarsmithError, match="apt-get install bubblewrap"), Sandbox():
        pass


def test_bubblewrap_that_may_not_work(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    with pytest.raises(StarsmithError, match="needs user namespaces"), Sandbox():
        pass


def test_an_interpreter_that_cannot_be_run(tmp_path):
    with pytest.raises(StarsmithError, match="unprivileged user can run"):
        Sandbox(python=tmp_path / "python")


def test_without_isolation_it_warns_and_says_so():
    """Only a harmless program: nothing holds it."""
    with pytest.warns(UserWarning, match="WITHOUT"):
        box = Sandbox(unsafe=True)
    with box:
        assert box.isolated is False
        assert one(box, source="def f(): return 1", test="assert f() == 1").status == "passed"


def test_the_interpreter_is_known(box):
    assert box.interpreter == bubblewrap.interpreter()
    assert box.interpreter.version.startswith("3.")

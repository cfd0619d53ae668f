"""RepoBench, CrossCodeEval and DS-1000: rows of our own in the official layouts, since the files are not at hand."""

import json

import pytest

from starsmith.evaluate.benchmarks import benchmark
from starsmith.evaluate.benchmarks.cross_code_eval import bracket_statement, python_statement
from starsmith.evaluate.benchmarks.repo_bench import first_line
from starsmith.evaluate.dataset import load

REPO = {
    "repo_name": "me/mine",
    "file_path": "a/b.py",
    "context": [{"identifier": "f", "path": "c.py", "snippet": "def f():\n    pass"}],
    "import_statement": "import c",
    "cropped_code": "def g():\n    \n",
    "next_line": "    return c.f()",
    "level": "2k",
}


def test_repobench(tmp_path):
    for setting in ("cross_file_first", "in_file"):
        lines = [json.dumps(row) for row in (REPO, {**REPO, "level": "24k"}, REPO)]
        (tmp_path / f"{setting}-00000-of-00001.jsonl").write_text("\n".join(lines))
    made = benchmark("repobench")
    found, data = load(made.sources(), tmp_path, benchmark="RepoBench", make=made.problems)
    # Levels above 16k are not asked for, and keep their numbers.
    assert [each.id for each in found] == ["cross_file_first/0", "cross_file_first/2", "in_file/0", "in_file/2"]
    assert found[0].prompt == (
        "# Repo Name: me/mine\n# Path: c.py\ndef f():\n    pass\n\n# Path: a/b.py\nimport c\ndef g():\n"
    )
    assert len(data.warnings) == 2
    assert made.truncated(found[0], "\n# so\n    return  c.f()\n\nx") == "    return  c.f()"
    verdict = made.check(found[0], "    return  c.f()").judge(())
    assert verdict.scores == {"exact_match": 1.0, "edit_similarity": 0.97}
    assert not made.check(found[0], "    return c.g()").judge(()).passed
    java = benchmark("repobench", {"language": "java"})
    (one,) = java.problems({"": [{**REPO, "file": "in_file.parquet"}]})
    assert one.prompt.startswith("// Repo Name: me/mine\n// Path: c.py\n")


@pytest.mark.parametrize(
    ("completion", "language", "line"),
    [
        ("\n\n  x\ny", "python", "  x"),
        ("# a\n\n'''b\nc'''\nd", "python", "d"),
        ("# a", "python", "# a"),
        ("// a\n/* b\n c */\nint d;", "java", "int d;"),
        # A block comment that closes where it opens goes on, as in the official code.
        ("/* a */\nint b;\nint c;", "java", "/* a */"),
        ("", "python", ""),
    ],
)
def test_the_first_line_that_is_code(completion, language, line):
    assert first_line(completion, language) == line


def test_crosscodeeval(tmp_path):
    row = {
        "prompt": "import a\n\ndef f(x):\n    y = ",
        "groundtruth": "a.size(x)",
        "metadata": {"task_id": "project_cc_python/1"},
        "crossfile_context": {"text": "# the pieces"},
    }
    for language in ("python", "java"):
        folder = tmp_path / language
        folder.mkdir()
        for task in ("line_completion", "line_completion_rg1_bm25"):
            (folder / f"{task}.jsonl").write_text(json.dumps(row))
    made = benchmark("crosscodeeval", {"retrieval": "rg1_bm25"})
    (one,), _ = load(made.sources(), tmp_path, benchmark="CrossCodeEval", make=made.problems)
    assert one.prompt == f"# the pieces\n{row['prompt']}"
    assert made.truncated(one, "a.size(\n        x)\n    return y\n") == "a.size(\n        x)"
    scores = made.check(one, "a.size(x)  # so").judge(()).scores
    assert scores == {"exact_match": 1, "edit_similarity": 1, "identifier_match": 1, "identifier_f1": 1}
    scores = made.check(one, "a.length(x)").judge(()).scores
    assert (scores["exact_match"], scores["identifier_match"]) == (0, 0)
    assert scores["identifier_f1"] == pytest.approx(2 / 3)
    plain = benchmark("crosscodeeval")
    (one,), _ = load(plain.sources(), tmp_path, benchmark="CrossCodeEval", make=plain.problems)
    assert one.prompt == f"\n{row['prompt']}"


def test_the_end_of_a_statement():
    assert bracket_statement(" a.b(c);\nd;") == " a.b(c);"
    assert bracket_statement("; a; b") == "; a; b"
    assert bracket_statement("no end") == "no end"
    assert python_statement("x = ", "f(\n1)\ny") == "f(\n1)"
    assert python_statement("x = ", "f(1)") == "f(1)"
    # Not Python 3: the first line with text.
    assert python_statement("print 'a'\nx = ", "f(1)\ny = 2\n") == "f(1)"
    assert python_statement("if a:\n    ", "b = 1\n    c") == "b = 1"


DS_ROW = {
    "prompt": "Q\nBEGIN SOLUTION\n<code>\n",
    "reference_code": "result = 1",
    "code_context": "def test_execution(code):\n    space = {}\n    exec(code, space)\n"
    "    assert space['result'] == 1\n",
    "metadata": {"problem_id": 7, "library": "Numpy"},
}


def test_ds1000(tmp_path):
    other = {**DS_ROW, "metadata": {"problem_id": 8, "library": "Pandas"}}
    (tmp_path / "ds1000.jsonl").write_text(json.dumps(DS_ROW) + "\n" + json.dumps(other))
    made = benchmark("ds-1000")
    found, _ = load(made.sources(), tmp_path, benchmark="DS-1000", make=made.problems)
    assert [(each.id, each.group) for each in found] == [("7", "Numpy"), ("8", "Pandas")]
    answer = made.truncated(found[0], "\nresult = 1\n</code>\nEND SOLUTION")
    assert answer == "result = 1"
    (work,) = made.check(found[0], answer).work
    exec(work.source, {})
    (work,) = made.check(found[0], "result = 2").work
    with pytest.raises(AssertionError):
        exec(work.source, {})
    assert "test_string(code)" not in work.source
    chosen = benchmark("ds-1000", {"library": "Pandas"})
    assert [each.id for each in chosen.problems({"": [DS_ROW, other]})] == ["8"]

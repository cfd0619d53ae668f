"""Files of benchmarks as their authors lay them out: real ones where they are at hand, made-up ones for the others."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starsmith.benchmarks import load
from starsmith.curate.benchmark_texts import FIELDS, named_layout
from starsmith.errors import StarsmithError

QUESTIONS = named_layout(prompt="question")
REAL = {
    ("humaneval", "humaneval/HumanEval.jsonl.gz"): (164, {"prompt", "docstring", "solution", "tests"}),
    ("humanevalplus", "humanevalplus/HumanEvalPlus.jsonl.gz"): (164, {"prompt", "docstring", "solution", "tests"}),
    ("mbpp", "mbpp/mbpp.jsonl.gz"): (500, {"prompt", "solution", "tests"}),
    ("mbppplus", "mbppplus/MbppPlus.jsonl.gz"): (378, {"prompt", "docstring", "solution", "tests"}),
    ("gsm8k", "gsm8k/test.jsonl.gz"): (1319, {"prompt", "solution"}),
    ("humanevalpack", "humanevalpack"): (6 * 164, {"prompt", "docstring", "solution", "tests"}),
    ("canitedit", "canitedit"): (105, {"prompt", "docstring", "solution", "tests"}),
    ("cruxeval", "cruxeval"): (800, {"solution"}),
    ("bigcodebench", "bigcodebench"): (148, {"prompt", "docstring", "solution", "tests"}),
}


@pytest.mark.parametrize(("benchmark", "path"), REAL)
def test_real_files(test_data, benchmark, path):
    problems, fields = REAL[benchmark, path]
    texts = load(benchmark, test_data / path)
    assert {text.field for text in texts} == fields
    assert len({text.problem for text in texts}) == problems
    for field in fields - {"tests"}:
        assert len({text.problem for text in texts if text.field == field}) == problems


def test_every_language_of_multipl_e(test_data):
    texts = load("multipl-e", test_data / "multipl_e_humaneval")
    with_docstring = {text.problem for text in texts if text.field == "docstring"}
    assert len({problem.split("/")[0] for problem in with_docstring}) == 19
    assert with_docstring == {text.problem for text in texts}


def test_every_canonical_docstring_is_that_of_its_function(test_data):
    path = test_data / "humaneval" / "HumanEval.jsonl.gz"
    rows = {row["task_id"]: row for row in map(json.loads, gzip.decompress(path.read_bytes()).splitlines())}
    for text in load("humaneval", path):
        if text.field == "docstring":
            row = rows[text.problem]
            assert text.text in row["prompt"].split(f"def {row['entry_point']}")[1]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.parquet"])
def test_every_kind_of_file(tmp_path, name):
    rows = [{"id": "first", "question": "How many?"}, {"id": "second", "question": "Wie viele?\u2028Ja."}]
    path = tmp_path / name
    text = (
        json.dumps(rows, ensure_ascii=False)
        if "jsonl" not in name
        else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    )
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    for place in (path, tmp_path):
        texts = load("mine", place, layout=QUESTIONS)
        assert [(t.benchmark, t.problem, t.field, t.text) for t in texts] == [
            ("mine", "first", "prompt", "How many?"),
            ("mine", "second", "prompt", "Wie viele?\u2028Ja."),
        ]


def test_an_object_of_problems_is_read_by_its_keys(tmp_path):
    (tmp_path / "a.json").write_text('{"p/1": {"question": "q"}, "p/2": {"id": "own", "question": "r"}}')
    assert [text.problem for text in load("mine", tmp_path / "a.json", layout=QUESTIONS)] == ["p/1", "own"]


def test_folders_of_apps(tmp_path):
    for number in ("0000", "0001"):
        folder = tmp_path / "test" / number
        folder.mkdir(parents=True)
        (folder / "question.txt").write_text(f"Question {number}?")
        (folder / "solutions.json").write_text('["not", "read"]')
    texts = load("apps", tmp_path)
    assert [(t.problem, t.field, t.text) for t in texts] == [
        ("test/0000", "prompt", "Question 0000?"),
        ("test/0001", "prompt", "Question 0001?"),
    ]


def test_folders_of_ds1000(tmp_path):
    folder = tmp_path / "Numpy" / "Completion" / "q0"
    (folder / "ans").mkdir(parents=True)
    (folder / "prompt.txt").write_text("Problem\nA:\n<code>\nBEGIN SOLUTION\n<code>\n")
    (folder / "reference_code.txt").write_text("x = 1")
    (folder / "ans" / "ans0.pkl").write_bytes(b"\x80\x04never opened")
    texts = load("ds1000", tmp_path)
    assert [(t.problem, t.field, t.text) for t in texts] == [
        ("Numpy/Completion/q0", "prompt", "Problem\nA:\n<code>\n"),
        ("Numpy/Completion/q0", "solution", "x = 1"),
    ]
    assert {text.field for text in texts} <= set(FIELDS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.jsonl", None, "cannot be read"),
        ("a.csv", b"x", "not a benchmark file"),
        ("a.jsonl", b"", "at least one"),
        ("a.jsonl", b"{", "not valid JSON"),
        ("a.jsonl", b"[1]\n", "one object for each problem"),
        ("a.jsonl", b'{"x": "\xff"}', "cannot be read"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"x" * 5000, mtime=0)[:-12], "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"question": "q"}', mtime=0)[:12] + b"\xff" * 30, "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.json", b"1", "at least one"),
        ("a.jsonl", b'{"answer": "x"}', "has none of the fields question"),
        ("a.jsonl", b'{"question": " "}', "no problem of mine"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StarsmithError, match=message) as error:
        load("mine", tmp_path / name, layout=QUESTIONS)
    assert name in str(error.value)


def test_an_unknown_benchmark_needs_fields(tmp_path):
    with pytest.raises(StarsmithError, match="'mine' is not known; name the fields"):
        load("mine", tmp_path)


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(StarsmithError, match="no benchmark file lies in this folder"):
        load("humaneval", tmp_path)

"""Files of generations: both forms, and all that can be wrong with them."""

import gzip
import json
import tracemalloc

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate import generations
from starsmith.evaluate.generations import Generations

TASKS = ["HumanEval/0", "HumanEval/1", "HumanEval/2"]


def written(folder, *lines, name="g.jsonl"):
    path = folder / name
    content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def row(task, text="x"):
    return {"task_id": task, "completion": text}


@pytest.mark.parametrize("name", ["g.jsonl", "g.jsonl.gz"])
def test_json_lines(tmp_path, name):
    lines = [
        row(TASKS[0], "a"),
        b"",
        {"task_id": TASKS[1], "solution": "b"},
        {"id": TASKS[0], "completions": ["c", "d"]},
    ]
    found = list(Generations(written(tmp_path, *lines, name=name), TASKS))
    assert [(each.task, each.number, each.text, each.whole, each.line) for each in found] == [
        (TASKS[0], 0, "a", False, 1),
        (TASKS[1], 0, "b", True, 3),
        (TASKS[0], 1, "c", False, 4),
        (TASKS[0], 2, "d", False, 4),
    ]


def test_one_value_with_an_id_for_each_list(tmp_path):
    path = tmp_path / "generations.json"
    path.write_text(json.dumps({"sample_1": ["a", "b"], "sample_0": ["c"]}))
    found = [(each.task, each.text) for each in Generations(path, ["sample_0", "sample_1"])]
    assert found == [("sample_1", "a"), ("sample_1", "b"), ("sample_0", "c")]


def test_lists_in_the_order_of_the_benchmark_are_whole_programs(tmp_path):
    path = tmp_path / "generations.json"
    path.write_text(json.dumps([["a"], ["b"]]))
    read = Generations(path, TASKS)
    assert [(each.task, each.text, each.whole) for each in read] == [(TASKS[0], "a", True), (TASKS[1], "b", True)]
    assert read.report.missing == [TASKS[2]]


def test_numbers_of_mbpp_with_and_without_its_name(tmp_path):
    path = written(tmp_path, row("Mbpp/11"), row(12), row("Other/11"))
    read = Generations(path, ["11", "12"])
    assert [each.task for each in read] == ["11", "12"]
    assert read.report.unknown == {"Other/11": 1}
    assert [each.task for each in Generations(path, ["Mbpp/11", "Mbpp/12"])] == ["Mbpp/11", "Mbpp/12"]


def test_what_is_missing_unknown_uneven_and_too_much_is_named(tmp_path):
    path = written(tmp_path, row(TASKS[0]), row(TASKS[0]), row("HumanEval/9"), row(TASKS[1]))
    read = Generations(path, TASKS)
    assert len(list(read)) == 3
    told = " ".join(read.report.warnings())
    assert "1 problems have no generation: 'HumanEval/2'" in told
    assert "1 generations are of no problem here: 'HumanEval/9'" in told
    assert "have not" in told
    read = Generations(path, TASKS, samples=1)
    assert [each.task for each in read] == [TASKS[0], TASKS[1]]
    assert "1 generations more than asked for: 'HumanEval/0'" in " ".join(read.report.warnings())


def test_bytes_that_are_no_text_fail_their_completion_alone(tmp_path):
    broken = b'{"task_id": "HumanEval/1", "completion": "\xff\xfe"}'
    read = Generations(written(tmp_path, row(TASKS[0]), broken, {**row(TASKS[2]), "completion": "\ud800"}), TASKS)
    first, second, third = read
    assert (first.fault, second.task, second.fault) == ("", TASKS[1], "invalid UTF-8")
    assert "surrogate" in third.fault
    assert read.report.faulty == 2
    assert "line 2, HumanEval/1: invalid UTF-8" in read.report.warnings()[-1]


def test_a_completion_of_100_megabytes_is_named_and_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(generations, "LONGEST_LINE", 1 << 20)
    path = tmp_path / "g.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"task_id": "HumanEval/1", "completion": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n' + json.dumps(row(TASKS[0])).encode())
    tracemalloc.start()
    try:
        long, good = Generations(path, TASKS)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (long.task, long.text, good.text) == (TASKS[1], "", "x")
    assert "100,000," in long.fault
    assert held < 8 << 20


def test_a_text_too_long_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(generations, "LONGEST_TEXT", 10)
    (found,) = Generations(written(tmp_path, row(TASKS[0], "x" * 11)), TASKS)
    assert (found.text, found.fault) == ("", "a completion of 11 characters")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[1]", "expected a JSON object"),
        (b"{", "line 1: not valid JSON"),
        (b'{"task_id": "HumanEval/0"}', "found 'task_id'"),
        (b'{"completion": "x"}', "found 'completion'"),
        (b'{"completion": "\xff"}', "no task_id can be found"),
    ],
)
def test_lines_that_are_no_generation(tmp_path, line, message):
    with pytest.raises(StarsmithError, match=message):
        list(Generations(written(tmp_path, line), TASKS))


def test_a_completion_that_is_no_text_fails(tmp_path):
    (found,) = Generations(written(tmp_path, {"task_id": TASKS[0], "completion": 3}), TASKS)
    assert found.fault == "a completion of type int"


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(StarsmithError, match="cannot be read"):
        list(Generations(tmp_path / "none.jsonl", TASKS))
    (tmp_path / "g.jsonl.gz").write_bytes(gzip.compress(b"{}" * 999)[:-9])
    with pytest.raises(StarsmithError, match="cannot be read"):
        list(Generations(tmp_path / "g.jsonl.gz", TASKS))
    (tmp_path / "g.json").write_text('"text"')
    with pytest.raises(StarsmithError, match="id: list"):
        list(Generations(tmp_path / "g.json", TASKS))

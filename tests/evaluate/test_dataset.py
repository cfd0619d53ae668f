"""Finding the official files: by name, by digest, and what is said where they are not there."""

import gzip
import hashlib
import json
import shutil

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate import dataset
from starsmith.evaluate.benchmarks import PLACES, benchmark
from starsmith.evaluate.dataset import Source, load, read

SOURCE = Source(names=("Set.jsonl",), where="https://example.org, Set.jsonl.gz", licence="MIT")


def test_a_file_packed_or_not_has_one_digest(tmp_path):
    content = b'{"a": 1}\n{"a": 2}\n'
    (tmp_path / "Set.jsonl.gz").write_bytes(gzip.compress(content))
    data = read([SOURCE], tmp_path, benchmark="Set")
    assert data.rows == {"": [{"a": 1}, {"a": 2}]}
    (file,) = data.files
    assert (file.digest, file.version, file.rows) == (hashlib.sha256(content).hexdigest(), "", 2)
    assert file.digest in data.warnings[0]
    (tmp_path / "other.jsonl").write_bytes(content)
    assert read([SOURCE], tmp_path / "other.jsonl", benchmark="Set").files[0].digest == file.digest


def test_a_known_file_is_named(test_data, tmp_path):
    human_eval = benchmark("humaneval")
    data = read(human_eval.sources(), test_data, benchmark="HumanEval")
    assert data.files[0].version == "openai/human-eval 6d43fb98"
    assert data.warnings == ()
    shutil.copy(test_data / "humaneval" / "HumanEval.jsonl.gz", tmp_path / "mine.gz")
    with pytest.raises(StarsmithError, match=r"no HumanEval.jsonl.*Get it from https://github.com/openai/human-eval"):
        read(human_eval.sources(), tmp_path, benchmark="HumanEval")


def test_the_file_nearest_to_the_top_counts_and_two_beside_each_other_do_not(tmp_path):
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "Set.jsonl").write_text(json.dumps({"from": folder}))
    assert read([SOURCE], tmp_path, benchmark="Set").rows[""] == [{"from": "a"}]
    (tmp_path / "b" / "Set.jsonl").write_text("{}")
    with pytest.raises(StarsmithError, match="could be meant"):
        read([SOURCE], tmp_path, benchmark="Set")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "at least one"), (b"{", "cannot be read"), (b"[1]", "one JSON object"), (b"\xff", "cannot be read")],
)
def test_files_that_are_none(tmp_path, content, message):
    (tmp_path / "Set.jsonl").write_bytes(content)
    with pytest.raises(StarsmithError, match=message):
        read([SOURCE], tmp_path, benchmark="Set")


def test_a_file_that_ends_too_soon_and_one_too_large(tmp_path, monkeypatch):
    path = tmp_path / "Set.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}" * 1000)[:-9])
    with pytest.raises(StarsmithError, match="cannot be unpacked"):
        read([SOURCE], path, benchmark="Set")
    monkeypatch.setattr(dataset, "LARGEST_FILE", 10)
    path.write_bytes(gzip.compress(b"{}" * 1000))
    with pytest.raises(StarsmithError, match="larger than 10 bytes"):
        read([SOURCE], path, benchmark="Set")


@pytest.mark.parametrize("name", PLACES)
def test_rows_of_something_else_are_told_with_where_the_right_ones_are(tmp_path, name):
    made = benchmark(name)
    if len(made.sources()) > 1:
        named = made.sources()[0].names[0]
    else:
        named = made.sources()[0].names[-1].replace("*", "-").rpartition("/")[2]
    path = tmp_path / named.replace(".parquet", ".jsonl")
    path.write_text('{"unlike": "anything"}')
    with pytest.raises(StarsmithError, match="Get it from https://"):
        load(made.sources(), path, benchmark=made.title, make=made.problems)


def test_optional_files_that_are_missing_are_listed(test_data, tmp_path):
    shutil.copy(test_data / "multipl_e_humaneval" / "humaneval-lua.jsonl.gz", tmp_path)
    problems, data = load(
        benchmark("multipl-e").sources(), tmp_path, benchmark="MultiPL-E", make=benchmark("multipl-e").problems
    )
    assert len(problems) == 161
    assert len(data.missing) == 17

"""What is taken from the rows of a benchmark. The problems are made up here."""

import pytest

from starsmith.curate.benchmark_texts import LAYOUTS, before_solution, docstring_of, named_layout, problem_texts
from starsmith.errors import StarsmithError


def texts(benchmark: str, *rows: dict[str, object]) -> list[tuple[str, str, str]]:
    return [(p.problem, p.field, p.text) for p in problem_texts(benchmark, rows, LAYOUTS[benchmark])]


def test_a_docstring_is_taken_from_the_prompt():
    prompt = "def first(x):\n    \"\"\"Helper.\"\"\"\n\ndef half(x):\n    '''Halve x.'''\n"
    row = {"task_id": "HumanEval/900", "prompt": prompt, "canonical_solution": "    return x / 2", "test": "check()"}
    assert texts("humaneval", row) == [
        ("HumanEval/900", "prompt", prompt),
        ("HumanEval/900", "solution", "    return x / 2"),
        ("HumanEval/900", "tests", "check()"),
        ("HumanEval/900", "docstring", "Halve x."),
    ]


def test_mbpp_has_the_five_hundred_of_its_test_split():
    rows = [{"task_id": number, "text": "t", "code": "c", "test_list": ["a", "b"]} for number in range(1, 975)]
    problems = {problem for problem, _, _ in texts("mbpp", *rows)}
    assert problems == {str(number) for number in range(11, 511)}
    assert texts("mbpp", rows[10]) == [("11", "prompt", "t"), ("11", "solution", "c"), ("11", "tests", "a\nb")]


def test_languages_of_multipl_e_are_told_apart():
    row = {"name": "HumanEval_900_half", "language": "lua", "stop_tokens": [], "prompt": "-- Halve.\n-- It.\nlocal x"}
    assert texts("multipl-e", row)[1] == ("lua/HumanEval_900_half", "docstring", "-- Halve.\n-- It.")


def test_rows_without_an_id_are_known_by_their_number():
    assert texts("gsm8k", {"question": "a", "answer": ""}, {"question": "b"}) == [
        ("0", "prompt", "a"),
        ("1", "prompt", "b"),
    ]


def test_the_id_of_ds1000_lies_in_its_metadata():
    row = {"prompt": "Problem\nBEGIN SOLUTION\n<code>", "metadata": {"problem_id": 7}, "reference_code": "r"}
    assert texts("ds1000", row) == [("7", "prompt", "Problem\n"), ("7", "solution", "r")]


def test_a_word_for_nothing_is_no_text():
    row = {"task_id": "Rust/1", "prompt": "p", "example_test": "None", "test": "t"}
    assert ("Rust/1", "tests", "t") in texts("humanevalpack", row)
    assert all(text != "None" for _, _, text in texts("humanevalpack", row))


@pytest.mark.parametrize(
    ("prompt", "docstring"),
    [
        ("package x\n\n// Halve\n// it.\nfunc half() {", "// Halve\n// it."),
        ("#include <a.h>\n/*\nHalve it.\n*/\nint half(int x) {", "\nHalve it.\n"),
        ("#!/bin/bash\n# Halve it.\nhalf() {", "# Halve it."),
        ("#lang racket\n;; Halve it.\n(define (half x)", ";; Halve it."),
        ("int half(int x) {", ""),
    ],
)
def test_docstrings_of_other_languages(prompt, docstring):
    assert docstring_of(prompt) == docstring


def test_a_prompt_ends_where_its_solution_begins():
    assert before_solution("Problem\n### SOLUTION START\nx = 1") == "Problem\n"
    assert before_solution("Problem\n") == "Problem\n"


def test_a_row_without_any_field_is_an_error():
    with pytest.raises(StarsmithError, match="row 1 has none of the fields answer, question; it has a, b"):
        texts("gsm8k", {"question": "q"}, {"b": "x", "a": "y"})


def test_a_field_of_another_kind_is_an_error():
    with pytest.raises(StarsmithError, match="field question is int"):
        texts("gsm8k", {"question": 1})


def test_a_benchmark_of_ones_own_needs_a_field():
    with pytest.raises(StarsmithError, match="at least one field"):
        named_layout(identifier="nr")

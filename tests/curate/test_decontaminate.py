"""Which planted copies of a problem are found by which rule. The problems are made up here."""

import dataclasses
import subprocess
import sys

import pyarrow as pa
import pytest

from starsmith.benchmarks import load
from starsmith.curate.benchmark_texts import ProblemText
from starsmith.curate.decontaminate import MATCHES, Index, generic_solutions, scan
from starsmith.errors import StarsmithError
from starsmith.settings import DecontaminationSettings

DOCSTRING = """ Given the heights of the planks of a fence from left to right, return how many litres
    of paint are needed where one litre is enough for seven planks of average height.
    >>> paint_for_fence([1, 2, 3])
    2
    """
HEAD = "from typing import List\n\n\ndef paint_for_fence(heights: List[int]) -> int:\n"
PROMPT = f'{HEAD}    """{DOCSTRING}"""\n'
SOLUTION = """    mean_height = sum(heights) / max(1, len(heights))
    litres, planks_left = 0, len(heights) * mean_height
    while planks_left > 0:
        litres, planks_left = litres + 1, planks_left - 7 * mean_height
    return litres + (litres % 2 == 0)
"""
TESTS = "def check(candidate):\n    assert candidate([1, 2, 3]) == 2\n    assert candidate([]) == 1\n"
PARTS = {"prompt": PROMPT, "docstring": DOCSTRING, "solution": SOLUTION, "tests": TESTS}
PROBLEM = [ProblemText(benchmark="fences", problem="fences/1", field=f, text=text) for f, text in PARTS.items()]
BEFORE = b"import os\n\n\ndef unrelated(path):\n    return os.path.join(path, 'name')\n\n\n"


def edited(text: str) -> str:
    return text.replace("    while planks_left > 0:", "    while not planks_left <= 0:")


def renamed(text: str) -> str:
    for old, new in (("heights", "h"), ("mean_height", "m"), ("litres", "cans"), ("planks_left", "rest")):
        text = text.replace(old, new)
    return text


COPIES = {
    "verbatim": PROMPT + SOLUTION,
    "indented, upper case": "".join(f"\t\t{line}\r\n" for line in (PROMPT + SOLUTION).upper().splitlines()),
    "docstring": f'def f(x):\n    """{DOCSTRING}"""\n',
    "docstring as # lines": "".join(f"# {line.strip()}\n" for line in DOCSTRING.splitlines()),
    "solution": f"def f(heights):\n{SOLUTION}",
    "solution, one line changed": f"def f(heights):\n{edited(SOLUTION)}",
    "all renamed": f"def f(h):\n{renamed(SOLUTION)}",
    "translated docstring": f'{HEAD}    """ Wie viel Farbe braucht der Zaun? """\n{SOLUTION}',
    "tests": TESTS,
}
FOUND_BY = {
    "verbatim": {"paper": {"prompt", "docstring", "solution"}, "ngram": {"prompt", "docstring", "solution"}},
    "indented, upper case": {
        "paper": {"prompt", "docstring", "solution"},
        "ngram": {"prompt", "docstring", "solution"},
    },
    "docstring": {"paper": {"docstring"}, "ngram": {"prompt", "docstring"}},
    "docstring as # lines": {"paper": set(), "ngram": {"prompt", "docstring"}},
    "solution": {"paper": {"solution"}, "ngram": {"solution"}},
    "solution, one line changed": {"paper": set(), "ngram": {"solution"}},
    "all renamed": {"paper": set(), "ngram": set()},
    "translated docstring": {"paper": {"solution"}, "ngram": {"solution"}},
    "tests": {"paper": {"tests"}, "ngram": {"tests"}},
}
"""The promise: which parts of the problem each rule finds in each copy."""


def batch(*texts: str | bytes) -> pa.LargeBinaryArray:
    return pa.array([text.encode() if isinstance(text, str) else text for text in texts], pa.large_binary())


def index_of(*problems: ProblemText, **keys: object) -> Index:
    return Index.build(problems or PROBLEM, DecontaminationSettings(**keys))


def solution(text: str, problem: str = "1", benchmark: str = "b") -> ProblemText:
    return ProblemText(benchmark=benchmark, problem=problem, field="solution", text=text)


@pytest.mark.parametrize("rule", ["paper", "ngram"])
@pytest.mark.parametrize("copy", COPIES)
def test_which_rule_finds_which_copy(copy, rule):
    matches = scan(batch(BEFORE + COPIES[copy].encode(), BEFORE), index_of(rule=rule))
    assert set(matches["field"].to_pylist()) == FOUND_BY[copy][rule]
    assert set(matches["document"].to_pylist()) <= {0}
    assert set(matches["kind"].to_pylist()) <= {{"paper": "text", "ngram": "words"}[rule]}


def test_both_rules_find_what_either_finds():
    matches = scan(batch(*COPIES.values()), index_of(rule="both"))
    for number, copy in enumerate(COPIES):
        fields = {row["field"] for row in matches.to_pylist() if row["document"] == number}
        assert fields == FOUND_BY[copy]["paper"] | FOUND_BY[copy]["ngram"]


def test_evidence_names_problem_part_and_place():
    document = "Ä\n" + COPIES["solution"]
    (row,) = scan(batch(document), index_of()).to_pylist()
    assert row == {
        "document": 0,
        "benchmark": "fences",
        "problem": "fences/1",
        "field": "solution",
        "kind": "text",
        "position": document.encode().index(b"mean_height"),
        "share": 1.0,
    }


def test_the_share_of_an_edited_copy():
    (row,) = scan(batch(COPIES["solution, one line changed"]), index_of(rule="ngram")).to_pylist()
    assert 0.5 <= row["share"] < 1
    strict = index_of(rule="ngram", ngram_share=0.99)
    assert scan(batch(COPIES["solution, one line changed"]), strict).num_rows == 0


def test_the_papers_generic_solutions_are_no_sign():
    generic = [solution(text) for text in ("  return x + y\n", "return len(string)", "return n**2")]
    told = solution("return x + y - 1")
    matches = scan(batch("return x + y\nreturn x + y - 1"), index_of(*generic, told, min_length=0))
    assert matches["position"].to_pylist() == [13]
    with pytest.raises(StarsmithError, match="3 were read, all of them generic or shorter"):
        index_of(*generic, min_length=0)
    assert b"returnn**2" in generic_solutions()


def test_short_texts_are_left_out():
    short, long = solution("x" * 29, "short"), solution("y" * 30, "long")
    matches = scan(batch(b"x" * 29 + b" " + b"y" * 30), index_of(short, long))
    assert matches["problem"].to_pylist() == ["long"]


def test_solutions_and_tests_can_be_left_out():
    documents = batch(COPIES["solution"], COPIES["tests"])
    assert scan(documents, index_of(solutions=False))["field"].to_pylist() == ["tests"]
    assert scan(documents, index_of(tests=False))["field"].to_pylist() == ["solution"]


def test_equal_texts_of_several_problems_are_all_named():
    text = "return the_same_solution_of_two_benchmarks()"
    index = index_of(solution(text, "1", "first"), solution(text.upper(), "2", "second"), rule="both")
    matches = scan(batch(text), index).to_pylist()
    assert [(row["benchmark"], row["problem"]) for row in matches if row["kind"] == "text"] == [
        ("first", "1"),
        ("second", "2"),
    ]


def test_a_part_is_named_once_however_many_of_its_texts_are_there():
    index = index_of(solution("a_very_long_solution_of_a_problem()"), solution("another_solution_of_the_problem()"))
    matches = scan(batch("# another_solution_of_the_problem()\na_very_long_solution_of_a_problem()"), index)
    assert matches["position"].to_pylist() == [2]


def test_nothing_to_look_for_is_an_error():
    with pytest.raises(StarsmithError, match="No benchmark text is left"):
        Index.build([], DecontaminationSettings())


def test_matches_have_their_schema_even_where_there_are_none():
    for rule in ("paper", "ngram", "both"):
        matches = scan(batch(BEFORE), index_of(rule=rule))
        assert (matches.schema, matches.num_rows) == (MATCHES, 0)
        assert scan(batch(), index_of(rule=rule)).schema == MATCHES


def test_an_index_comes_back_from_its_bytes(tmp_path):
    for rule in ("paper", "ngram", "both"):
        index = index_of(rule=rule)
        (tmp_path / rule).write_bytes(index.to_bytes())
        with pa.memory_map(str(tmp_path / rule)) as mapped:
            again = Index.from_buffer(mapped.read_buffer())
            assert (again.digest, again.settings) == (index.digest, index.settings)
            assert again.to_bytes() == index.to_bytes()
            assert scan(batch(*COPIES.values()), again).equals(scan(batch(*COPIES.values()), index))


def test_something_else_is_no_index():
    with pytest.raises(StarsmithError, match="not a decontamination index"):
        Index.from_buffer(pa.py_buffer(b"something else"))


def test_the_digest_follows_texts_names_and_settings_but_no_order():
    digests = {
        index_of().digest,
        index_of(min_length=31).digest,
        index_of(*PROBLEM[:2]).digest,
        index_of(*[dataclasses.replace(p, problem="other") for p in PROBLEM]).digest,
        index_of(*[dataclasses.replace(p, text=p.text + "x") for p in PROBLEM]).digest,
    }
    assert len(digests) == 5
    assert index_of(*reversed(PROBLEM)).digest == index_of().digest
    assert index_of(*reversed(PROBLEM), rule="both").to_bytes() == index_of(rule="both").to_bytes()


def test_the_digest_is_the_same_in_another_process():
    code = (
        "from starsmith.curate.decontaminate import *; from starsmith.curate.benchmark_texts import ProblemText as P;"
        "print(Index.build([P(benchmark='b', problem=str(i), field='prompt', text='word ' * (9 + i))"
        " for i in range(9)],"
        "DecontaminationSettings(rule='both')).digest)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_every_humaneval_problem_is_found_verbatim_and_upper_case(test_data):
    problems = load("humaneval", test_data / "humaneval" / "HumanEval.jsonl.gz")
    prompts = [problem for problem in problems if problem.field == "prompt"]
    documents = [BEFORE + text.encode() for p in prompts for text in (p.text, p.text.upper().replace(" ", "\t"))]
    matches = scan(batch(*documents), Index.build(problems, DecontaminationSettings()))
    found = {(row["document"] // 2, row["problem"]) for row in matches.to_pylist() if row["field"] == "prompt"}
    assert found == {(number, problem.problem) for number, problem in enumerate(prompts)}
    assert len(set(matches["document"].to_pylist())) == 2 * 164

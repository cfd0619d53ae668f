"""EvalPlus's oracle without running anything: values, tolerances, special oracles, deserialisation."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.evaluate import differential
from starsmith.evaluate.benchmarks import benchmark
from starsmith.evaluate.dataset import load
from starsmith.evaluate.differential import PlusProblem, first_difference
from starsmith.evaluate.inputs import mbpp_arguments
from starsmith.evaluate.inside.wire import Opaque
from starsmith.evaluate.run import Output, Run


def problem(entry_point="f", *, mbpp=True, tolerance=0.0):
    call = ((1,),)
    return PlusProblem(id="x", prompt="", entry_point=entry_point, base=call, plus=call, tolerance=tolerance, mbpp=mbpp)


def right(given, found, official, **about):
    arguments = given if isinstance(given, tuple) else (given,)
    return first_difference(problem(**about), [arguments], [Output(value=found)], [official]) is None


@pytest.mark.parametrize(
    ("found", "official", "expected"),
    [
        (3, 3, True),
        (3, 4, False),
        (True, 1, True),
        ([1, 2], (1, 2), False),
        (0.1 + 0.2, 0.3, True),
        (0.3001, 0.3, False),
        (1, 1.0000000001, False),
        ([0.1 + 0.2, 1.0], [0.3, 1.0], True),
        ([0.3], [0.3, 1.0], False),
        ((0.1 + 0.2,), [0.3], False),
        (math.inf, math.inf, True),
        (math.inf, 1.0, False),
        (1.0, math.inf, False),
        (math.nan, math.nan, False),
        ("a", 1.0, False),
        (None, 1.0, False),
        (Opaque(0, "thing"), 1, False),
    ],
)
def test_equality_and_floats(found, official, expected):
    assert right(1, found, official) is expected


def test_a_tolerance_of_the_task_holds_for_nested_numbers():
    assert right(1, [[1.00005], [2]], [[1.0], [2]], tolerance=1e-4)
    assert not right(1, [[1.0005], [2]], [[1.0], [2]], tolerance=1e-4)
    assert not right(1, ["a"], ["b"], tolerance=1e-4)


def test_a_float_raises_the_tolerance_of_the_calls_after_it():
    outputs = [Output(value=1.0), Output(value=100_000_001)]
    assert first_difference(problem(), [(1,), (2,)], outputs, [1.0, 100_000_000]) is None
    assert first_difference(problem(), [(1,)], outputs[1:], [100_000_000]) == 0


def test_find_zero_is_judged_by_the_polynomial():
    assert right([1.0, 2.0], -0.5, None, entry_point="find_zero", mbpp=False, tolerance=1e-4)
    assert not right([1.0, 2.0], 0.5, -0.5, entry_point="find_zero", mbpp=False, tolerance=1e-4)
    assert not right([1.0, 2.0], "a", -0.5, entry_point="find_zero", mbpp=False, tolerance=1e-4)


def test_special_oracles_of_mbpp():
    assert right((36, 57), "whatever", False, entry_point="are_equivalent")
    assert right(8, 0, 7, entry_point="sum_div")
    assert not right(8, 1, 7, entry_point="sum_div")
    # A pyramid of base 3 and height 4: 9 + 6 * sqrt(18.25) = 34.6.
    assert right((3, 4), 35, 33, entry_point="surface_Area")
    assert not right((3, 4), 34, 33, entry_point="surface_Area")
    assert right((23, 156), 1 + 3 + 3, 6, entry_point="digit_distance_nums")
    assert not right((23, 156), 8, 6, entry_point="digit_distance_nums")
    assert right(1, [3, 3, 1], (1, 3), entry_point="extract_singly")
    assert not right(1, [3], (1, 3), entry_point="extract_singly")
    assert not right(1, 3, (1, 3), entry_point="extract_singly")


def test_tasks_where_only_something_counts():
    name = "text_match_three"
    assert right("a", Opaque(0, "re.Match"), Opaque(1, "re.Match"), entry_point=name)
    assert right("a", "Found", Opaque(1, "re.Match"), entry_point=name)
    assert right("a", True, Opaque(1, "re.Match"), entry_point=name)
    assert right("a", False, None, entry_point=name)
    assert not right("a", True, None, entry_point=name)
    assert not right("a", "Not matched", None, entry_point=name)


def test_an_exception_is_a_difference():
    assert first_difference(problem(), [(1,)], [Output(raised="KeyError")], [None]) == 0


numbers = st.floats(allow_nan=False) | st.integers(-(10**6), 10**6)


@given(st.recursive(numbers, lambda inner: st.lists(inner, max_size=3)))
def test_all_close_holds_for_the_same(value):
    assert differential.all_close(value, json.loads(json.dumps(value)), 1e-6)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_all_close_is_the_bound(found, official):
    assert differential.all_close(found, official, 1e-6) == (abs(found - official) <= 1e-6 + 1e-7 * abs(official))


def run(status="passed", *values, **other):
    return Run(id="x", status=status, outputs=tuple(Output(value=value) for value in values), **other)


def test_plus_needs_base():
    official = (run("passed", 1), run("passed", 2))
    verdict = differential.judged(problem(), (run("passed", 1), run("passed", 3)), official)
    assert (verdict.passed, verdict.scores, verdict.reason) == (False, {"base": 1.0, "plus": 0.0}, "wrong")
    verdict = differential.judged(problem(), (run("timeout"), run("passed", 2)), official)
    assert (verdict.scores, verdict.reason) == ({"base": 0.0, "plus": 0.0}, "timeout")
    verdict = differential.judged(problem(), (run("passed", 1), run("passed", 2)), official)
    assert verdict.passed


def test_limits_follow_the_official_solution_call_by_call():
    timed = (run("passed", (1, 2.0)), run("passed", (1, 0.1)))
    first, second = differential.check(problem(), "def f(x): return x", timed).work
    assert (first.limits.cpu_seconds, second.limits.cpu_seconds) == (9.0, 5.0)
    assert "iter([8.0])" in first.source


def test_the_official_solution_is_timed():
    made = replace(problem("f"), reference="def f(x): return x")
    work = differential.reference_work(made)[0]
    space = {}
    exec(work.source, space)
    value, seconds = space[work.entry_point](7)
    assert value == 7
    assert 0 <= seconds < 1
    timed = [run("passed", (7, 0.1))] * 2
    verdict = differential.check(made, "", timed).judge([run("passed", 7)] * 2)
    assert verdict.passed


def test_the_wrapper_in_the_process_of_a_test():
    source = "def f(x):\n    while x == 3: pass\n    return (each for each in [x, x])\n"
    program = differential.program(problem("f"), source, [(1,)], [0.2] * 3)
    space = {}
    exec(program.source, space)
    assert list(space[program.entry_point](1)) == [1, 1]
    with pytest.raises(BaseException, match="too long"):
        space[program.entry_point](3)
    long = differential.program(problem("f"), "def f(x): return x * 'ab'", [(1,)], [0.2] * 3)
    exec(long.source, space)
    mark, size, digest = space[long.entry_point](60_000)
    assert (mark, size, len(digest)) == ("digest", 120_000, 64)
    assert space[long.entry_point](60_001)[2] != digest
    listed = differential.program(problem("Diff"), source.replace("f(", "Diff("), [(1,)], [0.2] * 3)
    exec(listed.source, space)
    assert space[listed.entry_point](1) == [1, 1]


@pytest.mark.parametrize(
    ("task", "given", "expected"),
    [
        (1, [[1]], ([1],)),
        (2, [[1], [2]], ((1,), (2,))),
        (63, [[[1, 2]]], ([(1, 2)],)),
        (75, [[[1]], 2], ([(1,)], 2)),
        (106, [[1], [2]], ([1], (2,))),
        (115, [[[1], []]], ([{1}, {}],)),
        (124, ["1", "2j"], (1.0, 2j)),
        (252, ["1+2j"], (1 + 2j,)),
        (259, [[[1]]], (((1,),),)),
        (278, [[1, [2]]], ((1, (2,)),)),
        (307, [[1], 2, 3], ((1,), 2, 3)),
        (580, [[[1, [2]]]], (((1, (2,)),),)),
        (722, [{"a": [1]}, 2], ({"a": (1,)}, 2)),
    ],
)
def test_inputs_get_back_what_json_took(task, given, expected):
    assert mbpp_arguments(task, given) == expected


@pytest.mark.parametrize(("edition", "count"), [("0.2.0", 378), ("0.1.0", 399)])
def test_both_editions_of_mbpp_plus(test_data, edition, count):
    made = benchmark("mbpp-plus", {"edition": edition})
    problems, data = load(made.sources(), test_data, benchmark=made.title, make=made.problems)
    assert len(problems) == count
    assert data.files[0].version == f"MBPP+ v{edition}"
    assert {each.tolerance for each in problems} == {0, 1e-4}


def test_humaneval_plus(test_data):
    made = benchmark("humaneval-plus")
    problems, _ = load(made.sources(), test_data / "humanevalplus", benchmark=made.title, make=made.problems)
    assert len(problems) == 164
    assert {each.id: each.tolerance for each in problems if each.tolerance} == {
        "HumanEval/2": 1e-6,
        "HumanEval/4": 1e-6,
        "HumanEval/32": 1e-4,
    }
    base, plus = made.reference_work(problems[0])
    assert (len(base.calls), len(plus.calls)) == (7, 999)
    cut = made.truncated(problems[0], "    return 1\n\nassert x\n")
    assert cut == "    return 1\n"

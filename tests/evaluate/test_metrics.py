"""pass@k against brute force; intervals; likeness of texts."""

import difflib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.evaluate import metrics


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_pass(passed, k):
    k = min(k, len(passed))
    draws = list(itertools.combinations(passed, k))
    brute = sum(any(draw) for draw in draws) / len(draws)
    assert metrics.pass_at_k(len(passed), sum(passed), k) == pytest.approx(brute)


@given(st.integers(1, 300), st.data())
def test_pass_at_k_grows_with_passes_and_with_k(samples, data):
    passed = data.draw(st.integers(0, samples - 1))
    k = data.draw(st.integers(1, samples))
    here = metrics.pass_at_k(samples, passed, k)
    assert 0 <= here <= metrics.pass_at_k(samples, passed + 1, k) <= 1
    assert metrics.pass_at_k(samples, passed, 1) == pytest.approx(passed / samples)


@pytest.mark.parametrize("numbers", [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_of_nonsense(numbers):
    with pytest.raises(ValueError, match="pass@"):
        metrics.pass_at_k(*numbers)


def test_an_interval_is_repeatable_and_about_right():
    values = [1.0] * 60 + [0.0] * 40
    first, again = metrics.estimate(values), metrics.estimate(values)
    assert first == again
    assert first.value == pytest.approx(0.6)
    # The normal approximation says 0.504 to 0.696.
    assert first.low == pytest.approx(0.504, abs=0.02)
    assert first.high == pytest.approx(0.696, abs=0.02)
    assert metrics.estimate([0.3]) == metrics.Estimate(value=0.3, low=0.3, high=0.3, problems=1)
    with pytest.raises(ValueError, match="no values"):
        metrics.estimate([])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_holds_the_mean(values):
    found = metrics.estimate(values, resamples=50)
    assert found.low <= found.value <= found.high


def longest_common(first, second):
    if not first or not second:
        return 0
    if first[-1] == second[-1]:
        return 1 + longest_common(first[:-1], second[:-1])
    return max(longest_common(first[:-1], second), longest_common(first, second[:-1]))


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_indel_ratio_is_the_longest_common_subsequence(first, second):
    total = len(first) + len(second)
    expected = 100.0 if not total else float(round(200 * longest_common(first, second) / total))
    assert metrics.indel_ratio(first, second) == expected


def test_ratio_as_fuzzywuzzy():
    # The README of fuzzywuzzy.
    assert metrics.ratio("this is a test", "this is a test!") == 97
    assert metrics.ratio("", "") == 100
    assert metrics.ratio("a", "") == 0
    one, other = "return self.items[0]", "return self._item(0)"
    assert metrics.ratio(one, other) == round(100 * difflib.SequenceMatcher(None, one, other).ratio())


def test_identifiers():
    code = 'for item in self.rows: print("no name here", item2, \'nor "here"\', 3e5)'
    assert metrics.identifiers(code, {"for", "in"}) == ["item", "self", "rows", "print", "item2"]
    assert metrics.f1(["a", "b", "b"], ["a", "c"]) == 0.5
    assert metrics.f1([], []) == 0

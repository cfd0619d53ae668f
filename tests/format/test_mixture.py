"""The mixture: weights and caps become rates, and rates stay as they were pinned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.format.choice import Draw
from starsmith.format.mixture import Rates, rates_of, unused
from starsmith.format.settings import MixtureRule

SIZES = {
    ("git", "Java"): (10, 3_000_000_000),
    ("git", "JSON"): (20, 600_000_000),
    ("git", "XML"): (20, 1_400_000_000),
    ("archives", "JSON"): (1, 0),
    ("git", "Python"): (5, 500_000_000),
}


def rate(rules, cell, sizes=SIZES):
    return rates_of(sizes, rules).rate(cell)


def test_without_rules_everything_is_seen_once():
    rates = rates_of(SIZES, [])
    assert {each.rate for each in rates.cells} == {1.0}
    assert rates.bytes == 5_500_000_000
    assert [each.cell for each in rates.cells] == sorted(SIZES)


def test_a_cap_is_a_rate_of_what_is_there():
    rules = [MixtureRule(language="Java", cap_gb=0.3)]
    assert rate(rules, ("git", "Java")) == pytest.approx(0.1)
    assert rate(rules, ("git", "Python")) == 1.0
    assert rate([MixtureRule(language="Java", cap_gb=99)], ("git", "Java")) == 1.0
    assert rate([MixtureRule(language="Java", cap_gb=6, weight=3)], ("git", "Java")) == pytest.approx(2.0)
    assert rate([MixtureRule(language="Java", cap_gb=60, weight=3)], ("git", "Java")) == 3.0


def test_a_cap_is_for_all_that_a_rule_is_about():
    rules = [MixtureRule(language="Java"), MixtureRule(source="git", cap_gb=1.25)]
    assert rate(rules, ("git", "XML")) == rate(rules, ("git", "Python")) == pytest.approx(0.5)
    assert rate(rules, ("git", "Java")) == 1.0, "the first rule that fits counts"
    assert rate(rules, ("archives", "JSON")) == 1.0


def test_nothing_to_cap():
    assert rate([MixtureRule(source="archives", cap_gb=1, weight=2)], ("archives", "JSON")) == 2.0
    assert rates_of({}, [MixtureRule(cap_gb=1)]).bytes == 0


def test_what_came_later_has_the_rate_of_what_its_rule_is_about():
    rules = [MixtureRule(language="Java", weight=4, cap_gb=0.3), MixtureRule(language="Zig", weight=0.25)]
    rates = rates_of(SIZES, rules)
    assert rates.rate(("archives", "Java")) == pytest.approx(0.1)
    assert rates.rate(("git", "Zig")) == 0.25
    assert rates.rate(("git", "Ada")) == 1.0
    assert Rates(rules=(), cells=()).rate(("git", "Ada")) == 1.0


def test_a_rule_about_nothing_is_named():
    rules = [MixtureRule(language="Python"), MixtureRule(language="Pyhton"), MixtureRule(source="git")]
    assert unused(rates_of(SIZES, rules)) == [rules[1]]


@given(
    st.lists(
        st.builds(
            MixtureRule,
            language=st.sampled_from(["", "Java", "JSON"]),
            weight=st.floats(0, 5),
            cap_gb=st.sampled_from([0.0, 0.1, 1.0]),
        ),
        max_size=3,
    )
)
def test_no_cap_is_exceeded(rules):
    rates = rates_of(SIZES, rules)
    taken = {}
    for each in rates.cells:
        rule = next((rule for rule in rules if rule.language in ("", each.language)), None)
        assert 0 <= each.rate <= (rule.weight if rule else 1.0)
        if rule:
            taken[id(rule)] = taken.get(id(rule), 0) + each.rate * each.bytes
    for rule in rules:
        assert not rule.cap_gb or taken.get(id(rule), 0) <= rule.cap_gb * 1e9 * (1 + 1e-9)


def test_copies_follow_the_rate():
    rates = rates_of(SIZES, [MixtureRule(language="Java", weight=2.5)])
    counts = [
        rates.copies(("git", "Java"), Draw(seed=0, epoch=0, document_id=bytes([n, m])))
        for n in range(40)
        for m in range(25)
    ]
    assert set(counts) == {2, 3}
    assert 2.44 <= sum(counts) / 1000 <= 2.56

"""The choice of a token: what may be drawn, how often, and from what it follows."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from starsmith.errors import StarsmithError
from starsmith.model.sampling import Sampling, choose

LOGITS = torch.tensor([0.5, 0.2, 0.2, 0.07, 0.03]).log()


def drawn(rule, count=4000, logits=LOGITS):
    rows = range(count)
    return Counter(choose(logits.expand(count, -1), rule, rows=rows, step=0).tolist())


def test_without_temperature_the_likeliest_is_taken():
    assert drawn(Sampling(), count=50) == {0: 50}


def test_tokens_come_as_often_as_they_are_likely():
    found = drawn(Sampling(temperature=1.0))
    for number, share in enumerate((0.5, 0.2, 0.2, 0.07, 0.03)):
        assert found[number] / 4000 == pytest.approx(share, abs=4 * math.sqrt(share / 4000))


def test_temperature_sharpens():
    squares = [0.25, 0.04, 0.04, 0.0049, 0.0009]
    found = drawn(Sampling(temperature=0.5))
    assert found[0] / 4000 == pytest.approx(squares[0] / sum(squares), abs=0.03)


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (Sampling(temperature=1.0, top_k=2), {0, 1}),
        (Sampling(temperature=1.0, top_k=99), {0, 1, 2, 3, 4}),
        (Sampling(temperature=1.0, top_p=0.4), {0}),
        (Sampling(temperature=1.0, top_p=0.6), {0, 1}),
        (Sampling(temperature=1.0, top_p=0.85), {0, 1, 2}),
        (Sampling(temperature=1.0, top_k=3, top_p=0.85), {0, 1, 2}),
        # A share of what top_k has left: 0.5 of 0.9 is 0.56.
        (Sampling(temperature=1.0, top_k=3, top_p=0.55), {0}),
    ],
)
def test_what_is_left_to_draw_from(rule, left):
    assert set(drawn(rule)) == left


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20),
    st.floats(1e-30, 1e6),
    st.floats(1e-6, 1.0),
    st.integers(0, 30),
    st.integers(0, 2**40),
)
def test_every_rule_draws_something_possible(logits, temperature, top_p, top_k, seed):
    rule = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    (number,) = choose(torch.tensor([logits]), rule, rows=[3], step=7).tolist()
    assert 0 <= number < len(logits)
    kept = sorted(logits, reverse=True)[: top_k or len(logits)]
    assert logits[number] >= kept[-1]


def test_a_draw_follows_from_seed_row_and_step():
    rule = Sampling(temperature=1.0, seed=5)
    batch = choose(LOGITS.expand(9, -1), rule, rows=range(9), step=2)
    alone = [choose(LOGITS[None], rule, rows=[row], step=2).item() for row in range(9)]
    assert batch.tolist() == alone
    assert batch.tolist() != choose(LOGITS.expand(9, -1), rule, rows=range(9), step=3).tolist()


@pytest.mark.parametrize(
    "keys",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -1}],
    ids=str,
)
def test_impossible_rules_are_refused(keys):
    with pytest.raises(StarsmithError, match=next(iter(keys))):
        Sampling(**keys)

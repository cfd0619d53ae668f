"""Choices are functions of (seed, epoch, document id), evenly spread, and none touches another."""

from hypothesis import given
from hypothesis import strategies as st

from starsmith.format.choice import Draw, shuffled

IDS = st.binary(min_size=1, max_size=20)


def draw(document_id, **changes):
    return Draw(**({"seed": 7, "epoch": 0, "document_id": document_id} | changes))


def test_every_part_of_a_draw_counts():
    numbers = [
        draw(b"a").integer("order"),
        draw(b"b").integer("order"),
        draw(b"a", seed=8).integer("order"),
        draw(b"a", epoch=1).integer("order"),
        draw(b"a", copy=1).integer("order"),
        draw(b"a").integer("metadata"),
        # What runs together in the text of a key must not run together in the choice.
        draw(b"/a", copy=1).integer("order"),
        draw(b"0/a").integer("order"),
    ]
    assert len(set(numbers)) == len(numbers)


def test_numbers_are_the_same_on_every_machine():
    assert [draw(b"a").below("cut", 1000), draw(b"b", seed=-1).below("cut", 1000)] == [964, 643]
    assert draw(b"a").uniform("x") == 0.9238586361640251


def test_numbers_are_evenly_spread():
    draws = [draw(number.to_bytes(4, "big")) for number in range(4000)]
    counts = [0] * 10
    for each in draws:
        counts[each.below("digit", 10)] += 1
    assert all(330 <= count <= 470 for count in counts)
    assert 1880 <= sum(each.chance("half", 0.5) for each in draws) <= 2120
    assert 0.23 <= sum(each.chance("a", 0.5) and each.chance("b", 0.5) for each in draws) / 4000 <= 0.27


@given(IDS, st.integers(1, 10**7))
def test_a_number_lies_below_its_limit(document_id, limit):
    assert 0 <= draw(document_id).below("cut", limit) < limit
    assert 0 <= draw(document_id).uniform("x") < 1


@given(IDS)
def test_chances_of_nothing_and_all(document_id):
    assert not draw(document_id).chance("x", 0.0)
    assert draw(document_id).chance("x", 1.0)


@given(IDS, st.floats(0, 20))
def test_copies_are_next_to_their_mean(document_id, rate):
    assert draw(document_id).copies("x", rate) - rate < 1
    assert rate - draw(document_id).copies("x", rate) < 1


def test_copies_have_their_mean():
    assert 2.2 <= sum(draw(bytes([i, j])).copies("x", 2.25) for i in range(64) for j in range(64)) / 4096 <= 2.3


@given(st.lists(IDS, unique=True, max_size=12), st.integers(0, 11))
def test_one_that_leaves_changes_the_order_of_no_others(items, place):
    order = shuffled(items, draw, "order")
    assert sorted(order) == sorted(items)
    assert shuffled(list(reversed(items)), draw, "order") == order
    if items:
        gone = items[place % len(items)]
        assert shuffled([each for each in items if each != gone], draw, "order") == [e for e in order if e != gone]


def test_orders_differ_between_epochs():
    items = [bytes([number]) for number in range(20)]
    assert shuffled(items, draw, "order") != items
    assert shuffled(items, draw, "order") != shuffled(items, lambda each: draw(each, epoch=1), "order")

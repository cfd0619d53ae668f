import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.errors import StarsmithError
from starsmith.train.batches import Batches, Permutation, Row


@given(st.integers(1, 3000), st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_an_order_holds_every_number_once(size, seed, epoch):
    order = Permutation(size, (seed, epoch))(np.arange(size))
    assert sorted(order.tolist()) == list(range(size))


def test_an_order_follows_from_seed_and_epoch():
    numbers = np.arange(1000)
    orders = {tuple(Permutation(1000, key)(numbers).tolist()) for key in [(0, 0), (0, 1), (1, 0), (1, 1)]}
    assert len(orders) == 4
    assert (
        Permutation(10**12, (7, 3))(np.array([5, 5])).tolist() == Permutation(10**12, (7, 3))(np.array([5, 5])).tolist()
    )


def test_an_order_looks_random():
    order = Permutation(4096, (3, 0))(np.arange(4096))
    assert abs(np.corrcoef(order, np.arange(4096))[0, 1]) < 0.1
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.1


def rows(*sizes):
    numbers = iter(range(10**6))
    return Row.of([np.array([next(numbers) for _ in range(size)], dtype=np.uint16) for size in sizes])


def test_windows_go_over_the_ends_of_shards():
    row = rows(3, 0, 4, 5)
    assert [row.window(start, 6).tolist() for start in (0, 2, 6)] == [[*range(6)], [*range(2, 8)], [*range(6, 12)]]
    assert [row.place(token) for token in (0, 2, 3, 7, 11)] == [(0, 0), (0, 2), (2, 0), (3, 0), (3, 4)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 9), st.integers(1, 8))
def test_an_epoch_shows_every_window_once(sizes, length):
    row = rows(*sizes)
    batches = Batches([row], length, 5)
    count = row.samples(length)
    taken = batches.take(0, count)
    assert taken.shape == (count, length + 1)
    assert sorted(taken[:, 0].tolist()) == [number * length for number in range(count)]
    assert (np.diff(taken, axis=1) == 1).all()
    assert batches.epoch(count) == 1.0


@given(st.integers(0, 60), st.integers(1, 30), st.integers(1, 30))
def test_what_is_taken_does_not_depend_on_portions(first, one, other):
    batches = Batches([rows(50), rows(90)], 4, 1)
    together = batches.take(first, one + other)
    assert (together == np.concatenate([batches.take(first, one), batches.take(first + one, other)])).all()


def test_epochs_follow_one_another_and_repeat_in_another_order():
    batches = Batches([rows(41), rows(81)], 4, 1)
    places = batches.places(0, 60)
    assert [epoch for epoch, _ in places] == [0] * 10 + [1] * 20 + [0] * 10 + [1] * 20
    assert places[:10] != places[30:40]
    assert sorted(places[:10]) == sorted(places[30:40])
    assert batches.epoch(35) == 2.5


def test_too_few_tokens_are_an_error():
    with pytest.raises(StarsmithError, match="8 tokens, too few for one sample of 8"):
        Batches([rows(8)], 8, 0)

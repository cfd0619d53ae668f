"""Prompts that fit: nothing too long, and what is left out is what matters least."""

from hypothesis import given
from hypothesis import strategies as st

from starsmith.evaluate.generators.asked import Asked
from starsmith.evaluate.generators.tokens import Room, by_length


def encode(text):
    return [ord(each) for each in text]


def asked(**given):
    return Asked(**{"task": "t", "sample": 0, "draw": 0, "prompt": "", **given})


TEXTS = st.text("abc", max_size=60)


@given(TEXTS, st.none() | TEXTS, st.integers(8, 50), st.integers(1, 60))
def test_prompt_and_completion_always_fit(prompt, suffix, positions, max_tokens):
    room = Room(positions=positions, max_tokens=max_tokens, gap=(1, 2, 3))
    fitted = room.fitted(asked(prompt=prompt, suffix=suffix), encode)
    whole = len(prompt) + (0 if suffix is None else len(suffix) + 3)
    assert len(fitted.ids) + fitted.budget <= positions
    assert fitted.shortened == whole - len(fitted.ids) >= 0
    assert fitted.budget >= min(max_tokens, positions // 2)
    if suffix is not None:
        before, after, middle = (fitted.ids.index(number) for number in (1, 2, 3))
        assert (before, middle) == (0, len(fitted.ids) - 1)
        assert prompt.endswith("".join(map(chr, fitted.ids[1:after])))
        assert suffix.startswith("".join(map(chr, fitted.ids[after + 1 : -1])))


def test_what_is_left_out():
    room = Room(positions=12, max_tokens=4)
    assert room.fitted(asked(prompt="0123456789"), encode).ids == tuple(encode("23456789"))
    pieces = asked(prompt="contextHERE", context="context", rest="HERE")
    assert room.fitted(pieces, encode).ids == tuple(encode("contHERE"))


def test_batches_are_of_like_length_and_of_the_same_stops():
    room = Room(positions=40, max_tokens=10)
    all_asked = [asked(task=str(n), prompt="x" * n, stops=("a",) if n % 2 else ()) for n in range(12)]
    batches = by_length(all_asked, [room.fitted(each, encode) for each in all_asked], size=4)
    assert sorted(each.task for batch in batches for each in batch) == sorted(each.task for each in all_asked)
    assert [[len(each.prompt) for each in batch] for batch in batches] == [[10, 8, 6, 4], [2, 0], [11, 9, 7, 5], [3, 1]]

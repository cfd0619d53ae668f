"""Text told piece by piece: characters over several tokens, stop strings over several pieces."""

from hypothesis import given
from hypothesis import strategies as st

from starsmith.format.sentinels import SENTINELS
from starsmith.model.completion import Piece, Telling, joined


def told(tokens, data, stop):
    telling, text = Telling(tokens, stop), []
    for byte in data:
        piece, stopped = telling.add(len(SENTINELS) + byte)
        text.append(piece)
        if stopped:
            return text, True
    return [*text, telling.rest()], False


def test_a_character_is_told_when_all_of_it_is_there(tokens):
    pieces, _ = told(tokens, "aé€😀".encode(), ())
    assert pieces == ["a", "", "é", "", "", "€", "", "", "", "😀", ""]


def test_a_character_cut_off_is_told_as_such(tokens):
    assert told(tokens, "é".encode()[:1], ()) == (["", "\ufffd"], False)


def test_what_could_begin_a_stop_string_is_held_back(tokens):
    assert told(tokens, b"abab!", ("abc",)) == (["", "", "ab", "", "ab!", ""], False)
    assert told(tokens, b"xabc", ("abc",)) == (["x", "", "", ""], True)


def test_the_first_stop_string_counts(tokens):
    pieces, stopped = told(tokens, b"one\ntwo", ("two", "\n"))
    assert ("".join(pieces), stopped) == ("one", True)


@given(st.text("ab\né", max_size=30), st.lists(st.text("ab\né", min_size=1, max_size=4), max_size=3))
def test_a_text_ends_before_the_first_stop_string(text, stop):
    class Bytes:
        vocabulary = 0

        def encode(self, segments):
            raise NotImplementedError

        def bytes_of(self, ids):
            return bytes(number - len(SENTINELS) for number in ids)

    pieces, stopped = told(Bytes(), text.encode(), tuple(stop))
    # Of stop strings that end at the same character the one that begins first is cut at.
    ends = [place + len(each) for each in stop if (place := text.find(each)) >= 0]
    assert stopped == bool(ends)
    upto = text[: min(ends)] if ends else text
    cuts = [place for each in stop if (place := upto.find(each)) >= 0]
    assert "".join(pieces) == (upto[: min(cuts)] if ends else text)


def test_pieces_join():
    pieces = [Piece(row=0, text="a", ids=(1,)), Piece(row=0, text="", ids=(2,), finish="stop")]
    completion = joined(pieces)
    assert (completion.text, completion.ids, completion.finish) == ("a", (1, 2), "stop")

"""The automaton against `in` over strings, on random texts and documents of few letters and odd white space."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate import automaton, automaton_search
from starsmith.curate.automaton import build
from starsmith.curate.automaton_search import Found, find, grams_of
from starsmith.curate.normal_form import normalised

WIDE = "\u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
NEAR_WIDE = "\u0084\u00a1\u1681\u200b\u2027\u202a\u2030\u205e\u3001é\u20ac"
ALPHABET = st.sampled_from("aaabbbABc \t\n\r\x0b\x0c\x1c" + WIDE + NEAR_WIDE)
TEXTS = st.lists(st.text(ALPHABET, min_size=1, max_size=6), max_size=12)
DOCUMENTS = st.lists(st.text(ALPHABET, max_size=60), max_size=4)


def flat(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text if not c.isspace())


def search(documents: list[bytes], texts: list[bytes]) -> Found:
    built = build(texts)
    return find(pa.array(documents, pa.large_binary()), built, grams_of(built))


def found_in(documents: list[str], texts: list[str]) -> set[tuple[int, str, int]]:
    """What the automaton finds: (document, normalised text, character where it begins)."""
    wanted = sorted({normalised(text.encode()) for text in texts} - {b""})
    found = search([d.encode() for d in documents], wanted)
    return {
        (document, wanted[text].decode(), len(documents[document].encode()[:position].decode()))
        for document, text, position in zip(
            found.documents.tolist(), found.texts.tolist(), found.positions.tolist(), strict=True
        )
    }


def expected(documents: list[str], texts: list[str]) -> set[tuple[int, str, int]]:
    rows = set()
    for number, document in enumerate(documents):
        places = [place for place, character in enumerate(document) if not character.isspace()]
        for text in {flat(text) for text in texts} - {""}:
            if (start := flat(document).find(text)) >= 0:
                rows.add((number, text, places[start]))
    return rows


@given(DOCUMENTS, TEXTS)
def test_finds_what_a_search_in_strings_finds(documents, texts):
    assert found_in(documents, texts) == expected(documents, texts)


@given(DOCUMENTS, TEXTS, st.integers(1, 4))
def test_states_without_a_row_make_no_difference(documents, texts, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automaton, "TABLE_STATES", rows)
        patch.setattr(automaton_search, "ROOM", 1)
        assert found_in(documents, texts) == expected(documents, texts)


LONG = st.lists(st.sampled_from(["ab", "ba", "abab ", "B\u3000a", "abcabcabcabc", "x"]), min_size=8, max_size=30).map(
    "".join
)


@given(st.lists(LONG, min_size=1, max_size=6), st.data())
def test_what_is_only_sampled_is_found_all_the_same(texts, data):
    # Pieces of texts, so that samples are found where no text is, and texts overlap each other.
    pieces = st.tuples(st.sampled_from(texts), st.integers(0, 40), st.integers(0, 80)).map(lambda p: p[0][p[1] : p[2]])
    documents = data.draw(
        st.lists(
            st.lists(pieces | st.sampled_from(texts) | st.text("abx ", max_size=40), max_size=5).map("".join),
            max_size=4,
        )
    )
    texts = [text for text in texts if len(flat(text)) >= automaton_search.SHORTEST]
    assert found_in(documents, texts) == expected(documents, texts)


@pytest.mark.parametrize("length", range(automaton_search.SHORTEST - 1, automaton_search.SHORTEST + 25))
def test_a_text_is_found_wherever_samples_fall(length):
    text = "".join(chr(ord("a") + n % 23) for n in range(length))
    for before in range(length + 2):
        document = "-" * before + text
        assert found_in([document, document + "-" * 40], [text]) == {(0, text, before), (1, text, before)}


@given(st.binary(max_size=40))
def test_normalising_twice_changes_nothing_more(data):
    # Removing a space may bring the bytes of another together, but never in valid UTF-8.
    text = data.decode("utf-8", "ignore")
    once = normalised(text.encode())
    assert once == flat(text).encode() == normalised(once)


@given(st.lists(st.binary(max_size=30), max_size=4), st.binary(min_size=1, max_size=3))
def test_bytes_that_are_no_text_are_searched_too(documents, text):
    wanted = normalised(text)
    if wanted:
        found = search(documents, [wanted])
        assert set(found.documents.tolist()) == {n for n, d in enumerate(documents) if wanted in normalised(d)}


def test_slices_are_honoured():
    documents = pa.array([b"needle", b"none", b"a NEE dle"], pa.large_binary())[1:]
    built = build([b"needle"])
    found = find(documents, built, grams_of(built))
    assert (found.documents.tolist(), found.positions.tolist()) == ([1], [2])


def test_a_text_counts_once_a_document_and_at_its_first_place():
    found = search([b"--ab ab ab", b"ab"], [b"ab", b"b"])
    rows = zip(found.documents.tolist(), found.texts.tolist(), found.positions.tolist(), strict=True)
    assert list(rows) == [(0, 0, 2), (0, 1, 3), (1, 0, 0), (1, 1, 1)]


@pytest.mark.parametrize("texts", [[b"b", b"a"], [b"a", b"a"], [b""]])
def test_texts_must_be_sorted_distinct_and_not_empty(texts):
    with pytest.raises(ValueError, match="sorted, distinct and not empty"):
        build(texts)


def test_nothing_is_found_with_nothing_to_look_for():
    assert len(search([b"text"], []).documents) == 0

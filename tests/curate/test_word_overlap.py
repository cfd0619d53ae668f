"""Runs of words against sets of tuples in plain Python."""

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate import word_overlap
from starsmith.curate.word_overlap import LEAST_WORDS, build, find

ALPHABET = st.sampled_from("aab_1A  \n.(é")
TEXTS = st.lists(st.text(ALPHABET, max_size=30), max_size=6)
DOCUMENTS = st.lists(st.text(ALPHABET, max_size=60), max_size=4)


def words_of(text: str) -> list[tuple[str, int]]:
    """Return (word, byte where it begins)."""
    lower = "".join(c.lower() if c.isascii() else c for c in text)
    return [(m[0], len(lower[: m.start()].encode())) for m in re.finditer(r"[a-z0-9_\u0080-\U0010ffff]+", lower)]


def runs_of(text: str, size: int) -> dict[tuple[str, ...], int]:
    """Return the distinct runs and where each ends up first."""
    words = words_of(text)
    runs: dict[tuple[str, ...], int] = {}
    for first in range(len(words) - size + 1):
        runs.setdefault(tuple(word for word, _ in words[first : first + size]), words[first][1])
    return runs


def expected(documents: list[str], texts: list[str], n: int, share: float) -> set[tuple[int, int, int, int]]:
    rows = set()
    for number, document in enumerate(documents):
        for which, text in enumerate(texts):
            size = min(n, len(words_of(text)))
            runs = runs_of(text, size) if size >= LEAST_WORDS else {}
            held = [place for run, place in runs_of(document, size).items() if run in runs] if runs else []
            if held and len(held) >= share * len(runs) - 1e-9:
                rows.add((number, which, len(held), min(held)))
    return rows


def found_in(documents: list[str], texts: list[str], n: int, share: float) -> set[tuple[int, int, int, int]]:
    runs = build([text.encode() for text in texts], n=n)
    found = find(pa.array([document.encode() for document in documents], pa.large_binary()), runs, share=share)
    columns = (found.documents, found.texts, found.counts, found.positions)
    return set(zip(*(column.tolist() for column in columns), strict=True))


@given(DOCUMENTS, TEXTS, st.integers(3, 5), st.sampled_from([0.01, 0.34, 0.5, 1.0]))
def test_equals_sets_of_runs(documents, texts, n, share):
    assert found_in(documents, texts, n, share) == expected(documents, texts, n, share)


@given(TEXTS)
def test_a_text_is_found_whole_in_itself(texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_overlap, "ROOM", 0)
        held = {which for number, which, _, _ in found_in(texts, texts, 4, 1.0) if number == which}
    assert held == {which for which, text in enumerate(texts) if len(words_of(text)) >= LEAST_WORDS}


def test_what_stands_between_words_does_not_count():
    assert found_in(["# Return the\n#   SUM, of x"], ["return the sum of x"], 10, 1.0) == {(0, 0, 1, 2)}


def test_a_run_has_as_many_words_as_asked():
    with pytest.raises(ValueError, match="3 to 64 words, not 2"):
        build([b"a b c"], n=2)

"""Shingles against a slow reference in plain Python; signatures against what probability promises."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith.curate import minhash
from starsmith.curate.minhash import Layout, layout, sign
from starsmith.errors import StarsmithError
from starsmith.settings import NearDuplicateSettings

DEFAULT = NearDuplicateSettings()
PAPER = NearDuplicateSettings(tokens="paper", permutations=250, bands=25, rows=10)
MASK = 2**64 - 1
KNOWN_SHINGLES = [880323029, 2676656669, 3636046682]
KNOWN_KEYS = [827405814305239266, -3774157388540280154]

TEXTS = st.lists(st.text(alphabet=st.sampled_from("aB_9 \n.é…-"), max_size=60), max_size=6)


def texts_of(*texts: str | bytes) -> pa.LargeBinaryArray:
    return pa.array([t.encode() if isinstance(t, str) else t for t in texts], pa.large_binary())


def tokens_of(text: str, how: str) -> list[str]:
    lower = "".join(c.lower() if c.isascii() else c for c in text)
    pieces = re.split(r"[\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]", lower)
    return pieces if how == "paper" else [piece for piece in pieces if piece]


def mixed(value: int) -> int:
    for _ in range(2):
        value = (value ^ (value >> 32)) * 0xD6E8FEB86659FD93 & MASK
    return value ^ (value >> 32)


def token_hash(token: str) -> int:
    value = 0
    for byte in token.encode():
        value = (value ^ byte) * 0x9E3779B97F4A7C15 & MASK
    return mixed(value)


def reference_shingles(text: str, how: str, ngram: int) -> list[int]:
    hashes = [token_hash(token) for token in tokens_of(text, how)]
    found = set()
    for start in range(len(hashes) - ngram + 1):
        rolled = 0
        for hashed in hashes[start : start + ngram]:
            rolled = (rolled * 0x5851F42D4C957F2D + hashed) & MASK
        found.add(mixed(rolled) >> 32)
    return sorted(found)


def shingles_at(signed: minhash.Signed, index: int) -> list[int]:
    raw: bytes = signed.shingles[index].as_py()
    return [int(value) for value in np.frombuffer(raw, "<u4")]


def test_the_papers_layout_has_the_papers_probabilities() -> None:
    paper = layout(PAPER)
    assert paper == Layout(bands=25, rows=10)
    found = [round(paper.recall(s), 3) for s in (0.5, 0.6, 0.7, 0.8, 0.85)]
    assert found == [0.024, 0.141, 0.511, 0.942, 0.996]


def test_the_recall_of_the_papers_layout_leads_back_to_it() -> None:
    for permutations in (250, 256):
        wanted = NearDuplicateSettings(permutations=permutations, recall=0.94, recall_at=0.8)
        assert layout(wanted) == Layout(bands=25, rows=10)


def test_the_default_layout_keeps_its_promise_and_no_more_rows_would() -> None:
    found = layout(DEFAULT)
    assert found.recall(DEFAULT.recall_at) >= DEFAULT.recall
    denser = Layout(bands=DEFAULT.permutations // (found.rows + 1), rows=found.rows + 1)
    assert denser.recall(DEFAULT.recall_at) < DEFAULT.recall


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (NearDuplicateSettings(permutations=16, recall=0.999, recall_at=0.1), "recall"),
        (NearDuplicateSettings(bands=25), "rows"),
        (NearDuplicateSettings(rows=10), "bands"),
        (NearDuplicateSettings(bands=26, rows=10), "permutations"),
    ],
)
def test_an_impossible_layout_names_the_key(wrong: NearDuplicateSettings, key: str) -> None:
    with pytest.raises(StarsmithError, match=f"`{key}`"):
        layout(wrong)


@given(texts=TEXTS, how=st.sampled_from(["words", "paper"]), ngram=st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_shingles_equal_the_slow_reference(texts: list[str], how: str, ngram: int) -> None:
    signed = sign(texts_of(*texts), NearDuplicateSettings(tokens=how, ngram=ngram))
    for index, text in enumerate(texts):
        expected = reference_shingles(text, how, ngram)
        assert shingles_at(signed, index) == expected
        assert signed.num_shingles[index] == len(expected)
    assert signed.signed.tolist() == np.flatnonzero(signed.num_shingles).tolist()
    assert signed.band_keys.shape == (len(signed.signed), 36)


def test_known_hashes_hold_on_every_machine() -> None:
    signed = sign(texts_of("def add(a, b): return a + b"), DEFAULT)
    assert shingles_at(signed, 0) == KNOWN_SHINGLES
    assert signed.band_keys[0, :2].tolist() == KNOWN_KEYS


def test_distinct_token_sequences_get_distinct_shingles() -> None:
    """Tokens of a small alphabet in every order: where a weak hash would collide."""
    generator = np.random.default_rng(7)
    text = " ".join(generator.choice(list("abcdefgh"), 30_000))
    tokens = text.split()
    sequences = {tuple(tokens[i : i + 5]) for i in range(len(tokens) - 4)}
    assert sign(texts_of(text), DEFAULT).num_shingles[0] >= len(sequences) - 2


def test_case_and_layout_do_not_matter_but_order_does() -> None:
    signed = sign(
        texts_of("One two THREE four five six", "one,\ttwo;three(four)five\nsix", "six five four three two one"),
        DEFAULT,
    )
    assert shingles_at(signed, 0) == shingles_at(signed, 1)
    assert signed.band_keys[0].tolist() == signed.band_keys[1].tolist()
    assert not set(shingles_at(signed, 0)) & set(shingles_at(signed, 2))


def test_tiny_texts_have_no_signature() -> None:
    signed = sign(texts_of("", "  \n", "one two three four", "one two three four five"), DEFAULT)
    assert signed.num_shingles.tolist() == [0, 0, 0, 1]
    assert signed.signed.tolist() == [3]
    assert signed.band_keys.shape == (1, 36)


def test_no_texts_at_all() -> None:
    signed = sign(texts_of(), DEFAULT)
    assert len(signed.shingles) == 0
    assert signed.band_keys.shape == (0, 36)


def test_one_repeated_token_is_one_shingle() -> None:
    signed = sign(texts_of("x " * 5, "x " * 100_000), DEFAULT)
    assert signed.num_shingles.tolist() == [1, 1]
    assert signed.band_keys[0].tolist() == signed.band_keys[1].tolist()


def test_what_a_text_gets_depends_on_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"alpha beta {i} gamma delta {i * i} epsilon" * (1 + i % 7) for i in range(50)]
    together = sign(texts_of(*texts), DEFAULT)
    monkeypatch.setattr(minhash, "GROUP_SHINGLES", 40)
    grouped = sign(texts_of(*texts), DEFAULT)
    sliced = sign(texts_of("padding of five or more tokens", *texts)[1:], DEFAULT)
    for other in (grouped, sliced):
        assert other.shingles.equals(together.shingles)
        assert np.array_equal(other.band_keys, together.band_keys)
    alone = sign(texts_of(texts[31]), DEFAULT)
    assert np.array_equal(alone.band_keys[0], together.band_keys[31])


def test_the_seed_changes_the_keys_but_not_the_shingles() -> None:
    text = texts_of("one two three four five six")
    first, second = sign(text, DEFAULT), sign(text, NearDuplicateSettings(seed=-1))
    assert first.shingles.equals(second.shingles)
    assert not np.array_equal(first.band_keys, second.band_keys)


def test_a_ten_mebibyte_text() -> None:
    word = b"value_%d = compute(item, %d)\n"
    text = b"".join(word % (i, i * 7) for i in range(330_000))[: 10 * 1024 * 1024]
    signed = sign(texts_of(text, b"y" * len(text), b"\xc3\xa9 " * (len(text) // 3)), DEFAULT)
    positions = len(re.findall(rb"\w+", text)) - 4
    assert 0.999 * positions < signed.num_shingles[0] <= positions  # 32-bit hashes: about 150 pairs collide
    assert signed.num_shingles.tolist()[1:] == [0, 1]


def test_null_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        sign(pa.array([None], pa.large_binary()), DEFAULT)


def test_offsets_of_another_width_are_refused_and_not_misread() -> None:
    with pytest.raises(TypeError, match="large_binary"):
        sign(pa.array([b"one two three four five"], pa.binary()), DEFAULT)


def test_signatures_estimate_jaccard_without_bias() -> None:
    """Bands of one row show the minima one by one: their agreement is binomial around the true similarity."""
    one_row = NearDuplicateSettings(bands=256, rows=1, ngram=1)
    generator = np.random.default_rng(11)
    for similarity in (0.3, 0.5, 0.7, 0.9):
        common = int(500 * 2 * similarity / (1 + similarity))
        scores = []
        for trial in range(60):
            words = [f"t{trial}x{i}" for i in generator.permutation(1000)]
            first, second = words[:500], words[:common] + words[500 : 1000 - common]
            signed = sign(texts_of(" ".join(first), " ".join(second)), one_row)
            scores.append(float(np.mean(signed.band_keys[0] == signed.band_keys[1])))
        truth = common / (1000 - common)
        deviation = (truth * (1 - truth) / 256) ** 0.5
        assert abs(np.mean(scores) - truth) < 4 * deviation / 60**0.5
        assert 0.7 * deviation < np.std(scores) < 1.3 * deviation


def test_bands_meet_as_often_as_the_layout_says() -> None:
    generator = np.random.default_rng(5)
    paper = NearDuplicateSettings(bands=25, rows=10, ngram=1)
    met = 0
    for trial in range(200):
        words = [f"t{trial}x{i}" for i in generator.permutation(400)]
        signed = sign(texts_of(" ".join(words[:280]), " ".join(words[50:330])), paper)
        met += bool((signed.band_keys[0] == signed.band_keys[1]).any())
    expected = Layout(bands=25, rows=10).recall(230 / 330)
    assert abs(met / 200 - expected) < 4 * (expected * (1 - expected) / 200) ** 0.5

"""The encoder gives the ids of the saved tokenizer's own library, for real texts and hostile ones."""

import unicodedata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from starsmith.errors import StarsmithError
from starsmith.format import bpe
from starsmith.format.encoder import Encoder, Run, character_classes
from starsmith.format.sentinels import SENTINELS, Piece
from starsmith.format.tokenizer import TOKENIZER_FILE


@pytest.fixture(scope="module")
def library(tokenizer):
    """The library that everybody loads the file with, told to take sentinels in a text for text."""
    loaded = tokenizers.Tokenizer.from_str(tokenizer.files[TOKENIZER_FILE].decode())
    loaded.encode_special_tokens = True
    return loaded


def encoded(tokenizer, texts):
    ids, counts = tokenizer.encoder.encode_texts(texts)
    return [part.tolist() for part in np.split(ids, np.cumsum(counts)[:-1])]


def test_real_texts(tokenizer, library, real_texts):
    expected = [each.ids for each in library.encode_batch_fast(real_texts)]
    assert encoded(tokenizer, real_texts) == expected
    assert encoded(tokenizer, real_texts) == expected, "again, out of what is remembered"


def test_threads_may_share_an_encoder(tokenizer, real_texts):
    texts = [text[:3000] for text in real_texts[:40]]
    expected = encoded(tokenizer, texts)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: encoded(tokenizer, texts), range(8))) == [expected] * 8


HOSTILE = {
    **{f"the text of {name}": f"x = {name}{name} " for name in SENTINELS},
    "nothing": "",
    "NUL": "\0a\0\0b\0",
    "every space": "a \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2028\u2029\u202f\u205f\u3000\u200b\ufeffb",
    "spaces before words": "  a   1  !\n\n\n  b\t\tc \n 'd \u3000e",
    "spaces at the end": "a   ",
    "contractions": "it's 'tis we're I've I'm you'll he'd 'S 'r 'l 'v '' ' don't'll x'",
    "digits": "0123 ٣٤ ४५ ²³ ½ Ⅷ 一 1a2 \U00011de3\U00011de4 \U00016ff4",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 é e\u0301 🇩🇪",
    "scripts": "漢字かな交じり文 العربية ไทย हिन्दी ქართული",
    "what was invalid": b"\xff\xfe\x80abc\xc0\xaf\xed\xa0\x80".decode("utf-8", errors="replace"),
    "the last code points": "\ud7ff\ue000\uffff\U00010000\U0010ffff",
    "a long word": "".join(chr(97 + (i * i) % 26) for i in range(3000)),
    "punctuation": "!?!?#$%&'()*+,-./:;<=>@[]^_`{|}~" * 3,
}
LONG = 200_000
RUNS = ["a", " ", "\n", "=", "0", "\0", "ab", "漢", "'", " a", "\t ", "\U0001f469"]


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_texts(tokenizer, library, what):
    text = HOSTILE[what]
    assert tokenizer.encode(text) == library.encode(text).ids
    assert not set(tokenizer.encode(text)) & set(range(len(SENTINELS)))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("unit", RUNS)
def test_long_runs_take_no_quadratic_time(tokenizer, library, unit):
    """Squared, any of these would take minutes."""
    text = unit * (LONG // len(unit))
    assert tokenizer.encode(text) == library.encode(text).ids


@given(st.text(max_size=40))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.bytes_of(ids) == text.encode()


@given(st.text(alphabet=" \n\ta'sdrevlm1٣é漢!_\u00a0", max_size=30))
def test_the_rule_of_splitting(tokenizer, library, text):
    assert tokenizer.encode(text) == library.encode(text).ids


@given(st.text(alphabet="abc", min_size=1, max_size=150))
def test_both_ways_of_merging_agree(tokenizer, text):
    encoder = tokenizer.encoder
    data, ids = np.frombuffer(text.encode(), np.uint8), np.zeros((2, 150), np.uint32)
    tables = encoder._byte_ids, encoder._keys, encoder._ranks, encoder._merged
    size = min(len(data), bpe.SHORT_PIECE)
    short = bpe.merge_short(data, 0, size, *tables, ids[0], 0)
    long = bpe.merge_long(data, 0, size, *tables, ids[1], 0)
    assert ids[0][:short].tolist() == ids[1][:long].tolist()


def test_half_a_surrogate_pair_is_refused(tokenizer):
    with pytest.raises(StarsmithError, match="Character 2 of a text is half of a surrogate pair"):
        tokenizer.encode("ab\ud800")


def test_classes_are_those_of_unicode():
    """Of every code point that Python, too, knows; newer ones are in the file, which names its version."""
    classes = character_classes()
    for point in (*range(0x33480), *range(0xE0000, 0xE0200)):
        kind = unicodedata.category(chr(point))
        if kind not in ("Cn", "Cs"):
            assert (classes[point] == bpe.LETTER) == (kind[0] == "L")
            assert (classes[point] == bpe.DIGIT) == (kind[0] == "N")
    assert np.flatnonzero(classes == bpe.SPACE).tolist() == [
        *range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000,
    ]  # fmt: skip


def test_a_token_that_no_merges_make_is_never_taken():
    """`abc` is in the vocabulary, but `ab` is merged first, and `abc` is no merge of it."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"bc", b"abc"]
    merges = [(97, 98, 256), (98, 99, 257), (97, 257, 258)]
    ids, _ = Encoder(tokens, merges).encode_texts(["abc", "bc"])
    assert ids.tolist() == [256, 99, 257]


def test_every_id_belongs_to_one_document(tokenizer):
    def size(text):
        return len(tokenizer.encode(text))

    segments = [5, "name", 6, Piece("first", b"1"), 6, 1, Piece("a", b"2"), 3, Piece("", b"2"), 6, Piece("z", b"1"), 0]
    ids, runs = tokenizer.encoder.encode(segments)
    assert [each for each in ids.tolist() if each < 38] == [5, 6, 6, 1, 3, 6, 0]
    assert runs == [
        Run(2 + size("name") + size("first"), b"1"),
        Run(3 + size("a"), b"2"),
        Run(2 + size("z"), b"1"),
    ]
    assert sum(run.length for run in runs) == len(ids)


def test_segments_without_documents(tokenizer):
    assert tokenizer.encoder.encode([])[1] == []
    ids, runs = tokenizer.encoder.encode([1, "a", 3])
    assert runs == [Run(len(ids), None)]
    assert tokenizer.encode([1, "<fim_suffix>", 3])[0] == 1
    assert tokenizer.encode([1, "<fim_suffix>", 3]).count(3) == 1

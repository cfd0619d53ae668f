"""The tokenizer's folder: loads where it should, is known by what it does, and what is no such folder is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.errors import StarsmithError
from starsmith.format.sentinels import SENTINELS
from starsmith.format.tokenizer import TOKENIZER_FILE, Tokenizer
from starsmith.storage import Store


@pytest.fixture
def folder(tokenizer, tmp_path):
    tokenizer.write(Store.at(tmp_path / "T"))
    return tmp_path / "T"


def test_written_and_read_it_is_the_same(tokenizer, folder):
    again = Tokenizer.open(str(folder))
    assert again.fingerprint == tokenizer.fingerprint
    assert again.files == tokenizer.files
    assert sorted(path.name for path in folder.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_what_else_is_in_the_folder_stays(tokenizer, tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "thesis.txt").write_text("x")
    tokenizer.write(Store.at(tmp_path))
    assert (tmp_path / "tmp" / "thesis.txt").read_text() == "x"


def test_transformers_loads_it(tokenizer, folder):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = "def f(x):\n    return x + 123  # café"
    assert loaded(text)["input_ids"] == tokenizer.encode(text)
    assert loaded.decode(tokenizer.encode(text)) == text
    assert loaded.convert_tokens_to_ids(list(SENTINELS)) == list(range(38))
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.unk_token_id) == (0, 0, 0)
    assert len(loaded) == tokenizer.vocabulary
    # What is one of its special tokens for transformers is text for us.
    assert loaded("<file_sep>")["input_ids"] == [6] != tokenizer.encode("<file_sep>")


def test_the_vocabulary(tokenizer):
    assert tokenizer.vocabulary == 1200
    assert tokenizer.tokens[:38] == (None,) * 38
    assert {bytes([byte]) for byte in range(256)} <= set(tokenizer.tokens)
    assert all(
        tokenizer.tokens[left] + tokenizer.tokens[right] == tokenizer.tokens[to] for left, right, to in tokenizer.merges
    )
    assert not any(token.isdigit() and len(token) > 1 for token in tokenizer.tokens[38:])
    assert tokenizer.token_bytes.tolist() == [len(token or b"") for token in tokenizer.tokens]
    assert tokenizer.token_bytes.dtype == np.int64


def test_decoding(tokenizer):
    assert tokenizer.decode([5, *tokenizer.encode("a"), 0]) == "<repo_name>a<|endoftext|>"
    assert tokenizer.decode([5, *tokenizer.encode("a"), 0], sentinels=False) == "a"
    assert tokenizer.decode([]) == ""
    part = tokenizer.encode("é")[:1] if len(tokenizer.encode("é")) > 1 else [tokenizer.tokens.index(b"\xc3")]
    assert tokenizer.decode(part) == "\ufffd"
    for wrong in (-1, tokenizer.vocabulary):
        with pytest.raises(StarsmithError, match=f"There is no token {wrong}: the vocabulary has 1,200"):
            tokenizer.decode([wrong])


@given(st.lists(st.integers(0, 1199), max_size=20))
def test_any_ids_decode(tokenizer, ids):
    data = tokenizer.bytes_of(ids)
    assert tokenizer.decode(ids, sentinels=False) == data.decode("utf-8", errors="replace")


def changed(tokenizer, change):
    plain = json.loads(tokenizer.files[TOKENIZER_FILE])
    change(plain)
    return {TOKENIZER_FILE: json.dumps(plain).encode()}


def test_the_fingerprint_is_that_of_what_it_does(tokenizer):
    def spell(plain):
        plain["model"]["merges"] = [" ".join(merge) for merge in plain["model"]["merges"]]
        plain["version"] = "2.0"

    def swap(plain):
        merges = plain["model"]["merges"]
        merges[0], merges[1] = merges[1], merges[0]

    assert Tokenizer(changed(tokenizer, spell)).fingerprint == tokenizer.fingerprint
    assert Tokenizer(changed(tokenizer, swap)).fingerprint != tokenizer.fingerprint


def _another_kind(plain):
    plain["model"]["type"] = "Unigram"


def _normalized(plain):
    plain["normalizer"] = {"type": "NFC"}


def _split_otherwise(plain):
    plain["pre_tokenizer"] = {"type": "Whitespace"}


def _sentinels_elsewhere(plain):
    plain["added_tokens"][5]["content"], plain["added_tokens"][6]["content"] = "<file_sep>", "<repo_name>"


def _without_a_byte(plain):
    vocabulary = plain["model"]["vocab"]
    vocabulary["éé"] = vocabulary.pop("!")


def _a_gap(plain):
    plain["model"]["vocab"]["!"] = 5_000


def _merges_of_nothing(plain):
    plain["model"]["merges"][0] = ["a", "nothing"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_another_kind, "of another kind"),
        (_normalized, "of another kind"),
        (_split_otherwise, "of another kind"),
        (_sentinels_elsewhere, "'<file_sep>' at id 5; expected the sentinel <repo_name>"),
        (_without_a_byte, "has no token for the byte 33"),
        (_a_gap, "is damaged"),
        (_merges_of_nothing, "is damaged or no tokenizer"),
        (dict.clear, "is damaged or no tokenizer"),
    ],
)
def test_other_tokenizers_are_refused(tokenizer, change, said):
    with pytest.raises(StarsmithError, match=said):
        Tokenizer(changed(tokenizer, change), where="T")


def test_damaged_files_are_told(folder):
    file = folder / TOKENIZER_FILE
    for data in (b"", b"[1]", file.read_bytes()[:-1000], b"\xff" + file.read_bytes()):
        file.write_bytes(data)
        with pytest.raises(StarsmithError, match=r"tokenizer.json is damaged or no tokenizer"):
            Tokenizer.open(folder)
    file.unlink()
    with pytest.raises(StarsmithError, match=r"holds no tokenizer.*starsmith tokenizer train"):
        Tokenizer.open(str(folder))

"""Training a tokenizer on a release: the same bytes for the same text, a fair sample, and what little text gives."""

import json
import os
import subprocess
import sys
from itertools import cycle

import pytest

from starsmith.errors import StarsmithError
from starsmith.format.released_files import open_release
from starsmith.format.settings import TokenizerSettings
from starsmith.format.tokenizer import Tokenizer
from starsmith.format.tokenizer_training import (
    LEAST_VOCABULARY,
    LONGEST_TEXT,
    sample_rates,
    train_tokenizer,
    trained_on,
)
from starsmith.progress import Quiet

LANGUAGES = ("Python", "Lua", "Markdown")


@pytest.fixture(scope="module")
def released(make_release, document, real_texts, tmp_path_factory):
    """Real texts of several languages, one of them in a single document."""
    shards = {f"{number:04}": [] for number in range(4)}
    for number, (text, language) in enumerate(zip(real_texts[:90], cycle(LANGUAGES), strict=False)):
        each = document(repo_name=f"r/{number % 7}", path=f"{number}.x", content=text[:5000], language=language)
        shards[f"{number % 4:04}"].append(each)
    shards["0001"].append(document(repo_name="r/1", path="z.x", content="zig zag\n" * 40, language="Zig"))
    return open_release(str(make_release(tmp_path_factory.mktemp("training") / "r", shards)))


class Notes(Quiet):
    """Remembers what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_training_on_a_release(released, tmp_path):
    settings = TokenizerSettings(vocabulary=500)
    trained = train_tokenizer(released, settings, Quiet())
    again = train_tokenizer(released, settings, Quiet())
    assert trained.tokenizer.files == again.tokenizer.files
    assert trained.vocabulary == trained.asked == 500
    record = trained.tokenizer.record
    assert record["release"] == released.digest
    assert record["settings"]["sample_mb"] == settings.sample_mb
    assert record["fingerprint"] == trained.tokenizer.fingerprint
    assert [each["language"] for each in record["fertility"]] == ["Lua", "Markdown", "Python", "Zig"]


def test_fertility(released):
    trained = train_tokenizer(released, TokenizerSettings(vocabulary=500), Quiet())
    rows = {each.language: [] for each in trained.fertility}
    for _, table in released.tables(["language", "content"]):
        for row in table.to_pylist():
            rows[row["language"]].append(row["content"])
    for each in trained.fertility:
        assert each.documents == len(rows[each.language])
        assert each.characters == sum(map(len, rows[each.language]))
        assert each.bytes == sum(len(text.encode()) for text in rows[each.language])
        assert each.tokens == sum(len(trained.tokenizer.encode(text)) for text in rows[each.language])
        assert each.bytes_per_token == each.bytes / each.tokens > 1
        assert each.characters_per_token <= each.bytes_per_token


THREADS = """
import hashlib, json, sys
from starsmith.format.tokenizer_training import trained_on
texts = json.load(open(sys.argv[1]))
print(hashlib.sha256(trained_on([texts[:40], texts[40:]], vocabulary=900).files["tokenizer.json"]).hexdigest())
"""


def test_the_same_bytes_with_any_number_of_threads(real_texts, tmp_path):
    texts = [text[:6000] for text in real_texts[:100]]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    command = [sys.executable, "-c", THREADS, str(tmp_path / "texts.json")]
    found = {
        subprocess.run(
            command, env=os.environ | {"RAYON_NUM_THREADS": str(threads)}, capture_output=True, check=True
        ).stdout
        for threads in (1, 2, 4)
    }
    assert len(found) == 1
    one = trained_on([reversed(texts)], vocabulary=900)
    assert one.fingerprint == trained_on([texts], vocabulary=900).fingerprint, "the order of texts changes nothing"


def test_the_sample_is_shared_by_a_power_of_the_sizes(released):
    sizes = released.bytes_by_language()
    total = sum(sizes.values())

    def sample(power, share):
        settings = TokenizerSettings(sample_mb=share * total / 1e6, language_power=power)
        return {name: rate * sizes[name] for name, rate in sample_rates(released, settings).items()}

    assert sample_rates(released, TokenizerSettings()) == dict.fromkeys(sizes, 1.0)
    in_proportion = sample(1.0, 0.5)
    assert in_proportion == pytest.approx({name: size / 2 for name, size in sizes.items()})
    alike = sample(0.0, 0.5)
    assert alike["Zig"] == sizes["Zig"], "all there is of it"
    assert alike["Python"] == pytest.approx(alike["Lua"])
    between = sample(0.5, 0.5)
    assert in_proportion["Zig"] < between["Zig"] <= alike["Zig"]
    for each in (in_proportion, alike, between):
        assert sum(each.values()) == pytest.approx(total / 2)


def test_a_document_left_out_changes_nothing_about_the_others(released):
    """The sample is made of decisions about single documents: another seed gives another one."""
    some = TokenizerSettings(vocabulary=400, sample_mb=0.05)
    one, other = (
        train_tokenizer(released, each, Quiet())
        for each in (some, TokenizerSettings(vocabulary=400, sample_mb=0.05, seed=1))
    )
    assert one.tokenizer.fingerprint != other.tokenizer.fingerprint


def test_one_huge_document_does_not_decide(make_release, document, tmp_path):
    huge = document(repo_name="a/b", path="x", content="same " * (LONGEST_TEXT // 5) + "neverseen neverseen " * 50)
    trained = train_tokenizer(
        open_release(str(make_release(tmp_path / "r", {"0": [huge]}))), TokenizerSettings(vocabulary=400), Quiet()
    )
    assert b" same" in trained.tokenizer.tokens
    assert not any(b"never" in (token or b"") for token in trained.tokenizer.tokens)


def test_too_little_text_gives_a_smaller_vocabulary(make_release, document, tmp_path):
    small = document(repo_name="a/b", path="x", content="abab abab once")
    reporter = Notes()
    trained = train_tokenizer(
        open_release(str(make_release(tmp_path / "r", {"0": [small]}))), TokenizerSettings(), reporter
    )
    assert trained.asked == 49_152
    assert LEAST_VOCABULARY < trained.vocabulary < LEAST_VOCABULARY + 6
    assert b"abab" in trained.tokenizer.tokens
    assert b"once" not in trained.tokenizer.tokens
    (note,) = reporter.notes
    assert f"has {trained.vocabulary:,} entries, not 49,152" in note


def test_an_empty_corpus_is_refused(make_release, document, tmp_path):
    empty = document(repo_name="a/b", path="x", content="")
    for name, documents in (("none", {}), ("empty", {"0": [empty]})):
        released = open_release(str(make_release(tmp_path / name, documents)))
        with pytest.raises(StarsmithError, match="holds no text to train a tokenizer on"):
            train_tokenizer(released, TokenizerSettings(), Quiet())


@pytest.mark.parametrize("vocabulary", [0, 38, LEAST_VOCABULARY - 1])
def test_a_vocabulary_without_room_for_the_bytes_is_refused(released, vocabulary):
    with pytest.raises(StarsmithError, match="38 sentinels and 256 bytes take 294"):
        train_tokenizer(released, TokenizerSettings(vocabulary=vocabulary), Quiet())


def test_the_least_vocabulary_is_bytes_alone():
    tokenizer = trained_on([["some text"]], vocabulary=LEAST_VOCABULARY)
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.vocabulary == LEAST_VOCABULARY
    assert tokenizer.merges == ()
    assert tokenizer.decode(tokenizer.encode("some text ∂")) == "some text ∂"
    assert len(tokenizer.encode("some text")) == 9

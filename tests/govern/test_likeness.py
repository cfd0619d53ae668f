"""Likeness: the contents that hold most of a piece of code, wherever in the workspace they lie."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from starsmith.curate import minhash
from starsmith.document import SHINGLES, content_id
from starsmith.govern import likeness
from starsmith.govern.likeness import Like, most_like, shingles_of
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, write_mapped_part
from starsmith.workspace import BuildRecord

SETTINGS = NearDuplicateSettings()


def words(seed: int, count: int) -> list[str]:
    return [f"w{random.Random(f'{seed} {number}').randrange(10**6)}" for number in range(count)]


def build_of(store: Store, *shards: list[str]) -> BuildRecord:
    """Write the shingle sets of some texts, shard by shard."""
    parts: list[Part] = []
    for number, texts in enumerate(shards):
        signed = minhash.sign(pa.array([text.encode() for text in texts], pa.large_binary()), SETTINGS)
        ids = pa.array([content_id(text.encode()) for text in texts], pa.binary(20))
        rows = pa.table([ids, signed.shingles], schema=SHINGLES)
        parts.append(write_mapped_part(store, "shingles", SHINGLES, rows, shard=f"{number}"))
    values: dict[str, Any] = {"recipe": "", "base": "", "profile": "", "engine": "", "workers": 1, "until": "annotate"}
    return BuildRecord(**values, stages=(), tables={"shingles": tuple(parts)}, records=(), release=None, versions={})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def like(store: Store, build: BuildRecord, text: str) -> list[Like]:
    own, reason = shingles_of(text.encode(), SETTINGS)
    assert reason is None
    return most_like(store, build, own)


def test_the_largest_share_comes_first_and_of_equal_ones_the_most_similar(store: Store) -> None:
    snippet = words(1, 100)
    whole, longer, half = snippet + words(2, 50), snippet + words(3, 500), snippet[:52] + words(4, 60)
    texts = [" ".join(each) for each in (half, longer, whole, words(5, 200))]
    found = like(store, build_of(store, texts[:2], [], texts[2:]), " ".join(snippet))
    assert [each.content_id for each in found] == [content_id(texts[number].encode()) for number in (2, 1, 0)]
    assert [each.contained for each in found] == [1.0, 1.0, 48 / 96]
    assert [each.similarity for each in found] == [96 / 146, 96 / 596, 48 / (96 + 108 - 48)]


def test_a_content_in_several_shards_is_found_once(store: Store) -> None:
    text = " ".join(words(1, 100))
    (found,) = like(store, build_of(store, [text], [text, "a b c d e f"]), text)
    assert (found.content_id, found.similarity, found.contained) == (content_id(text.encode()), 1.0, 1.0)


def test_chance_phrases_are_no_likeness(store: Store) -> None:
    snippet = words(1, 200)
    build = build_of(store, [" ".join(snippet[:9] + words(2, 300))])
    assert like(store, build, " ".join(snippet)) == []
    assert len(like(store, build, " ".join(snippet[:60]))) == 1


def test_only_so_many_are_compared_and_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    snippet = words(1, 60)
    texts = [" ".join(snippet[: 60 - number] + words(number + 2, 20)) for number in range(30)]
    build = build_of(store, texts[:15], texts[15:])
    best = like(store, build, " ".join(snippet))
    assert [each.content_id for each in best] == [content_id(text.encode()) for text in texts[: likeness.MOST_LIKE]]
    monkeypatch.setattr(likeness, "_COMPARED", 3)
    assert like(store, build, " ".join(snippet)) == best[:3]


def test_long_snippets_are_found_by_a_sample(store: Store) -> None:
    snippet = words(1, 3_000)
    text = " ".join(words(2, 5_000) + snippet[1_000:1_900])
    (found,) = like(store, build_of(store, [" ".join(words(3, 900)), text]), " ".join(snippet))
    assert found.content_id == content_id(text.encode())
    assert found.contained == 896 / 2_996


def test_what_has_no_shingles_is_like_nothing(store: Store) -> None:
    build = build_of(store, ["a b c d e f g"], [])
    assert like(store, build, "too short") == []
    own, reason = shingles_of(b"\0\1\2", SETTINGS)
    assert (len(own), reason) == (0, "error.binary")
    assert most_like(store, build, np.zeros(0, np.uint32)) == []

"""Pairs of documents that share a bucket: a search that goes on from an earlier one gives the same bytes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith import near_pairs
from starsmith.annotate_rows import packed_bands
from starsmith.document import BANDS
from starsmith.near_pairs import CANDIDATES, PAIRS, FindPairs, Searched
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, Record, Table, write_mapped_part, write_part

SETTINGS = NearDuplicateSettings(bands=3, rows=2)
SHARDS = ("aa", "bb", "cc")

Document = tuple[str | None, int]
"""Language and the number of the shingle set, which has the same keys wherever it lies."""
Corpus = dict[str, dict[int, Document]]
"""Documents by shard and number."""

KEYS = np.random.default_rng(1).integers(0, 6, (12, 3))
"""Few keys, so that many are shared."""

documents = st.tuples(st.sampled_from(["C", "Go", None]), st.integers(0, len(KEYS) - 1))
shards = st.dictionaries(st.integers(0, 40), documents, max_size=8)
corpora = st.fixed_dictionaries(dict.fromkeys(SHARDS, shards))


def tables(store: Store, corpus: Corpus) -> tuple[Table, Table]:
    """Write the candidates and bands of a corpus; each shard holds a shingle set once."""
    parts: dict[str, list[Part]] = {"near_candidates": [], "bands": []}
    for place, (shard, own) in enumerate(corpus.items()):
        sets = list(dict.fromkeys(number for _, number in own.values()))
        packed = packed_bands([KEYS[sets].astype(np.int64)])
        parts["bands"].append(write_mapped_part(store, "bands", BANDS, packed, shard=shard))
        rows = sorted((sets.index(each), bytes([place, n]).rjust(20, b"\0"), lang) for n, (lang, each) in own.items())
        if rows:
            columns = [
                [shard] * len(rows),
                [row[1] for row in rows],
                [row[0] for row in rows],
                [row[2] for row in rows],
            ]
            table = pa.table(columns, schema=CANDIDATES)
            parts["near_candidates"].append(write_part(store, "near_candidates", CANDIDATES, [table], shard=shard))
    bands = tuple(part for part, own in zip(parts["bands"], corpus.values(), strict=True) if own)
    return (
        Table(name="near_candidates", schema=CANDIDATES, parts=tuple(parts["near_candidates"])),
        Table(name="bands", schema=BANDS, parts=bands),
    )


def search(store: Store, finds: list[FindPairs]) -> list[Part]:
    """Do the tasks and record them, as a build would."""
    parts = []
    for find in finds:
        outputs = dict(find(store, attempt=0, progress=lambda count: None).parts)
        Record(stage=near_pairs.STAGE, fingerprint=find.key, outputs=outputs, seconds=0.0, counts={}).write(store)
        parts += outputs["near_pairs"]
    return parts


def known(store: Store, corpus: Corpus, settings: NearDuplicateSettings) -> Searched:
    candidates, bands = tables(store, corpus)
    search(store, near_pairs.searches(candidates, bands, settings))
    found = near_pairs.searched(store, candidates, bands, settings)
    assert found is not None
    return found


@given(before=corpora, after=corpora, across=st.booleans(), pair_keys=st.sampled_from([8, 1_000]))
def test_a_search_goes_on_from_an_earlier_one(
    tmp_path_factory: pytest.TempPathFactory,
    before: Corpus,
    after: Corpus,
    across: bool,  # noqa: FBT001
    pair_keys: int,
) -> None:
    store, settings = Store(str(tmp_path_factory.mktemp("w"))), replace(SETTINGS, across_languages=across)
    # One shard stays as it was, as nearly all do.
    after = after | {"bb": before["bb"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_pairs, "_FEW", 0)
        patch.setattr(near_pairs, "PAIR_KEYS", pair_keys)
        earlier = known(store, before, settings)
        candidates, bands = tables(store, after)
        anew = search(store, near_pairs.searches(candidates, bands, settings))
        assert search(store, near_pairs.searches(candidates, bands, settings, earlier=earlier)) == anew


ONE: Corpus = {"aa": {1: ("C", 0), 2: ("C", 1)}, "bb": {3: ("C", 0)}, "cc": {4: ("C", 0), 5: (None, 0)}}


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the ways to search note that they were taken."""
    taken: list[str] = []

    def noting(name: str) -> Callable[..., object]:
        way = getattr(FindPairs, name)
        return lambda *args: taken.append(name) or way(*args)

    for name in ("_keys", "_keys_since"):
        monkeypatch.setattr(FindPairs, name, noting(name))
    return taken


def test_few_new_documents_are_looked_for_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    earlier, taken = known(store, ONE, SETTINGS), counted(monkeypatch)
    candidates, bands = tables(store, {**ONE, "bb": {}})
    parts = search(store, near_pairs.searches(candidates, bands, SETTINGS, earlier=earlier))
    assert set(taken) == {"_keys_since"}
    rows = Table(name="near_pairs", schema=PAIRS, parts=tuple(parts)).read(store).to_pylist()
    assert {row["document_id"][-2:] for row in rows} >= {bytes([0, 1]), bytes([2, 4])}
    taken.clear()
    many = tables(store, {**ONE, "bb": dict.fromkeys(range(6, 9), ("C", 3))})
    search(store, near_pairs.searches(*many, SETTINGS, earlier=earlier))
    assert set(taken) == {"_keys"}


def test_a_copy_that_comes_back_is_not_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = Store(str(tmp_path)), []
    of_keys = near_pairs._Entries.of_keys
    monkeypatch.setattr(near_pairs._Entries, "of_keys", lambda *args: asked.append(args) or of_keys(*args))
    earlier = known(store, ONE, SETTINGS)
    back: Corpus = {**ONE, "bb": {}, "cc": {**ONE["cc"], 6: ("C", 0)}}
    other: Corpus = {**ONE, "bb": {}, "cc": {**ONE["cc"], 6: ("Go", 0)}}
    for corpus, looks in ((back, False), (other, True)):
        anew = search(store, near_pairs.searches(*tables(store, corpus), SETTINGS))
        asked.clear()
        assert search(store, near_pairs.searches(*tables(store, corpus), SETTINGS, earlier=earlier)) == anew
        assert bool(asked) == looks


def test_a_damaged_earlier_search_is_not_needed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    earlier = known(store, ONE, SETTINGS)
    candidates, bands = tables(store, {**ONE, "bb": {}})
    anew = search(store, near_pairs.searches(candidates, bands, SETTINGS))
    file = tmp_path / earlier.pairs.parts[0].name
    file.write_bytes(bytes(len(file.read_bytes())))
    assert search(store, near_pairs.searches(candidates, bands, SETTINGS, earlier=earlier)) == anew
    file.unlink()
    assert near_pairs.searched(store, earlier.candidates, earlier.bands, SETTINGS) is None

"""Ranges of keys: tasks that each look through a part of a band find what one that looks through all of it finds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from starsmith import near_pairs, near_ranges
from starsmith.annotate_rows import packed_bands
from starsmith.document import BANDS, ID_BYTES
from starsmith.near_pairs import CANDIDATES, PAIRS
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, write_mapped_part, write_part

SETTINGS = NearDuplicateSettings(bands=2, rows=2)
EDGES = [-(1 << 63), -(1 << 62), -1, 0, 1, 1 << 62, (1 << 63) - 1]
"""Keys where ranges begin and end."""

keys = st.lists(st.tuples(st.sampled_from(EDGES), st.sampled_from(EDGES)), min_size=1, max_size=6)
languages = st.lists(st.sampled_from(["C", "Go", None]), min_size=6, max_size=6)
shards = st.lists(st.tuples(keys, languages), min_size=1, max_size=3)


def tables(store: Store, given: list) -> tuple[Table, Table]:
    """Write the candidates and bands of some shards; every second shingle set is that of two documents."""
    candidates: list[Part] = []
    bands: list[Part] = []
    for place, (own, named) in enumerate(given):
        shard = f"shard{place}"
        rows = [row for row in range(len(own)) for _ in range(1 + row % 2)]
        ids = [bytes([place, number]).rjust(ID_BYTES, b"\0") for number in range(len(rows))]
        table = pa.table([[shard] * len(rows), ids, rows, [named[row] for row in rows]], schema=CANDIDATES)
        candidates.append(write_part(store, "near_candidates", CANDIDATES, [table], shard=shard))
        packed = packed_bands([np.array(own, np.int64)])
        bands.append(write_mapped_part(store, "bands", BANDS, packed, shard=shard))
    return (
        Table(name="near_candidates", schema=CANDIDATES, parts=tuple(candidates)),
        Table(name="bands", schema=BANDS, parts=tuple(bands)),
    )


def found(store: Store, finds: list) -> Iterator[pa.Table]:
    for find in finds:
        parts = find(store, attempt=0, progress=lambda count: None).parts["near_pairs"]
        yield Table(name="near_pairs", schema=PAIRS, parts=parts).read(store)


@given(corpus=shards, across=st.booleans(), range_keys=st.sampled_from([1, 2, 5, 1_000]))
@examples(max_examples=30, deadline=None)
def test_ranges_find_what_whole_bands_hold(tmp_path_factory, corpus, across, range_keys):
    store, settings = Store(str(tmp_path_factory.mktemp("w"))), replace(SETTINGS, across_languages=across)
    candidates, bands = tables(store, corpus)
    whole = pa.concat_tables(found(store, near_pairs.searches(candidates, bands, settings)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_ranges, "RANGE_KEYS", range_keys)
        finds = near_ranges.searches(candidates, bands, settings)
    assert len({find.key for find in finds}) == len(finds) == 2 * -(-candidates.rows // range_keys)
    assert pa.concat_tables(found(store, finds)).equals(whole)


def test_ranges_meet_without_gap_or_overlap(tmp_path: Path):
    store = Store(str(tmp_path))
    candidates, bands = tables(store, [([(0, 0)], ["C"] * 6)])
    for ranges in (1, 2, 3, 7):
        finds = [
            replace(near_ranges.searches(candidates, bands, SETTINGS)[0], number=n, ranges=ranges)
            for n in range(ranges)
        ]
        bounds = [find._bounds().tolist() for find in finds]
        assert bounds[0][0] == -(1 << 63)
        assert [low for low, _ in bounds[1:]] == [high for _, high in bounds[:-1]]

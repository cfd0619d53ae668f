"""Decisions against Python sets: a drop is always justified by its own winner, a keep by every kept neighbour."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith.curate import near_duplicates
from starsmith.curate.minhash import sign
from starsmith.curate.near_duplicates import Members, components, decide, jaccard, members_of, shingle_views
from starsmith.settings import NearDuplicateSettings

DEFAULT = NearDuplicateSettings()
UNVERIFIED = NearDuplicateSettings(verify=False)

SETS = st.sets(st.integers(0, 12), max_size=10)
GROUPS = st.lists(st.tuples(SETS, st.sets(st.tuples(st.integers(0, 2), st.integers(-2, 2)), max_size=4)), max_size=14)

Buckets = set[tuple[int, int]]


def members_from(sets: list[set[int]], buckets: list[Buckets]) -> Members:
    pairs = [(member, *pair) for member, own in enumerate(buckets) for pair in own]
    columns = np.array(pairs, np.int64).reshape(-1, 3)
    counts = np.array([len(s) for s in sets], np.int64)
    return Members(
        shingles=np.array([value for s in sets for value in sorted(s)], np.uint32),
        starts=np.cumsum(counts) - counts,
        counts=counts,
        pair_members=columns[:, 0].copy(),
        pair_bands=columns[:, 1].astype(np.int32),
        pair_keys=columns[:, 2].copy(),
    )


def similarity_of(first: set[int], second: set[int]) -> float:
    return len(first & second) / len(first | second) if first and second else 0.0


def greedy(sets: list[set[int]], buckets: list[Buckets], threshold: float) -> list[int]:
    """Return the winner of each member (-1: kept) by the rule as the module states it."""
    kept: list[int] = []
    winners = []
    for member, own in enumerate(sets):
        rivals = [k for k in kept if buckets[k] & buckets[member] and similarity_of(sets[k], own) >= threshold]
        winners.append(max(rivals, key=lambda k: (similarity_of(sets[k], own), -k), default=-1))
        if winners[-1] < 0:
            kept.append(member)
    return winners


def reachable(total: int, edges: list[tuple[int, int]]) -> list[int]:
    """Return the smallest node each node reaches, by repeated relaxation."""
    label = list(range(total))
    for _ in range(total):
        for left, right in edges:
            label[left] = label[right] = min(label[left], label[right])
    return label


@given(group=GROUPS, threshold=st.sampled_from([0.01, 1 / 3, 0.5, 0.7, 1.0]))
@settings(max_examples=400, deadline=None)
def test_verified_decisions_equal_the_rule(group: list[tuple[set[int], Buckets]], threshold: float) -> None:
    sets, buckets = [s for s, _ in group], [b for _, b in group]
    found = decide(members_from(sets, buckets), NearDuplicateSettings(threshold=threshold))
    assert found.winner.tolist() == greedy(sets, buckets, threshold)
    for member, winner in enumerate(found.winner):
        expected = 1.0 if winner < 0 else similarity_of(sets[member], sets[winner])
        assert found.similarity[member] == expected
        assert found.cluster[member] == (member if winner < 0 else winner)
        assert winner < 0 or (expected >= threshold and found.winner[winner] < 0)
    kept = np.flatnonzero(found.winner < 0)
    for a in kept:
        for b in kept:
            assert a == b or not buckets[a] & buckets[b] or similarity_of(sets[a], sets[b]) < threshold


@given(group=GROUPS)
@settings(max_examples=200, deadline=None)
def test_unverified_keeps_the_best_of_each_component(group: list[tuple[set[int], Buckets]]) -> None:
    sets, buckets = [s for s, _ in group], [b for _, b in group]
    found = decide(members_from(sets, buckets), UNVERIFIED)
    edges = [(a, b) for a in range(len(sets)) for b in range(a) if buckets[a] & buckets[b]]
    expected = reachable(len(sets), edges)
    assert found.component.tolist() == expected
    assert found.cluster.tolist() == expected
    assert found.winner.tolist() == [-1 if label == member else label for member, label in enumerate(expected)]
    for member, winner in enumerate(found.winner):
        assert found.similarity[member] == (1.0 if winner < 0 else similarity_of(sets[member], sets[winner]))


@given(group=GROUPS, seed=st.integers(0, 99), verify=st.booleans())
@settings(max_examples=150, deadline=None)
def test_only_rank_matters(group: list[tuple[set[int], Buckets]], seed: int, verify: bool) -> None:  # noqa: FBT001
    """The order of the pairs and the place of the shingles in their array change nothing."""
    wanted = NearDuplicateSettings(verify=verify)
    members = members_from([s for s, _ in group], [b for _, b in group])
    generator = np.random.default_rng(seed)
    order, layout = generator.permutation(len(members.pair_keys)), generator.permutation(len(members))
    pieces = [members.shingles[members.starts[m] : members.starts[m] + members.counts[m]] for m in layout]
    starts = np.empty(len(members), np.int64)
    starts[layout] = np.cumsum(members.counts[layout]) - members.counts[layout]
    moved = Members(
        shingles=np.concatenate([np.zeros(0, np.uint32), *pieces]),
        starts=starts,
        counts=members.counts,
        pair_members=members.pair_members[order],
        pair_bands=members.pair_bands[order],
        pair_keys=members.pair_keys[order],
    )
    first, second = decide(members, wanted), decide(moved, wanted)
    assert first.winner.tolist() == second.winner.tolist()
    assert first.similarity.tolist() == second.similarity.tolist()
    assert first.component.tolist() == second.component.tolist()


@given(groups=st.lists(GROUPS, min_size=2, max_size=3))
@settings(max_examples=100, deadline=None)
def test_independent_groups_may_be_decided_together(groups: list[list[tuple[set[int], Buckets]]]) -> None:
    """Groups that share no bucket do not influence each other."""
    apart, together, shift = [], [], 0
    for number, group in enumerate(groups):
        found = decide(members_from([s for s, _ in group], [b for _, b in group]), DEFAULT)
        apart += [winner + shift if winner >= 0 else -1 for winner in found.winner.tolist()]
        together += [(s, {(band + 10 * number, key) for band, key in b}) for s, b in group]
        shift += len(group)
    found = decide(members_from([s for s, _ in together], [b for _, b in together]), DEFAULT)
    assert found.winner.tolist() == apart


def test_a_chain_is_not_followed() -> None:
    """Neighbours are 0.8 similar and the ends only 0.5: the last has no kept neighbour near enough, so it stays."""
    sets = [set(range(start, start + 90)) for start in (0, 10, 20, 30)]
    buckets: list[Buckets] = [{(0, 1)}] * 4
    assert similarity_of(sets[0], sets[1]) == 0.8
    assert similarity_of(sets[0], sets[3]) == 0.5
    assert decide(members_from(sets, buckets), DEFAULT).winner.tolist() == [-1, 0, -1, 2]
    assert decide(members_from(sets, buckets), UNVERIFIED).winner.tolist() == [-1, 0, 0, 0]


def test_the_threshold_itself_is_enough_and_a_near_miss_is_not() -> None:
    assert Fraction(7, 10) == Fraction(len({*range(7)}), len({*range(10)}))
    sets = [set(range(10)), set(range(7)), set(range(10, 20)), set(range(10, 16))]
    found = decide(members_from(sets, [{(0, 1)}, {(0, 1)}, {(0, 2)}, {(0, 2)}]), DEFAULT)
    assert found.winner.tolist() == [-1, 0, -1, -1]
    assert found.similarity[1] == 0.7


def test_the_most_similar_winner_is_taken_and_the_better_of_equals() -> None:
    sets = [set(range(10)) | {100, 101}, set(range(10)) | {200, 201}, set(range(10)) | {300}, set(range(10))]
    buckets: list[Buckets] = [{(0, 1)}, {(1, 1)}, {(2, 1)}, {(0, 1), (1, 1), (2, 1)}]
    assert decide(members_from(sets, buckets), DEFAULT).winner.tolist() == [-1, -1, -1, 2]
    assert decide(members_from(sets[:2] + sets[3:], buckets[:2] + buckets[3:]), DEFAULT).winner.tolist() == [-1, -1, 0]


def test_a_full_bucket_is_counted_and_keeps_the_best_leaders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_LEADERS_PER_BUCKET", 2)
    sets = [{1, 2}, {3, 4}, {5, 6}, {5, 6}, {1, 2}]
    found = decide(members_from(sets, [{(0, 0)}] * 5), DEFAULT)
    assert found.winner.tolist() == [-1, -1, -1, -1, 0]
    assert found.left_out == 2
    assert decide(members_from(sets[:2], [{(0, 0)}] * 2), DEFAULT).left_out == 0


def test_real_texts_from_signature_to_decision() -> None:
    """A file, a copy with one changed name, an unrelated one, two tiny ones and one repeated token."""
    body = "\n".join(f"def step_{i}(state, item): return state.update(item, weight={i})" for i in range(40))
    other = "\n".join(f"class Handler{i}: path = '/v{i}'; method = get_{i * i}" for i in range(40))
    texts = [body, other, body.replace("step_7", "stage_7"), "import os", "import os", "x " * 9, "x " * 900, body]
    signed = sign(pa.array([t.encode() for t in texts], pa.large_binary()), DEFAULT)
    found = decide(members_of(signed), DEFAULT)
    assert found.winner.tolist() == [-1, -1, 0, -1, -1, -1, 5, 0]
    assert 0.9 < found.similarity[2] < 1.0
    assert found.similarity[7] == 1.0


def test_shingle_views_read_a_slice_in_place() -> None:
    sets = [np.array(values, "<u4").tobytes() for values in ([9], [1, 2, 3], [], [4, 5])]
    flat, starts, counts = shingle_views(pa.array(sets, pa.large_binary())[1:])
    found = [flat[s : s + c].tolist() for s, c in zip(starts, counts, strict=True)]
    assert found == [[1, 2, 3], [], [4, 5]]
    assert shingle_views(pa.array([b""], pa.large_binary()))[2].tolist() == [0]


def test_nothing_to_decide() -> None:
    for wanted in (DEFAULT, UNVERIFIED):
        found = decide(members_from([], []), wanted)
        assert found.winner.tolist() == []
        assert found.compared == 0


@given(first=st.sets(st.integers(0, 2**32 - 1)) | SETS, second=SETS)
@settings(max_examples=200, deadline=None)
def test_jaccard_equals_sets(first: set[int], second: set[int]) -> None:
    arrays = [np.array(sorted(values), np.uint32) for values in (first, second)]
    assert jaccard(arrays[0], arrays[1]) == similarity_of(first, second)
    assert jaccard(arrays[1], arrays[0]) == similarity_of(first, second)


def test_jaccard_of_long_sets() -> None:
    generator = np.random.default_rng(3)
    first, second = (np.unique(generator.integers(0, 9000, 6000, dtype=np.uint32)) for _ in range(2))
    assert jaccard(first, second) == similarity_of(set(first.tolist()), set(second.tolist()))


@given(edges=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
@settings(max_examples=200, deadline=None)
def test_components_equal_relaxation(edges: list[tuple[int, int]]) -> None:
    left, right = (np.array([e[side] for e in edges], np.int64) for side in (0, 1))
    assert components(left, right, 20).tolist() == reachable(20, edges)


def test_components_of_a_long_chain_and_of_wrong_edges() -> None:
    chain = np.arange(200_000)[::-1].copy()
    assert components(chain[:-1], chain[1:], len(chain)).max() == 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        components(np.array([0]), np.array([2]), 2)
    with pytest.raises(ValueError, match="two ends"):
        components(np.array([0]), np.array([], np.int64), 2)


def test_many_members_of_one_template_stay_within_the_bound() -> None:
    """Every bucket holds all members and none is similar: the work is bounded, and the bound is reported."""
    generator = np.random.default_rng(1)
    sets = [set(generator.integers(0, 2**32, 40).tolist()) for _ in range(1500)]
    buckets: list[Buckets] = [{(0, 0)} for _ in sets]
    found = decide(members_from(sets, buckets), DEFAULT)
    assert (found.winner == -1).all()
    most = near_duplicates.MAX_LEADERS_PER_BUCKET
    assert found.left_out == 1500 - most
    assert found.compared == most * (most - 1) // 2 + most * (1500 - most)

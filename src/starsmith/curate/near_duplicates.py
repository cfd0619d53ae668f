"""Near-duplicates: from candidates that share a band bucket to a winner for every text that has to go.

Follows section 4 of the paper's data description. There, whatever is connected through buckets is one cluster and one
text of it survives, although chains of pairs lead far below the threshold. The default here *verifies*: a text is
dropped only for a kept text that is itself at least `threshold` similar, by exact Jaccard of the two shingle sets.
`verify = false` is the paper's rule.

Does not compute signatures (`minhash` does), nor which of two texts is the better one (the caller's order says it).
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.curate.kernel import Indices, compiled, read_only, text_buffers
from starsmith.curate.minhash import Hashes, Signed
from starsmith.settings import NearDuplicateSettings

Scores = npt.NDArray[np.float64]

MAX_LEADERS_PER_BUCKET = 256
"""Kept texts that later members of one bucket are compared with, best first. Kept texts of a bucket are dissimilar, so
a bucket rarely has many: 27 at most in 350,000 buckets of 14,570 files of real code. Only text made of one template
fills it, and then the bound keeps the work linear. `Decisions.left_out` counts how often it was reached."""

_CHECK_EVERY = 32
"""Steps of a merge between two looks at whether the pair can still pass."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    """Texts to decide, numbered from the best (0) to the worst, with what they are compared by.

    shingles: uint32, the sorted distinct shingle hashes of all members in one array; it may be memory-mapped, and
    members may lie in it in any order.
    starts, counts: int64 [members], where in `shingles` each member's hashes begin, and how many they are.
    pair_members, pair_bands, pair_keys: [pairs], the buckets: member pair_members[i] is in bucket (pair_bands[i],
    pair_keys[i]). Buckets with one member may be left out. Any order.
    """

    shingles: Hashes
    starts: Indices
    counts: Indices
    pair_members: Indices
    pair_bands: npt.NDArray[np.int32]
    pair_keys: Indices

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decisions:
    """What happens to each member.

    winner: int64 [members], the member that is kept in its place, or -1 where it is kept itself.
    similarity: float64 [members], exact Jaccard similarity to the winner; 1.0 where it is kept.
    component: int64 [members], the best member it is connected with through buckets, over any number of steps. What
    happens to one component does not depend on any other; it says nothing about similarity.
    compared: pairs whose shingles were compared.
    left_out: kept members that a full bucket did not take in as a leader, counted once per bucket.
    """

    winner: Indices
    similarity: Scores
    component: Indices
    compared: int
    left_out: int

    @property
    def cluster(self) -> Indices:
        """int64 [members]: the kept member each one stands behind; itself where it is kept."""
        return cast(Indices, np.where(self.winner < 0, np.arange(len(self.winner)), self.winner))


def shingle_views(shingles: pa.LargeBinaryArray) -> tuple[Hashes, Indices, Indices]:
    """Return (flat, starts, counts) of a column of shingle sets as `Members` wants them, without copying."""
    data, offsets = text_buffers(shingles)
    flat = data[: len(data) // 4 * 4].view("<u4").astype(np.uint32, copy=False)
    return flat, offsets[:-1] // 4, np.diff(offsets) // 4


def members_of(signed: Signed) -> Members:
    """Return the texts of one signed batch as members, the first text being the best."""
    flat, starts, counts = shingle_views(signed.shingles)
    bands = signed.band_keys.shape[1]
    return Members(
        shingles=flat,
        starts=starts,
        counts=counts,
        pair_members=np.repeat(signed.signed, bands),
        pair_bands=np.tile(np.arange(bands, dtype=np.int32), len(signed.signed)),
        pair_keys=signed.band_keys.reshape(-1),
    )


def decide(members: Members, settings: NearDuplicateSettings) -> Decisions:
    """Decide which members are kept. The result depends on the members' ranks alone, not on the order of the pairs.

    Verified: from the best member to the worst, a member is dropped if a member kept before it shares a bucket with
    it and is at least `threshold` similar; the most similar one is its winner, the better one of equals. So every
    dropped member passes the threshold with its own winner, and no two kept members of a bucket do
    (but for MAX_LEADERS_PER_BUCKET). Unverified: the best member of each connected component is kept.

    Any number of independent groups may be decided in one call. Time is near linear in shingles and pairs; memory
    beside the input about 60 bytes a pair.
    """
    total = len(members)
    shingles, starts, counts = read_only(members.shingles), read_only(members.starts), read_only(members.counts)
    pair_members = read_only(members.pair_members)
    buckets, number = _bucket_numbers(read_only(members.pair_bands), read_only(members.pair_keys))
    component = _bucket_components(pair_members, buckets, number, total)
    if settings.verify:
        own = _group_pairs(pair_members, buckets, total)
        slots = _leader_slots(buckets, number, MAX_LEADERS_PER_BUCKET)
        winner, similarity, compared, left_out = _verified(shingles, starts, counts, *own, slots, settings.threshold)
    else:
        winner = np.where(component == np.arange(total), -1, component)
        similarity = _similarities(shingles, starts, counts, winner)
        compared, left_out = int((winner >= 0).sum()), 0
    return Decisions(
        winner=winner, similarity=similarity, component=component, compared=int(compared), left_out=int(left_out)
    )


def jaccard(first: Hashes, second: Hashes) -> float:
    """Return |∩| / |∪| of two sorted arrays of distinct hashes; 0.0 where both are empty.

    >>> jaccard(np.array([1, 2, 3], np.uint32), np.array([2, 3, 4], np.uint32))
    0.5
    """
    return max(0.0, float(_jaccard(read_only(first), read_only(second), 0.0)))


def components(left: Indices, right: Indices, n: int) -> Indices:
    """Return the connected component of each of `n` nodes under the edges (left[i], right[i]), as its smallest node.

    >>> components(np.array([3, 1]), np.array([1, 4]), 5).tolist()
    [0, 1, 2, 1, 1]
    """
    if len(left) != len(right):
        raise ValueError(f"edges need two ends: {len(left)} left ends, {len(right)} right ends")
    if len(left) and (min(left.min(), right.min()) < 0 or max(left.max(), right.max()) >= n):
        raise ValueError(f"edges must lie between 0 and {n - 1}")
    return _components(read_only(left.astype(np.int64)), read_only(right.astype(np.int64)), n)


def _leader_slots(buckets: Indices, number: int, most: int) -> Indices:
    """Return int64 [buckets + 1]: where each bucket's list of leaders begins. A bucket of one needs none."""
    sizes = np.bincount(buckets, minlength=number)
    slots = np.zeros(number + 1, np.int64)
    np.cumsum(np.where(sizes > 1, np.minimum(sizes, most), 0), out=slots[1:])
    return slots


@compiled
def _bucket_numbers(bands: npt.NDArray[np.int32], keys: Indices) -> tuple[Indices, int]:
    """Return the number of each pair's bucket, counted in order of first sight, and how many buckets there are."""
    size, shift = 2, 63
    while size < 2 * len(keys):
        size, shift = size * 2, shift - 1
    table = np.full(size, -1, np.int64)
    first_pair = np.empty(len(keys), np.int64)
    numbers = np.empty(len(keys), np.int64)
    number = 0
    for pair in range(len(keys)):
        spread = (np.uint64(keys[pair]) + np.uint64(bands[pair])) * _SPREAD
        slot = np.int64(spread >> np.uint64(shift))
        while True:
            bucket = table[slot]
            if bucket < 0:
                table[slot] = bucket = number
                first_pair[number] = pair
                number += 1
                break
            seen = first_pair[bucket]
            if keys[seen] == keys[pair] and bands[seen] == bands[pair]:
                break
            slot = (slot + 1) & (size - 1)
        numbers[pair] = bucket
    return numbers, number


@compiled
def _group_pairs(pair_members: Indices, buckets: Indices, total: int) -> tuple[Indices, Indices]:
    """Return ([members + 1] offsets, [pairs] buckets by member)."""
    starts = np.zeros(total + 1, np.int64)
    for member in pair_members:
        starts[member + 1] += 1
    for member in range(total):
        starts[member + 1] += starts[member]
    fill = starts[:-1].copy()
    grouped = np.empty(len(buckets), np.int64)
    for pair in range(len(buckets)):
        member = pair_members[pair]
        grouped[fill[member]] = buckets[pair]
        fill[member] += 1
    return starts, grouped


@compiled
def _root(parent: Indices, node: int) -> int:
    """Return the representative of `node`, halving the path on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _join(parent: Indices, left: int, right: int) -> None:
    """Merge two components; the smaller representative stays."""
    left, right = _root(parent, left), _root(parent, right)
    parent[max(left, right)] = min(left, right)


@compiled
def _components(left: Indices, right: Indices, n: int) -> Indices:
    parent = np.arange(n)
    for edge in range(len(left)):
        _join(parent, left[edge], right[edge])
    for node in range(n):
        parent[node] = _root(parent, node)
    return parent


@compiled
def _bucket_components(pair_members: Indices, buckets: Indices, number: int, total: int) -> Indices:
    """Return for each member the best member that it reaches through shared buckets."""
    parent = np.arange(total)
    first = np.full(number, -1, np.int64)
    for pair in range(len(buckets)):
        bucket = buckets[pair]
        if first[bucket] < 0:
            first[bucket] = pair_members[pair]
        else:
            _join(parent, first[bucket], pair_members[pair])
    for member in range(total):
        parent[member] = _root(parent, member)
    return parent


@compiled
def _jaccard(a: Hashes, b: Hashes, floor: float) -> float:
    """Return the Jaccard similarity of two sorted sets, or -1 as soon as it is certain to be below `floor`.

    Both bounds are safe: division rounds monotonously, so what cannot reach the floor exactly cannot reach it rounded.
    """
    small, large = min(len(a), len(b)), max(len(a), len(b))
    if small == 0 or small / large < floor:
        return -1.0
    i = j = common = 0
    while i < len(a) and j < len(b):
        rest = min(len(a) - i, len(b) - j)
        reachable = common + rest
        if reachable / (small + large - reachable) < floor:
            return -1.0
        # Each step moves each side by one at most, so no step of this round can run past an end.
        for _ in range(min(rest, _CHECK_EVERY)):
            x, y = a[i], b[j]
            common += int(x == y)
            i += int(x <= y)
            j += int(y <= x)
    similarity = common / (small + large - common)
    return similarity if similarity >= floor else -1.0


@compiled
def _similarities(shingles: Hashes, starts: Indices, counts: Indices, winner: Indices) -> Scores:
    """Return each member's similarity to its winner, 1.0 where it has none."""
    similarity = np.ones(len(winner), np.float64)
    for member in range(len(winner)):
        other = winner[member]
        if other >= 0:
            own = shingles[starts[member] : starts[member] + counts[member]]
            theirs = shingles[starts[other] : starts[other] + counts[other]]
            similarity[member] = max(0.0, _jaccard(own, theirs, 0.0))
    return similarity


@compiled
def _verified(
    shingles: Hashes,
    starts: Indices,
    counts: Indices,
    pair_starts: Indices,
    buckets: Indices,
    slots: Indices,
    threshold: float,
) -> tuple[Indices, Scores, int, int]:
    """Return (winner, similarity, pairs compared, leaders left out) of the greedy pass from best to worst."""
    total = len(starts)
    winner = np.full(total, -1, np.int64)
    similarity = np.ones(total, np.float64)
    leaders = np.empty(slots[-1], np.int64)
    filled = np.zeros(len(slots) - 1, np.int64)
    last_seen = np.full(total, -1, np.int64)
    compared = left_out = 0
    for member in range(total):
        own = shingles[starts[member] : starts[member] + counts[member]]
        own_buckets = buckets[pair_starts[member] : pair_starts[member + 1]]
        best, best_similarity = -1, threshold
        for bucket in own_buckets:
            for slot in range(slots[bucket], slots[bucket] + filled[bucket]):
                leader = leaders[slot]
                if last_seen[leader] == member:
                    continue
                last_seen[leader] = member
                compared += 1
                theirs = shingles[starts[leader] : starts[leader] + counts[leader]]
                found = _jaccard(own, theirs, best_similarity)
                if found > best_similarity or (found == best_similarity and (best < 0 or leader < best)):
                    best, best_similarity = leader, found
        if best >= 0:
            winner[member], similarity[member] = best, best_similarity
            continue
        for bucket in own_buckets:
            room = slots[bucket + 1] - slots[bucket]
            if filled[bucket] < room:
                leaders[slots[bucket] + filled[bucket]] = member
                filled[bucket] += 1
            elif room:
                left_out += 1
    return winner, similarity, compared, left_out

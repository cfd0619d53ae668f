"""The plan of shards: all in it once, in order; an origin that comes or goes changes only what it touches."""

from collections.abc import Sequence
from dataclasses import replace

from given_source import GivenSource
from hypothesis import given
from hypothesis import strategies as st

from starsmith.document import Origin
from starsmith.shard import Located, Shard, begins_shard, order_of, plan, shard_name
from starsmith.sources import cut_points

DOCUMENTS = 10


def located(owner: str, name: str, paths: Sequence[bytes] = (b"a",), *, url: str = "") -> Located:
    origin = Origin(
        source="git",
        url=url or f"https://example.org/{owner}/{name}",
        owner=owner,
        name=name,
        location="",
        state="",
        documents=len(paths),
        cuts=cut_points(paths, shard_documents=DOCUMENTS),
    )
    return Located(source=GivenSource(), origin=origin)


def paths_of(count: int, salt: str) -> list[bytes]:
    return sorted(f"{salt}/{number}.py".encode() for number in range(count))


NAMES = st.tuples(st.sampled_from("abcd"), st.sampled_from(["x", "y", "z", "zz", "Z", "é"]))
ORIGINS = st.dictionaries(NAMES, st.integers(0, 40), max_size=14)


def origins_of(named: dict[tuple[str, str], int]) -> list[Located]:
    return [located(*name, paths_of(count, "/".join(name))) for name, count in named.items()]


def plan_of(origins: Sequence[Located]) -> dict[str, Shard]:
    shards = plan(origins, documents=DOCUMENTS)
    assert len({shard.name for shard in shards}) == len(shards), "names are unique"
    return {shard.name: shard for shard in shards}


@given(named=ORIGINS, data=st.data())
def test_every_document_is_in_exactly_one_slice_in_order(
    named: dict[tuple[str, str], int], data: st.DataObject
) -> None:
    origins = origins_of(named)
    shards = plan(origins, documents=DOCUMENTS)
    assert plan(data.draw(st.permutations(origins)), documents=DOCUMENTS) == shards
    slices = [slice_ for shard in shards for slice_ in shard.slices]
    assert all(shard.slices for shard in shards)
    for item in origins:
        own = [slice_.part for slice_ in slices if slice_.located == item]
        assert own, "an origin without documents still has its place"
        for path in paths_of(item.origin.documents, item.origin.repo_name):
            assert sum(path in part for part in own) == 1
    places = [(order_of(slice_.located.origin), slice_.part.start or b"") for slice_ in slices]
    assert places == sorted(places)


@given(named=ORIGINS, added=NAMES, count=st.integers(0, 40))
def test_an_origin_that_comes_or_goes_changes_only_what_it_touches(
    named: dict[tuple[str, str], int], added: tuple[str, str], count: int
) -> None:
    without = origins_of({name: size for name, size in named.items() if name != added})
    new = located(*added, paths_of(count, "/".join(added)))
    before, after = plan_of(without), plan_of([*without, new])
    gone = [shard for name, shard in before.items() if after.get(name) != shard]
    come = [shard for name, shard in after.items() if before.get(name) != shard]
    assert len(gone) <= 1, "it falls into one shard, which it changes or divides"
    # What it divides keeps its name; the rest stands with the new origin or behind it.
    first = [shard for shard in come if new not in [slice_.located for slice_ in shard.slices]]
    assert [shard.name for shard in first] == [shard.name for shard in gone][: len(first)]
    for shard in first:
        assert shard.slices == gone[0].slices[: len(shard.slices)]
    rest = [slice_ for shard in come for slice_ in shard.slices if slice_.located != new]
    assert rest == [slice_ for shard in gone for slice_ in shard.slices]


@given(named=ORIGINS, grown=st.integers(0, 5))
def test_an_origin_in_another_state_changes_no_shard_but_its_own(named: dict[tuple[str, str], int], grown: int) -> None:
    """Neighbours in other shards are not collected again."""
    origins = origins_of(named)
    if not origins:
        return
    old = origins[grown % len(origins)]
    new = replace(old, origin=replace(old.origin, state="later"))
    before, after = plan_of(origins), plan_of([new if item is old else item for item in origins])
    assert list(before) == list(after)
    for name, shard in before.items():
        touched = old in [slice_.located for slice_ in shard.slices]
        assert (after[name] == shard) != touched


def test_shards_hold_about_as_many_documents_as_asked_for() -> None:
    origins = [located("o", f"{number:04d}", paths_of(3, str(number))) for number in range(3_000)]
    sizes = [sum(s.located.origin.documents for s in shard.slices) for shard in plan(origins, documents=DOCUMENTS)]
    assert sum(sizes) == 9_000
    assert 0.8 * DOCUMENTS < sum(sizes) / len(sizes) < 1.25 * DOCUMENTS
    one = plan([located("o", "large", paths_of(3_000, "large"))], documents=DOCUMENTS)
    assert 0.8 * 300 < len(one) < 1.25 * 300


def test_one_owners_documents_lie_together() -> None:
    origins = [located(owner, name) for name in "xyz" for owner in "ab"]
    found = [slice_.located.origin.owner for shard in plan(origins, documents=10**9) for slice_ in shard.slices]
    assert found == ["a"] * 3 + ["b"] * 3


def test_names_follow_from_what_begins_a_shard() -> None:
    item = located("o", "n", paths_of(60, "n"))
    shards = plan([item], documents=DOCUMENTS)
    starts = [shard.slices[0].part.start for shard in shards]
    assert len(shards) > 2
    assert [shard.name for shard in shards[1:]] == [shard_name(item.origin, start) for start in starts[1:]]
    assert shard_name(item.origin, None) != shard_name(located("o", "m").origin, None)
    assert "o/n" in str(shards[0])


def test_an_origin_of_a_whole_shard_always_begins_one() -> None:
    for number in range(50):
        assert begins_shard(located("o", str(number), paths_of(DOCUMENTS, "")).origin, documents=DOCUMENTS)
        assert not begins_shard(located("o", str(number), ()).origin, documents=DOCUMENTS)

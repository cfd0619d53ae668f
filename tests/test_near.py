"""Near-duplicates of a corpus: every drop holds against sets of words, and the cut into groups changes nothing."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from starsmith import decide, near, near_pairs
from starsmith.annotate_rows import packed_bands
from starsmith.curate import minhash
from starsmith.document import BANDS, SHINGLES, content_id
from starsmith.engines import Query
from starsmith.engines.local import LocalEngine
from starsmith.engines.sql_subset import violations
from starsmith.ledger import DROPS
from starsmith.settings import NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, write_mapped_part, write_part

DEFAULT = NearDuplicateSettings()
SHARDS = ("aa", "bb", "cc")
WORDS = [f"{syllable}{number}" for syllable in ("lo", "mi", "tan", "ke") for number in range(400)]
LARGEST_FAMILY = 5
SURE = 0.95
"""Similarity at which the default layout misses a pair once in 10^18."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """A document to be: its words, its language and how good it is (more stars win)."""

    text: str
    language: str | None = "Python"
    stars: int = 0

    @property
    def shingles(self) -> frozenset[tuple[str, ...]]:
        words = re.findall(r"\w+", self.text)
        return frozenset(zip(*(words[offset:] for offset in range(5)), strict=False))


def jaccard(first: Text, second: Text) -> float:
    return len(first.shingles & second.shingles) / len(first.shingles | second.shingles)


def families(seed: int, *, languages: Sequence[str | None] = ("Python", "C", None)) -> list[Text]:
    """Some unrelated texts, each with variants in which a few words are others: similar to any degree."""
    chance = random.Random(seed)
    texts = []
    for _ in range(24):
        words, language = chance.choices(WORDS, k=chance.choice([20, 80, 300])), chance.choice(languages)
        for _ in range(chance.randint(1, LARGEST_FAMILY)):
            own = list(words)
            for _ in range(chance.choice([0, 1, 2, 4, len(words) // 20])):
                own[chance.randrange(len(own))] = chance.choice(WORDS)
            mark = f" own{len(texts)}"
            other = chance.choice([language, language, language, "C"])
            texts.append(Text(" ".join(own) + mark, other, chance.randrange(4)))
    chance.shuffle(texts)
    return texts


@dataclass(frozen=True)
class Corpus:
    """Tables as a build has them after annotating, on disk."""

    store: Store
    texts: list[Text]
    facts: Table
    bands: Table
    shingles: Table

    def text(self, document: bytes) -> Text:
        return self.texts[int.from_bytes(document, "big")]


def ident(number: int) -> bytes:
    return number.to_bytes(20, "big")


def corpus(folder: Path, texts: list[Text], settings: NearDuplicateSettings = DEFAULT) -> Corpus:
    """Write the tables of some texts, a third of them in each of three shards."""
    store = Store(str(folder))
    parts: dict[str, list[Part]] = {"bands": [], "shingles": []}
    facts: list[Row] = []
    for offset, shard in enumerate(SHARDS):
        numbers = range(offset, len(texts), len(SHARDS))
        ids = [content_id(texts[number].text.encode()) for number in numbers]
        own = pa.array([texts[number].text.encode() for number in numbers], pa.large_binary())
        signed = minhash.sign(own, settings)
        rows = {row: place for place, row in enumerate(signed.signed.tolist())}
        sets = signed.shingles.take(pa.array(signed.signed))
        columns = [pa.array([ids[row] for row in rows], pa.binary(20)), sets]
        part = write_mapped_part(store, "shingles", SHINGLES, pa.table(columns, schema=SHINGLES), shard=shard)
        parts["shingles"].append(part)
        packed = packed_bands([signed.band_keys])
        parts["bands"].append(write_mapped_part(store, "bands", BANDS, packed, shard=shard))
        for row, number in enumerate(numbers):
            counts = {"num_shingles": int(signed.num_shingles[row]), "shingle_row": rows.get(row)}
            facts.append(fact(number, texts[number], shard=shard, content_id=ids[row], **counts))
    table = pa.Table.from_pylist(facts, schema=decide.FACTS)
    return Corpus(
        store=store,
        texts=texts,
        facts=Table(name="facts", schema=decide.FACTS, parts=(write_part(store, "facts", decide.FACTS, [table]),)),
        bands=Table(name="bands", schema=BANDS, parts=tuple(parts["bands"])),
        shingles=Table(name="shingles", schema=SHINGLES, parts=tuple(parts["shingles"])),
    )


def fact(number: int, text: Text, **values: Any) -> Row:
    base: Row = {"document_id": ident(number), "origin_id": ident(0), "url": "u", "path": f"{number:04d}"}
    base |= {"file_name": "", "extension": "", "length": len(text.text), "license_type": "permissive"}
    base |= {"license_method": "manifest", "language": text.language, "star_events_count": text.stars}
    return base | values


def engine_of(store: Store) -> LocalEngine:
    return LocalEngine(workers=1, spill=store.path("tmp/spill"))


def compared(given: Corpus, sql: Callable[..., Table], settings: NearDuplicateSettings) -> tuple[Table, Table]:
    """Return the members and pairs of a corpus of which nothing is dropped."""
    nothing = Table(name="dropped", schema=DROPS, parts=())
    candidates = sql(near.candidates_query(decide.ALIVE), facts=given.facts, dropped=nothing)
    searches = near_pairs.searches(candidates, given.bands, settings)
    parts = [search(given.store, attempt=0, progress=lambda count: None).parts["near_pairs"][0] for search in searches]
    pairs = Table(name="near_pairs", schema=near_pairs.PAIRS, parts=tuple(parts))
    return sql(near.MEMBERS_QUERY, facts=given.facts, near_pairs=pairs), pairs


def decided(given: Corpus, settings: NearDuplicateSettings = DEFAULT) -> tuple[list[Row], list[Row]]:
    """Run the queries and tasks one after the other; return the drops and the rows of `near`, by document."""
    store, engine = given.store, engine_of(given.store)

    def sql(query: Query, **tables: Table) -> Table:
        assert violations(query.text) == []
        return Table(name=query.name, schema=query.schema, parts=engine.sql(store, query, dict(tables)))

    members, pairs = compared(given, sql, settings)
    grouped = near.GroupMembers(members=members, pairs=pairs)(store, attempt=0, progress=lambda count: None).parts
    parts: list[Part] = []
    for own, pairs in zip(grouped["group_members"], grouped["group_buckets"], strict=True):
        work = near.DecideGroup(members=own, buckets=pairs, shingles=given.shingles, settings=settings)
        parts += work(store, attempt=0, progress=lambda count: None).parts["near"]
    table = Table(name="near", schema=near.NEAR, parts=tuple(parts))
    drops = sql(near.drops_query(settings), near=table).read(store).to_pylist()
    engine.close()
    return drops, sorted(table.read(store).to_pylist(), key=lambda row: bytes(row["document_id"]))


@pytest.mark.parametrize("seed", range(4))
def test_every_drop_is_justified_by_its_own_winner(tmp_path: Path, seed: int) -> None:
    given = corpus(tmp_path, families(seed))
    drops, _ = decided(given)
    dropped = {drop["document_id"] for drop in drops}
    assert len(drops) == len(dropped)
    assert len(drops) > 3
    for drop in drops:
        own, winner = given.text(drop["document_id"]), given.text(drop["winner_id"])
        assert drop["winner_id"] not in dropped
        assert drop["similarity"] == drop["value"] == jaccard(own, winner)
        assert drop["similarity"] >= drop["threshold"] == 0.7
        assert own.language == winner.language
        assert (-winner.stars, drop["winner_id"]) < (-own.stars, drop["document_id"])
    kept = [text for number, text in enumerate(given.texts) if ident(number) not in dropped]
    for number, text in enumerate(kept):
        for other in kept[:number]:
            assert text.language != other.language or jaccard(text, other) < SURE


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("size", [1, 200, 1_500])
def test_the_cut_into_groups_changes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    verify: bool,  # noqa: FBT001
) -> None:
    settings = NearDuplicateSettings(verify=verify)
    given = corpus(tmp_path, families(5))
    whole = decided(given, settings)
    monkeypatch.setattr(near, "GROUP_SHINGLES", size)
    assert decided(given, settings) == whole
    assert len(given.store.names("tables/group_members")) > (8 if size == 1 else 2)


def test_groups_are_whole_components_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "GROUP_SHINGLES", 1_000)
    given = corpus(tmp_path, families(6))
    engine = engine_of(given.store)

    def sql(query: Query, **tables: Table) -> Table:
        return Table(name=query.name, schema=query.schema, parts=engine.sql(given.store, query, dict(tables)))

    members, pairs = compared(given, sql, DEFAULT)
    engine.close()
    work = near.GroupMembers(members=members, pairs=pairs)
    parts = work(given.store, attempt=0, progress=lambda count: None).parts
    sizes = {row["rank"]: row["num_shingles"] for row in members.read(given.store).to_pylist()}
    seen: dict[int, int] = {}
    places: dict[tuple[int, int], set[int]] = {}
    for number, (own, buckets) in enumerate(zip(parts["group_members"], parts["group_buckets"], strict=True)):
        ranks = Table(name="", schema=near.MEMBERS, parts=(own,)).read(given.store)["rank"].to_pylist()
        assert not seen.keys() & set(ranks)
        seen |= dict.fromkeys(ranks, number)
        bucketed = Table(name="", schema=near.BUCKETS, parts=(buckets,)).read(given.store).to_pylist()
        assert {row["rank"] for row in bucketed} == set(ranks)
        for row in bucketed:
            places.setdefault((row["band"], row["key"]), set()).add(number)
        assert sum(sizes[rank] for rank in ranks) <= 1_000 or len(ranks) <= LARGEST_FAMILY
    assert all(len(groups) == 1 for groups in places.values())
    assert max(seen.values()) > 1


def components(given: Corpus, settings: NearDuplicateSettings) -> dict[int, int]:
    """Return the best document each document reaches through bands within its language, by relaxation."""
    best = dict(enumerate(range(len(given.texts))))
    of_band: dict[Any, list[int]] = {}
    for number, text in enumerate(given.texts):
        scope = None if settings.across_languages else (text.language,)
        signed = minhash.sign(pa.array([text.text.encode()], pa.large_binary()), settings)
        for band, key in enumerate(signed.band_keys.reshape(-1).tolist()):
            of_band.setdefault((scope, band, key), []).append(number)
    for _ in given.texts:
        for members in of_band.values():
            leader = min((best[number] for number in members), key=lambda each: (-given.texts[each].stars, each))
            for number in members:
                best[number] = leader
    return best


@pytest.mark.parametrize("across", [False, True])
def test_unverified_keeps_one_of_everything_connected(tmp_path: Path, across: bool) -> None:  # noqa: FBT001
    settings = NearDuplicateSettings(verify=False, across_languages=across)
    given = corpus(tmp_path, families(7))
    drops, _ = decided(given, settings)
    expected = {number: leader for number, leader in components(given, settings).items() if number != leader}
    found = {drop["document_id"]: drop["winner_id"] for drop in drops}
    assert found == {ident(number): ident(leader) for number, leader in expected.items()}
    for drop in drops:
        assert drop["similarity"] == jaccard(given.text(drop["document_id"]), given.text(drop["winner_id"]))
    assert expected


def test_languages_meet_only_if_the_recipe_says_so(tmp_path: Path) -> None:
    words = " ".join(random.Random(1).choices(WORDS, k=200))
    languages = ["Python", "C", None, "Python", "C", None]
    given = corpus(tmp_path, [Text(f"{words} {n}", language, 9 - n) for n, language in enumerate(languages)])
    drops, _ = decided(given)
    assert {drop["document_id"]: drop["winner_id"] for drop in drops} == {ident(n + 3): ident(n) for n in range(3)}
    drops, _ = decided(given, NearDuplicateSettings(across_languages=True))
    assert {drop["document_id"]: drop["winner_id"] for drop in drops} == {ident(n): ident(0) for n in range(1, 6)}


def test_near_rows_name_the_kept_document_of_each_cluster(tmp_path: Path) -> None:
    given = corpus(tmp_path, families(8))
    drops, rows = decided(given)
    winners = {drop["document_id"]: drop["winner_id"] for drop in drops}
    for row in rows:
        assert row["winner_id"] == winners.get(row["document_id"])
        assert row["cluster_id"] == winners.get(row["document_id"], row["document_id"])
        assert row["similarity"] == 1.0 or row["winner_id"] is not None
    assert set(winners) <= {row["document_id"] for row in rows}


def test_texts_too_short_for_a_shingle_are_left_alone(tmp_path: Path) -> None:
    short = [Text("one two three four", stars=number) for number in range(3)]
    given = corpus(tmp_path, [*short, Text("a b c d e"), Text("a b c d e", stars=1)])
    drops, rows = decided(given)
    assert [(drop["document_id"], drop["winner_id"]) for drop in drops] == [(ident(3), ident(4))]
    assert len(rows) == 2


def test_without_members_nothing_is_dropped(tmp_path: Path) -> None:
    assert decided(corpus(tmp_path, [])) == ([], [])
    assert decided(corpus(tmp_path, [Text("a b c")])) == ([], [])


def test_what_is_dropped_already_wins_nothing(tmp_path: Path) -> None:
    words = " ".join(random.Random(2).choices(WORDS, k=100))
    given = corpus(tmp_path, [Text(f"{words} {n}", stars=9 - n) for n in range(3)])
    gone = {"document_id": ident(0), "shard": "aa", "stage": "filters", "reason": "filter.alpha"}
    dropped = pa.Table.from_pylist([gone], schema=DROPS)
    engine = engine_of(given.store)
    query = near.candidates_query(decide.ALIVE)
    parts = engine.sql(given.store, query, {"facts": given.facts, "dropped": dropped})
    engine.close()
    rows = Table(name="m", schema=near_pairs.CANDIDATES, parts=parts).read(given.store).to_pylist()
    assert [row["document_id"] for row in rows] == [ident(1), ident(2)]

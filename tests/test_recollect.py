"""Opt-outs in collect, and builds from the tables of the last build: they equal a build from the sources."""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from given_source import GivenSource
from hypothesis import given, settings
from hypothesis import strategies as st

from starsmith import collect
from starsmith.build import status
from starsmith.builder import Builder
from starsmith.collect import CollectShard
from starsmith.collect_plan import ids_held
from starsmith.document import CONTENTS, DOCUMENTS, Origin, RawDocument, content_id, swhid
from starsmith.errors import StarsmithError
from starsmith.govern import opt_out
from starsmith.govern.opt_out import Request
from starsmith.job import Outcome
from starsmith.ledger import LEDGER
from starsmith.pipeline import Pipeline
from starsmith.progress import Quiet
from starsmith.recipe import loads
from starsmith.recollect import RecollectShard, StoredSlice
from starsmith.settings import CollectSettings
from starsmith.shard import Located, Shard, Slice
from starsmith.sources import PathRange
from starsmith.storage import Store
from starsmith.table import Part, write_part
from starsmith.workspace import BuildRecord, collect_garbage, open_store, read_build, write_build, writing

EVERY = '[opt_out]\ncopies = "every"'


def ran(record: BuildRecord, stage: str | None = None) -> int:
    return sum(each.ran for each in record.stages if stage in (None, each.name))


def ask(workspace: Path, *requests: Request) -> None:
    opt_out.add_all(open_store(workspace, create=True), requests)


def ask_nothing(workspace: Path) -> None:
    (workspace / opt_out.REQUESTS_FILE).unlink()


def content_request(content: bytes) -> Request:
    return Request(kind="swhid", value=swhid("cnt", content_id(content)))


@pytest.fixture
def apply(inline_engine: Any) -> Callable[..., Pipeline]:
    """A function that builds a workspace anew from its own tables."""

    def run(workspace: Path, *more: str) -> Pipeline:
        with writing(workspace) as store:
            record = read_build(store)
            engine = inline_engine(workers=2, spill=store.path("tmp/spill"))
            text = record.recipe
            for old, new in zip(more[::2], more[1::2], strict=True):
                assert old in text
                text = text.replace(old, new)
            try:
                pipeline = Pipeline(
                    recipe=loads(text, base=Path(record.base)),
                    builder=Builder(store=store, engine=engine, reporter=Quiet()),
                    workers=2,
                    until=record.until,
                    stored=record,
                )
                write_build(store, pipeline.run())
            finally:
                engine.close()
        return pipeline

    return run


def rows_of(workspace: Path, name: str, schema: pa.Schema) -> list[dict[str, Any]]:
    store = open_store(workspace, create=False)
    rows: list[dict[str, Any]] = read_build(store).table(name, schema).read(store).to_pylist()
    return rows


def documents_by_shard(workspace: Path) -> set[tuple[Any, ...]]:
    """What determines a shard: its name, its documents and which of them are left out."""
    held: dict[str, list[Any]] = {}
    for row in rows_of(workspace, "documents", DOCUMENTS):
        held.setdefault(row["shard"], []).append((row["origin_id"], row["path"], row["content_id"], row["reason"]))
    return {(shard, *rows) for shard, rows in held.items()}


def random_corpus(corpus: Any, chance: random.Random, source_code: Any, mit: bytes) -> dict[str, dict[str, bytes]]:
    """Many small repositories and a few large ones, most of whose files others have too."""
    made = {}
    for name in [f"{owner}/r{number}" for owner in ("ann", "bob", "cem") for number in range(4)]:
        files: dict[str, bytes] = {"LICENSE": mit} if chance.random() < 0.7 else {}
        for number in range(chance.choice([1, 2, 3, 15])):
            files[f"p{number % 3}/f{number}.py"] = source_code(chance.randrange(40), lines=8)
        if chance.random() < 0.3:
            files["empty.py"] = b""
        corpus.add(name, files)
        made[name] = files
    return made


def random_requests(chance: random.Random, made: Mapping[str, Mapping[str, bytes]]) -> list[Request]:
    names = sorted(made)
    chosen = [Request(kind="repository", value=name) for name in chance.sample(names, chance.choice([0, 1, 3]))]
    if chance.random() < 0.4:
        chosen.append(Request(kind="owner", value=chance.choice(["ann", "bob", "cem"])))
    for _ in range(chance.choice([0, 1, 3])):
        code = [content for name, content in sorted(made[chance.choice(names)].items()) if name.endswith("0.py")]
        chosen.append(content_request(chance.choice(code)))
    return [request for request in chosen if request.value != swhid("cnt", content_id(b""))]


def shared(digest: Mapping[str, str]) -> dict[str, str]:
    """What two builds have in common of which only one has seen the origins that left."""
    return {name: value for name, value in digest.items() if not name.startswith("tables/left_contents/")}


@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_is_that_of_a_build_from_the_sources(
    own_corpus, mit, source_code, tmp_path, build_into, tree_digest, apply, seed
):
    chance, every = random.Random(seed), bool(seed % 2)
    made = random_corpus(own_corpus, chance, source_code, mit)
    recipe = own_corpus.recipe(*([EVERY] if every else []), documents=chance.choice([4, 6, 12]))
    workspace, scratch, away = tmp_path / "w", tmp_path / "scratch", tmp_path / "away"
    build_into(recipe, workspace, workers=0)
    for _ in range(2):
        before = documents_by_shard(workspace)
        ask(workspace, *random_requests(chance, made))
        own_corpus.folder.rename(away)
        changed = apply(workspace)
        digest = tree_digest(workspace)
        looked_through = changed.left.origins if every else 0
        assert ran(changed.record(), "collect") - looked_through == len(documents_by_shard(workspace) - before)
        assert ran(apply(workspace).record()) == 0
        away.rename(own_corpus.folder)
        # Where everything is there already, a build from the sources has nothing to do, and changes nothing.
        assert build_into(recipe, workspace, workers=0).worked == 0
        assert shared(tree_digest(workspace)) == shared(digest)

    ask(scratch, *opt_out.read(open_store(workspace, create=False)).requests)
    build_into(recipe, scratch, workers=0)
    assert tree_digest(scratch) == tree_digest(workspace)
    assert build_into(recipe, scratch, workers=0).worked == 0
    assert status(scratch).pending is None


@pytest.fixture
def three(own_corpus, mit, source_code):
    """Three repositories: `zora-quist/own` shares a file with each of the others, which share one too."""
    common, theirs = source_code("common"), source_code("theirs")
    own_corpus.add("acme/first", {"LICENSE": mit, "a.py": source_code("a"), "common.py": common, "b.py": theirs})
    own_corpus.add("bolt/second", {"LICENSE": mit + b"2", "c.py": source_code("c"), "d.py": theirs, "e.py": b""})
    mine = {"LICENSE": mit, "copy.py": common, "mine.py": source_code("mine"), "empty.py": b""}
    own_corpus.add("zora-quist/own", mine)
    return own_corpus


def contents(workspace: Path) -> set[bytes]:
    return {row["content"] for row in rows_of(workspace, "contents", CONTENTS)}


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("copies", ["own", "every"])
def test_the_rule_says_whether_copies_elsewhere_go_too(
    three, source_code, mit, tmp_path, build_into, apply, copies, stored
):
    workspace = tmp_path / "w"
    recipe = three.recipe(f'[opt_out]\ncopies = "{copies}"')
    if stored:
        build_into(recipe, workspace, workers=0)
        assert source_code("mine") in contents(workspace)
    ask(workspace, Request(kind="owner", value="zora-quist"))
    if stored:
        left = apply(workspace).left
        assert (left.requests, left.origins, left.documents) == (1, 1, 1 if copies == "every" else 0)
    else:
        build_into(recipe, workspace, workers=0)
    assert source_code("mine") not in contents(workspace)
    assert (source_code("common") in contents(workspace)) == (copies == "own")
    out = [row for row in rows_of(workspace, "ledger", LEDGER) if row["verdict"] == "optout.content"]
    assert [row["path"] for row in out] == (["common.py"] if copies == "every" else [])
    # Nobody owns the empty file or the text of a licence.
    assert {b"", mit} <= contents(workspace)
    assert {row["path"] for row in rows_of(workspace, "documents", DOCUMENTS)} >= {"common.py", "e.py"}


def test_what_left_with_its_origin_stays_out_when_the_origin_is_gone(three, source_code, tmp_path, build_into, apply):
    workspace = tmp_path / "w"
    build_into(three.recipe(EVERY), workspace, workers=0)
    ask(workspace, Request(kind="owner", value="zora-quist"))
    apply(workspace)
    three.remove("zora-quist/own")
    three.add("late/comer", {"mine.py": source_code("mine"), "other.py": source_code("other")})
    build_into(three.recipe(EVERY), workspace, workers=0)
    assert source_code("mine") not in contents(workspace)
    assert source_code("other") in contents(workspace)
    # Under the other rule what is recorded does not count, and comes back from the sources.
    build_into(three.recipe(), workspace, workers=0)
    assert {source_code("mine"), source_code("common")} <= contents(workspace)


def test_a_content_that_was_asked_for_goes_wherever_it_is(three, source_code, tmp_path, build_into, tree_digest, apply):
    workspace = tmp_path / "w"
    first = build_into(three.recipe(documents=4), workspace, workers=0)
    ask(workspace, content_request(source_code("theirs")))
    left = apply(workspace).left
    assert (left.requests, left.origins, left.documents) == (1, 0, 2)
    assert source_code("theirs") not in contents(workspace)
    gone = [row for row in rows_of(workspace, "documents", DOCUMENTS) if row["reason"] == "optout.content"]
    assert [(row["path"], row["content_id"], row["length"]) for row in gone] == [
        (name, content_id(source_code("theirs")), len(source_code("theirs"))) for name in ("b.py", "d.py")
    ]
    # Withdrawn while what was collected before is still there, it comes back without the sources.
    ask_nothing(workspace)
    assert apply(workspace).notes == []
    assert read_build(open_store(workspace, create=False)).release == first.record.release


def test_what_is_in_no_table_any_more_comes_back_from_the_sources_only(
    three, source_code, tmp_path, build_into, tree_digest, apply
):
    workspace, recipe = tmp_path / "w", three.recipe(documents=4)
    build_into(recipe, workspace, workers=0)
    before = tree_digest(workspace)
    ask(workspace, content_request(source_code("theirs")), content_request(source_code("c")))
    apply(workspace)
    store = open_store(workspace, create=False)
    collect_garbage(store, read_build(store))
    ask_nothing(workspace)
    ask(workspace, content_request(source_code("c")))
    (note,) = apply(workspace).notes
    assert note.startswith("2 documents stay out")
    assert source_code("theirs") not in contents(workspace)
    ask_nothing(workspace)
    assert build_into(recipe, workspace, workers=0).worked > 0
    assert tree_digest(workspace) == before


def test_whoever_left_is_named_nowhere(three, source_code, mit, tmp_path, build_into, apply):
    workspace = tmp_path / "w"
    recipe = three.recipe(EVERY, "[release]\nids_only = true")
    # What cannot be read and what is there twice is noted, if it has not left.
    for name in ("zora-quist/broken", "acme/broken"):
        (three.add(name, {"a": b"1"}) / "HEAD").write_text("no ref\n")
    for name in ("zora-quist+own", "acme+first"):
        shutil.copytree(three.folder / name, three.folder / f"{name}+again")
    secret = source_code("secret")
    three.add("core/third", {"LICENSE": mit, "quince-harbour.py": secret, "x.py": source_code("x")})
    build_into(recipe, workspace, workers=0)
    ask(workspace, Request(kind="owner", value="zora-quist", note="wrote to us"), content_request(secret))
    apply(workspace)
    for number in range(2):
        if number:
            build_into(recipe, workspace, workers=0)
        record = read_build(open_store(workspace, create=False))
        assert len(record.notes) == 2
        assert all("acme" in note for note in record.notes)
        release = workspace / str(record.release)
        texts = [release / "README.md", release / "manifest.json", workspace / "build.json"]
        texts += [workspace / name for name in record.records] + [workspace / "report.html"] * number
        for path in texts:
            text = path.read_text()
            assert [word for word in ("zora", "quince-harbour", "wrote to us") if word in text] == []
        for part in [part for name in ("data", "ids") for part in record.tables[name]]:
            assert b"zora" not in str(pq.read_table(workspace / part.name).to_pylist()).encode()


@pytest.mark.parametrize("stored", [True, False])
def test_when_all_have_left_the_release_is_empty(three, tmp_path, build_into, apply, stored):
    workspace = tmp_path / "w"
    if stored:
        build_into(three.recipe(), workspace, workers=0)
    ask(workspace, *(Request(kind="owner", value=name) for name in ("acme", "bolt", "zora-quist")))
    if stored:
        apply(workspace)
        assert ran(apply(workspace).record()) == 0
    result = build_into(three.recipe(), workspace, workers=0)
    manifest = json.loads((workspace / result.record.release / "manifest.json").read_bytes())
    names = [file["path"] for file in manifest["files"]]
    assert (manifest["documents"], names) == (0, ["data/empty.parquet", "ids/empty.parquet", "README.md"])
    assert build_into(three.recipe(), workspace, workers=0).worked == 0


def test_a_record_without_its_tables_is_of_no_use(three, tmp_path, build_into, apply):
    workspace = tmp_path / "w"
    build_into(three.recipe(), workspace, workers=0)
    with pytest.raises(StarsmithError, match="other documents than the last build"):
        apply(workspace, "documents = 12", "documents = 13")
    store = open_store(workspace, create=False)
    record = read_build(store)
    older = {name: parts for name, parts in record.tables.items() if name != "states"}
    write_build(store, replace(record, tables=older, stages=()))
    with pytest.raises(StarsmithError, match="has no table 'states'"):
        apply(workspace)


def test_a_build_that_was_killed_goes_on_where_it_was(
    three, source_code, tmp_path, build_into, tree_digest, monkeypatch
):
    workspace, recipe = tmp_path / "w", three.recipe(documents=4)
    ask(workspace, content_request(source_code("theirs")))
    with monkeypatch.context() as patch:
        patch.setattr("starsmith.collect_plan._settled", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build_into(recipe, workspace, workers=0)
    again = build_into(recipe, workspace, workers=0)
    assert ran(again.record, "collect") == 0
    assert len(list((workspace / "records/collect").iterdir())) == len(again.record.tables["documents"])
    assert build_into(recipe, workspace, workers=0).worked == 0


def slice_of(number: int, contents: list[int]) -> Slice:
    """The documents of one origin: a content each, 0 for one that is too large; folders in no order of their own."""
    origin = Origin(source="git", url=f"u/{number}", owner="o", name=f"{number}", location="", state="")
    documents = [
        RawDocument(
            path=b"%d/%d" % (content % 3, place),
            length=content,
            mode=0o100644,
            content=b"c" * content or None,
            content_id=content_id(b"c" * (content or 2)),
            reason=None if content else "source.too_large",
        )
        for place, content in enumerate(contents)
    ]
    source = GivenSource(tuple(sorted(documents, key=lambda document: document.path)))
    return Slice(located=Located(source=source, origin=origin), part=PathRange())


ORIGINS = st.lists(st.lists(st.integers(0, 12), max_size=9), min_size=1, max_size=7)


@settings(max_examples=150)
@given(origins=ORIGINS, data=st.data())
def test_a_shard_from_shards_is_that_from_the_sources(origins, data, tmp_path_factory):
    """Whatever earlier shards there were, whoever left, however many contents are handed on at a time."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    slices = [slice_of(number, contents) for number, contents in enumerate(origins)]
    cut = data.draw(st.integers(0, len(slices)))
    before = [collected(store, f"{number}", part) for number, part in enumerate((slices[:cut], slices[cut:]))]
    staying = data.draw(st.lists(st.sampled_from(range(len(slices))), unique=True).map(sorted))
    left = tuple(sorted({content_id(b"c" * size) for size in data.draw(st.lists(st.integers(1, 12)))}))
    stored = [stored_slice(slices[number], before[number >= cut]) for number in staying]
    work = RecollectShard(name="new", slices=tuple(stored), left=left)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("starsmith.recollect.BATCH_BYTES", data.draw(st.integers(1, 40)))
        made = work(store, attempt=0, progress=lambda count: None)
    expected = collected(store, "new", [slices[number] for number in staying], left)
    assert made.parts == expected.parts
    assert made.counts == expected.counts


def test_a_content_that_left_is_a_row_and_what_was_not_taken_in_keeps_its_reason(tmp_path):
    store = Store(str(tmp_path))
    left = (content_id(b"cc"), content_id(b"ccc"))
    outcome = collected(store, "a", [slice_of(0, [0, 2, 5, 2])], left)
    rows = pq.read_table(store.path(outcome.parts["documents"][0].name)).to_pylist()
    assert {(row["path"], row["reason"], row["length"]) for row in rows} == {
        ("0/0", "source.too_large", 0),
        ("2/1", "optout.content", 2),
        ("2/2", None, 5),
        ("2/3", "optout.content", 2),
    }
    assert {row["content_id"] for row in rows} == {content_id(b"cc"), content_id(b"c" * 5)}
    kept = pq.read_table(store.path(outcome.parts["contents"][0].name))["content"].to_pylist()
    assert (kept, outcome.counts) == ([b"c" * 5], {"documents": 4, "bytes": 9, "left": 2})


def collected(store: Store, name: str, slices: list[Slice], left: tuple[bytes, ...] = ()) -> Outcome:
    work = CollectShard(shard=Shard(name=name, slices=tuple(slices)), settings=CollectSettings(), times={}, left=left)
    return work(store, attempt=0, progress=lambda count: None)


def stored_slice(slice_: Slice, outcome: Outcome) -> StoredSlice:
    parts: dict[str, Part] = {name: parts[0] for name, parts in outcome.parts.items()}
    return StoredSlice(origin_id=slice_.located.origin.origin_id, **parts)


def test_contents_that_the_tables_lack_are_damage(tmp_path):
    store = Store(str(tmp_path))
    one = slice_of(0, [1, 2])
    outcome = collected(store, "a", [one])
    nothing = write_part(store, "contents", CONTENTS, [], shard="a")
    work = RecollectShard(name="a", slices=(replace(stored_slice(one, outcome), contents=nothing),), left=())
    with pytest.raises(StarsmithError, match="is damaged"):
        work(store, attempt=0, progress=lambda count: None)


def test_no_message_names_an_origin_that_has_left(tmp_path):
    class Unreadable(GivenSource):
        def read(self, *arguments: Any) -> Iterator[RawDocument]:
            raise StarsmithError("/home/zora-quist/own was changed")
            yield

    located = Located(source=Unreadable(()), origin=slice_of(0, []).located.origin)
    work = collect.LeftContents(located=located, settings=CollectSettings())
    with pytest.raises(StarsmithError) as raised:
        work(Store(str(tmp_path)), attempt=0, progress=lambda count: None)
    assert "zora" not in f"{raised.value} {work} {raised.value.__cause__}"


def test_what_shards_hold_of_the_list_is_found_in_time(tmp_path):
    """A million documents are looked through in well under a second; this is a tenth of that."""
    store = Store(str(tmp_path))
    chance = random.Random(0)
    parts, some = [], []
    for number in range(25):
        ids = [chance.randbytes(20) for _ in range(4000)]
        some.append(ids[7])
        columns = {name: [None] * 4000 for name in DOCUMENTS.names} | {"content_id": ids, "document_id": ids}
        columns |= {"origin_id": [ids[0]] * 4000, "shard": [f"s{number:02}"] * 4000, "length": [1] * 4000}
        columns |= {name: ["a/b.py"] * 4000 for name in ("path", "folder", "file_name", "extension", "licence_scope")}
        rows = pa.table({**columns, "mode": [0] * 4000}, schema=DOCUMENTS)
        parts.append(write_part(store, "documents", DOCUMENTS, [rows], shard=f"s{number:02}"))
    left = frozenset([*some[::2], *(chance.randbytes(20) for _ in range(1000))])
    started = time.perf_counter()
    found = ids_held(store, parts, left)
    print(f"{time.perf_counter() - started:.3f} s")
    assert found == {f"s{number:02}": {some[number]} for number in range(0, 25, 2)}

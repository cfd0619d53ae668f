"""A second build does what is needed and nothing else, and ends at the bytes that a first build would give."""

import dataclasses
import itertools
import random
import shutil
from pathlib import Path

import pytest

from starsmith.document import DOCUMENTS, Origin
from starsmith.recipe import PROFILES
from starsmith.shard import begins_shard
from starsmith.storage import Store

SMALL_SHARDS = 12


def ran(result, *stages):
    """How many pieces of work the named stages did, one number if one is named."""
    counts = {stage.name: stage.ran for stage in result.record.stages}
    return counts[stages[0]] if len(stages) == 1 else [counts[stage] for stage in stages]


def parts(result, table):
    return {part.shard: part.name for part in result.record.tables[table]}


def files(workspace):
    """Every file of a workspace but the lock: what it is and when it was last written."""
    found = [path for path in workspace.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in found}


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory, build_into):
    """A finished build of the small corpus, not to be changed."""
    workspace = tmp_path_factory.mktemp("built") / "w"
    return build_into(corpus.recipe(), workspace, workers=0)


def workspace_of(result):
    return Path(result.workspace)


def test_the_corpus_has_something_for_every_stage(built):
    dropped = set().union(*(stage.dropped for stage in built.record.stages))
    assert {"error.binary", "duplicate.repository", "duplicate.exact", "duplicate.near"} <= dropped
    assert {"licence.non_permissive", "licence.none"} <= dropped
    assert sum(reason.startswith("filter.") for reason in dropped) > 3
    assert len(parts(built, "documents")) > 3
    assert len(parts(built, "data")) > 3


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_changes_no_byte(corpus, built, tmp_path, build_into, tree_digest, workers):
    again = build_into(corpus.recipe(), tmp_path / "w", workers=workers)
    assert tree_digest(tmp_path / "w") == tree_digest(workspace_of(built))
    assert again.record.release == built.record.release


def test_a_finished_build_is_left_alone(corpus, tmp_path, build_into):
    first = build_into(corpus.recipe(), tmp_path / "w", workers=0)
    assert first.worked > 0
    before = files(tmp_path / "w")
    again = build_into(corpus.recipe(), tmp_path / "w")
    assert again.worked == 0
    assert files(tmp_path / "w") == before
    assert first.record.release == again.record.release


def test_where_a_corpus_lies_changes_no_byte(corpus, built, tmp_path, build_into, tree_digest):
    moved = dataclasses.replace(corpus, folder=corpus.folder.rename(corpus.folder.with_name("moved")))
    try:
        build_into(moved.recipe(), tmp_path / "elsewhere" / "w", workers=0)
    finally:
        moved.folder.rename(corpus.folder)
    assert tree_digest(tmp_path / "elsewhere" / "w") == tree_digest(workspace_of(built))


def test_a_threshold_rewrites_only_the_shards_it_changes(corpus, tmp_path, build_into, tree_digest):
    before = build_into(corpus.recipe(), tmp_path / "w", workers=0)
    recipe = corpus.recipe("[filters]", "max_lines = 200")
    after = build_into(recipe, tmp_path / "w", workers=0)
    assert ran(after, "collect", "annotate", "licences") == [0, 0, 0]
    assert ran(after, "filters") == 1
    # One file has more than 200 lines; its copy in the fork was dropped before.
    (filters,) = (stage for stage in after.record.stages if stage.name == "filters")
    assert filters.dropped["filter.lines"] == 1
    was, now = parts(before, "data"), parts(after, "data")
    changed = {shard for shard in was.keys() | now.keys() if was.get(shard) != now.get(shard)}
    assert len(changed) == 1
    assert ran(after, "release") == 1 + len(changed), "the query, and one shard"
    build_into(recipe, tmp_path / "scratch", workers=0)
    assert tree_digest(tmp_path / "w") == tree_digest(tmp_path / "scratch")


@pytest.mark.parametrize(
    ("setting", "untouched"),
    [
        ("[licence]\nno_licence = 'keep'", ("collect", "annotate")),
        ("[licence]\npropagation = 'union'", ("collect", "annotate")),
        ("[near_duplicates]\nthreshold = 0.95", ("collect", "annotate", "licences", "filters", "exact")),
        ("[release]\nids_only = false", ("collect", "annotate", "licences", "filters", "exact", "near", "ledger")),
        ("[filters]\nhex_spaces = true", ("collect",)),
        ("[near_duplicates]\nngram = 3", ("collect",)),
    ],
)
def test_a_setting_runs_again_what_depends_on_it(corpus, built, tmp_path, build_into, tree_digest, setting, untouched):
    workspace = copy_of(built, tmp_path)
    after = build_into(corpus.recipe(setting), workspace, workers=0)
    assert {stage: ran(after, stage) for stage in untouched} == dict.fromkeys(untouched, 0)
    assert after.worked > 0
    back = build_into(corpus.recipe(), workspace, workers=0)
    assert back.worked == 0
    assert tree_digest(workspace) == tree_digest(workspace_of(built))


def copy_of(result, folder):
    return shutil.copytree(result.workspace, folder / "w")


def test_the_paper_profile_uses_the_same_contents(corpus, built, tmp_path, build_into, tree_digest):
    workspace = copy_of(built, tmp_path)
    recipe = 'profile = "stack-v2"\n' + corpus.recipe()
    after = build_into(recipe, workspace, workers=0)
    assert ran(after, "collect") == 0
    order = [stage.name for stage in after.record.stages if stage.name in PROFILES["stack-v2"].order]
    assert order == ["errors", "repository", "exact", "licence", "near", "filters", "scan"]
    build_into(recipe, tmp_path / "scratch", workers=0)
    assert tree_digest(workspace) == tree_digest(tmp_path / "scratch")


# ---- origins that come and go


def shards_of(result):
    """What each shard holds: (first path, last path, documents) of every origin in it."""
    rows = result.record.table("documents", DOCUMENTS).read(Store(result.workspace))
    held = {}
    for row in rows.select(["shard", "origin_id", "path", "document_id"]).to_pylist():
        held.setdefault(row["shard"], []).append((row["origin_id"], row["path"], row["document_id"]))
    return {shard: tuple(sorted(documents)) for shard, documents in held.items()}


def collected(workspace):
    """How many shards were ever collected into a workspace."""
    return sum(1 for _ in (workspace / "records/collect").glob("*.json"))


def names(*, boundary, documents):
    """Names of repositories of that many documents that do, or do not, begin a shard."""
    for number in itertools.count():
        name = f"owner/n{number}"
        origin = Origin(
            source="git",
            url=f"https://example.org/{name}",
            owner="owner",
            name=name,
            location="",
            state="",
            documents=documents,
        )
        if begins_shard(origin, documents=SMALL_SHARDS) == boundary:
            yield name


@pytest.mark.parametrize("boundary", [False, True])
def test_an_origin_costs_its_shard_only(own_corpus, mit, source_code, tmp_path, build_into, tree_digest, boundary):
    inner = list(itertools.islice(names(boundary=False, documents=3), 12))
    starts = list(itertools.islice(names(boundary=True, documents=3), 4))
    (extra,) = (starts if boundary else inner)[-1:]
    for name in inner + starts:
        code = {f"{i}.py": source_code(f"{name} {i}", lines=8) for i in range(2)}
        own_corpus.add(name, {"LICENSE": mit, **code})
    taken = own_corpus.folder / extra.replace("/", "+")
    away = taken.rename(tmp_path / "away")
    recipe = own_corpus.recipe(documents=SMALL_SHARDS)
    without = build_into(recipe, tmp_path / "w", workers=0)
    digest_without = tree_digest(tmp_path / "w")

    away.rename(taken)
    added = build_into(recipe, tmp_path / "w", workers=0)
    # An origin that begins a shard also shortens the one before it.
    most = 2 if boundary else 1
    assert 1 <= ran(added, "collect") <= most
    assert ran(added, "annotate") == ran(added, "collect")
    assert len(shards_of(added)) == len(shards_of(without)) + (1 if boundary else 0)
    build_into(recipe, tmp_path / "scratch", workers=0)
    assert tree_digest(tmp_path / "w") == tree_digest(tmp_path / "scratch")

    own_corpus.add(extra, {"LICENSE": mit, "0.py": source_code("changed"), "1.py": source_code("changed too")})
    changed = build_into(recipe, tmp_path / "w", workers=0)
    assert ran(changed, "collect", "annotate") == [1, 1]

    own_corpus.remove(extra)
    removed = build_into(recipe, tmp_path / "w", workers=0)
    assert removed.worked == 0, "all of it was built before"
    assert tree_digest(tmp_path / "w") == digest_without


def test_a_large_origin_is_collected_in_parts(own_corpus, mit, source_code, tmp_path, build_into, tree_digest):
    many = {f"d{i % 7}/f{i:02}.py": source_code(i, lines=6) for i in range(70)}
    own_corpus.add("a/first", {"LICENSE": mit, "x.py": source_code("x")})
    own_corpus.add("b/large", {"LICENSE": mit, **many})
    own_corpus.add("c/last", {"LICENSE": mit, "y.py": source_code("y")})
    recipe = own_corpus.recipe(documents=SMALL_SHARDS)
    first = build_into(recipe, tmp_path / "w", workers=0)
    large = {shard: rows for shard, rows in shards_of(first).items() if len({origin for origin, *_ in rows}) == 1}
    assert len(large) > 2, "the large origin must be cut for this test to be one"
    own_corpus.add("c/last", {"LICENSE": mit, "y.py": source_code("other")})
    second = build_into(recipe, tmp_path / "w", workers=0)
    assert ran(second, "collect", "annotate") == [1, 1]
    many.popitem()
    own_corpus.add("b/large", {"LICENSE": mit, **many})
    build_into(recipe, tmp_path / "w", workers=0)
    build_into(recipe, tmp_path / "scratch", workers=0)
    assert tree_digest(tmp_path / "w") == tree_digest(tmp_path / "scratch")


@pytest.mark.parametrize(("seed", "documents"), [(0, 4), (1, 6), (2, 12)])
def test_whatever_comes_and_goes_the_end_is_that_of_a_build_from_scratch(
    own_corpus, mit, source_code, tmp_path, build_into, tree_digest, seed, documents
):
    chance = random.Random(seed)
    sizes = {f"{owner}/r{i}": chance.choice([1, 2, 3, 15]) for owner in "ab" for i in range(4)}

    def make(name):
        # Few different files: most repositories share contents, and near-copies of them, with others.
        code = {}
        for i in range(sizes[name]):
            text = source_code(chance.randrange(30), lines=12)
            code[f"p{i}.py"] = text if chance.random() < 0.7 else text + b"    # %d\n" % chance.randrange(5)
        licence = {"LICENSE": mit} if chance.random() < 0.7 else {}
        own_corpus.add(name, licence | code)

    recipe = own_corpus.recipe(documents=documents)
    present = set(chance.sample(sorted(sizes), 4))
    for name in sorted(present):
        make(name)
    seen = set()
    for _ in range(3):
        before = collected(tmp_path / "w")
        result = build_into(recipe, tmp_path / "w", workers=0)
        held = set(shards_of(result).items())
        assert collected(tmp_path / "w") - before == len(held - seen)
        assert ran(result, "annotate") == len(held - seen)
        seen |= held
        for name in chance.sample(sorted(sizes), 3):
            if name not in present:
                make(name)
                present.add(name)
            elif len(present) > 1 and chance.random() < 0.6:
                own_corpus.remove(name)
                present.remove(name)
            else:
                make(name)
    build_into(recipe, tmp_path / "w", workers=0)
    build_into(recipe, tmp_path / "scratch", workers=0)
    assert tree_digest(tmp_path / "w") == tree_digest(tmp_path / "scratch")

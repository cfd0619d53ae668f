"""From a workspace to a pack and back: a token tells its document's story; who leaves the corpus leaves the pack."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from starsmith.build import apply_opt_outs
from starsmith.cli import main
from starsmith.format.pack import PackOptions, pack
from starsmith.format.pack_file import Pack
from starsmith.format.released_files import open_release
from starsmith.format.settings import FormatSettings, PackSettings
from starsmith.govern import opt_out
from starsmith.govern.opt_out import Request
from starsmith.progress import Quiet
from starsmith.workspace import writing

SETTINGS = PackSettings(held_out=0.0)
FORMAT = FormatSettings(fim_rate=0.0)


@pytest.fixture(scope="module")
def finished(corpus, build_into, tmp_path_factory):
    """A build of the small corpus. Not to be changed."""
    workspace = tmp_path_factory.mktemp("pack") / "w"
    build_into(corpus.recipe(), workspace, workers=0)
    return workspace


@pytest.fixture
def workspace(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "w")


@pytest.fixture
def packed(workspace, tokenizer, inline_engine, tmp_path):
    def run(name, **options):
        chosen = PackOptions(**({"tokenizer": tokenizer, "settings": SETTINGS, "format": FORMAT} | options))
        engine = inline_engine(workers=1, spill=str(tmp_path / "spill"))
        return pack(str(workspace), str(tmp_path / name), chosen, engine=engine, reporter=Quiet())

    return run


@pytest.fixture
def why(capsys):
    def run(*arguments):
        code = main(["why", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def runs_of(opened):
    return {
        run.path: (shard, run)
        for number, shard in enumerate(opened.record.epochs[0].shards)
        for run in opened.runs(0, number, 0, shard.tokens)
    }


def test_one_origin_lies_in_one_data_file(finished):
    """Unless it is so large that it was cut; the small corpus has none such, and several data files."""
    released = open_release(str(finished))
    places = {}
    for file, rows in released.tables(["origin_url"]):
        for url in set(rows["origin_url"].to_pylist()):
            places.setdefault(url, set()).add(file.shard)
    assert len(released.files) > 3
    assert all(len(shards) == 1 for shards in places.values())


def test_every_released_document_is_in_the_pack(workspace, packed, tmp_path):
    done = packed("P")
    opened = Pack.open(str(tmp_path / "P"))
    folder = next((workspace / "releases").iterdir())
    rows = [row for path in folder.glob("data/*.parquet") for row in pq.read_table(path).to_pylist()]
    runs = [run for n, s in enumerate(opened.record.epochs[0].shards) for run in opened.runs(0, n, 0, s.tokens)]
    assert sorted((run.swhid, run.path) for run in runs) == sorted((row["swhid"], row["path"]) for row in rows)
    assert done.record.release == open_release(str(workspace)).digest
    texts = {row["path"]: row["content"] for row in rows if row["repo_name"] == "acme/beta"}
    for path, (shard, run) in runs_of(opened).items():
        if path in texts and run.repo_name == "acme/beta":
            number = opened.record.epochs[0].shards.index(shard)
            ids = opened.epochs[0][number][run.start : run.start + run.length]
            assert texts[path] in opened.tokenizer.decode(ids.tolist())


def test_why_tells_the_story_of_a_token(workspace, packed, why, tmp_path):
    packed("P")
    opened = Pack.open(str(tmp_path / "P"))
    shard, run = runs_of(opened)["/lib/s1.js"]
    place = f"{tmp_path / 'P'}/epoch-0/{shard.name}:{run.start + run.length - 1}"
    code, out, error = why(place)
    assert (code, error) == (0, "")
    assert "Document  acme/beta:lib/s1.js" in out
    assert f"Content   {run.swhid}" in out
    told = json.loads(why(place, "--json")[1])
    assert (told["swhid"], told["path"], told["workspace"]) == (run.swhid, "/lib/s1.js", str(workspace))
    assert told["document_id"] == run.document_id.hex()
    assert told["answer"]["documents"][0]["document"]["document_id"] == run.document_id.hex()
    assert told["answer"]["documents"][0]["verdict"]["verdict"] == "keep"
    shutil.move(workspace, tmp_path / "elsewhere")
    code, out, _ = why(place)
    assert code == 0
    assert "The workspace says no more" in out
    assert json.loads(why(tmp_path / "elsewhere", place, "--json")[1])["answer"] == told["answer"]


def test_why_says_what_is_wrong_with_a_place(packed, why, tmp_path):
    packed("P")
    assert "has no shard" in why(f"{tmp_path / 'P'}/epoch-0/zzzz:1")[2]
    assert "holds no pack" in why(f"{tmp_path}/Q/epoch-0/zzzz:1")[2]
    code, _, error = why(tmp_path / "P")
    assert code == 2
    assert "A target is missing" in error


def test_who_leaves_the_corpus_leaves_the_pack(workspace, packed, why, inline_engine, monkeypatch, tmp_path):
    before = packed("P").record
    old = runs_of(Pack.open(str(tmp_path / "P")))
    shard, run = old["/lib/s1.js"]
    shutil.copytree(tmp_path / "P", tmp_path / "before")
    with writing(workspace) as store:
        opt_out.add_all(store, [Request(kind="repository", value="acme/beta")])
    monkeypatch.setattr("starsmith.build.LocalEngine", inline_engine)
    apply_opt_outs(workspace, purge=False, workers=1, reporter=Quiet())

    done = packed("P")
    files = {file.shard: file.part.digest for file in open_release(str(workspace)).files}
    changed = {each.name for each in before.epochs[0].shards if files.get(each.name) != each.source_sha256}
    assert 0 < len(changed) < len(before.epochs[0].shards)
    now = {each.name: each for each in done.record.epochs[0].shards}
    assert done.written == len(changed & now.keys())
    for each in before.epochs[0].shards:
        assert (now.get(each.name) == each) == (each.name not in changed)
    runs = [run for _, run in runs_of(Pack.open(str(tmp_path / "P"))).values()]
    assert runs
    assert all(run.repo_name != "acme/beta" for run in runs)
    assert done.record.rates == before.rates
    assert shard.tokens_file not in {str(path.relative_to(tmp_path / "P")) for path in (tmp_path / "P").rglob("*")}

    like = Pack.open(str(tmp_path / "before"))
    also = packed("Q", like=like, tokenizer=None)
    assert also.record == done.record
    assert (also.written, also.copied) == (done.written, len(now) - done.written)

    out = why(f"{tmp_path / 'before'}/epoch-0/{shard.name}:{run.start}")[1]
    assert "Document  acme/beta:lib/s1.js" in out
    assert "has left" in out

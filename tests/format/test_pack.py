"""Packing: the tokens are those of the formatted repositories, each is traced, and only what changed is written."""

import hashlib
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from starsmith.document import origin_id
from starsmith.engines.local import LocalEngine
from starsmith.errors import StarsmithError
from starsmith.format.choice import Draw
from starsmith.format.pack import PackOptions, pack
from starsmith.format.pack_file import Pack, token_place
from starsmith.format.repository import File, RepositoryFiles, segments
from starsmith.format.sentinels import SENTINELS
from starsmith.format.settings import FormatSettings, MixtureRule, PackSettings
from starsmith.progress import Quiet

NOTHING_HELD_OUT = PackSettings(held_out=0.0, seed=3)
HOSTILE = "".join(SENTINELS) + "\0\r\n\t \u2028 12 👩‍👧 <file_sep>"


def corpus(document):
    """Three data files; the second has a repository of many files, one of them hostile, one empty."""

    def of(name, *texts, language="Python"):
        return [
            document(repo_name=name, path=f"src/{number}.py", content=text, language=language)
            for number, text in enumerate(texts)
        ]

    many = [f"def f{n}(x):\n    return x + {n}\n" * 5 for n in range(12)]
    return {
        "aaaa": of("acme/alpha", "import os\n\nprint(os.name)\n", "x = 1\n") + of("acme/beta", "y = 22\n"),
        "bbbb": of("core/gamma", *many, HOSTILE, ""),
        "cccc": [each for n in range(9) for each in of(f"tiny/t{n}", f"tiny = {n}\n" * (n + 1), language="Lua")],
    }


@pytest.fixture(scope="module")
def documents(document):
    return corpus(document)


@pytest.fixture(scope="module")
def release(make_release, documents, tmp_path_factory):
    return make_release(tmp_path_factory.mktemp("release") / "r", documents)


@pytest.fixture
def pack_into(tokenizer, inline_engine, tmp_path):
    """Pack in this process; what is given sets options."""

    def packed(release, name="P", *, reporter=None, **options):
        chosen = PackOptions(**({"tokenizer": tokenizer, "settings": NOTHING_HELD_OUT} | options))
        engine = inline_engine(workers=1, spill=str(tmp_path / "spill"))
        return pack(str(release), str(tmp_path / name), chosen, engine=engine, reporter=reporter or Quiet())

    return packed


def files_of(folder, *, ending=""):
    found = [path for path in sorted(folder.rglob(f"*{ending}")) if path.is_file() and path.name != "lock"]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if "records" not in path.parts and path.name != "workspace.json"
    }


def expected(tokenizer, documents, *, settings=NOTHING_HELD_OUT, formatting=None, epoch=0):
    """The ids of one data file, by way of the formatted repositories."""
    ids = []
    names = dict.fromkeys(each.repo_name for each in documents)
    for name in names:
        own = [each for each in documents if each.repo_name == name]
        origin = origin_id(own[0].url)
        files = tuple(File(path=each.path, text=each.content, document_id=each.document_id) for each in own)
        told = segments(
            RepositoryFiles(name=name, origin_id=origin, files=files),
            settings=formatting or FormatSettings(),
            draw=Draw(seed=settings.seed, epoch=epoch, document_id=origin),
        )
        ids += tokenizer.encode(told)
    return ids


def test_tokens_are_those_of_the_formatted_repositories(pack_into, release, documents, tokenizer, tmp_path):
    settings = replace(NOTHING_HELD_OUT, epochs=2)
    pack_into(release, settings=settings)
    opened = Pack.open(str(tmp_path / "P"))
    for epoch in range(2):
        for shard, own in zip(opened.epochs[epoch], documents.values(), strict=True):
            assert shard.tolist() == expected(tokenizer, own, settings=settings, epoch=epoch)
    assert [len(shards) for shards in opened.epochs] == [3, 3]
    assert opened.epochs[0][1].tolist() != opened.epochs[1][1].tolist()
    assert opened.held_out == []
    assert opened.epochs[0][0].dtype == np.dtype("<u2")
    assert opened.vocabulary == tokenizer.vocabulary == len(opened.token_bytes)
    assert opened.tokenizer.fingerprint == tokenizer.fingerprint


def test_it_can_be_read_without_starsmith(pack_into, release, documents, tmp_path):
    done = pack_into(release)
    plain = done.record.epochs[0].shards[1]
    ids = np.fromfile(tmp_path / "P" / plain.tokens_file, "<u2")
    runs = pq.read_table(tmp_path / "P" / plain.runs_file).to_pylist()
    assert [run["start"] for run in runs] == np.cumsum([0, *(run["length"] for run in runs)])[:-1].tolist()
    assert sum(run["length"] for run in runs) == len(ids) == plain.tokens
    assert {(run["swhid"], run["path"]) for run in runs} == {(e.swhid, f"/{e.path}") for e in documents["bbbb"]}
    assert (ids == 0).sum() == plain.units == 1
    assert not set(ids[ids < 38].tolist()) - {0, 1, 2, 3, 5, 6}, "no sentinel of the hostile text is one"


def test_every_token_is_traced(pack_into, release, documents, tmp_path):
    pack_into(release, format=FormatSettings(fim_rate=0, metadata_rate=1))
    opened = Pack.open(str(tmp_path / "P"))
    by_id = {each.document_id: each for own in documents.values() for each in own}
    for number, shard in enumerate(opened.record.epochs[0].shards):
        ids, at = opened.epochs[0][number], 0
        for run in opened.runs(0, number, 0, shard.tokens):
            document = by_id.pop(run.document_id)
            text = opened.tokenizer.decode(ids[run.start : run.start + run.length].tolist())
            assert text.removesuffix("<|endoftext|>").endswith(f"<file_sep>{document.path}\n{document.content}")
            assert (run.start, run.swhid, run.repo_name) == (at, document.swhid, document.repo_name)
            at += run.length
            for token in (run.start, run.start + run.length - 1):
                assert opened.trace("epoch-0", shard.name, token) == run
        assert at == shard.tokens
    assert not by_id
    middle = list(opened.runs(0, 1, 100, 101))
    assert len(middle) == 1
    assert middle[0].start <= 100 < middle[0].start + middle[0].length
    name = opened.record.epochs[0].shards[1].tokens_file
    assert opened.trace("epoch-0", name.removeprefix("epoch-0/"), 100) == middle[0]
    for place, said in [
        (("epoch-1", "aaaa", 0), "has no epoch-1; it has epoch-0, held-out"),
        (("epoch-0", "zzzz", 0), "has no shard 'zzzz'"),
        (("epoch-0", "aaaa", 10**6), "there is no token 1,000,000"),
    ]:
        with pytest.raises(StarsmithError, match=said):
            opened.trace(*place)


def test_places_of_tokens():
    place = token_place("s3://bucket/my.pack/held-out/01ab:17")
    assert (place.pack, place.folder, place.shard, place.token) == ("s3://bucket/my.pack", "held-out", "01ab", 17)
    for text in ("acme/alpha:src/m.py", "P/epoch-0/aaaa", "P/epoch-x/a:1", "/epoch-0/a:1", "swh:1:cnt:" + "0" * 40):
        assert token_place(text) is None


def test_the_same_bytes_with_any_number_of_workers(pack_into, release, tokenizer, tmp_path):
    settings = replace(NOTHING_HELD_OUT, held_out=0.3)
    one = pack_into(release, settings=settings)
    engine = LocalEngine(workers=2, spill=str(tmp_path / "spill"))
    try:
        options = PackOptions(tokenizer=tokenizer, settings=settings)
        two = pack(str(release), str(tmp_path / "Q"), options, engine=engine, reporter=Quiet())
    finally:
        engine.close()
    assert files_of(tmp_path / "P") == files_of(tmp_path / "Q")
    assert one.record.fingerprint == two.record.fingerprint
    again = pack_into(release, settings=settings)
    assert (again.written, again.record) == (0, one.record)


class Fails:
    """An engine that stops after some items."""

    def __init__(self, items):
        self.items = items

    def map(self, function, items, *, label, progress):
        for item in items[: self.items]:
            yield function(item, attempt=0, progress=progress)
        raise KeyboardInterrupt


def test_what_was_done_is_not_done_again(pack_into, release, tokenizer, tmp_path):
    whole = pack_into(release, "whole")
    options = PackOptions(tokenizer=tokenizer, settings=NOTHING_HELD_OUT)
    with pytest.raises(KeyboardInterrupt):
        pack(str(release), str(tmp_path / "P"), options, engine=Fails(2), reporter=Quiet())
    with pytest.raises(StarsmithError, match=r"holds no pack: it has no pack.json"):
        Pack.open(str(tmp_path / "P"))
    done = pack_into(release)
    assert (done.shards, done.written) == (3, 1)
    assert files_of(tmp_path / "P") == files_of(tmp_path / "whole")
    assert done.record == whole.record


KILLED = """
import sys
from starsmith.engines.local import LocalEngine
from starsmith.format.pack import PackOptions, pack
from starsmith.format.settings import PackSettings
from starsmith.format.tokenizer import Tokenizer
from starsmith.progress import Quiet

class Here:
    def map(self, function, items, *, label, progress):
        for item in items:
            yield function(item, attempt=0, progress=progress)
            print("done", flush=True)

pack(sys.argv[1], sys.argv[2], PackOptions(tokenizer=Tokenizer.open(sys.argv[3]), settings=PackSettings(held_out=0.0,
     seed=3, epochs=40)), engine=Here(), reporter=Quiet())
"""


def test_a_killed_run_goes_on(pack_into, release, tmp_path):
    settings = replace(NOTHING_HELD_OUT, epochs=40)
    whole = pack_into(release, "whole", settings=settings)
    arguments = [str(release), str(tmp_path / "P"), str(tmp_path / "whole" / "tokenizer")]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE) as process:
        for _ in range(25):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "P" / "pack.json").exists()
    (tmp_path / "P" / "tmp" / "half").write_bytes(b"what a killed run leaves")
    done = pack_into(release, settings=settings)
    assert 0 < done.written <= 95
    assert files_of(tmp_path / "P") == files_of(tmp_path / "whole")
    assert done.record == whole.record


# ---- what is packed


def test_epochs_and_what_is_held_out(pack_into, release, documents, tmp_path):
    settings = PackSettings(seed=1, epochs=3, held_out=0.4)
    pack_into(release, settings=settings, format=FormatSettings(fim_rate=1, fim_file_rate=1))
    opened = Pack.open(str(tmp_path / "P"))

    def names(portion):
        parts = [tmp_path / "P" / shard.runs_file for shard in portion.shards]
        return {name for part in parts for name in pq.read_table(part)["repo_name"].to_pylist()}

    held_out = names(opened.record.held_out)
    assert 0 < len(held_out) < 12
    for portion in opened.record.epochs:
        assert not names(portion) & held_out
        assert names(portion) | held_out == {each.repo_name for own in documents.values() for each in own}
    assert not any((shard == 1).any() for shard in opened.held_out), "what is held out is told as it is"
    assert all((np.concatenate(shards) == 1).any() for shards in opened.epochs)


def test_weights_repeat_and_leave_out(pack_into, release, document, tmp_path):
    rules = (MixtureRule(language="Lua", weight=2.5), MixtureRule(weight=0))
    done = pack_into(release, rules=rules)
    (lua,) = done.record.composition
    assert (lua.source, lua.language) == ("git", "Lua")
    assert 18 <= lua.documents <= 27
    assert lua.tokens == done.record.epochs[0].tokens
    with pytest.raises(StarsmithError, match="leaves out everything"):
        pack_into(release, "Q", rules=(MixtureRule(weight=0),))
    assert not (tmp_path / "Q" / "pack.json").exists()


def test_composition_adds_up(pack_into, release):
    done = pack_into(release, settings=replace(NOTHING_HELD_OUT, epochs=2))
    assert {each.language: each.documents for each in done.record.composition} == {"Lua": 18, "Python": 34}
    assert sum(each.tokens for each in done.record.composition) == sum(each.tokens for each in done.record.epochs)
    assert done.plain()["epochs"] == {each.name: each.tokens for each in done.record.epochs}


class Notes(Quiet):
    """Remembers what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_a_misspelt_language_is_told(pack_into, release):
    reporter = Notes()
    pack_into(release, rules=(MixtureRule(language="Pyhton", weight=0),), reporter=reporter)
    assert any("'Pyhton'" in note for note in reporter.notes)


def test_a_limit_of_tokens(pack_into, make_release, document, tmp_path):
    texts = {f"{n % 4:04}": [] for n in range(4)}
    for number in range(400):
        text = f"value_{number} = compute({number})\n" * 5
        texts[f"{number % 4:04}"].append(document(repo_name=f"r/{number}", path="a.py", content=text))
    release = make_release(tmp_path / "many", texts)
    whole = pack_into(release).record.epochs[0].tokens
    some = pack_into(release, "Q", settings=replace(NOTHING_HELD_OUT, max_tokens=whole // 4)).record
    assert 0.6 * whole / 4 <= some.epochs[0].tokens <= 1.4 * whole / 4
    assert some.rates.share == pytest.approx(0.25, rel=0.35)
    all_of_it = pack_into(release, "S", settings=replace(NOTHING_HELD_OUT, max_tokens=whole * 9)).record
    assert all_of_it.epochs[0].tokens == whole


def test_large_vocabularies_take_four_bytes(pack_into, release, documents, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("starsmith.format.pack.is_wide", lambda vocabulary: True)
    monkeypatch.setattr("starsmith.format.pack_file.is_wide", lambda vocabulary: True)
    pack_into(release)
    shard = Pack.open(str(tmp_path / "P")).epochs[0][0]
    assert shard.dtype == np.dtype("<u4")
    assert shard.tolist() == expected(tokenizer, documents["aaaa"])


# ---- documents that leave


def without(documents, gone):
    return {shard: kept for shard, own in documents.items() if (kept := [each for each in own if not gone(each)])}


def told_by_path(opened, number):
    """The tokens of each document of a shard, from its <file_sep> on, in the order of the shard."""
    ids, shard = opened.epochs[0][number].tolist(), opened.record.epochs[0].shards[number]
    told = {}
    for run in opened.runs(0, number, 0, shard.tokens):
        own = ids[run.start : run.start + run.length]
        told[run.path] = own[own.index(6) :]
        if told[run.path][-1] == 0:
            told[run.path].pop()
    return told


def test_one_document_less_changes_one_shard(pack_into, make_release, release, documents, tmp_path):
    before = pack_into(release).record
    old = told_by_path(Pack.open(str(tmp_path / "P")), 1)
    fewer = make_release(tmp_path / "fewer", without(documents, lambda each: each.path == "src/3.py"))
    done = pack_into(fewer)
    changed = [
        old.name for old, new in zip(before.epochs[0].shards, done.record.epochs[0].shards, strict=True) if old != new
    ]
    assert (changed, done.written) == (["bbbb"], 1)
    opened = Pack.open(str(tmp_path / "P"))
    old.pop("/src/3.py")
    assert list(told_by_path(opened, 1).items()) == list(old.items()), "the others stay as they were, and in order"
    old_files = {shard.tokens_file for shard in before.epochs[0].shards}
    left = {name for name in files_of(tmp_path / "P") if name.endswith(".tokens")}
    assert len(left) == 3
    assert len(left & old_files) == 2, "the old shard is gone"


def test_rates_are_pinned(pack_into, make_release, release, documents, tmp_path):
    rules = (MixtureRule(language="Lua", cap_gb=200e-9), MixtureRule(language="Python", weight=1.5))
    before = pack_into(release, rules=rules).record
    fewer = make_release(tmp_path / "fewer", without(documents, lambda each: each.repo_name == "tiny/t8"))
    like = Pack.open(str(tmp_path / "P"))
    done = pack_into(fewer, "Q", like=like, tokenizer=None)
    assert done.record.rates == before.rates
    assert (done.shards, done.copied, done.written) == (3, 2, 1)
    assert done.record.epochs[0].shards[:2] == before.epochs[0].shards[:2]
    again = pack_into(fewer, "P", rules=rules)
    assert (again.written, again.record) == (1, done.record), "into the folder itself, as well"
    assert files_of(tmp_path / "P") == files_of(tmp_path / "Q")
    afresh = pack_into(fewer, "R", rules=rules).record
    assert afresh.rates != before.rates, "a pack of its own computes them anew"


def test_a_data_file_less_leaves_the_others_as_they_are(pack_into, make_release, release, documents, tmp_path):
    before = pack_into(release).record
    fewer = make_release(tmp_path / "fewer", without(documents, lambda each: each.repo_name.startswith("acme/")))
    done = pack_into(fewer)
    assert done.written == 0
    assert done.record.epochs[0].shards == before.epochs[0].shards[1:]


def test_another_tokenizer_than_that_of_the_pack_to_be_like(pack_into, release, tokenizer, tmp_path, real_texts):
    from starsmith.format.tokenizer_training import trained_on

    pack_into(release)
    other = trained_on([real_texts[:5]], vocabulary=400)
    with pytest.raises(StarsmithError, match="packed with another tokenizer"):
        pack_into(release, "Q", like=Pack.open(str(tmp_path / "P")), tokenizer=other)


# ---- what cannot be


def test_an_empty_release(pack_into, make_release, document, tmp_path):
    empty = make_release(tmp_path / "empty", {})
    with pytest.raises(StarsmithError, match="holds no documents"):
        pack_into(empty)


def test_nothing_left_to_train_on(pack_into, release, tmp_path):
    with pytest.raises(StarsmithError, match="every repository is held out"):
        pack_into(release, settings=PackSettings(held_out=1.0))
    assert not (tmp_path / "P" / "pack.json").exists()


def test_where_there_is_no_release(pack_into, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(StarsmithError, match="neither a workspace nor a release"):
        pack_into(tmp_path / "nothing")
    (tmp_path / "nothing" / "manifest.json").write_text("{")
    with pytest.raises(StarsmithError, match=r"manifest.json is missing or damaged"):
        pack_into(tmp_path / "nothing")


def test_without_a_tokenizer(pack_into, release):
    with pytest.raises(StarsmithError, match="no tokenizer to pack with"):
        pack_into(release, tokenizer=None)


@pytest.mark.parametrize("name", ["thesis.txt", "tmp/thesis.txt"])
def test_a_folder_of_somebody_else(pack_into, release, tmp_path, name):
    theirs = tmp_path / "P" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("x")
    with pytest.raises(StarsmithError, match=rf"holds {name.partition('/')[0]}, which is no part of a pack"):
        pack_into(release)
    assert [path for path in (tmp_path / "P").rglob("*") if path.is_file()] == [theirs]


def test_a_damaged_data_file(pack_into, make_release, documents, tmp_path):
    release = make_release(tmp_path / "r", documents)
    path = release / "data" / "bbbb.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StarsmithError, match=r"bbbb.parquet is damaged"):
        pack_into(release)


@pytest.mark.parametrize("ending", ["tokens", "parquet"])
def test_damaged_files_are_told_and_made_anew(pack_into, release, tmp_path, ending):
    done = pack_into(release)
    path = next((tmp_path / "P" / "epoch-0").glob(f"bbbb-*.{ending}"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    with pytest.raises(StarsmithError, match=rf"{path.name} is damaged: it has {len(whole) - 2:,} bytes"):
        Pack.open(str(tmp_path / "P"))
    assert pack_into(release).written == 1
    assert path.read_bytes() == whole
    path.unlink()
    with pytest.raises(StarsmithError, match=rf"{path.name} is missing"):
        Pack.open(str(tmp_path / "P"))
    assert pack_into(release).record == done.record
    path.write_bytes(whole[:9] + bytes([whole[9] ^ 1]) + whole[10:])
    (problem,) = Pack.open(str(tmp_path / "P")).problems(verify=True)
    assert f"{path.name} is damaged: its SHA-256 is" in problem


def test_a_damaged_record(pack_into, release, tmp_path):
    pack_into(release)
    path = tmp_path / "P" / "pack.json"
    path.write_bytes(path.read_bytes().replace(b"acme", b"acmf").replace(b'"uint16"', b'"uint32"'))
    with pytest.raises(StarsmithError, match=r"pack.json is damaged: its bytes are not those that were written"):
        Pack.open(str(tmp_path / "P"))


def test_a_pack_on_an_object_store_is_the_one_that_a_disk_would_hold(
    pack_into, release, tokenizer, inline_engine, new_place, tmp_path
):
    there = f"{new_place()}/P"
    local = pack_into(release)
    engine = inline_engine(workers=1, spill=str(tmp_path / "spill"))
    options = PackOptions(tokenizer=tokenizer, settings=NOTHING_HELD_OUT)
    for written in (3, 0):
        done = pack(str(release), there, options, engine=engine, reporter=Quiet())
        assert (done.record, done.written) == (local.record, written)
    opened = Pack.open(there)
    assert [shard.tolist() for shard in opened.epochs[0]] == [
        shard.tolist() for shard in Pack.open(str(tmp_path / "P")).epochs[0]
    ]
    assert opened.problems(verify=True) == []
    assert opened.trace("epoch-0", "bbbb", 100) == Pack.open(str(tmp_path / "P")).trace("epoch-0", "bbbb", 100)
    copied = pack_into(release, "Q", like=opened, tokenizer=None)
    assert (copied.copied, copied.written, copied.record) == (3, 0, local.record)

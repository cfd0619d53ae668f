"""The memorisation probe: what is copied is found and named, what is not is not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.cli import main
from starsmith.errors import StarsmithError
from starsmith.evaluate.memorisation import PROMPT_TOKENS, WINDOW, _hashes, memorised, prompts
from starsmith.format.pack_file import Pack


@pytest.fixture(scope="module")
def workspace(new_corpus, build_into, source_code, mit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("memorised")
    corpus = new_corpus(folder=folder / "repositories")
    corpus.folder.mkdir()
    for name in ("alpha", "beta", "gamma"):
        files = {f"{name}{number}.py": source_code(f"{name} {number}") for number in range(3)}
        corpus.add(f"acme/{name}", {"LICENSE": mit, **files})
    build_into(corpus.recipe('[release]\nname = "m"'), folder / "w", workers=0)
    return folder / "w"


@pytest.fixture(scope="module")
def place(workspace):
    out = str(workspace.parent / "pack")
    tokenizer = str(workspace.parent / "tokenizer")
    assert main(["tokenizer", "train", str(workspace), "--vocabulary", "400", "--out", tokenizer, "--json"]) == 0
    words = ["--tokenizer", tokenizer, "--out", out, "--workers", "1", "--json"]
    assert main(["pack", str(workspace), *words]) == 0
    return out


@pytest.fixture(scope="module")
def found(place):
    pack = Pack.open(place)
    return pack, *prompts(pack, number=5, seed=1)


def test_prompts_are_beginnings_of_documents(found, place):
    pack, problems, data = found
    assert len({problem.id for problem in problems}) == 5
    assert all(problem.id.startswith("swh:1:cnt:") for problem in problems)
    assert data.files[0].digest == pack.fingerprint
    assert prompts(pack, number=5, seed=1)[0] == problems
    assert prompts(pack, number=5, seed=2)[0] != problems


def text_of(pack, swhid):
    """Return the longest piece of a document between sentinels, as ids."""
    for shard, tokens in enumerate(pack.epochs[0]):
        for run in pack.runs(0, shard, 0, len(tokens)):
            if run.swhid == swhid:
                ids = np.asarray(tokens[run.start : run.start + run.length]).astype(int)
                pieces = np.split(ids, np.flatnonzero(ids < 38))
                return max(([each for each in piece.tolist() if each >= 38] for piece in pieces), key=len)
    raise AssertionError(swhid)


def test_a_copy_is_found_with_its_document_and_place(found, place):
    pack, problems, _ = found
    swhid = problems[0].id
    ids = text_of(pack, swhid)
    copied = pack.tokenizer.bytes_of(ids[PROMPT_TOKENS : PROMPT_TOKENS + 2 * WINDOW]).decode()
    short = pack.tokenizer.bytes_of(ids[PROMPT_TOKENS : PROMPT_TOKENS + WINDOW // 2]).decode()
    texts = {swhid: [f"# mine\n{copied}\nzzz", "no"], problems[1].id: [f"{short}\nqqq = 1"], problems[2].id: [""]}
    result = memorised(pack, texts)
    assert result.problems == 3
    assert result.share.value == pytest.approx(1 / 6)
    (copy,) = result.copies.values()
    assert copy.swhid == swhid
    assert WINDOW <= copy.tokens <= 2 * WINDOW + 2
    assert copy.text in copied + "\n"
    folder, _, rest = copy.place.partition("/")
    shard, _, number = rest.partition(":")
    assert pack.trace(folder, shard, int(number)).swhid == swhid


@given(st.lists(st.integers(0, 3), max_size=300), st.integers(0, 200))
def test_hashes_are_those_of_the_windows_wherever_they_stand(ids, start):
    whole = _hashes(np.array(ids, np.int64))
    assert len(whole) == max(0, len(ids) - WINDOW + 1)
    part = _hashes(np.array(ids[start : start + WINDOW], np.int64))
    if len(part):
        assert part[0] == whole[start]
    windows = {tuple(ids[at : at + WINDOW]) for at in range(len(whole))}
    assert len(set(whole.tolist())) == len(windows)


def test_the_command(place, tmp_path, capsys, found):
    from completions_server import CompletionsServer

    capsys.readouterr()
    with CompletionsServer() as server:
        words = ["memorisation", place, "--model", server.address, "--prompts", "3", "--out", str(tmp_path), "--json"]
        assert main(["eval", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["share"]["value"], told["share"]["problems"], told["copies"]) == (0.0, 3, {})
    assert json.loads((tmp_path / "memorisation.json").read_text()) == told


def test_a_pack_of_short_documents_has_no_prompts(found):
    pack, *_ = found
    with pytest.raises(StarsmithError, match="no document with 100 tokens in a row"):
        prompts(pack, number=3, seed=0, source="held-out")

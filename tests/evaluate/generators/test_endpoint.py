"""Models behind an address: real HTTP on loopback, well and unwell."""

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import uvicorn
from completions_server import CompletionsServer, text_for

from starsmith.errors import StarsmithError
from starsmith.evaluate.generators.asked import all_asked
from starsmith.evaluate.generators.endpoint import Endpoint, Patience, _seconds
from starsmith.evaluate.generators.generating import generate
from starsmith.evaluate.generators.own import OwnModel
from starsmith.evaluate.problem import Sampling, cut
from starsmith.format.tokenizer import Tokenizer
from starsmith.model.checkpoint import load
from starsmith.model.generate import Generator
from starsmith.model.server import Server
from starsmith.progress import Quiet

SAMPLED = Sampling(temperature=0.5, samples=2, max_tokens=16)


@pytest.fixture
def server():
    with CompletionsServer() as server:
        yield server


def opened(server, waits=None, **options):
    return Endpoint(
        server.address,
        patience=Patience(seconds=1, tries=4),
        wait=lambda seconds: waits.append(seconds) if waits is not None else None,
        **options,
    )


def written(model, bench, problems, data, out, sampling=SAMPLED):
    return generate(bench, problems, data, model, out=out, sampling=sampling, seed=3, reporter=Quiet())


def test_all_is_asked_and_told(server, bench, problems, data, tmp_path, monkeypatch):
    monkeypatch.setenv("STARSMITH_API_KEY", "k")
    model = opened(server)
    made = {
        each.asked.key: each.text
        for batch in model.completed(model.batches(all_asked(problems, SAMPLED, seed=3), SAMPLED), SAMPLED)
        for each in batch
    }
    assert len(made) == 22
    assert server.keys == {"Bearer k"}
    gap = next(each for each in server.requests if each.get("suffix"))
    assert (gap["prompt"], gap["suffix"], gap["model"], gap["max_tokens"]) == ("a = ", "\nb = 2", "one", 16)
    (first,) = [each for each in server.requests if each["prompt"] == problems[0].prompt][:1]
    assert cut(text_for(first), problems[0].stops) in {made["T/0", 0], made["T/0", 1]}
    assert made["T/0", 0] != made["T/0", 1]


@pytest.mark.parametrize("fault", [429, 500, 503, "garbage", "hang up", "late", "no choices"])
def test_what_may_pass_is_asked_again(server, bench, problems, data, tmp_path, fault):
    waits = []
    written(opened(server), bench, problems[:2], data, tmp_path / "good.jsonl")
    server.faults = [fault, fault]
    written(opened(server, waits), bench, problems[:2], data, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "good.jsonl").read_bytes()
    assert len(waits) == 2


def test_a_server_says_when(server, bench, problems, data, tmp_path):
    waits = []
    server.faults = [(429, {"Retry-After": "17"}), (429, {"Retry-After": "soon"}), (429, {"Retry-After": "1e9"})]
    written(opened(server, waits, parallel=1), bench, problems[:1], data, tmp_path / "g.jsonl")
    assert waits == [17, 2, 300]
    later = datetime.now(UTC) + timedelta(seconds=40)
    assert 30 < _seconds(format_datetime(later, usegmt=True)) <= 40


def test_a_server_that_stays_ill_loses_nothing(server, bench, problems, data, tmp_path):
    written(opened(server), bench, problems, data, tmp_path / "good.jsonl")
    asked = len(server.requests)
    server.faults = [None] * 9 + [500] * 1000
    with pytest.raises(StarsmithError, match=r"failed 4 times on T/\w+, sample \d; the last time: HTTP 500.*kept"):
        written(opened(server), bench, problems, data, tmp_path / "ill.jsonl")
    assert not (tmp_path / "ill.jsonl").exists()
    server.faults = []
    server.requests.clear()
    result = written(opened(server), bench, problems, data, tmp_path / "ill.jsonl")
    assert len(server.requests) == result.made == asked - 9
    assert (tmp_path / "ill.jsonl").read_bytes() == (tmp_path / "good.jsonl").read_bytes()


@pytest.mark.parametrize(("status", "says"), [(400, "HTTP 400"), (401, "STARSMITH_API_KEY"), (302, "HTTP 302")])
def test_a_refusal_is_told_at_once(server, bench, problems, data, tmp_path, status, says):
    server.faults = [(status, {"Location": "http://127.0.0.1:9/"})] * 50
    waits = []
    with pytest.raises(StarsmithError, match=says):
        written(opened(server, waits), bench, problems, data, tmp_path / "g.jsonl")
    assert waits == []


def test_a_server_of_few_stops_gets_few(server, bench, problems, data, tmp_path):
    written(opened(server), bench, problems[:2], data, tmp_path / "good.jsonl")
    server.faults = ["few stops"] * 4
    written(opened(server, parallel=1), bench, problems[:2], data, tmp_path / "few.jsonl")
    assert (tmp_path / "few.jsonl").read_bytes() == (tmp_path / "good.jsonl").read_bytes()
    assert len(server.requests[-1]["stop"]) == 4


def test_which_model_is_to_be_said():
    with CompletionsServer(models=("a", "b")) as server:
        with pytest.raises(StarsmithError, match=r"a, b\. Say which with --model-name"):
            opened(server)
        assert opened(server, model="b").about()["model"] == "b"
    with pytest.raises(StarsmithError, match="failed 4 times on which models there are"):
        opened(server)
    with pytest.raises(StarsmithError, match="a password before the `@`"):
        Endpoint("http://me:secret@127.0.0.1:1/v1")


def test_sentinels_for_servers_without_suffix(server, bench, problems, data, tmp_path):
    written(opened(server, gap="sentinels"), bench, problems[-1:], data, tmp_path / "g.jsonl")
    assert server.requests[0]["prompt"] == "<fim_prefix>a = <fim_suffix>\nb = 2<fim_middle>"
    assert "suffix" not in server.requests[0]


@contextmanager
def serving(folder):
    generator = Generator(load(folder), Tokenizer.open(str(folder)))
    config = uvicorn.Config(Server(generator, name="mine").app, port=0, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1/completions"
    finally:
        server.should_exit = True
        thread.join()


def test_our_own_server_writes_what_the_folder_writes(model_folder, bench, problems, data, tmp_path):
    # Without the prompt that is too long: a server shortens none.
    chosen = [each for each in problems if each.id != "T/long"][::3]
    greedy = Sampling(max_tokens=12)
    written(OwnModel(model_folder, batch=1), bench, chosen, data, tmp_path / "folder.jsonl", greedy)
    with serving(model_folder) as address:
        written(Endpoint(address), bench, chosen, data, tmp_path / "server.jsonl", greedy)
    assert (tmp_path / "server.jsonl").read_bytes() == (tmp_path / "folder.jsonl").read_bytes()

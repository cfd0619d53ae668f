"""The server over real HTTP on loopback, asked as OpenAI's clients ask."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
import uvicorn

from starsmith.format import fill_in_middle
from starsmith.format.sentinels import FIM_MIDDLE, FIM_PREFIX, with_sentinels
from starsmith.model.generate import Generation, Generator
from starsmith.model.sampling import Sampling
from starsmith.model.server import MOST_BYTES, Server


@contextmanager
def serving(generator, **options):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(Server(generator, name="mine", **options).app, log_level="error", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def generator(trained, bpe):
    return Generator(trained, bpe)


@pytest.fixture(scope="module")
def address(generator):
    with serving(generator) as place:
        yield place


def asked(address, plain, path="/v1/completions"):
    data = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    request = urllib.request.Request(f"{address}{path}", data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def completed(address, **plain):
    status, text = asked(address, {"model": "mine", "temperature": 0, "max_tokens": 8} | plain)
    assert status == 200, text
    return json.loads(text)


def test_what_it_serves(address):
    with urllib.request.urlopen(f"{address}/v1/models", timeout=60) as answer:
        (model,) = json.loads(answer.read())["data"]
    assert model["id"] == "mine"
    with urllib.request.urlopen(f"{address}/health", timeout=60) as answer:
        assert answer.status == 200


def test_completions_are_the_generators(address, generator):
    found = completed(address, prompt=["def a(", "x ="], logprobs=2)
    direct = generator.generate([["def a("], ["x ="]], Generation(max_tokens=8, top_logprobs=2))
    assert [choice["text"] for choice in found["choices"]] == [each.text for each in direct]
    assert [choice["finish_reason"] for choice in found["choices"]] == [each.finish for each in direct]
    scores = found["choices"][0]["logprobs"]
    assert scores["token_logprobs"] == pytest.approx([each.logprob for each in direct[0].scores])
    assert all(len(top) <= 2 for top in scores["top_logprobs"])
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_gap_is_filled_by_suffix(address, generator):
    found = completed(address, prompt="a = ", suffix="\nb = 2")
    (direct,) = generator.generate([fill_in_middle.prompt(prefix="a = ", suffix="\nb = 2")], Generation(max_tokens=8))
    assert found["choices"][0]["text"] == direct.text


def test_text_is_no_sentinel_unless_the_server_is_told_so(address, generator):
    prompt = "<fim_prefix>a = <fim_suffix>\n<fim_middle>"
    plain = completed(address, prompt=prompt, echo=True)
    assert plain["choices"][0]["text"].startswith(prompt)
    assert plain["usage"]["prompt_tokens"] == len(generator.tokens.encode([prompt])) > 8
    with serving(generator, sentinels=True) as other:
        assert completed(other, prompt=prompt)["usage"]["prompt_tokens"] < plain["usage"]["prompt_tokens"]
    assert with_sentinels("x<fim_middle><fim_prefix>") == ["x", FIM_MIDDLE, FIM_PREFIX]


def test_ids_are_prompts_too(address, generator):
    (direct,) = generator.generate([[40, 41]], Generation(max_tokens=8))
    assert completed(address, prompt=[40, 41])["choices"][0]["text"] == direct.text
    assert completed(address, prompt=[[40, 41]])["choices"][0]["text"] == direct.text


def test_samples_follow_from_the_seed(address, generator):
    found = completed(address, prompt="x", n=3, temperature=1.0, top_p=0.9, seed=5)
    how = Generation(max_tokens=8, sampling=Sampling(temperature=1.0, top_p=0.9, seed=5))
    assert [each["text"] for each in found["choices"]] == [each.text for each in generator.generate([["x"]] * 3, how)]


def test_a_stream_adds_up(address):
    whole = completed(address, prompt=["def a(", "x"], echo=True)
    status, text = asked(
        address, {"prompt": ["def a(", "x"], "stream": True, "temperature": 0, "max_tokens": 8, "echo": True}
    )
    assert status == 200
    *events, last = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert last == "[DONE]"
    texts = ["", ""]
    for event in events:
        (choice,) = json.loads(event)["choices"]
        texts[choice["index"]] += choice["text"]
    assert texts == [choice["text"] for choice in whole["choices"]]


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (b"{", "no JSON"),
        (b"[1]", "a JSON object"),
        ({"prompt": 5}, "prompt is expected"),
        ({"prompt": [1, "a"]}, "prompt is expected"),
        ({"prompt": []}, "prompt is expected"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens is 0"),
        ({"prompt": "a", "max_tokens": True}, "max_tokens is true; expected an integer"),
        ({"prompt": "a", "temperature": "hot"}, "expected a number"),
        ({"prompt": "a", "temperature": -1}, "temperature is -1"),
        ({"prompt": "a", "stop": 4}, "stop is expected"),
        ({"prompt": "a", "stop": [""]}, "empty string"),
        ({"prompt": "a", "n": 1000}, "1000 completions"),
        ({"prompt": [10**9]}, "has the id 1000000000"),
        ({"prompt": [1], "suffix": "a"}, "suffix needs a prompt of text"),
        ({"prompt": "word " * 500}, "positions"),
    ],
)
def test_what_cannot_be_is_told_with_status_400(address, plain, message):
    status, text = asked(address, plain)
    assert status == 400
    assert message in json.loads(text)["error"]["message"]


def test_a_request_too_large_is_refused(address):
    status, text = asked(address, b'"' + b"a" * MOST_BYTES + b'"')
    assert status == 400
    assert "more than" in text

"""A model over HTTP, as OpenAI's completions API has it: `/v1/completions` and `/v1/models`, for editors and harnesses.

One request is computed at a time; others wait. What a prompt says is text: a sentinel in it is one only where the
server was told so, because editors that fill gaps write sentinels out. A gap is better asked for with `suffix`.
What this module does not do: it knows no chat, no users and no keys; put a proxy in front of it for those.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from starsmith.errors import StarsmithError
from starsmith.format import fill_in_middle
from starsmith.format.sentinels import with_sentinels
from starsmith.model.completion import Completion, Piece, TokenScore
from starsmith.model.generate import Generation, Generator, Prompt
from starsmith.model.sampling import Sampling

MOST_BYTES: Final = 16 << 20
"""Of a request's body."""
MOST_PROMPTS: Final = 256
_Kind = TypeVar("_Kind")


class _Refused(Exception):
    """What is wrong with a request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request, understood."""

    prompts: tuple[Prompt, ...]
    how: Generation
    is_stream: bool
    texts: tuple[str, ...]
    """What is told before each completion, with `echo`."""


class Server:
    """The application. `name` is what the model is called; with `sentinels` they are read in the text of prompts."""

    def __init__(self, generator: Generator, *, name: str, sentinels: bool = False) -> None:
        self.generator, self.name, self.sentinels = generator, name, sentinels
        self._turn = threading.Lock()
        self._created = int(time.time())
        self.app = Starlette(
            routes=[
                Route("/v1/models", self.models, methods=["GET"]),
                Route("/v1/completions", self.completions, methods=["POST"]),
                Route("/health", self.health, methods=["GET"]),
            ]
        )

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> Response:
        model = {"id": self.name, "object": "model", "created": self._created, "owned_by": "starsmith"}
        return JSONResponse({"object": "list", "data": [model]})

    async def completions(self, request: Request) -> Response:
        try:
            asked = self.asked(await _body(request))
        except (_Refused, StarsmithError) as error:
            return _error(str(error))
        if asked.is_stream:
            return StreamingResponse(iterate_in_threadpool(self._events(asked)), media_type="text/event-stream")
        try:
            return JSONResponse(await run_in_threadpool(self._answer, asked))
        except StarsmithError as error:
            return _error(str(error))

    def asked(self, plain: dict[str, Any]) -> Asked:
        """Return what a request asks for.

        Raises:
            StarsmithError, or what becomes an answer with status 400: a value that cannot be.
        """
        number = _value(plain, "n", int, 1)
        given = self._prompts(plain)
        if not 1 <= number * len(given) <= MOST_PROMPTS:
            raise _Refused(f"n and the prompts ask for {number * len(given)} completions; 1 to {MOST_PROMPTS} can be.")
        temperature = float(_value(plain, "temperature", (int, float), 1.0))
        scores = plain.get("logprobs")
        how = Generation(
            max_tokens=_value(plain, "max_tokens", int, 16),
            sampling=Sampling(
                temperature=temperature,
                top_p=float(_value(plain, "top_p", (int, float), 1.0)),
                top_k=_value(plain, "top_k", int, 0),
                seed=_value(plain, "seed", int, uuid.uuid4().int >> 65),
            ),
            stop=_stops(plain.get("stop")),
            top_logprobs=None if scores is None else min(_value(plain, "logprobs", int, 0), 20),
        )
        return Asked(
            prompts=tuple(prompt for prompt in given for _ in range(number)),
            how=how,
            is_stream=_value(plain, "stream", bool, False),
            texts=self._echoes(plain, given, number),
        )

    def _prompts(self, plain: dict[str, Any]) -> list[Prompt]:
        given = plain.get("prompt", "")
        if isinstance(given, str) or (given and isinstance(given, list) and all(_is_id(each) for each in given)):
            given = [given]
        if not isinstance(given, list) or not given:
            raise _Refused("prompt is expected to be a text, a list of texts, of token ids, or of lists of token ids.")
        suffix = plain.get("suffix")
        return [self._prompt(each, suffix) for each in given]

    def _prompt(self, given: Any, suffix: Any) -> Prompt:
        if isinstance(given, list) and all(_is_id(each) for each in given):
            if suffix:
                raise _Refused("suffix needs a prompt of text.")
            return list(given)
        if not isinstance(given, str) or not isinstance(suffix or "", str):
            raise _Refused("prompt is expected to be a text or a list of token ids, suffix a text.")
        if suffix:
            return [*fill_in_middle.prompt(prefix=given, suffix=suffix)]
        return with_sentinels(given) if self.sentinels else [given]

    def _echoes(self, plain: dict[str, Any], given: list[Prompt], number: int) -> tuple[str, ...]:
        if not _value(plain, "echo", bool, False):
            return ("",) * (len(given) * number)
        texts = [plain["prompt"]] if isinstance(plain["prompt"], str) else plain["prompt"]
        if not all(isinstance(text, str) for text in texts):
            raise _Refused("echo needs prompts of text.")
        return tuple(text for text in texts for _ in range(number))

    def _answer(self, asked: Asked) -> dict[str, Any]:
        with self._turn:
            found = self.generator.generate(asked.prompts, asked.how)
        choices = [
            {
                "index": row,
                "text": text + each.text,
                "finish_reason": each.finish,
                "logprobs": self._logprobs(each) if asked.how.top_logprobs is not None else None,
            }
            for row, (each, text) in enumerate(zip(found, asked.texts, strict=True))
        ]
        read, written = sum(map(self._length, asked.prompts)), sum(len(each.ids) for each in found)
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return self._head("text_completion") | {"choices": choices, "usage": usage}

    def _length(self, prompt: Prompt) -> int:
        tokens = self.generator.tokens
        return len(prompt) if tokens is None else len(tokens.encode(prompt))

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"cmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": self.name}

    def _logprobs(self, told: Completion | Piece) -> dict[str, Any]:
        return {
            "tokens": [self._word(each.id) for each in told.scores],
            "token_logprobs": [each.logprob for each in told.scores],
            "top_logprobs": [self._top(each) for each in told.scores],
        }

    def _top(self, score: TokenScore) -> dict[str, float]:
        return {self._word(number): logprob for number, logprob in score.top}

    def _word(self, number: int) -> str:
        tokens = self.generator.tokens
        return str(number) if tokens is None else tokens.bytes_of([number]).decode("utf-8", errors="replace")

    def _events(self, asked: Asked) -> Iterator[str]:
        head = self._head("text_completion")
        for row, text in enumerate(asked.texts):
            if text:
                yield _event(head | {"choices": [{"index": row, "text": text, "finish_reason": None}]})
        try:
            # Whoever goes away while waiting, or in the middle, gives the turn back: the iterator is then closed.
            with self._turn:
                for piece in self.generator.stream(asked.prompts, asked.how):
                    choice = {"index": piece.row, "text": piece.text, "finish_reason": piece.finish}
                    scores = self._logprobs(piece) if asked.how.top_logprobs is not None else None
                    yield _event(head | {"choices": [choice | {"logprobs": scores}]})
        except StarsmithError as error:
            yield _event({"error": {"message": str(error), "type": "invalid_request_error"}})
        yield "data: [DONE]\n\n"


async def _body(request: Request) -> dict[str, Any]:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise _Refused(f"The request has more than {MOST_BYTES:,} bytes.")
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _Refused(f"The request is no JSON: {error}.") from None
    if not isinstance(plain, dict):
        raise _Refused("The request is expected to be a JSON object.")
    return plain


def _value(plain: dict[str, Any], name: str, kind: type | tuple[type, ...], default: _Kind) -> _Kind:
    """Return a value of a request; null means the default."""
    value = plain.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _Refused(f"{name} is {json.dumps(value)[:80]}; expected {_words(kind)}.")
    return cast(_Kind, value)


def _words(kind: Any) -> str:
    return {int: "an integer", bool: "true or false"}.get(kind, "a number")


def _stops(given: Any) -> tuple[str, ...]:
    found = [given] if isinstance(given, str) else given or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise _Refused("stop is expected to be a text or a list of texts.")
    return tuple(found)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _event(plain: dict[str, Any]) -> str:
    return f"data: {json.dumps(plain, ensure_ascii=False)}\n\n"


def _error(message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status_code=400)


def serve(generator: Generator, *, name: str, host: str, port: int, sentinels: bool = False) -> None:
    """Answer requests until the process is asked to end."""
    app = Server(generator, name=name, sentinels=sentinels).app
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)

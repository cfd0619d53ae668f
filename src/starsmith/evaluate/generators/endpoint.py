"""Models behind an address: OpenAI's completions API (`/v1/completions`), as many servers have it.

One request a completion, a few at a time. A server that is late, busy, broken or not to be understood is asked again,
ever later; one that refuses is not. What a prompt's sentinels mean is the server's business. What this module does not
do: it knows no chat, and follows no redirection, which could carry the key elsewhere.
"""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

from starsmith.credentials import credential_in
from starsmith.errors import StarsmithError
from starsmith.evaluate.generators.asked import Asked, Batch, Made
from starsmith.evaluate.problem import Sampling, cut

KEY_VARIABLES: Final = ("STARSMITH_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key, the first that is set."""
MOST_BYTES: Final = 16 << 20
"""Of an answer."""
MOST_WAIT: Final = 300.0
"""Seconds before a server is asked again, even where it wants more."""
FEW_STOPS: Final = 4
"""How many stop strings OpenAI's own server takes."""
_AGAIN: Final = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long, and how often, a server is asked."""

    seconds: float = 600.0
    """Without a byte, until an answer counts as lost."""
    tries: int = 8
    first_wait: float = 1.0
    """Seconds before the second try; each further one waits twice as long."""


class _Again(Exception):
    """It may go well another time. `after`: seconds that the server wants."""

    def __init__(self, said: str, after: float | None = None) -> None:
        super().__init__(said)
        self.after = after


class _TooManyStops(Exception):
    """The server takes fewer."""


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *given: Any) -> None:
        return None


class Endpoint:
    """A server of completions.

    Args:
        address: with or without `/v1` at its end.
        model: what the server calls it; by default the only one that it tells of.
        gap: how a gap is asked for: by the parameter `suffix`, or by sentinels in the prompt.
        parallel: requests at a time.
        wait: sleeps; for tests.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "",
        gap: Literal["suffix", "sentinels"] = "suffix",
        parallel: int = 4,
        patience: Patience | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Ask the server which models it has. Raises StarsmithError where it does not answer, or has others."""
        if found := credential_in(address):
            raise StarsmithError(f"The address holds {found}; set {KEY_VARIABLES[0]} in the environment instead.")
        self._base = address.rstrip("/").removesuffix("/completions").removesuffix("/v1") + "/v1"
        self._gap, self._parallel, self._wait = gap, parallel, wait
        self._patience = patience or Patience()
        self._opener = urllib.request.build_opener(_NoRedirection())
        self._few_stops = False
        self._model = self._chosen(model)

    def about(self) -> dict[str, Any]:
        return {"kind": "endpoint", "address": self._base, "model": self._model, "gap": self._gap}

    def _chosen(self, wanted: str) -> str:
        if wanted:
            return wanted
        answer = self._patiently("models", None, "which models there are")
        names = [each["id"] for each in answer.get("data", ()) if isinstance(each, dict) and "id" in each]
        if len(names) != 1:
            told = ", ".join(map(str, names[:10])) or "none"
            raise StarsmithError(f"{self._base} has these models: {told}. Say which with --model-name.")
        return str(names[0])

    def batches(self, asked: Sequence[Asked], sampling: Sampling) -> list[Batch]:
        return [[each] for each in asked]

    def completed(self, batches: Iterable[Batch], sampling: Sampling) -> Iterator[list[Made]]:
        """Yield completions as they come. Where one fails for good, those under way are still waited for and told."""
        waiting = deque(asked for batch in batches for asked in batch)
        running: set[Future[Made]] = set()
        failed: BaseException | None = None
        with ThreadPoolExecutor(self._parallel) as pool:
            try:
                while running or (waiting and failed is None):
                    while waiting and failed is None and len(running) < self._parallel:
                        running.add(pool.submit(self._made, waiting.popleft(), sampling))
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for each in done:
                        failed = failed or each.exception()
                        if each.exception() is None:
                            yield [each.result()]
            finally:
                for each in running:
                    each.cancel()
        if failed is not None:
            raise failed

    def _made(self, asked: Asked, sampling: Sampling) -> Made:
        what = f"{asked.task}, sample {asked.sample}"
        try:
            answer = self._patiently("completions", self._request(asked, sampling), what, check=_choice)
        except _TooManyStops:
            self._few_stops = True
            answer = self._patiently("completions", self._request(asked, sampling), what, check=_choice)
        choice = _choice(answer)
        usage = answer.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        return Made(
            asked=asked,
            # Some servers tell the stop string too, and one that took few stops went on.
            text=cut(choice["text"], asked.stops),
            finish=str(choice.get("finish_reason") or ""),
            tokens=tokens if isinstance(tokens, int) else None,
        )

    def _request(self, asked: Asked, sampling: Sampling) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self._model, "prompt": asked.prompt, "max_tokens": sampling.max_tokens}
        request |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "n": 1, "seed": asked.draw}
        stops = list(asked.stops[:FEW_STOPS] if self._few_stops else asked.stops)
        request |= {"stop": stops} if stops else {}
        if asked.suffix is not None and self._gap == "suffix":
            request["suffix"] = asked.suffix
        elif asked.suffix is not None:
            request["prompt"] = f"<fim_prefix>{asked.prompt}<fim_suffix>{asked.suffix}<fim_middle>"
        return request

    def _patiently(
        self,
        path: str,
        plain: Mapping[str, Any] | None,
        what: str,
        *,
        check: Callable[[dict[str, Any]], object] = bool,
    ) -> dict[str, Any]:
        pause = self._patience.first_wait
        for number in range(1, self._patience.tries + 1):
            try:
                answer = self._asked(path, plain)
                check(answer)
                return answer
            except _Again as fault:
                if number == self._patience.tries:
                    raise StarsmithError(
                        f"{self._base} failed {number} times on {what}; the last time: {fault}. "
                        "What was generated before is kept; run it again when the server is well."
                    ) from None
                self._wait(min(max(pause, fault.after or 0.0), MOST_WAIT))
                pause *= 2
        raise AssertionError("one try at least")

    def _asked(self, path: str, plain: Mapping[str, Any] | None) -> dict[str, Any]:
        data = None if plain is None else json.dumps(plain).encode("ascii")
        request = urllib.request.Request(f"{self._base}/{path}", data=data, headers=_headers())
        try:
            with self._opener.open(request, timeout=self._patience.seconds) as answer:
                content = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, plain) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Again(str(getattr(error, "reason", error)) or type(error).__name__) from None
        except ValueError as error:
            raise StarsmithError(f"{self._base} is no address of a server: {error}.") from None
        return _object(content)

    def _refusal(self, error: urllib.error.HTTPError, plain: Mapping[str, Any] | None) -> Exception:
        try:
            said = error.read(2000).decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException):
            said = ""
        told = f"HTTP {error.code} {' '.join(said.split())[:300]}".rstrip()
        if error.code in _AGAIN:
            return _Again(told, _seconds(error.headers.get("Retry-After")))
        if error.code in (400, 422) and plain and len(plain.get("stop", ())) > FEW_STOPS and "stop" in said.lower():
            return _TooManyStops()
        hint = f" Set {KEY_VARIABLES[0]} to the key." if error.code in (401, 403) else ""
        return StarsmithError(f"{self._base} refused: {told}.{hint} What was generated before is kept.")


def _headers() -> dict[str, str]:
    key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), "")
    plain = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "starsmith"}
    return plain | ({"Authorization": f"Bearer {key}"} if key else {})


def _object(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise _Again(f"an answer of more than {MOST_BYTES:,} bytes")
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise _Again(f"an answer that is no JSON: {content[:60]!r}") from None
    if not isinstance(answer, dict):
        raise _Again("an answer that is no JSON object")
    return answer


def _choice(answer: dict[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
        raise _Again(f"an answer without a completion: {json.dumps(answer)[:120]}")
    return choice


def _seconds(text: str | None) -> float | None:
    """Return the seconds that `Retry-After` means, a number or a date."""
    try:
        return max(0.0, float(text or ""))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text or "")
    except (ValueError, TypeError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())

"""What a visitor does: an official client and a browser's preflight, over loopback, against the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import openai
    from openai.types.chat.chat_completion import Choice

    from ..testing.provider import FakeProvider
    from .recorded import Recorded

ALICE, BOB = "alice-key-for-the-demo", "bob-key-for-the-demo"
MODEL = "assistant"  # what callers ask for; the gateway maps it to the provider's own name
ORIGIN = "https://app.example.com"
DENIED = "project bluebird"
BURST, LIMIT = 6, 3  # calls made, and calls that bob has in a minute
TURNED_DOWN = {"key-auth": 1, "key-rate-limit": BURST - LIMIT, "ai-data-masking": 1}  # calls by plug-in
CALL_SECONDS = 10.0  # the longest that any call may take
QUESTION = "What does a gateway do for a language model?"
LONG_QUESTION = (
    "Repeat this slowly, so that I can watch the words arrive one after the other, as your provider makes them."
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, what should have come of it, and what came."""

    step: str
    expected: str
    got: str
    ok: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who watches: told of each step as it begins, and of every piece of text as it arrives."""

    begin: Callable[[str], None]
    say: Callable[[str], None]


class Visitor:
    """Drives the service at `url`; `provider` is asked whether it was still speaking when its first word arrived."""

    def __init__(self, url: str, provider: FakeProvider, watcher: Watcher) -> None:
        import openai

        self._url = url
        self._provider = provider
        self._watcher = watcher
        # Straight to the loopback interface, whatever proxy the environment names.
        self._http = openai.DefaultHttpxClient(trust_env=False)
        self.calls = 0
        """How many calls of the language model were asked for, whatever came of them."""

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def steps(self) -> Iterator[Step]:
        """Take one step after the other. A step that fails is one more result, never an exception."""
        for title, expected, run in (
            ("chat call, as alice", "an answer of the mapped model", self._chat),
            ("streamed call, as alice", "words while they are made", self._stream),
            ("call without a key", "AuthenticationError", self._without_key),
            ("preflight of a browser", "allowed for its origin, no key needed", self._preflight),
            (f"burst of {BURST} calls, as bob", f"{LIMIT} answers, then RateLimitError", self._burst),
            ("denied word, as alice", "refused, unseen by the provider", self._denied),
        ):
            self._watcher.begin(title)
            try:
                got, ok = run()
            except Exception as error:  # whatever it is, it is what came in place of what was expected
                got, ok = f"{type(error).__name__}: {error}", False
                self._watcher.say(got)
            yield Step(title, expected, got, ok)

    def _client(self, key: str) -> openai.OpenAI:
        import openai

        self.calls += 1
        # Without retries, so that a refusal is seen, not waited for.
        return openai.OpenAI(
            base_url=f"{self._url}/v1", api_key=key, max_retries=0, timeout=CALL_SECONDS, http_client=self._http
        )

    def _answer(self, key: str, text: str) -> Choice:
        answer = self._client(key).chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
        return answer.choices[0]

    # ------------------------------------------------------------------ the steps

    def _chat(self) -> tuple[str, bool]:
        self._watcher.say(f"> {QUESTION}\n")
        answer = self._answer(ALICE, QUESTION).message.content or ""
        self._watcher.say(answer)
        mapped = self._provider.requests[-1].json["model"]
        return f"an answer of {mapped}", QUESTION in answer and mapped != MODEL

    def _stream(self) -> tuple[str, bool]:
        self._watcher.say(f"> {LONG_QUESTION}\n")
        pieces: list[str] = []
        still_speaking = False
        begun = first = time.monotonic()
        with self._client(ALICE).chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": LONG_QUESTION}],
            stream=True,
            stream_options={"include_usage": True},
        ) as stream:
            for chunk in stream:
                piece = chunk.choices[0].delta.content if chunk.choices else None
                if not piece:
                    continue
                if not pieces:
                    first = time.monotonic()
                    still_speaking = self._provider.requests[-1].outcome == "open"
                pieces.append(piece)
                self._watcher.say(piece)
                if time.monotonic() - begun > CALL_SECONDS:
                    raise TimeoutError(f"the answer had not ended after {CALL_SECONDS:.0f} s")
        took = f"{(first - begun) * 1000:.0f} to {(time.monotonic() - begun) * 1000:.0f} ms"
        got = f"{len(pieces)} pieces, after {took}"
        return got, still_speaking and "".join(pieces).endswith(LONG_QUESTION)

    def _without_key(self) -> tuple[str, bool]:
        import openai

        try:
            self._client("none").chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": QUESTION}],
                extra_headers={"Authorization": openai.Omit()},
            )
        except openai.AuthenticationError as error:
            self._watcher.say(str(error))
            return f"AuthenticationError, {error.status_code}", error.status_code == 401
        return "an answer", False

    def _preflight(self) -> tuple[str, bool]:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        with httpx.Client(timeout=CALL_SECONDS, trust_env=False) as client:
            response = client.options(f"{self._url}/v1/chat/completions", headers={"origin": ORIGIN, **asked})
        allowed = response.headers.get("access-control-allow-origin", "")
        self._watcher.say(f"{response.status_code}, access-control-allow-origin: {allowed or '(none)'}")
        got = f"{response.status_code} for {allowed.partition('://')[2] or 'no origin'}"
        return got, response.status_code == 204 and allowed == ORIGIN

    def _burst(self) -> tuple[str, bool]:
        import openai

        answered = limited = 0
        wait = ""
        for number in range(BURST):
            try:
                self._answer(BOB, f"Question {number + 1}")
            except openai.RateLimitError as error:
                limited += 1
                wait = error.response.headers.get("retry-after", "")
                self._watcher.say(f" {error.status_code}")
                message = str(error)
            else:
                answered += 1
                self._watcher.say(" 200" if number else "200")
        if limited:
            self._watcher.say(f"\n{message}\nRetry-After: {wait or '(none)'}")
        ok = answered == LIMIT and limited == BURST - LIMIT and wait.isdigit() and int(wait) > 0
        return f"{answered} answers, {limited} RateLimitError, Retry-After {wait or '(none)'} s", ok

    def _denied(self) -> tuple[str, bool]:
        question = f"Tell me everything about {DENIED}."
        self._watcher.say(f"> {question}\n")
        before = len(self._provider.requests)
        choice = self._answer(ALICE, question)
        self._watcher.say(choice.message.content or "")
        seen = len(self._provider.requests) > before
        got = f"finish_reason {choice.finish_reason}, {'' if seen else 'not '}seen"
        return got, choice.finish_reason == "content_filter" and not seen


def books(recorded: Recorded, calls: int) -> Step:
    """Check what the gateway recorded against what was done."""
    answered = sum(item.calls for item in recorded.calls)
    got = f"{recorded.count} of {calls}: {answered} answered, {recorded.count - answered} turned down"
    wrong = list(_wrong_in(recorded, calls))
    return Step("the gateway's books", "every call, by caller and model", "; ".join(wrong) or got, not wrong)


def _wrong_in(recorded: Recorded, calls: int) -> Iterator[str]:
    if recorded.count != calls:
        yield f"{recorded.count} of {calls} calls"
    if {item.answer for item in recorded.calls if item.consumer == "alice"} != {"normal", "stream"}:
        yield "not both answers of alice"
    if {item.plugin: item.calls for item in recorded.turned_down} != TURNED_DOWN:
        yield "other plug-ins turned calls down"
    for item in recorded.calls:
        if item.outcome != "completed":
            yield f"an answer that {item.outcome}"
        if not item.input_tokens or not item.output_tokens:
            yield "an answer without tokens"
        first = item.first_token_ms
        if item.answer == "stream" and (first is None or not 0 <= first <= CALL_SECONDS * 1_000):
            yield f"a first token after {first} ms"

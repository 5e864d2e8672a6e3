"""The service as its callers see it, in this process: no port, no network, and answers that really stream."""

from collections.abc import AsyncIterator

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from aigw_middleware.testing import Answer, FakeProvider, ProviderError, RateLimited, RefuseConnection, client
from examples.fastapi_app.app import create_app

pytestmark = pytest.mark.anyio

ALICE, BOB = "alice-key-for-the-demo", "bob-key-for-the-demo"
CHAT = "/v1/chat/completions"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that the tests run in."""
    return "asyncio"


@pytest.fixture
def provider() -> FakeProvider:
    """What stands in for the provider: it echoes unless told otherwise, and remembers what it was asked."""
    return FakeProvider()


@pytest.fixture
async def http(provider: FakeProvider) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service."""
    async with client(create_app(provider), library="httpx2") as http:
        yield http


def sdk(http: httpx2.AsyncClient, key: str = ALICE) -> openai.AsyncOpenAI:
    """The official client, as a caller of the service uses it."""
    return openai.AsyncOpenAI(http_client=http, base_url="http://testserver/v1", api_key=key, max_retries=0)


async def test_a_call_is_answered_by_the_mapped_model(provider: FakeProvider, http: httpx2.AsyncClient) -> None:
    answer = await sdk(http).chat.completions.create(model="assistant", messages=HELLO, temperature=0.5)
    assert answer.choices[0].message.content == "This is gpt-5-mini. You said: Hello"
    asked = provider.requests[0]
    assert asked.json["messages"] == [{"role": "system", "content": "You talk to alice."}, *HELLO]
    assert asked.json["temperature"] == 0.5
    assert ALICE not in str(asked.headers)


async def test_an_answer_streams_while_it_is_made(provider: FakeProvider, http: httpx2.AsyncClient) -> None:
    stream = await sdk(http).chat.completions.create(model="assistant", messages=HELLO, stream=True)
    text = ""
    async for chunk in stream:
        if not text and chunk.choices[0].delta.content:
            assert provider.requests[0].outcome == "open"
        text += chunk.choices[0].delta.content or ""
    assert text == "This is gpt-5-mini. You said: Hello"
    assert provider.requests[0].outcome == "completed"


async def test_a_caller_who_leaves_stops_the_provider(provider: FakeProvider, http: httpx2.AsyncClient) -> None:
    provider.enqueue(Answer(chunks=["word "] * 100))
    async with await sdk(http).chat.completions.create(model="assistant", messages=HELLO, stream=True) as stream:
        await anext(stream)
    assert provider.disconnects == provider.requests
    assert provider.requests[0].pieces_sent < 100


@pytest.mark.parametrize("key", ["nobody's key", "alice-key-for-the-dem", "Bearer"])
async def test_a_caller_without_a_known_key_is_refused(
    provider: FakeProvider, http: httpx2.AsyncClient, key: str
) -> None:
    with pytest.raises(openai.AuthenticationError):
        await sdk(http, key).chat.completions.create(model="assistant", messages=HELLO)
    assert (await http.get("/whoami")).status_code == 401
    assert not provider.requests


async def test_a_preflight_needs_no_key(http: httpx2.AsyncClient) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    response = await http.options(CHAT, headers={"origin": "https://app.example.com", **asked})
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "https://app.example.com"
    response = await http.options(CHAT, headers={"origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in response.headers


async def test_a_browser_may_read_why_it_was_refused(http: httpx2.AsyncClient) -> None:
    response = await http.post(CHAT, headers={"origin": "https://app.example.com"}, json={})
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_a_guest_is_limited_and_told_when_to_come_back(provider: FakeProvider, http: httpx2.AsyncClient) -> None:
    for _ in range(3):
        await sdk(http, BOB).chat.completions.create(model="assistant", messages=HELLO)

    async def go_on() -> None:
        for _ in range(20):
            await sdk(http, BOB).chat.completions.create(model="assistant", messages=HELLO)

    with pytest.raises(openai.RateLimitError) as caught:
        await go_on()
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 20
    answer = await sdk(http, ALICE).chat.completions.create(model="assistant", messages=HELLO)
    assert answer.choices[0].finish_reason == "stop"


async def test_a_denied_word_does_not_reach_the_provider(provider: FakeProvider, http: httpx2.AsyncClient) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is Project  Bluebird?"}]
    answer = await sdk(http).chat.completions.create(model="assistant", messages=messages)
    assert answer.choices[0].message.content == "I cannot talk about that."
    assert answer.choices[0].finish_reason == "content_filter"
    assert not provider.requests


async def test_a_denied_word_in_an_answer_ends_it(provider: FakeProvider, http: httpx2.AsyncClient) -> None:
    provider.enqueue(Answer(chunks=["It is called pro", "ject blue", "bird, and", " flies."]))
    stream = await sdk(http).chat.completions.create(model="assistant", messages=HELLO, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "It is called I cannot talk about that."


async def test_the_service_knows_who_calls(http: httpx2.AsyncClient) -> None:
    response = await http.get("/whoami", headers={"authorization": f"Bearer {ALICE}"})
    assert response.json() == {"name": "alice", "groups": ["staff"], "metadata": {"team": "search"}}


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (ProviderError(400, "No such model.", "invalid_request_error", "model_not_found"), 400, "model_not_found"),
        (RateLimited(retry_after=7), 429, "rate_limit_exceeded"),
        (RefuseConnection(), 502, "no_upstream"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_provider_are_passed_on(
    provider: FakeProvider, http: httpx2.AsyncClient, fault: ProviderError, status: int, code: str, stream: bool
) -> None:
    provider.enqueue(fault)
    with pytest.raises(openai.APIStatusError) as caught:
        await sdk(http).chat.completions.create(model="assistant", messages=HELLO, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)

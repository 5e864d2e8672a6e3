"""The service as its callers see it, through Django's own test clients: `python manage.py test`."""

import json
from typing import Any

from django.test import SimpleTestCase, override_settings

from aigw_middleware.testing import Answer, FakeProvider, ProviderError

ALICE = {"authorization": "Bearer alice-key-for-the-demo"}
BOB = {"x-api-key": "bob-key-for-the-demo"}
CHAT, STREAM = "/v1/chat/completions", "/v1/chat/stream"
JSON = "application/json"


def question(text: str = "Hello", **more: Any) -> dict[str, Any]:
    """The body of a chat completion request."""
    return {"model": "assistant", "messages": [{"role": "user", "content": text}], **more}


class ServiceTestCase(SimpleTestCase):
    """A provider of its own for each test: it echoes unless told otherwise, and remembers what it was asked."""

    def setUp(self) -> None:
        from chat_service import llm

        self.provider = FakeProvider()
        self.enterContext(override_settings(FAKE_PROVIDER=self.provider))
        for made in (llm.client, llm.async_client):
            made.cache_clear()
            self.addCleanup(made.cache_clear)


class ChatTests(ServiceTestCase):
    def test_a_call_is_answered_by_the_mapped_model(self) -> None:
        response = self.client.post(CHAT, question(temperature=0.5), JSON, headers=ALICE)
        assert response.json()["choices"][0]["message"]["content"] == "This is gpt-5-mini. You said: Hello"
        asked = self.provider.requests[0].json
        assert asked["messages"][0] == {"role": "system", "content": "You talk to alice."}
        assert asked["temperature"] == 0.5

    def test_a_caller_without_a_known_key_is_refused(self) -> None:
        for headers in ({}, {"authorization": "Bearer nobody's key"}):
            response = self.client.post(CHAT, question(), JSON, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["type"] == "authentication_error"
        assert self.provider.requests == []

    def test_a_preflight_needs_no_key(self) -> None:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        response = self.client.options(CHAT, headers={"origin": "https://app.example.com", **asked})
        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == "https://app.example.com"

    def test_a_guest_is_limited_and_told_when_to_come_back(self) -> None:
        answers = [self.client.post(CHAT, question(), JSON, headers=BOB) for _ in range(20)]
        assert [answer.status_code for answer in answers[:3]] == [200] * 3
        limited = answers[-1]
        assert limited.status_code == 429
        assert limited.json()["error"]["type"] == "rate_limit_error"
        assert int(limited.headers["retry-after"]) > 0

    def test_a_denied_word_does_not_reach_the_provider(self) -> None:
        response = self.client.post(CHAT, question("What is project bluebird?"), JSON, headers=ALICE)
        assert response.json()["choices"][0]["message"]["content"] == "I cannot talk about that."
        assert self.provider.requests == []

    def test_what_is_no_call_is_a_400(self) -> None:
        for body in (b"{", b"[]", b'{"model": "assistant"}'):
            with self.subTest(body=body):
                response = self.client.post(CHAT, body, JSON, headers=ALICE)
                assert response.status_code == 400

    def test_errors_of_the_provider_are_passed_on(self) -> None:
        self.provider.enqueue(ProviderError(404, "No such model.", "invalid_request_error", "model_not_found"))
        response = self.client.post(CHAT, question(), JSON, headers=ALICE)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"

    def test_the_service_knows_who_calls_and_lets_only_staff_ask(self) -> None:
        response = self.client.get("/whoami", headers=ALICE)
        assert response.json() == {"name": "alice", "groups": ["staff"], "metadata": {"team": "search"}}
        assert self.client.get("/whoami", headers=BOB).status_code == 403


class StreamTests(ServiceTestCase):
    async def test_an_answer_streams_while_it_is_made(self) -> None:
        response = await self.async_client.post(STREAM, question(), JSON, headers=ALICE)
        assert response.headers["content-type"] == "text/event-stream"
        text = ""
        async for piece in response.streaming_content:
            text += said(piece)
            if text == "This":
                assert self.provider.requests[0].outcome == "open"
        assert text == "This is gpt-5-mini. You said: Hello"
        assert self.provider.requests[0].outcome == "completed"

    async def test_a_caller_without_a_known_key_is_refused(self) -> None:
        response = await self.async_client.post(STREAM, question(), JSON)
        assert response.status_code == 401

    async def test_a_denied_word_in_an_answer_ends_it(self) -> None:
        self.provider.enqueue(Answer(chunks=["It is called pro", "ject blue", "bird, and", " flies."]))
        response = await self.async_client.post(STREAM, question(), JSON, headers=ALICE)
        text = "".join([said(piece) async for piece in response.streaming_content])
        assert text == "It is called I cannot talk about that."


def said(piece: bytes) -> str:
    """The text in a piece of a stream, which is one event or several."""
    text = ""
    for line in piece.splitlines():
        data = line.removeprefix(b"data: ")
        if data and data != b"[DONE]":
            choices = json.loads(data)["choices"]
            text += (choices[0]["delta"].get("content") or "") if choices else ""
    return text

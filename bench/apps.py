"""The services behind the gateway, as cheap as they can be, so that what is added stands out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from aigw_middleware.json import encode
from aigw_middleware.llm.sse import encode_event

from .exchange import WsgiApp

_HEAD = {"id": "chatcmpl-9f8e7d6c5b4a", "created": 1_700_000_000, "model": "gpt-4o-2024-08-06"}
_USAGE = {"prompt_tokens": 210, "completion_tokens": 190, "total_tokens": 400}
_TEXT = "A fox jumps over a dog that does not care, and behind the hills the day comes to its end. "
DONE = b"data: [DONE]\n\n"


def _whole() -> bytes:
    message = {"role": "assistant", "content": (_TEXT * 10)[:700], "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return encode({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


ANSWER = _whole()
"""A chat completion of about 1 kB."""
_ANSWER_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
_STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


def events(count: int) -> list[bytes]:
    """Return a stream of `count` text events: a role event before them, finish, usage and the end marker after them."""
    head = {**_HEAD, "object": "chat.completion.chunk", "system_fingerprint": "fp_0123456789"}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return encode_event(encode({**head, "choices": [choice], "usage": None}))

    words = _TEXT.split(" ")
    texts = [event({"content": words[number % len(words)] + " "}) for number in range(count)]
    usage = encode_event(encode({**head, "choices": [], "usage": _USAGE}))
    return [event({"role": "assistant", "content": ""}), *texts, event({}, "stop"), usage, DONE]


async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the request, answer with one chat completion."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _ANSWER_HEADERS})
    await send({"type": "http.response.body", "body": ANSWER, "more_body": False})


async def unread_chat(scope: Scope, receive: Receive, send: Send) -> None:
    """Like `chat`, but the request's body is not read."""
    await send({"type": "http.response.start", "status": 200, "headers": _ANSWER_HEADERS})
    await send({"type": "http.response.body", "body": ANSWER, "more_body": False})


async def yielding_chat(scope: Scope, receive: Receive, send: Send) -> None:
    """Like `chat`, letting other tasks run before it answers."""
    while (await receive()).get("more_body", False):
        pass
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": _ANSWER_HEADERS})
    await send({"type": "http.response.body", "body": ANSWER, "more_body": False})


def streamed_chat(count: int) -> ASGIApp:
    """Return a service that answers with `count` text events, one message each."""
    pieces = events(count)

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return stream


def wsgi_chat(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Like `chat`, on WSGI."""
    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [(name.decode(), value.decode()) for name, value in _ANSWER_HEADERS])
    return [ANSWER]


def wsgi_streamed_chat(count: int) -> WsgiApp:
    """Like `streamed_chat`, on WSGI."""
    pieces = events(count)

    def stream(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", [(name.decode(), value.decode()) for name, value in _STREAM_HEADERS])
        yield from pieces

    return stream

"""LLM calls in every dialect: what an event of a stream costs, what it costs to know the model, how often JSON is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from aigw_middleware import json as strict_json
from aigw_middleware.exchange import Request
from aigw_middleware.headers import Headers
from aigw_middleware.hosts.asgi import Gateway
from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.view import LlmCall
from aigw_middleware.plugin import Needs
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import Answer, Usage
from aigw_middleware.testing.wsgi import wsgi_exchange

from .apps import chat
from .exchange import asgi_case, chat_body, expect, headers, scope
from .measure import Case, Lab
from .stack import sketch
from .table import Row, Section, Target

EVENTS = 200
LARGE = 256 * 1024
QUESTION = [{"role": "user", "content": "Which bird?"}]
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "OpenAI chat completions": ("/v1/chat/completions", {"model": "m", "messages": QUESTION}),
    "OpenAI responses": ("/v1/responses", {"model": "m", "input": "Which bird?"}),
    "OpenAI completions": ("/v1/completions", {"model": "m", "prompt": "Which bird?"}),
    "Anthropic messages": ("/v1/messages", {"model": "m", "max_tokens": 1_000, "messages": QUESTION}),
    "Gemini": ("/v1beta/models/m:streamGenerateContent", {"contents": [{"parts": [{"text": "Which bird?"}]}]}),
}
AI_PLUGINS: list[dict[str, Any]] = [
    {"name": "model-router", "config": {"model_to_header": "x-model"}},
    {"name": "model-mapper", "config": {"model_mapping": {"gpt-5": "n"}}},
    {"name": "ai-prompt-template", "config": {"templates": [{"name": "t", "template": {"model": "m"}}]}},
    *(
        {"name": "ai-prompt-decorator", "id": f"d{number}", "config": {"append": [{"role": "user", "content": "x"}]}}
        for number in range(3)
    ),
    *({"name": "ai-data-masking", "id": f"m{number}", "config": {"deny_words": ["never"]}} for number in range(2)),
    {"name": "ai-context-limit", "config": {"max_context_tokens": 100_000}},
    {"name": "ai-statistics", "config": {}},
]


async def dialects(lab: Lab) -> Section:
    """What each event of a stream costs with usage and text inspected, and what reading a request costs."""
    cases: dict[str, Case] = {}
    for name, (path, body) in STREAMS.items():
        for length, count in (("short", 0), ("long", EVENTS)):
            app = _replayed(path, body, count)
            sent = json.dumps({**body, "stream": True}).encode()
            request = {**scope(headers(sent), path), "query_string": b"alt=sse" if path.endswith("Content") else b""}
            await expect(_watched(app), request, sent)
            cases[f"{name} bare {length}"] = asgi_case(app, request, sent)
            cases[f"{name} {length}"] = asgi_case(_watched(app), request, sent)
    readings = await lab.compare(cases)
    spans = {name: (f"{name} long", f"{name} short", EVENTS) for name in STREAMS}
    bare = {f"{name} bare": (f"{name} bare long", f"{name} bare short", EVENTS) for name in STREAMS}
    each = readings.slopes({**spans, **bare})
    rows = [
        Row.added(each, f"an event of {name}, usage and text inspected", name, over=f"{name} bare") for name in STREAMS
    ]
    rows += await _reading(lab)
    rows += await _passes()
    return Section("dialects", f"LLM calls: each of {EVENTS} events, and what is read of a request", rows)


def _watched(app: ASGIApp) -> Gateway:
    usage = sketch("usage", ("on_complete",), needs=Needs.USAGE)
    return Gateway(app, plugins=[usage, sketch("texts", ("on_text",), needs=Needs.LLM)])


def _replayed(path: str, body: dict[str, Any], count: int) -> ASGIApp:
    """Return an application that answers as the fake provider does, in `count` pieces of text."""
    answer = Answer(chunks=[f"word{number} " for number in range(count)] or ["word"], usage=Usage(9, count or 1))
    target = f"{path}?alt=sse" if path.endswith("Content") else path
    fields = [("content-type", "application/json"), ("anthropic-version", "2023-06-01")]
    asked = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    exchange = wsgi_exchange(FakeProvider([answer]).wsgi, "POST", target, headers=fields, body=[asked])
    chunks = list(exchange.chunks)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        start = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def _reading(lab: Lab) -> list[Row]:
    """Reading model and stream flag of a large body, beside decoding it with msgspec and doing nothing with it."""
    text = "What was said of the birds, and what of the trees. " * 20
    messages = [{"role": "user", "content": text} for _ in range(LARGE // len(text))]
    data = json.dumps({"model": "m", "stream": True, "messages": messages}).encode()
    decode = msgspec.json.Decoder().decode
    fields = [(b"content-type", b"application/json")]

    def read() -> object:
        request = Request()
        request.headers = Headers(fields)
        request.load(data)
        call = LlmCall(request, DIALECTS["openai-chat"])
        return call.model, call.streams

    readings = await lab.compare({"msgspec": _repeated(lambda: decode(data)), "ours": _repeated(read)})
    quotient = readings.quotient("ours", "msgspec")
    return [
        Row.whole(readings, "msgspec decodes a body of 256 kB", "msgspec"),
        Row.whole(readings, "model and stream flag of the same body, checked for ambiguity", "ours"),
        Row("the second over the first", quotient, "x", target=Target("1.0", 1.05, quotient)),
    ]


async def _passes() -> list[Row]:
    """How often a body is decoded and encoded with ten AI plug-ins on."""
    body = chat_body(8_192)
    gateway = Gateway(chat, {"plugins": AI_PLUGINS})
    request = scope(headers(body))
    counts = {"decoded": 0, "encoded": 0}
    decode, encode = strict_json._decode, strict_json._encode

    def decoding(data: bytes) -> Any:
        counts["decoded"] += len(data) > 8_000
        return decode(data)

    def encoding(value: Any) -> bytes:
        data = encode(value)
        counts["encoded"] += len(data) > 8_000
        return data

    with mock.patch.object(strict_json, "_decode", decoding), mock.patch.object(strict_json, "_encode", encoding):
        await expect(gateway, request, body)
    return [
        Row(f"times a request is {what}, ten AI plug-ins", count, "", target=Target("1", 1, count))
        for what, count in counts.items()
    ]


def _repeated(function: Callable[[], object]) -> Case:
    async def case(count: int) -> None:
        for _ in range(count):
            function()

    return case

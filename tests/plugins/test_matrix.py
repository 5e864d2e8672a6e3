"""Every built-in plug-in gives the same transcript on every host of its directions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigw_middleware.plugin import INBOUND, OUTBOUND
from aigw_middleware.registry import BUILT_IN, REGISTRY
from aigw_middleware.testing import HmacSigner, VirtualClock
from aigw_middleware.testing.matrix import (
    INBOUND_HOSTS,
    OUTBOUND_HOSTS,
    Script,
    Scripted,
    Transcript,
    assert_same,
    run_everywhere,
)
from tests.plugins.tokens import ISSUER, key_set, signer

JSON = [("content-type", "application/json")]
SSE = [("content-type", "text/event-stream")]
KEY = "alice-example-key-0123"
KEYS = {"keys": ["x-api-key"], "consumers": [{"name": "alice", "credential": KEY}]}
CHAT = "/v1/chat/completions"
JWT = {"name": "alice", "issuer": ISSUER, "jwks": key_set(signer("ES256", "k1").jwk())}
TOKEN = signer("ES256", "k1").token()


def chunk(text: str | None, finish: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"


STREAM = [chunk("a rare "), chunk("bi"), chunk("rd"), chunk(None, "stop"), b"data: [DONE]\n\n"]
MESSAGE = {"role": "assistant", "content": "a rare bird"}
CHOICE = {"index": 0, "message": MESSAGE, "finish_reason": "stop"}
ANSWER = json.dumps({"id": "c", "model": "m", "choices": [CHOICE]}).encode()


def chat(content: str = "hi", *, stream: bool = False, model: str = "gpt", **options: Any) -> Script:
    asked = {"model": model, "stream": stream, "messages": [{"role": "user", "content": content}]}
    answer = Scripted(headers=SSE, chunks=STREAM) if stream else Scripted(headers=JSON, chunks=[ANSWER])
    return Script(method="POST", path=CHAT, headers=JSON, body=[json.dumps(asked).encode()], answer=answer, **options)


def signed(target: str, **options: Any) -> Script:
    signer = HmacSigner("k", "s" * 16, VirtualClock(), **options)
    headers = signer.signed("POST", target, JSON, b'{"a": 1}')
    path, _, query = target.partition("?")
    return Script(method="POST", path=path, query=query, headers=headers, body=[b'{"a": 1}'])


FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n--b--\r\n'
ROUTED = {"x-provider": ["a"], "x-model": ["a/b/c"]}


def routed(headers: list[tuple[str, str]], body: bytes) -> Script:
    forged = [("x-provider", "forged"), ("x-model", "forged")]
    return Script(method="POST", path="/v1/embeddings", headers=[*headers, *forged], body=[body])


SAID = [("system", "Be brief."), ("user", "a bird " * 20), ("assistant", "a rare bird"), ("user", "hi")]
LONG = json.dumps({"model": "gpt", "messages": [{"role": role, "content": text} for role, text in SAID]}).encode()

USER = {"consumers": [{"name": "alice", "credential": "alice:open:sesame"}], "hide_credentials": True}
LOGIN = ("authorization", "Basic YWxpY2U6b3BlbjpzZXNhbWU=")


Case = tuple[str, dict[str, Any], Script, dict[str, Any]]
CASES: list[Case] = [
    (
        "key-auth",
        {"keys": ["x-api-key"], "consumers": [{"name": "alice", "credential": KEY}]},
        chat(),
        {"status": 401, "calls": 0},
    ),
    (
        "key-auth",
        KEYS,
        Script(headers=[("x-api-key", KEY)]),
        {"status": 200, "seen": {"x-mse-consumer": ["alice"]}},
    ),
    (
        "basic-auth",
        USER,
        Script(headers=[LOGIN]),
        {"status": 200, "seen": {"x-mse-consumer": ["alice"], "authorization": None}},
    ),
    ("basic-auth", USER, Script(headers=[("authorization", "Basic YWxpY2U6eA==")]), {"status": 401, "calls": 0}),
    ("basic-auth", USER, chat(), {"status": 401, "calls": 0}),
    (
        "jwt-auth",
        {"consumers": [{**JWT, "claims_to_headers": [{"claim": "sub", "header": "x-sub"}], "keep_token": False}]},
        Script(headers=[("authorization", f"Bearer {TOKEN}"), ("x-sub", "forged"), ("cookie", "a=b")]),
        {"status": 200, "seen": {"x-mse-consumer": ["alice"], "x-sub": ["alice"], "authorization": None}},
    ),
    (
        "jwt-auth",
        {"consumers": [{**JWT, "from_cookies": ["t"]}]},
        Script(headers=[("cookie", f"a=b; t={TOKEN}")]),
        {"status": 200, "seen": {"x-mse-consumer": ["alice"], "cookie": [f"a=b; t={TOKEN}"]}},
    ),
    ("jwt-auth", {"consumers": [JWT]}, chat(), {"status": 401, "calls": 0}),
    (
        "cors",
        {"allow_origins": ["https://app.example.com"]},
        Script(
            method="OPTIONS", headers=[("origin", "https://app.example.com"), ("access-control-request-method", "POST")]
        ),
        {"status": 204, "calls": 0, "headers": {"access-control-allow-origin": ["https://app.example.com"]}},
    ),
    (
        "cors",
        {"allow_origins": ["https://app.example.com"]},
        Script(headers=[("origin", "https://app.example.com")], answer=Scripted(fails_before=True)),
        {"status": 500, "headers": {"access-control-allow-origin": ["https://app.example.com"]}},
    ),
    ("request-block", {"block_urls": ["/admin"]}, Script(path="/x/..%2f%61dmin"), {"status": 403, "calls": 0}),
    ("request-block", {"block_bodies": ["a rare"]}, chat("a rare bird"), {"status": 403, "calls": 0}),
    ("request-block", {"block_headers": ["x-evil"], "block_bodies": ["fish"]}, chat(), {"status": 200, "calls": 1}),
    (
        "bot-detect",
        {"blocked_message": "no bots"},
        Script(headers=[("user-agent", "GPTBot/1.2")]),
        {"status": 403, "calls": 0, "body": b"no bots"},
    ),
    (
        "bot-detect",
        {"categories": {"ai-crawler": "label"}},
        Script(headers=[("user-agent", "GPTBot/1.2"), ("x-bot-category", "forged")]),
        {"status": 200, "seen": {"x-bot-category": ["ai-crawler"]}},
    ),
    (
        "http-real-ip",
        {"real_ip_from": ["127.0.0.1"]},
        Script(headers=[("x-forwarded-for", "192.0.2.1")]),
        {"status": 200, "calls": 1},
    ),
    ("ip-access-control", {"deny": ["127.0.0.1"]}, chat(), {"status": 403, "calls": 0}),
    ("ip-restriction", {"allow": ["127.0.0.0/8"], "deny": ["::/0"]}, chat(), {"status": 200, "calls": 1}),
    ("ip-restriction", {"allow": ["192.0.2.1"], "status": 451}, Script(), {"status": 451, "calls": 0}),
    (
        "hmac-auth",
        {"consumers": [{"name": "alice", "key": "k", "secret": "s" * 16}]},
        signed("/v1/things?b=2&a=%C3%A9", dialect="signature"),
        {"status": 200, "seen": {"x-mse-consumer": ["alice"]}},
    ),
    (
        "hmac-auth",
        {"consumers": [{"name": "alice", "key": "k", "secret": "s" * 16}]},
        signed("/v1/things?b=2&a=%C3%A9", dialect="x-ca"),
        {"status": 200, "seen": {"x-mse-consumer": ["alice"]}},
    ),
    ("hmac-auth", {"consumers": [{"name": "alice", "key": "k", "secret": "s" * 16}]}, chat(), {"status": 401}),
    ("replay-protection", {}, Script(headers=[("x-higress-nonce", "d2f1c0a9b8e7f6a5")]), {"status": 200, "calls": 1}),
    ("replay-protection", {}, chat(), {"status": 400, "calls": 0}),
    ("custom-response", {"status_code": 418, "body": "tea"}, Script(), {"status": 418, "body": b"tea", "calls": 0}),
    (
        "custom-response",
        {"enable_on_status": [404], "status_code": 200, "body": '{"a":1}'},
        Script(answer=Scripted(status=404)),
        {"status": 200, "body": b'{"a":1}'},
    ),
    (
        "key-rate-limit",
        {
            "limit_by_header": "x-key",
            "limit_keys": [{"key": "k", "query_per_minute": 2}],
            "show_limit_quota_header": True,
        },
        Script(headers=[("x-key", "k")]),
        {"status": 200},
    ),
    ("model-mapper", {"model_mapping": {"gpt": "other"}}, chat(), {"status": 200, "asked": {"model": "other"}}),
    ("model-mapper", {"model_mapping": {"gpt": "other"}}, Script(method="POST", body=[b"x"]), {"status": 200}),
    (
        "model-router",
        {"add_provider_header": "x-provider", "model_to_header": "x-model"},
        routed(JSON, b'{"model": "a/b/c", "n": 1.50}'),
        {"status": 200, "seen": ROUTED, "asked": {"model": "b/c"}},
    ),
    (
        "model-router",
        {"add_provider_header": "x-provider", "model_to_header": "x-model"},
        routed([("content-type", "multipart/form-data; boundary=b")], FORM % b"a/b/c"),
        {"status": 200, "seen": ROUTED, "got": FORM % b"b/c"},
    ),
    (
        "model-router",
        {"auto_routing": {"enable": True, "rules": [{"pattern": "bird", "model": "ornithologist"}]}},
        chat("a bird", model="higress/auto"),
        {"status": 200, "seen": {"x-higress-llm-model": ["ornithologist"]}, "asked": {"model": "ornithologist"}},
    ),
    (
        "ai-prompt-template",
        {"templates": [{"name": "t", "template": {"model": "m", "messages": [{"role": "user", "content": "{{x}}"}]}}]},
        Script(method="POST", path=CHAT, headers=JSON, body=[b'{"template":"t","properties":{"x":"a bird"}}']),
        {"status": 200, "messages": 1},
    ),
    (
        "ai-prompt-decorator",
        {"prepend": [{"role": "system", "content": "Be brief."}]},
        chat(),
        {"status": 200, "messages": 2},
    ),
    ("ai-context-limit", {"max_context_tokens": 20}, chat("a bird " * 20), {"status": 400, "calls": 0}),
    ("ai-context-limit", {"max_context_tokens": 20}, chat(stream=True), {"status": 200, "calls": 1}),
    (
        "ai-context-limit",
        {"models": {"gpt*": 40}, "policy": "keep_system"},
        Script(method="POST", path=CHAT, headers=JSON, body=[LONG]),
        {"status": 200, "messages": 2},
    ),
    ("ai-statistics", {}, chat(stream=True), {"status": 200, "body": b"".join(STREAM)}),
    ("ai-statistics", {}, chat(), {"status": 200, "body": ANSWER}),
    ("ai-data-masking", {"deny_words": ["bird"], "deny_code": 403}, chat("a bird"), {"status": 403, "calls": 0}),
    ("ai-data-masking", {"deny_words": ["bird"]}, chat(stream=True), {"status": 200, "absent": b"bird"}),
    ("ai-data-masking", {"deny_words": ["bird"]}, chat(), {"status": 200, "absent": b"bird"}),
    ("ai-data-masking", {"deny_words": ["fish"]}, chat(stream=True), {"status": 200, "calls": 1}),
    ("timeout", {"total": 5}, Script(answer=Scripted(chunks=[b"one", b"two"])), {"status": 200, "body": b"onetwo"}),
]


@pytest.mark.parametrize(("name", "config", "script", "expected"), CASES)
def test_every_host_gives_the_same_transcript(
    name: str, config: dict[str, Any], script: Script, expected: dict[str, Any]
) -> None:
    directions = REGISTRY.get(name).directions
    hosts = [*(INBOUND_HOSTS if INBOUND in directions else ()), *(OUTBOUND_HOSTS if OUTBOUND in directions else ())]
    made = {"secret": "0123456789abcdef0123456789abcdef", "plugins": [{"name": name, "config": config}]}
    transcript = assert_same(run_everywhere(script, list, config=made, hosts=hosts, clock=VirtualClock))
    _check(transcript, expected)


def _check(transcript: Transcript, expected: dict[str, Any]) -> None:
    for key, value in expected.items():
        if key == "calls":
            assert len(transcript.seen) == value
        elif key == "absent":
            assert value not in transcript.body
        elif key == "asked":
            asked = json.loads(transcript.seen[0].body)
            assert {name: asked[name] for name in value} == value
        elif key == "got":
            assert transcript.seen[0].body == value
        elif key == "messages":
            assert len(json.loads(transcript.seen[0].body)["messages"]) == value
        elif key == "seen":
            assert {name: transcript.seen[0].headers.get(name) for name in value} == value
        elif key == "headers":
            assert {name: transcript.headers.get(name) for name in value} == value
        else:
            assert getattr(transcript, key) == value


def test_the_table_covers_every_built_in_plug_in() -> None:
    assert {name for name, _, _, _ in CASES} == set(BUILT_IN)

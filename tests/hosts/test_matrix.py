"""One scripted exchange gives one canonical transcript on every host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from aigw_middleware import Exchange, Needs, Plugin, Refusal, Reply, Stage
from aigw_middleware.testing.matrix import HOSTS, Script, Scripted, Transcript, assert_same, run_everywhere

JSON = (("content-type", "application/json"),)


def plugin(stage: Stage = Stage.DEFAULT, priority: int = 100, **members: Any) -> Callable[[], Plugin[Any]]:
    attributes = {"name": f"p{priority}", "stage": stage, "priority": priority, **members}
    return type("Scripted", (Plugin,), attributes)


def refuse_on_headers(self: Any, exchange: Exchange) -> Refusal:
    return Refusal(403, "not_here", "Not here.", [("x-why", "headers")])


def reply_on_headers(self: Any, exchange: Exchange) -> Reply:
    return Reply(200, [("x-cache", "hit")], b"from the cache", content_type="text/plain")


def add_request_header(self: Any, exchange: Exchange) -> None:
    exchange.request.headers.set("x-team", "search")


def edit_request(self: Any, exchange: Exchange) -> None:
    exchange.request.edit()["added"] = True


def mark_response(self: Any, exchange: Exchange) -> None:
    exchange.response.headers.add("x-mark", self.name)


def edit_response(self: Any, exchange: Exchange) -> None:
    exchange.response.edit()["added"] = True


def refuse_on_response(self: Any, exchange: Exchange) -> Refusal:
    return Refusal(502, "bad_answer", "The answer is bad.")


def reply_on_response(self: Any, exchange: Exchange) -> Reply:
    return Reply(418, [], b"teapot", content_type="text/plain")


def fail(self: Any, exchange: Exchange, *arguments: Any) -> None:
    raise LookupError("secret-value")


def mark_refusal(self: Any, exchange: Exchange, response: Any) -> None:
    response.headers.set("x-refused", exchange.refusal.code)


def answer_error(self: Any, exchange: Exchange, error: Exception) -> Reply:
    return Reply(503, [("x-error", "mapped")], b"sorry", content_type="text/plain")


async def call_through(self: Any, exchange: Exchange, call: Any) -> None:
    outcome = await call()
    exchange.attributes["status"] = outcome.status


async def retry_once(self: Any, exchange: Exchange, call: Any) -> None:
    outcome = await call(hold=lambda status, headers: status >= 500)
    if outcome.held:
        await call()


async def replace_held(self: Any, exchange: Exchange, call: Any) -> Reply | None:
    outcome = await call(hold=lambda status, headers: status == 200)
    return Reply(203, [], b"replaced", content_type="text/plain") if outcome.held else None


async def fail_async(self: Any, exchange: Exchange, call: Any) -> None:
    raise LookupError("secret-value")


async def never_call(self: Any, exchange: Exchange, call: Any) -> None:
    return None


def _body_stack() -> list[Plugin[Any]]:
    return [
        plugin(priority=50, on_request=add_request_header, on_response=mark_response)(),
        plugin(priority=40, on_request_body=edit_request, on_response_body=edit_response)(),
    ]


CASES: dict[str, tuple[Script, Callable[[], Sequence[Plugin[Any]]], dict[str, Any]]] = {
    "nothing": (Script(), lambda: [], {"status": 200, "body": b"hello", "outcomes": ["completed"]}),
    "streamed": (
        Script(answer=Scripted(chunks=[b"one", b"two", b"three"])),
        lambda: [plugin(on_response=mark_response)()],
        {"status": 200, "chunks": [b"one", b"two", b"three"], "outcomes": ["completed"]},
    ),
    "whole": (
        Script(answer=Scripted(streams=False, chunks=[b"whole"])),
        lambda: [],
        {"body": b"whole", "outcomes": ["completed"]},
    ),
    "request header": (
        Script(headers=[("x-team", "spoofed"), ("x-other", "kept")]),
        lambda: [plugin(on_request=add_request_header)()],
        {"status": 200, "seen_headers": {"x-team": ["search"], "x-other": ["kept"]}},
    ),
    "refused on headers": (
        Script(method="POST", body=[b"never read"]),
        lambda: [
            plugin(Stage.AUTHENTICATION, on_request=refuse_on_headers)(),
            plugin(priority=5, on_refusal=mark_refusal)(),
        ],
        {
            "status": 403,
            "seen": [],
            "outcomes": ["refused"],
            "headers": {"x-refused": ["not_here"], "x-why": ["headers"]},
        },
    ),
    "refused on body": (
        Script(method="POST", body=[b"{}"], headers=JSON),
        lambda: [plugin(on_request_body=refuse_on_headers)()],
        {"status": 403, "seen": [], "outcomes": ["refused"]},
    ),
    "refused on response": (
        Script(),
        lambda: [plugin(on_response=refuse_on_response)(), plugin(priority=200, on_response=mark_response)()],
        {"status": 502, "outcomes": ["refused"], "headers_absent": ["x-mark"]},
    ),
    "replied on headers": (
        Script(),
        lambda: [
            plugin(priority=100, on_request=reply_on_headers, on_response=mark_response)(),
            plugin(priority=200, on_response=mark_response)(),
            plugin(priority=50, on_response=mark_response)(),
        ],
        {
            "status": 200,
            "body": b"from the cache",
            "seen": [],
            "outcomes": ["completed"],
            "headers": {"x-mark": ["p200"]},
        },
    ),
    "replied on response": (
        Script(),
        lambda: [plugin(on_response=reply_on_response)(), plugin(priority=200, on_response=mark_response)()],
        {"status": 418, "body": b"teapot", "outcomes": ["completed"], "headers": {"x-mark": ["p200"]}},
    ),
    "body edited both ways": (
        Script(
            method="POST",
            body=[b'{"n": 1.50, ', b'"k": [1]}'],
            headers=JSON,
            answer=Scripted(headers=JSON, chunks=[b'{"a":', b"1.0}"]),
        ),
        _body_stack,
        {"body": b'{"a":1.0,"added":true}', "seen_body": b'{"n":1.50,"k":[1],"added":true}', "outcomes": ["completed"]},
    ),
    "chunked request": (
        Script(
            method="POST",
            chunked=True,
            body=[b'{"n":', b"1}"],
            headers=JSON,
            answer=Scripted(headers=JSON, chunks=[b"{}"]),
        ),
        _body_stack,
        {"seen_body": b'{"n":1,"added":true}', "body": b'{"added":true}'},
    ),
    "broken json": (
        Script(method="POST", body=[b'{"a": 1, "a": 2}'], headers=JSON),
        lambda: [plugin(on_request_body=edit_request)()],
        {"status": 400, "seen": [], "outcomes": ["refused"]},
    ),
    "unread body is untouched": (
        Script(method="POST", body=[b"\x00\xff" * 5_000], headers=[("content-type", "application/octet-stream")]),
        lambda: [plugin(on_request=add_request_header)()],
        {"seen_body": b"\x00\xff" * 5_000},
    ),
    "large upload, read": (
        Script(method="POST", body=[b"x" * 65_536] * 20, headers=[("content-type", "text/plain")]),
        lambda: [plugin(on_request_body=add_request_header)()],
        {"seen_body": b"x" * 65_536 * 20, "status": 200},
    ),
    "head": (
        Script(method="HEAD", answer=Scripted(headers=[*JSON, ("content-length", "44")], chunks=[])),
        lambda: [plugin(on_response_body=edit_response)(), plugin(priority=200, on_response=mark_response)()],
        {"status": 200, "body": b"", "headers": {"content-length": ["44"]}, "outcomes": ["completed"]},
    ),
    "204": (
        Script(answer=Scripted(status=204, headers=[], chunks=[])),
        lambda: [plugin(on_response_body=edit_response)()],
        {"status": 204, "body": b"", "outcomes": ["completed"]},
    ),
    "latin-1": (
        Script(
            headers=[("x-name", "caf\xe9 \xff")],
            answer=Scripted(headers=[("content-type", "text/plain"), ("x-back", "\xe4\xf6\xfc")]),
        ),
        lambda: [plugin(on_request=add_request_header, on_response=mark_response)()],
        {"seen_headers": {"x-name": ["caf\xe9 \xff"]}, "headers": {"x-back": ["\xe4\xf6\xfc"]}},
    ),
    "hook fails, denied": (
        Script(),
        lambda: [plugin(on_request=fail, on_failure="deny")()],
        {"status": 503, "seen": [], "outcomes": ["refused"], "body_without": b"secret-value"},
    ),
    "hook fails, allowed": (
        Script(),
        lambda: [plugin(on_request=fail, on_failure="allow")()],
        {"status": 200, "outcomes": ["completed"]},
    ),
    "response hook fails, denied": (
        Script(),
        lambda: [plugin(on_response=fail, on_failure="deny")()],
        {"status": 503, "outcomes": ["refused"]},
    ),
    "error mapped": (
        Script(answer=Scripted(fails_before=True)),
        lambda: [plugin(on_error=answer_error)()],
        {"status": 503, "body": b"sorry", "headers": {"x-error": ["mapped"]}, "outcomes": ["completed"]},
    ),
    "around": (
        Script(),
        lambda: [plugin(Stage.ROUTER, on_upstream=call_through)()],
        {"status": 200, "body": b"hello", "outcomes": ["completed"]},
    ),
    "around, three deep": (
        Script(answer=Scripted(chunks=[b"a", b"b"])),
        lambda: [plugin(Stage.ROUTER, number, on_upstream=call_through)() for number in (1, 2, 3)],
        {"status": 200, "chunks": [b"a", b"b"], "outcomes": ["completed"]},
    ),
    "retried": (
        Script(method="POST", body=[b"again"], answer=Scripted(status=500, chunks=[b"oops"])),
        lambda: [plugin(Stage.ROUTER, on_upstream=retry_once, needs=Needs.REPLAY)()],
        {"status": 500, "body": b"oops", "calls": 2, "seen_body": b"again", "outcomes": ["completed"]},
    ),
    "held and replaced": (
        Script(),
        lambda: [plugin(Stage.ROUTER, on_upstream=replace_held)(), plugin(priority=5, on_response=mark_response)()],
        {"status": 203, "body": b"replaced", "headers": {"x-mark": ["p5"]}, "outcomes": ["completed"]},
    ),
    "never called": (
        Script(),
        lambda: [plugin(Stage.ROUTER, on_upstream=never_call)()],
        {"status": 502, "seen": [], "outcomes": ["refused"]},
    ),
    "around fails, allowed": (
        Script(),
        lambda: [plugin(Stage.ROUTER, on_upstream=fail_async, on_failure="allow")()],
        {"status": 200, "body": b"hello", "calls": 1},
    ),
    "around fails, denied": (
        Script(),
        lambda: [plugin(Stage.ROUTER, on_upstream=fail_async, on_failure="deny")()],
        {"status": 503, "seen": [], "outcomes": ["refused"]},
    ),
    "left early": (
        Script(answer=Scripted(chunks=[b"one", b"two", b"three"]), leave_after=1),
        lambda: [plugin(on_response=mark_response)()],
        {"chunks": [b"one"], "outcomes": ["aborted"], "raised": "OSError"},
    ),
    "fails in the middle": (
        Script(answer=Scripted(chunks=[b"one", b"two"], fails_after=1)),
        lambda: [plugin(on_response=mark_response)()],
        {"chunks": [b"one"], "outcomes": ["failed"], "raised": "ScriptedFailure"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_host_gives_the_same_transcript(case: str) -> None:
    script, plugins, expected = CASES[case]
    transcripts = run_everywhere(script, plugins)
    assert tuple(transcripts) == HOSTS
    _check(assert_same(transcripts), expected)


def _check(transcript: Transcript, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if name == "headers":
            assert {key: transcript.headers.get(key) for key in value} == value
        elif name == "headers_absent":
            assert not set(value) & set(transcript.headers)
        elif name == "seen_headers":
            assert {key: transcript.seen[0].headers.get(key) for key in value} == value
        elif name == "seen_body":
            assert all(seen.body == value for seen in transcript.seen)
        elif name == "body_without":
            assert value not in transcript.body
        elif name == "calls":
            assert len(transcript.seen) == value
        else:
            assert getattr(transcript, name) == value

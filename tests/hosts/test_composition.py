"""Answers of plug-ins: a Reply goes out through those entered before it, a Refusal shows itself to every `on_refusal`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from aigw_middleware import Exchange, Needs, Plugin, Refusal, Reply, Stage
from aigw_middleware.testing.matrix import (
    HOSTS,
    INBOUND_HOSTS,
    Script,
    Scripted,
    Transcript,
    assert_same,
    run_everywhere,
)

JSON = (("content-type", "application/json"),)
POST = Script(method="POST", headers=JSON, body=[b'{"a":', b"1}"], answer=Scripted(headers=JSON, chunks=[b"{}"]))
CHAT = Script(
    method="POST",
    path="/v1/chat/completions",
    headers=JSON,
    body=[b'{"model":"m","stream":true,"messages":[]}'],
)


def made(name: str, stage: Stage = Stage.DEFAULT, priority: int = 15, **members: Any) -> Plugin[Any]:
    plugin: Plugin[Any] = type("Made", (Plugin,), {"name": name, "stage": stage, "priority": priority, **members})()
    return plugin


# ---------------------------------------------------------------------- refusals


def show(self: Any, exchange: Exchange, response: Any) -> None:
    assert exchange.refusal is not None
    response.headers.add("x-refused", f"{self.name} {exchange.refusal.code}")


def pass_on(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.headers.add("x-passed", self.name)


def refuse(self: Any, exchange: Exchange) -> Refusal:
    return Refusal(418, "refused_here", "No.")


def fail(self: Any, exchange: Exchange, *arguments: Any) -> None:
    raise LookupError("secret-value")


def edit(self: Any, exchange: Exchange) -> None:
    exchange.request.edit()


def look(self: Any, exchange: Exchange) -> None:
    return None


async def refuse_instead(self: Any, exchange: Exchange, call: Any) -> Refusal:
    return Refusal(418, "refused_here", "No.")


async def refuse_held(self: Any, exchange: Exchange, call: Any) -> Refusal:
    assert (await call(hold=lambda status, headers: True)).held
    return Refusal(418, "refused_here", "No.")


async def never_call(self: Any, exchange: Exchange, call: Any) -> None:
    return None


async def hold_only(self: Any, exchange: Exchange, call: Any) -> None:
    assert (await call(hold=lambda status, headers: True)).held


async def fail_around(self: Any, exchange: Exchange, call: Any) -> None:
    raise LookupError("secret-value")


def failing(hook: str) -> dict[str, Any]:
    return {"on_failure": "deny", hook: fail}


SHOWING = ("rbac", "authorization", "authentication", "default", "router")
"""Plug-ins with `on_refusal`, one of a stage, outermost first."""


def showing() -> list[Plugin[Any]]:
    """One plug-in of each stage that adds to refusals; the response hooks are there to be passed over."""
    return [made(name, Stage(name), 1, on_refusal=show, on_response=pass_on) for name in SHOWING]


def refusing(*, stage: Stage = Stage.DEFAULT, priority: int = 15, **members: Any) -> Callable[[], list[Plugin[Any]]]:
    return lambda: [*showing(), made("tested", stage, priority, on_refusal=show, **members)]


HELD = Script(answer=Scripted(chunks=[b"one", b"two"], fails_after=1))
REFUSALS: dict[str, tuple[Script, Callable[[], Sequence[Plugin[Any]]], int, str, dict[str, Any] | None]] = {
    **{
        f"on_request, {stage.value}": (
            POST,
            refusing(stage=stage, priority=15, on_request=refuse),
            418,
            "refused_here",
            None,
        )
        for stage in Stage
    },
    **{
        f"on_request_body, {stage.value}": (
            POST,
            refusing(stage=stage, on_request_body=refuse),
            418,
            "refused_here",
            None,
        )
        for stage in Stage
    },
    **{
        f"on_response, {stage.value}": (POST, refusing(stage=stage, on_response=refuse), 418, "refused_here", None)
        for stage in Stage
    },
    **{
        f"on_response_body, {stage.value}": (
            POST,
            refusing(stage=stage, on_response_body=refuse),
            418,
            "refused_here",
            None,
        )
        for stage in Stage
    },
    "on_upstream, not called": (POST, refusing(on_upstream=refuse_instead), 418, "refused_here", None),
    "on_upstream, held": (POST, refusing(on_upstream=refuse_held), 418, "refused_here", None),
    "on_upstream, retried": (POST, refusing(on_upstream=refuse_held, needs=Needs.REPLAY), 418, "refused_here", None),
    "core: no answer": (POST, refusing(on_upstream=never_call), 502, "no_answer", None),
    "core: held, not replaced": (POST, refusing(on_upstream=hold_only), 502, "no_answer", None),
    "core: too large": (POST, refusing(on_request_body=look), 413, "request_too_large", {"max_body_bytes": 4}),
    "core: too large, no length": (
        Script(method="POST", chunked=True, headers=JSON, body=[b"123", b"456"]),
        refusing(on_request_body=look),
        413,
        "request_too_large",
        {"max_body_bytes": 4},
    ),
    "core: ambiguous path": (Script(path="/a//b"), refusing(path_matching=True), 400, "ambiguous_path", None),
    "core: invalid json": (
        Script(method="POST", headers=JSON, body=[b'{"a": 1, "a": 2}']),
        refusing(on_request_body=edit),
        400,
        "invalid_json",
        None,
    ),
    "core: answer too large": (
        Script(answer=Scripted(chunks=[b"123", b"456"])),
        refusing(on_response_body=look, on_uncovered="deny"),
        502,
        "response_too_large",
        {"max_body_bytes": 4},
    ),
    **{
        f"failure of {hook}": (POST, refusing(**failing(hook)), 503, "plugin_failed", None)
        for hook in ("on_request", "on_request_body", "on_response", "on_response_body")
    },
    "failure of on_upstream": (POST, refusing(on_failure="deny", on_upstream=fail_around), 503, "plugin_failed", None),
}


def shown(transcript: Transcript) -> list[str]:
    return sorted(transcript.headers.get("x-refused", []))


def flat(transcripts: dict[str, Transcript]) -> dict[str, Transcript]:
    """Write repeated headers as Django does, which keeps one value per name."""
    for transcript in transcripts.values():
        for name in ("x-refused", "x-passed"):
            if name in transcript.headers:
                transcript.headers[name] = ", ".join(transcript.headers[name]).split(", ")
    return transcripts


@pytest.mark.parametrize("case", REFUSALS)
def test_every_refusal_is_shown_to_every_plugin_on_every_host(case: str) -> None:
    script, plugins, status, code, config = REFUSALS[case]
    transcripts = flat(run_everywhere(script, plugins, config=config))
    assert tuple(transcripts) == HOSTS
    transcript = assert_same(transcripts)
    assert (transcript.status, transcript.outcomes) == (status, ["refused"])
    assert shown(transcript) == sorted(f"{name} {code}" for name in (*SHOWING, "tested"))
    assert "x-passed" not in transcript.headers
    assert json.loads(transcript.body)["code"] == code
    assert b"secret-value" not in transcript.body


@pytest.mark.parametrize("held", [False, True], ids=["before", "while held"])
def test_the_500_of_a_service_that_raised_is_shown_too(held: bool) -> None:
    script = HELD if held else Script(answer=Scripted(fails_before=True))
    members: dict[str, Any] = {"on_response_body": look} if held else {}
    transcripts = flat(run_everywhere(script, refusing(**members), hosts=INBOUND_HOSTS))
    for transcript in transcripts.values():
        transcript.raised = ""  # a server of ASGI learns what was raised as well
    transcript = assert_same(transcripts)
    assert (transcript.status, transcript.outcomes) == (500, ["failed"])
    assert shown(transcript) == sorted(f"{name} internal_error" for name in (*SHOWING, "tested"))
    assert "x-passed" not in transcript.headers


@pytest.mark.parametrize("held", [False, True], ids=["before", "while held"])
def test_on_error_answers_whatever_was_not_yet_sent(held: bool) -> None:
    def answer(self: Any, exchange: Exchange, error: Exception) -> Reply:
        return Reply(503, [], b"sorry", content_type="text/plain")

    script = HELD if held else Script(answer=Scripted(fails_before=True))
    members: dict[str, Any] = {"on_response_body": look} if held else {}
    transcripts = run_everywhere(script, lambda: [made("tested", on_error=answer, **members)])
    assert tuple(transcripts) == HOSTS
    transcript = assert_same(transcripts)
    assert (transcript.status, transcript.body, transcript.outcomes) == (503, b"sorry", ["completed"])


# ---------------------------------------------------------------------- replies

ORDER: tuple[tuple[Any, Any, Any], ...] = (
    ("a", Stage.AUTHORIZATION, 20),
    ("b", Stage.AUTHENTICATION, 20),
    ("c", Stage.AUTHENTICATION, 10),
    ("d", Stage.DEFAULT, 20),
    ("e", Stage.DEFAULT, 10),
    ("f", Stage.ROUTER, 10),
)
"""Plug-ins whose response hooks leave their mark, outermost first; the one that replies stands among them."""


def mark_body(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.edit().setdefault("by", []).append(self.name)


def reply(self: Any, exchange: Exchange, *arguments: Any) -> Reply:
    return Reply(203, [], b'{"replied":true}', content_type="application/json")


async def reply_instead(self: Any, exchange: Exchange, call: Any) -> Reply:
    return Reply(203, [], b'{"replied":true}', content_type="application/json")


async def reply_held(self: Any, exchange: Exchange, call: Any) -> Reply:
    assert (await call(hold=lambda status, headers: True)).held
    return Reply(203, [], b'{"replied":true}', content_type="application/json")


GATE, INSIDE = (Stage.AUTHENTICATION, 15), (Stage.DEFAULT, 15)
FAILING = Script(answer=Scripted(fails_before=True))
REPLIES: dict[str, tuple[Script, tuple[Stage, int], dict[str, Any], str]] = {
    "on_request, outermost": (POST, (Stage.RBAC, 1), {"on_request": reply}, ""),
    "on_request, gate": (POST, GATE, {"on_request": reply}, "ba"),
    # All header hooks of the gate run before any body hook, so everybody in the gate was entered.
    "on_request_body, gate": (POST, GATE, {"on_request_body": reply}, "cba"),
    "on_request": (POST, INSIDE, {"on_request": reply}, "dcba"),
    "on_request_body": (POST, INSIDE, {"on_request_body": reply}, "dcba"),
    "on_request, innermost": (POST, (Stage.ROUTER, 1), {"on_request": reply}, "fedcba"),
    "on_upstream, not called": (POST, INSIDE, {"on_upstream": reply_instead}, "dcba"),
    "on_upstream, held": (POST, INSIDE, {"on_upstream": reply_held}, "dcba"),
    "on_upstream, innermost": (POST, (Stage.ROUTER, 1), {"on_upstream": reply_held}, "fedcba"),
    "on_response, gate": (POST, GATE, {"on_response": reply}, "ba"),
    "on_response": (POST, INSIDE, {"on_response": reply}, "dcba"),
    "on_response_body": (POST, INSIDE, {"on_response_body": reply}, "dcba"),
    "on_error": (FAILING, INSIDE, {"on_error": reply}, "dcba"),
}


@pytest.mark.parametrize("marks", ["on_response", "on_response_body"])
@pytest.mark.parametrize("case", REPLIES)
def test_a_reply_passes_those_entered_before_it(case: str, marks: str) -> None:
    script, (stage, priority), members, expected = REPLIES[case]
    mark = pass_on if marks == "on_response" else mark_body
    marking: dict[str, Any] = {"on_refusal": show, marks: mark}
    own: dict[str, Any] = (
        {} if marks in members or "on_response" in members or "on_response_body" in members else {marks: mark}
    )

    def plugins() -> list[Plugin[Any]]:
        around = [made(name, *place, **marking) for name, *place in ORDER]
        return [*around, made("tested", stage, priority, **own, **members)]

    transcripts = flat(run_everywhere(script, plugins))
    assert tuple(transcripts) == HOSTS
    transcript = assert_same(transcripts)
    assert (transcript.status, transcript.outcomes) == (203, ["completed"])
    body = json.loads(transcript.body)
    found = transcript.headers.get("x-passed", []) if marks == "on_response" else body.get("by", [])
    assert "".join(found) == expected
    assert body["replied"] is True
    assert "x-refused" not in transcript.headers


def test_a_reply_to_a_reply_goes_on_from_there() -> None:
    def replace(self: Any, exchange: Exchange) -> Reply:
        return Reply(204, [("x-second", "yes")])

    def plugins() -> list[Plugin[Any]]:
        around = [made(name, *place, on_response=pass_on) for name, *place in ORDER if name not in "c"]
        return [*around, made("c", *ORDER[2][1:], on_response=replace), made("tested", *INSIDE, on_request=reply)]

    transcript = assert_same(flat(run_everywhere(POST, plugins)))
    assert (transcript.status, transcript.headers["x-second"], transcript.body) == (204, ["yes"], b"")
    assert transcript.headers["x-passed"] == ["b", "a"]


def test_a_refusal_of_a_reply_passes_no_response_hook() -> None:
    def plugins() -> list[Plugin[Any]]:
        around = [made(name, *place, on_response=pass_on, on_refusal=show) for name, *place in ORDER if name != "c"]
        refuses = made("c", *ORDER[2][1:], on_response=refuse, on_refusal=show)
        return [*around, refuses, made("tested", *INSIDE, on_request=reply)]

    transcript = assert_same(flat(run_everywhere(POST, plugins)))
    assert (transcript.status, transcript.outcomes) == (418, ["refused"])
    assert shown(transcript) == [f"{name} refused_here" for name, *_ in ORDER]
    assert "x-passed" not in transcript.headers


def test_a_streamed_reply_passes_the_event_hooks_of_those_entered_before_it() -> None:
    seen: list[str] = []

    def stream(self: Any, exchange: Exchange) -> Reply:
        async def events() -> Any:
            yield b'data: {"choices": []}\n\n'
            yield b"data: [DONE]\n\n"

        return Reply(200, [], events(), content_type="text/event-stream")

    def note(self: Any, exchange: Exchange, event: Any) -> None:
        seen.append(self.name)

    def plugins() -> list[Plugin[Any]]:
        around = [made(name, *place, on_event=note) for name, *place in ORDER]
        return [*around, made("tested", *INSIDE, on_request=stream, on_event=note)]

    transcript = assert_same(run_everywhere(CHAT, plugins), chunks=False)
    assert transcript.body == b'data: {"choices": []}\n\ndata: [DONE]\n\n'
    assert "".join(seen) == "dcba" * 2 * len(HOSTS)  # for each event, the end marker among them


def test_the_first_reply_of_on_error_wins_from_the_inside() -> None:
    asked: list[str] = []

    def ask(self: Any, exchange: Exchange, error: Exception) -> Reply | None:
        asked.append(self.name)
        return Reply(203, [("x-by", self.name)]) if self.name in "db" else None

    def plugins() -> list[Plugin[Any]]:
        return [made(name, *place, on_error=ask, on_response=pass_on) for name, *place in ORDER]

    transcript = assert_same(flat(run_everywhere(FAILING, plugins)))
    assert asked == ["f", "e", "d"] * len(HOSTS)
    assert transcript.headers["x-by"] == ["d"]
    assert transcript.headers["x-passed"] == ["c", "b", "a"]

"""`timeout`: who waits how long, what the caller gets then, and that nobody pays for what is not configured."""

import asyncio
import gzip
import math
from typing import Any

import pytest

from aigw_middleware import DeadlineExceeded
from aigw_middleware.plugins.traffic.timeout import Timeout
from aigw_middleware.testing.asgi import asgi_exchange
from aigw_middleware.testing.script import Answer
from tests.plugins.chat import CUTS, PATH, Chat, events, example, finishes, problems, question, said

PROBLEM = "upstream request timeout"


def timeout(**config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return {"name": "timeout", "config": config}


@pytest.mark.parametrize(
    ("config", "answer", "steps", "status", "reason"),
    [
        ({"first_byte": 5}, Answer("x", delay_response=math.inf), (4.9, 0.2), 504, "no answer within 5 s"),
        ({"first_byte": "500ms"}, Answer("x", delay_response=math.inf), (0.4, 0.2), 504, "no answer within 0.5 s"),
        ({"total": 3}, Answer("x", delay_response=math.inf), (2.9, 0.2), 504, "no complete answer within 3 s"),
        (
            {"total": 3, "first_byte": 5},
            Answer("x", delay_response=math.inf),
            (3.1,),
            504,
            "no complete answer within 3 s",
        ),
        ({"first_byte": 5}, Answer("x", delay_response=4), (4.1,), 200, ""),
        ({"idle": 1}, Answer("x", delay_response=4), (4.1,), 200, ""),
        ({}, Answer("x", delay_response=4), (4.1,), 200, ""),
    ],
)
def test_before_the_answer(
    config: dict[str, Any], answer: Answer, steps: tuple[float, ...], status: int, reason: str
) -> None:
    chat = Chat(timeout(**config), answers=[answer])
    answered = chat.ask_while(steps, question())
    assert answered.status == status
    if status == 504:
        assert answered.json()["error"] == {
            "message": PROBLEM,
            "type": "server_error",
            "param": None,
            "code": "upstream_timeout",
        }
        assert chat.records[0] == ("timeout", "refused", f"504 upstream_timeout: {reason}")
        assert (chat.exchange.outcome, chat.exchange.answered_by) == ("refused", "timeout")
        assert answered.exception is None


def test_a_coded_stream_that_nobody_changes_is_cut_off_without_a_word_in_it() -> None:
    coded = gzip.compress(b'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n')

    async def stalls(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": coded, "more_body": True})
        await chat.clock.sleep(100)

    chat = Chat(timeout(idle=4), {"name": "ai-statistics"}, inner=stalls)
    asked = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "messages": []}
    answered = chat.ask_while((3, 2), asked)
    assert answered.body == coded
    assert chat.exchange.outcome == "failed"


@CUTS
def test_a_stream_that_stalls_ends_with_an_error_event(size: int) -> None:
    answer = Answer("one two three", delay_between=10)
    chat = Chat(timeout(idle=4), {"name": "ai-statistics"}, answers=[answer], size=size)
    answered = chat.ask_while((3, 2), question(stream=True))
    assert answered.status == 200
    assert answered.complete
    assert said(answered.body) == "one"
    assert finishes(answered.body) == []
    assert events(answered.body)[-1]["error"]["code"] == "deadline_exceeded"
    assert ("timeout", "changed", "cut off: no next piece of the answer within 4 s") in chat.records
    assert chat.exchange.outcome == "failed"


def test_a_stream_that_nobody_reads_is_broken_off() -> None:
    chat = Chat(timeout(idle=4), answers=[Answer("one two three", delay_between=10)])
    answered = chat.ask_while((3, 2), question(stream=True))
    assert (said(answered.body), answered.complete) == ("one", False)
    assert isinstance(answered.exception, DeadlineExceeded)
    assert chat.exchange.outcome == "failed"


def test_the_bytes_of_compatible_gateways() -> None:
    chat = Chat(timeout(total=1), answers=[Answer("x", delay_response=math.inf)], error_format="upstream")
    answered = chat.ask_while((2,), question())
    assert (answered.status, answered.body) == (504, PROBLEM.encode())
    assert answered.header("content-type") == "text/plain"


def test_a_policy_of_a_route_is_the_same() -> None:
    route = {"name": "chat", "path": PATH, "policies": {"timeout": {"total": "1s"}}}
    chat = Chat(routes=[route], answers=[Answer("x", delay_response=math.inf)])
    assert chat.ask_while((2,), question()).status == 504


def test_on_wsgi() -> None:
    chat = Chat(timeout(first_byte=5, idle=5), answers=[Answer("fast"), Answer("slow", delay_response=6)])
    answered = chat.ask_wsgi(question())
    assert answered.json()["choices"][0]["message"]["content"] == "fast"
    assert chat.ask_wsgi(question()).status == 504
    assert chat.records[0] == ("timeout", "refused", "504 upstream_timeout: no answer within 5 s")
    assert (chat.exchange.outcome, chat.exchange.answered_by) == ("refused", "timeout")


def test_a_stream_that_stalls_on_wsgi() -> None:
    chat = Chat(timeout(idle=4), {"name": "ai-statistics"}, answers=[Answer("one two three", delay_between=10)])
    answered = chat.ask_wsgi(question(stream=True))
    assert said(answered.body) == "one"
    assert chat.exchange.outcome == "failed"


def test_nothing_stands_around_the_call_when_there_is_no_deadline() -> None:
    assert Timeout().unused == {"on_upstream"}
    assert Timeout(idle=1).unused == frozenset()
    stack = Chat(timeout()).gateway.core.snapshot.inbound.only
    assert stack is not None
    assert stack.around == ()


def test_another_error_of_the_service_stays_what_it_is() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("broken")

    chat = Chat(timeout(total=5), inner=broken)
    answered = chat.ask(question())
    assert (answered.status, type(answered.exception)) == (500, LookupError)
    assert not [line for line in chat.records if line[0] == "timeout"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (timeout(total=-1), [("plugins[0].config.total", "should be greater than or equal to 0")]),
        (
            timeout(idle="soon"),
            [("plugins[0].config.idle", "should be a time such as 1.5, '500ms', '60s', '5m' or '2h'")],
        ),
        (timeout(connect=1), [("plugins[0].config.connect", "unknown key")]),
        (
            {**timeout(total=1), "shadow": True},
            [("plugins[0].shadow", "timeout has no effect to leave out: it cannot run in shadow")],
        ),
    ],
)
def test_problems(entry: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert problems(entry) == expected


def test_the_example() -> None:
    chat = Chat(*example(Timeout)["plugins"], answers=[Answer("x", delay_response=math.inf)])
    answered = chat.ask_while((19, 2), question())
    assert answered.status == 504
    assert "within 20 s" in chat.records[0][2]


def test_the_class_alone_is_an_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    assert asyncio.run(asgi_exchange(Timeout(app, total=1), path="/")).status == 204

"""How the fake provider writes streams in every dialect: usage, line ends, keep-alives, cuts, errors, delays."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import Answer, CutMidEvent, ErrorEvent, Style, ToolCall, Usage, UsageAt
from aigw_middleware.testing.wsgi import WsgiExchange, wsgi_exchange

from .provider_calls import BODIES, EVERYWHERE, ask, events


def numbers(body: Any) -> Iterator[int]:
    """The counts of output tokens in a chunk, thoughts among them."""
    found = json.dumps(body)
    for name in ("completion_tokens", '"output_tokens', "candidatesTokenCount"):
        yield from map(int, re.findall(rf"{name}\": (\d+)", found))


@EVERYWHERE
@pytest.mark.parametrize("usage_at", ["usual", "start", "every", "finish", "end"])
def test_usage_never_says_less_than_before_and_ends_alike(path: str, usage_at: UsageAt) -> None:
    answer = Answer("a b c d", usage=Usage(100, 42), style=Style(usage_at=usage_at))
    told = [count for event in events(ask(answer, path, stream=True).body) for count in numbers(event)]
    assert told == sorted(told)
    assert told[-1] == 42


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("usage_at", "where"),
    [
        ("usual", [None, None, None, 4]),
        ("end", [None, None, None, 4]),
        ("start", [4, None, None]),
        ("finish", [None, None, 4]),
        ("every", [2, 4, 4, 4]),
    ],
)
def test_usage_of_completions_stands_where_the_style_says(
    path: str, usage_at: UsageAt, where: list[int | None]
) -> None:
    answer = Answer("a b", usage=Usage(9, 4), style=Style(usage_at=usage_at))
    chunks = events(ask(answer, path, stream=True).body)[:-1]
    if "chat" in path:  # begins with the role
        where = [where[0] and (0 if usage_at == "every" else 4), *([2] if usage_at == "every" else [None]), *where[1:]]
    assert [(chunk["usage"] or {}).get("completion_tokens") for chunk in chunks] == where


@EVERYWHERE
@pytest.mark.parametrize("crlf", [None, False, True])
@pytest.mark.parametrize("bom", [False, True])
def test_lines_end_as_the_style_says(path: str, crlf: bool | None, bom: bool) -> None:
    body = ask(Answer("a b", style=Style(crlf=crlf, bom=bom, keep_alive=1)), path, stream=True).body
    assert body.startswith(b"\xef\xbb\xbf") is bom
    assert body.count(b"\xef\xbb\xbf") == bom
    lines_end_in_crlf = "Content" in path if crlf is None else crlf
    assert body.count(b"\r\n") == (body.count(b"\n") if lines_end_in_crlf else 0)


@EVERYWHERE
@pytest.mark.parametrize("every", [1, 3])
def test_keep_alives_come_after_every_so_many_events(path: str, every: int) -> None:
    quiet = "event: ping\ndata: " if path == "/v1/messages" else ": "
    plain = [block for block in blocks(ask(Answer("a b c"), path, stream=True)) if block]
    told = [block for block in blocks(ask(Answer("a b c", style=Style(keep_alive=every)), path, stream=True)) if block]
    kept = [number for number, block in enumerate(told) if (number + 1) % (every + 1) == 0]
    assert all(told[number].startswith(quiet) for number in kept)
    assert [block for number, block in enumerate(told) if number not in kept] == plain


def blocks(exchange: WsgiExchange) -> list[str]:
    return exchange.body.decode().replace("\r\n", "\n").split("\n\n")


@EVERYWHERE
@pytest.mark.parametrize("after", [0, 1, 3, 99])
@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_ends_in_the_middle(path: str, after: int, stream: bool) -> None:
    whole = ask(Answer("a b c"), path, stream=stream).body
    cut = ask(CutMidEvent(after, answer=Answer("a b c")), path, stream=stream).body
    assert whole.startswith(cut)
    assert 0 < len(cut) < len(whole)
    assert not cut.endswith(b"\n\n")


@EVERYWHERE
def test_a_later_cut_leaves_more(path: str) -> None:
    cuts = [ask(CutMidEvent(after, answer=Answer("a b c")), path, stream=True).body for after in (0, 1, 2, 99)]
    assert [len(cut) for cut in cuts] == sorted({len(cut) for cut in cuts})


@EVERYWHERE
@pytest.mark.parametrize("after", [0, 2, 99])
def test_an_error_event_ends_a_stream_that_began_well(path: str, after: int) -> None:
    whole = ask(Answer("a b c"), path, stream=True)
    broken = ask(ErrorEvent(after, "busy", answer=Answer("a b c")), path, stream=True)
    told = events(broken.body)
    errors = [event for event in told if "busy" in json.dumps(event)]
    kept = told[: -len(errors)]
    assert (broken.status, told[-len(errors) :]) == (200, errors)
    assert kept == events(whole.body)[: len(kept)]
    assert len(kept) < len(events(whole.body))
    assert "[DONE]" not in kept


@EVERYWHERE
def test_delays_are_between_pieces_not_events(path: str) -> None:
    clock = VirtualClock()
    answer = Answer("a b c", delay_response=1, delay_first_token=10, delay_between=100)
    ask(answer, path, stream=True, clock=clock)
    assert clock.monotonic() == 1 + 10 + 2 * 100
    ask(answer, path, stream=False, clock=clock)
    assert clock.monotonic() == 2 * (1 + 10) + 2 * 100


@pytest.mark.parametrize(("path", "gaps"), list(zip(BODIES, [2, 0, 2, 2, 1], strict=True)))
def test_the_name_of_a_tool_call_is_a_piece_and_what_follows_another(path: str, gaps: int) -> None:
    clock = VirtualClock()
    ask(Answer("a", tool_calls=[ToolCall("now")], delay_between=1), path, stream=True, clock=clock)
    assert clock.monotonic() == gaps  # completions have no tool calls, Gemini sends them whole


def test_choices_that_take_turns_are_not_apart() -> None:
    clock = VirtualClock()
    provider = FakeProvider([Answer("a b c", delay_between=1)], clock=clock)
    body = json.dumps(BODIES["/v1/chat/completions"] | {"n": 3, "stream": True}).encode()
    wsgi_exchange(provider.wsgi, "POST", "/v1/chat/completions", body=[body])
    assert clock.monotonic() == 2

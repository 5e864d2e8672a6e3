"""Streams of Anthropic messages: cut anywhere, filtered, ended in any block; the official SDK reads what leaves."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Channel, Exchange, Finish, Needs, Plugin, PluginConfig
from aigw_middleware import json as strict_json
from aigw_middleware.llm import aws_eventstream
from aigw_middleware.llm.aws_headers import Header, HeaderType
from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.dialects.anthropic_stream import AnthropicStream
from aigw_middleware.llm.dialects.base import Piece
from aigw_middleware.llm.framing import AWS_EVENT_STREAM, SSE
from aigw_middleware.llm.sse import Event
from aigw_middleware.testing.matrix import Script, Scripted, Transcript, assert_same, run_everywhere

MESSAGES = DIALECTS["anthropic-messages"]
BEDROCK = "/model/anthropic.claude-v1:0/invoke-with-response-stream"
ASKED: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
RESULT = {
    "type": "web_search_result",
    "title": "the owl",
    "url": "https://a.example",
    "encrypted_content": "sealed",
    "page_age": None,
}
CITATION = {
    "type": "web_search_result_location",
    "cited_text": "an owl, o",
    "url": "https://a.example",
    "title": None,
    "encrypted_index": "sealed",
}
OTHER_CITATION = {**CITATION, "cited_text": "owls"}
DIRECT = {"caller": {"type": "direct"}}
EVENT_BY_EVENT = -1
START_USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 1,
}


def begin(**more: Any) -> dict[str, Any]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": START_USAGE,
    }
    return {"type": "message_start", "message": {**message, **more}}


def start(number: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": number, "content_block": block}


def delta(number: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": number, "delta": {"type": kind, **more}}


def stop(number: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": number}


PING = {"type": "ping"}
END = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 77},
    },
    {"type": "message_stop"},
]
THINKING = [
    start(0, type="thinking", thinking="", signature=""),
    PING,
    delta(0, "thinking_delta", thinking="Where is the o"),
    delta(0, "thinking_delta", thinking="wl?"),
    delta(0, "signature_delta", signature="c2lnbmVk"),
    stop(0),
]
SEARCH = [
    start(1, type="server_tool_use", id="srv_1", name="web_search", input={}, **DIRECT),
    delta(1, "input_json_delta", partial_json=""),
    delta(1, "input_json_delta", partial_json='{"query": "o'),
    delta(1, "input_json_delta", partial_json='wl"}'),
    stop(1),
    start(2, type="web_search_tool_result", tool_use_id="srv_1", content=[RESULT], **DIRECT),
    stop(2),
]
TEXT = [
    start(3, type="text", text="", citations=[]),
    delta(3, "citations_delta", citation=CITATION),
    delta(3, "citations_delta", citation=OTHER_CITATION),
    delta(3, "text_delta", text="An \u00f6"),
    delta(3, "text_delta", text=' owl "sat", an o'),
    delta(3, "text_delta", text="wl \U0001f989\n"),
    delta(3, "text_delta", text="slept, o"),
    stop(3),
]
CALL = [
    start(4, type="tool_use", id="toolu_1", name="feed", input={}, **DIRECT),
    delta(4, "input_json_delta", partial_json=""),
    delta(4, "input_json_delta", partial_json='{"who": "the owl", "n'),
    delta(4, "input_json_delta", partial_json='": 1.50}'),
    stop(4),
]
EVENTS = [begin(), *THINKING, *SEARCH, *TEXT, *CALL, *END]
WHOLE = {
    **begin()["message"],
    "content": [
        {"type": "thinking", "thinking": "Where is the owl?", "signature": "c2lnbmVk"},
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "owl"}, **DIRECT},
        {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [RESULT], **DIRECT},
        {
            "type": "text",
            "text": 'An \u00f6 owl "sat", an owl \U0001f989\nslept, o',
            "citations": [CITATION, OTHER_CITATION],
        },
        {"type": "tool_use", "id": "toolu_1", "name": "feed", "input": {"who": "the owl", "n": 1.5}, **DIRECT},
    ],
    "stop_reason": "tool_use",
    "usage": {**START_USAGE, "output_tokens": 77},
}


def sse(events: list[dict[str, Any]], *, compact: bool = True) -> bytes:
    written = []
    for one in events:
        data = json.dumps(one, separators=(",", ":") if compact else None, ensure_ascii=not compact)
        written.append(f"event: {one['type']}\ndata: {data}\n\n".encode())
    return b"".join(written)


def aws(events: list[dict[str, Any]]) -> bytes:
    return b"".join(aws_eventstream.encode(json.dumps(one).encode()) for one in events)


def unaws(data: bytes) -> list[Any]:
    found = AWS_EVENT_STREAM.splitter().feed(data)
    assert b"".join(event.raw for event in found) == data
    return [(event.event, json.loads(event.data or b"null")) for event in found]


def script(data: bytes, cut: int = 0, *, bedrock: bool = False, **options: Any) -> Script:
    chunks = [data[place : place + cut] for place in range(0, len(data), cut)] if cut > 0 else [data]
    if cut == EVENT_BY_EVENT:
        chunks = [event.raw for event in (AWS_EVENT_STREAM if bedrock else SSE).splitter().feed(data)]
    body = {"anthropic_version": "bedrock-2023-05-31", **ASKED} if bedrock else {**ASKED, "stream": True}
    media_type = "application/vnd.amazon.eventstream" if bedrock else "text/event-stream"
    return Script(
        method="POST",
        path=BEDROCK if bedrock else "/v1/messages",
        headers=[("content-type", "application/json")],
        body=[json.dumps(body).encode()],
        answer=Scripted(headers=[("content-type", media_type)], chunks=chunks),
        **options,
    )


class Quiet(Plugin[PluginConfig]):
    """Reads everything, and says what it read when the exchange is over."""

    name, needs, on_uncovered = "quiet", Needs.USAGE, "deny"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        return None

    def on_complete(self, exchange: Exchange) -> None:
        self.seen.append(exchange.meter)


class Filter(Plugin[PluginConfig]):
    """Replaces `owl` by `bird`, holding back what may be its beginning; ends the answer at another word."""

    name = "filter"

    def __init__(self, stop: str = "", kind: str = "", reason: str = "content_filter") -> None:
        super().__init__()
        self.stop, self.kind, self.reason = stop, kind, reason

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Any:
        if self.stop and self.stop in text and self.kind in ("", channel.kind):
            return Finish(self.reason, text.partition(self.stop)[0].replace("owl", "bird") + "(end)")
        text = text.replace("owl", "bird")
        if channel.final:
            return text
        keep = next((size for size in (2, 1) if text.endswith("owl"[:size])), 0)
        return text[: len(text) - keep], text[len(text) - keep :]


def passed(given_script: Script, *plugins: Plugin[Any], hosts: Any = ("asgi",)) -> Transcript:
    return assert_same(run_everywhere(given_script, lambda: list(plugins), hosts=hosts))


def read(data: bytes) -> anthropic.types.Message:
    """Return the message that the SDK makes of a stream."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = anthropic.Anthropic(api_key="k", max_retries=0, http_client=http, _strict_response_validation=True)
    with client.messages.stream(**ASKED) as events:
        kinds = [event.type for event in events]
        message = events.get_final_message()
    assert kinds[-1] == "message_stop"
    return message


async def read_async(data: bytes) -> anthropic.types.Message:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        client = anthropic.AsyncAnthropic(api_key="k", http_client=http, _strict_response_validation=True)
        async with client.messages.stream(**ASKED) as events:
            return await events.get_final_message()


def plain(message: anthropic.types.Message) -> Any:
    return json.loads(message.to_json())


def well_formed(data: bytes) -> list[dict[str, Any]]:
    """Check the order of events that the API promises: every block is begun, is ended, and goes on in between only."""
    splitter = SSE.splitter()
    found = splitter.feed(data)
    assert not splitter.pending
    bodies = [json.loads(event.data or b"") for event in found]
    assert [event.event for event in found] == [body["type"] for body in bodies]
    assert bodies[0]["type"] == "message_start"
    assert [body["type"] for body in bodies if body["type"].startswith("message")][1:] == [
        "message_delta",
        "message_stop",
    ]
    assert bodies[-1]["type"] == "message_stop"
    begun, open_now = 0, set()
    for body in bodies:
        match body["type"]:
            case "content_block_start":
                assert body["index"] == begun
                begun += 1
                open_now.add(body["index"])
            case "content_block_delta":
                assert body["index"] in open_now
            case "content_block_stop":
                open_now.remove(body["index"])
            case "message_delta":
                assert not open_now
    return bodies


# ---------------------------------------------------------------------- what passes


@pytest.mark.parametrize("bedrock", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 7, EVENT_BY_EVENT])
def test_unchanged_streams_are_byte_identical(cut: int, bedrock: bool) -> None:
    data = aws(EVENTS) if bedrock else b": hello\n\n" + sse(EVENTS)
    hosts = ("asgi", "wsgi", "httpx", "httpx2-async") if cut == 7 else ("asgi",)
    quiet = Quiet()
    assert passed(script(data, cut, bedrock=bedrock), quiet, hosts=hosts).body == data
    assert {meter.answer_id for meter in quiet.seen} == {"msg_1"}


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_stream_is_read_as_the_whole_answer_is(interleaved: bool) -> None:
    events = EVENTS
    if interleaved:
        events = [begin(), THINKING[0], SEARCH[0], *THINKING[1:4], *SEARCH[1:4], *THINKING[4:], *SEARCH[4:]]
        events += [TEXT[0], CALL[0], *TEXT[1:], *CALL[1:], *END]
    stream = MESSAGES.open()
    texts: dict[Any, str] = {}
    deltas = [stream.read(event) for event in SSE.splitter().feed(sse(events))]
    usage = None
    for one in deltas:
        if one is not None:
            for piece in one.pieces:
                texts[piece.place] = texts.get(piece.place, "") + piece.text
            usage = one.usage.after(usage) if one.usage is not None else usage
    whole = MESSAGES.answered(WHOLE)
    leaves = {piece.place: piece.text for piece in whole.pieces if piece.kind != "tool_arguments"}
    assert {place: text for place, text in texts.items() if place[1] != "tool_arguments"} == leaves
    arguments = {(call.index, "tool_arguments", call.part): json.loads(call.arguments) for call in whole.calls}
    streamed = {place: json.loads(text) for place, text in texts.items() if place[1] == "tool_arguments"}
    assert streamed == arguments
    calls = [call for one in deltas if one is not None for call in one.calls]
    assert [(call.part, call.id, call.name) for call in calls] == [(c.part, c.id, c.name) for c in whole.calls]
    assert [reason for one in deltas if one is not None for reason in one.reasons] == list(whole.reasons)
    assert [list(one.finished) for one in deltas if one is not None and one.finished] == [[0]]
    assert usage is not None
    assert whole.usage is not None
    assert strict_json.encode(usage) == strict_json.encode(whole.usage)
    assert not usage.partial


def test_usage_before_the_end_is_partial() -> None:
    stream = MESSAGES.open()
    (event,) = SSE.splitter().feed(sse([begin()]))
    found = stream.read(event)
    assert found is not None
    assert found.usage is not None
    assert (found.usage.partial, found.usage.input_tokens, found.model, found.identifier) == (True, 60, "m", "msg_1")


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 7, EVENT_BY_EVENT])
def test_a_filtered_stream_is_the_filtered_answer(cut: int, compact: bool) -> None:
    data = passed(script(sse(EVENTS, compact=compact), cut), Filter()).body
    well_formed(data)
    expected = json.loads(json.dumps(plain(read(sse(EVENTS)))).replace("owl", "bird"))
    assert plain(read(data)) == expected
    assert plain(asyncio.run(read_async(data))) == expected


def test_what_is_not_text_stays_as_it_was_written() -> None:
    odd = [
        begin(),
        {"note": 1, **start(0, type="text", text=""), "more": {"b": [], "a": None}},
        {"z": "1e5", **delta(0, "text_delta", text="owl", extra=[1])},
        stop(0),
        *END,
    ]
    data = (
        sse(odd).replace(b'"1e5"', b"1e5").replace(b"event: content_block_delta", b"id: 5\nevent: content_block_delta")
    )
    assert passed(script(data), Filter()).body == data.replace(b"owl", b"bird")


def test_the_messages_of_bedrock_are_filtered_too() -> None:
    last = {**END[1], "amazon-bedrock-invocationMetrics": {"inputTokenCount": 5}}
    data = passed(script(aws([*EVENTS[:-1], last]), 7, bedrock=True), Filter()).body
    found = unaws(data)
    assert {name for name, _ in found} == {"chunk"}
    assert found[-1][1] == last
    expected = json.loads(json.dumps(plain(read(sse(EVENTS)))).replace("owl", "bird"))
    assert plain(read(sse([body for _, body in found]))) == expected


@given(st.lists(st.text('owl \u00e9\U0001f989\\"', max_size=4), max_size=12), st.integers(1, 60))
def test_the_result_is_that_of_the_whole_text(pieces: list[str], cut: int) -> None:
    deltas = [delta(0, "text_delta", text=piece) for piece in pieces]
    data = sse([begin(), start(0, type="text", text=""), *deltas, stop(0), *END])
    (block,) = read(passed(script(data, cut), Filter()).body).content
    assert block.type == "text"
    assert block.text == "".join(pieces).replace("owl", "bird")


def test_events_that_differ_by_their_text_alone_need_no_parsing() -> None:
    events = sse([delta(3, "text_delta", text="An \u00f6 owl"), delta(3, "text_delta", text="and more")])
    one, other = SSE.splitter().feed(events)
    for stream in (AnthropicStream(), AnthropicStream()):
        found = stream.read(one)
        assert found is not None
        frame = stream.frame(one.raw, found.pieces[0])
        assert frame is not None
        assert (frame.place, frame.text(other.raw)) == ((0, "content", 3), "and more")
        assert frame.text(other.raw.replace(b'"index":3', b'"index":4')) is None
        assert frame.event("and more") == other.raw
        assert stream.with_texts(one, [Piece(0, "content", 3, "and more")]) == other.raw
    begun = sse([start(0, type="text", text="An owl")])
    assert AnthropicStream().frame(begun, Piece(0, "content", 0, "An owl")) is None


def test_texts_that_a_block_begins_with_are_filtered() -> None:
    events = [
        begin(),
        start(0, type="text", text="an o"),
        delta(0, "text_delta", text="wl"),
        stop(0),
        start(1, type="tool_use", id="i", name="n", input={"who": "owl", "n": 1}, **DIRECT),
        stop(1),
        *END,
    ]
    quiet = Quiet()
    message = read(passed(script(sse(events)), Filter(), quiet).body)
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "an bird"},
        {"type": "tool_use", "id": "i", "name": "n", "input": {"who": "bird", "n": 1}, **DIRECT},
    ]


# ---------------------------------------------------------------------- ends

THOUGHT = {"type": "thinking", "thinking": "Where is the bird?", "signature": "c2lnbmVk"}
CITED = {**CITATION, "cited_text": "an bird, o"}
SEARCHED = [
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "bird"}, **DIRECT},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srv_1",
        "content": [{**RESULT, "title": "the bird"}],
        **DIRECT,
    },
]


@pytest.mark.parametrize("cut", [0, 1, EVENT_BY_EVENT])
@pytest.mark.parametrize(
    ("word", "kind", "expected"),
    [
        ("is", "reasoning", [{"type": "thinking", "thinking": "Where (end)", "signature": ""}]),
        (
            "que",
            "tool_arguments",
            [THOUGHT, {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}, **DIRECT}],
        ),
        (
            "owl",
            "tool_result",
            [THOUGHT, SEARCHED[0], {**SEARCHED[1], "content": [{**RESULT, "title": "the (end)", "url": ""}]}],
        ),
        (
            "a.example",
            "document",
            [
                THOUGHT,
                *SEARCHED,
                {
                    "type": "text",
                    "text": "",
                    "citations": [{**CITED, "url": "https://(end)"}],
                },
            ],
        ),
        (
            "sat",
            "content",
            [
                THOUGHT,
                *SEARCHED,
                {
                    "type": "text",
                    "text": 'An \u00f6 bird "(end)',
                    "citations": [CITED, {**CITED, "cited_text": "birds"}],
                },
            ],
        ),
    ],
)
def test_an_answer_ended_in_any_block_is_read_by_the_sdk(word: str, kind: str, expected: Any, cut: int) -> None:
    data = passed(script(sse(EVENTS), cut), Filter(word, kind)).body
    well_formed(data)
    message = read(data)
    assert [block.to_dict() for block in message.content] == expected
    assert (message.stop_reason, message.id, message.model) == ("refusal", "msg_1", "m")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 1)
    assert plain(asyncio.run(read_async(data))) == plain(message)


@pytest.mark.parametrize(
    ("reason", "word"), [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("odd", "odd")]
)
def test_reasons_are_told_in_the_words_of_the_api(reason: str, word: str) -> None:
    bodies = well_formed(passed(script(sse(EVENTS)), Filter("sat", "content", reason)).body)
    assert bodies[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": word, "stop_sequence": None},
        "usage": {"output_tokens": 1},
    }


class AtEvent(Plugin[PluginConfig]):
    """Ends the answer at an event of the stream."""

    name = "at-event"

    def __init__(self, number: int, text: str) -> None:
        super().__init__()
        self.number, self.text = number, text

    def on_request(self, exchange: Exchange) -> None:
        exchange.scratch = 0  # type: ignore[attr-defined]

    def on_event(self, exchange: Exchange, event: Any) -> Finish | None:
        count = exchange.scratch  # type: ignore[attr-defined]
        exchange.scratch = count + 1  # type: ignore[attr-defined]
        return Finish("stop", self.text) if count == self.number else None


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("number", range(len(EVENTS)))
def test_an_answer_ended_at_any_event_is_read_by_the_sdk(number: int, filtered: bool) -> None:
    plugins: list[Plugin[Any]] = [AtEvent(number, "Enough."), *([Filter()] if filtered else [])]
    data = passed(script(sse(EVENTS)), *plugins).body
    ended = number == len(EVENTS) - 1
    if not ended:
        well_formed(data)
        message = read(data)
        assert message.stop_reason == ("end_turn" if number < len(EVENTS) - 1 else "tool_use")
        said = [block.text for block in message.content if block.type == "text"]
        assert said[-1].endswith("Enough.")
    else:  # the end was told before: only the marker is missing
        assert data.endswith(sse(END[1:]))
        assert data.count(b"event: message_delta") == 1


def test_an_answer_ended_before_any_event_is_whole() -> None:
    stream = AnthropicStream()
    message = read(stream.finish_events(None, (), "stop"))
    assert (message.content, message.stop_reason) == ([], "end_turn")


def test_held_back_thinking_leaves_before_its_signature() -> None:
    thinking = [*THINKING[:2], delta(0, "thinking_delta", thinking="an o"), *THINKING[4:]]
    bodies = well_formed(passed(script(sse([begin(), *thinking, *END])), Filter()).body)
    assert [body["delta"]["type"] for body in bodies if body["type"] == "content_block_delta"] == [
        "thinking_delta",
        "thinking_delta",
        "signature_delta",
    ]


BEGUN = [{"type": "text", "text": "an owl, o", "citations": [CITATION]}]


@pytest.mark.parametrize(("word", "said"), [("", "an bird, o"), ("an", "(end)"), ("a.example", None)])
def test_a_message_that_begins_with_content_is_filtered(word: str, said: str | None) -> None:
    bodies = well_formed(passed(script(sse([begin(content=BEGUN), *END])), Filter(word)).body)
    if not word:
        assert bodies[0]["message"]["content"] == [{**BEGUN[0], "text": said, "citations": [CITED]}]
        return
    assert bodies[0]["message"]["content"] == []
    deltas = [body["delta"] for body in bodies if body["type"] == "content_block_delta"]
    assert deltas == [{"type": "text_delta", "text": said or "an bird, o"}]


def test_an_answer_ended_in_a_block_that_carries_two_kinds_of_text() -> None:
    bodies = well_formed(passed(script(sse([begin(), start(0, **BEGUN[0]), stop(0), *END])), Filter("a.example")).body)
    assert [body["delta"] for body in bodies if body["type"] == "content_block_delta"] == [
        {"type": "text_delta", "text": "an bird, "}  # what was held back is dropped where a plug-in ends the answer
    ]


def test_an_answer_ended_on_bedrock_is_of_chunks() -> None:
    found = unaws(passed(script(aws(EVENTS), bedrock=True), Filter("sat", "content")).body)
    assert {name for name, _ in found} == {"chunk"}
    message = read(sse([body for _, body in found]))
    assert message.stop_reason == "refusal"
    assert message.content[-1].type == "text"
    assert message.content[-1].text == 'An \u00f6 bird "(end)'


def test_what_is_held_back_leaves_though_the_stream_breaks_off() -> None:
    for events in ([begin(), *TEXT[:1], *TEXT[3:7]], [begin(), *TEXT[:1], *TEXT[3:7], {"type": "error", "error": {}}]):
        events = [{**event, "index": 0} if "index" in event else event for event in events]
        bodies = [
            json.loads(event.data or b"") for event in SSE.splitter().feed(passed(script(sse(events)), Filter()).body)
        ]
        said = "".join(body["delta"]["text"] for body in bodies if body["type"] == "content_block_delta")
        assert said == TEXT_SAID.replace("owl", "bird")
        assert bodies[-1]["type"] == events[-1]["type"]


TEXT_SAID = "".join(event["delta"]["text"] for event in TEXT[3:7])


# ---------------------------------------------------------------------- errors and what is not known


class Broken(Plugin[PluginConfig]):
    """A guard that fails in the middle of a stream."""

    name, on_failure = "broken", "deny"

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        if channel.kind == "content":
            raise RuntimeError("no")


def test_an_error_in_the_middle_is_raised_by_the_sdk() -> None:
    data = passed(script(sse(EVENTS)), Broken()).body
    with pytest.raises(anthropic.APIStatusError) as caught:
        read(data)
    assert caught.value.body["type"] == "error"  # type: ignore[index]
    with pytest.raises(anthropic.APIStatusError):
        asyncio.run(read_async(data))
    found = unaws(passed(script(aws(EVENTS), bedrock=True), Broken()).body)
    assert found[-1][0].endswith("Exception")
    assert list(found[-1][1]) == ["message"]


@pytest.mark.parametrize(
    ("status", "kind", "exception"),
    [
        (400, "invalid_request_error", "validationException"),
        (429, "rate_limit_error", "throttlingException"),
        (503, "overloaded_error", "serviceUnavailableException"),
        (504, "timeout_error", "modelTimeoutException"),
        (500, "api_error", "internalServerException"),
    ],
)
def test_errors_have_the_types_of_the_api(status: int, kind: str, exception: str) -> None:
    (event,) = SSE.splitter().feed(AnthropicStream().error_event(status, "code", "text"))
    assert event.event == "error"
    assert json.loads(event.data or b"") == {"type": "error", "error": {"type": kind, "message": "text"}}
    assert unaws(AnthropicStream(AWS_EVENT_STREAM).error_event(status, "code", "text")) == [
        (exception, {"message": "text"})
    ]


def test_errors_of_the_provider_are_noticed() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    thrown = aws_eventstream.encode_exception("throttlingException", b'{"message":"slow"}')
    for bedrock, data in ((False, sse([begin(), error])), (True, aws([begin()]) + thrown)):
        quiet = Quiet()
        assert passed(script(data, bedrock=bedrock), quiet).body == data
        assert quiet.seen[0].error_reported


@pytest.mark.parametrize(
    ("event", "denied"),
    [
        ({"type": "mystery", "text": "secret"}, True),
        ({"type": "mystery", "id": "x", "number": 5}, False),
        (delta(0, "mystery_delta", body="secret"), True),
        (start(0, body="secret"), True),
        (start(0, type="mystery", body="secret"), False),
        (delta(0, "compaction_delta", content="a summary"), False),
        (PING, False),
    ],
)
def test_what_is_not_known_is_refused_only_where_it_may_hide_text(event: dict[str, Any], denied: bool) -> None:
    data = sse([begin(), event, *END])
    body = passed(script(data), Quiet()).body
    assert (b"uncovered" in body or body != data) is denied
    assert (b"secret" in body) is (not denied and b"secret" in data)


def test_an_error_of_the_event_stream_itself_is_noticed() -> None:
    names = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "no"}
    headers = [Header(name, HeaderType.STRING, value) for name, value in names.items()]
    quiet = Quiet()
    data = aws([begin()]) + aws_eventstream.encode_message(headers, b"")
    assert passed(script(data, bedrock=True), quiet).body == data
    assert quiet.seen[0].error_reported


def test_unknown_blocks_are_filtered() -> None:
    data = sse([begin(), start(0, type="mystery", body=[{"deep": "the owl"}]), stop(0), *END])
    assert passed(script(data), Filter()).body == data.replace(b"owl", b"bird")


# ---------------------------------------------------------------------- anything at all

TYPES = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
]
KINDS = [
    "text",
    "thinking",
    "tool_use",
    "document",
    "text_delta",
    "thinking_delta",
    "input_json_delta",
    "citations_delta",
]
NAMES = [
    "content_block",
    "delta",
    "message",
    "text",
    "thinking",
    "partial_json",
    "content",
    "citation",
    "input",
    "usage",
]
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3)
odd = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.fixed_dictionaries({}, optional={"type": st.sampled_from(KINDS), **dict.fromkeys(NAMES, inner)})
    ),
    max_leaves=8,
)
odd_events = st.lists(
    odd
    | st.fixed_dictionaries(
        {"type": st.sampled_from(TYPES) | odd},
        optional={"index": st.integers(-1, 2) | odd, **dict.fromkeys(NAMES, odd)},
    ),
    max_size=6,
)


@given(odd_events, st.booleans())
def test_nothing_raises_on_odd_events(bodies: list[Any], leave: bool) -> None:
    stream = AnthropicStream()
    for body in bodies:
        event = Event(b"event: e\ndata: " + json.dumps(body).encode() + b"\n\n")
        before = copy.deepcopy(body)
        found = stream.read(event)
        assert isinstance(stream.opaque(event), bool)
        assert isinstance(stream.ends(event), bool)
        if found is None:
            continue
        places = [piece.place for piece in found.pieces]
        assert len(set(places)) == len(places)
        if leave:
            stream.sent(event, found)
        changed = [Piece(*piece.place, "*" * len(piece.text)) for piece in found.pieces]
        if changed:
            again = json.loads(Event(stream.with_texts(event, changed)).data or b"")
            assert len(json.dumps(again)) == len(json.dumps(before))
            assert json.dumps(again).count("*") == sum(len(piece.text) for piece in changed)
        for piece in found.pieces:
            stream.text_event(event, piece)
            stream.frame(event.raw, piece)
        assert json.loads(event.data or b"") == before
    finished = stream.finish_events(Event(b"data: {}\n\n"), (), "stop")
    assert finished.endswith(sse(END[1:]))

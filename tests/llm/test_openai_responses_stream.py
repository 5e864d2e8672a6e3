"""Streams of OpenAI's Responses: texts told in pieces and told again are filtered alike, and an end made here is an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from aigw_middleware import Channel, Exchange, Finish, Needs, Plugin, PluginConfig, Stage
from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.dialects.base import Piece
from aigw_middleware.llm.sse import Event, Splitter
from aigw_middleware.testing.matrix import Script, Scripted, assert_same, run_everywhere

RESPONSES = DIALECTS["openai-responses"]
JSON = [("content-type", "application/json")]
SSE = [("content-type", "text/event-stream")]
STRICT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

# ------------------------------------------------------------------ a stream as the API reference has it

Told = tuple[str, dict[str, Any]]


def response(status: str, output: list[Any], usage: Any = None, **more: Any) -> dict[str, Any]:
    head = {"id": "resp_67c", "object": "response", "created_at": 1741290958, "status": status, "background": False}
    tail = {
        "model": "gpt-4.1",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
    }
    return {
        **head,
        "error": None,
        "incomplete_details": None,
        "instructions": "cat",
        **tail,
        "tools": [],
        "top_p": 1.0,
    } | {
        "usage": usage,
        "metadata": {},
        **more,
    }


USAGE = {
    "input_tokens": 37,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 48,
}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def message(index: int, *pieces: str, name: str = "msg_1") -> tuple[list[Told], dict[str, Any]]:
    """A message of one text."""
    at = {"item_id": name, "output_index": index, "content_index": 0}
    text = "".join(pieces)
    item = {"id": name, "type": "message", "status": "completed", "content": [text_part(text)], "role": "assistant"}
    return [
        (
            "response.output_item.added",
            {"output_index": index, "item": {**item, "status": "in_progress", "content": []}},
        ),
        ("response.content_part.added", {**at, "part": text_part("")}),
        *(
            ("response.output_text.delta", {**at, "delta": piece, "logprobs": [], "obfuscation": "Xy"})
            for piece in pieces
        ),
        ("response.output_text.done", {**at, "text": text, "logprobs": []}),
        ("response.content_part.done", {**at, "part": text_part(text)}),
        ("response.output_item.done", {"output_index": index, "item": item}),
    ], item


def refusal(index: int, *pieces: str) -> tuple[list[Told], dict[str, Any]]:
    at = {"item_id": "msg_r", "output_index": index, "content_index": 0}
    part = {"type": "refusal", "refusal": "".join(pieces)}
    item = {"id": "msg_r", "type": "message", "status": "completed", "content": [part], "role": "assistant"}
    return [
        (
            "response.output_item.added",
            {"output_index": index, "item": {**item, "status": "in_progress", "content": []}},
        ),
        ("response.content_part.added", {**at, "part": {"type": "refusal", "refusal": ""}}),
        *(("response.refusal.delta", {**at, "delta": piece}) for piece in pieces),
        ("response.refusal.done", {**at, "refusal": part["refusal"]}),
        ("response.content_part.done", {**at, "part": part}),
        ("response.output_item.done", {"output_index": index, "item": item}),
    ], item


def reasoning(index: int, *pieces: str, whole: bool = False) -> tuple[list[Told], dict[str, Any]]:
    """A reasoning item with a summary, or with the reasoning itself."""
    text = "".join(pieces)
    part = {"type": "reasoning_text" if whole else "summary_text", "text": text}
    item = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [] if whole else [part],
        **({"content": [part]} if whole else {}),
    }
    at = {"item_id": "rs_1", "output_index": index, ("content_index" if whole else "summary_index"): 0}
    frame = "response.content_part" if whole else "response.reasoning_summary_part"
    stem = "response.reasoning_text" if whole else "response.reasoning_summary_text"
    return [
        (
            "response.output_item.added",
            {"output_index": index, "item": {"id": "rs_1", "type": "reasoning", "summary": []}},
        ),
        (f"{frame}.added", {**at, "part": {**part, "text": ""}}),
        *((f"{stem}.delta", {**at, "delta": piece}) for piece in pieces),
        (f"{stem}.done", {**at, "text": text}),
        (f"{frame}.done", {**at, "part": part}),
        ("response.output_item.done", {"output_index": index, "item": item}),
    ], item


CALLS = {
    "function_call": ("response.function_call_arguments", "arguments", {"call_id": "call_1", "name": "f"}),
    "custom_tool_call": ("response.custom_tool_call_input", "input", {"call_id": "call_1", "name": "f"}),
    "mcp_call": ("response.mcp_call_arguments", "arguments", {"server_label": "l", "name": "f"}),
    "code_interpreter_call": ("response.code_interpreter_call_code", "code", {"container_id": "c", "outputs": None}),
}


def call(kind: str, index: int, *pieces: str, **end: Any) -> tuple[list[Told], dict[str, Any]]:
    """A tool call; `end`: what its item says in the end beside its input."""
    stem, member, more = CALLS[kind]
    at = {"item_id": f"c_{index}", "output_index": index}
    text = "".join(pieces)
    item = {"id": f"c_{index}", "type": kind, "status": "completed", **more, member: text}
    begun = {**item, "status": "in_progress", member: ""}
    item |= end
    return [
        ("response.output_item.added", {"output_index": index, "item": begun}),
        *((f"{stem}.delta", {**at, "delta": piece}) for piece in pieces),
        (f"{stem}.done", {**at, member: text}),
        ("response.output_item.done", {"output_index": index, "item": item}),
    ], item


def stream(
    *parts: tuple[list[Told], dict[str, Any]], numbered: bool = True, typed: bool = True, end: Any = None
) -> bytes:
    output = [item for _, item in parts]
    told: list[Told] = [
        ("response.created", {"response": response("in_progress", [])}),
        ("response.in_progress", {"response": response("in_progress", [])}),
        *(event for events, _ in parts for event in events),
        end or ("response.completed", {"response": response("completed", output, USAGE)}),
    ]
    return written(told, numbered=numbered, typed=typed)


def written(told: list[Told], *, numbered: bool = True, typed: bool = True) -> bytes:
    out = []
    for number, (name, members) in enumerate(told):
        body = {"type": name, **({"sequence_number": number} if numbered else {}), **members}
        out.append((f"event: {name}\n" if typed else "") + f"data: {json.dumps(body)}\n\n")
    return "".join(out).encode()


EVERYTHING = [
    reasoning(0, "the c", "at, t", "he cat"),
    message(1, "a ca", "t s", "at on th", "e mat"),
    refusal(2, "no c", "at"),
    call("function_call", 3, '{"q": "ca', 't"}'),
    call("custom_tool_call", 4, "c", "a", "t"),
    call("mcp_call", 5, '{"q": "cat"', "}", output="a cat from afar"),
    call("code_interpreter_call", 6, "ca", "t()", outputs=[{"type": "logs", "logs": "cat!"}]),
]
FULL = stream(*EVERYTHING)

# ------------------------------------------------------------------ reading what left


def bodies(data: bytes) -> list[dict[str, Any]]:
    splitter = Splitter()
    events = [*splitter.feed(data)]
    assert splitter.finish() is None
    return [json.loads(event.data) for event in events if event.data not in (None, b"[DONE]")]


def told_in_pieces(data: bytes) -> dict[tuple[int, str], str]:
    """Return the texts that deltas tell, by output item and sort."""
    texts: dict[tuple[int, str], str] = {}
    for body in bodies(data):
        if body["type"].endswith(".delta"):
            place = body["output_index"], body["type"].removesuffix(".delta")
            texts[place] = texts.get(place, "") + body["delta"]
    return texts


def told_whole(data: bytes) -> list[dict[str, Any]]:
    """Return the items as `output_item.done` has them; the events of the end, and of each text, must agree."""
    last = bodies(data)[-1]
    items = {body["output_index"]: body["item"] for body in bodies(data) if body["type"] == "response.output_item.done"}
    assert last["response"]["output"] == [item for _, item in sorted(items.items())]
    pieces = told_in_pieces(data)
    for body in bodies(data):
        stem, _, end = body["type"].rpartition(".")
        if end == "done" and (body.get("output_index"), stem) in pieces:
            whole = next(body[key] for key in ("text", "refusal", "arguments", "input", "code") if key in body)
            assert whole == pieces[body["output_index"], stem]
            assert whole in json.loads(json.dumps(list(leaves(items[body["output_index"]]))))
        if end == "done" and "part" in body:
            assert body["part"] in [
                *items[body["output_index"]].get("content", []),
                *items[body["output_index"]].get("summary", []),
            ]
    return list(last["response"]["output"])


def leaves(value: Any) -> Iterator[str]:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(item, str):
            yield item
        yield from leaves(item)


def all_valid(data: bytes) -> None:
    """Each event is as the official types have it, numbers never decrease, and every item ends."""
    numbers = [body["sequence_number"] for body in bodies(data)]
    assert numbers == sorted(numbers)
    for body in bodies(data):
        STRICT.validate_python(body)
    begun, ended = (
        [b["output_index"] for b in bodies(data) if b["type"] == f"response.output_item.{e}"] for e in ("added", "done")
    )
    assert sorted(begun) == sorted(ended) == list(range(len(begun)))


def sdk(data: bytes) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=dict(SSE), content=data)

    return openai.OpenAI(
        api_key="k",
        base_url="http://provider/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
        _strict_response_validation=True,
    )


def sdk_reads(data: bytes) -> Response:
    """Return the last response that the official client has, four ways; snapshots along the way are the deltas so far."""
    last: list[Any] = []
    with sdk(data) as client, client.responses.create(model="m", input="x", stream=True) as raw:
        last.append([event for event in raw if isinstance(getattr(event, "response", None), Response)][-1].response)
    with sdk(data) as client, client.responses.stream(model="m", input="x") as events:
        sums: dict[tuple[int, int], str] = {}
        for event in events:
            if event.type == "response.output_text.delta":
                place = event.output_index, event.content_index
                sums[place] = sums.get(place, "") + event.delta
                assert event.snapshot == sums[place]
            elif event.type in ("response.completed", "response.incomplete"):
                last.append(event.response)  # type: ignore[union-attr]

    async def both() -> None:
        transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=dict(SSE), content=data))
        async with openai.AsyncOpenAI(
            api_key="k", base_url="http://provider/v1", http_client=httpx2.AsyncClient(transport=transport)
        ) as client:
            found = [event async for event in await client.responses.create(model="m", input="x", stream=True)]
            last.append(found[-1].response)  # type: ignore[union-attr]
            async with client.responses.stream(model="m", input="x") as events:
                last.append([event async for event in events][-1].response)  # type: ignore[union-attr]

    asyncio.run(both())
    assert len(last) == 4
    assert len({(one.output_text, one.status, str(one.incomplete_details)) for one in last}) == 1
    return Response.model_validate(last[0].model_dump())


# ------------------------------------------------------------------ through the pipeline


class Filter(Plugin[PluginConfig]):
    """Replaces one word by another, holding back what may be its beginning."""

    name, stage = "filter", Stage.DEFAULT
    word, other = "cat", "hamster"

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> tuple[str, str] | str:
        text = text.replace(self.word, self.other)
        if channel.final:
            return text
        ends = range(min(len(self.word) - 1, len(text)), 0, -1)
        keep = next((size for size in ends if self.word.startswith(text[-size:])), 0)
        return (text[: len(text) - keep], text[len(text) - keep :]) if keep else text


class Hoarder(Filter):
    """Lets nothing out before its channel ends."""

    name = "hoarder"

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> tuple[str, str] | str:
        return text.replace(self.word, self.other) if channel.final else ("", text)


class Stopper(Plugin[PluginConfig]):
    """Ends the answer at a word, on channels of one kind."""

    name, stage = "stopper", Stage.DEFAULT

    def __init__(
        self, kind: str = "content", word: str = "STOP", reason: str = "content_filter", text: str = "(end)"
    ) -> None:
        super().__init__()
        self.kind, self.word, self.finish, self.text = kind, word, reason, text

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Finish | None:
        if channel.kind == self.kind and self.word in text:
            return Finish(self.finish, text.partition(self.word)[0] + self.text)
        return None


class Quiet(Plugin[PluginConfig]):
    name, needs = "quiet", Needs.USAGE
    seen: Any = None

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        return None

    def on_complete(self, exchange: Exchange) -> None:
        meter = exchange.meter
        self.seen = (meter.usage.input_tokens, meter.usage.output_tokens, meter.usage.cached_tokens, meter.model)
        self.said = (meter.produced_bytes, meter.finish_reasons, meter.answer_id, meter.error_reported)


def passed(data: bytes, *plugins: Plugin[Any], cut: int = 0, hosts: list[str] | None = None) -> bytes:
    chunks = [data[start : start + cut] for start in range(0, len(data), cut)] if cut else [data]
    asked = {"model": "m", "stream": True, "input": "hi"}
    script = Script(
        method="POST",
        path="/v1/responses",
        headers=JSON,
        body=[json.dumps(asked).encode()],
        answer=Scripted(headers=SSE, chunks=chunks),
    )
    return assert_same(run_everywhere(script, lambda: list(plugins), hosts=hosts or ["asgi"])).body


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_unchanged_streams_are_byte_identical(cut: int) -> None:
    quiet = Quiet()
    data = b": keep-alive\n\n" + FULL.replace(b"\n", b"\r\n") + b"data: [DONE]\n\n"
    assert passed(data, quiet, cut=cut) == data
    assert quiet.seen == (37, 11, 5, "gpt-4.1")
    assert quiet.said[1:] == (("completed",), "resp_67c", False)


def test_all_hosts_agree() -> None:
    assert b"hamster" in passed(FULL, Filter(), hosts=["asgi", "wsgi", "httpx"])


@pytest.mark.parametrize("cut", [0, 1, 7])
@pytest.mark.parametrize("plugin", [Filter, Hoarder])
@pytest.mark.parametrize("typed", [True, False])
def test_texts_told_in_pieces_and_again_are_filtered_alike(cut: int, plugin: type[Filter], typed: bool) -> None:
    data = stream(*EVERYTHING, typed=typed)
    assert b"hamster" not in data
    filtered = passed(data, plugin(), cut=cut)
    assert told_in_pieces(filtered) == {
        place: text.replace("cat", "hamster") for place, text in told_in_pieces(data).items()
    }
    assert json.dumps(told_whole(filtered)) == json.dumps(told_whole(data)).replace("cat", "hamster")
    assert b'"instructions":"cat"' in filtered.replace(b": ", b":")  # what the caller said is no text of the answer
    if cut:
        return
    all_valid(filtered)
    final = sdk_reads(filtered)
    assert final.output_text == "a hamster sat on the mat"
    assert final.usage is not None
    assert final.usage.total_tokens == 48


@given(st.lists(st.text("cat do\u00e9\U0001f600\n", max_size=4), min_size=1, max_size=10), st.integers(1, 60))
def test_the_result_is_that_of_the_whole_text(pieces: list[str], cut: int) -> None:
    whole = "".join(pieces)
    filtered = passed(stream(message(0, *pieces), numbered=False, typed=cut % 2 == 0), Filter(), cut=cut * 7)
    assert told_in_pieces(filtered).get((0, "response.output_text"), "") == whole.replace("cat", "hamster")
    assert told_whole(filtered)[0]["content"][0]["text"] == whole.replace("cat", "hamster")


def test_only_texts_change() -> None:
    before, after = bodies(FULL), bodies(passed(FULL, Filter()))
    after = [body for body in after if not (body["type"].endswith(".delta") and body["delta"] == "")]
    assert [body["type"] for body in after if not body["type"].endswith(".delta")] == [
        body["type"] for body in before if not body["type"].endswith(".delta")
    ]
    for body in before:
        if not body["type"].endswith(".delta"):
            found = next(
                other
                for other in after
                if other["sequence_number"] == body["sequence_number"] and other["type"] == body["type"]
            )
            assert json.dumps(found) == json.dumps(body).replace("cat", "hamster").replace(
                'instructions": "hamster', 'instructions": "cat'
            )


def test_logprobs_of_replaced_tokens_are_gone() -> None:
    events, item = message(0, "cat")
    for _, members in events:
        if "logprobs" in members:
            members["logprobs"] = [{"token": "cat", "logprob": -0.1, "top_logprobs": []}]
    item["content"][0]["logprobs"] = [{"token": "cat", "bytes": [], "logprob": -0.1, "top_logprobs": []}]
    assert b'"token"' not in passed(stream((events, item)), Filter()).replace(b"cat\\", b"")
    assert passed(stream((events, item)), Quiet()).count(b'"token"') == 4


# ------------------------------------------------------------------ an end made by a plug-in

STOPS: list[tuple[str, Any, str]] = [
    ("content", message(1, "so ", "it STOP", " more"), "so it (end)"),
    ("refusal", refusal(1, "so ", "it STOP", " more"), "so it (end)"),
    ("reasoning", reasoning(1, "so ", "it STOP", " more"), "so it (end)"),
    ("reasoning", reasoning(1, "so ", "it STOP", " more", whole=True), "so it (end)"),
    *(("tool_arguments", call(kind, 1, "so ", "it STOP", " more"), "so it (end)") for kind in CALLS),
]


@pytest.mark.parametrize(("kind", "part", "expected"), STOPS)
@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("content_filter", "incomplete", "content_filter"),
        ("length", "incomplete", "max_output_tokens"),
        ("stop", "completed", None),
    ],
)
def test_an_answer_that_is_stopped_ends_as_one_of_the_api(
    kind: str, part: Any, expected: str, reason: str, status: str, why: str | None
) -> None:
    first = message(0, "first", name="msg_0")
    data = stream(first, part, message(2, "never"))
    stopped = passed(data, Stopper(kind, reason=reason))
    assert stopped == passed(data, Stopper(kind, reason=reason), cut=1 if reason == "length" else 7)
    assert not any(word in stopped for word in (b"never", b"more", b"STOP"))
    all_valid(stopped)
    output = told_whole(stopped)
    assert output[0] == first[1]
    assert expected in list(leaves(output[1]))
    assert output[1].get("status", status) == status
    numbers = [body["sequence_number"] for body in bodies(stopped)]
    assert len(set(numbers)) == len(numbers)
    final = sdk_reads(stopped)
    assert (final.status, final.incomplete_details and final.incomplete_details.reason) == (status, why)
    assert final.output_text == ("firstso it (end)" if kind == "content" else "first")
    assert final.model == "gpt-4.1"


def test_what_is_held_inside_a_stop_is_dropped_and_outside_of_it_filtered() -> None:
    data = stream(message(0, "one ca", "t two STO", "P three"))

    class Holding(Stopper):
        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Any:
            found = super().on_text(exchange, text, channel)
            return found if found or channel.final else (text[:-3], text[-3:])

    inner, outer = Holding(), Filter()
    for priorities in ((10, 20), (20, 10)):
        inner.priority, outer.priority = priorities
        stopped = passed(data, inner, outer)
        all_valid(stopped)
        assert sdk_reads(stopped).output_text == "one hamster two (end)"


def test_a_stop_in_the_last_flush_keeps_the_usage() -> None:
    events, item = message(0, "a STO")
    told = [event for event in events if not event[0].endswith(".done")]
    ending = ("response.completed", {"response": response("completed", [item], USAGE)})

    class AtTheEnd(Stopper):
        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Any:
            return Finish("length", "cut") if channel.final else ("", text)

    stopped = passed(stream((told, item), end=ending), AtTheEnd())
    all_valid(stopped)
    final = sdk_reads(stopped)
    assert (final.output_text, final.status) == ("cut", "incomplete")
    assert final.usage is not None
    assert final.usage.total_tokens == 48


@pytest.mark.parametrize("first", [reasoning(0, "think"), message(0, "a", name="msg_0")], ids=["reasoning", "message"])
@pytest.mark.parametrize("at", range(1, 14))
def test_an_event_hook_may_stop_anywhere(first: Any, at: int) -> None:
    class Counting(Plugin[PluginConfig]):
        name = "counting"
        count = 0

        def on_event(self, exchange: Exchange, event: Event) -> Any:
            self.count += 1
            return Finish("length", "bye") if self.count > at else None

    data = stream(first, message(1, "b", "c"))
    before = [body for body in bodies(data)[:at] if body["type"] == "response.output_text.delta"]
    for plugins in ([Counting()], [Counting(), Quiet()]):
        stopped = passed(data, *plugins)
        all_valid(stopped)
        told_whole(stopped)
        assert sdk_reads(stopped).output_text == "".join(body["delta"] for body in before) + "bye"


def test_a_stop_before_anything_was_said_is_a_whole_stream() -> None:
    class AtOnce(Plugin[PluginConfig]):
        name = "at-once"

        def on_event(self, exchange: Exchange, event: Event) -> Any:
            return Finish("content_filter")

    stopped = passed(stream(message(0, "x")), AtOnce())
    all_valid(stopped)
    assert sdk_reads(stopped).status == "incomplete"
    assert told_whole(stopped) == []
    spoken = RESPONSES.open()
    assert bodies(spoken.finish_events(None, (), "stop"))[-1]["response"]["status"] == "completed"
    assert spoken.finish_events(None, (), "stop") == b""  # it has ended


def test_annotations_that_left_stay_with_a_text_that_was_stopped() -> None:
    events, item = message(0, "so ", "STOP")
    annotation = {"type": "file_path", "file_id": "file-1", "index": 0}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "annotation_index": 0}
    events.insert(3, ("response.output_text.annotation.added", {**at, "annotation": annotation}))
    assert told_whole(passed(stream((events, item)), Stopper()))[0]["content"][0]["annotations"] == [annotation]


# ------------------------------------------------------------------ providers who tell less, or otherwise


def test_texts_that_were_told_in_no_pieces_are_filtered_once() -> None:
    item = {
        "id": "c_0",
        "type": "function_call",
        "call_id": "k",
        "name": "f",
        "arguments": "cat",
        "status": "completed",
    }
    late = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [text_part("cat cat")]}
    ending = ("response.completed", {"response": response("completed", [item, late], USAGE, output_text="cat cat")})
    seen: list[tuple[str, str]] = []

    class Spy(Filter):
        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Any:
            seen.append((channel.kind, text))
            return super().on_text(exchange, text, channel)

    data = stream(([("response.output_item.done", {"output_index": 0, "item": item})], item), end=ending)
    quiet = Quiet()
    filtered = passed(data, Spy(), quiet)
    assert seen == [("tool_arguments", "cat"), ("content", "cat cat")]
    assert quiet.said[0] == len("cat" * 3) + 1
    final = bodies(filtered)[-1]["response"]
    assert [final["output"][0]["arguments"], final["output"][1]["content"][0]["text"]] == ["hamster", "hamster hamster"]
    assert final["output_text"] == "hamster hamster"


@pytest.mark.parametrize("named", [True, False])
def test_gaps_between_output_items(named: bool) -> None:
    events, item = message(2, "ca", "t")
    second, other = call("function_call", 5, "{ca", "t}")
    if not named:
        item, other = {**item, "id": "x"}, {**other, "id": "y", "call_id": "z"}
    filtered = passed(stream((events, item), (second, other)), Filter())
    output = bodies(filtered)[-1]["response"]["output"]
    assert (output[0]["content"][0]["text"], output[1]["arguments"]) == ("hamster", "{hamster}")


def test_item_identity_goes_before_place() -> None:
    first, one = message(0, "cat one", name="m1")
    second, two = message(1, "cat two", name="m2")
    ending = ("response.completed", {"response": response("completed", [two, one], USAGE)})
    filtered = passed(stream((first, one), (second, two), end=ending), Filter())
    texts = [item["content"][0]["text"] for item in bodies(filtered)[-1]["response"]["output"]]
    assert texts == ["hamster two", "hamster one"]


def test_a_text_begun_in_its_item_goes_on_in_deltas() -> None:
    events, item = message(0, "STO", "P it")
    events[1] = ("response.content_part.added", {**events[1][1], "part": text_part("do ")})
    inner, outer = Hoarder(), Stopper()
    inner.priority, outer.priority = 10, 20
    stopped = passed(stream((events, item)), inner, outer)
    assert told_in_pieces(stopped)[0, "response.output_text"] == "do (end)"


@pytest.mark.parametrize(
    ("event", "known", "opaque"),
    [
        (b"data: [DONE]\n\n", False, False),
        (b": comment\n\n", False, False),
        (b"data: no json\n\n", False, True),
        (b"data: [1]\n\n", False, True),
        (b'data: {"type":"keepalive","sequence_number":3}\n\n', True, False),
        (b'data: {"type":"response.web_search_call.searching","item_id":"ws_1","output_index":0}\n\n', True, False),
        (b'data: {"type":"response.image_generation_call.partial_image","partial_image_b64":"iVBO"}\n\n', True, False),
        (b'data: {"type":"response.output_text.annotation.added","annotation":{"title":"t"}}\n\n', True, False),
        (b'data: {"type":"response.tomorrow.delta","delta":"secret"}\n\n', False, True),
        (b'data: {"type":"response.tomorrow.delta","delta":{"stdout":"secret"}}\n\n', False, True),
        (b'data: {"type":"response.content_part.added","part":{"type":"tomorrow","body":"secret"}}\n\n', False, True),
        (b'data: {"type":"response.mcp_call_arguments.delta","delta":{"a":1}}\n\n', True, False),
    ],
)
def test_what_is_not_known_is_opaque_if_it_may_hold_text(event: bytes, known: bool, opaque: bool) -> None:
    stream = RESPONSES.open()
    assert (stream.read(Event(event)) is not None) is known
    assert known or stream.opaque(Event(event)) is opaque


def test_ends() -> None:
    spoken = RESPONSES.open()
    for event, ends in (
        (Event(b"data: [DONE]\n\n"), True),
        (Event(b'event: response.completed\ndata: {"type":"response.completed"}\n\n'), True),
        (Event(b'data: {"type":"response.failed"}\n\n'), True),
        (Event(b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n'), False),
    ):
        spoken.read(event)
        assert spoken.ends(event) is ends


# ------------------------------------------------------------------ errors


def test_an_error_in_the_stream_is_reported_and_what_was_held_leaves_before_it() -> None:
    events, _ = message(0, "a ca")
    failed = response("failed", [], error={"code": "server_error", "message": "x"})
    told: list[Told] = [
        ("response.created", {"response": response("in_progress", [])}),
        *events[:3],
        ("error", {"code": "server_error", "message": "x", "param": None}),
        ("response.failed", {"response": failed}),
    ]
    quiet = Quiet()
    names = [body["type"] for body in bodies(passed(written(told), Filter(), quiet))]
    assert names[-4:] == ["response.output_text.delta", "response.output_text.delta", "error", "response.failed"]
    assert quiet.said[1:] == (("failed",), "resp_67c", True)


def test_the_official_client_raises_at_an_error_of_ours() -> None:
    spoken = RESPONSES.open()
    data = stream(message(0, "x"))
    for event in Splitter().feed(data)[:4]:
        delta = spoken.read(event)
        assert delta is not None
        spoken.sent(event, delta)
    error = spoken.error_event(429, "slow_down", "Too fast.")
    told = bodies(error)[0]
    assert {key: told[key] for key in ("type", "code", "message", "param", "sequence_number")} == {
        "type": "error",
        "code": "slow_down",
        "message": "Too fast.",
        "param": None,
        "sequence_number": 4,
    }
    STRICT.validate_python(told)
    with sdk(FULL[: len(data) // 4].rpartition(b"\n\n")[0] + b"\n\n" + error) as client:
        with (
            pytest.raises(openai.APIError, match="Too fast") as raised,
            client.responses.stream(model="m", input="x") as events,
        ):
            events.until_done()
        assert raised.value.code == "slow_down"


# ------------------------------------------------------------------ single events, and anything at all


def test_whole_and_streamed_answers_tell_the_same_texts_at_the_same_places() -> None:
    spoken = RESPONSES.open()
    texts: dict[Any, str] = {}
    calls = []
    for event in Splitter().feed(FULL):
        delta = spoken.read(event)
        assert delta is not None
        calls += [(call.part, call.id, call.name) for call in delta.calls]
        for piece in delta.pieces:
            texts[piece.place] = texts.get(piece.place, "") + piece.text
    answer = RESPONSES.answered(bodies(FULL)[-1]["response"])
    assert {piece.place: piece.text for piece in answer.pieces} == texts
    assert [(call.part, call.id, call.name) for call in answer.calls] == calls
    assert len(calls) == 3


def test_the_quick_ways_read_what_the_slow_way_reads() -> None:
    at = b'"type":"response.output_text.delta","item_id":"m","output_index":%d,"content_index":0'
    data = b"data: {" + at + b',"delta":"a","logprobs":[]}\n\n'
    first = data % 0
    spoken = RESPONSES.open()
    assert spoken.text_of(first[6:-2]) == (0, "a")
    delta = RESPONSES.open().read(Event(first))
    assert delta is not None
    frame = spoken.frame(first, delta.pieces[0])
    assert frame is not None
    assert (frame.place, frame.text(first.replace(b'"a"', b'"bcd"'))) == ((0, "content", 0), "bcd")
    assert RESPONSES.open().text_of((data % 1)[6:-2]) is None  # of another part than 0
    assert spoken.frame(first.replace(b'"logprobs":[]', b'"logprobs":[1]'), delta.pieces[0]) is None
    assert (
        spoken.frame(first.replace(b'"output_index"', b'"sequence_number":1,"output_index"'), delta.pieces[0]) is None
    )
    assert spoken.text_of(first[6:-2].replace(b"[]", b'[{"token":"a"}]')) is None
    done = b'data: {"type":"response.output_text.done","output_index":0,"content_index":0,"text":"a"}\n\n'
    told = spoken.read(Event(done))
    assert told is not None
    assert [piece.text for piece in told.restated] == ["a"]  # it was told


@given(
    st.text(max_size=8) | st.sampled_from(['"delta":"x"', '\\"delta": "', "\\", 'a"']),
    st.text(max_size=4),
    st.booleans(),
)
def test_the_quick_way_writes_what_the_slow_way_writes(old: str, new: str, ascii_only: bool) -> None:
    at = {"item_id": 'x,"delta":"y"', "output_index": 0, "content_index": 0, "logprobs": []}
    body = {"type": "response.output_text.delta", "sequence_number": 4, **at, "delta": old, "obfuscation": "delta"}
    event = Event(b"data: " + json.dumps(body, ensure_ascii=ascii_only).encode() + b"\n\n")
    spoken = RESPONSES.open()
    delta = spoken.read(event)
    assert delta is not None
    quick = spoken.with_texts(event, [Piece(0, "content", 0, new)])
    assert json.loads(Event(quick).data or b"") == body | {"delta": new}
    assert list(json.loads(Event(quick).data or b"")) == list(body)


kinds = st.sampled_from([*{body["type"] for body in bodies(FULL)}, "error", "response.queued", "tomorrow", ""])
indexes = st.integers(-1, 3) | st.none() | st.text(max_size=1) | st.just(2**70)
leaf = st.none() | st.text(max_size=3) | st.integers(-2, 2)
texts_of = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["output_text", "refusal", "x"]) | leaf, "text": leaf, "refusal": leaf}
)
items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "reasoning", *CALLS, "x"]) | leaf,
        "id": leaf,
        "call_id": leaf,
        "name": leaf,
        "content": leaf | st.lists(texts_of | leaf, max_size=2),
        "summary": leaf | st.lists(texts_of, max_size=2),
        "arguments": leaf,
        "status": leaf,
    },
)
responses = st.fixed_dictionaries(
    {},
    optional={
        "id": leaf,
        "output": leaf | st.lists(items | leaf, max_size=3),
        "output_text": leaf,
        "usage": leaf | st.dictionaries(st.just("input_tokens"), leaf),
        "status": leaf,
        "error": leaf,
        "incomplete_details": leaf | st.dictionaries(st.just("reason"), leaf),
        "model": leaf,
    },
)
odd = st.fixed_dictionaries(
    {"type": kinds | leaf},
    optional={
        "sequence_number": indexes,
        "output_index": indexes,
        "content_index": indexes,
        "summary_index": indexes,
        "delta": leaf,
        "text": leaf,
        "arguments": leaf,
        "part": texts_of | leaf,
        "item": items | leaf,
        "response": responses | leaf,
        "annotation": leaf,
        "error": leaf,
    },
)


@given(st.lists(odd, max_size=8), st.sampled_from(["stop", "length", "content_filter"]))
def test_nothing_raises_whatever_comes(told: list[dict[str, Any]], reason: str) -> None:
    spoken = RESPONSES.open()
    assert spoken.said is not None
    last = None
    for body in told:
        last = event = Event(b"data: " + json.dumps(body).encode() + b"\n\n")
        spoken.text_of(event.data or b"")
        delta = spoken.read(event)
        spoken.ends(event)
        if delta is None:
            spoken.opaque(event)
            continue
        for piece in delta.pieces:
            spoken.said.setdefault(piece.place, []).append(piece.text)
        spoken.sent(event, delta)
        changed = [Piece(*piece.place, "x") for piece in (*delta.pieces, *delta.restated)]
        again = json.loads(Event(spoken.with_texts(event, changed)).data or b"")
        left = RESPONSES.open().read(Event(b"data: " + json.dumps(again).encode() + b"\n\n"))
        assert left is not None
        assert {piece.text for piece in left.pieces} <= {"x"}
    if last is not None:
        for kind in ("content", "reasoning", "tool_arguments", "tool_result"):
            spoken.text_event(last, Piece(0, kind, 0, "y"))
    bodies(spoken.finish_events(last, (0,), reason))


@given(st.lists(odd, max_size=6), st.integers(1, 50))
def test_a_filter_sees_everything_whatever_comes(told: list[dict[str, Any]], cut: int) -> None:
    data = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in told)
    passed(data, Filter(), cut=cut * 10)
    passed(data, Stopper(word="0"), cut=cut * 10)


# ------------------------------------------------------------------ patches and what commands wrote


def patch(*pieces: str) -> tuple[list[Told], dict[str, Any]]:
    """A patch whose difference is told in pieces; the path of the file is told once, with the item."""
    at = {"item_id": "apc_1", "output_index": 0}
    stem = "response.apply_patch_call_operation_diff"

    def item(status: str, difference: str) -> dict[str, Any]:
        operation = {"type": "create_file", "path": "file.txt", "diff": difference}
        return {"id": "apc_1", "type": "apply_patch_call", "status": status, "call_id": "c", "operation": operation}

    whole = "".join(pieces)
    return [
        ("response.output_item.added", {"output_index": 0, "item": item("in_progress", "")}),
        *((f"{stem}.delta", {**at, "delta": piece}) for piece in pieces),
        (f"{stem}.done", {**at, "diff": whole}),
        ("response.output_item.done", {"output_index": 0, "item": item("completed", whole)}),
    ], item("completed", whole)


def command(*pieces: str) -> tuple[list[Told], dict[str, Any]]:
    """What a command wrote, told in pieces that are objects, then whole, then with its item."""
    at = {"item_id": "sho_1", "output_index": 0}
    written = {"stdout": "".join(pieces), "stderr": "a cat!", "outcome": {"type": "exit", "exit_code": 0}}
    item = {"id": "sho_1", "type": "shell_call_output", "call_id": "c", "max_output_length": None}
    stem = "response.shell_call_output_content"
    whole = {**item, "status": "completed", "output": [written]}
    return [
        ("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress", "output": []}}),
        *((f"{stem}.delta", {**at, "command_index": 0, "delta": {"stdout": piece}}) for piece in pieces),
        (f"{stem}.delta", {**at, "command_index": 0, "delta": {"stderr": "a cat!"}}),
        (f"{stem}.done", {**at, "command_index": 0, "output": [written]}),
        ("response.output_item.done", {"output_index": 0, "item": whole}),
    ], whole


@pytest.mark.parametrize("made", [patch("+a c", "at\n", "+and a c"), command("a c", "at\n", "and a c")])
@pytest.mark.parametrize("cut", [1, 7, 0])
def test_patches_and_what_commands_wrote_are_texts(made: tuple[list[Told], dict[str, Any]], cut: int) -> None:
    told, item = made
    ends = {"response": response("completed", [item], USAGE)}
    data = written(
        [("response.created", {"response": response("in_progress", [])}), *told, ("response.completed", ends)]
    )
    assert passed(data, Quiet(), cut=cut) == data
    left = passed(data, Filter(), cut=cut)
    assert "".join(map(str, leaves([body.get("delta") for body in bodies(left)]))).count("hamster") >= 1
    assert [body["type"] for body in bodies(left) if body["type"].endswith(".done")] == [
        name for name, _ in told if name.endswith(".done")
    ]
    expected = json.dumps(item).replace("cat", "hamster")
    for body in bodies(left):
        if body["type"] == "response.output_item.done":
            assert body["item"] == json.loads(expected)
        if body["type"] == "response.completed":
            assert body["response"]["output"] == [json.loads(expected)]

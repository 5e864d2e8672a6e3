"""Streams of Gemini, as events and as one array: what is filtered is the whole text, whatever the chunks are."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Channel, Exchange, Finish, Needs, Plugin, PluginConfig
from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.dialects.base import Delta, Piece
from aigw_middleware.llm.dialects.gemini_parts import LEAVES
from aigw_middleware.llm.framing import JSON_ARRAY, SSE
from aigw_middleware.llm.sse import Event
from aigw_middleware.testing.matrix import Script, Scripted, Transcript, assert_same, run_everywhere

GEMINI = DIALECTS["gemini"]
HEAD = {"modelVersion": "gemini-x", "responseId": "r1"}
USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": 2, "totalTokenCount": 14}
CALL = {"functionCall": {"id": "c", "name": "f", "args": {"q": "a cat", "n": 1.50}}, "thoughtSignature": "c2ln"}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}


def chunk(*parts: Any, reason: str = "", index: int = 0, usage: Any = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [{**candidate, "index": index}], **({"usageMetadata": usage} if usage else {}), **HEAD}


def texts(*pieces: str, **more: Any) -> list[dict[str, Any]]:
    return [chunk({"text": piece, **more}) for piece in pieces]


def end(reason: str = "STOP") -> dict[str, Any]:
    return chunk({"text": ""}, reason=reason, usage=USAGE)


def written(chunks: Sequence[Any], array: bool) -> bytes:
    if not array:
        return b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in chunks)
    return b"[" + b"\n,\r\n".join(json.dumps(one, indent=2).encode() for one in chunks) + b"\n]\n"


def script(data: bytes, array: bool, cut: int = 0, **options: Any) -> Script:
    return Script(
        method="POST",
        path="/v1beta/models/gemini-x:streamGenerateContent",
        query="" if array else "alt=sse",
        headers=[("content-type", "application/json")],
        body=[b'{"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}'],
        answer=Scripted(
            headers=[("content-type", "application/json" if array else "text/event-stream")],
            chunks=[data[start : start + cut] for start in range(0, len(data), cut)] if cut else [data],
        ),
        **options,
    )


def chunks_of(data: bytes, array: bool) -> list[Any]:
    if array:
        found = json.loads(data)
        assert isinstance(found, list)
        return found
    blocks = data.replace(b"\r\n", b"\n").split(b"\n\n")
    assert blocks.pop() == b""
    return [json.loads(block.removeprefix(b"data: ")) for block in blocks]


def heard(data: bytes, array: bool) -> tuple[dict[str, str], list[Any], list[str]]:
    """Return the texts by kind, the function calls and the finish reasons of one candidate, as its reader has them."""
    words: dict[str, str] = {}
    calls: list[Any] = []
    reasons: list[str] = []
    for one in chunks_of(data, array):
        assert one["modelVersion"] == "gemini-x"
        for candidate in one["candidates"]:
            for part in candidate.get("content", {}).get("parts", ()):
                assert not reasons
                kind = "reasoning" if part.get("thought") else "content"
                words[kind] = words.get(kind, "") + part.get("text", "")
                if "functionCall" in part:
                    calls.append(part["functionCall"])
            if "finishReason" in candidate:
                reasons.append(candidate["finishReason"])
    return {kind: text for kind, text in words.items() if text}, calls, reasons


class Filter(Plugin[PluginConfig]):
    """Replaces one word by another, holding back what may be its beginning."""

    name = "filter"
    word, other = "cat", "dog"

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> tuple[str, str] | str:
        text = text.replace(self.word, self.other)
        if channel.final:
            return text
        sizes = range(min(len(self.word) - 1, len(text)), 0, -1)
        keep = next((size for size in sizes if self.word.startswith(text[-size:])), 0)
        return text[: len(text) - keep], text[len(text) - keep :]


class Stopper(Plugin[PluginConfig]):
    """Ends the answer at a word, with a text of its own."""

    name, priority = "stopper", 5
    word = "STOP"

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Finish | tuple[str, str] | None:
        place = text.find(self.word)
        if place >= 0:
            return Finish("content_filter", text[:place] + "(end)")
        keep = max(0, len(text) - len(self.word) + 1)
        return None if channel.final else (text[:keep], text[keep:])


class Watching(Plugin[PluginConfig]):
    """Changes nothing, and remembers what was measured."""

    name, needs = "watching", Needs.USAGE

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        exchange.meter.keep_text = 1_000

    def on_complete(self, exchange: Exchange) -> None:
        meter = exchange.meter
        usage = meter.usage
        self.seen.append((usage.input_tokens, usage.output_tokens, usage.stated_output, usage.partial, meter.model))
        self.seen.append((meter.finish_reasons, meter.answer_id, meter.streamed, meter.error_reported))


def one_host(given_script: Script, *plugins: Plugin[Any]) -> Transcript:
    return run_everywhere(given_script, lambda: list(plugins), hosts=["asgi"])["asgi"]


FORMS = pytest.mark.parametrize("array", [False, True], ids=["events", "array"])
CUTS = pytest.mark.parametrize("cut", [0, 1, 7])
FULL = [
    *texts("thinking of ", "a c", "at", thought=True),
    *texts("Hel", "lo c"),
    chunk({"text": "at"}, usage={"promptTokenCount": 5, "totalTokenCount": 5}),
    chunk(CALL),
    chunk({"executableCode": {"language": "PYTHON", "code": "cat()"}}, {"codeExecutionResult": {"output": "1 cat"}}),
    *texts("the ", "ca"),
    chunk(IMAGE),
    chunk({"text": "t", "thoughtSignature": "c2ln"}),
    chunk({"text": ", c"}, {"text": "at"}, reason="STOP", usage=USAGE),
]


@FORMS
@CUTS
def test_unchanged_streams_are_byte_identical(array: bool, cut: int) -> None:
    data = written(FULL, array)
    watching = Watching()
    transcript = assert_same(run_everywhere(script(data, array, cut), lambda: [watching]), chunks=True)
    assert transcript.body == data
    assert transcript.outcomes == ["completed"]
    assert set(watching.seen) == {(5, 9, 7, False, "gemini-x"), (("STOP",), "r1", True, False)}


@FORMS
@CUTS
def test_the_result_is_that_of_the_whole_text(array: bool, cut: int) -> None:
    body = one_host(script(written(FULL, array), array, cut), Filter()).body
    words, calls, reasons = heard(body, array)
    assert words == {"reasoning": "thinking of a dog", "content": "Hello dogthe cat, dog"}
    assert calls == [{"id": "c", "name": "f", "args": {"q": "a dog", "n": 1.5}}]
    assert reasons == ["STOP"]
    assert b"dog()" in body
    assert b"1 dog" in body
    assert said(chunks_of(body, array)) == [
        (*place, text.replace("cat", "dog")) for *place, text in said(copy.deepcopy(FULL))
    ]


def said(body: Any) -> list[tuple[Any, ...]]:
    return [(piece.index, piece.kind, piece.part, piece.text) for piece in GEMINI.answered(body).pieces]


def streamed(chunks: Sequence[Any]) -> dict[Any, str]:
    stream = GEMINI.open()
    found: dict[Any, str] = {}
    for one in chunks:
        delta = stream.read(event_of(one))
        assert delta is not None
        for piece in delta.pieces:
            found[piece.place] = found.get(piece.place, "") + piece.text
    return found


def event_of(body: Any) -> Event:
    return Event(b"data: " + json.dumps(body).encode() + b"\n\n")


def read(stream: Any, body: Any) -> Delta:
    delta = stream.read(event_of(body))
    assert isinstance(delta, Delta)
    return delta


def test_a_stream_says_what_the_whole_answer_says() -> None:
    parts = [part for one in FULL for part in one["candidates"][0]["content"]["parts"]]
    whole = {place[:3]: place[3] for place in said(chunk(*parts, reason="STOP"))}
    assert streamed(FULL) == whole
    assert whole[(0, "content", 0)] == "Hello cat"
    assert {(kind, part) for _, kind, part in whole if part < LEAVES} == {
        ("reasoning", 0), ("content", 0), ("content", 3), ("content", 4)
    }  # fmt: skip


pieces = st.sampled_from([{"text": text} for text in ("", "c", "at", "cat", " ")] + [{"text": "c", "thought": True}])
others = st.sampled_from([CALL, IMAGE, {"text": "at", "thought": True}])


@given(st.lists(st.lists(pieces | others, max_size=3), max_size=8), st.integers(1, 40), st.booleans())
def test_every_stream_is_filtered_as_the_whole(given: list[list[Any]], cut: int, array: bool) -> None:
    chunks = [*(chunk(*copy.deepcopy(parts)) for parts in given), end()]
    body = one_host(script(written(chunks, array), array, cut), Filter()).body
    expected = [(*place, text.replace("cat", "dog")) for *place, text in said(chunks)]
    assert {place[:3]: place[3] for place in said(chunks_of(body, array))} == {
        (index, kind, part): text for index, kind, part, text in expected
    }


@FORMS
@CUTS
def test_a_stop_in_a_text_ends_the_stream(array: bool, cut: int) -> None:
    chunks = [*texts("hm c", thought=True), *texts("one ca", "t two ST", "OP three"), end()]
    body = one_host(script(written(chunks, array), array, cut), Stopper(), Filter()).body
    words, calls, reasons = heard(body, array)
    assert words == {"reasoning": "h", "content": "one dog two (end)"}
    assert (calls, reasons) == ([], ["SAFETY"])


@FORMS
def test_a_stop_in_the_thoughts_ends_the_stream(array: bool) -> None:
    chunks = [*texts("hm ST", "OP more", thought=True), *texts("never"), end()]
    words, _, reasons = heard(one_host(script(written(chunks, array), array), Stopper()).body, array)
    assert (words, reasons) == ({"reasoning": "hm (end)"}, ["SAFETY"])


@FORMS
def test_a_stop_in_arguments_drops_the_call(array: bool) -> None:
    stopped = {"functionCall": {"name": "g", "args": {"q": "fine", "r": "rm STOP"}}}
    chunks = [*texts("so "), chunk({"text": "I do"}, stopped), *texts("never"), end()]
    given_script = script(written(chunks, array), array)
    words, calls, reasons = heard(one_host(given_script, Stopper()).body, array)
    assert (words, calls, reasons) == ({"content": "so I do"}, [], ["SAFETY"])


@pytest.mark.parametrize("array", [False, True], ids=["one", "array"])
def test_a_stop_in_a_whole_answer_is_that_of_the_stream(array: bool) -> None:
    stopped = {"functionCall": {"name": "g", "args": {"q": "fine", "r": "rm STOP"}}}
    chunks = [chunk({"text": "so "}, {"text": "I do"}, CALL, stopped, {"text": "never"}, CALL, reason="STOP")]
    given_script = Script(
        method="POST",
        path="/v1beta/models/gemini-x:generateContent",
        headers=[("content-type", "application/json")],
        body=[b'{"contents": []}'],
        answer=Scripted(
            headers=[("content-type", "application/json")],
            chunks=[json.dumps(chunks if array else chunks[0]).encode()],
        ),
    )
    body = json.loads(one_host(given_script, Stopper()).body)
    words, calls, reasons = heard(json.dumps(body if array else [body]).encode(), True)
    assert (words, calls, reasons) == ({"content": "so I do"}, [CALL["functionCall"]], ["SAFETY"])


@FORMS
def test_a_stop_at_once_is_a_whole_stream(array: bool) -> None:
    class AtOnce(Plugin[PluginConfig]):
        name = "at-once"

        def on_event(self, exchange: Exchange, event: Any) -> Finish:
            return Finish("stop", "bye")

    body = one_host(script(written(FULL, array), array), AtOnce()).body
    assert heard(body, array) == ({"content": "bye"}, [], ["STOP"])


@FORMS
def test_code_that_passed_before_a_stop_is_sent(array: bool) -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "go()"}}
    chunks = [chunk(code, {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "x STOP y"}}), end()]
    found = chunks_of(one_host(script(written(chunks, array), array), Stopper()).body, array)
    parts = [part for one in found for part in one["candidates"][0]["content"]["parts"]]
    assert parts == [code, {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "x (end)"}}, {"text": ""}]


@FORMS
def test_dropped_and_inserted_chunks_keep_the_array(array: bool) -> None:
    class Dropping(Plugin[PluginConfig]):
        name = "dropping"

        def on_event(self, exchange: Exchange, event: Any) -> Any:
            if event.data is not None and b"drop" in event.data:
                return ()
            return (event, event) if event.data is not None and b"twice" in event.data else None

    for chunks in ([*texts("drop", "a", "twice", "drop"), end()], texts("drop"), []):
        body = one_host(script(written(chunks, array), array), Dropping(), Filter()).body
        assert heard(body, array)[0] == ({"content": "atwicetwice"} if len(chunks) > 1 else {})


def test_text_before_a_call_leaves_before_it() -> None:
    chunks = [*texts("so ca"), chunk(CALL), *texts("t"), end()]
    found = chunks_of(one_host(script(written(chunks, False), False), Filter()).body, False)
    parts = [part for one in found for part in one["candidates"][0]["content"]["parts"]]
    assert [part.get("text", "call") for part in parts] == ["so ", "ca", "call", "t", ""]


def test_events_made_by_a_plugin_close_what_the_first_one_closed() -> None:
    class Copying(Plugin[PluginConfig]):
        name = "copying"

        def on_event(self, exchange: Exchange, event: Event) -> Any:
            if event.data is None or b"functionCall" not in event.data:
                return None
            return [Event(event.raw.replace(b'"f"', b'"g"'))]

    chunks = [*texts("so ca"), chunk(CALL), *texts("cat ca"), chunk(CALL), *texts("t"), end()]
    found = chunks_of(one_host(script(written(chunks, False), False), Copying(), Filter()).body, False)
    parts = [part for one in found for part in one["candidates"][0]["content"]["parts"]]
    assert [part.get("text", "call") for part in parts] == ["so ", "ca", "call", "dog ", "ca", "call", "t", ""]
    assert [part["functionCall"]["args"]["q"] for part in parts if "functionCall" in part] == ["a dog", "a dog"]


def partial(path: str, text: str, more: bool, name: str = "", last: bool = False) -> dict[str, Any]:
    argument = {"jsonPath": path, "stringValue": text, **({"willContinue": True} if more else {})}
    named = {"name": name} if name else {}
    return chunk({"functionCall": {**named, "partialArgs": [argument], **({} if last else {"willContinue": True})}})


def test_arguments_in_pieces_are_texts() -> None:
    chunks = [
        chunk({"functionCall": {"name": "f", "willContinue": True}}),
        partial("$.a", "one c", True),
        partial("$.b", "ca", True),
        partial("$.a", "at", False),
        chunk({"functionCall": {}}),
        partial("$.a", "cat", False, "g", last=True),
        end(),
    ]
    whole = {place[:3]: place[3] for place in said(chunks)}
    assert streamed(chunks) == whole
    assert list(whole.values()) == ["one cat", "ca", "cat"]
    assert [call.name for call in GEMINI.answered(chunks).calls] == ["f", "g"]
    stream = GEMINI.open()
    arguments = [[part for _, part in read(stream, one).closed if part >= LEAVES] for one in chunks]
    assert arguments == [[], [], [], [LEAVES + 1], [LEAVES + 2], [LEAVES + 4], []]
    body = one_host(script(written(chunks, False), False), Filter()).body
    found: dict[tuple[int, str], str] = {}
    call = 0
    for one in chunks_of(body, False):
        for part in one["candidates"][0]["content"]["parts"]:
            held = part.get("functionCall", {})
            call += "name" in held
            for argument in held.get("partialArgs", ()):
                place = (call, argument["jsonPath"])
                found[place] = found.get(place, "") + argument["stringValue"]
    assert found == {(1, "$.a"): "one dog", (1, "$.b"): "ca", (2, "$.a"): "dog"}


def test_candidates_do_not_mix() -> None:
    chunks = [
        chunk({"text": "ca"}),
        chunk({"text": "co"}, index=1),
        chunk({"text": "t"}, reason="STOP"),
        chunk({"text": "cat"}, index=1, reason="MAX_TOKENS"),
    ]
    found = chunks_of(one_host(script(written(chunks, False), False), Filter()).body, False)
    assert said(found) == [(0, "content", 0, "dog"), (1, "content", 0, "codog")]
    stream = GEMINI.open()
    finished = [(read(stream, one).finished, stream.ends(event_of(one))) for one in chunks]
    assert finished == [([], False), ([], False), ([0], False), ([1], True)]


def test_a_refused_prompt_ends_the_stream() -> None:
    stream = GEMINI.open()
    delta = read(stream, {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
    assert (delta.finished, delta.reasons, stream.ends(event_of({}))) == ([0], ["SAFETY"], True)
    assert delta.usage is not None
    assert not delta.usage.partial


def test_usage_before_the_output_is_partial() -> None:
    stream = GEMINI.open()
    early = read(stream, chunk({"text": "a"}, usage={"promptTokenCount": 3, "totalTokenCount": 3})).usage
    later = read(stream, chunk({"text": "a"}, usage=USAGE)).usage
    assert early is not None
    assert later is not None
    assert (early.partial, later.partial, later.after(early).partial) == (True, False, False)
    assert read(stream, chunk({"text": "a"}, usage={"trafficType": "ON_DEMAND"})).usage is None


def test_the_usage_that_is_told_last_stands() -> None:
    stream = GEMINI.open()
    first = read(stream, chunk({"text": "a"}, usage={"promptTokenCount": 90, "totalTokenCount": 90})).usage
    told = {"promptTokenCount": 40, "candidatesTokenCount": 20, "thoughtsTokenCount": 5, "totalTokenCount": 65}
    middle = read(stream, chunk({"text": "a"}, usage=told)).usage
    told = {"promptTokenCount": 70, "thoughtsTokenCount": 8, "totalTokenCount": 78}
    last = read(stream, chunk({"text": "a"}, reason="STOP", usage=told)).usage
    assert first is not None
    assert middle is not None
    assert last is not None
    assert first.after(None).input_tokens == first.after(first).input_tokens == 90
    assert middle.after(first).total_tokens == 65
    usage = last.after(middle.after(first))
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.total_tokens) == (70, 8, 8, 78)


def test_reasons_told_as_numbers_end_the_stream() -> None:
    stream = GEMINI.open()
    delta = read(stream, {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": 1}]})
    assert (delta.finished, delta.reasons, stream.ends(event_of({}))) == ([0], ["STOP"], True)


@FORMS
def test_a_guard_that_breaks_ends_the_stream_with_an_error(array: bool) -> None:
    class Broken(Plugin[PluginConfig]):
        name = "broken"
        on_failure = "deny"

        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
            if "bad" in text:
                raise ValueError(text)

    body = one_host(script(written([*texts("good", "bad"), end()], array), array), Broken()).body
    found = chunks_of(body, array)
    assert list(found[-1]) == ["error"]
    assert found[-1]["error"]["code"] >= 500
    delta = GEMINI.open().read(Event(b"data: " + json.dumps(found[-1]).encode() + b"\n\n"))
    assert delta is not None
    assert delta.error


@pytest.mark.parametrize(
    ("data", "known", "opaque"),
    [
        (b'{"candidates": []}', True, None),
        (b'[{"error": {"code": 500}}]', True, None),
        (b'{"usageMetadata": {}}', True, None),
        (b"{}", False, False),
        (b"[DONE]", False, False),
        (b"7", False, False),
        (b'{"surprise": "text"}', False, True),
        (b'"text"', False, True),
        (b"text", False, True),
        (b"\xff", False, True),
    ],
)
def test_what_is_not_of_the_dialect(data: bytes, known: bool, opaque: bool | None) -> None:
    stream = GEMINI.open()
    event = Event(b"data: " + data + b"\n\n")
    assert (stream.read(event) is not None) is known
    if opaque is not None:
        assert stream.opaque(event) is opaque
    assert not stream.opaque(Event(b": comment\n\n"))


def test_only_the_text_changes() -> None:
    stream = GEMINI.open()
    raw = (
        b'id: 7\ndata: {"candidates": [{"content": {"parts": [{"text": "a\\u00e9"}], "role": "model"}, "avg": 1.50, '
        b'"logprobsResult": {"x": 1}, "index": 0}], "new": [1e3]}\n\n'
    )
    event = Event(raw)
    assert stream.read(event) is not None
    assert stream.with_texts(event, [Piece(0, "content", 0, "b")]) == (
        b'id: 7\ndata: {"candidates":[{"content":{"parts":[{"text":"b"}],"role":"model"},"avg":1.50,"index":0}],'
        b'"new":[1e3]}\n\n'
    )
    plain = Event(b'data: {"candidates": [{"content": {"parts": [{"text": "a" }]}}], "x": 1.50}\n\n')
    assert stream.read(plain) is not None
    assert stream.with_texts(plain, [Piece(0, "content", 0, 'b"')]) == plain.raw.replace(b'"a"', b'"b\\""')
    told_again = event_of({"candidates": [{"content": {"parts": [{"text": "a"}]}, "logprobsResult": {"x": 1}}]})
    assert stream.read(told_again) is not None
    assert b"logprobs" not in stream.with_texts(told_again, [Piece(0, "content", 0, "b")])


def test_what_is_made_is_like_its_template() -> None:
    stream = GEMINI.open()
    for identifier in ("r1", "r2"):
        template = event_of({**chunk({"text": "a"}, usage=USAGE), "responseId": identifier})
        made = json.loads(stream.text_event(template, Piece(0, "reasoning", 0, "b"))[6:])
        assert made == {**chunk({"text": "b", "thought": True}), "responseId": identifier}
        ended = json.loads(stream.finish_events(template, [1], "length")[6:])
        assert ended == {**chunk({"text": ""}, reason="MAX_TOKENS", index=1), "responseId": identifier}


def test_what_ended_is_not_ended_again() -> None:
    stream = GEMINI.open()
    event = event_of(end())
    assert json.loads(stream.finish_events(event, [], "stop")[6:])["candidates"][0]["finishReason"] == "STOP"
    delta = read(stream, end())
    assert stream.finish_events(event, [], "stop")
    stream.sent(event, delta)
    assert stream.finish_events(event, [], "stop") == b""


def test_a_run_is_closed_once() -> None:
    stream = GEMINI.open()
    for number in range(40):
        delta = read(stream, chunk(IMAGE))
        assert list(delta.closed) == [(0, number)]
        stream.sent(event_of(chunk(IMAGE)), delta)
    assert [len(read(stream, chunk(IMAGE)).closed) for _ in range(40)] == [*range(1, 17), *[17] * 24]


@FORMS
def test_texts_of_events_that_were_read_before(array: bool) -> None:
    framing = JSON_ARRAY if array else SSE
    stream = GEMINI.open(framing)
    events = [framing.event(framing.encode(json.dumps(one).encode())) for one in (chunk(CALL), chunk(CALL))]
    deltas = [stream.read(event) for event in events]
    assert deltas[0] is not None
    [first] = deltas[0].pieces
    changed = GEMINI.open(framing).read(framing.event(stream.with_texts(events[1], [])))
    assert changed is not None
    stream = GEMINI.open(framing)
    other = framing.event(framing.encode(json.dumps(chunk({"text": "x"}, CALL)).encode()))
    assert stream.read(events[0]) is not None
    assert stream.read(other) is not None
    again = GEMINI.open(framing).read(framing.event(stream.with_texts(events[0], [Piece(*first.place, "new")])))
    assert again is not None
    assert [piece.text for piece in again.pieces] == ["new"]


def test_a_frame_is_of_one_run() -> None:
    stream = GEMINI.open()
    event = event_of(chunk({"text": "one"}))
    delta = stream.read(event)
    assert delta is not None
    frame = stream.frame(event.raw, delta.pieces[0])
    assert frame is not None
    other = event.raw.replace(b"one", b"two")
    assert frame.text(other) == "two"
    read(stream, chunk(CALL))
    assert frame.text(other) is None


NAMES = """
    text thought functionCall args partialArgs jsonPath stringValue willContinue parts content index finishReason
    executableCode code name inlineData x
"""
names = st.sampled_from(NAMES.split())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            names,
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(json_values, max_size=4))
def test_nothing_is_raised_for_chunks_of_any_shape(values: list[Any]) -> None:
    stream = GEMINI.open()
    chunks = [{"candidates": value} for value in values] + [{"candidates": [{"content": value}]} for value in values]
    found: dict[Any, str] = {}
    for one in chunks:
        event = event_of(one)
        delta = read(stream, one)
        stream.opaque(event)
        for piece in delta.pieces:
            found[piece.place] = found.get(piece.place, "") + piece.text
            assert isinstance(stream.text_event(event, piece), bytes)
        changed = [Piece(*piece.place, piece.text + "!") for piece in delta.pieces]
        after = GEMINI.open().read(Event(stream.with_texts(event, changed)))
        assert after is not None
        assert [piece.text for piece in after.pieces] == [piece.text for piece in changed]
        stream.sent(event, delta)
        stream.ends(event)
        stream.finish_events(event, delta.finished, "stop")
        GEMINI.finish_answer(copy.deepcopy(one), 0, "stop", (0, "content", len(found) % 3))
    whole = {piece.place: piece.text for piece in GEMINI.answered(chunks).pieces}
    assert whole == found

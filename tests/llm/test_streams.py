"""Texts of a streamed answer through several plug-ins: the result is that of filtering the whole text, however it is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Channel, Exchange, Finish, Needs, Plugin, PluginConfig, Stage
from aigw_middleware.testing.matrix import Script, Scripted, Transcript, assert_same, run_everywhere

PATH = "/v1/chat/completions"
JSON = [("content-type", "application/json")]
SSE = [("content-type", "text/event-stream")]


def event(delta: dict[str, Any] | None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def stream(pieces: list[str], *, finish: bool = True, done: bool = True) -> bytes:
    events = [event({"role": "assistant", "content": ""}), *(event({"content": piece}) for piece in pieces)]
    return b"".join([*events, *([event({}, "stop")] if finish else []), *([DONE] if done else [])])


def script(data: bytes, cut: int = 0, request: dict[str, Any] | None = None, **options: Any) -> Script:
    chunks = [data[start : start + cut] for start in range(0, len(data), cut)] if cut else [data]
    asked = json.dumps(
        request or {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    ).encode()
    return Script(
        method="POST", path=PATH, headers=JSON, body=[asked], answer=Scripted(headers=SSE, chunks=chunks), **options
    )


def texts(data: bytes) -> tuple[dict[int, str], dict[int, str], bool]:
    """Return content by choice, finish reasons by choice, and whether the end marker came last."""
    content: dict[int, str] = {}
    reasons: dict[int, str] = {}
    done = False
    for block in data.split(b"\n\n"):
        if not block.startswith(b"data: "):
            continue
        if block == b"data: [DONE]":
            done = True
            continue
        assert not done
        for choice in json.loads(block[6:])["choices"]:
            index = choice["index"]
            content[index] = content.get(index, "") + (choice["delta"].get("content") or "")
            if choice["finish_reason"]:
                assert index not in reasons
                reasons[index] = choice["finish_reason"]
            else:
                assert index not in reasons or not choice["delta"].get("content")
    return content, reasons, done


class Filter(Plugin[PluginConfig]):
    """Replaces one word by another, holding back what may be its beginning."""

    name, stage = "filter", Stage.DEFAULT
    word, other = "", ""

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> tuple[str, str] | str:
        text = text.replace(self.word, self.other)
        if channel.final:
            return text
        keep = next(
            (size for size in range(min(len(self.word) - 1, len(text)), 0, -1) if self.word.startswith(text[-size:])), 0
        )
        return (text[: len(text) - keep], text[len(text) - keep :]) if keep else text


class Stopper(Plugin[PluginConfig]):
    """Ends the answer at a word; lets out what came before it, and a text of its own."""

    name, stage = "stopper", Stage.DEFAULT
    word = ""

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Finish | tuple[str, str] | None:
        place = text.find(self.word)
        if place >= 0:
            return Finish("content_filter", text[:place] + "(end)")
        keep = len(self.word) - 1
        return None if channel.final else (text[: max(0, len(text) - keep)], text[max(0, len(text) - keep) :])


def filtering(priority: int, word: str, other: str) -> Filter:
    made = Filter()
    made.priority, made.word, made.other = priority, word, other
    return made


def stopping(priority: int, word: str) -> Stopper:
    made = Stopper()
    made.priority, made.word = priority, word
    return made


def one_host(given_script: Script, *plugins: Plugin[Any]) -> Transcript:
    return run_everywhere(given_script, lambda: list(plugins), hosts=["asgi"])["asgi"]


@pytest.mark.parametrize("cut", [0, 1, 7, 64])
def test_unchanged_streams_are_byte_identical(cut: int) -> None:
    data = b": keep-alive\n\n" + stream(["Hel", "lo \u00e4\u20ac"]) + b"event: odd\r\ndata: x\r\n\r\n"

    class Quiet(Plugin[PluginConfig]):
        name, needs = "quiet", Needs.USAGE

        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
            return None

    transcript = assert_same(run_everywhere(script(data, cut), lambda: [Quiet()]), chunks=True)
    assert transcript.body == data
    assert transcript.outcomes == ["completed"]


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_filters_compose_in_reverse_order(cut: int) -> None:
    data = stream(["a ca", "t sat on th", "e ma", "t"])
    plugins = lambda: [filtering(10, "cat", "dog"), filtering(20, "dog", "cow")]  # noqa: E731
    transcript = assert_same(run_everywhere(script(data, cut), plugins))
    assert texts(transcript.body) == ({0: "a cow sat on the mat"}, {0: "stop"}, True)


@pytest.mark.parametrize("cut", [0, 1, 7])
@pytest.mark.parametrize("order", [(10, 20), (20, 10)])
def test_a_stop_drops_what_is_held_inside_and_passes_the_outer_ones(cut: int, order: tuple[int, int]) -> None:
    data = stream(["one ca", "t two STO", "P three"])
    plugins = lambda: [stopping(order[0], "STOP"), filtering(order[1], "cat", "dog")]  # noqa: E731
    transcript = assert_same(run_everywhere(script(data, cut), plugins))
    content, reasons, done = texts(transcript.body)
    assert content == {0: "one dog two (end)"}
    assert reasons == {0: "content_filter"}
    assert done
    assert transcript.outcomes == ["completed"]


@pytest.mark.parametrize(("finish", "done"), [(True, False), (False, True), (False, False)])
def test_held_text_is_flushed_at_every_kind_of_end(finish: bool, done: bool) -> None:
    data = stream(["so ca"], finish=finish, done=done)
    transcript = assert_same(run_everywhere(script(data), lambda: [filtering(10, "cat", "dog")]))
    assert texts(transcript.body)[0] == {0: "so ca"}


def test_several_choices_do_not_mix() -> None:
    events = [
        event({"content": "ca"}),
        event({"content": "co"}, index=1),
        event({"content": "t"}),
        event({"content": "w"}, index=1),
        event({}, "stop"),
        event({}, "length", index=1),
    ]
    data = b"".join([*events, DONE])
    transcript = one_host(script(data, 5), filtering(10, "cat", "dog"))
    assert texts(transcript.body) == ({0: "dog", 1: "cow"}, {0: "stop", 1: "length"}, True)


def test_text_in_the_event_that_finishes() -> None:
    data = event({"content": "a ca"}) + event({"content": "t"}, "stop") + DONE
    transcript = one_host(script(data), filtering(10, "cat", "dog"))
    assert texts(transcript.body) == ({0: "a dog"}, {0: "stop"}, True)


@given(st.lists(st.text("cat do\u00e9", max_size=4), max_size=12), st.integers(1, 40))
def test_the_result_is_that_of_the_whole_text(pieces: list[str], cut: int) -> None:
    whole = "".join(pieces)
    transcript = one_host(script(stream(pieces), cut), filtering(10, "cat", "dog"), filtering(20, "dodo", "x"))
    assert texts(transcript.body)[0] == {0: whole.replace("cat", "dog").replace("dodo", "x")}


def test_whole_answers_are_filtered_alike() -> None:
    message = {"role": "assistant", "content": "the cat", "reasoning_content": "cat?", "refusal": None}
    answer = {
        "id": "c",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1},
    }
    request = {"model": "m", "messages": []}
    given_script = Script(
        method="POST",
        path=PATH,
        headers=JSON,
        body=[json.dumps(request).encode()],
        answer=Scripted(headers=JSON, chunks=[json.dumps(answer).encode()]),
    )
    transcript = assert_same(run_everywhere(given_script, lambda: [filtering(10, "cat", "dog")]))
    changed = json.loads(transcript.body)
    assert changed["choices"][0]["message"]["content"] == "the dog"
    assert changed["choices"][0]["message"]["reasoning_content"] == "dog?"
    stopped = json.loads(one_host(given_script, stopping(10, "cat")).body)
    said = stopped["choices"][0]["message"]
    assert (said["reasoning_content"], said["content"]) == ("(end)", "")  # reasoning is what a stream tells first
    assert stopped["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("rest", [b"", b"\n"])
@pytest.mark.parametrize("done", [True, False])
def test_a_stream_whose_last_event_lacks_its_empty_line_is_read_to_its_end(rest: bytes, done: bool) -> None:
    data = stream(["the c", "at"], finish=False, done=False)
    end = DONE if done else event({"content": " and a cat"}, "stop")
    given_script = script(data + end.removesuffix(b"\n\n") + rest)
    body = one_host(given_script, filtering(10, "cat", "dog")).body
    content, reasons, marked = texts(body)
    assert content[0] == ("the dog" if done else "the dog and a dog")
    assert (reasons, marked) == ({} if done else {0: "stop"}, done)


def test_usage_is_asked_for_and_taken_out_again() -> None:
    seen: list[Any] = []

    class Counting(Plugin[PluginConfig]):
        name, needs = "counting", Needs.USAGE

        def on_complete(self, exchange: Exchange) -> None:
            seen.append(exchange.meter.usage)

    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    data = stream(["hi"], done=False) + event(None, usage=usage) + DONE
    transcript = assert_same(run_everywhere(script(data), lambda: [Counting()]))
    assert b"prompt_tokens" not in transcript.body
    assert json.loads(transcript.seen[0].body)["stream_options"] == {"include_usage": True}
    assert [(one.input_tokens, one.output_tokens, one.cached_tokens, one.source) for one in seen] == [
        (5, 7, 2, "provider")
    ] * 8
    asked = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "messages": []}
    assert b"prompt_tokens" in one_host(script(data, request=asked), Counting()).body


def test_what_was_produced_is_counted_when_the_caller_leaves() -> None:
    seen: list[Any] = []

    class Counting(Plugin[PluginConfig]):
        name, needs = "counting", Needs.USAGE

        def on_complete(self, exchange: Exchange) -> None:
            seen.append((exchange.outcome, exchange.meter.produced_bytes, exchange.meter.usage.source))

    events = [event({"content": "four"}), event({"content": "more"}), event({"content": "never"})]
    given_script = Script(
        method="POST",
        path=PATH,
        headers=JSON,
        body=[b'{"model":"m","stream":true,"messages":[]}'],
        answer=Scripted(headers=SSE, chunks=events),
        leave_after=1,
    )
    run_everywhere(given_script, lambda: [Counting()])
    assert {(outcome, source) for outcome, _, source in seen} == {("aborted", "tokenizer")}
    assert all(count in (4, 8) for _, count, _ in seen)


def test_event_hooks_replace_drop_and_stop() -> None:
    from aigw_middleware import Event

    class Dropping(Plugin[PluginConfig]):
        name, priority = "dropping", 10

        def on_event(self, exchange: Exchange, event: Any) -> Any:
            if event.data == b"drop":
                return ()
            if event.data == b"double":
                return (event, event)
            if event.data == b"stop":
                return Finish()
            if event.data == b"other":
                return [Event(b"data: replaced\n\n")]
            return None

    data = b"data: a\n\ndata: drop\n\ndata: double\n\ndata: other\n\ndata: z\n\n"
    given_script = Script(path="/events", answer=Scripted(headers=SSE, chunks=[data[:13], data[13:]]))
    transcript = assert_same(run_everywhere(given_script, lambda: [Dropping()]))
    assert transcript.body == b"data: a\n\ndata: double\n\ndata: double\n\ndata: replaced\n\ndata: z\n\n"
    stopping_script = Script(
        path="/events", answer=Scripted(headers=SSE, chunks=[b"data: a\n\n", b"data: stop\n\n", b"data: z\n\n"])
    )
    assert assert_same(run_everywhere(stopping_script, lambda: [Dropping()])).body == b"data: a\n\n"


def test_a_stream_that_cannot_be_read_is_refused_or_passed_by_policy() -> None:
    class Guard(Plugin[PluginConfig]):
        name, on_uncovered = "guard", "deny"

        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
            return None

    class Easy(Guard):
        name, on_uncovered = "easy", "allow"

    data = event({"content": "x"}) + b"data: not json\n\n" + DONE
    denied = assert_same(run_everywhere(script(data), lambda: [Guard()]))
    assert b"uncovered" in denied.body
    assert b"not json" not in denied.body
    assert assert_same(run_everywhere(script(data), lambda: [Easy()])).body == data


def test_answers_that_must_be_read_come_without_coding() -> None:
    class Reading(Plugin[PluginConfig]):
        name = "reading"

        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
            return None

    seen: list[str | None] = []

    class Last(Plugin[PluginConfig]):
        name, stage = "last", Stage.ROUTER

        async def on_upstream(self, exchange: Exchange, call: Any) -> None:
            await call()
            seen.append(exchange.request.headers.get("accept-encoding"))

    asked = Script(**{**vars(script(stream(["x"]))), "headers": [*JSON, ("accept-encoding", "gzip, br")]})
    run_everywhere(asked, lambda: [Reading(), Last()])
    assert seen == ["identity"] * 8
    seen.clear()
    run_everywhere(Script(headers=[("accept-encoding", "gzip, br")]), lambda: [Reading(), Last()])
    assert seen == ["gzip, br"] * 8


def test_a_request_that_is_no_json_passes_who_only_counts() -> None:
    class Counting(Plugin[PluginConfig]):
        name, needs = "counting", Needs.USAGE

    broken = Script(method="POST", path=PATH, headers=JSON, body=[b'{"stream": true,'])
    transcript = assert_same(run_everywhere(broken, lambda: [Counting()]))
    assert transcript.status == 200
    assert transcript.seen[0].body == b'{"stream": true,'


@pytest.mark.parametrize(("policy", "status"), [("deny", b"plugin_failed"), ("allow", b"[DONE]")])
def test_what_a_hook_holds_back_is_bounded(policy: str, status: bytes) -> None:
    class Hoarder(Plugin[PluginConfig]):
        name = "hoarder"
        on_failure = policy  # type: ignore[assignment]

        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> tuple[str, str]:
            return "", text

    data = stream(["x" * 10_000] * 10)
    assert status in one_host(script(data), Hoarder()).body

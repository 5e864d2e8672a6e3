"""What holds in every dialect, whole and streamed, on every host: nothing is missed, and nothing is touched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigw_middleware import Channel, Exchange, Finish, Needs, Plugin, PluginConfig, Stage
from aigw_middleware.testing.matrix import Script, Scripted, assert_same, run_everywhere
from tests.llm.calls import ANSWER, ARGUMENTS, CALLS, EMBEDDINGS, FULL, SAID, STREAMS, THOUGHT, Call, without_tools

EVERY = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
STREAMED = pytest.mark.parametrize("call", STREAMS, ids=lambda call: call.id)
CUTS = pytest.mark.parametrize("cut", [1, 7, 0], ids=["1 byte", "7 bytes", "uncut"])
FEW = ("asgi", "wsgi", "httpx")


class Spy(Plugin[PluginConfig]):
    """A guard that sees all and changes nothing."""

    name, stage, needs = "spy", Stage.DEFAULT, Needs.LLM | Needs.USAGE

    def compile(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.said: dict[str, str] = {}
        self.usage: Any = None
        self.calls: Any = None
        self.model = ""

    def on_request_body(self, exchange: Exchange) -> None:
        call = exchange.llm
        assert call is not None
        self.asked += [(slot.kind, slot.text) for slot in call.texts()]
        self.model = call.model
        exchange.meter.keep_text = 10_000

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        self.said[channel.kind] = self.said.get(channel.kind, "") + text

    def on_complete(self, exchange: Exchange) -> None:
        self.usage = exchange.meter.usage
        self.calls = exchange.meter.tool_calls()
        self.outcome = exchange.outcome


class Filter(Plugin[PluginConfig]):
    """Replaces one word, wherever the stream cuts it."""

    name, stage = "filter", Stage.DEFAULT

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> tuple[str, str] | str:
        text = text.replace("bird", "horse")
        if channel.final:
            return text
        keep = next((size for size in (3, 2, 1) if text.endswith("bird"[:size])), 0)
        return text[: len(text) - keep], text[len(text) - keep :]


class Stop(Plugin[PluginConfig]):
    """Ends the answer at a word."""

    name, stage = "stop", Stage.DEFAULT
    reason = "content_filter"

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Any:
        before, found, _ = text.partition("brown")
        if found:
            return Finish(self.reason, before + "[cut]")
        if channel.final:
            return None
        keep = next((size for size in (4, 3, 2, 1) if text.endswith("brown"[:size])), 0)
        return text[: len(text) - keep], text[len(text) - keep :]


def seen_by_a_spy(call: Call, script: Script, *before: Plugin[Any]) -> Spy:
    """Run the exchange through a spy outside of some plug-ins, and return it."""
    spy = Spy()
    spies = [*before, spy]
    run_everywhere(script, lambda: spies, hosts=["asgi"])
    return spy


@EVERY
def test_a_guard_sees_every_text_on_every_host(call: Call) -> None:
    answer = FULL if call.thinks else ANSWER
    spies: list[Spy] = []

    def spying() -> list[Plugin[Any]]:
        spies.append(Spy())
        return [spies[-1]]

    transcript = assert_same(run_everywhere(call.script(answer), spying), chunks=False)
    assert transcript.status == 200
    assert set(transcript.outcomes) == {"completed"}
    used = [spy for spy in spies if spy.asked]
    assert len(used) == 8
    for spy in used:
        assert sorted(spy.asked) == sorted(call.texts)
        assert spy.model == "m"
        assert spy.said["content"] == SAID
        if call.thinks:
            assert spy.said["reasoning"] == THOUGHT
            assert "a bird" in spy.said["tool_arguments"]
            ((called),) = spy.calls
            assert called["function"]["name"] == "look"
            assert json.loads(called["function"]["arguments"]) == ARGUMENTS
        usage = spy.usage
        assert (usage.input_tokens, usage.output_tokens, usage.source) == (30, 12, "provider")
        if call.dialect != "openai-completions":
            assert usage.cached_tokens == 8
        if call.dialect not in ("openai-completions", "anthropic-messages"):
            assert usage.reasoning_tokens == 4


@CUTS
@EVERY
def test_what_nobody_changes_passes_byte_for_byte(call: Call, cut: int) -> None:
    script = call.script(FULL if call.thinks else ANSWER, cut)
    transcript = assert_same(run_everywhere(script, lambda: [Spy()], hosts=FEW), chunks=False)
    assert transcript.body == b"".join(script.answer.chunks)
    assert transcript.seen[0].body == script.body[0]


@CUTS
@EVERY
def test_a_filter_does_to_a_stream_what_it_does_to_the_whole(call: Call, cut: int) -> None:
    script = call.script(FULL if call.thinks else ANSWER, cut)
    filtered = assert_same(run_everywhere(script, lambda: [Filter()], hosts=FEW), chunks=False)
    again = Scripted(status=200, headers=script.answer.headers, chunks=[filtered.body])
    spy = seen_by_a_spy(call, Script(**{**vars(script), "answer": again}))
    assert spy.said["content"] == SAID.replace("bird", "horse")
    if call.thinks:
        assert spy.said["reasoning"] == THOUGHT.replace("bird", "horse")
        assert json.loads(spy.calls[0]["function"]["arguments"]) == {"q": "a horse", "n": [1, 2.5]}
    assert b"bird" not in filtered.body.replace(b"a brief bird", b"")  # which responses repeat of the request
    assert (spy.usage.input_tokens, spy.usage.output_tokens) == (30, 12)


@CUTS
@EVERY
@pytest.mark.parametrize("reason", ["content_filter", "length"])
def test_an_answer_that_is_finished_ends_as_its_dialect_ends(call: Call, cut: int, reason: str) -> None:
    call = without_tools(call)
    script = call.script(ANSWER, cut)
    stop = type("Stopping", (Stop,), {"reason": reason})
    stopped = assert_same(run_everywhere(script, lambda: [stop()], hosts=FEW), chunks=False)
    assert stopped.status == 200
    again = Scripted(status=200, headers=script.answer.headers, chunks=[stopped.body])
    finishes: list[Any] = []

    class Reasons(Plugin[PluginConfig]):
        name, needs = "reasons", Needs.USAGE

        def on_complete(self, exchange: Exchange) -> None:
            finishes.append(exchange.meter.finish_reasons)

    spy = seen_by_a_spy(call, Script(**{**vars(script), "answer": again}), Reasons())
    assert spy.said["content"] == "The quick [cut]"
    assert b"sings" not in stopped.body
    words = {
        "anthropic-messages": {"content_filter": "refusal", "length": "max_tokens"},
        "gemini": {"content_filter": "SAFETY", "length": "MAX_TOKENS"},
        "openai-responses": {"content_filter": "content_filter", "length": "max_output_tokens"},
    }
    assert finishes == [(words.get(call.dialect, {}).get(reason, reason),)]


@EVERY
def test_a_request_is_edited_in_every_dialect(call: Call) -> None:
    class Edit(Plugin[PluginConfig]):
        name, needs = "edit", Needs.LLM

        def on_request_body(self, exchange: Exchange) -> None:
            llm = exchange.llm
            assert llm is not None
            for slot in llm.texts():
                llm.replace(slot, slot.text.replace("bird", "horse"))
            if call.dialect != "openai-completions":
                llm.insert([("system", "first of all"), ("user", "and then")])
                llm.insert([("user", "last of all")], at_end=True)
            assert llm.set_parameter("max_output_tokens", 77)
            assert llm.output_limit == 77
            assert llm.set_model("other") is (call.dialect != "gemini")  # whose path says which

    transcript = assert_same(run_everywhere(call.script(ANSWER), lambda: [Edit()]), chunks=False)
    sent = transcript.seen[0].body
    spy = seen_by_a_spy(call, Script(**{**vars(call.script(ANSWER)), "body": [sent]}))
    assert spy.model == ("m" if call.dialect == "gemini" else "other")
    texts = [text for kind, text in spy.asked if kind != "tool_definition"]
    expected = [text.replace("bird", "horse") for kind, text in call.texts if kind != "tool_definition"]
    if call.dialect == "openai-completions":
        assert texts == expected
    else:
        joined = "\n".join(texts)
        for text in (*expected, "first of all", "and then", "last of all"):
            assert joined.count(text) == 1
        assert joined.index("first of all") < joined.index("be a brief horse")
        assert joined.index("and then") < joined.index("which horse?") < joined.index("last of all")
    assert json.loads(sent).get("tools") == call.body.get("tools")


@CUTS
def test_lines_of_json_are_a_stream_too(cut: int) -> None:
    call = next(call for call in STREAMS if call.dialect == "openai-chat")
    events = b"".join(call.answered(ANSWER)[2]).split(b"\n\n")
    data = b"".join(event.removeprefix(b"data: ") + b"\n" for event in events if event.startswith(b"data: {"))
    chunks = [data[start : start + cut] for start in range(0, len(data), cut)] if cut else [data]
    answer = Scripted(headers=[("content-type", "application/x-ndjson")], chunks=chunks)
    script = Script(**{**vars(call.script(ANSWER)), "answer": answer})
    spy = Spy()
    assert run_everywhere(script, lambda: [spy], hosts=["asgi"])["asgi"].body == data
    assert (spy.said["content"], spy.usage.output_tokens, spy.usage.source) == (SAID, 12, "provider")

    def said(plugin: Plugin[Any]) -> str:
        body = assert_same(run_everywhere(script, lambda: [plugin], hosts=FEW), chunks=False).body
        lines = [json.loads(line) for line in body.splitlines()]
        return "".join(choice["delta"].get("content") or "" for line in lines for choice in line["choices"])

    assert said(Filter()) == SAID.replace("bird", "horse")
    assert said(Stop()) == "The quick [cut]"


def test_embeddings_are_read_on_their_way_in() -> None:
    spies: list[Spy] = []

    def spying() -> list[Plugin[Any]]:
        spies.append(Spy())
        return [spies[-1]]

    transcript = assert_same(run_everywhere(EMBEDDINGS.script(ANSWER), spying), chunks=False)
    assert transcript.status == 200
    used = [spy for spy in spies if spy.asked]
    assert [spy.asked for spy in used] == [[("content", "which bird?")]] * 8
    assert all((spy.usage.output_tokens, spy.usage.source) == (0, "provider") for spy in used)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/v1/chat/completions", []),
        ("GET", "/", []),
        ("POST", "/orders", [("content-type", "application/json")]),
        ("POST", "/survey/responses", [("content-type", "application/json")]),
        ("POST", "/v1/threads/t/messages", [("content-type", "application/json")]),
        ("PUT", "/v1/messages", [("content-type", "application/json")]),
    ],
)
def test_other_exchanges_are_never_touched(method: str, path: str, headers: Any) -> None:
    spy = Spy()
    body = [b'{"text":"bird"}'] if method != "GET" else []
    answer = Scripted(headers=[("content-type", "application/json")], chunks=[b'{"content":"bird"}'])
    script = Script(method=method, path=path, headers=headers, body=body, answer=answer)
    transcript = assert_same(run_everywhere(script, lambda: [spy, Filter()], hosts=["asgi"]))
    assert (transcript.status, transcript.body) == (200, b'{"content":"bird"}')
    assert (spy.asked, spy.said) == ([], {})


@STREAMED
@pytest.mark.parametrize("moment", ["before headers", "after headers", "mid-event", "before usage", "after usage"])
def test_a_caller_who_leaves_is_accounted_for_once(call: Call, moment: str) -> None:
    """What was produced is charged, whenever the caller left, and the provider is asked for nothing more."""
    status, headers, chunks = call.answered(ANSWER)
    places = {"before headers": 0, "after headers": 1, "mid-event": len(chunks) // 2, "before usage": len(chunks) - 2}
    leave_after = places.get(moment, len(chunks))
    if moment == "mid-event":
        middle = chunks[leave_after]
        chunks[leave_after : leave_after + 1] = [middle[: len(middle) // 2], middle[len(middle) // 2 :]]
        leave_after += 1
    answer = Scripted(status=status, headers=headers, chunks=chunks)
    script = Script(**{**vars(call.script(ANSWER)), "answer": answer, "leave_after": leave_after})
    records: list[tuple[str, str, int, int]] = []

    class Record(Plugin[PluginConfig]):
        name, needs = "record", Needs.USAGE

        def on_complete(self, exchange: Exchange) -> None:
            meter = exchange.meter
            records.append((host, exchange.outcome, meter.produced_bytes, meter.usage.output_tokens))

    for host in ("asgi", "wsgi", "httpx", "httpx-async"):
        run_everywhere(script, lambda: [Record()], hosts=[host])
    assert [record[0] for record in records] == ["asgi", "wsgi", "httpx", "httpx-async"]
    for _, outcome, produced, tokens in records:
        if moment == "after usage":
            assert (outcome, produced, tokens) == ("completed", len(SAID), 12)
        else:
            assert outcome == "aborted"
            assert produced <= len(SAID)
            told = 1 if call.dialect == "anthropic-messages" else 0  # in the first event, before anything is produced
            assert tokens == told if not produced else tokens > 0

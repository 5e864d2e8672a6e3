"""Anthropic's messages as Bedrock sends them: the same events in AWS's binary framing, the model in the path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigw_middleware import Channel, Exchange, Finish, Needs, Plugin, PluginConfig, Stage
from aigw_middleware.llm.dialects import DialectTable
from aigw_middleware.llm.framing import AWS_EVENT_STREAM, SSE
from aigw_middleware.testing.matrix import Script, Scripted, assert_same, run_everywhere
from tests.llm.calls import ANSWER, CALLS, SAID

CLAUDE = next(call for call in CALLS if call.dialect == "anthropic-messages" and call.stream)
PATH = "/model/anthropic.claude-v1/invoke-with-response-stream"
TYPE = "application/vnd.amazon.eventstream"


def frames() -> list[bytes]:
    """The events of a stream, each as a chunk of Bedrock's."""
    data = b"".join(CLAUDE.answered(ANSWER)[2])
    return [AWS_EVENT_STREAM.encode(event.data) for event in SSE.splitter().feed(data) if event.data]


def script(cut: int) -> Script:
    data = b"".join(frames())
    chunks = [data[start : start + cut] for start in range(0, len(data), cut)] if cut else frames()
    body = {name: value for name, value in CLAUDE.body.items() if name not in ("model", "stream")}
    body["anthropic_version"] = "bedrock-2023-05-31"
    return Script(
        method="POST",
        path=PATH,
        headers=[("content-type", "application/json")],
        body=[json.dumps(body).encode()],
        answer=Scripted(headers=[("content-type", TYPE)], chunks=chunks),
    )


def texts(data: bytes) -> tuple[str, list[str]]:
    """The text of a stream and the types of its events."""
    events = [json.loads(event.data) for event in AWS_EVENT_STREAM.splitter().feed(data) if event.data]
    said = "".join(event.get("delta", {}).get("text", "") for event in events)
    return said, [event["type"] for event in events]


class Reading(Plugin[PluginConfig]):
    """Reads all there is."""

    name, stage, needs = "reading", Stage.DEFAULT, Needs.LLM | Needs.USAGE

    def compile(self) -> None:
        self.told: list[Any] = []

    def on_request_body(self, exchange: Exchange) -> None:
        assert exchange.llm is not None
        self.told.append((exchange.llm.model, exchange.llm.streams, exchange.llm.uncovered))

    def on_complete(self, exchange: Exchange) -> None:
        usage = exchange.meter.usage
        self.told.append((usage.input_tokens, usage.output_tokens, usage.source, exchange.outcome))


@pytest.mark.parametrize("cut", [1, 7, 0])
def test_a_stream_of_bedrock_is_read_and_passes_as_it_came(cut: int) -> None:
    readers: list[Reading] = []

    def reading() -> list[Plugin[Any]]:
        readers.append(Reading())
        return [readers[-1]]

    transcript = assert_same(run_everywhere(script(cut), reading), chunks=False)
    assert transcript.body == b"".join(frames())
    used = [reader for reader in readers if reader.told]
    assert len(used) == 8
    for reader in used:
        assert reader.told == [("anthropic.claude-v1", True, ""), (30, 12, "provider", "completed")]


@pytest.mark.parametrize("cut", [1, 7, 0])
def test_its_texts_are_changed_and_stopped(cut: int) -> None:
    class Louder(Plugin[PluginConfig]):
        name, stage = "louder", Stage.DEFAULT

        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> str:
            return text.upper()

    loud = assert_same(run_everywhere(script(cut), lambda: [Louder()], hosts=["asgi", "wsgi", "httpx"]), chunks=False)
    assert texts(loud.body)[0] == SAID.upper()

    class Stop(Plugin[PluginConfig]):
        name, stage = "stop", Stage.DEFAULT

        def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Finish | None:
            return Finish("length", " [cut]") if "brown" in text else None

    stopped = assert_same(run_everywhere(script(cut), lambda: [Stop()], hosts=["asgi", "wsgi", "httpx"]), chunks=False)
    said, kinds = texts(stopped.body)
    assert said == "The quick [cut]"
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (
            "/model/amazon.nova-pro-v1:0/converse",
            {"messages": [{"role": "user", "content": [{"text": "a"}]}]},
            "unread",
        ),
        ("/model/amazon.nova-pro-v1:0/converse-stream", {"messages": []}, "unread"),
        ("/model/amazon.titan-text/invoke", {"inputText": "a"}, "unread"),
        ("/model/anthropic.claude-v2/invoke", {"prompt": "a", "max_tokens_to_sample": 9}, "unread"),
        ("/model/anthropic.claude-3/count-tokens", {"input": {}}, "unread"),
        (PATH, {"anthropic_version": "bedrock-2023-05-31", "messages": []}, "anthropic-messages"),
        ("/v1/complete", {"prompt": "a"}, "unread"),
        ("/chain/invoke", {"input": "a"}, ""),
        ("/talk/converse", {"text": "a"}, ""),
    ],
)
def test_what_bedrock_serves_is_recognised(path: str, body: Any, name: str) -> None:
    table = DialectTable()
    found = table.of_path(path) or table.of_body(path, body)
    assert (found.name if found is not None else "") == name
    script = Script(
        method="POST", path=path, headers=[("content-type", "application/json")], body=[json.dumps(body).encode()]
    )
    transcript = assert_same(run_everywhere(script, lambda: [Guard()], hosts=["asgi", "wsgi", "httpx"]))
    assert (transcript.status == 400, bool(transcript.seen)) == (name == "unread", name != "unread")


class Guard(Plugin[PluginConfig]):
    """Must see every text."""

    name, stage, on_uncovered = "guard", Stage.DEFAULT, "deny"
    needs = Needs.LLM

    def on_request_body(self, exchange: Exchange) -> None:
        assert exchange.llm is not None
        list(exchange.llm.texts())

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        return None


def test_a_damaged_frame_is_no_way_past_a_guard() -> None:
    chunks = frames()
    middle = len(chunks) // 2
    chunks[middle] = chunks[middle][:-1] + bytes([chunks[middle][-1] ^ 1])
    answer = Scripted(headers=[("content-type", TYPE)], chunks=chunks)
    damaged = Script(**{**vars(script(0)), "answer": answer})
    transcript = assert_same(run_everywhere(damaged, lambda: [Guard()], hosts=["asgi", "wsgi"]), chunks=False)
    assert transcript.body.startswith(b"".join(chunks[:middle]))
    assert b"".join(chunks[middle:]) not in transcript.body
    assert set(transcript.outcomes) == {"failed"}

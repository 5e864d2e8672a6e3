"""In every dialect of the fake provider a whole answer is the sum of its stream, whatever its style."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aigw_middleware.testing.script import Answer, Style, ToolCall, Usage

from .provider_calls import BODIES, EVERYWHERE, ask, events


def sum_of_chat(chunks: list[Any]) -> Any:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    tools: dict[int, Any] = {}
    finish = usage = None
    for chunk in chunks[:-1]:
        usage = chunk["usage"] or usage
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            for name, value in choice["delta"].items():
                if name in ("content", "refusal", "reasoning_content") and value is not None:
                    message[name] = (message.get(name) or "") + value
            for call in choice["delta"].get("tool_calls", ()):
                tool = tools.setdefault(call["index"], {"id": call.get("id"), "type": "function", "function": {}})
                for name, value in call["function"].items():
                    tool["function"][name] = tool["function"].get(name, "") + value
    if tools:
        message["tool_calls"] = [tools[index] for index in sorted(tools)]
    if not message["content"]:
        message["content"] = None if tools or message["refusal"] else ""
    return message, finish, usage


def whole_chat(body: Any) -> Any:
    (choice,) = body["choices"]
    return choice["message"], choice["finish_reason"], body["usage"]


def sum_of_completion(chunks: list[Any]) -> Any:
    choices = [choice for chunk in chunks[:-1] for choice in chunk["choices"]]
    usages = [chunk["usage"] for chunk in chunks[:-1] if chunk["usage"]]
    return "".join(choice["text"] for choice in choices), choices[-1]["finish_reason"], usages[-1]


def whole_completion(body: Any) -> Any:
    (choice,) = body["choices"]
    return choice["text"], choice["finish_reason"], body["usage"]


def sum_of_response(told: list[Any]) -> Any:
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    texts: dict[int, str] = {}
    items: dict[int, Any] = {}
    for event in told:
        place = event.get("output_index", -1)
        if event["type"].endswith(".delta"):
            texts[place] += event["delta"]
        elif event["type"] == "response.output_item.added":
            assert place == len(items)
            items[place], texts[place] = None, ""
        elif event["type"] == "response.output_item.done":
            items[place] = event["item"]
    assert {place: text_of_item(item) for place, item in items.items()} == texts
    assert [items[place] for place in sorted(items)] == told[-1]["response"]["output"]
    return told[-1]["response"]


def text_of_item(item: Any) -> str:
    if item["type"] == "function_call":
        return str(item["arguments"])
    (part,) = item.get("content") or item["summary"]
    return str(part.get("text", part.get("refusal")))


def sum_of_message(told: list[Any]) -> Any:
    message, usage = told[0]["message"], told[0]["message"]["usage"]
    blocks: list[Any] = []
    texts: dict[int, str] = {}
    stopped: list[int] = []
    for event in told:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(event["content_block"])
            texts[event["index"]] = ""
        elif event["type"] == "content_block_delta":
            assert event["index"] not in stopped
            name = {"input_json_delta": "partial_json"}.get(event["delta"]["type"], event["delta"]["type"][:-6])
            if name == "signature":
                blocks[event["index"]]["signature"] = event["delta"][name]
            else:
                texts[event["index"]] += event["delta"][name]
        elif event["type"] == "content_block_stop":
            stopped.append(event["index"])
        elif event["type"] == "message_delta":
            usage |= event["usage"]
            message |= event["delta"]
    for index, block in enumerate(blocks):
        if block["type"] == "tool_use":
            block["input"] = _object(texts[index])
        else:
            block[block["type"]] = texts[index]
    assert sorted(stopped) == list(range(len(blocks)))
    return {**message, "content": blocks, "usage": usage}


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {}


def sum_of_content(chunks: list[Any]) -> Any:
    parts: list[Any] = []
    for chunk in chunks:
        for part in chunk["candidates"][0]["content"]["parts"]:
            if parts and "text" in part and "text" in parts[-1] and part.get("thought") == parts[-1].get("thought"):
                parts[-1]["text"] += part["text"]
            elif part != {"text": ""}:
                parts.append(part)
    usages = [chunk["usageMetadata"] for chunk in chunks if "usageMetadata" in chunk]
    return parts, chunks[-1]["candidates"][0]["finishReason"], usages[-1]


def whole_content(body: Any) -> Any:
    (candidate,) = body["candidates"]
    parts = [part for part in candidate["content"]["parts"] if part != {"text": ""}]
    return parts, candidate["finishReason"], body["usageMetadata"]


SUMS = dict(zip(BODIES, [sum_of_chat, sum_of_completion, sum_of_response, sum_of_message, sum_of_content], strict=True))
WHOLES: dict[str, Any] = {
    "/v1/chat/completions": whole_chat,
    "/v1/completions": whole_completion,
    "/v1beta/models/m:generateContent": whole_content,
}

texts = st.text(st.sampled_from('ab \n\u3000é😀"\\'), max_size=12)
tool_calls = st.lists(
    st.builds(ToolCall, st.just("f"), st.dictionaries(texts, texts, max_size=3) | st.just('{"broken')), max_size=3
)
styles = st.builds(
    Style,
    interleave=st.booleans(),
    keep_alive=st.integers(0, 3),
    usage_at=st.sampled_from(["usual", "start", "every", "finish", "end"]),
    reasoning_text=st.booleans(),
    crlf=st.none() | st.booleans(),
    bom=st.booleans(),
)
answers = st.builds(
    Answer,
    text=st.none() | texts,
    tool_calls=tool_calls,
    reasoning=st.none() | texts,
    refusal=st.none() | texts,
    usage=st.just("counted") | st.builds(Usage, st.just(100), st.integers(20, 90), st.just(5), st.integers(0, 20)),
    cached_tokens=st.integers(0, 3),
    cache_creation_tokens=st.integers(0, 3),
    chunks=st.lists(texts, max_size=3),
    style=styles,
)


@EVERYWHERE
@settings(max_examples=40)
@given(answer=answers, limit=st.none() | st.integers(1, 12))
def test_a_whole_answer_is_the_sum_of_its_stream(path: str, answer: Answer, limit: int | None) -> None:
    whole = ask(answer, path, stream=False, limit=10_000 if limit is None else limit).json()
    streamed = events(ask(answer, path, stream=True, limit=10_000 if limit is None else limit).body)
    assert SUMS[path](streamed) == WHOLES.get(path, lambda body: body)(whole)

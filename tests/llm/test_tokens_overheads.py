"""What a prompt takes besides its texts: messages, names, tools, images, by family."""

import base64
import json
import struct

import pytest

from aigw_middleware.llm.tokens import count_prompt, counter_for, prompt_tokens
from aigw_middleware.ports.work import BlockingOffload

CHAT = [
    ("system", "system", "You are a helpful assistant."),
    ("user", "content", "What is the capital of France?"),
    ("assistant", "content", "Paris."),
    ("user", "content", "And of Italy?"),
]


@pytest.mark.parametrize(
    ("model", "around"),
    [
        ("gpt-4o", 4 * 4 + 3),
        ("claude-sonnet-4-5", 4 * 3 + 4),
        ("gemini-2.5-pro", 0),
        ("qwen3-max", 4 * 4 + 3),
        ("text-embedding-3-small", 0),
    ],
)
def test_around_messages(model, around):
    texts = sum(counter_for(model).count(text) for _, _, text in CHAT)
    assert prompt_tokens(model, CHAT) == texts + around


def test_a_name_takes_its_text_and_one():
    named = [*CHAT, ("user", "name", "alice")]
    assert prompt_tokens("gpt-4o", named) == prompt_tokens("gpt-4o", CHAT) + counter_for("gpt-4o").count("alice") + 1


def test_how_many_messages_may_be_said():
    parts = [("user", "content", "a"), ("user", "content", "b")]
    assert prompt_tokens("gpt-4o", parts) == 2 + 2 * 4 + 3
    assert prompt_tokens("gpt-4o", parts, messages=1) == 2 + 4 + 3
    assert prompt_tokens("gpt-4o", []) == 0


@pytest.mark.parametrize(
    ("model", "for_one", "for_three"),
    [
        ("gpt-4o", 12 + 7, 12 + 21),
        ("gpt-4", 12 + 10, 12 + 30),
        ("claude-sonnet-4-5", 346, 346),
        ("claude-3-5-haiku-latest", 340, 340),
        ("claude-3-haiku-20240307", 340, 340),
        ("claude-3-opus-20240229", 530, 530),
        ("claude-3-sonnet-20240229", 235, 235),
        ("gemini-2.5-pro", 0, 0),
    ],
)
def test_tools(model, for_one, for_three):
    definition = json.dumps({"name": "weather", "description": "Tell the weather of a city."})
    alone = prompt_tokens(model, CHAT)
    with_tool = [*CHAT, ("", "tool_definition", definition)]
    text = counter_for(model).count(definition)
    assert prompt_tokens(model, with_tool) == alone + text + for_one
    assert prompt_tokens(model, with_tool, tools=3) == alone + text + for_three
    assert prompt_tokens(model, CHAT, tools=0) == alone


def test_images():
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1024, 1024)
    source = f"data:image/png;base64,{base64.b64encode(head).decode()}"
    alone = prompt_tokens("gpt-4o", CHAT)
    assert prompt_tokens("gpt-4o", CHAT, [(source, "high")]) == alone + 765
    assert prompt_tokens("gpt-4o", CHAT, [(source, "low"), ("https://example.com/a.png", "")]) == alone + 85 + 1445


@pytest.mark.anyio
async def test_both_faces_say_the_same():
    images = [("https://example.com/a.png", "")]
    expected = prompt_tokens("claude-3", CHAT, images, tools=2)
    assert await count_prompt("claude-3", CHAT, images, tools=2, offload=BlockingOffload()) == expected

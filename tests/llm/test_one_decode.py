"""A body is decoded once and encoded at most once, however many plug-ins look at it and change it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigw_middleware import json as strict_json
from aigw_middleware.testing.script import Answer
from tests.plugins.chat import Chat

TEXT = 'The ratio is 3:1, "so": {they} say: yes. ' * 50
PLUGINS: list[dict[str, Any]] = [
    {"name": "model-router", "config": {"model_to_header": "x-model"}},
    {"name": "model-mapper", "config": {"model_mapping": {"m": "n"}}},
    {"name": "ai-prompt-template", "config": {"templates": [{"name": "t", "template": {"model": "m"}}]}},
    {"name": "ai-prompt-decorator", "config": {"prepend": [{"role": "system", "content": "Be brief."}]}},
    {"name": "ai-prompt-decorator", "id": "two", "config": {"append": [{"role": "user", "content": "Please."}]}},
    {"name": "ai-prompt-decorator", "id": "three", "config": {"replace": [{"pattern": "yes", "replacement": "no"}]}},
    {"name": "ai-data-masking", "config": {"deny_words": ["never"]}},
    {"name": "ai-data-masking", "id": "more", "config": {"deny_words": ["ever"]}},
    {"name": "ai-context-limit", "config": {"max_context_tokens": 100_000}},
    {"name": "ai-statistics", "config": {"use_default_response_attributes": True}},
]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often whole bodies are decoded and encoded from now on; short ones are configuration and the like."""
    counts = {"decode": 0, "encode": 0}
    decode, encode = strict_json._decode, strict_json._encode

    def counting_decode(data: bytes) -> Any:
        counts["decode"] += len(data) > 1_000
        return decode(data)

    def counting_encode(value: Any) -> bytes:
        data = encode(value)
        counts["encode"] += len(data) > 1_000
        return data

    monkeypatch.setattr(strict_json, "_decode", counting_decode)
    monkeypatch.setattr(strict_json, "_encode", counting_encode)
    return counts


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_ten_plug_ins_that_edit_the_request(counted: dict[str, int], separators: tuple[str, str]) -> None:
    chat = Chat(*PLUGINS, answers=[Answer("ok", usage="none")])
    asked = {"model": "m", "messages": [{"role": "user", "content": TEXT}, {"role": "user", "content": "x"}]}
    answer = chat.ask(json.dumps(asked, separators=separators).encode())
    assert answer.status == 200
    assert len(chat.received["messages"]) == 4
    assert "say: no." in chat.received["messages"][1]["content"]
    assert counted == {"decode": 1, "encode": 1}


def test_ten_plug_ins_that_change_nothing(counted: dict[str, int]) -> None:
    chat = Chat(PLUGINS[0], PLUGINS[6], PLUGINS[7], PLUGINS[8], PLUGINS[9], answers=[Answer("ok", usage="none")])
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": TEXT}]}).encode()
    assert chat.ask(body).status == 200
    assert chat.provider.requests[0].body == body
    assert counted == {"decode": 1, "encode": 0}

"""Every AI plug-in in every dialect, whole and streamed, on every host: it does its work there, and says when it cannot."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from aigw_middleware.testing.matrix import Transcript, assert_same, run_everywhere
from tests.llm.calls import ANSWER, ASKED, CALLS, SAID, Call

EVERY = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
HOSTS = 8


def ran(call: Call, name: str, config: dict[str, Any] | None = None, **entry: Any) -> Transcript:
    """Run the call through one plug-in on every host, and return what all of them make of it."""
    plugin = {"name": name, "config": config or {}, **entry}
    return assert_same(run_everywhere(call.script(ANSWER), lambda: [], config={"plugins": [plugin]}), chunks=False)


def sent(transcript: Transcript) -> Any:
    """The body that reached the service."""
    return json.loads(transcript.seen[0].body)


@EVERY
def test_prompt_decorator(call: Call) -> None:
    config = {"prepend": [{"role": "system", "content": "First."}], "append": [{"role": "user", "content": "Last."}]}
    body = json.dumps(sent(ran(call, "ai-prompt-decorator", config)))
    if call.dialect == "openai-completions":  # it has no conversation, so nothing can be said before or after it
        assert json.loads(body) == call.body
    else:
        assert (
            body.index("First.") < body.index("be a brief bird") or "instructions" in call.body or "system" in call.body
        )
        assert (body.count("First."), body.count("Last.")) == (1, 1)
        assert "First." in body[: body.index(ASKED)] or "instructions" in body
    denied = ran(call, "ai-prompt-decorator", config, on_uncovered="deny")
    assert (denied.status, bool(denied.seen)) == ((400, False) if call.dialect == "openai-completions" else (200, True))


@EVERY
def test_prompt_decorator_replaces(call: Call) -> None:
    config = {"replace": [{"pattern": "which", "replacement": "what", "on_role": "user"}]}
    body = json.dumps(sent(ran(call, "ai-prompt-decorator", config)))
    assert ("what bird?" in body, "which" in body) == (True, False)


@EVERY
def test_model_mapper_and_router(call: Call) -> None:
    mapped = ran(call, "model-mapper", {"model_mapping": {"m": "n"}, "enable_on_path_suffix": ["*"]})
    if call.dialect == "gemini":  # its model stands in the path
        assert sent(mapped) == call.body
    else:
        assert sent(mapped) == {**call.body, "model": "n"}
        assert mapped.seen[0].headers["x-higress-llm-model-final"] == ["n"]
    routed = ran(call, "model-router", {"model_to_header": "x-model"})
    assert routed.seen[0].headers["x-model"] == ["m"]
    assert sent(routed) == call.body


@EVERY
def test_data_masking_of_questions(call: Call) -> None:
    refused = ran(call, "ai-data-masking", {"deny_words": ["which"], "deny_code": 403})
    assert (refused.status, refused.seen) == (403, [])
    assert ran(call, "ai-data-masking", {"deny_words": ["whichever"]}).body == b"".join(
        call.script(ANSWER).answer.chunks
    )


@EVERY
def test_data_masking_of_answers(call: Call) -> None:
    stopped = ran(call, "ai-data-masking", {"deny_words": ["brown"]})
    assert stopped.status == 200
    assert len(stopped.seen) == 1
    for word in (b"brown", b"sings", b"flies"):
        assert word not in stopped.body
    if call.stream:
        assert b"quick" in stopped.body


@EVERY
def test_context_limit(call: Call) -> None:
    assert ran(call, "ai-context-limit", {"max_context_tokens": 1_000}).status == 200
    refused = ran(call, "ai-context-limit", {"max_context_tokens": 2, "count_output": False})
    assert (refused.status, refused.seen) == (400, [])
    error = json.loads(refused.body)["error"]
    assert error["message"].startswith("This model's maximum context length is 2 tokens.")
    told = {"anthropic-messages": ("type", "invalid_request_error"), "gemini": ("status", "INVALID_ARGUMENT")}
    name, value = told.get(call.dialect, ("code", "context_length_exceeded"))
    assert error[name] == value


@EVERY
def test_statistics(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    config = {"use_default_attributes": True, "enable_path_suffixes": ["*"]}
    with caplog.at_level(logging.INFO, "aigw_middleware.ai_log"):
        ran(call, "ai-statistics", config)
    lines = [record.__dict__["ai_log"] for record in caplog.records if record.name == "aigw_middleware.ai_log"]
    assert len(lines) == HOSTS
    for line in lines:
        told = (line["model"], line["answer"], line["question"], line["outcome"], line["usage_source"])
        assert told == ("m", SAID, ASKED, "completed", "provider")
        assert line["total_token"] == 42
        assert line["response_type"] == ("stream" if call.stream else "normal")
        assert line["chat_round"] == 1

"""One call of a model in every dialect, whole and streamed, and the bytes that the fake provider answers it with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.matrix import Script, Scripted
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import Answer, ToolCall, Usage
from aigw_middleware.testing.wsgi import wsgi_exchange

JSON = [("content-type", "application/json"), ("anthropic-version", "2023-06-01")]
FUNCTION = {"name": "look", "description": "look up a defined thing", "parameters": {"type": "object"}}
CLAUDE_TOOL = {"name": "look", "description": "look up a defined thing", "input_schema": {"type": "object"}}
SYSTEM, ASKED, TOOL = "be a brief bird", "which bird?", "look up a defined thing"

SAID = "The quick brown bird sings, and the bird flies."
THOUGHT = "Which bird could it be?"
ARGUMENTS = {"q": "a bird", "n": [1, 2.50]}
USAGE = Usage(30, 12, cached_tokens=8, reasoning_tokens=4)
ANSWER = Answer(SAID, usage=USAGE)
FULL = Answer(SAID, tool_calls=[ToolCall("look", ARGUMENTS, "call_1")], reasoning=THOUGHT, usage=USAGE)


@dataclass(frozen=True)
class Call:
    """A request of one dialect."""

    dialect: str
    path: str
    body: dict[str, Any]
    stream: bool
    query: str = ""
    texts: Sequence[tuple[str, str]] = (("system", SYSTEM), ("content", ASKED), ("tool_definition", TOOL))
    thinks: bool = True
    """Whether an answer can carry reasoning and tool calls."""

    @property
    def id(self) -> str:
        """What pytest calls it."""
        kind = "stream" if self.stream else "whole"
        return f"{self.dialect}-{kind}{'-array' if self.stream and self.dialect == 'gemini' and not self.query else ''}"

    def answered(self, answer: Any) -> tuple[int, list[tuple[str, str]], list[bytes]]:
        """Return status, headers and chunks of the fake provider's answer."""
        provider = FakeProvider([answer], clock=VirtualClock(1_700_000_000))
        target = f"{self.path}?{self.query}" if self.query else self.path
        exchange = wsgi_exchange(provider.wsgi, "POST", target, headers=JSON, body=[json.dumps(self.body).encode()])
        headers = [(name, value) for name, value in exchange.headers if name.lower() == "content-type"]
        return exchange.status, headers, list(exchange.chunks)

    def script(self, answer: Any, cut: int = 0, **options: Any) -> Script:
        """Return the exchange with this answer, its stream in pieces of `cut` bytes; 0: as the provider sends it."""
        status, headers, chunks = self.answered(answer)
        if cut:
            data = b"".join(chunks)
            chunks = [data[start : start + cut] for start in range(0, len(data), cut)]
        served = Scripted(status=status, headers=headers, chunks=chunks)
        body = [json.dumps(self.body).encode()]
        return Script(
            method="POST", path=self.path, query=self.query, headers=JSON, body=body, answer=served, **options
        )


def _calls() -> list[Call]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    found = []
    for stream in (False, True):
        flag = {"stream": True} if stream else {}
        usage = {"stream_options": {"include_usage": True}} if stream else {}
        tools = [{"type": "function", "function": FUNCTION}]
        found += [
            Call(
                "openai-chat",
                "/v1/chat/completions",
                {"model": "m", "messages": messages, "tools": tools, **flag, **usage},
                stream,
            ),
            Call(
                "openai-completions",
                "/v1/completions",
                {"model": "m", "prompt": ASKED, **flag, **usage},
                stream,
                texts=[("content", ASKED)],
                thinks=False,
            ),
            Call(
                "openai-responses",
                "/v1/responses",
                {
                    "model": "m",
                    "instructions": SYSTEM,
                    "input": ASKED,
                    "tools": [{"type": "function", **FUNCTION}],
                    **flag,
                },
                stream,
            ),
            Call(
                "anthropic-messages",
                "/v1/messages",
                {
                    "model": "m",
                    "max_tokens": 1_000,
                    "system": SYSTEM,
                    "messages": messages[1:],
                    "tools": [CLAUDE_TOOL],
                    "thinking": {"type": "enabled", "budget_tokens": 500},
                    **flag,
                },
                stream,
            ),
        ]
        gemini = {
            "systemInstruction": {"parts": [{"text": SYSTEM}]},
            "contents": [{"role": "user", "parts": [{"text": ASKED}]}],
            "tools": [{"functionDeclarations": [FUNCTION]}],
            "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
        }
        if stream:
            path = "/v1beta/models/m:streamGenerateContent"
            found += [Call("gemini", path, gemini, True, "alt=sse"), Call("gemini", path, gemini, True)]
        else:
            found.append(Call("gemini", "/v1beta/models/m:generateContent", gemini, False))
    return found


CALLS = _calls()
STREAMS = [call for call in CALLS if call.stream]
EMBEDDINGS = Call(
    "openai-embeddings", "/v1/embeddings", {"model": "m", "input": [ASKED]}, False, texts=[("content", ASKED)]
)


def without_tools(call: Call) -> Call:
    """Return the call without tools, which the fake provider answers in text only."""
    return replace(call, body={name: value for name, value in call.body.items() if name != "tools"})

"""How each API of the official SDKs is asked, and what its answer says, in words common to all."""

import json
from typing import Any, ClassVar

import pytest

from aigw_middleware.testing.script import Answer, Usage

from .setting import ASKED_MODEL, entered, listed, settled
from .told import Told, of_chat, of_message, of_response, parsed, told_tools

FORMS = ("whole", "stream", "helper")
QUESTION = "How warm is it?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": [], "additionalProperties": False}


class Api:
    """One method of an SDK."""

    name: ClassVar[str]
    maker: ClassVar[str] = "openai"
    strict: ClassVar[bool] = True
    """Whether the SDK's own types know all that the API says."""
    finish: ClassVar[str]
    """Why an answer that calls tools, or has nothing else to say, ends."""
    forms: ClassVar[tuple[str, ...]] = FORMS
    kinds: ClassVar[tuple[str, ...]] = ("content", "reasoning", "tool_arguments")
    """Texts that its answers have."""

    def asked(self, model: str = ASKED_MODEL, **members: Any) -> dict[str, Any]:
        """The arguments of a question; None: left out."""
        raise NotImplementedError

    def method(self, sdk: Any) -> Any:
        """What has `create`, and `stream` where the SDK helps with it."""
        raise NotImplementedError

    def of_whole(self, answer: Any) -> Told:
        """What a whole answer says."""
        raise NotImplementedError

    def of_stream(self, events: list[Any]) -> Told:
        """What the events of a stream say."""
        raise NotImplementedError

    def final(self, stream: Any) -> Any:
        """What the SDK's helper makes of a stream."""
        raise NotImplementedError

    def expected(self, answer: Answer) -> Told:
        """What the provider says with `answer`, whose usage is given."""
        tools = tuple((call.name, json.loads(call.arguments_text)) for call in answer.tool_calls)
        assert isinstance(answer.usage, Usage)
        return Told(answer.text or "", answer.reasoning or "", tools, self.finish, self.usage(answer.usage))

    def usage(self, usage: Usage) -> Any:
        """The numbers that the API tells."""
        return usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens

    async def ask(
        self, sdk: Any, form: str, *, seen: list[Any] | None = None, **members: Any
    ) -> tuple[Told, list[Any]]:
        """Ask in one of FORMS. Returns what was told, and the SDK's objects that told it.

        `seen` receives the events of a stream as they come, also of one that ends in an exception.
        """
        asked = {name: value for name, value in self.asked(**members).items() if value is not None}
        if form == "whole":
            answer = await settled(self.method(sdk).create(**asked))
            return self.of_whole(answer), [answer]
        if form == "stream":
            events = await listed(await settled(self.method(sdk).create(stream=True, **asked)), seen)
            return self.of_stream(events), events
        async with entered(self.method(sdk).stream(**asked)) as stream:
            events = await listed(stream, seen)
            answer = await settled(self.final(stream))
        return self.of_whole(answer), [*events, answer]


class Chat(Api):
    """OpenAI's chat completions."""

    name, finish = "chat", "tool_calls"

    def asked(self, model: str = ASKED_MODEL, **members: Any) -> dict[str, Any]:
        tools = [
            {"type": "function", "function": {"name": name, "strict": True, "parameters": SCHEMA}} for name in TOOLS
        ]
        return {"model": model, "messages": [{"role": "user", "content": QUESTION}], "tools": tools, **members}

    def method(self, sdk: Any) -> Any:
        return sdk.chat.completions

    def final(self, stream: Any) -> Any:
        return stream.get_final_completion()

    def of_whole(self, answer: Any) -> Told:
        (choice,) = answer.choices
        message = choice.message
        tools = [(call.function.name, parsed(call.function.arguments)) for call in message.tool_calls or ()]
        reasoning = getattr(message, "reasoning_content", None) or ""
        return Told(message.content or "", reasoning, tuple(tools), choice.finish_reason, of_chat(answer.usage))

    def of_stream(self, events: list[Any]) -> Told:
        text, reasoning, finish, usage = "", "", "", None
        tools: dict[int, list[str]] = {}
        for chunk in events:
            usage = of_chat(chunk.usage) or usage
            for choice in chunk.choices:
                delta = choice.delta
                text += delta.content or ""
                reasoning += getattr(delta, "reasoning_content", None) or ""
                finish = choice.finish_reason or finish
                for call in delta.tool_calls or ():
                    known = tools.setdefault(call.index, ["", ""])
                    known[0] += call.function.name or ""
                    known[1] += call.function.arguments or ""
        return Told(text, reasoning, told_tools(tools), finish, usage)


class Completions(Api):
    """OpenAI's legacy completions. The SDK's types do not know the null of a stream's `finish_reason`."""

    name, finish, strict, forms, kinds = "completions", "stop", False, ("whole", "stream"), ("content",)

    def asked(self, model: str = ASKED_MODEL, **members: Any) -> dict[str, Any]:
        return {"model": model, "prompt": QUESTION, **members}

    def method(self, sdk: Any) -> Any:
        return sdk.completions

    def expected(self, answer: Answer) -> Told:
        assert isinstance(answer.usage, Usage)
        return Told(answer.text or "", finish=self.finish, usage=self.usage(answer.usage))

    def of_whole(self, answer: Any) -> Told:
        (choice,) = answer.choices
        return Told(choice.text, finish=choice.finish_reason, usage=of_chat(answer.usage))

    def of_stream(self, events: list[Any]) -> Told:
        choices = [choice for chunk in events for choice in chunk.choices]
        usages = [of_chat(chunk.usage) for chunk in events if chunk.usage]
        finishes = [choice.finish_reason for choice in choices if choice.finish_reason]
        text = "".join(choice.text for choice in choices)
        return Told(text, finish="".join(finishes), usage=usages[-1] if usages else None)


class Embeddings(Api):
    """OpenAI's embeddings, which the SDK asks for as base64 that its own types do not know."""

    name, finish, strict, forms = "embeddings", "", False, ("whole",)

    def asked(self, model: str = ASKED_MODEL, **members: Any) -> dict[str, Any]:
        return {"model": model, "input": [QUESTION, "Hm."], **members}

    def method(self, sdk: Any) -> Any:
        return sdk.embeddings

    def expected(self, answer: Answer) -> Told:
        assert isinstance(answer.usage, Usage)
        return Told("8 8", usage=self.usage(answer.usage))

    def usage(self, usage: Usage) -> Any:
        return usage.prompt_tokens, usage.prompt_tokens

    def of_whole(self, answer: Any) -> Told:
        sizes = " ".join(str(len(one.embedding)) for one in answer.data)
        return Told(sizes, usage=(answer.usage.prompt_tokens, answer.usage.total_tokens))


class Responses(Api):
    """OpenAI's responses."""

    name, finish = "responses", "completed"

    def asked(self, model: str = ASKED_MODEL, **members: Any) -> dict[str, Any]:
        tools = [{"type": "function", "name": name, "strict": True, "parameters": SCHEMA} for name in TOOLS]
        return {"model": model, "input": QUESTION, "tools": tools, **members}

    def method(self, sdk: Any) -> Any:
        return sdk.responses

    def final(self, stream: Any) -> Any:
        return stream.get_final_response()

    def of_whole(self, answer: Any) -> Told:
        tools: list[tuple[str, Any]] = []
        reasoning = ""
        for item in answer.output:
            if item.type == "function_call":
                tools.append((item.name, parsed(item.arguments)))
            elif item.type == "reasoning":
                reasoning += "".join(part.text for part in (*(item.content or ()), *item.summary))
        finish = answer.status
        if answer.incomplete_details is not None:
            finish += f" {answer.incomplete_details.reason}"
        return Told(answer.output_text, reasoning, tuple(tools), finish, of_response(answer.usage))

    def of_stream(self, events: list[Any]) -> Told:
        """What the deltas say, and the whole response of the last event, which says the same."""
        text = reasoning = ""
        tools: dict[int, list[str]] = {}
        for event in events:
            kind = event.type.removeprefix("response.")
            if kind == "output_text.delta":
                text += event.delta
            elif kind in ("reasoning_summary_text.delta", "reasoning_text.delta"):
                reasoning += event.delta
            elif kind == "output_item.added" and event.item.type == "function_call":
                tools[event.output_index] = [event.item.name, ""]
            elif kind == "function_call_arguments.delta":
                tools[event.output_index][1] += event.delta
        whole = self.of_whole(events[-1].response)
        told = Told(text, reasoning, told_tools(tools), whole.finish, whole.usage)
        assert told == whole
        numbers = [event.sequence_number for event in events]
        assert numbers == sorted(numbers)
        return told


class Messages(Api):
    """Anthropic's messages."""

    name, maker, finish = "messages", "anthropic", "tool_use"

    def asked(self, model: str = ASKED_MODEL, **members: Any) -> dict[str, Any]:
        tools = [{"name": name, "input_schema": SCHEMA} for name in TOOLS]
        messages = [{"role": "user", "content": QUESTION}]
        return {"model": model, "max_tokens": 1_000, "messages": messages, "tools": tools, **members}

    def method(self, sdk: Any) -> Any:
        return sdk.messages

    def final(self, stream: Any) -> Any:
        return stream.get_final_message()

    def usage(self, usage: Usage) -> Any:
        apart = usage.cached_tokens, usage.cache_creation_tokens
        return usage.prompt_tokens - sum(apart), usage.completion_tokens, *apart

    def of_whole(self, answer: Any) -> Told:
        blocks = answer.content
        text = "".join(block.text for block in blocks if block.type == "text")
        reasoning = "".join(block.thinking for block in blocks if block.type == "thinking")
        tools = tuple((block.name, block.input) for block in blocks if block.type == "tool_use")
        return Told(text, reasoning, tools, answer.stop_reason, of_message(answer.usage.to_dict()))

    def of_stream(self, events: list[Any]) -> Told:
        text = reasoning = finish = ""
        usage: dict[str, Any] = {}
        tools: dict[int, list[str]] = {}
        for event in events:
            if event.type == "message_start":
                usage = event.message.usage.to_dict()
            elif event.type == "content_block_start" and event.content_block.type == "tool_use":
                tools[event.index] = [event.content_block.name, ""]
            elif event.type == "content_block_delta":
                text += getattr(event.delta, "text", "")
                reasoning += getattr(event.delta, "thinking", "")
                if event.delta.type == "input_json_delta":
                    tools[event.index][1] += event.delta.partial_json
            elif event.type == "message_delta":
                finish = event.delta.stop_reason
                usage |= {name: value for name, value in event.usage.to_dict().items() if value is not None}
        assert events[-1].type == "message_stop"
        return Told(text, reasoning, told_tools(tools), finish, of_message(usage))


TOOLS = ("weather", "now")
APIS = (Chat(), Responses(), Completions(), Embeddings(), Messages())
EVERY_API = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
SPEAKING = pytest.mark.parametrize("api", [api for api in APIS if "stream" in api.forms], ids=lambda api: api.name)
"""The APIs that answer with text."""

"""Refuse questions that contain a denied word, and end answers in front of one, also when a stream cuts it in pieces.

    plugins:
      - name: ai-data-masking
        config:
          deny_words: [topsecret, "project bluebird"]
          allow_words: ["project bluebird festival"]
          deny_message: This cannot be discussed here.

Words are compared in their folded form: case, width, compatibility forms, invisible characters and the amount of
white space in a phrase make no difference. A word that begins or ends with a letter is found as a word of its own only
(`word_boundaries`); in writings without spaces, such as Chinese, wherever it stands. Records name the rule and the
place, never the word. Every text of a call is read: what cannot be read follows `on_uncovered`, which is `deny` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import field_validator, model_validator

from .... import json as strict_json
from ....errors import ConfigError
from ....exchange import Finish, Refusal, Reply
from ....headers import header_value
from ....plugin import Field, Needs, Plugin, PluginConfig, Stage
from .folding import last_cluster
from .words import START, DenyWords, Hit, check

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....llm.text import Channel
    from ....llm.view import LlmCall

BLOCKED = "提问或回答中包含敏感词，已被屏蔽"  # noqa: RUF001 - the text of the compatible gateways
JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
DENIED = "content_filter"


class AiDataMaskingConfig(PluginConfig):
    """What is denied, and what is answered then."""

    deny_openai: bool = Field(True, description="Read LLM calls: their texts in the question and in the answer.")
    deny_words: tuple[str, ...] = Field((), description="Words and phrases that are denied; blank ones are ignored.")
    allow_words: tuple[str, ...] = Field((), description="Longer words or phrases inside which a denied one is no hit.")
    word_boundaries: bool = Field(
        True, description="Find `ass` in `an ass`, not in `class`; false: anywhere. Only for writings with spaces."
    )
    deny_code: int = Field(200, ge=200, le=599, description="HTTP status of a refused question; from 400 on, an error.")
    deny_message: str = Field(BLOCKED, min_length=1, description="Text of the answer in place of what was denied.")
    deny_raw_message: str = Field(
        strict_json.encode({"errmsg": BLOCKED}).decode(),
        description="Body for calls whose API has no shape for an answer of ours.",
    )
    deny_content_type: str = Field(JSON, description="Content-Type of `deny_raw_message`.")

    @field_validator("deny_openai")
    @classmethod
    def _reads_something(cls, value: bool) -> bool:
        if not value:
            raise ValueError("false leaves nothing to read: LLM calls are what this plug-in reads")
        return value

    @field_validator("deny_words", "allow_words")
    @classmethod
    def _can_be_found(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check(value)
        return value

    @field_validator("deny_code")
    @classmethod
    def _has_a_body(cls, value: int) -> int:
        if value in (204, 205, 304):
            raise ValueError(f"{value} has no body to say it with: 200 or 403, for instance")
        return value

    @field_validator("deny_content_type")
    @classmethod
    def _is_a_header(cls, value: str) -> str:
        header_value(value)
        return value

    @model_validator(mode="after")
    def _denies_something(self) -> AiDataMaskingConfig:
        if not any(word.strip() for word in self.deny_words):
            raise ValueError("deny_words has no word: there is nothing to deny")
        return self


class AiDataMasking(Plugin[AiDataMaskingConfig]):
    """Deny words in the questions and answers of LLM calls."""

    name, stage, priority = "ai-data-masking", Stage.DEFAULT, 991
    needs = Needs.LLM
    on_failure = "deny"
    on_uncovered = "deny"

    def compile(self) -> None:
        config = self.config
        try:
            self._words = DenyWords(config.deny_words, config.allow_words, boundaries=config.word_boundaries)
        except ValueError as error:
            raise ConfigError.of("", f"deny_words: {error}") from None
        message = config.deny_message
        self._refusal = Refusal(
            config.deny_code, DENIED, message, upstream=(JSON, _upstream_answer("message", message))
        )
        self._raw = Reply(config.deny_code, body=config.deny_raw_message, content_type=config.deny_content_type)
        self._upstream: tuple[Reply, Reply] | None = None
        if self.context.error_format == "upstream":
            event = b"data:" + _upstream_answer("delta", message) + b"\n\n"
            self._upstream = (
                Reply(config.deny_code, body=_upstream_answer("message", message), content_type=JSON),
                Reply(config.deny_code, body=event, content_type="text/event-stream;charset=UTF-8"),
            )

    def on_request_body(self, exchange: Exchange) -> Reply | Refusal | None:
        call = exchange.llm
        assert call is not None
        for slot in call.texts():
            hit = self._words.find(slot.text)
            if hit is not None:
                exchange.decide(self, "refused", f"{_rule(hit)} in {slot.kind} {slot.index} at {hit.start}-{hit.end}")
                return self._denial(exchange, call)
        return None

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> tuple[str, str] | Finish | None:
        words = self._words
        if channel.final and words.clean(text):
            return None
        passages = exchange.local.get(self)
        if passages is None:
            passages = exchange.local[self] = {}
        key = (channel.index, channel.kind, channel.part)
        context, passed = passages.get(key, _BEGIN)
        if not channel.final and words.passes(context, text):
            passages[key] = (text[-1], passed + len(text))
            return None
        release, hit = words.scan(context, text, final=channel.final)
        if hit is not None:
            place = f"{passed + hit.start}-{passed + hit.end}"
            exchange.decide(self, "refused", f"{_rule(hit)} in {channel.kind} of answer {channel.index} at {place}")
            clean = text[:release]
            return Finish(DENIED, clean if channel.kind == "tool_arguments" else clean + self.config.deny_message)
        if channel.final:
            return None
        if release:
            released = context + text[:release]
            passages[key] = (released[last_cluster(released) :], passed + release)
        return None if release == len(text) else (text[:release], text[release:])

    def _denial(self, exchange: Exchange, call: LlmCall) -> Reply | Refusal:
        """Answer in the shape of the caller's API, so that its client reads it like any answer."""
        if self._upstream is not None:
            return self._upstream[call.streams]
        config = self.config
        if config.deny_code >= 400:
            return self._refusal
        stream = call.streams
        body = call.dialect.answer(
            config.deny_message,
            stream=stream,
            reason=DENIED,
            model=call.model,
            identifier=exchange.id,
            created=int(exchange.ports.clock.now()),
        )
        if not body:
            return self._raw
        return Reply(config.deny_code, body=body, content_type=EVENT_STREAM if stream else JSON)


_BEGIN = (START, 0)


def _rule(hit: Hit) -> str:
    return f"deny_words[{hit.rule}]" if hit.rule >= 0 else "too many invisible characters"


def _upstream_answer(field: str, message: str) -> bytes:
    """Return the answer of the compatible gateways: without id, model and finish reason, which strict clients miss."""
    choices: Sequence[object] = [{"index": 0, field: {"role": "assistant", "content": message}}]
    return strict_json.encode({"choices": choices, "usage": {}})

"""Refuse or shorten what is too long for the model, before it costs a call.

    plugins:
      - name: ai-context-limit
        config:
          max_context_tokens: 128000
          models: {"gpt-4o-mini": 16000, "llama-3.1-*": 32000, "internal-*": 0}
          known_windows: true
          policy: keep_system

What applies to a model is its entry in `models`, else, with `known_windows`, what its maker publishes, else
`max_context_tokens`. Nothing is counted where sizes tell that all fits: n bytes are at most n tokens. The count has the
overheads of messages and tools in it and images by their makers' formulas; sounds, files and what the provider keeps
are not in it, which the record says. An API without a conversation takes each of its texts by itself.

Of a conversation that is too long, `truncate_oldest` drops the oldest turns, `keep_system` too but for messages of the
system among them. A system prompt with a place of its own (`system`, `systemInstruction`, `instructions`) always stays,
and so does the last turn; a call of a tool goes together with its result. What does not fit even then is refused.

Plug-ins behind this one may make a prompt longer (history, retrieval, decoration): with a `priority` below theirs it
counts what they add, too.

Source: the error is OpenAI's (`context_length_exceeded`); windows are of the makers' model pages.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import field_validator

from ... import json as strict_json
from ...exchange import Exchange, Refusal
from ...llm.dialects import Attachment
from ...llm.tokens import counter_for, image_tokens
from ...llm.tokens.overheads import OVERHEADS
from ...llm.turns import cuts, shortened
from ...llm.view import LlmCall
from ...llm.windows import limits
from ...plugin import Field, Needs, Plugin, PluginConfig, Stage
from .by_model import ByModel, star_at_the_end

if TYPE_CHECKING:
    from ...ports import Offload
    from ...runtime import Runtime

RATIO: Final = 1.10
QUESTIONS: Final = ("/count_tokens", "/input_tokens", ":countTokens")
"""Ends of paths at which callers ask how long something is: it may be as long as it is."""


class AiContextLimitConfig(PluginConfig):
    """How many tokens a call may take."""

    max_context_tokens: int = Field(
        0, ge=0, description="Tokens of context for models that nothing else says one of; 0: no limit."
    )
    buffer_ratio: float = Field(
        RATIO, ge=0, le=10, description="What a count is multiplied by, as a margin of safety; 0: 1.10."
    )
    error_status_code: int = Field(400, ge=400, le=599, description="Status of a refusal.")
    models: dict[str, int] = Field(
        {}, description="Tokens of context by model: exact, `prefix*` or `*`, the longest wins; 0: no limit."
    )
    known_windows: bool = Field(
        False, description="For models that are not in `models`: the context windows that their makers publish."
    )
    count_output: bool | None = Field(
        None,
        description="Whether the longest answer that a caller asks for must fit, too. Default: yes where the limit is "
        "that of a model, no for `max_context_tokens`, which compatible gateways compare with the prompt alone.",
    )
    policy: Literal["reject", "truncate_oldest", "keep_system"] = Field(
        "reject", description="What becomes of a call that is too long: refused, or without its oldest turns."
    )

    @field_validator("buffer_ratio")
    @classmethod
    def _default_ratio(cls, value: float) -> float:
        return value or RATIO

    @field_validator("models")
    @classmethod
    def _patterns(cls, value: dict[str, int]) -> dict[str, int]:
        star_at_the_end(value)
        for name, tokens in value.items():
            if tokens < 0:
                raise ValueError(f"{name!r} has a negative limit; 0 is none")
        return value


class Limit(NamedTuple):
    """What a call is held to."""

    tokens: int
    counts_output: bool
    longest_answer: int
    """What the model answers at most, in tokens; 0: not known."""


class AiContextLimit(Plugin[AiContextLimitConfig]):
    """Hold calls to the context window of their model."""

    name, stage, priority = "ai-context-limit", Stage.DEFAULT, 1000
    needs = Needs.LLM
    counts_tokens = True

    def compile(self) -> None:
        config = self.config
        self._models = ByModel(config.models)
        self._ratio = config.buffer_ratio
        self._shortens = config.policy != "reject"
        self._keeps_system = config.policy == "keep_system"
        named = [name.rstrip("*") for name, tokens in config.models.items() if tokens]
        if config.max_context_tokens or config.known_windows:
            named.append("")  # whose counter is that of every unknown name
        self._counters = {counter_for(name) for name in named}
        if not named:
            self.unused = frozenset({"on_request_body", "setup"})

    async def setup(self, runtime: Runtime) -> None:
        """Load the tokenizers of the models that are named, so that no call waits for them."""
        for counter in self._counters:
            await runtime.ports.offload(counter.prepare)

    def on_request_body(self, exchange: Exchange) -> Coroutine[Any, Any, Refusal | None] | None:
        call = exchange.llm
        assert call is not None
        if exchange.request.path.endswith(QUESTIONS):
            return None
        model = call.model
        limit = self._limit(model)
        if limit is None:
            return None
        attachments = list(call.attachments())
        others = {found.kind for found in attachments if found.kind != "image"}
        if others:
            exchange.decide(self, "skipped", f"not counted: {', '.join(sorted(others))}")
        output = _longest_answer(call, limit)
        if self._estimate(_at_most(call, model, attachments)) <= limit.tokens - output:
            return None
        return self._judge(exchange, call, limit.tokens, output)

    async def _judge(self, exchange: Exchange, call: LlmCall, limit: int, output: int) -> Refusal | None:
        """Count, and refuse or shorten what is too long."""
        room = limit - output
        estimate = self._estimate(await _count(call, exchange.ports.offload))
        if estimate <= room:
            return None
        if self._shortens and room > 0 and await self._shorten(exchange, call, estimate, room):
            return None
        exchange.decide(self, "refused", f"about {estimate} tokens and {output} for the answer, {limit} are allowed")
        return self._refusal(limit, estimate, output)

    async def _shorten(self, exchange: Exchange, call: LlmCall, estimate: int, room: int) -> bool:
        """Drop as few of the oldest turns as it takes; False, with nothing dropped, when that is not enough."""
        member = call.dialect.conversation
        if not isinstance(call.body.get(member), list):
            return False
        body = call.request.edit()
        messages = kept = body[member]
        places = cuts(call.dialect, messages)
        low, high, left = 0, len(places), estimate
        try:
            while low < high:
                middle = (low + high) // 2
                body[member] = shortened(call.dialect, messages, places[middle], keep_system=self._keeps_system)
                now = self._estimate(await call.prompt_tokens(exchange.ports.offload))
                if now <= room:
                    high, kept, left = middle, body[member], now
                else:
                    low = middle + 1
                await exchange.ports.clock.sleep(0)  # others' turn: all counts together may take more than 1 ms
        finally:
            body[member] = kept
        if kept is messages:
            return False
        dropped = len(messages) - len(kept)
        exchange.decide(self, "changed", f"dropped {dropped} messages, about {estimate - left} tokens")
        return True

    def _limit(self, model: str) -> Limit | None:
        """Return what holds for a model; None where nothing does."""
        config = self.config
        known = limits(model)
        longest = known.output if known is not None else 0
        tokens = self._models.get(model)
        if tokens is not None:
            found = Limit(tokens, config.count_output is not False, longest)
        elif config.known_windows and known is not None:
            counts = not known.apart if config.count_output is None else config.count_output
            found = Limit(known.window, counts, longest)
        else:
            found = Limit(config.max_context_tokens, config.count_output is True, longest)
        return found if found.tokens else None

    def _estimate(self, tokens: int) -> int:
        return int(tokens * self._ratio)

    def _refusal(self, limit: int, estimate: int, output: int) -> Refusal:
        text = f"This model's maximum context length is {limit} tokens. "
        text += f"Your request had approximately {estimate + output} tokens"
        text += f", {output} of them for the answer." if output else "."
        error = {"message": text, "type": "invalid_request_error", "code": "context_length_exceeded"}
        body = strict_json.encode({"error": error})
        return Refusal(
            self.config.error_status_code, "context_length_exceeded", text, upstream=("application/json", body)
        )


def _longest_answer(call: LlmCall, limit: Limit) -> int:
    """Return the tokens that the caller's answer may take of the window."""
    wanted = call.output_limit if limit.counts_output else None
    if not wanted:
        return 0
    return min(wanted, limit.longest_answer) if limit.longest_answer else wanted


async def _count(call: LlmCall, offload: Offload) -> int:
    """Return the tokens of a call: of its conversation, or of the longest of its texts where it has none."""
    if call.dialect.conversation in call.body:
        return await call.prompt_tokens(offload)
    texts = [slot.text for slot in call.texts()]
    return max(await counter_for(call.model).count_all(texts, offload), default=0)


def _at_most(call: LlmCall, model: str, attachments: Iterable[Attachment]) -> int:
    """Return what `_count` cannot exceed, told from sizes: texts by their bytes, images by the largest."""
    counter = counter_for(model)
    images = sum(image_tokens(model, None, found.detail) for found in attachments if found.kind == "image")
    if call.request.edited:  # encoding it only to see how long it has become would cost more than looking at its texts
        return call.prompt_bound()
    # What JSON writes around a text, a name or a tool has more bytes than they have tokens around them; a message may
    # be a text in a list, with quotes and a comma.
    around = OVERHEADS[model]
    messages = call.body.get(call.dialect.conversation)
    of_messages = around.message * len(messages) if isinstance(messages, list) else 0
    return -(-len(call.request.body) * counter.family.percent // 100) + of_messages + around.tools + images

"""OpenAI's legacy completions: a prompt goes in, its continuation comes out.

Source: OpenAI API reference, "Completions" (create a completion; the completion object).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .apis import OPENAI, Api
from .call import MOST_CHOICES, Call, InvalidCallError, body_of, member, model_of, positive
from .composition import Composition
from .framing import Event
from .openai_chat import DONE, UsageChunks, usage_object

if TYPE_CHECKING:
    from .provider_hosts import ReceivedRequest


@dataclass(frozen=True, slots=True)
class CompletionCall(Call):
    """A completion request. Of an answer it gets text or refusal, as text; it knows neither tools nor reasoning."""

    api: ClassVar[Api] = OPENAI
    has_reasoning: ClassVar[bool] = False

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = body_of(request)
        model = model_of(body)
        prompts = inputs_of(body, "prompt")
        choices = len(prompts) * (positive(body, "n", MOST_CHOICES) or 1)
        if choices > MOST_CHOICES:
            raise InvalidCallError(f"Too many completions: at most {MOST_CHOICES} for all prompts.", "n")
        return cls(
            model=model,
            messages=[{"role": "user", "content": prompt} for prompt in prompts],
            stream=body.get("stream") is True,
            include_usage=member(body, "stream_options").get("include_usage") is True,
            choices=choices,
            limit=positive(body, "max_tokens"),
        )

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """The completion object."""
        text = composed.said("text", "refusal")
        choices = [_choice(index, text, composed.finish_reason) for index in range(self.choices)]
        body = {**_frame(composed), "choices": choices}
        return body if composed.usage is None else {**body, "usage": usage_object(composed.usage)}

    def events(self, composed: Composition) -> Iterator[Event]:
        """Pieces in turn, finishes without text, usage, end marker."""
        frame = _frame(composed)
        usage = UsageChunks(composed)
        choices = range(self.choices)
        for piece in composed.pieces:
            for index in choices:
                beside = usage.beside(sent=piece.number + 1, first=(piece.number, index) == (0, 0))
                yield Event({**frame, "choices": [_choice(index, piece.text)], **beside}, piece=piece.number)
        for index in choices:
            ended = [_choice(index, "", composed.finish_reason)]
            first = not composed.pieces and index == 0
            beside = usage.beside(sent=len(composed.pieces), first=first, last=index == self.choices - 1)
            yield Event({**frame, "choices": ended, **beside})
        yield from usage.after(frame)
        yield Event(DONE, final=True)


def inputs_of(body: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a text, a list of texts, a list of tokens or a list of such lists; tokens as words of digits.

    Raises InvalidCallError if it is nothing of that.
    """
    value = body.get(name)
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(one, str) for one in value):
            return list(value)
        if _are_tokens(value):
            return [_digits(value)]
        if all(isinstance(one, list) and _are_tokens(one) for one in value):
            return [_digits(one) for one in value]
    raise InvalidCallError(f"'{name}' must be a string, a list of strings, or one or more lists of tokens.", name)


def _are_tokens(value: list[Any]) -> bool:
    return bool(value) and all(type(one) is int and one >= 0 for one in value)


def _digits(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))


def _frame(composed: Composition) -> dict[str, Any]:
    return {
        "id": f"cmpl-{composed.number}",
        "object": "text_completion",
        "created": composed.created,
        "model": composed.call.model,
        "system_fingerprint": "fp_fake",
    }


def _choice(index: int, text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}

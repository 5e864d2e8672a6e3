"""An answer fitted to a request, before it is written in any dialect: the one source of its whole form and its stream."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Any, Literal, TypeAlias

from .call import Call
from .script import Answer, FinishReason, Style, ToolCall, Usage

WORD = re.compile(r"\s*\S+|\s+\Z")
ARGUMENT_PIECE = 8  # characters of a tool call's arguments in one piece

NO_TOOL = ToolCall("")

BlockKind: TypeAlias = Literal["reasoning", "text", "refusal", "tool"]


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an answer that is one thing: its reasoning, its text or refusal, one tool call."""

    kind: BlockKind
    text: str
    """All of it; of a tool call the arguments."""
    tool: ToolCall = NO_TOOL
    """The tool call with its id, for a block of that kind."""
    place: int = 0
    """Which of the tool calls it is."""
    cut: bool = False
    """Whether a limit ended it before it was done."""

    @property
    def arguments(self) -> dict[str, Any] | None:
        """The arguments of a tool call as an object; None if their text is none, as when a limit cut it."""
        try:
            found = json.loads(self.text)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


Planned: TypeAlias = tuple[Block, Sequence[str]]
Told: TypeAlias = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a block that one event carries, one token. The first of a tool call is its name, without text."""

    number: int
    block: int
    text: str
    opens: bool
    """Whether it is the first of its block."""
    closes: bool
    """Whether it is the last of its block."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What each choice of an answer says, why it ends and what it costs."""

    call: Call
    blocks: Sequence[Block]
    pieces: Sequence[Piece]
    """The blocks in the order in which a stream sends them; together the pieces of a block are its text."""
    finish_reason: FinishReason
    stop_sequence: str | None
    usage: Usage | None
    style: Style
    number: int
    """Of the request, counted by the provider; ids are made of it."""
    created: int
    """Seconds since 1970."""

    @classmethod
    def of(cls, answer: Answer, text: str, call: Call, *, number: int, created: int) -> "Composition":
        """Fit `answer`, with `text` where it has none, to `call`."""
        tools = [replace(tool, id=tool.id or f"call_{number}_{place}") for place, tool in enumerate(answer.tool_calls)]
        planned = _plan(answer, text, tools if call.offers_tools else [], reasons=call.has_reasoning)
        everything = _in_order(planned, interleave=answer.style.interleave and call.interleaves)
        told = everything if call.limit is None else everything[: call.limit]
        blocks = _blocks(planned, told)
        finish_reason = answer.finish_reason or ("tool_calls" if tools and call.offers_tools else "stop")
        reasoning = sum(blocks[block].kind == "reasoning" for block, _ in told)
        return cls(
            call=call,
            blocks=blocks,
            pieces=_pieces(told),
            finish_reason="length" if len(told) < len(everything) else finish_reason,
            stop_sequence=answer.stop_sequence,
            usage=_usage(answer, call, len(told) * call.choices, reasoning * call.choices),
            style=answer.style,
            number=number,
            created=created,
        )

    @property
    def request_id(self) -> str:
        """The name of the request."""
        return f"req_{self.number}"

    @property
    def tools(self) -> list[Block]:
        """The tool calls."""
        return [block for block in self.blocks if block.kind == "tool"]

    def said(self, *kinds: BlockKind) -> str:
        """The text of all blocks of these kinds."""
        return "".join(block.text for block in self.blocks if block.kind in kinds)

    def usage_after(self, count: int) -> Usage | None:
        """The usage when so many pieces have been sent, cumulative: it grows to what it is in the end."""
        if self.usage is None or not self.pieces:
            return self.usage
        completion = self.usage.completion_tokens * count // len(self.pieces)
        reasoning = min(self.usage.reasoning_tokens, completion)  # reasoning is sent first
        return replace(self.usage, completion_tokens=completion, reasoning_tokens=reasoning)


def words(text: str) -> list[str]:
    """The words of a text, each with the space before it; together they are the text."""
    return WORD.findall(text)


def prompt_tokens(texts: Iterable[str]) -> int:
    """The words of all texts, at least one."""
    return max(1, sum(len(words(text)) for text in texts))


def _plan(answer: Answer, text: str, tools: Sequence[ToolCall], *, reasons: bool) -> list[Planned]:
    """The blocks, still without text, each with the texts of its pieces."""
    plan: list[Planned] = [(Block("reasoning", ""), words(answer.reasoning or "") if reasons else [])]
    if answer.refusal is not None:
        plan.append((Block("refusal", ""), words(answer.refusal)))
    elif answer.chunks:
        plan.append((Block("text", ""), list(answer.chunks)))
    elif answer.text is not None or not tools:
        plan.append((Block("text", ""), words(text if answer.text is None else answer.text)))
    for place, tool in enumerate(tools):
        written = tool.arguments_text
        cut = [written[start : start + ARGUMENT_PIECE] for start in range(0, len(written), ARGUMENT_PIECE)]
        plan.append((Block("tool", "", tool, place), ["", *cut]))
    return [(block, texts) for block, texts in plan if texts]


def _in_order(planned: Sequence[Planned], *, interleave: bool) -> list[Told]:
    """Number of the block and text of each piece, in the order of a stream; tool calls, which are last, may take turns."""
    one_by_one = [[(number, text) for text in texts] for number, (_, texts) in enumerate(planned)]
    if not interleave:
        return list(chain.from_iterable(one_by_one))
    tools = sum(block.kind == "tool" for block, _ in planned)
    before, in_turn = one_by_one[: len(planned) - tools], zip_longest(*one_by_one[len(planned) - tools :])
    return [*chain.from_iterable(before), *(told for turn in in_turn for told in turn if told is not None)]


def _blocks(planned: Sequence[Planned], told: Sequence[Told]) -> list[Block]:
    """Each block of which something is told, with what is told of it. They begin in order, so their numbers stay."""
    said: dict[int, list[str]] = {}
    for block, text in told:
        said.setdefault(block, []).append(text)
    return [
        replace(planned[block][0], text="".join(texts), cut=len(texts) < len(planned[block][1]))
        for block, texts in said.items()
    ]


def _pieces(told: Sequence[Told]) -> list[Piece]:
    first: Mapping[int, int] = {block: number for number, (block, _) in reversed(list(enumerate(told)))}
    last: Mapping[int, int] = {block: number for number, (block, _) in enumerate(told)}
    return [
        Piece(number, block, text, opens=first[block] == number, closes=last[block] == number)
        for number, (block, text) in enumerate(told)
    ]


def _usage(answer: Answer, call: Call, completion: int, reasoning: int) -> Usage | None:
    if answer.usage == "none":
        return None
    if answer.usage != "counted":
        return answer.usage
    prompt = prompt_tokens(call.texts)
    cached = min(answer.cached_tokens, prompt)
    created = min(answer.cache_creation_tokens, prompt - cached)
    return Usage(prompt, completion, cached, reasoning, created)

"""What a chat takes besides its texts: the tokens around messages, of tools, of images.

Sources: OpenAI's cookbook, "How to count tokens with tiktoken" (3 for a message and 1 for its role, 1 for a name, 3 that
prime the reply; 7, formerly 10, for each function and 12 for having some); Anthropic, "Tool use", pricing (the system
prompt that tools bring). What Anthropic puts around messages is not published: one message of one token is reported
as 8. Gemini reports nothing around messages. Others' templates write a start, a role and an end around each message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from .counter import counter_for
from .dimensions import size_of_source
from .families import Prefixes
from .images import image_tokens

if TYPE_CHECKING:
    from ...ports import Offload

Text: TypeAlias = tuple[str, str, str]
"""Role, kind and text, as the slots of a call have them."""
Image: TypeAlias = tuple[str, str]
"""Where an image is (a `data:` URL, bare base64, an address) and its detail, as the attachments of a call have them."""

_MESSAGE_KINDS: Final = frozenset({"system", "content", "tool_result"})


class Overhead(NamedTuple):
    """Tokens that are in no text."""

    message: int = 4
    """For each message, its role included."""
    name: int = 1
    reply: int = 3
    """Once, for the answer that begins."""
    tools: int = 12
    """Once, where there are tools."""
    tool: int = 10
    """For each tool."""


_OPENAI: Final = Overhead(4, 1, 3, 12, 7)
_OPENAI_4: Final = Overhead(4, 1, 3, 12, 10)


def _claude(tools: int) -> Overhead:
    return Overhead(3, 0, 4, tools, 0)


OVERHEADS: Final = Prefixes(
    {
        **dict.fromkeys(("gpt-", "chatgpt-", "codex-", "computer-use", "o1", "o3", "o4"), _OPENAI),
        **dict.fromkeys(("gpt-4", "gpt-3.5", "gpt-35"), _OPENAI_4),
        **dict.fromkeys(("gpt-4.1", "gpt-4.5"), _OPENAI),
        **dict.fromkeys(("text-embedding-", "davinci-", "babbage-"), Overhead(0, 0, 0, 0, 0)),
        # The larger one of the two that are published for each model, by the choice of tools.
        "claude": _claude(346),
        **dict.fromkeys(("claude-3-5-haiku", "claude-3-haiku"), _claude(340)),
        "claude-3-opus": _claude(530),
        "claude-3-sonnet": _claude(235),
        **dict.fromkeys(("gemini", "gemma", "learnlm"), Overhead(0, 0, 0, 0, 0)),
    },
    Overhead(),
)


def prompt_tokens(
    model: str,
    texts: Iterable[Text],
    images: Iterable[Image] = (),
    *,
    messages: int | None = None,
    tools: int | None = None,
) -> int:
    """Return the tokens of a prompt, its overheads included. Counts right here: on an event loop use `count_prompt`.

    `texts` has every text of the request; where it has more of a tool's definition than its descriptions, say the whole of
    it as JSON, the count comes closer. `messages` and `tools` are how many there are; None: told from the texts, each
    part of a message as one, and all definitions as one tool.
    """
    texts = list(texts)
    count = counter_for(model).count
    return sum(count(text) for _, _, text in texts) + overhead(model, texts, images, messages=messages, tools=tools)


async def count_prompt(
    model: str,
    texts: Sequence[Text],
    images: Iterable[Image] = (),
    *,
    messages: int | None = None,
    tools: int | None = None,
    offload: Offload,
) -> int:
    """Return what `prompt_tokens` does, without keeping an event loop. Raises OffloadFull."""
    counts = await counter_for(model).count_all([text for _, _, text in texts], offload)
    return sum(counts) + overhead(model, texts, images, messages=messages, tools=tools)


def overhead(
    model: str,
    texts: Iterable[Text],
    images: Iterable[Image] = (),
    *,
    messages: int | None = None,
    tools: int | None = None,
) -> int:
    """Return the tokens of a prompt that are in none of its texts."""
    around = OVERHEADS[model]
    kinds = [kind for _, kind, _ in texts]
    if messages is None:
        messages = sum(kind in _MESSAGE_KINDS for kind in kinds)
    if tools is None:
        tools = int("tool_definition" in kinds)
    total = messages * around.message + kinds.count("name") * around.name
    if messages:
        total += around.reply
    if tools:
        total += around.tools + tools * around.tool
    return total + sum(image_tokens(model, size_of_source(source), detail) for source, detail in images)

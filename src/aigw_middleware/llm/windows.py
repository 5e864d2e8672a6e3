"""How many tokens models take and give, as their makers publish it: context windows and the longest answers.

Sources: the model pages of OpenAI, Anthropic, Google (Gemini API), Mistral, Meta, Alibaba Cloud Model Studio, DeepSeek,
Cohere and xAI, as of November 2026. Where they differ between the sizes of a model or between those who serve open
weights, and where the name of an older model now stands for a newer one, the larger number stands: one that is too
small would refuse what the provider takes, one that is too large leaves the refusal to the provider. What has to be
asked for with a header of its own (Anthropic's `context-1m` for Sonnet 4 and 4.5) is not counted in.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .tokens.families import Prefixes


class Limits(NamedTuple):
    """What a model takes and gives, in tokens."""

    window: int
    """Prompt and answer together; only the prompt where `apart`."""
    output: int = 0
    """The longest answer, thoughts included; 0: not published."""
    apart: bool = False
    """Whether the answer does not count against the window."""


_NONE: Final = Limits(0)
_GPT_5: Final = Limits(400_000, 128_000)
_GPT_5_LONG: Final = Limits(1_050_000, 128_000)
_GPT_CHAT: Final = Limits(128_000, 16_384)
_REASONING: Final = Limits(200_000, 100_000)
_CLAUDE_LONG: Final = Limits(1_000_000, 128_000)
_GEMINI: Final = Limits(1_048_576, 65_536, apart=True)
_128K: Final = Limits(131_072)
_256K: Final = Limits(262_144)

_OPENAI: Final = {
    **dict.fromkeys(("gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6"), _GPT_5_LONG),
    **dict.fromkeys(("gpt-5", "gpt-5.4-mini", "gpt-5.4-nano"), _GPT_5),
    "gpt-5-pro": Limits(400_000, 272_000),
    **dict.fromkeys(("gpt-5-chat", "gpt-5.1-chat", "gpt-5.2-chat", "gpt-5.3-chat"), _GPT_CHAT),
    "gpt-4.1": Limits(1_047_576, 32_768),
    **dict.fromkeys(("gpt-4o", "chatgpt-4o", "gpt-4.5", "gpt-audio"), _GPT_CHAT),
    "gpt-4o-2024-05-13": Limits(128_000, 4_096),
    **dict.fromkeys(("gpt-4-turbo", "gpt-4-1106", "gpt-4-0125", "gpt-4-vision"), Limits(128_000, 4_096)),
    "gpt-4": Limits(8_192, 8_192),
    "gpt-4-32k": Limits(32_768, 32_768),
    **dict.fromkeys(("gpt-3.5-turbo", "gpt-35-turbo"), Limits(16_385, 4_096)),
    **dict.fromkeys(("gpt-3.5-turbo-instruct", "gpt-3.5-turbo-0301"), Limits(4_096, 4_096)),
    **dict.fromkeys(("o1", "o3", "o4-mini", "codex-mini"), _REASONING),
    "o1-mini": Limits(128_000, 65_536),
    "o1-preview": Limits(128_000, 32_768),
    "computer-use": Limits(8_192, 1_024),
    "gpt-oss": Limits(131_072, 131_072),
    **dict.fromkeys(("davinci-002", "babbage-002"), Limits(16_384, 16_384)),
    **dict.fromkeys(("text-embedding-3", "text-embedding-ada-002"), Limits(8_192)),
}
# Anthropic writes `4-6`, some resellers `4.6`.
_ANTHROPIC: Final = {
    **{
        f"claude-{name}-4{sign}{minor}": _CLAUDE_LONG
        for name in ("opus", "sonnet")
        for sign in "-."
        for minor in (6, 7, 8)
    },
    **{f"claude-{name}-5": _CLAUDE_LONG for name in ("opus", "sonnet", "fable", "mythos")},
    **{f"claude-haiku-5{sign}5": _CLAUDE_LONG for sign in "-."},
    **{f"claude-opus-4{sign}5": Limits(200_000, 64_000) for sign in "-."},
    **dict.fromkeys(("claude-sonnet-4", "claude-haiku-4", "claude-3-7-sonnet"), Limits(200_000, 64_000)),
    "claude-opus-4": Limits(200_000, 32_000),
    **dict.fromkeys(("claude-3-5-sonnet", "claude-3-5-haiku"), Limits(200_000, 8_192)),
    **dict.fromkeys(("claude-3-opus", "claude-3-sonnet", "claude-3-haiku", "claude-2.1"), Limits(200_000, 4_096)),
    **dict.fromkeys(("claude-2", "claude-instant"), Limits(100_000, 4_096)),
}
_GOOGLE: Final = {
    **dict.fromkeys(("gemini-2.5", "gemini-3", "gemini-4", "gemini-flash-latest", "gemini-pro-latest"), _GEMINI),
    **dict.fromkeys(("gemini-2.0", "gemini-1.5-flash"), Limits(1_048_576, 8_192, apart=True)),
    "gemini-1.5-pro": Limits(2_097_152, 8_192, apart=True),
    "gemini-1.0": Limits(32_760, 8_192, apart=True),
    "gemma-4": _256K,
    "gemma-3": _128K,
    **dict.fromkeys(("gemma-3n", "gemma-3-1b"), Limits(32_768)),
    "gemma-2": Limits(8_192),
}
_MISTRAL: Final = {
    **dict.fromkeys(("mistral-large-4", "mistral-large-latest"), Limits(1_048_576)),
    **dict.fromkeys(("mistral-large-3", "mistral-large-2512", "mistral-medium-3-5", "mistral-medium-3.5"), _256K),
    **dict.fromkeys(("mistral-medium-latest", "mistral-small-4", "mistral-small-2603", "mistral-small-latest"), _256K),
    **dict.fromkeys(("ministral", "codestral", "devstral"), _256K),
    **dict.fromkeys(("mistral-large", "mistral-medium", "mistral-small", "magistral", "pixtral"), _128K),
    **dict.fromkeys(("mistral-nemo", "open-mistral-nemo"), _128K),
    **dict.fromkeys(("mixtral-8x22b", "open-mixtral-8x22b"), Limits(65_536)),
    **dict.fromkeys(("mixtral", "open-mixtral", "mistral-7b", "open-mistral-7b"), Limits(32_768)),
    **dict.fromkeys(("mistral-saba", "voxtral"), Limits(32_768)),
}
# Ollama, Bedrock and Fireworks spell the number of a version in their own ways.
_LLAMA: Final = {
    **dict.fromkeys(("llama-4", "llama4", "llama-4-maverick"), Limits(1_048_576)),
    **dict.fromkeys(("llama-4-scout", "llama4-scout"), Limits(10_485_760)),
    **{
        f"{name}{minor}": _128K
        for name in ("llama-3.", "llama3.", "llama3-", "llama-3-", "meta-llama-3.", "meta-llama-3-", "llama-v3p")
        for minor in (1, 2, 3)
    },
    **dict.fromkeys(("llama-3", "llama3", "meta-llama-3", "llama-v3"), Limits(8_192)),
    **dict.fromkeys(("llama-2", "llama2"), Limits(4_096)),
    "codellama": Limits(16_384),
}
_QWEN: Final = {
    **dict.fromkeys(("qwen3.5", "qwen3.6", "qwen3-coder-plus", "qwen3-coder-flash"), Limits(1_000_000, 65_536)),
    **dict.fromkeys(("qwen-plus", "qwen-flash"), Limits(1_000_000, 32_768)),
    "qwen-turbo": Limits(1_000_000, 16_384),
    **dict.fromkeys(("qwen2.5-7b-instruct-1m", "qwen2.5-14b-instruct-1m"), Limits(1_000_000)),
    "qwen-long": Limits(10_000_000, 32_768),
    **dict.fromkeys(("qwen3-max", "qwen-max"), Limits(262_144, 65_536)),
    "qwen3": _256K,
    **dict.fromkeys(("qwen2.5", "qwen2", "qwen-vl", "qwq", "qvq"), _128K),
    "qwen1.5": Limits(32_768),
}
_DEEPSEEK: Final = {
    **dict.fromkeys(
        ("deepseek-v4", "deepseek-flash", "deepseek-chat", "deepseek-reasoner"), Limits(1_048_576, 393_216)
    ),
    **dict.fromkeys(("deepseek-v3", "deepseek-r1"), Limits(163_840)),
    "deepseek-v2": _128K,
}
_COHERE: Final = {
    **dict.fromkeys(("command-a", "c4ai-command-a", "command-nightly"), Limits(262_144, 32_768)),
    **dict.fromkeys(("command-r", "c4ai-command-r", "c4ai-aya-expanse-32b"), Limits(131_072, 4_096)),
    "c4ai-aya-vision": Limits(16_384, 4_096),
    "c4ai-aya-expanse": Limits(8_192, 4_096),
    "command-light": Limits(4_096, 4_096),
}
_XAI: Final = {
    **dict.fromkeys(("grok-4-fast", "grok-4-1-fast", "grok-4.1-fast", "grok-4.20"), Limits(2_000_000)),
    "grok-4.3": Limits(1_000_000),
    **dict.fromkeys(("grok-4.5", "grok-4.6", "grok-4.7"), Limits(500_000)),
    **dict.fromkeys(("grok-4", "grok-code-fast", "grok-build"), Limits(262_144)),
    **dict.fromkeys(("grok-3", "grok-2", "grok-beta"), _128K),
    "grok-2-vision": Limits(32_768),
}

LIMITS: Final = Prefixes(
    {**_OPENAI, **_ANTHROPIC, **_GOOGLE, **_MISTRAL, **_LLAMA, **_QWEN, **_DEEPSEEK, **_COHERE, **_XAI}, _NONE
)


def limits(model: str) -> Limits | None:
    """Return what a model takes and gives, by the longest prefix of its name and whatever a reseller put before it.

    None for a name that nobody knows.
    """
    found = LIMITS[model]
    return found if found.window else None


def window(model: str) -> int | None:
    """Return the context window of a model in tokens; None where it is not known."""
    return LIMITS[model].window or None

"""Which tokenizer a model's name stands for, and how far others' tokenizers are from the ones that are public.

OpenAI publishes its encodings, so their counts are exact. Others are counted with `o200k_base` and a factor, rounded up,
so that a guard errs on the side of caution; what a call really took is what the provider reports. Sources of factors:

* Claude up to 4.6: 16 % more tokens than GPT-4o for English, 21 % for mathematics, 30 % for Python (comparisons
  published in 2025); from Opus 4.7 on up to 35 % more on top (Anthropic, migration guide).
* Gemini: a token is about 4 characters of English (Gemini API, "Understand and count tokens"); `o200k_base` has 4.4.
* DeepSeek: 0.3 tokens for an English character, 0.6 for a Chinese one (DeepSeek API, "Token usage").
* Qwen, Llama 3, GLM, Kimi and Grok have vocabularies of 128 to 163 thousand tokens, between `cl100k_base`, which is
  4 % above `o200k_base` for English, and `o200k_base`. Llama 2 and older Mistral models have 32 thousand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

LONGEST_NAME: Final = 128  # characters; a longer name of a model is nobody's, and is not kept
NAMES_KEPT: Final = 1_024
"""How many spellings are remembered: names come from callers."""
RESELLERS: Final = 3
"""Where a name may begin: at its first part, or after one dot or two (`us.anthropic.claude-...`)."""


class Family(NamedTuple):
    """Models whose tokens are counted in the same way."""

    name: str
    encoding: str
    """The public encoding that is counted with."""
    percent: int = 100
    """Tokens of the family for 100 tokens of the encoding."""


class Prefixes(Generic[T]):
    """Values by the longest prefix of a model's name, whatever a reseller put before it.

    `openai/gpt-4o`, `models/gemini-2.5-pro`, `ft:gpt-4o:team::id` and `us.anthropic.claude-sonnet-4-v1:0` are found too.
    """

    def __init__(self, table: Mapping[str, T], default: T) -> None:
        self._table = sorted(table.items(), key=lambda pair: -len(pair[0]))
        self._default = default
        self._known: dict[str, T] = {}

    def __getitem__(self, model: str) -> T:
        found = self._known.get(model)
        if found is None:
            found = self._look(model)
            if len(model) <= LONGEST_NAME:
                if len(self._known) >= NAMES_KEPT:
                    self._known.clear()  # rarer than a restart where names are honest, and cheap to fill again
                self._known[model] = found
        return found

    def _look(self, model: str) -> T:
        name = model[:LONGEST_NAME].lower().rpartition("/")[2].removeprefix("ft:")
        for _ in range(RESELLERS):
            for prefix, value in self._table:
                # `o1` is not the beginning of `o10`, nor `gpt-4` that of `gpt-4o`; but `qwen` is that of `qwen3`.
                if name.startswith(prefix) and not (prefix[-1].isdigit() and name[len(prefix) :][:1].isalnum()):
                    return value
            name = name.partition(".")[2]
        return self._default


_GPT: Final = Family("OpenAI o200k", "o200k_base")
_GPT_4: Final = Family("OpenAI cl100k", "cl100k_base")
_GPT_3: Final = Family("OpenAI p50k", "p50k_base")
_GPT_2: Final = Family("OpenAI r50k", "r50k_base")
_CLAUDE: Final = Family("Claude", "o200k_base", 120)
_CLAUDE_OPUS_4_7: Final = Family("Claude Opus 4.7 and later", "o200k_base", 160)
_GEMINI: Final = Family("Gemini", "o200k_base", 110)
_LLAMA: Final = Family("Llama", "o200k_base", 105)
_LLAMA_2: Final = Family("Llama 2", "o200k_base", 130)
_MISTRAL: Final = Family("Mistral", "o200k_base", 120)
_GLM: Final = Family("GLM", "o200k_base", 105)
_KIMI: Final = Family("Kimi", "o200k_base", 105)

# Anthropic writes `4-7`, some resellers `4.7`.
CLAUDE_FROM_OPUS_4_7: Final = (
    *(f"claude-opus-4{sign}{minor}" for sign in "-." for minor in (7, 8, 9)),
    *(f"claude-{name}-5" for name in ("opus", "sonnet", "haiku", "fable")),
)

UNKNOWN: Final = Family("unknown", "o200k_base")

# `gpt-oss` speaks `o200k_harmony`: the ranks and the pattern of `o200k_base` with more special tokens, which ordinary
# text never becomes.
_PREFIXES: Final = {
    **dict.fromkeys(("gpt-", "chatgpt-", "codex-", "computer-use", "o1", "o3", "o4"), _GPT),
    **dict.fromkeys(("gpt-4", "gpt-3.5", "gpt-35", "text-embedding-3", "text-embedding-ada-002"), _GPT_4),
    **dict.fromkeys(("gpt-4.1", "gpt-4.5"), _GPT),
    **dict.fromkeys(("davinci-002", "babbage-002"), _GPT_4),
    **dict.fromkeys(("text-davinci-002", "text-davinci-003", "code-davinci", "code-cushman"), _GPT_3),
    **dict.fromkeys(("text-davinci-001", "text-curie", "text-babbage", "text-ada", "gpt2", "gpt-2"), _GPT_2),
    "claude": _CLAUDE,
    **dict.fromkeys(CLAUDE_FROM_OPUS_4_7, _CLAUDE_OPUS_4_7),
    **dict.fromkeys(("gemini", "gemma", "learnlm"), _GEMINI),
    **dict.fromkeys(("qwen", "qwq", "qvq"), Family("Qwen", "o200k_base", 105)),
    "deepseek": Family("DeepSeek", "o200k_base", 105),
    **dict.fromkeys(("llama", "meta-llama"), _LLAMA),
    **dict.fromkeys(("llama2", "llama-2", "codellama"), _LLAMA_2),
    **dict.fromkeys(
        ("mistral", "mixtral", "ministral", "codestral", "magistral", "devstral", "pixtral", "voxtral"), _MISTRAL
    ),
    **dict.fromkeys(("open-mistral", "open-mixtral", "open-codestral"), _MISTRAL),
    **dict.fromkeys(("glm", "chatglm"), _GLM),
    **dict.fromkeys(("kimi", "moonshot"), _KIMI),
    "grok": Family("Grok", "o200k_base", 105),
    **dict.fromkeys(("command", "c4ai", "aya"), Family("Command", "o200k_base", 110)),
}

FAMILIES: Final = Prefixes(_PREFIXES, UNKNOWN)
ENCODINGS: Final = ("o200k_base", "cl100k_base", "p50k_base", "r50k_base")


def family_of(model: str) -> Family:
    """Return the family of a model's name; one that nobody knows is counted as OpenAI's newest, with no factor."""
    return FAMILIES[model]


def families_of(encoding: str) -> list[str]:
    """Return the names of the families that are counted with an encoding."""
    return list(dict.fromkeys(family.name for family in _PREFIXES.values() if family.encoding == encoding))

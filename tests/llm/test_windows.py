"""Published context windows, by whatever name a model has."""

import pytest

from aigw_middleware.llm.tokens import family_of
from aigw_middleware.llm.windows import LIMITS, Limits, limits, window

TABLE = LIMITS._table


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", Limits(128_000, 16_384)),
        ("gpt-4o-2024-05-13", Limits(128_000, 4_096)),
        ("GPT-4o-mini", Limits(128_000, 16_384)),
        ("gpt-4", Limits(8_192, 8_192)),
        ("gpt-4-0613", Limits(8_192, 8_192)),
        ("gpt-4-turbo-preview", Limits(128_000, 4_096)),
        ("gpt-4.1-nano", Limits(1_047_576, 32_768)),
        ("gpt-3.5-turbo-0125", Limits(16_385, 4_096)),
        ("gpt-5-mini", Limits(400_000, 128_000)),
        ("gpt-5.1-codex", Limits(400_000, 128_000)),
        ("gpt-5.4", Limits(1_050_000, 128_000)),
        ("gpt-5.4-nano", Limits(400_000, 128_000)),
        ("o1", Limits(200_000, 100_000)),
        ("o1-mini-2024-09-12", Limits(128_000, 65_536)),
        ("openai/o4-mini", Limits(200_000, 100_000)),
        ("ft:gpt-4o-mini:team::id", Limits(128_000, 16_384)),
        ("claude-3-opus-20240229", Limits(200_000, 4_096)),
        ("claude-3-5-sonnet-latest", Limits(200_000, 8_192)),
        ("claude-opus-4-20250514", Limits(200_000, 32_000)),
        ("claude-opus-4-1", Limits(200_000, 32_000)),
        ("claude-opus-4-5-20251101", Limits(200_000, 64_000)),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Limits(200_000, 64_000)),
        ("claude-sonnet-4.6", Limits(1_000_000, 128_000)),
        ("models/gemini-2.5-flash-lite", Limits(1_048_576, 65_536, apart=True)),
        ("gemini-3.1-pro-preview", Limits(1_048_576, 65_536, apart=True)),
        ("gemini-1.5-pro-002", Limits(2_097_152, 8_192, apart=True)),
        ("gemma-3-27b-it", Limits(131_072)),
        ("mistral-large-2411", Limits(131_072)),
        ("mistral.mistral-large-2402-v1:0", Limits(131_072)),
        ("mistral-large-2512", Limits(262_144)),
        ("codestral-latest", Limits(262_144)),
        ("open-mixtral-8x7b", Limits(32_768)),
        ("meta-llama/Llama-3.3-70B-Instruct", Limits(131_072)),
        ("meta.llama3-1-8b-instruct-v1:0", Limits(131_072)),
        ("meta.llama3-70b-instruct-v1:0", Limits(8_192)),
        ("accounts/fireworks/models/llama-v3p1-8b-instruct", Limits(131_072)),
        ("llama3.1:8b", Limits(131_072)),
        ("llama-2-70b-chat", Limits(4_096)),
        ("meta-llama/Llama-4-Scout-17B-16E", Limits(10_485_760)),
        ("qwen-plus-latest", Limits(1_000_000, 32_768)),
        ("Qwen/Qwen2.5-72B-Instruct", Limits(131_072)),
        ("Qwen2.5-7B-Instruct-1M", Limits(1_000_000)),
        ("qwen3-235b-a22b", Limits(262_144)),
        ("deepseek-ai/DeepSeek-V3.1", Limits(163_840)),
        ("deepseek-v4-pro", Limits(1_048_576, 393_216)),
        ("command-r-plus-08-2024", Limits(131_072, 4_096)),
        ("command-a-03-2025", Limits(262_144, 32_768)),
        ("grok-4", Limits(262_144)),
        ("xai/grok-4-1-fast-reasoning", Limits(2_000_000)),
        ("grok-3-mini", Limits(131_072)),
    ],
)
def test_what_a_model_takes_and_gives(model: str, expected: Limits) -> None:
    assert limits(model) == expected
    assert window(model) == expected.window


@pytest.mark.parametrize(
    "model", ["", "m", "o10", "gpt", "gpt-40", "my-gpt-4o", "claude", "llama", "gpt-4o\n" * 100_000]
)
def test_names_that_nobody_knows(model: str) -> None:
    known = model.startswith("gpt-4o")  # a name of any length is looked at from its beginning only
    assert (limits(model) is not None, window(model) is not None) == (known, known)


def test_every_entry_can_be_true() -> None:
    for name, (tokens, output, _) in TABLE:
        assert name == name.lower()
        assert 4_096 <= tokens <= 10_485_760
        assert 0 <= output <= tokens
        assert limits(name) == dict(TABLE)[name]
        assert family_of(name).name != "unknown" or name.startswith(("open-m", "voxtral")), f"{name} is of no family"

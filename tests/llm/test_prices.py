"""Bills: computed by hand for the shapes that providers have, and the properties that every bill has."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.errors import ConfigError
from aigw_middleware.llm.prices import Cost, Price, PriceBook, plain
from aigw_middleware.llm.prices import entries as entries_module
from aigw_middleware.llm.prices.book import MAX_KNOWN
from aigw_middleware.llm.usage import Usage

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GPT_4O = {"model": "gpt-4o", "input": 2.5, "cached_input": 1.25, "output": 10}
GEMINI = {"model": "gemini-2.5-pro", "input": 1.25, "cached_input": 0.125, "output": 10}
GEMINI_TIER = {"above": 200_000, "input": 2.5, "cached_input": 0.25, "output": 15}
SONNET = {"input": 3, "cached_input": 0.3, "cache_write": 3.75, "cache_write_1h": 6, "output": 15}
SONNET_TIER = {"input": 6, "cached_input": 0.6, "cache_write": 7.5, "cache_write_1h": 12, "output": 22.5}


def cost(entry: dict[str, Any], usage: Usage, at: datetime | float = NOW) -> Cost:
    found = PriceBook.from_config([{"model": "m", **entry}]).cost(entry.get("model", "m"), usage, at)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("entry", "usage", "total", "parts"),
    [
        pytest.param(
            GPT_4O,
            Usage(2_000, 300, cached_tokens=1_500),
            "0.006125",
            {"input": "0.00125", "cached_input": "0.001875", "output": "0.003"},
            id="openai: cached tokens are part of the input",
        ),
        pytest.param(
            {"input": 1.25, "cached_input": 0.625, "output": 10},
            Usage(262_960, 1_744, cached_tokens=257_955),
            "0.184918125",
            {"input": "0.00625625", "cached_input": "0.161221875", "output": "0.01744"},
            id="gemini: the cache hit that was charged twice elsewhere, 0.7642",
        ),
        pytest.param(
            {**GEMINI, "tiers": [GEMINI_TIER]},
            Usage(262_960, 1_744, cached_tokens=257_955),
            "0.10316125",
            {"input": "0.0125125", "cached_input": "0.06448875", "output": "0.02616"},
            id="gemini: above 200k, cached ones included, for all tokens",
        ),
        pytest.param(
            {**GEMINI, "tiers": [GEMINI_TIER]},
            Usage(200_000, 100),
            "0.251",
            {"input": "0.25", "output": "0.001"},
            id="gemini: at 200k, not above",
        ),
        pytest.param(
            {
                "input": 1,
                "output": 2,
                "tiers": [{"above": 32_000, "input": 2, "output": 4}, {"above": 128_000, "input": 4, "output": 8}],
            },
            Usage(200_000, 1_000),
            "0.808",
            {"input": "0.8", "output": "0.008"},
            id="qwen: the highest of several tiers that is exceeded",
        ),
        pytest.param(
            SONNET,
            Usage(53_100, 500, cached_tokens=50_000, cache_write_tokens=3_000, cache_write_1h_tokens=1_000),
            "0.0363",
            {
                "input": "0.0003",
                "cached_input": "0.015",
                "cache_write": "0.0075",
                "cache_write_1h": "0.006",
                "output": "0.0075",
            },
            id="anthropic: read, written for 5 minutes and for an hour",
        ),
        pytest.param(
            {**SONNET, "tiers": [{"above": 200_000, **SONNET_TIER}]},
            Usage(250_000, 1_000, cached_tokens=240_000),
            "0.2265",
            {"input": "0.06", "cached_input": "0.144", "output": "0.0225"},
            id="anthropic: a long context that was mostly cached",
        ),
        pytest.param(
            {"input": 2, "output": 8},
            Usage(1_000, 1_200, reasoning_tokens=1_000),
            "0.0116",
            {"input": "0.002", "reasoning": "0.008", "output": "0.0016"},
            id="o3: reasoning is part of the output and costs the same",
        ),
        pytest.param(
            {"input": 2, "output": 8, "reasoning": 3, "per_request": 0.005},
            Usage(100, 1_200, reasoning_tokens=1_000),
            "0.0098",
            {"input": "0.0002", "reasoning": "0.003", "output": "0.0016", "per_request": "0.005"},
            id="perplexity: reasoning has a price, and so has the request",
        ),
        pytest.param(
            {"input": 2.5, "audio_input": 40, "output": 10, "audio_output": 80},
            Usage(1_500, 600, audio_input_tokens=1_000, audio_output_tokens=500),
            "0.08225",
            {"input": "0.00125", "audio_input": "0.04", "output": "0.001", "audio_output": "0.04"},
            id="gpt-4o-audio: sound in, sound and text out",
        ),
        pytest.param(
            {"input": 5, "image_input": 10, "output": 40},
            Usage(1_100, 4_160, image_input_tokens=1_000),
            "0.1769",
            {"input": "0.0005", "image_input": "0.01", "output": "0.1664"},
            id="gpt-image: a picture and a text make a picture",
        ),
        pytest.param(
            {"input": 0.02, "output": 0}, Usage(8_192), "0.00016384", {"input": "0.00016384"}, id="embeddings"
        ),
        pytest.param(
            {"input": 3, "output": 15},
            Usage(400, 0, cached_tokens=100, cache_write_tokens=100, cache_write_1h_tokens=50, audio_input_tokens=50),
            "0.0012",
            {
                "input": "0.00045",
                "cached_input": "0.0003",
                "cache_write": "0.00015",
                "cache_write_1h": "0.00015",
                "audio_input": "0.00015",
            },
            id="kinds without a price cost what the whole costs",
        ),
        pytest.param({"input": 3, "output": 15}, Usage(), "0", {}, id="nothing"),
    ],
)
def test_golden_bills(entry: dict[str, Any], usage: Usage, total: str, parts: dict[str, str]) -> None:
    bill = cost(entry, usage)
    assert bill.total == Decimal(total)
    assert bill.parts == {kind: Decimal(amount) for kind, amount in parts.items()}
    assert plain(bill.total) == total


@pytest.mark.parametrize(
    ("usage", "same_as"),
    [
        (Usage(100, 0, cached_tokens=900), Usage(100, 0, cached_tokens=100)),
        (Usage(100, 0, cached_tokens=80, cache_write_tokens=70), Usage(100, 0, 0, 30, 70)),
        (Usage(100, 0, cache_write_1h_tokens=40), Usage(100, 0, cache_write_tokens=40, cache_write_1h_tokens=40)),
        (Usage(100, 10, reasoning_tokens=50), Usage(100, 10, reasoning_tokens=10)),
        (Usage(-5, -7, cached_tokens=-3, reasoning_tokens=-1, cache_write_1h_tokens=-9), Usage()),
        (Usage(50, 0, cache_write_tokens=10, cache_write_1h_tokens=-9), Usage(50, 0, cache_write_tokens=10)),
    ],
)
def test_numbers_that_contradict_each_other_are_cut(usage: Usage, same_as: Usage) -> None:
    assert cost(SONNET, usage).parts == cost(SONNET, same_as).parts


# ---------------------------------------------------------------------- properties

amounts = st.decimals(0, 1_000, places=6)
counts = st.integers(0, 10**9)
INPUT_PARTS = ("cached_tokens", "cache_write_tokens", "audio_input_tokens", "image_input_tokens")
OUTPUT_PARTS = ("reasoning_tokens", "audio_output_tokens")
RATES = ("cached_input", "cache_write", "cache_write_1h", "audio_input", "image_input", "reasoning", "audio_output")


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    kinds = ("input", "output", *draw(st.sets(st.sampled_from(RATES))))
    entry: dict[str, Any] = {kind: draw(amounts) for kind in kinds}
    tier = {kind: entry[kind] * draw(st.integers(1, 3)) for kind in kinds}
    return {**entry, "tiers": [{"above": draw(st.integers(1, 10**9)), **tier}], "per_request": draw(amounts)}


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """Consistent usage: wholes are their parts and some text."""
    usage: dict[str, Any] = {part: draw(counts) for part in (*INPUT_PARTS, *OUTPUT_PARTS)}
    usage["cache_write_1h_tokens"] = draw(st.integers(0, usage["cache_write_tokens"]))
    usage["input_tokens"] = draw(counts) + sum(usage[part] for part in INPUT_PARTS)
    usage["output_tokens"] = draw(counts) + sum(usage[part] for part in OUTPUT_PARTS)
    return usage


@given(entries(), usages(), st.sampled_from((*INPUT_PARTS, *OUTPUT_PARTS, "")), counts, st.booleans())
def test_more_tokens_never_cost_less(
    entry: dict[str, Any], usage: dict[str, Any], part: str, more: int, speaks: bool
) -> None:
    whole = "output_tokens" if part in OUTPUT_PARTS or (not part and speaks) else "input_tokens"
    larger = {**usage, whole: usage[whole] + more, **({part: usage[part] + more} if part else {})}
    assert cost(entry, Usage(**usage)).total <= cost(entry, Usage(**larger)).total


@given(entries(), usages(), st.data())
def test_a_cache_hit_never_costs_more_than_a_miss(
    entry: dict[str, Any], usage: dict[str, Any], data: st.DataObject
) -> None:
    for price in (entry, *entry["tiers"]):
        others = [price[kind] for kind in ("input", "audio_input", "image_input") if kind in price]
        price["cached_input"] = data.draw(st.decimals(0, min(others), places=6))
    miss = Usage(**{**usage, "cached_tokens": 0})
    assert cost(entry, Usage(**usage)).total <= cost(entry, miss).total


anything = st.integers(-(10**15), 10**15)


@given(entries(), st.builds(Usage, *[anything] * 2, st.none(), *[anything] * 7), st.integers(1, 50))
def test_parts_are_the_whole_whatever_the_numbers(entry: dict[str, Any], usage: Usage, precision: int) -> None:
    with localcontext(Context(prec=precision, Emin=-1, Emax=1)):  # a service may compute with what it likes
        bill = cost(entry, usage)
        total, parts = bill.total, bill.parts
    assert sum(parts.values()) == total
    assert all(part >= 0 for part in parts.values())
    dearest = max(value for price in (entry, *entry["tiers"]) for value in price.values() if isinstance(value, Decimal))
    assert total <= (max(usage.input_tokens, 0) + max(usage.output_tokens, 0)) * dearest / 10**6 + entry["per_request"]


@given(
    st.integers(-(10**9), 10**9).map(lambda seconds: NOW + timedelta(seconds=seconds)), st.lists(amounts, max_size=3)
)
def test_a_later_price_does_not_alter_past_costs(at: datetime, later: list[Decimal]) -> None:
    listed = [GPT_4O, {**GPT_4O, "input": 5, "from": "2026-01-01"}]
    added = [{**GPT_4O, "input": price, "from": at + timedelta(days=day)} for day, price in enumerate(later, 1)]
    usage = Usage(1_000)
    before, after = PriceBook.from_config(listed), PriceBook.from_config([*added, *listed])
    for moment in (at - timedelta(days=400), at, at + timedelta(days=1, microseconds=-1)):
        assert before.cost("gpt-4o", usage, moment) == after.cost("gpt-4o", usage, moment)
    if later:
        assert after.cost("gpt-4o", usage, at + timedelta(days=1)).total == later[0] / 1_000  # type: ignore[union-attr]


# ---------------------------------------------------------------------- when


def test_prices_change_at_the_exact_moment() -> None:
    book = PriceBook.from_config(
        [
            {"model": "m", "input": 1, "output": 0, "until": "2026-06-01"},
            {"model": "m", "input": 2, "output": 0, "from": "2026-03-01T01:00:00+01:00", "until": "2026-09-01"},
        ]
    )
    for at, total in [
        (datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC), 1),
        (datetime(2026, 3, 1, tzinfo=UTC), 2),
        (datetime(2026, 3, 1), 2),  # UTC is meant where no zone is said
        (datetime(2026, 3, 1, 0, 30, tzinfo=UTC).astimezone(None), 2),
        (datetime(2026, 8, 31, 23, 59, 59, 999_999, UTC), 2),
    ]:
        bill = book.cost("m", Usage(10**6), at)
        assert bill is not None
        assert bill.total == total
        assert book.cost("m", Usage(10**6), at.replace(tzinfo=at.tzinfo or UTC).timestamp()) == bill
    assert book.cost("m", Usage(10**6), datetime(2026, 9, 1, tzinfo=UTC)) is None
    assert not book.knows("m", datetime(2026, 9, 1, tzinfo=UTC))
    assert book.cost("m", Usage(10**6), float("nan")) is None


def test_a_moment_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        book = PriceBook.from_config([{"model": "m", "input": 1, "output": 0, "from": "2026-03-01"}])
        assert book.knows("m", datetime(2026, 3, 1))
        assert not book.knows("m", datetime(2026, 2, 28, 23, 59))
        assert book.knows("m", datetime(2026, 3, 1, tzinfo=UTC))
        assert not book.knows("m", datetime(2026, 2, 28, 23, 59, tzinfo=UTC))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_prices_by_the_time_of_the_day() -> None:
    entry = {"model": "m", "output": 0}
    book = PriceBook.from_config(
        [
            {**entry, "input": 1, "hours": "16:30-00:30"},
            {**entry, "input": 2},
            {**entry, "input": 3, "hours": "01:00-02:00"},
        ]
    )
    day = datetime(2026, 5, 5, tzinfo=UTC)
    for minutes, total in [
        (0, 1),
        (29, 1),
        (30, 2),
        (59, 2),
        (60, 3),
        (119, 3),
        (120, 2),
        (989, 2),
        (990, 1),
        (1439, 1),
    ]:
        bill = book.cost("m", Usage(10**6), day + timedelta(minutes=minutes))
        assert bill is not None
        assert bill.total == total, minutes


# ---------------------------------------------------------------------- which entry


def priced_as(book: PriceBook, model: str) -> str | None:
    bill = book.cost(model, Usage(1), NOW)
    return bill.priced_as if bill is not None else None


@pytest.mark.parametrize(
    ("model", "entry"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-2023-01-01", "gpt-4o-2023*"),
        ("gpt-4o-mini", "gpt-4o-*"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-*"),
        ("gpt-4.1", "gpt-*"),
        ("GPT-4o", None),
        ("openai/gpt-4o", "gpt-4o"),
        ("openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("openai/other", "openai/*"),
        ("azure/gpt-4o", "azure/gpt-4o"),
        ("ft:gpt-4o:org::1", None),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("publishers/google/models/gemini-2.5-pro-001", "gemini-2.5-pro"),
        ("gemini-2.5-pro-preview-05-06", None),
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-latest", "claude-sonnet-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "eu.anthropic.*"),
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("", None),
        ("/", None),
        ("x" * 10_000, None),
        ("gpt-" + "x" * 300, None),
    ],
)
def test_which_entry_prices_a_model(model: str, entry: str | None) -> None:
    names = ["gpt-4o", "gpt-4o-2024-05-13", "gpt-4o-2023*", "gpt-4o-*", "gpt-*", "openai/*", "azure/gpt-4o"]
    names += ["gemini-2.5-pro", "claude-sonnet-4-5", "eu.anthropic.*"]
    if model.startswith("eu."):
        names.remove("claude-sonnet-4-5")  # an exact name goes before a prefix
    book = PriceBook.from_config([{"model": name, "input": 1, "output": 1} for name in names])
    assert priced_as(book, model) == entry
    assert priced_as(book, model) == entry  # remembered
    assert book.knows(model, NOW) == (entry is not None)


def test_a_star_prices_everything_else_and_an_entry_that_is_not_valid_is_none() -> None:
    entry = {"input": 1, "output": 1}
    book = PriceBook.from_config(
        [{"model": "*", **entry}, {"model": "gpt-*", **entry}, {"model": "gpt-4o", "from": "2027-01-01", **entry}]
    )
    assert [priced_as(book, model) for model in ("gpt-4o", "gpt-5", "", "llama")] == ["gpt-*", "gpt-*", "*", "*"]


def test_an_empty_book_knows_nothing() -> None:
    assert priced_as(PriceBook.from_config([]), "gpt-4o") is None


def test_names_that_callers_choose_take_bounded_memory() -> None:
    book = PriceBook.from_config([{"model": "*", "input": 1, "output": 1}])
    for number in range(MAX_KNOWN + 10):
        book.knows(f"m{number}", NOW)
    assert 0 < len(book._known) <= MAX_KNOWN


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"input": 1}, "[0].output: is required"),
        ({"input": -1, "output": 1}, "[0].input"),
        ({"input": float("nan"), "output": 1}, "[0].input"),
        ({"input": True, "output": 1}, "[0].input"),
        ({"input": "1.0000001", "output": 1}, "[0].input"),
        ({"input": 10**7, "output": 1}, "[0].input"),
        ({"input": 1, "output": 1, "cache_read": 1}, "[0].cache_read: unknown key"),
        ({"model": "a*b", "input": 1, "output": 1}, "`*` only at its end"),
        ({"model": "", "input": 1, "output": 1}, "[0].model"),
        ({"input": 1, "output": 1, "from": 20260101}, "should be a date"),
        ({"input": 1, "output": 1, "from": "20260101"}, "should be a date"),
        ({"input": 1, "output": 1, "from": "-20260101"}, "should be a date"),
        ({"input": 1, "output": 1, "from": "0001-01-01T00:00:00+05:00"}, "years 1 to 9999"),
        ({"input": 1, "output": 1, "from": "2026-01-01", "until": "2026-01-01"}, "until should be later than from"),
        ({"input": 1, "output": 1, "hours": "9-10"}, "times of the day"),
        ({"input": 1, "output": 1, "hours": "09:00-09:00"}, "times of the day"),
        ({"input": 1, "output": 1, "tiers": [{"above": 0, "input": 1, "output": 1}]}, "[0].tiers[0].above"),
        ({"input": 1, "output": 1, "tiers": [{"above": 9, "input": 1, "output": 1}] * 2}, "differ in above"),
        (
            {"input": 1, "cached_input": 0, "output": 1, "tiers": [{"above": 9, "input": 1, "output": 1}]},
            "the tier above 9 should state cached_input too",
        ),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PriceBook.from_config([{"model": "m", **entry}])
    assert problem in str(caught.value)


def test_the_documented_book_is_one() -> None:
    example = inspect.cleandoc((entries_module.__doc__ or "").split("\n\n")[1])
    book = PriceBook.from_config(yaml.safe_load(example)["prices"])
    for at, total in (("2026-12-31T23:59:59+00:00", "0.0035"), ("2027-01-01T00:00:00+00:00", "0.0028")):
        bill = book.cost("gpt-4o", Usage(1_000, 100), datetime.fromisoformat(at))
        assert bill is not None
        assert bill.total == Decimal(total)
    assert priced_as(book, "text-embedding-3-small") == "text-embedding-*"


def test_two_prices_for_one_moment_are_a_problem() -> None:
    entries: list[Price | dict[str, Any]] = [
        Price(model="m", input=Decimal(1), output=Decimal(1)),
        {"model": "m", "input": 2, "output": 1},
    ]
    with pytest.raises(ConfigError, match=r"\[1\]: is valid from the same moment for the same model as \[0\]"):
        PriceBook.from_config(entries)


def test_amounts_are_written_plainly() -> None:
    texts = ("0E-12", "100.000000000000", "0.000000000001", "1E+3", "12.50")
    assert [plain(Decimal(text)) for text in texts] == ["0", "100", "0.000000000001", "1000", "12.5"]


# ---------------------------------------------------------------------- list prices


@pytest.fixture(scope="module")
def listed() -> PriceBook:
    return PriceBook.from_config([], list_prices=True)


def test_list_prices_are_what_the_library_computes(listed: PriceBook) -> None:
    from genai_prices import Usage as TheirUsage
    from genai_prices import calc_price
    from genai_prices.data import providers

    usage = Usage(300_000, 900, cached_tokens=100_000, cache_write_tokens=50_000, cache_write_1h_tokens=20_000)
    small = Usage(5_000, 900, reasoning_tokens=300)
    compared = 0
    for provider in providers:
        for model in provider.models:
            for ours, at in ((usage, NOW), (small, NOW), (small, datetime(2025, 1, 1, 2, tzinfo=UTC))):
                bill = listed.cost(f"{provider.id}/{model.id}", ours, at)
                their_usage = TheirUsage(
                    input_tokens=ours.input_tokens,
                    cache_read_tokens=ours.cached_tokens,
                    cache_write_tokens=ours.cache_write_tokens,
                    cache_write_1h_tokens=ours.cache_write_1h_tokens,
                    output_tokens=ours.output_tokens,
                    output_reasoning_tokens=ours.reasoning_tokens,
                )
                try:
                    theirs = calc_price(their_usage, model.id, provider_id=provider.id, genai_request_timestamp=at)
                except LookupError:  # some entries are not found by their own name
                    assert bill is None
                    continue
                if bill is None:
                    assert theirs.model_price.input_mtok is None or theirs.model_price.output_mtok is None
                    continue
                # Some of their prices are floats in decimal clothes: 0.18000000000000002.
                assert abs(bill.total - theirs.total_price) <= theirs.total_price / 10**4, bill
                compared += 1
    assert compared > 3_000


@pytest.mark.parametrize(
    ("model", "entry"),
    [
        ("gpt-4o-2024-08-06", "openai/gpt-4o"),
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("azure/gpt-4o", "azure/gpt-4o"),
        ("models/gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("text-embedding-3-small", "openai/text-embedding-3-small"),
        ("gpt-no-such-model", None),
        ("groq/gpt-4o", None),
        ("whisper-1", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_which_list_price_a_model_has(listed: PriceBook, model: str, entry: str | None) -> None:
    assert priced_as(listed, model) == (f"genai-prices:{entry}" if entry else None)


def test_tokens_of_a_kind_without_a_list_price_are_not_free(listed: PriceBook) -> None:
    assert listed.cost("text-embedding-3-small", Usage(10, 0), NOW) is not None
    assert listed.cost("text-embedding-3-small", Usage(10, 1), NOW) is None


def test_own_entries_go_before_list_prices_and_a_star_after_them() -> None:
    entry = {"input": 1, "output": 1}
    book = PriceBook.from_config([{"model": "gpt-4o*", **entry}, {"model": "*", **entry}], list_prices=True)
    models = ("gpt-4o", "gpt-4.1", "no-such-model")
    assert [priced_as(book, model) for model in models] == ["gpt-4o*", "genai-prices:openai/gpt-4.1", "*"]


def test_list_prices_need_their_package_and_their_currency(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="US dollars"):
        PriceBook.from_config([], currency="EUR", list_prices=True)
    monkeypatch.setitem(sys.modules, "genai_prices.data", None)
    with pytest.raises(ConfigError, match=r"pip install 'aigw-middleware\[prices\]'"):
        PriceBook.from_config([], list_prices=True)


def test_the_package_is_not_imported_before_it_is_asked_for_and_fetches_nothing() -> None:
    program = """
import socket, sys, threading
def refuse(*_): raise AssertionError("a socket was opened")
socket.socket.connect = refuse
from aigw_middleware.llm.prices import PriceBook
PriceBook.from_config([{"model": "m", "input": 1, "output": 1}])
assert not any(name.startswith("genai_prices") for name in sys.modules)
PriceBook.from_config([], list_prices=True).knows("gpt-4o", 0)
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

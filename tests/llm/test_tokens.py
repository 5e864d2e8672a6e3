"""Counting tokens: exact where the tokenizer is public, bounded whatever the text is, remembered, never downloaded."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigw_middleware.llm import tokens
from aigw_middleware.llm.tokens import availability, carried, counter_for, family_of
from aigw_middleware.llm.tokens import counter as counting
from aigw_middleware.llm.tokens import ladder as ladders
from aigw_middleware.llm.tokens.families import FAMILIES, NAMES_KEPT
from aigw_middleware.llm.tokens.ladder import Ladder, Rung, ladder_of
from aigw_middleware.llm.tokens.slices import slices
from aigw_middleware.ports import finish
from aigw_middleware.ports.faces import OffloadFull
from aigw_middleware.ports.work import AsyncOffload, BlockingOffload

O200K = carried._compiled().tokenizer_for_encoding("o200k_base")

PROSE = "The quick brown fox jumps over the lazy dog, and 42 others (as we are told) watch it go by. " * 40
MIXED = "Straße, Grüße; 今天天气很好，我们去公园散步。 Где мы? سنذهب غدا 👩‍👩‍👧‍👦 x = f(a, b[3])\n\treturn 'it’s'\r\n"
HOSTILE = {
    "spaces": " " * 1_000_000,
    "letters": "a" * 1_000_000,
    "line ends": "\r\n" * 20_000,
    "symbols": "-" * 20_000,
    "families of emoji": "👩‍👩‍👧‍👦" * 2_000,
    "halves of pairs": "\ud800 a\udfff" * 2_000,
    "NUL": "\0" * 5_000,
    "combining marks": "e" + "\u0301" * 5_000,
}
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=200),
    st.lists(st.sampled_from([*"abcXYZ éß中あ한жع²5_ ,.;:'\"()\n\t’!—。、", "👩‍👩", "\ud800", " word", "==", "Ⅷ"])).map(
        "".join
    ),
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No ranks of this machine, no network, nothing remembered; and a slow machine says the same as a fast one."""

    def refuse(*arguments, **options):
        raise AssertionError("counting opened a socket")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(counting, "INLINE_SECONDS", 60.0)
    monkeypatch.setenv("AIGW_TOKENS_DIR", str(tmp_path_factory.mktemp("ranks")))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    tokens.forget()
    yield
    tokens.forget()


class Spy:
    """A rung that writes down what it is given, and counts a token a character."""

    def __init__(self, **options) -> None:
        self.pieces: list[str] = []
        self.rung = Rung("bpe-openai", self.count, **{"slice_bytes": 512, "inline_characters": 8_192, **options})

    def count(self, text: str) -> int:
        self.pieces.append(text)
        return len(text)


def spied(monkeypatch: pytest.MonkeyPatch, **options) -> Spy:
    spy = Spy(**options)
    monkeypatch.setattr(ladders, "_best", lambda encoding: spy.rung)
    return spy


async def never(function, *arguments, **options):
    raise AssertionError("not for a thread")


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o", "OpenAI o200k"),
        ("gpt-4o-mini-2024-07-18", "OpenAI o200k"),
        ("openai/gpt-4o", "OpenAI o200k"),
        ("GPT-4.1-nano", "OpenAI o200k"),
        ("gpt-5.2", "OpenAI o200k"),
        ("gpt-oss-120b", "OpenAI o200k"),
        ("chatgpt-4o-latest", "OpenAI o200k"),
        ("o1", "OpenAI o200k"),
        ("o3-mini", "OpenAI o200k"),
        ("o10", "unknown"),
        ("gpt-4", "OpenAI cl100k"),
        ("gpt-4-turbo", "OpenAI cl100k"),
        ("gpt-3.5-turbo", "OpenAI cl100k"),
        ("gpt-35-turbo", "OpenAI cl100k"),
        ("ft:gpt-3.5-turbo:team::id", "OpenAI cl100k"),
        ("text-embedding-3-large", "OpenAI cl100k"),
        ("text-embedding-ada-002", "OpenAI cl100k"),
        ("text-davinci-003", "OpenAI p50k"),
        ("gpt2", "OpenAI r50k"),
        ("claude-sonnet-4-5", "Claude"),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "Claude"),
        ("claude-opus-4-1", "Claude"),
        ("claude-opus-4-7", "Claude Opus 4.7 and later"),
        ("anthropic/claude-opus-4.8", "Claude Opus 4.7 and later"),
        ("models/gemini-2.5-pro", "Gemini"),
        ("qwen3-max", "Qwen"),
        ("deepseek-ai/DeepSeek-V3", "DeepSeek"),
        ("llama3.1:8b", "Llama"),
        ("meta-llama/Llama-2-70b", "Llama 2"),
        ("mistral-large", "Mistral"),
        ("glm-4.6", "GLM"),
        ("kimi-k2", "Kimi"),
        ("grok-4", "Grok"),
        ("command-r-plus", "Command"),
        ("", "unknown"),
        ("house-model", "unknown"),
        ("." * 100_000, "unknown"),
    ],
)
def test_families(model, family):
    assert family_of(model).name == family
    assert counter_for(model).family.name == family


def test_one_counter_for_a_family():
    assert counter_for("gpt-4o") is counter_for("azure/gpt-4o-mini") is not counter_for("claude-3")


def test_names_that_callers_make_up_are_not_kept_for_ever():
    for number in range(NAMES_KEPT + 10):
        family_of(f"made-up-{number}")
    family_of("x" * 1_000)
    assert len(FAMILIES._known) <= NAMES_KEPT
    assert "x" * 1_000 not in FAMILIES._known


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("text", ["", "a", "Hello, world!", PROSE, MIXED, MIXED * 100, "<|endoftext|>"])
def test_exact_where_the_encoding_is_public(text):
    counter = counter_for("gpt-4o")
    assert counter.source == "bpe-openai"
    assert counter.exact
    assert counter.count(text) == O200K.count(text)


def test_other_vendors_take_a_factor_rounded_up():
    assert counter_for("claude-sonnet-4-5").count("Hello, world!") == 5  # 4 x 1.2
    assert counter_for("claude-opus-4-7").count("Hello, world!") == 7  # 4 x 1.6
    assert counter_for("house-model").count("Hello, world!") == 4
    assert not counter_for("claude-sonnet-4-5").exact
    assert not counter_for("house-model").exact


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, model=st.sampled_from(["gpt-4o", "gpt-4", "claude-opus-4-7", "gpt2"]))
def test_never_more_than_the_bound(text, model):
    counter = counter_for(model)
    assert 0 <= counter.count(text) <= counter.upper_bound(text)


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(TEXTS, max_size=5),
    limit=st.integers(-2, 400),
    model=st.sampled_from(["gpt-4o", "claude-sonnet-4", "text-davinci-003"]),
)
def test_fits_says_what_counting_says(texts, limit, model):
    counter = counter_for(model)
    total = sum(map(counter.count, texts))
    for around in (limit, total - 1, total, total + 1):
        tokens.forget()
        assert counter.fits(texts, around) == (total <= around)
        assert asyncio.run(counter.fits_all(texts, around, BlockingOffload())) == (total <= around)
    if texts:
        assert counter.fits(texts[0], limit) == (counter.count(texts[0]) <= limit)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, repeated=st.integers(1, 20), size=st.sampled_from([8, 16, 64, 512]))
def test_slices_are_the_text_and_clean_borders_change_no_count(text, repeated, size):
    text = text.encode("utf-8", "replace").decode() * repeated
    pieces = list(slices(text, size))
    assert "".join(piece for piece, _ in pieces) == text
    assert all(len(piece.encode()) <= (1 if text.isascii() else 2) * size for piece, _ in pieces)
    unclean = sum(not clean for _, clean in pieces)
    whole = O200K.count(text)
    total = sum(O200K.count(piece) for piece, _ in pieces)
    # A border inside a word may cost some tokens; one that leaves every published pattern alone costs nothing.
    assert abs(total - whole) <= 3 * unclean


def test_prose_has_clean_borders():
    for text in (PROSE * 20, "今天天气很好，我们去公园散步。昨天下雨了、没有去。" * 300):
        assert all(clean for _, clean in slices(text, 512))


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "gpt2"])
def test_hostile_texts_are_counted(name, model):
    counter = counter_for(model)
    text = HOSTILE[name]
    count = counter.count(text)
    assert 0 < count <= counter.upper_bound(text)
    assert not counter.fits(text, 10)
    assert asyncio.run(counter.count_all([text], BlockingOffload())) == [count]


class PanicException(BaseException):
    """Named as what a panic in Rust becomes."""


@pytest.mark.parametrize("error", [PanicException("stack overflow"), RuntimeError("no")])
def test_a_tokenizer_that_fails_on_a_slice_is_replaced_for_it(monkeypatch, caplog, error):
    def count(text):
        if "§" in text:
            raise error
        return 1_000

    monkeypatch.setattr(ladders, "_best", lambda encoding: Rung("tiktoken", count, 512, 8_192))
    secret = "word " * 200 + "§" * 300 + " word" * 200
    total = counter_for("gpt-4o").count(secret)
    assert total % 1_000 > 0
    assert total > 1_000
    assert "tiktoken failed on a text of" in caplog.text
    assert "§" not in caplog.text


def test_who_interrupts_is_not_held_up(monkeypatch):
    def count(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(ladders, "_best", lambda encoding: Rung("tiktoken", count, 512, 8_192))
    with pytest.raises(KeyboardInterrupt):
        counter_for("gpt-4o").count("a")


# ---------------------------------------------------------------------- not counting


def test_few_bytes_fit_without_counting(monkeypatch):
    spy = spied(monkeypatch)
    assert counter_for("gpt-4o").fits(["a" * 500, "é" * 250], 1_000)
    assert counter_for("claude-3").fits("a" * 500, 600)
    assert spy.pieces == []


def test_counting_stops_when_it_is_certain(monkeypatch):
    spy = spied(monkeypatch)
    counter = counter_for("gpt-4o")
    assert not counter.fits(["a" * 100_000, "b" * 100_000], 1_500)
    assert len(spy.pieces) == 3
    spy.pieces.clear()
    assert not counter.fits(["a" * 100_000], 1_500)  # an answer of that kind is not remembered as a count
    assert len(spy.pieces) == 3
    spy.pieces.clear()
    assert counter.fits(
        ["é" * 512, "b" * 500], 1_100
    )  # 512 are fewer than their 1,024 bytes: the second is not counted
    assert {text[0] for text in spy.pieces} == {"é"}


def test_what_was_counted_is_remembered_by_a_digest(monkeypatch):
    spy = spied(monkeypatch)
    counter = counter_for("gpt-4o")
    first = counter.count(PROSE)
    assert spy.pieces
    spy.pieces.clear()
    assert counter.count(PROSE) == first
    assert counter_for("claude-3").count(PROSE) == -(-first * 120 // 100)  # another factor, the same count
    assert counter.count(PROSE + "!") == first + 1
    assert "".join(spy.pieces) == PROSE + "!"
    assert {len(key) for key in ladder_of("o200k_base")._counts} == {16}
    assert ladders._key(PROSE) != ladders._key(PROSE + "!")


def test_only_so_many_are_remembered(monkeypatch):
    monkeypatch.setattr(ladders, "REMEMBERED", 3)
    spy = spied(monkeypatch)
    counter = counter_for("gpt-4o")
    texts = [str(number) * 40 for number in range(4)]
    for text in texts[:3]:
        counter.count(text)
    counter.count(texts[0])  # the one asked for last stays longest
    counter.count(texts[3])
    spy.pieces.clear()
    for text in (texts[0], texts[2], texts[3]):
        counter.count(text)
    assert spy.pieces == []
    counter.count(texts[1])
    assert spy.pieces == [texts[1]]


def test_threads_share_a_counter():
    counter = counter_for("gpt-4o")
    texts = [f"{number} {PROSE}" for number in range(40)]
    expected = [O200K.count(text) for text in texts]
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(list(map(counter.count, texts)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


# ---------------------------------------------------------------------- on an event loop


@pytest.mark.anyio
async def test_a_little_is_counted_right_here():
    counter = counter_for("gpt-4o")
    counter.prepare()
    texts = ["", "Hello, world!", "a"]
    assert await counter.count_all(texts, never) == [0, 4, 1]
    assert await counter.count_all([], never) == []


@pytest.mark.anyio
async def test_what_was_counted_needs_no_thread():
    counter = counter_for("gpt-4o")
    text = PROSE * 10
    count = counter.count(text)
    assert await counter.count_all([text], never) == [count]


@pytest.mark.anyio
async def test_the_first_time_is_for_a_thread_because_files_are_read():
    offload = AsyncOffload()
    asked = []

    async def spy(function, *arguments, **options):
        asked.append(arguments)
        return await offload(function, *arguments, **options)

    counter = counter_for("gpt-4o")
    assert await counter.count_all(["a"], spy) == [1]
    assert await counter.count_all(["a"], spy) == [1]
    assert len(asked) == 1
    await offload.close()


@pytest.mark.anyio
async def test_much_goes_to_a_thread_in_one_go(monkeypatch):
    counter = counter_for("gpt-4o")
    counter.prepare()
    texts = ["Hello, world!", *(f"{number} {PROSE * 5}" for number in range(3)), "a"]
    asked = []
    offload = AsyncOffload()

    async def spy(function, *arguments, **options):
        asked.append(list(arguments[0]))
        return await offload(function, *arguments, **options)

    assert await counter.count_all(texts, spy) == [O200K.count(text) for text in texts]
    assert asked == [texts[1:]]
    await offload.close()


@pytest.mark.anyio
async def test_more_than_may_be_looked_up_goes_at_once(monkeypatch):
    monkeypatch.setattr(counting, "INLINE_CHARACTERS", 100)
    counter = counter_for("gpt-4o")
    counter.prepare()
    asked = []

    async def spy(function, *arguments, **options):
        asked.append(arguments)
        return function(*arguments, **options)

    assert await counter.count_all(["a " * 60], spy) == [counter.count("a " * 60)]
    assert await counter.fits_all(["a " * 60], 1_000, spy)
    assert len(asked) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["-" * 700, "word " * 20 + "=" * 2_000])
async def test_texts_that_may_be_slow_go_to_a_thread(text):
    counter = counter_for("gpt-4o")
    counter.prepare()
    with pytest.raises(AssertionError, match="not for a thread"):
        await counter.count_all([text], never)


@pytest.mark.anyio
async def test_time_is_looked_at_after_each_slice(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    times = SimpleNamespace(perf_counter=lambda: clock.now, sleep=lambda seconds: None)
    monkeypatch.setattr(ladders, "time", times)
    monkeypatch.setattr(counting, "time", times)
    pieces = []

    def slow(text):
        pieces.append(text)
        clock.now += counting.INLINE_SECONDS * 0.7
        return len(text)

    monkeypatch.setattr(ladders, "_best", lambda encoding: Rung("bpe-openai", slow, 512, 8_192))
    counter = counter_for("gpt-4o")
    counter.prepare()
    left = []

    async def spy(function, *arguments, **options):
        left.extend(arguments[0])
        return function(*arguments, **options)

    assert await counter.count_all([PROSE], spy) == [len(PROSE)]
    assert left == [PROSE]
    pieces.clear()
    left.clear()
    texts = ["one", "two", "three", "four"]
    assert await counter.count_all(texts, spy) == [3, 3, 5, 4]
    assert len(left) == 3  # the second was counted when time was up


@pytest.mark.anyio
async def test_fits_all_counts_nothing_where_bytes_tell(monkeypatch):
    spy = spied(monkeypatch)
    assert await counter_for("gpt-4o").fits_all(["a" * 500] * 4, 2_000, never)
    assert spy.pieces == []


@pytest.mark.anyio
async def test_no_room_in_the_threads_is_said():
    async def full(function, *arguments, **options):
        raise OffloadFull("64 wait")

    with pytest.raises(OffloadFull):
        await counter_for("gpt-4o").count_all([PROSE], full)


def test_on_a_synchronous_host_the_same_await_just_runs():
    counter = counter_for("gpt-4o")
    texts = [PROSE * 20, "a", MIXED]
    assert finish(counter.count_all(texts, BlockingOffload()), "test") == [O200K.count(text) for text in texts]
    assert finish(counter.fits_all(texts, 10, BlockingOffload()), "test") is False


def test_here_and_in_a_thread_the_count_is_the_same():
    for rung in (ladders._best("o200k_base"), ladders._best("r50k_base")):
        ladder = Ladder("o200k_base")
        for text in (PROSE, MIXED * 8, "今天天气很好，我们去公园散步。" * 60):
            ladder._rung = rung
            here = ladder.count_until(text, float("inf"))
            ladder.forget()
            ladder._rung = rung
            assert here in (None, ladder.count(text))
            ladder.forget()


def test_long_counting_lets_others_run(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    slept = []
    times = SimpleNamespace(perf_counter=lambda: clock.now, sleep=slept.append)
    monkeypatch.setattr(ladders, "time", times)

    def slow(text):
        clock.now += ladders.GIVE_WAY_SECONDS * 0.6
        return 1

    for gives_way, expected in ((False, 3), (True, 0)):
        slept.clear()
        tokens.forget()
        rung = Rung("bpe-openai", slow, 512, 8_192, gives_way=gives_way)
        monkeypatch.setattr(ladders, "_best", lambda encoding, rung=rung: rung)
        counter_for("gpt-4o").count("a" * 512 * 6)
        assert len(slept) == expected


# ---------------------------------------------------------------------- the ladder


def test_without_any_tokenizer_there_is_an_estimate(monkeypatch):
    monkeypatch.setattr(ladders, "carried", lambda encoding: False)
    counter = counter_for("gpt-4o")
    assert counter.source == "estimate"
    assert not counter.exact
    assert abs(counter.count(PROSE) / O200K.count(PROSE) - 1) < 0.15
    assert availability(["gpt-4o", "claude-3", "gpt-4o-mini", "gpt2"]) == [
        ("OpenAI o200k", "estimate", "`aigw tokens fetch o200k_base`, or pip install 'aigw-middleware[tokens]'"),
        ("Claude", "estimate", "`aigw tokens fetch o200k_base`, or pip install 'aigw-middleware[tokens]'"),
        ("OpenAI r50k", "estimate", "`aigw tokens fetch r50k_base`"),
    ]


def test_a_package_that_is_broken_leaves_the_estimate(monkeypatch, caplog):
    def broken(encoding):
        raise ImportError("cannot load the library")

    monkeypatch.setattr(ladders, "load_carried", broken)
    assert counter_for("gpt-4").source == "estimate"
    assert "cl100k_base without bpe-openai: cannot load the library" in caplog.text


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.delitem(sys.modules, "bpe_openai._bindings")
    monkeypatch.setattr(carried.importlib.util, "find_spec", lambda name: None)
    assert not carried.carried("o200k_base")
    with pytest.raises(ImportError, match="is not there"):
        carried.load("o200k_base")
    monkeypatch.undo()


def test_what_is_not_loaded_is_not_counted_here():
    assert Ladder("o200k_base").count_until("a", float("inf")) is None


def test_what_is_available():
    assert availability(["gpt-4o", "house-model"]) == [
        ("OpenAI o200k", "bpe-openai", ""),
        ("unknown", "bpe-openai", ""),
    ]
    assert not ladder_of("o200k_base").loaded


def test_importing_loads_no_tokenizer_and_reads_nothing():
    code = (
        "import sys, aigw_middleware.llm.tokens as tokens\n"
        "tokens.counter_for('gpt-4o').upper_bound('a')\n"
        "assert tokens.counter_for('gpt-4o').fits('a', 5)\n"
        "print([name for name in ('tiktoken', 'bpe_openai', 'bpe_openai._bindings', 'httpx') if name in sys.modules])\n"
        "tokens.counter_for('gpt-4o').prepare()\n"
        "print('bpe_openai' in sys.modules)\n"  # the package around the compiled module costs 67 MB
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.split("\n")[:2] == ["[]", "False"]

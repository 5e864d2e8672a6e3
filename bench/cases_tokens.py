"""Token counting before the call (P13): what a count costs, and how long one keeps an event loop at most."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from functools import partial
from typing import Any

from aigw_middleware.llm.tokens import carried, counter_for, forget, ranks
from aigw_middleware.llm.tokens.ladder import Ladder, Rung, ladder_of
from aigw_middleware.llm.tokens.slices import slices

from .measure import Case, Lab
from .table import Row, Section

MODEL = "gpt-4o"
ENCODING = "o200k_base"
SIZES = (1_024, 8_192, 32_768, 262_144)
TURN = 1_024
SENTENCES = (
    "The service answers every question with a short text, a table of the figures it used and a list of what to read next.",
    "Im Herbst wurde die Brücke über den Fluss erneuert, und seitdem fahren die Züge wieder jede halbe Stunde.",
    "def total(rows: list[Row]) -> float:\n    return sum(row.price * row.count for row in rows if not row.free)\n",
    "今天的会议讨论了三个问题。结果明天公布。",
)
HOSTILE = ("-", "=", "/", "\t", "\nA", " ", "a", "\u0301", "👩\u200d")


def _text(size: int) -> str:
    """Return ordinary text of about `size` bytes."""
    text = " ".join(SENTENCES)
    return (text * (size // len(text.encode()) + 1)).encode()[:size].decode("utf-8", "ignore")


def _calls(function: Callable[[], object]) -> Case:
    async def case(count: int) -> None:
        for _ in range(count):
            function()

    return case


def _cold(ladder: Ladder, text: str) -> Callable[[], object]:
    def count() -> int:
        ladder._counts.clear()
        return ladder.count(text)

    return count


def _plain() -> dict[str, Callable[[str], object]]:
    """Return the tokenizers that are here, each with the whole text at once."""
    found: dict[str, Callable[[str], object]] = {}
    try:
        encode = ranks.load(ENCODING)
    except ranks.NoRanks:
        pass
    else:
        found["tiktoken"] = lambda text: len(encode(text))
    if carried.carried(ENCODING):
        found["bpe-openai"] = carried.load(ENCODING)
    return found


class _Pause:
    """What a coroutine waits for while a thread counts."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def _elsewhere(function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
    await _Pause()
    return [0] * len(arguments[0])


def _steps(coroutine: Coroutine[Any, Any, object]) -> Iterable[float]:
    """Run a coroutine to its end and yield the CPU time of each step on the loop, in microseconds."""
    while True:
        begun = time.thread_time_ns()
        try:
            coroutine.send(None)
        except StopIteration:
            yield (time.thread_time_ns() - begun) / 1_000
            return
        yield (time.thread_time_ns() - begun) / 1_000


def _longest_step(lab: Lab, ladder: Ladder) -> Row:
    """Return the row of the longest step of `count_all` on the loop, over ordinary and hostile conversations."""
    counter = counter_for(MODEL)
    talks: list[Sequence[str]] = [[_text(size)] for size in (500, 2_000, 4_000, 8_000, 16_000, 262_144)]
    talks += [[_text(200)] * number for number in (10, 100, 500)]
    for unit in HOSTILE:
        talks += [[(unit * size)[:size]] for size in (400, 511, 900, 8_000, 100_000)]
        talks += [[f"{_text(300)} a b {(unit * 500)[:500]}"] * 8]
    rounds = []
    for _ in range(lab.effort.rounds):
        longest = 0.0
        for talk in talks:
            least = float("inf")
            for _ in range(3):  # whatever else the machine does is not the counter's
                ladder._counts.clear()
                least = min(least, max(_steps(counter.count_all(talk, _elsewhere))))  # type: ignore[arg-type]
            longest = max(longest, least)
        rounds.append(longest)
    what = f"the longest step on the loop, of {len(talks)} conversations, hostile ones too"
    return Row(what, statistics.median(rounds), least=min(rounds)).within("1 ms", 1_000.0)


def _longest_slice(lab: Lab, rung: Rung) -> Row:
    """Return the row of the longest slice that a thread counts while it keeps the interpreter's lock."""
    rounds = []
    for _ in range(lab.effort.rounds):
        longest = 0.0
        for unit in HOSTILE:
            piece, _ = next(iter(slices((unit * 8_192)[:8_192], rung.slice_bytes)))
            least = float("inf")
            for _ in range(3):
                begun = time.thread_time_ns()
                rung.count(piece)
                least = min(least, (time.thread_time_ns() - begun) / 1_000)
            longest = max(longest, least)
        rounds.append(longest)
    row = Row(f"{rung.source}: the longest slice in a thread", statistics.median(rounds), least=min(rounds))
    return row if rung.gives_way else row.within("1 ms", 1_000.0)


async def counting(lab: Lab) -> Section:
    """Counts of ordinary text, cold and remembered, beside the plain tokenizers; early answers; the longest blocks."""
    forget()
    counter = counter_for(MODEL)
    ladder = ladder_of(ENCODING)
    rung = ladder.ready()
    plain = _plain()
    cases: dict[str, Case] = {}
    sizes = lab.effort.sizes(SIZES)
    for size in sizes:
        text = _text(size)
        cases[f"cold {size}"] = _calls(_cold(ladder, text))
        for name, count in plain.items():
            cases[f"{name} {size}"] = _calls(partial(count, text))
    readings = await lab.compare(cases)
    rows = []
    for size in sizes:
        rows.append(Row.whole(readings, f"{size // 1_024} kB, not counted before", f"cold {size}", peer=f"cold {size}"))
        rows += [Row.whole(readings, f"  {name} alone", f"{name} {size}", peer=f"cold {size}") for name in plain]
    ladder._counts.clear()
    texts = {size: _text(size) for size in sizes}
    for text in texts.values():
        counter.count(text)
    turns = [f"{number}: {_text(TURN)}" for number in range(32)]
    sum(map(counter.count, turns))
    warm = {f"warm {size}": _calls(partial(counter.count, text)) for size, text in texts.items()}
    large = texts[sizes[-1]]
    warm["turns"] = _calls(lambda: sum(map(counter.count, turns)))
    warm["fits"] = _calls(lambda: counter.fits(turns, 128_000))
    warm["fits large"] = _calls(lambda: counter.fits(large, 10**6))
    warm["name"] = _calls(lambda: counter_for(MODEL))
    readings = await lab.compare(warm)
    rows += [Row.whole(readings, f"{size // 1_024} kB, remembered", f"warm {size}") for size in sizes]
    rows += [
        Row.whole(readings, "a conversation of 32 turns of 1 kB, remembered", "turns"),
        Row.whole(readings, "whether it fits 128,000 tokens: told from its bytes", "fits"),
        Row.whole(
            readings, f"whether {sizes[-1] // 1_024} kB fit a million tokens: told from their bytes", "fits large"
        ),
        Row.whole(readings, "the counter of a model's name", "name"),
        _longest_step(lab, ladder),
        _longest_slice(lab, rung),
    ]
    notes = [
        f"counted by {rung.source}; the column `of one BHM` is in parts of ours, not counted before",
        "the last rows are CPU time of one thread: the time of day has what else the machine does in it",
    ]
    return Section("P13", "token counting before the call", rows, notes)

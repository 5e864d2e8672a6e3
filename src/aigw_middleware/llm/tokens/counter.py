"""Counting tokens before a call: exactly where the tokenizer is public and at hand, else by the next best thing.

    counter = counter_for("gpt-4o")
    counter.fits(texts, 128_000)                             # mostly told from sizes, without counting
    counts = await counter.count_all(texts, exchange.ports.offload)

The ladder: tiktoken, with ranks that are on this machine already; bpe-openai (extra `tokens`), which carries its ranks; an
estimate from the bytes. Nothing here downloads. A counter's `source` says which it is.

What was counted before is remembered by a keyed digest of the text, never by the text itself, so that the earlier turns
of a conversation cost a look-up.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from .families import Family, family_of
from .ladder import GIVE_WAY_SECONDS, WAY_SECONDS, Ladder, Source, ladder_of

if TYPE_CHECKING:
    from ...ports import Offload

INLINE_SECONDS: Final = 0.0002
"""How long counting may take on an event loop before the rest goes elsewhere; its last slice comes on top."""
INLINE_CHARACTERS: Final = 65_536
"""Beyond this much text even looking it up, at 2 ns a byte, is not for an event loop."""


class TokenCounter:
    """Counts for one family of models. Made by `counter_for`; safe to share between threads."""

    __slots__ = ("_ladder", "_percent", "family")

    def __init__(self, family: Family, ladder: Ladder) -> None:
        self.family = family
        self._ladder = ladder
        self._percent = family.percent

    @property
    def source(self) -> Source:
        """Which tokenizer counts. Loads it if nothing was counted yet: see `prepare`."""
        return self._ladder.ready().source

    @property
    def exact(self) -> bool:
        """Whether counts are the provider's own: its tokenizer, and no factor. Loads as `source` does."""
        return self._percent == 100 and self.family.name != "unknown" and self.source != "estimate"

    def prepare(self) -> None:
        """Load the tokenizer now: some megabytes, up to a second. For a plug-in's `setup`, through `ports.offload`."""
        self._ladder.ready()

    def count(self, text: str) -> int:
        """Return the number of tokens of one text.

        Takes about 30 µs a kB where it was not counted before, so on an event loop use `count_all`.
        """
        return self._scaled(self._ladder.count(text))

    def count_now(self, text: str, deadline: float) -> tuple[int, bool]:
        """Return the number of tokens and whether they were counted; on an event loop, too.

        What is not counted by `deadline`, of `time.perf_counter()`, or not to be counted without loading a tokenizer, is
        estimated; the tokenizer is then loaded in a thread, so that later texts are counted.
        """
        ladder = self._ladder
        if not ladder.loaded:
            ladder.load_soon()
            return self._scaled(ladder.estimate(text)), False
        count = ladder.count_until(text, deadline)
        if count is None:
            return self._scaled(ladder.estimate(text)), False
        return self._scaled(count), ladder.ready().source != "estimate"

    def upper_bound(self, text: str) -> int:
        """Return what `count` never exceeds: n bytes of UTF-8 are at most n tokens. Counts nothing."""
        return self._scaled(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")))

    def fits(self, texts: str | Iterable[str], limit: int) -> bool:
        """Whether the counts of all texts come to `limit` tokens at most.

        Told from their bytes where these are few enough; else counting stops as soon as it is certain.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        bounds = [self.upper_bound(text) for text in texts]
        left = sum(bounds)
        total = 0
        for text, bound in zip(texts, bounds, strict=True):
            if total + left <= limit:
                return True
            left -= bound
            room = max(limit - total, 0) * 100 // self._percent
            total += self._scaled(self._ladder.count(text, room))
            if total > limit:
                return False
        return total <= limit

    # On an event loop. There are no coroutines below these two, and no thread is asked for what the loop does in less
    # time than the way to a thread and back takes, about 0.1 ms.

    async def count_all(self, texts: Sequence[str], offload: Offload) -> list[int]:
        """Return the number of tokens of each text, without keeping an event loop for as long as 1 ms.

        Few are counted right here, more of them in a thread, in one go, through `exchange.ports.offload`; on a synchronous
        host that is right here too. Raises OffloadFull.
        """
        counts: list[int] = []
        ladder = self._ladder
        if ladder.loaded and sum(map(len, texts)) <= INLINE_CHARACTERS:
            deadline = time.perf_counter() + INLINE_SECONDS
            for text in texts:
                count = ladder.count_until(text, deadline)
                if count is None or time.perf_counter() > deadline:
                    break
                counts.append(self._scaled(count))
        if len(counts) < len(texts):
            counts += await offload(self._count_each, texts[len(counts) :])
        return counts

    async def fits_all(self, texts: Sequence[str], limit: int, offload: Offload) -> bool:
        """Whether the counts of all texts come to `limit` tokens at most; as `count_all` does. Raises OffloadFull."""
        if sum(map(len, texts)) > INLINE_CHARACTERS:
            return await offload(self.fits, texts, limit)
        if sum(map(self.upper_bound, texts)) <= limit:
            return True
        return sum(await self.count_all(texts, offload)) <= limit

    def _count_each(self, texts: Sequence[str]) -> list[int]:
        counts = []
        begun = time.perf_counter()
        for text in texts:
            counts.append(self._scaled(self._ladder.count(text)))
            if time.perf_counter() - begun > GIVE_WAY_SECONDS:  # many short texts hold the interpreter's lock, too
                time.sleep(WAY_SECONDS)
                begun = time.perf_counter()
        return counts

    def _scaled(self, count: int) -> int:
        return count if self._percent == 100 else -(-count * self._percent // 100)

    def __repr__(self) -> str:
        return f"<TokenCounter {self.family.name}>"


_counters: dict[Family, TokenCounter] = {}


def counter_for(model: str) -> TokenCounter:
    """Return the counter of a model by its name, whatever a reseller put before it. Cheap, and loads nothing.

    A name that nobody knows is counted as OpenAI's newest encoding does.
    """
    family = family_of(model)
    counter = _counters.get(family)
    if counter is None:
        counter = _counters.setdefault(family, TokenCounter(family, ladder_of(family.encoding)))
    return counter

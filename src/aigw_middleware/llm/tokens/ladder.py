"""The ladder of tokenizers of one encoding, and the memory of what was counted with it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, TypeAlias

from .carried import ENCODINGS as CARRIED
from .carried import carried
from .carried import load as load_carried
from .estimate import estimate
from .families import family_of
from .ranks import NoRanks, find
from .ranks import load as load_ranks
from .slices import slices

Source: TypeAlias = Literal["tiktoken", "bpe-openai", "estimate"]

REMEMBERED: Final = 16_384
"""Texts of an encoding whose count is kept, at about 200 bytes each."""
WORTH_REMEMBERING: Final = 32  # characters; less is counted in the time of a look-up
SHORT_SLICE: Final = 384
"""What is counted at once where nothing may take long: half a millisecond with the worst text that was found."""
GIVE_WAY_SECONDS: Final = 0.0005
"""How long a thread counts before it lets others have the interpreter's lock."""
WAY_SECONDS: Final = 0.00005  # sleeping for 0 gives the lock away, and takes it back before another thread wakes up

_KEY: Final = os.urandom(32)  # so that nobody can make two texts with one digest, nor tell a text from its digest
_log = logging.getLogger("aigw_middleware.tokens")


class Rung(NamedTuple):
    """One way to count."""

    source: Source
    count: Callable[[str], int]
    slice_bytes: int
    """What it is given at once: see `slices`."""
    inline_characters: int
    """What it counts of prose in 0.2 ms; on an event loop more is not tried."""
    gives_way: bool = False
    """Whether others may run while it counts."""
    steady: bool = False
    """Whether every text of a size takes the same time."""


class Ladder:
    """The best way there is to count with one encoding, found when first needed."""

    __slots__ = ("_counts", "_loading", "_lock", "_rung", "encoding")

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._rung: Rung | None = None
        self._loading = False
        self._lock = threading.Lock()
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    @property
    def loaded(self) -> bool:
        """Whether counting needs no file any more."""
        return self._rung is not None

    def ready(self) -> Rung:
        """Return the way to count; loads it the first time, which is not for an event loop."""
        rung = self._rung
        if rung is None:
            with self._lock:
                rung = self._rung = self._rung or _best(self.encoding)
        return rung

    def load_soon(self) -> None:
        """Load the way to count in a thread that ends with it."""
        if not self._loading:
            self._loading = True
            threading.Thread(target=self.ready, name="aigw-tokens", daemon=True).start()

    def estimate(self, text: str) -> int:
        """Return what the last rung says of a text."""
        return estimate(text, self.encoding)

    def count(self, text: str, most: int | None = None) -> int:
        """Return the number of tokens of a text; beyond `most`, any number beyond it."""
        rung = self.ready()
        key = _key(text)
        known = self._recalled(key)
        if known is not None:
            return known
        total = 0
        begun = time.perf_counter()
        for piece, _ in slices(text, rung.slice_bytes):
            total += self._piece(rung, piece)
            if most is not None and total > most:
                return total
            if not rung.gives_way and time.perf_counter() - begun > GIVE_WAY_SECONDS:
                time.sleep(WAY_SECONDS)
                begun = time.perf_counter()
        self._remember(key, total)
        return total

    def count_until(self, text: str, deadline: float) -> int | None:
        """Return the number of tokens, or None when it is not to be had before `deadline`, of `time.perf_counter()`.

        Goes from one clean border to the next in short slices, so that the number is the one that `count` finds. A text
        that has none is no prose, and may be of the kind that is slow: runs of one symbol take 60 times as long.
        """
        rung = self._rung
        if rung is None:
            return None
        key = _key(text)
        known = self._recalled(key)
        if known is not None:
            return known
        if len(text) > rung.inline_characters:
            return None
        total = 0
        for piece, clean in slices(text, rung.slice_bytes if rung.steady else SHORT_SLICE):
            if not (clean or rung.steady) or time.perf_counter() > deadline:
                return None
            total += self._piece(rung, piece)
        self._remember(key, total)
        return total

    def _piece(self, rung: Rung, piece: str) -> int:
        try:
            return rung.count(piece)
        except UnicodeEncodeError:  # half of a surrogate pair, which no UTF-8 has; JSON can write one
            return self._piece(rung, piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
        except BaseException as error:
            # Rust's panics are no Exception. The next rung that surely is loaded is the last one.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            _log.warning("%s failed on a text of %d characters, which is estimated", rung.source, len(piece))
            return estimate(piece, self.encoding)

    def _recalled(self, key: bytes) -> int | None:
        if not key:
            return None
        with self._lock:
            count = self._counts.get(key)
            if count is not None:
                self._counts.move_to_end(key)
            return count

    def _remember(self, key: bytes, count: int) -> None:
        if not key:
            return
        with self._lock:
            self._counts[key] = count
            if len(self._counts) > REMEMBERED:
                self._counts.popitem(last=False)

    def forget(self) -> None:
        """Forget what was counted, and the way to count."""
        with self._lock:
            self._rung = None
            self._counts.clear()


def _key(text: str) -> bytes:
    if len(text) < WORTH_REMEMBERING:
        return b""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=_KEY).digest()


def _best(encoding: str) -> Rung:
    try:
        encode = load_ranks(encoding)
    except NoRanks as error:
        _log.debug("%s without tiktoken: %s", encoding, error)
    else:
        # It lets others run, but for each slice it must get the lock back: few long ones.
        return Rung("tiktoken", lambda text: len(encode(text)), 4_096, 2_048, gives_way=True)
    if carried(encoding):
        try:
            return Rung("bpe-openai", load_carried(encoding), SHORT_SLICE, 6_144)
        except (ImportError, AttributeError, ValueError) as error:
            _log.warning("%s without bpe-openai: %s", encoding, error)
    return Rung("estimate", lambda text: estimate(text, encoding), 4_096, 4_096, steady=True)


_ladders: dict[str, Ladder] = {}


def ladder_of(encoding: str) -> Ladder:
    """Return the ladder of an encoding, one for the process."""
    return _ladders.setdefault(encoding, Ladder(encoding))


class Availability(NamedTuple):
    """How a family of models is counted here, and what would make it better."""

    family: str
    rung: Source
    improve: str
    """What to do for the next better rung; empty where there is none that matters."""


def availability(models: Iterable[str]) -> list[Availability]:
    """Return how the families of some models are counted; each family once. Reads files, loads no tokenizer."""
    found: dict[str, Availability] = {}
    for family in map(family_of, models):
        if family.name not in found:
            rung = rung_of(family.encoding)
            found[family.name] = Availability(family.name, rung, _improvement(family.encoding, rung))
    return list(found.values())


def rung_of(encoding: str) -> Source:
    """Return which rung of an encoding's ladder will count. Reads files, loads no tokenizer."""
    try:
        find(encoding)
    except NoRanks:
        return "bpe-openai" if carried(encoding) else "estimate"
    return "tiktoken"


def _improvement(encoding: str, rung: Source) -> str:
    if rung != "estimate":
        return ""
    fetch = f"`aigw tokens fetch {encoding}`"
    return f"{fetch}, or pip install 'aigw-middleware[tokens]'" if encoding in CARRIED else fetch


def forget() -> None:
    """Forget all that was counted and loaded, as when ranks have been fetched meanwhile."""
    for ladder in list(_ladders.values()):
        ladder.forget()

"""Deny words in a text, whole or as it comes: found in its folded form, in linear time, wherever a stream is cut.

    words = DenyWords(["bad word"], allow=["no bad word"])
    words.scan(START, "a BAD\\u200b  word!", final=True)     # Found(release=2, hit=Hit(rule=0, start=2, end=12))

A text is denied from the leftmost word on that no allowed one covers. What is not yet decided, because a word has begun
or because what follows it is not known, is not released.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from .folding import attaches, fold, is_word, last_cluster, overlong, parts, places

START: Final = " "
"""The context of a text that begins."""

MAX_GAP: Final = 8  # characters of white space that stand for one space of a phrase
MAX_WORDS: Final = 20_000  # beyond, RE2 needs more memory for the words than a service wants to give
MIN_MEMORY: Final = 8 << 20  # bytes; RE2's own default
MEMORY_PER_CHARACTER: Final = 1_024  # bytes of RE2's programs and states, measured with room to spare
FEW: Final = 32  # so many words are looked for one by one, which is faster than a pattern
SHORT: Final = 64  # characters whose every place is tried, which is faster than calling the pattern
FEW_HEADS: Final = 128  # beginnings of words that a pattern tries one by one faster than Python looks them up
LONG: Final = 2_048  # bytes from which one pass of RE2 for all words takes less than one of Python's for each
HEAD: Final = 3  # characters of a word that tell that it may begin here

_CONTROLS = bytes([*range(9), *range(14, 32), 127])
_gap = re.compile(rf"\s{{1,{MAX_GAP}}}")
_SPACE = rf"[\t-\r \x{{85}}\x{{1680}}\x{{2028}}\x{{2029}}]{{1,{MAX_GAP}}}"  # what `\s` can find in folded text


def check(words: Sequence[str]) -> None:
    """Raise ValueError when there are too many words, or one that cannot be found; names its place, not the word."""
    if len(words) > MAX_WORDS:
        raise ValueError(f"has {len(words):,} words: {MAX_WORDS:,} are the most that are matched in linear time")
    for number, word in enumerate(words):
        folded = _word(word)
        if folded and attaches(folded[0]):
            raise ValueError(f"word {number} begins with a mark, which belongs to the character before it")


class Hit(NamedTuple):
    """A denied word: which, and where in the scanned text. `rule` -1: too many characters that nobody sees."""

    rule: int
    start: int
    end: int


class Found(NamedTuple):
    """The text may go as far as `release`; `hit` says why it ends there, None that the rest waits."""

    release: int
    hit: Hit | None


class _Vocabulary:
    """Words by their folded form, and every beginning of one; `bounded` ones begin where no other word goes on."""

    def __init__(self, words: Iterable[tuple[str, int]], boundaries: bool) -> None:
        self.rules: dict[str, int] = {}
        for word, rule in words:
            self.rules.setdefault(word, rule)
        self.boundaries = boundaries
        self.free: set[str] = set()
        self.bounded: set[str] = set()
        for word in self.rules:
            beginnings = self.bounded if boundaries and is_word(word[0]) else self.free
            beginnings.update(word[:length] for length in range(1, len(word) + 1))
        self.firsts = frozenset(word[0] for word in self.rules)

    def live(self, text: str, start: int, end: int) -> bool:
        """Whether `text[start:end]` is the beginning of a word, or one."""
        beginning = _collapse(text[start:end])
        return beginning in self.free or (beginning in self.bounded and not is_word(text[start - 1]))

    def at(self, text: str, start: int, end: int) -> list[int]:
        """Return where the words that begin at `start` end, shortest first; there is a character at `text[end]`."""
        found: list[int] = []
        if text[start] not in self.firsts:
            return found
        for stop in range(start + 1, end + 1):
            beginning = _collapse(text[start:stop])
            if beginning not in self.free and beginning not in self.bounded:
                break
            if beginning in self.rules and self._alone(beginning, text, start, stop):
                found.append(stop)
        return found

    def _alone(self, word: str, text: str, start: int, stop: int) -> bool:
        if not self.boundaries:
            return True
        return not (is_word(word[0]) and is_word(text[start - 1])) and not (is_word(word[-1]) and is_word(text[stop]))


class DenyWords:
    """The words to find. Immutable; knows nothing of the texts it was given.

    `boundaries`: a word that begins or ends with a letter of a writing with spaces is found only as a word of its own.
    Words must have passed `check`. Raises ValueError when RE2 cannot compile them.
    """

    def __init__(self, deny: Sequence[str], allow: Sequence[str] = (), *, boundaries: bool = True) -> None:
        words = [(word, rule) for rule, text in enumerate(deny) if (word := _word(text))]
        self._deny = _Vocabulary(words, boundaries)
        denied = list(self._deny.rules)
        exceptions = [(word, rule) for rule, text in enumerate(allow) if (word := _word(text))]
        self._allow = _Vocabulary(
            [(word, rule) for word, rule in exceptions if any(other in word for other in denied)], boundaries
        )
        both = [*denied, *self._allow.rules]
        self.longest = max((len(word) + (MAX_GAP - 1) * word.count(" ") for word in both), default=0)
        """Characters of folded text that can be undecided at once."""
        self._head = min([HEAD, *(len(word.partition(" ")[0]) for word in both)])
        self._heads = frozenset(word[: self._head] for word in both)
        self._firsts = self._deny.firsts | self._allow.firsts
        self._beginning = self._begins() if len(self._heads) <= FEW_HEADS else None
        self._probes = [max(word.split(" "), key=len) for word in denied] if len(denied) <= FEW else []
        self._probe = _any_of(self._probes)
        self._pattern = _pattern(denied, boundaries)
        self._marked: dict[str, list[frozenset[str]]] = {}
        for word in both:
            for cluster in _clusters(word):
                base, marks = parts(cluster)
                if marks:
                    self._marked.setdefault(base, []).append(marks)

    def __bool__(self) -> bool:
        return bool(self._deny.rules)

    def find(self, text: str) -> Hit | None:
        """Return the first denied word of a whole text."""
        return None if self.clean(text) else self.scan(START, text, final=True).hit

    def clean(self, text: str) -> bool:
        """Whether a whole text is free of words for certain, told by a look at what most texts are: plain and ASCII."""
        if not self._probes or not text.isascii():
            return False
        plain = text.lower()
        raw = plain.encode()
        if self._probe.search(raw) is not None if len(raw) > LONG else _holds(plain, self._probes):
            return False
        return len(raw.translate(None, _CONTROLS)) == len(raw)  # what nobody sees may part a word

    def passes(self, context: str, text: str) -> bool:
        """Whether a piece may go at once, told by a look at what most are: short, plain, and no word begins in it."""
        raw = context + text
        if len(raw) > SHORT or not raw.isascii() or not raw.isprintable():
            return False
        folded = raw.lower()
        return folded[-1] not in self._marked and not self._may_begin(folded, len(context))

    def scan(self, context: str, text: str, *, final: bool) -> Found:
        """Look at `text`, which follows on `context`: the last cluster that was released, or `START`.

        With `final` nothing follows, so everything is decided.
        """
        raw = context + text
        end = overlong(raw)
        if end >= 0:
            raw, final = raw[:end], False
        if final:
            folded = fold(raw)
            settled = len(folded)
            folded += "\n"
        else:
            last = last_cluster(raw)
            folded = fold(raw[:last])
            settled = len(folded)
            folded += fold(raw[last:])
        begin = len(fold(context))
        hit, live = None, len(folded)
        uncertain = not final and self._uncertain(folded[settled:])
        if uncertain or live - begin > SHORT or self._may_begin(folded, begin):
            live = live if final else self._live(folded, begin, settled, uncertain)
            hit = self._first(folded, begin, settled, live, uncertain)
        offset = len(context)
        if hit is not None:
            start, stop, rule = hit
            where = places(raw)
            after = next(place for place in where[stop:] if place > where[stop - 1])
            return Found(where[start] - offset, Hit(rule, where[start] - offset, after - offset))
        release = len(raw) if live >= len(folded) else self._release(folded, begin, settled, live, places(raw))
        return Found(release - offset, Hit(-1, end - offset, end - offset + 1) if end >= 0 else None)

    def _may_begin(self, text: str, begin: int) -> bool:
        """Whether a word may begin in `text` from `begin` on: settles most texts without looking closer."""
        if self._beginning is not None and text.isascii():
            return self._beginning.search(text, begin) is not None
        firsts, heads, size = self._firsts, self._heads, self._head
        bounded = not self._deny.free and not self._allow.free
        for place in range(begin, len(text)):
            if text[place] in firsts and not (bounded and is_word(text[place - 1])):
                head = text[place : place + size]
                if head in heads or len(head) < size:
                    return True
        return False

    def _begins(self) -> re.Pattern[str]:
        """Return the pattern of ASCII texts in which a word may begin: the first characters of one, or the end amid them."""
        begun = {head[:length] for head in self._heads for length in range(1, self._head)}
        alternatives = [*map(re.escape, sorted(self._heads)), *(f"{re.escape(part)}\\Z" for part in sorted(begun))]
        bounded = not self._deny.free and not self._allow.free
        return re.compile(f"{'(?<![0-9a-z_])' if bounded else ''}(?:{'|'.join(alternatives)})")

    def _uncertain(self, cluster: str) -> bool:
        """Whether a character of a word may yet come of this cluster, by what attaches to it next."""
        if not self._marked:
            return False
        base, marks = parts(cluster)
        # Marks that it has already say nothing: those that do not compose with the ones to come are ornament.
        return any(not more <= marks for more in self._marked.get(base, ()))

    def _live(self, text: str, begin: int, settled: int, uncertain: bool) -> int:
        """Return the first place from `begin` on where a word has begun that what follows may complete, or the end."""
        end = len(text)
        limits = _limits(settled, end, uncertain)
        for place in range(max(begin, settled - self.longest), end):
            if uncertain and place == settled:
                return place
            if text[place] in self._firsts and any(self._begun(text, place, limit) for limit in limits):
                return place
        return end

    def _begun(self, text: str, place: int, end: int) -> bool:
        return self._deny.live(text, place, end) or self._allow.live(text, place, end)

    def _first(self, text: str, begin: int, settled: int, live: int, uncertain: bool) -> tuple[int, int, int] | None:
        """Return begin, end and rule of the first denied word that is certain, unless what began earlier may win."""
        for place in self._candidates(text, begin, settled):
            if place > live:
                return None
            for stop in self._deny.at(text, place, settled):
                if self._allowed(text, begin, place, stop, settled):
                    continue
                limits = _limits(settled, len(text), uncertain) if place == live else ()
                if any(self._allow.live(text, place, limit) for limit in limits):
                    return None
                return place, stop, self._deny.rules[_collapse(text[place:stop])]
        return None

    def _release(self, text: str, begin: int, settled: int, live: int, where: Sequence[int]) -> int:
        """Return how much of the raw text may go: nothing of an allowed word that covers what is still to be decided."""
        while True:
            cut = where.index(where[live])  # a character that folds to several goes as a whole
            before = range(max(begin, cut - self.longest), cut) if self._allow.rules else ()
            covering = (at for at in before if any(end > cut for end in self._allow.at(text, at, settled)))
            earlier = next(covering, None)
            if earlier is None:
                return where[cut]
            live = earlier

    def _candidates(self, text: str, begin: int, settled: int) -> Iterable[int]:
        """Yield, in order, the places where a word may stand: all that matter, and few others."""
        if settled - begin <= SHORT:
            yield from range(begin, settled)
            return
        if self._probes and not _holds(text, self._probes):
            return
        subject: Any = text[begin - 1 : settled + 1]
        if subject.isascii():
            subject = subject.encode()  # positions are the same, and RE2 need not translate them
        tried = begin
        for match in self._pattern.finditer(subject):
            first, last = match.start() + begin, match.end() + begin - 1
            yield from range(max(first, tried), min(last, settled - 1) + 1)
            tried = last + 1

    def _allowed(self, text: str, begin: int, start: int, stop: int, settled: int) -> bool:
        """Whether an allowed word covers `text[start:stop]`."""
        if not self._allow.rules:
            return False
        places_before = range(max(begin, start - self.longest), start + 1)
        return any(end >= stop for place in places_before for end in self._allow.at(text, place, settled)[-1:])


def _limits(settled: int, end: int, uncertain: bool) -> range:
    """Return where a word may end that is not decided: the last cluster may become another, or belong to it in part."""
    return range(settled if uncertain else settled + 1, end + 1)


def _holds(text: str, probes: Iterable[str]) -> bool:
    found = False
    for probe in probes:  # any() of a generator costs twice as much, and this is what most texts cost
        if probe in text:
            found = True
            break
    return found


def _any_of(words: Iterable[str]) -> Any:
    """Return the pattern of bytes in which one of the words stands; of none, the one of nothing at all."""
    import re2

    options = re2.Options()
    options.never_capture = True
    return re2.compile("|".join(map(re2.escape, words)) or r"\b\B", options)


def _word(text: str) -> str:
    """Return a word as it is looked for, or the empty string."""
    return " ".join(fold(text).split())


def _collapse(text: str) -> str:
    return text if text.isprintable() and "  " not in text else _gap.sub(" ", text)


def _clusters(word: str) -> Iterable[str]:
    begin = 0
    for place in range(1, len(word) + 1):
        if place == len(word) or not attaches(word[place]):
            yield word[begin:place]
            begin = place


def _pattern(words: Sequence[str], boundaries: bool) -> Any:
    """Compile the one pattern that finds where words may stand, each with a character before and behind it.

    Beyond ASCII every character counts as a boundary here: what is found is looked at again.
    """
    import re2

    kinds: dict[tuple[bool, bool], list[str]] = {}
    for word in words:
        kind = (boundaries and is_word(word[0]), boundaries and is_word(word[-1]))
        kinds.setdefault(kind, []).append(_SPACE.join(map(re2.escape, word.split(" "))))
    edge = {True: "[^0-9a-z_]", False: "(?s:.)"}
    options = re2.Options()
    options.longest_match = options.never_capture = True
    options.log_errors = False
    options.max_mem = max(MIN_MEMORY, MEMORY_PER_CHARACTER * sum(map(len, words)))
    alternatives = [f"{edge[left]}(?:{'|'.join(found)}){edge[right]}" for (left, right), found in kinds.items()]
    try:
        return re2.compile("|".join(alternatives), options)
    except re2.error as error:
        raise ValueError(f"the words cannot be compiled: {error}") from None

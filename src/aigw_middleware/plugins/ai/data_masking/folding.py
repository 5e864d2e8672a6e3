"""Text as deny words see it: compatibility forms unified, case folded, what nobody sees taken out.

    fold("B\\u200bAD") == "bad"

Folding works cluster by cluster: a character and those behind it that attach to it. For any text cut in front of a
character that does not attach, `fold(left) + fold(right) == fold(left + right)`; that is what makes filtering a stream
equal to filtering the whole text.

Source: Unicode Standard Annex 15 (NFKC, boundaries of normalization) and chapter 3.13 (case folding).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from typing import Final

MAX_ATTACHED: Final = 64
"""So many characters may attach to one: more than any writing needs, and what bounds the memory of a stream."""

# Controls other than white space, and the default ignorable code points of Unicode (DerivedCoreProperties.txt).
_INVISIBLE: Final = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Marks of no particular writing. Those that belong to a letter are part of it after composition; the rest is ornament.
_ORNAMENT: Final = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"

_invisible = re.compile(f"[{_INVISIBLE}]+")
_invisible_or_ornament = re.compile(f"[{_INVISIBLE}{_ORNAMENT}]+")
_ASCII_TABLE: Final = {code: None if _invisible.match(chr(code)) else chr(code).lower() for code in range(128)}

# Punctuation of Chinese and Japanese text, which alone would make normalizing it thirty times slower.
_WIDE_CHARACTERS: Final = "\uff0c\uff01\uff1f\uff1a\uff1b\uff08\uff09\u3000"
_WIDE: Final = tuple((wide, unicodedata.normalize("NFKC", wide)) for wide in _WIDE_CHARACTERS)
_SHORT: Final = 64  # characters; the quicker way to fold depends on the length

# Blocks whose writing puts no spaces between words, or, in Korean, sets particles to them: begin, end (excluded), ...
_UNSPACED: Final = (
    0x0E00, 0x10A0, 0x1100, 0x1200, 0x1780, 0x1800, 0x1950, 0x1AB0, 0x2E80, 0xA4D0, 0xA960, 0xA9E0, 0xA9E7, 0xAA00,
    0xAA60, 0xAAE0, 0xAC00, 0xD800, 0xF900, 0xFB00, 0xFF66, 0xFFE0, 0x16FE0, 0x18D90, 0x1AFF0, 0x1B300,
    0x20000, 0x40000,
)  # fmt: skip


def fold(text: str) -> str:
    """Return `text` folded. White space is kept; one character may become none or several."""
    if text.isascii():
        return text.lower() if len(text) < _SHORT and text.isprintable() else text.translate(_ASCII_TABLE)
    if len(text) >= _SHORT:
        for wide, narrow in _WIDE:
            text = text.replace(wide, narrow)
    folded = unicodedata.normalize("NFKC", _invisible.sub("", text))
    return _invisible_or_ornament.sub("", unicodedata.normalize("NFKC", folded.casefold()))


def attaches(char: str) -> bool:
    """Whether a character belongs to the cluster of the one before: a mark, an end of a syllable, something unseen."""
    return not " " <= char <= "~" and _attaches(char)


@lru_cache(8_192)
def _attaches(char: str) -> bool:
    if not fold(char):
        return True
    first = unicodedata.normalize("NFKD", char)[0]
    return unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff" or "\ud7b0" <= first <= "\ud7ff"


def is_word(char: str) -> bool:
    """Whether a character continues a word of a writing that puts something else between words."""
    if char.isascii():
        return char.isalnum() or char == "_"
    return _is_word(char)


@lru_cache(8_192)
def _is_word(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" and bisect_right(_UNSPACED, ord(char)) % 2 == 0


def last_cluster(text: str) -> int:
    """Return where the last cluster of `text` begins."""
    place = len(text) - 1
    while place > 0 and attaches(text[place]):
        place -= 1
    return max(place, 0)


def places(text: str) -> list[int]:
    """Return for each character of `fold(text)` where in `text` its cluster begins, and the length of `text` last."""
    if text.isascii() and text.isprintable():
        return list(range(len(text) + 1))
    found: list[int] = []
    begin = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or not attaches(text[place]):
            found.extend([begin] * len(fold(text[begin:place])))
            begin = place
    found.append(len(text))
    return found


def overlong(text: str) -> int:
    """Return the place behind the last allowed one of too many characters in a row that attach, or -1."""
    if len(text) <= MAX_ATTACHED or not any(map(attaches, text[::MAX_ATTACHED])):
        return -1  # every run that is too long has one of these places
    count = 0
    for place, char in enumerate(text):
        count = count + 1 if attaches(char) else 0
        if count > MAX_ATTACHED:
            return place
    return -1


def parts(cluster: str) -> tuple[str, frozenset[str]]:
    """Return the last character of a folded cluster without what attaches to it, and what does."""
    apart = unicodedata.normalize("NFD", cluster)
    place = last_cluster(apart)
    return apart[place : place + 1], frozenset(apart[place + 1 :])

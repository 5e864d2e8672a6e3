"""A text in slices: what a tokenizer is given at once has a bound, so that no text takes it long or makes it fail.

tiktoken is worse than linear on long runs of one character and panics on a million spaces; bpe-openai holds the
interpreter's lock for as long as it counts.

Where a slice ends matters little for the sum, and not at all at a clean border: before a space that a letter or digit
follows, and before one punctuation mark between two of them. There every published pattern begins a new piece anyway,
and no token spans two pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

WINDOW: Final = 512
"""Characters before the end of a slice in which a clean border is looked for."""
SPACES: Final = 8
"""So many spaces are looked at before other marks are."""
# No apostrophes, with which `it's` is one piece, no line ends, which join the marks before them, no combining marks, which
# some patterns take for letters.
_MARKS: Final = (
    r" ,.;:!?()\[\]{}<>=/"
    + '"'
    + "\u3001\u3002\uff0c\uff0e\uff1b\uff1a\uff01\uff1f\uff08\uff09\u300c\u300d\u30fb\u2026\u2014"
)
_BORDER: Final = re.compile(rf"[^\W_][{_MARKS}](?=[^\W_])")


def slices(text: str, size: int) -> Iterator[tuple[str, bool]]:
    """Yield the text in slices, each with whether a clean border ends it.

    A slice has at most `size` bytes where all of the text is ASCII, else half as many characters, which are at most twice
    as many bytes: what takes long to count, runs of one symbol, is ASCII. `size` is at least 8.
    """
    length = len(text)
    step = size if text.isascii() else size // 2
    start = 0
    while length - start > step:
        end = start + step
        cut = _clean(text, max(start + step // 2, end - WINDOW), end)
        yield text[start : cut or end], bool(cut)
        start = cut or end
    yield text[start:], True


def _clean(text: str, low: int, high: int) -> int:
    """Return the last clean border in a part of the text, 0 where there is none."""
    space = high
    for _ in range(SPACES):  # in prose nearly always one of them is
        space = text.rfind(" ", low, space)
        if space <= low:
            break
        if text[space + 1].isalnum():
            return space
    cut = 0
    for found in _BORDER.finditer(text, low, high + 1):
        cut = found.start() + 1
    return cut if cut < high else 0

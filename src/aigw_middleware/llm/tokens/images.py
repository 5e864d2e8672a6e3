"""What an image takes in tokens, by the formulas that providers publish, from its width and height in pixels.

Sources: OpenAI, "Images and vision", section on costs; Anthropic, "Vision", section on image costs; Gemini API,
"Understand and count tokens" and "Media resolution". Where a provider bills less than it publishes, the published
figure stands: a guard errs on the side of caution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from .families import CLAUDE_FROM_OPUS_4_7, Prefixes

Size = tuple[int, int]
"""Width and height in pixels."""


class Formula(Protocol):
    """How a family of models counts an image."""

    def tokens(self, size: Size | None, detail: str) -> int:
        """Return the tokens of an image; of the largest one where the size is not known."""


class Tiles(NamedTuple):
    """OpenAI: so much for the image, and for each tile of 512 pixels after scaling to 2048 and 768."""

    base: int
    tile: int

    def tokens(self, size: Size | None, detail: str) -> int:
        """See `Formula`."""
        if detail == "low":
            return self.base
        if size is None:
            return self.base + 8 * self.tile  # 2048 by 768
        width, height = _within(size, 2048)
        shorter = min(width, height)
        if shorter > 768:
            width, height = width * 768 // shorter, height * 768 // shorter
        return self.base + math.ceil(width / 512) * math.ceil(height / 512) * self.tile


class Patches(NamedTuple):
    """OpenAI: patches of 32 pixels, at most `most` after scaling, times a factor."""

    percent: int
    most: int = 1536

    def tokens(self, size: Size | None, detail: str) -> int:
        """See `Formula`."""
        return math.ceil((self.most if size is None else self._patches(*size)) * self.percent / 100)

    def _patches(self, width: int, height: int) -> int:
        patches = math.ceil(width / 32) * math.ceil(height / 32)
        if patches <= self.most:
            return patches
        factor = math.sqrt(32 * 32 * self.most / (width * height))
        across, down = width * factor / 32, height * factor / 32
        whole = min(math.floor(across) / across, math.floor(down) / down)
        # Rounded first: what is meant to be a whole number must not be taken for a little more than that.
        scaled = math.ceil(round(across * whole, 6)) * math.ceil(round(down * whole, 6))
        return min(max(scaled, 1), self.most)


class Area(NamedTuple):
    """Anthropic: a token for 750 pixels, after scaling to the longest edge and to the most tokens."""

    edge: int
    most: int

    def tokens(self, size: Size | None, detail: str) -> int:
        """See `Formula`."""
        if size is None:
            return self.most
        width, height = _within(size, self.edge)
        return min(math.ceil(width * height / 750), self.most)


class Squares(NamedTuple):
    """Gemini 2: 258 for an image up to 384 by 384, else for each tile of 768 pixels, up to 3072 by 3072."""

    each: int = 258

    def tokens(self, size: Size | None, detail: str) -> int:
        """See `Formula`."""
        if size is None:
            return 16 * self.each
        if max(size) <= 384:
            return self.each
        width, height = _within(size, 3072)
        return math.ceil(width / 768) * math.ceil(height / 768) * self.each


class Levels(NamedTuple):
    """Gemini 3: by the resolution that is asked for, whatever the size."""

    by_detail: Mapping[str, int]
    default: int

    def tokens(self, size: Size | None, detail: str) -> int:
        """See `Formula`."""
        return self.by_detail.get(detail, self.default)


def _within(size: Size, edge: int) -> Size:
    width, height = size
    longer = max(width, height)
    return (max(width * edge // longer, 1), max(height * edge // longer, 1)) if longer > edge else size


_GEMINI_3: Final = {"low": 280, "medium": 560, "high": 1120, "ultra_high": 2240}
_GPT_4O: Final = Tiles(85, 170)

FORMULAS: Final[Prefixes[Formula]] = Prefixes(
    {
        "gpt-4o-mini": Tiles(2833, 5667),
        "gpt-4.1-mini": Patches(162),
        "gpt-4.1-nano": Patches(246),
        **dict.fromkeys(("o4-mini", "codex-mini"), Patches(172)),
        **dict.fromkeys(("o1", "o3"), Tiles(75, 150)),
        "gpt-5": Tiles(70, 140),
        **dict.fromkeys(("gpt-5-mini", "gpt-5.4-mini"), Patches(162)),
        **dict.fromkeys(("gpt-5-nano", "gpt-5.4-nano"), Patches(246)),
        **dict.fromkeys(("gpt-5.2", "gpt-5.3"), Patches(120)),
        "gpt-5.4": Patches(120, 2500),
        "computer-use": Tiles(65, 129),
        "claude": Area(1568, 1600),
        **dict.fromkeys(CLAUDE_FROM_OPUS_4_7, Area(2576, 4784)),
        **dict.fromkeys(("gemini", "gemma", "learnlm"), Squares()),
        "gemini-3": Levels(_GEMINI_3, 1120),
    },
    _GPT_4O,  # of which most others' APIs are copies
)


def image_tokens(model: str, size: Size | None, detail: str = "") -> int:
    """Return what an image takes; of the largest image there is where `size` is None.

    `detail` is what the request says of it: `low`, `high`, `auto`, or for Gemini 3 its media resolution; empty: nothing.
    """
    if size is not None and min(size) <= 0:
        size = None
    return FORMULAS[model].tokens(size, detail)

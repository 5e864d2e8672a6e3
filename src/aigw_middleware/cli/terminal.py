"""Text on a terminal: aligned tables that know how wide characters are and wrap to the window; JSON for machines.

Colour only where a person looks: on a terminal, without `NO_COLOR` (https://no-color.org), not for `TERM=dumb`. Text
that goes into a file or a pipe is not wrapped, so that one line of it is one thing to search for. Control characters,
which could come from a configuration file and would be obeyed by a terminal, are shown, not sent.

Source: Unicode Standard Annex #11 (East Asian Width).
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

GAP: Final = "  "  # between two columns
NARROWEST: Final = 8  # cells below which text is not indented, nor a second half written beside a first
PROSE: Final = 36  # cells that a column of sentences has at least beside the others; else it stands below its row
LONGEST: Final = 30  # cells up to which a word is not torn by a narrow column
_EMOJI_STYLE: Final = "\ufe0f"  # makes the character before it an emoji, two cells wide
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def printable(text: str) -> str:
    """Return `text` with what is no character to look at escaped: controls, bidirectional marks, surrogates."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _shown(char) else char.encode("unicode_escape").decode() for char in text)


def _shown(char: str) -> bool:
    # Cf holds the joiners of emoji and scripts, which are needed, and the marks that turn the direction of text around.
    category = unicodedata.category(char)
    return category not in ("Cc", "Cs", "Zl", "Zp") and (category != "Cf" or char in "\u200c\u200d")


def width(text: str) -> int:
    """Return how many cells `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(size for _, size in _clusters(text))


def _clusters(text: str) -> Iterator[tuple[str, int]]:
    """Yield what may not be torn apart, a character with the marks and joiners that follow it, and its cells."""
    cluster, size, joined = "", 0, False
    for char in text:
        if cluster and (joined or _joins(char)):
            joined = char == "\u200d"
            cluster += char
            if char == _EMOJI_STYLE:
                size = 2
            continue
        if cluster:
            yield cluster, size
        cluster, joined = char, False
        size = 0 if _joins(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
    if cluster:
        yield cluster, size


def _joins(char: str) -> bool:
    return unicodedata.category(char) in ("Mn", "Me", "Cf")


def wrap(text: str, limit: int | None) -> list[str]:
    """Return the lines of `text` at most `limit` cells wide: broken between words, inside one only if it must be."""
    if limit is None or width(text) <= limit:
        return [text]
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width(joined) <= limit:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _torn(word, limit)
        lines += full
    return [*lines, line] if line or not lines else lines


def _torn(word: str, limit: int) -> list[str]:
    parts, part, size = [], "", 0
    for cluster, cells in _clusters(word):
        if part and size + cells > limit:
            parts.append(part)
            part, size = "", 0
        part += cluster
        size += cells
    return [*parts, part]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    """Whether its cells, numbers for the most part, end at the same place."""
    style: str = ""
    prose: bool = False
    """Whether it holds sentences, which may stand below the row where there is no room at its side. The last one only."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, and the lines of full width that stand below it."""

    cells: Sequence[object]
    notes: Sequence[str] = ()


class Terminal:
    """Writes to one stream. `limit` is the number of cells in a line, None: as long as need be."""

    def __init__(self, stream: TextIO, limit: int | None = None, *, colour: bool = False) -> None:
        self._stream = stream
        self.limit = limit
        self._colour = colour

    @classmethod
    def of(cls, stream: TextIO) -> Terminal:
        """Return the terminal that `stream` is; `COLUMNS` in the environment sets the width of a pipe too."""
        tty = stream.isatty()
        columns = os.environ.get("COLUMNS", "")
        limit = int(columns) if columns.isdigit() and int(columns) > 0 else None
        if limit is None and tty:
            limit = shutil.get_terminal_size().columns
        colour = tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(stream, limit, colour=colour)

    def styled(self, text: str, style: str) -> str:
        """Return `text` in a style (`bold`, `red`, ..., or several with spaces between) where colour is shown."""
        if not self._colour or not style or not text:
            return text
        return f"\033[{';'.join(_STYLES[name] for name in style.split())}m{text}\033[0m"

    def write(self, text: str) -> None:
        """Write one line as it is; what the stream's encoding does not have becomes `?`."""
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")

    def line(self, text: str = "", style: str = "", indent: int = 0) -> None:
        """Write a line of text, wrapped, its further lines indented like its first."""
        own = text.lstrip(" ")
        indent += len(text) - len(own)
        if self.limit is not None and self.limit - indent < NARROWEST:
            indent = 0
        limit = None if self.limit is None else self.limit - indent
        for part in wrap(printable(own), limit):
            self.write(f"{' ' * indent}{self.styled(part, style)}".rstrip())

    def prose(self, text: str) -> None:
        """Write paragraphs filled to the width; lines of examples (indented) and items of lists stay lines."""
        paragraph: list[str] = []
        for line in [*text.splitlines(), ""]:
            if paragraph and (not line or line[0] in " *-"):
                self.line(" ".join(paragraph))
                paragraph = []
            if line.startswith(" ") or not line:
                self.line(line)
            else:
                paragraph.append(line)

    def title(self, text: str) -> None:
        """Write the title of a section, after an empty line."""
        self.write("")
        self.line(text, "bold")

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write names and what belongs to them, the latter aligned."""
        known = [(printable(name), printable(text)) for name, text in pairs]
        indent = max((width(name) for name, _ in known), default=0) + len(GAP)
        if self.limit is not None and self.limit - indent < 2 * NARROWEST:
            for name, text in known:
                self.line(f"{name}: {text}")
            return
        limit = None if self.limit is None else self.limit - indent
        for name, text in known:
            head = self.styled(name, "dim") + " " * (indent - width(name))
            for part in wrap(text, limit):
                self.write(f"{head}{part}".rstrip())
                head = " " * indent

    def table(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Write a table. Columns that are empty in every row are left out; one that fits nowhere becomes a list."""
        cells = [[printable(str(cell)) for cell in row.cells] for row in rows]
        used = [number for number in range(len(columns)) if any(line[number] for line in cells)]
        columns = [columns[number] for number in used]
        cells = [[line[number] for number in used] for line in cells]
        below: list[str] = [""] * len(cells)
        sizes = self._sizes(columns, cells)
        if sizes is None and len(columns) > 1 and columns[-1].prose:
            columns = columns[:-1]
            below = [line.pop() for line in cells]
            sizes = self._sizes(columns, cells)
        if sizes is None:
            self._list(columns, cells, below, rows)
            return
        self._cells(columns, [column.title for column in columns], sizes, "dim")
        indent = min(sizes[0], len(GAP)) + len(GAP) if sizes else 0
        for line, text, row in zip(cells, below, rows, strict=True):
            self._cells(columns, line, sizes, "")
            if text:
                self.line(text, indent=indent)
            for note in row.notes:
                self.line(note, "dim", indent=indent)

    def _sizes(self, columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int] | None:
        """Return the width of each column, the widest squeezed first; None when there is no room for a table."""
        sizes, least = [], []
        for number, column in enumerate(columns):
            texts = [column.title, *(line[number] for line in cells)]
            sizes.append(max(map(width, texts)))
            word = max(width(word) for text in texts for word in text.split(" "))
            least.append(min(sizes[-1], max(PROSE, word) if column.prose else min(word, LONGEST)))
        if self.limit is None:
            return sizes
        room = self.limit - len(GAP) * (len(sizes) - 1)
        while sum(sizes) > room:
            widest = max(range(len(sizes)), key=lambda number: sizes[number] if sizes[number] > least[number] else 0)
            if sizes[widest] <= least[widest]:
                return None
            sizes[widest] -= 1
        return sizes

    def _cells(self, columns: Sequence[Column], line: Sequence[str], sizes: Sequence[int], style: str) -> None:
        wrapped = [wrap(cell, size) for cell, size in zip(line, sizes, strict=True)]
        for number in range(max(map(len, wrapped), default=0)):
            parts = []
            for column, lines, size in zip(columns, wrapped, sizes, strict=True):
                text = lines[number] if number < len(lines) else ""
                space = " " * (size - width(text))
                shown = self.styled(text, style or column.style)
                parts.append(space + shown if column.right else shown + space)
            self.write(GAP.join(parts).rstrip())

    def _list(
        self, columns: Sequence[Column], cells: Sequence[Sequence[str]], below: Sequence[str], rows: Sequence[Row]
    ) -> None:
        for line, text, row in zip(cells, below, rows, strict=True):
            for column, cell in zip(columns, line, strict=True):
                if cell:
                    self.line(f"{column.title}: {cell}", column.style)
            for note in (text, *row.notes) if text else row.notes:
                self.line(note, "dim", indent=len(GAP))
            self.write("")

    def json(self, document: Mapping[str, Any]) -> None:
        """Write one JSON document, indented."""
        self.write(json.dumps(document, indent=2))

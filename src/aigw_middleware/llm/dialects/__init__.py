"""The API shapes that LLM calls come in: one file each, one table here."""

from __future__ import annotations

from .base import Dialect, Slot
from .openai_chat import OpenAIChat
from .unread import ANTHROPIC_MESSAGES, GEMINI, OPENAI_COMPLETIONS, OPENAI_EMBEDDINGS, OPENAI_RESPONSES

__all__ = ["DIALECTS", "Dialect", "DialectTable", "Slot"]

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        OpenAIChat(),
        OPENAI_COMPLETIONS,
        OPENAI_RESPONSES,
        OPENAI_EMBEDDINGS,
        ANTHROPIC_MESSAGES,
        GEMINI,
    )
}


class DialectTable:
    """Finds the dialect of a path by its suffix, in one look-up of the last segments."""

    __slots__ = ("_by_suffix", "_cache")

    MAX_CACHED_PATHS = 4_096

    def __init__(self) -> None:
        self._by_suffix = {suffix: dialect for dialect in DIALECTS.values() for suffix in dialect.suffixes}
        self._cache: dict[str, Dialect | None] = {}

    def of_path(self, path: str) -> Dialect | None:
        """Return the dialect whose suffix the path ends with, or None."""
        try:
            return self._cache[path]
        except KeyError:
            pass
        found = next((dialect for suffix, dialect in self._by_suffix.items() if path.endswith(suffix)), None)
        if len(self._cache) < self.MAX_CACHED_PATHS and len(path) < 200:
            self._cache[path] = found
        return found

    def style_of(self, path: str) -> str:
        """Return the error style of callers of that path."""
        dialect = self.of_path(path)
        return dialect.error_style if dialect is not None else "problem"

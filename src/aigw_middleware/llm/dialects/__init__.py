"""The API shapes that LLM calls come in: one file each, one table here."""

from __future__ import annotations

from typing import Any

from .anthropic import AnthropicMessages
from .base import Attachment, Dialect, Slot
from .gemini import Gemini
from .openai_chat import OpenAIChat
from .openai_completions import OpenAICompletions
from .openai_inputs import OpenAIEmbeddings, OpenAIMedia, OpenAIOther
from .openai_responses import OpenAIResponses
from .unread import Unread

__all__ = ["DIALECTS", "Attachment", "Dialect", "DialectTable", "Slot"]

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        AnthropicMessages(),  # before the chat completions, which any body with a model and messages could be
        OpenAIChat(),
        OpenAICompletions(),
        OpenAIResponses(),
        OpenAIEmbeddings(),
        OpenAIOther(),
        OpenAIMedia(),
        Gemini(),
        Unread(),
    )
}


class DialectTable:
    """Finds the dialect of a path by its suffix, in one look-up of the last segments."""

    __slots__ = ("_by_hint", "_by_suffix", "_cache")

    MAX_CACHED_PATHS = 4_096

    def __init__(self) -> None:
        self._by_suffix = {suffix: dialect for dialect in DIALECTS.values() for suffix in dialect.suffixes}
        self._by_hint = [(tuple(dialect.hints), dialect) for dialect in DIALECTS.values() if dialect.hints]
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

    def of_body(self, path: str, body: Any) -> Dialect | None:
        """Return the dialect that has the shape of a body, first those that the path hints at; None for none."""
        for hints, dialect in self._by_hint:
            if path.endswith(hints) and dialect.hint_within in path and dialect.hinted(body):
                return dialect
        return next((dialect for dialect in DIALECTS.values() if dialect.recognises(body)), None)

    def style_of(self, path: str) -> str:
        """Return the error style of callers of that path."""
        dialect = self.of_path(path)
        return dialect.error_style if dialect is not None else "problem"

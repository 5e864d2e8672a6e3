"""Dialects that are recognised, so that errors have their shape and guards know of them, but whose bodies are not read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import Dialect


class _Unread(Dialect):
    covered = False

    def __init__(self, name: str, error_style: str, suffixes: Sequence[str]) -> None:
        self.name = name  # type: ignore[misc]
        self.error_style = error_style
        self.suffixes = suffixes

    def __repr__(self) -> str:
        return f"<Dialect {self.name}>"

    def model(self, body: Any) -> str:
        return super().model(body)


OPENAI_COMPLETIONS = _Unread("openai-completions", "openai", ("/v1/completions",))
OPENAI_RESPONSES = _Unread("openai-responses", "openai", ("/v1/responses",))
OPENAI_EMBEDDINGS = _Unread("openai-embeddings", "openai", ("/v1/embeddings",))
ANTHROPIC_MESSAGES = _Unread("anthropic-messages", "anthropic", ("/v1/messages",))
GEMINI = _Unread("gemini", "gemini", (":generateContent", ":streamGenerateContent"))

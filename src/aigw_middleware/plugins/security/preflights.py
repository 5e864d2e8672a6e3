"""Answers to preflight requests, by what was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]

MAX_ANSWERS = 1_024  # preflights whose answer is remembered
MAX_ASKED_BYTES = 1_024  # of what one of them asks


class PreflightAnswers:
    """Answers by what was asked: pages ask the same again and again. Bounded; the first ones stay."""

    __slots__ = ("_answer", "_known")

    def __init__(self, answer: Callable[[bytes, bytes, bytes, bool], Fields]) -> None:
        self._answer = answer
        self._known: dict[tuple[bytes, bytes, bytes, bool], Fields] = {}

    def find(self, origin: bytes, method: bytes, names: bytes, private: bool) -> Fields:
        """Return the fields that answer a preflight."""
        key = (origin, method, names, private)
        fields = self._known.get(key)
        if fields is None:
            fields = self._answer(*key)
            size = len(origin) + len(method) + len(names)
            if len(self._known) < MAX_ANSWERS and size <= MAX_ASKED_BYTES:
                self._known[key] = fields
        return fields

    def __len__(self) -> int:
        return len(self._known)

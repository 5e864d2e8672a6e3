"""What the gateway recorded: the lines that `ai-statistics` writes into its log, one for each call, summed up."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from types import TracebackType
from typing import Any, Self

LOGGER = logging.getLogger("aigw_middleware.ai_log")
PATIENCE = 5.0  # seconds; a line is written when the answer has left, which its client may know before the log does


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one consumer to one model that were answered alike."""

    consumer: str
    model: str
    answer: str
    """`stream` or `normal`."""
    outcome: str
    calls: int
    input_tokens: int
    output_tokens: int
    first_token_ms: int | None
    """Mean over the calls, in milliseconds; None where there was none, as in whole answers."""


@dataclass(frozen=True, slots=True)
class TurnedDown:
    """The calls of one consumer that a plug-in answered in place of the service."""

    plugin: str
    consumer: str
    status: int
    calls: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """Everything recorded so far."""

    calls: Sequence[Calls]
    turned_down: Sequence[TurnedDown]

    @property
    def count(self) -> int:
        """The number of all calls."""
        return sum(item.calls for item in self.calls) + sum(item.calls for item in self.turned_down)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "calls": [asdict(item) for item in self.calls],
            "turned_down": [asdict(item) for item in self.turned_down],
        }


class Recorder(logging.Handler):
    """Keeps the lines of the log while the `with` block runs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[dict[str, Any]] = []
        self._written = threading.Condition()
        self._level = LOGGER.level

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        with self._written:
            self._lines.append(dict(record.__dict__["ai_log"]))
            self._written.notify_all()

    def __enter__(self) -> Self:
        LOGGER.addHandler(self)
        LOGGER.setLevel(logging.INFO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        LOGGER.removeHandler(self)
        LOGGER.setLevel(self._level)
        self.close()

    def recorded(self, calls: int = 0) -> Recorded:
        """Sum up, in the order in which each kind of call was first seen; waits a little until there are so many."""
        with self._written:
            self._written.wait_for(lambda: len(self._lines) >= calls, PATIENCE)
            lines = list(self._lines)
        groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
        turned_down: Counter[tuple[str, str, int]] = Counter()
        for line in lines:
            if "answered_by" in line:
                turned_down[line["answered_by"], line["consumer"], line.get("status", 0)] += 1
            else:
                key = (line["consumer"], line.get("model", ""), line.get("response_type", ""), line["outcome"])
                groups.setdefault(key, []).append(line)
        return Recorded(
            [_summed(key, group) for key, group in groups.items()],
            [TurnedDown(*key, calls) for key, calls in turned_down.items()],
        )


def _summed(key: tuple[str, str, str, str], lines: Sequence[dict[str, Any]]) -> Calls:
    first_tokens = [line["llm_first_token_duration"] for line in lines if "llm_first_token_duration" in line]
    return Calls(
        *key,
        calls=len(lines),
        input_tokens=sum(line.get("input_token", 0) for line in lines),
        output_tokens=sum(line.get("output_token", 0) for line in lines),
        first_token_ms=round(mean(first_tokens)) if first_tokens else None,
    )

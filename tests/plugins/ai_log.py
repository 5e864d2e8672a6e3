"""What `ai-statistics` logs during a test."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAME = "ai-statistics"


def statistics(**config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return {"name": NAME, "config": config}


class Log(logging.Handler):
    """The records of the AI log."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def only(self) -> dict[str, Any]:
        """The fields of the one record there is."""
        assert len(self.records) == 1
        found: dict[str, Any] = self.records[0].__dict__["ai_log"]
        return found


@contextmanager
def logging_to() -> Iterator[Log]:
    """Keep what is logged."""
    handler, logger = Log(), logging.getLogger("aigw_middleware.ai_log")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)

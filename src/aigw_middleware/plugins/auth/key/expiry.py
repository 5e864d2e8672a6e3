"""Keys that end: how their end is written, and what is kept of them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, TypeAlias

from pydantic import PlainSerializer, PlainValidator

from ....consumers import Consumer

NEVER = math.inf

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)  # RFC 3339, 5.6


class Expiring:
    """Whose a key is until it ends."""

    __slots__ = ("expires", "owner")

    def __init__(self, owner: Consumer | str, expires: float) -> None:
        self.owner = owner
        """A consumer, or only its name when nothing else is known of it."""
        self.expires = expires
        """Seconds since the epoch."""


def expiry(value: object) -> float:
    """Return a time that is written as RFC 3339 has it in seconds since the epoch. Raises ValueError."""
    return moment(value).timestamp()


def moment(value: object) -> datetime:
    """Return the time of an RFC 3339 text, or of a datetime with its offset, which YAML reads. Raises ValueError."""
    if isinstance(value, str) and _TIME.fullmatch(value) is not None:
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("should be a time with its offset from UTC, such as 2027-01-31T00:00:00Z (RFC 3339)")
    return value


Expiry: TypeAlias = Annotated[
    datetime,
    PlainValidator(moment, json_schema_input_type=datetime),
    PlainSerializer(datetime.isoformat, return_type=str),
]

"""How often a key may call, what its requests are taken from, and how callers are told.

Source: draft-ietf-httpapi-ratelimit-headers-10 for `RateLimit` and `RateLimit-Policy` (structured fields); RFC 9110,
section 10.2.3, for `Retry-After`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pydantic import field_validator, model_validator

from ...plugin import Field, PluginConfig
from ...state import Limit, Taken
from ..patterns import compile_pattern

UNITS = (("second", 1), ("minute", 60), ("hour", 3_600), ("day", 86_400))
"""Units of `query_per_*` and their seconds."""
_REGEXP = "regexp:"


class LimitKey(PluginConfig):
    """How often a key may call; several units hold together."""

    key: str = Field(min_length=1, description="Value: exact, `prefix*`, `regexp:` and an RE2 pattern, or `*`.")
    query_per_second: int | None = Field(None, gt=0, description="Requests per second.")
    query_per_minute: int | None = Field(None, gt=0, description="Requests per minute.")
    query_per_hour: int | None = Field(None, gt=0, description="Requests per hour.")
    query_per_day: int | None = Field(None, gt=0, description="Requests per day.")

    @field_validator("key")
    @classmethod
    def _compiles(cls, key: str) -> str:
        matcher(key)
        return key

    @model_validator(mode="after")
    def _limited(self) -> LimitKey:
        if not self.limits():
            raise ValueError("needs query_per_second, query_per_minute, query_per_hour or query_per_day")
        return self

    def limits(self) -> dict[str, Limit]:
        """Return the limits by unit."""
        counts = ((unit, period, getattr(self, f"query_per_{unit}")) for unit, period in UNITS)
        return {unit: Limit(count, period) for unit, period, count in counts if count is not None}


class Quota:
    """The limits of one entry of `limit_keys`, and how callers are told of them."""

    __slots__ = ("_policy", "limits")

    def __init__(self, limits: dict[str, Limit]) -> None:
        self.limits = tuple(limits.items())
        policies = (f'"{unit}";q={limit.capacity};w={limit.period:.0f}' for unit, limit in self.limits)
        self._policy = (b"ratelimit-policy", ", ".join(policies).encode())

    def bucket(self, identity: str) -> Bucket:
        """Return the bucket of one caller; the braces keep its units in one hash slot of a Redis cluster."""
        return Bucket(self, tuple((f"{{{identity}}}:{unit}", limit, 1) for unit, limit in self.limits))

    def fields(self, answers: Sequence[Taken]) -> list[tuple[bytes, bytes]]:
        """Return the fields that say what is left, and after a refusal when to come back, in whole seconds."""
        states = []
        wait = 0
        for (unit, _), taken in zip(self.limits, answers, strict=True):
            left, seconds = taken.remaining, math.ceil(taken.reset_after)
            if not taken.allowed:
                left, seconds = 0, max(1, math.ceil(taken.retry_after))
                wait = max(wait, seconds)
            states.append(f'"{unit}";r={left};t={seconds}')
        fields = [self._policy, (b"ratelimit", ", ".join(states).encode())]
        if wait:
            fields.append((b"retry-after", b"%d" % wait))
        return fields


class Bucket:
    """What the requests of one caller are taken from."""

    __slots__ = ("quota", "requests", "single")

    def __init__(self, quota: Quota, requests: tuple[tuple[str, Limit, int], ...]) -> None:
        self.quota = quota
        self.requests = requests
        """One for each unit, as `Store.take_all` wants them."""
        self.single = requests[0][:2] if len(requests) == 1 else None
        """Key and limit, as `Store.take` wants them, where there is one unit."""


def matcher(key: str) -> Callable[[str], object] | None:
    """Return a function that tells whether a value fits; None for an exact key. Raises ValueError."""
    if key.startswith(_REGEXP):
        return compile_pattern(key.removeprefix(_REGEXP)).search  # type: ignore[no-any-return]
    if key.endswith("*"):
        prefix = key[:-1]
        return lambda value: value.startswith(prefix)
    return None

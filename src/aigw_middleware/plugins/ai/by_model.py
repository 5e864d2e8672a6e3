"""Values by the model that is asked for: exact names, `prefix*` and `*`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class ByModel(Generic[T]):
    """Finds the value of a model: its exact name wins, then the longest prefix, then `*`."""

    __slots__ = ("_exact", "_lengths", "_prefixes")

    def __init__(self, values: Mapping[str, T]) -> None:
        self._exact = {name: value for name, value in values.items() if not name.endswith("*")}
        self._prefixes = {name[:-1]: value for name, value in values.items() if name.endswith("*")}
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)

    def get(self, model: str) -> T | None:
        """Return the value of a model; None where no name fits."""
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        for length in self._lengths:
            value = self._prefixes.get(model[:length])
            if value is not None:
                return value
        return None


def star_at_the_end(values: Mapping[str, T]) -> None:
    """Raise ValueError where a name has a `*` before its end."""
    for name in values:
        if "*" in name[:-1]:
            raise ValueError(f"{name!r} has a `*` that is not its end: only `prefix*` and `*` are patterns")

"""Paths into JSON: `choices.0.message.content`, `messages.@reverse.0.content`, `tools.#.function.name`.

A part of the paths that compatible gateways understand (GJSON): members and indexes with dots between, `#` for the
length of a list or, with something behind it, for each of its items, `@reverse`, and a backslash before a dot that is
part of a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

EACH: Final = "#"
REVERSE: Final = "@reverse"
_UNKNOWN: Final = "*?|!{}[]()"  # what has a meaning in GJSON and none here


class JsonPath:
    """A path, cut into steps once. Raises ValueError for what is not understood."""

    __slots__ = ("_steps",)

    def __init__(self, path: str) -> None:
        self._steps = _steps(path)

    def read(self, value: Any) -> Any:
        """Return what stands at the path in decoded JSON, or None."""
        return _read(value, self._steps)


def _steps(path: str) -> tuple[str, ...]:
    steps = [""]
    escaped = False
    for char in path:
        if escaped:
            steps[-1] += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ".":
            steps.append("")
        elif char in _UNKNOWN or (char == "@" and not steps[-1] and not _reverses(path, steps)):
            raise ValueError(f"{char!r} in a path is not understood: use members, indexes, `#` and `@reverse`")
        else:
            steps[-1] += char
    if not all(steps):
        raise ValueError("a path has a name between each two dots, such as `choices.0.message.content`")
    return tuple(steps)


def _reverses(path: str, steps: Sequence[str]) -> bool:
    return f".{path}.".count(f".{REVERSE}.") > steps.count(REVERSE)


def _read(value: Any, steps: Sequence[str]) -> Any:
    for number, step in enumerate(steps):
        if isinstance(value, dict):
            value = value.get(step)
        elif not isinstance(value, list):
            return None
        elif step == REVERSE:
            value = value[::-1]
        elif step == EACH:
            rest = steps[number + 1 :]
            if not rest:
                return len(value)
            return [found for item in value if (found := _read(item, rest)) is not None]
        else:
            value = value[int(step)] if step.isdecimal() and int(step) < len(value) else None
    return value

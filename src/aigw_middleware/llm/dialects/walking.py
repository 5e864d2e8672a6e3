"""Walking through decoded JSON that may be of any shape: what does not fit is passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ... import json as strict_json

MAX_DEPTH = strict_json.MAX_DEPTH  # levels that are searched for texts: all that a request may have


def dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; nothing for what is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def strings(value: Any, depth: int = MAX_DEPTH) -> Iterator[tuple[Any, Any]]:
    """Yield `(container, key)` of every string inside of `value`, which is an object or a list, names excepted."""
    if isinstance(value, (dict, list)) and depth > 0:
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            if isinstance(item, str):
                yield value, key
            else:
                yield from strings(item, depth - 1)


def descriptions(schema: Any, depth: int = MAX_DEPTH) -> Iterator[tuple[Any, Any]]:
    """Yield `(container, key)` of every description and title in a JSON Schema."""
    if depth <= 0:
        return
    if isinstance(schema, dict):
        for key, item in list(schema.items()):
            if isinstance(item, str):
                if key in ("description", "title"):
                    yield schema, key
            else:
                yield from descriptions(item, depth - 1)
    elif isinstance(schema, list):
        for item in schema:
            yield from descriptions(item, depth - 1)


def read_path(body: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path of member names; None where nothing does."""
    for name in path:
        if not isinstance(body, Mapping):
            return None
        body = body.get(name)
    return body


def write_path(body: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set what stands at a path of member names; objects on the way are made."""
    *names, last = path
    for name in names:
        inner = body.get(name)
        if not isinstance(inner, dict):
            inner = body[name] = {}
        body = inner
    body[last] = value

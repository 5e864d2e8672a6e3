"""A plug-in's configuration model as rows for people: name, type, default, description."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from pydantic import AliasChoices, BaseModel
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from ..config.secrets import Secret

MAX_DEPTH: Final = 4  # models inside models; deeper ones exist only where a model contains itself

_NAMES: Final[dict[Any, str]] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true/false",
    bytes: "text",
    type(None): "null",
    Any: "anything",
}
_LISTS: Final = (list, tuple, set, frozenset)


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One key of a configuration."""

    name: str
    """With the keys around it: `consumers[].name`."""
    type: str
    default: str
    """As one would write it in YAML; `required` when there is none."""
    description: str
    aliases: tuple[str, ...]
    """Other accepted spellings, besides camelCase."""


def rows_of(model: type[BaseModel], prefix: str = "", depth: int = 1) -> Iterator[FieldRow]:
    """Yield the fields of a model, each followed by those of the model inside it."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        kind, description = type_name(field.annotation), field.description or ""
        yield FieldRow(path, kind, default_of(field), description, aliases_of(name, field))
        if depth < MAX_DEPTH:
            for inner, suffix in _models_in(field.annotation, ""):
                yield from rows_of(inner, f"{path}{suffix}.", depth + 1)


def aliases_of(name: str, field: FieldInfo) -> tuple[str, ...]:
    """Return the other spellings of a key that are accepted, but for its camelCase."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return tuple(choice for choice in choices if isinstance(choice, str) and choice not in (name, to_camel(name)))


def default_of(field: FieldInfo) -> str:
    """Return a field's default as one would write it."""
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "computed"
    return _written(field.default)


def _written(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return value if value and value.isprintable() and value == value.strip() else repr(value)
    if isinstance(value, _LISTS):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, BaseModel):
        return "{}" if value == type(value).model_construct() else _written(value.model_dump(exclude_defaults=True))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_written(item)}' for key, item in value.items())}}}"
    return str(value)


def type_name(annotation: Any) -> str:
    """Return a type in the words of a configuration file."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if annotation in _NAMES:
        return _NAMES[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "|".join(_written(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(item) for item in arguments if item is not type(None)))
    if isinstance(origin, type) and issubclass(origin, (*_LISTS, Sequence)):
        items = [item for item in arguments if item is not Ellipsis]
        return f"list of {' or '.join(dict.fromkeys(map(type_name, items)))}" if items else "list"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"map of {type_name(arguments[-1])}" if arguments else "map"
    if isinstance(annotation, type):
        if issubclass(annotation, Enum):
            return "|".join(str(member.value) for member in annotation)
        if issubclass(annotation, _LISTS):
            return "list"
        if issubclass(annotation, (dict, BaseModel)):
            return "map"
        return "secret" if annotation is Secret else "text"  # a class that reads itself from a text
    return "anything"


def _models_in(annotation: Any, suffix: str) -> Iterator[tuple[type[BaseModel], str]]:
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return
    if isinstance(origin, type) and issubclass(origin, _LISTS):
        suffix += "[]"
    elif isinstance(origin, type) and issubclass(origin, dict):
        suffix += ".*"
    for argument in arguments:
        yield from _models_in(argument, suffix)

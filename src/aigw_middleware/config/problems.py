"""Validation errors as problems a person can act on: path, what is wrong, what would be right."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import Problem, nearest


def problems_of(error: ValidationError, path: str, model: type[BaseModel]) -> list[Problem]:
    """Return the problems of a validation error; values are never shown, they may be secrets."""
    problems = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        place = item["loc"]
        where = path
        for part in place:
            where = f"{where}[{part}]" if isinstance(part, int) else f"{where}.{part}" if where else str(part)
        if item["type"] == "extra_forbidden":
            name = str(place[-1])
            known = fields_at(model, place[:-1])
            hint = nearest(name, known) or (f"known keys: {', '.join(sorted(known))}" if known else "")
            problems.append(Problem(where, "unknown key", hint))
        elif item["type"] == "missing":
            problems.append(Problem(where, "is required"))
        else:
            problems.append(Problem(where, _message(item["msg"])))
    return problems


def _message(text: str) -> str:
    text = text.removeprefix("Value error, ").removeprefix("Input ")
    kind, should, rest = text.partition(" should ")
    return f"{kind.lower()} should {rest}" if should and kind.isalpha() else text


def fields_at(model: Any, place: tuple[Any, ...]) -> list[str]:
    """Return the keys that the model at `place` inside `model` knows."""
    for part in place:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        field = fields.get(part)
        if field is None:
            return []
        model = _model_in(field.annotation)
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None

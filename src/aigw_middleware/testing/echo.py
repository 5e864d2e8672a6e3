"""What a fake provider says when its script does not: something short that follows from the request alone."""

import json
from collections.abc import Mapping
from typing import Any

from .call import Call

NESTING = 32  # how deep a sample of a schema goes before it gives up on a schema that requires itself


def echo(call: Call) -> str:
    """A sentence that names the model and repeats the last user message; JSON where `response_format` asks for it.

    For `json_schema` the JSON is the smallest instance of the schema's required part that is easily found.
    """
    asked = (call.response_format or {}).get("type")
    if asked == "json_schema":
        wrapper = (call.response_format or {}).get("json_schema")
        schema = wrapper.get("schema") if isinstance(wrapper, Mapping) else None
        return json.dumps(sample(schema, schema), ensure_ascii=False)
    if asked == "json_object":
        return json.dumps({"model": call.model, "echo": call.last_user_text}, ensure_ascii=False)
    return f"This is {call.model}. You said: {call.last_user_text}"


def sample(schema: object, root: object, depth: int = 0) -> Any:
    """A small value that fits `schema`; references (`#/...`) are looked up in `root`.

    Knows what OpenAI's structured outputs allow: types, `enum`, `const`, `anyOf`, `$ref`, `minimum`, `minItems`; and
    types in capitals, as Gemini has them.
    """
    if not isinstance(schema, Mapping) or depth > NESTING:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if isinstance(schema.get("$ref"), str):
        return sample(_look_up(schema["$ref"], root), root, depth + 1)
    if schema.get("anyOf"):
        nullable = any(isinstance(one, Mapping) and one.get("type") == "null" for one in schema["anyOf"])
        return None if nullable else sample(schema["anyOf"][0], root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = "null" if "null" in kind else kind[0]
    kind = str(kind).lower()
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: sample(properties.get(name), root, depth + 1) for name in schema.get("required") or ()}
    if kind == "array":
        return [sample(schema.get("items"), root, depth + 1) for _ in range(schema.get("minItems") or 0)]
    if kind in ("integer", "number"):
        return schema.get("minimum") or 0
    return {"string": "text", "boolean": True}.get(kind)


def _look_up(reference: str, root: object) -> object:
    found = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step) if isinstance(found, Mapping) else None
    return found

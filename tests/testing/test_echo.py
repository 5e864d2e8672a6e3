"""What the fake provider says unscripted, and its samples of JSON Schemas."""

from typing import Any

import pytest

from aigw_middleware.testing.echo import echo, sample
from aigw_middleware.testing.openai_chat import ChatCall, words

TREE = {
    "$defs": {"node": {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": "boolean"}, True),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number"}, 0),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, None),
        ({"type": ["string", "integer"]}, "text"),
        ({"const": 7}, 7),
        ({"enum": ["a", "b"]}, "a"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "text"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, ["text", "text"]),
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {}}}, {"a": "text"}),
        ({"type": "object"}, {}),
        ({"$ref": "#/nowhere/at all"}, None),
        ({"$ref": "#"}, None),
        (None, None),
    ],
)
def test_samples_fit_their_schema(schema: Any, value: object) -> None:
    assert sample(schema, schema) == value


def test_a_schema_that_requires_itself_has_an_end() -> None:
    depth, value = 0, sample(TREE, TREE)
    while value is not None:
        depth, value = depth + 1, value["next"]
    assert depth > 1


def test_a_schema_without_schema_and_a_conversation_without_user() -> None:
    call = ChatCall("m", [{"role": "system", "content": "s"}], response_format={"type": "json_schema"})
    assert echo(call) == "null"
    assert echo(ChatCall("m", [{"role": "system", "content": "s"}])) == "This is m. You said: "


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n", "\u3000x\t", "a\n\n"])
def test_words_add_up_to_the_text(text: str) -> None:
    assert "".join(words(text)) == text

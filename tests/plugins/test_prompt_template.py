"""`ai-prompt-template`: prompts by name, and values that can be nothing but values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.plugins.ai.prompt_template import AiPromptTemplate
from aigw_middleware.testing.script import Answer
from tests.plugins.chat import Chat, example, problems

TRANSLATE = {
    "name": "translate",
    "template": {
        "model": "m",
        "temperature": "{{ temperature }}",
        "stop": "{{stop}}",
        "messages": [
            {"role": "system", "content": "Translate into {{language}}, {{language}}!"},
            {"role": "user", "content": [{"type": "text", "text": "{{text}}"}]},
        ],
    },
    "variables": {
        "language": {"enum": ["German", "French"], "default": "German"},
        "temperature": {"type": "number", "default": 0.2},
        "stop": {"type": "array", "default": ["END"], "max_length": 2},
    },
}


def entry(*templates: dict[str, Any], **config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return {"name": "ai-prompt-template", "config": {"templates": list(templates) or [TRANSLATE], **config}}


def sent(body: Any, *, status: int = 200, headers: Any = (), config: Any = None) -> Any:
    """What reaches the provider, or the error's code and message."""
    chat = Chat(config or entry(), answers=[Answer("x")])
    answer = chat.ask(body, headers=headers)
    assert answer.status == status
    if status == 200:
        return chat.received
    assert chat.provider.requests == []
    return answer.json()["error"]["code"], answer.json()["error"]["message"]


def test_a_template_with_its_defaults() -> None:
    assert sent({"template": "translate", "properties": {"text": "Hello"}}) == {
        "model": "m",
        "temperature": 0.2,
        "stop": ["END"],
        "messages": [
            {"role": "system", "content": "Translate into German, German!"},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        ],
    }


def test_values_of_every_type() -> None:
    body = sent(
        {
            "template": "translate",
            "properties": {"text": 7, "language": "French", "temperature": 1, "stop": ["a", "b"], "more": "x"},
        }
    )
    assert (body["temperature"], body["stop"]) == (1, ["a", "b"])
    assert body["messages"][0]["content"] == "Translate into French, French!"
    assert body["messages"][1]["content"][0]["text"] == "7"


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({}, "Property 'text' of prompt template 'translate' is missing."),
        ({"text": None}, "Property 'text' of prompt template 'translate' is missing."),
        (
            {"text": "x", "language": "Klingon"},
            "Property 'language' of prompt template 'translate' is none of German, French.",
        ),
        ({"text": "x", "language": 3}, "Property 'language' of prompt template 'translate' is not of type string."),
        (
            {"text": "x", "temperature": "1"},
            "Property 'temperature' of prompt template 'translate' is not of type number.",
        ),
        (
            {"text": "x", "temperature": True},
            "Property 'temperature' of prompt template 'translate' is not of type number.",
        ),
        ({"text": "x", "stop": ["a", "b", "c"]}, "Property 'stop' of prompt template 'translate' is longer than 2."),
        (["text"], "The properties of a prompt template are an object."),
    ],
)
def test_properties_that_do_not_fit(properties: Any, message: str) -> None:
    refused = sent({"template": "translate", "properties": properties}, status=400)
    assert refused == ("invalid_properties", message)


@pytest.mark.parametrize(
    ("name", "shown"), [("other", "'other'"), ("x" * 200, repr("x" * 100)), (7, "whose name is no text")]
)
def test_an_unknown_template(name: Any, shown: str) -> None:
    refused = sent({"template": name, "properties": {}}, status=400)
    assert refused == ("unknown_template", f"There is no prompt template {shown}.")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"model": "m", "messages": [], "template": "translate"}, ()),
        ({"model": "m", "messages": [], "properties": {}}, ()),
        ({"model": "m", "messages": [], "template": "translate", "properties": {}}, [("template-enable", "false")]),
    ],
)
def test_other_requests_are_left_alone(body: Any, headers: Any) -> None:
    chat = Chat(entry(), answers=[Answer("x")])
    chat.ask(body, headers=headers)
    assert chat.provider.requests[0].json == body


def test_what_the_caller_may_say_besides() -> None:
    asked = {"template": "translate", "properties": {"text": "x"}, "stream": True, "model": "dear", "user": "u"}
    assert {"stream", "model"} <= sent(asked).keys()
    assert (sent(asked)["stream"], sent(asked)["model"], "user" in sent(asked)) == (True, "m", False)
    kept = sent(asked, config=entry(keep=["user"]))
    assert (kept["user"], "stream" in kept) == ("u", False)


@given(text=st.text())
def test_a_value_is_a_value_whatever_it_says(text: str) -> None:
    template = {"name": "t", "template": {"model": "m", "messages": [{"role": "user", "content": "a {{x}} b"}]}}
    body = sent({"template": "t", "properties": {"x": text}}, config=entry(template))
    assert body == {"model": "m", "messages": [{"role": "user", "content": f"a {text} b"}]}


def test_a_value_with_a_placeholder_is_not_filled_in_again() -> None:
    template = {"name": "t", "template": {"model": "m", "messages": [{"role": "user", "content": "{{x}}{{y}}"}]}}
    body = sent({"template": "t", "properties": {"x": "{{y}}", "y": "secret"}}, config=entry(template))
    assert body["messages"][0]["content"] == "{{y}}secret"


def test_braces_in_two_texts_are_no_variable() -> None:
    template = {"name": "t", "template": {"model": "m", "messages": [{"role": "user", "content": "{{"}], "user": "}}"}}
    assert sent({"template": "t", "properties": {}}, config=entry(template))["user"] == "}}"


def test_a_guard_before_it_sees_the_values() -> None:
    masking = {"name": "ai-data-masking", "config": {"deny_words": ["secret"], "deny_code": 403}}
    chat = Chat(entry(), masking, answers=[Answer("x"), Answer("x")])
    assert chat.ask({"template": "translate", "properties": {"text": "a secret"}}).status == 403
    assert chat.provider.requests == []
    assert chat.ask({"template": "translate", "properties": {"text": "a word"}}).status == 200


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({"templates": []}, "", "has nothing to do: give it templates"),
        ({"templates": [TRANSLATE, TRANSLATE]}, "", "templates: translate is there more than once"),
        (
            {"templates": [{"name": "t", "template": {}, "variables": {"x": {}}}]},
            ".templates[0]",
            "declares x, which the template does not use",
        ),
        (
            {"templates": [{"name": "t", "template": {"a": "{{x}}"}, "variables": {"x": {"default": 3}}}]},
            ".templates[0].variables.x",
            "default is not of type string",
        ),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    assert problems({"name": "ai-prompt-template", "config": config}) == [(f"plugins[0].config{path}", message)]


def test_the_example() -> None:
    chat = Chat(*example(AiPromptTemplate)["plugins"], answers=[Answer("x")])
    assert chat.ask({"template": "translate", "properties": {"text": "Hello"}}).status == 200
    assert chat.received["temperature"] == 0.2

"""The official SDKs get through all plug-ins what the provider sent: outgoing and inbound, sync and async."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from aigw_middleware.testing.script import Answer, Style, ToolCall, Usage, UsageAt

from .apis import APIS, EVERY_API, SPEAKING, Api
from .setting import ASKED_MODEL, EVERY_PLACE, EVERYTHING, KIND, MODEL, Setting, logged
from .told import Told

TEXT = "It is warm:\n21 °C 😀."
USAGE = Usage(40, 17, cached_tokens=8, reasoning_tokens=5, cache_creation_tokens=3)
CALLS = (ToolCall("weather", {"city": 'Zürich "old town" \\ 😀'}), ToolCall("now"))
STYLES = {
    "interleaved": Style(interleave=True, keep_alive=1, usage_at="finish"),
    "as its provider writes it, but for line ends": Style(crlf=True, keep_alive=3, reasoning_text=True),
    "usage at the start": Style(usage_at="start", interleave=True),
    "usage with everything": Style(usage_at="every", crlf=True),
}


def script(api: Api, style: Style) -> list[Answer]:
    """For each form everything an answer can have.

    The SDK's helper for chats cannot read all of it: it parses a call's arguments when another one begins, and the usage
    of a chunk makes it forget that of the chunk before.
    """
    usage_at: UsageAt = "usual" if style.usage_at == "start" else style.usage_at
    readable = replace(style, interleave=False, usage_at=usage_at) if api.name == "chat" else style
    styles = [readable if form == "helper" else style for form in api.forms]
    return [Answer(TEXT, CALLS, "Let me see …", usage=USAGE, style=style) for style in styles]


def with_usage(api: Api) -> dict[str, Any]:
    """What asks a stream for usage, where it has to be asked for."""
    return {"stream_options": {"include_usage": True}} if api.name in ("chat", "completions") else {}


async def in_each_form(sdk: Any, api: Api, **members: Any) -> list[tuple[Told, list[Any]]]:
    """The same question in each form, streams with usage."""
    return [await api.ask(sdk, form, **members, **(with_usage(api) if form != "whole" else {})) for form in api.forms]


async def in_each_style(sdk: Any, api: Api, **members: Any) -> list[list[tuple[Told, list[Any]]]]:
    """The same question in each form, answered in each style."""
    return [await in_each_form(sdk, api, **members) for _ in STYLES]


@cache
def untouched(place: str, name: str) -> list[list[tuple[Told, list[Any]]]]:
    """What the SDK makes of the same answers with nothing before the provider."""
    api = next(api for api in APIS if api.name == name)
    direct = Setting(place, answers=[answer for style in STYLES.values() for answer in script(api, style)])
    told_back = {"instructions": KIND} if name == "responses" else {}  # by the API, as the plug-ins made it
    return direct.talk(api.maker, lambda sdk: in_each_style(sdk, api, model=MODEL, **told_back), strict=api.strict)


@EVERY_PLACE
@EVERY_API
def test_an_answer_is_what_the_provider_sent(place: str, api: Api) -> None:
    """Every object that the SDK makes of it is the one that it makes without the plug-ins, in every style."""
    answers = [answer for style in STYLES.values() for answer in script(api, style)]
    setting = Setting(place, EVERYTHING, answers=answers)
    found = setting.talk(api.maker, lambda sdk: in_each_style(sdk, api), strict=api.strict)
    for style, one, other in zip(STYLES, found, untouched(setting.direct, api.name), strict=True):
        for form, (told, objects), (_, expected) in zip(api.forms, one, other, strict=True):
            assert told == api.expected(answers[0]), (style, form)
            assert objects == expected, (style, form)


@EVERY_PLACE
@EVERY_API
def test_what_the_plugins_did_meanwhile(place: str, api: Api) -> None:
    """They saw each call: model, provider, prompt and record."""
    setting = Setting(place, EVERYTHING, answers=script(api, Style(usage_at="finish", keep_alive=1)))
    with logged() as lines:
        setting.talk(api.maker, lambda sdk: in_each_form(sdk, api))
    requests = setting.provider.requests
    assert len(requests) == len(api.forms)
    conversation = api.name not in ("completions", "embeddings")
    for request in requests:
        assert request.json["model"] == MODEL
        assert (request.header("x-provider"), request.header("x-model")) == ("acme", ASKED_MODEL)
        assert (KIND in request.body.decode()) is conversation
    assert [line["model"] for line in lines] == [MODEL] * len(requests)
    tokens = {(line["input_token"], line.get("output_token", 0), line["outcome"]) for line in lines}
    prompt = 29 if api.name == "messages" else 40  # Anthropic counts what its cache read and wrote apart
    assert tokens == {(prompt, 0 if api.name == "embeddings" else 17, "completed")}
    assert {line.get("answer") for line in lines} == ({None} if api.name == "embeddings" else {TEXT})
    broken = {plugin.name for exchange in setting.probe.ended for plugin in exchange.broken}
    assert broken == (set() if conversation else {"ai-prompt-decorator"})  # which has nothing to put messages into


@EVERY_PLACE
@SPEAKING
def test_what_a_plugin_holds_back_comes_in_the_end(place: str, api: Api) -> None:
    words = [TEXT + " Indeed", "see ... not", "zürich oldest", "now!"]
    masking = {"name": "ai-data-masking", "config": {"deny_words": words}}
    answers = script(api, STYLES["interleaved"])
    setting = Setting(place, [masking], answers=answers)
    for told, _ in setting.talk(api.maker, lambda sdk: in_each_form(sdk, api), strict=api.strict):
        assert told == api.expected(answers[0])


@EVERY_PLACE
@pytest.mark.parametrize("name", ["chat", "completions"])
@pytest.mark.parametrize("usage_at", ["usual", "finish", "every", "start"])
def test_usage_that_was_not_asked_for_is_not_told(place: str, name: str, usage_at: UsageAt) -> None:
    """It was asked for on the caller's behalf, so that statistics know it, wherever in the stream it stands."""
    api = next(api for api in APIS if api.name == name)
    answers = script(api, Style(usage_at=usage_at))[:1]
    setting = Setting(place, EVERYTHING, answers=answers)
    direct = Setting(setting.direct, answers=answers)
    with logged() as lines:
        told, objects = setting.talk("openai", lambda sdk: api.ask(sdk, "stream"), strict=api.strict)
    _, expected = direct.talk("openai", lambda sdk: api.ask(sdk, "stream", model=MODEL), strict=api.strict)
    (line,) = lines
    assert (line["input_token"], line["output_token"], line["usage_source"]) == (40, 17, "provider")
    assert told == replace(api.expected(answers[0]), usage=None)
    assert objects == expected


@EVERY_PLACE
@pytest.mark.parametrize("name", ["chat", "messages"])
@pytest.mark.parametrize("form", ["whole", "stream"])
def test_a_prompt_is_asked_for_by_its_name(place: str, name: str, form: str) -> None:
    api = next(api for api in APIS if api.name == name)
    template = {
        "name": "greet",
        "template": {
            "model": "{{model}}",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "Say {{word}}."}],
        },
    }
    config = {"templates": [template], "keep": ["stream"]}
    setting = Setting(place, [{"name": "ai-prompt-template", "config": config}])
    asked = {"template": "greet", "properties": {"word": '"hi"', "model": "m"}}
    told, _ = setting.talk(api.maker, lambda sdk: api.ask(sdk, form, extra_body=asked), strict=True)
    assert told.text == 'This is m. You said: Say "hi".'
    assert "tools" not in setting.provider.requests[0].json

"""Streams that a plug-in ends, or breaks, or that the provider breaks: what the official SDKs make of it."""

from dataclasses import replace
from functools import cache
from typing import Any

import anthropic
import openai
import pytest

from aigw_middleware import Exchange, Finish, Plugin, PluginConfig, Stage
from aigw_middleware.plugins.ai.statistics import AiStatistics
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.provider_hosts import Piece
from aigw_middleware.testing.script import (
    Answer,
    CutMidEvent,
    ErrorEvent,
    Garbage,
    ProviderError,
    RateLimited,
    RefuseConnection,
    Scripted,
    ToolCall,
)

from .apis import APIS, SPEAKING, Api
from .setting import EVERY_PLACE, EVERYTHING, MODEL, OUTGOING, Setting, logged
from .told import Told

SAID = "one two three four five"
ERRORS = (openai.APIError, anthropic.APIError)
ENDINGS = {
    "chat": {"content_filter": "content_filter", "length": "length", "stop": "stop"},
    "completions": {"content_filter": "content_filter", "length": "length", "stop": "stop"},
    "responses": {
        "content_filter": "incomplete content_filter",
        "length": "incomplete max_output_tokens",
        "stop": "completed",
    },
    "messages": {"content_filter": "refusal", "length": "max_tokens", "stop": "end_turn"},
}
"""What each API calls the reasons for which a plug-in ends an answer."""


ANSWERS = {
    "content": (Answer(SAID, reasoning="Hm."), Told("one two - no", "Hm.")),
    "reasoning": (Answer("Not reached.", reasoning=SAID), Told("", "one two - no")),
    "tool_arguments": (
        Answer("Well:", [ToolCall("weather", {"city": SAID}), ToolCall("now")], reasoning="Hm."),
        Told("Well:", "Hm.", ("weather",)),
    ),
}
"""What the provider says, and what is left of it where a plug-in ends it in a text of that kind."""
KINDS = [(api, kind) for api in APIS if "stream" in api.forms for kind in ANSWERS if kind in api.kinds]


class Breaks(Plugin[PluginConfig]):
    """Has a defect that shows in the middle of an answer."""

    name, stage = "breaks", Stage.DEFAULT
    on_failure = "deny"

    def on_text(self, exchange: Exchange, text: str, channel: Any) -> None:
        if "three" in text:
            raise LookupError("a secret")


class Ends(Plugin[PluginConfig]):
    """Ends answers where they come to three."""

    name, stage = "ends", Stage.DEFAULT
    kind, reason = "", ""

    def on_text(self, exchange: Exchange, text: str, channel: Any) -> Finish | None:
        before, found, _ = text.partition("three")
        return Finish(self.reason, before + "- no") if found and channel.kind == self.kind else None


def pieces_until_three(setting: Setting, answer: Answer) -> tuple[int, int]:
    """How many pieces the provider sends until it says three, and how many there are."""
    steps = FakeProvider([answer], clock=setting.clock).respond(setting.provider.requests[-1])
    pieces = [step.data for step in steps if isinstance(step, Piece)]
    return next(number for number, data in enumerate(pieces, 1) if b"three" in data), len(pieces)


# ---------------------------------------------------------------------- a plug-in that ends an answer


@EVERY_PLACE
@pytest.mark.parametrize(("api", "kind"), KINDS, ids=lambda value: getattr(value, "name", value))
def test_a_plugin_ends_an_answer(place: str, api: Api, kind: str) -> None:
    """All that it let out is there, nothing else, the reason is right, and the provider is not asked for more."""
    answer, expected = ANSWERS[kind]
    if api.name == "completions":
        expected = replace(expected, reasoning="")
    ends = Ends()
    ends.kind = kind
    setting = Setting(place, EVERYTHING, own=[ends], answers=[answer] * 9)

    async def asking(sdk: Any) -> None:
        for ends.reason, finish in ENDINGS[api.name].items():
            parses = api.maker == "openai" and (ends.reason != "stop" or kind == "tool_arguments")
            for form in api.forms[:2] if parses else api.forms:  # the helper raises for what it cannot parse: see below
                told, _ = await api.ask(sdk, form)
                named = tuple(name for name, _ in told.tools)
                said = replace(told, tools=named, usage=None)
                assert said == replace(expected, finish=finish), form
                assert "three" not in str(told), form
                assert_left(setting, answer, streamed=form != "whole")

    with logged() as lines:
        setting.talk(api.maker, asking)
    assert len(lines) == len(setting.provider.requests)
    assert {exchange.outcome for exchange in setting.probe.ended} == {"completed"}


def assert_left(setting: Setting, answer: Answer, *, streamed: bool) -> None:
    """Hold the provider to having been left when it said three, before it was asked for more."""
    request = setting.provider.requests[-1]
    until, total = pieces_until_three(setting, answer)
    assert request.outcome == ("disconnected" if streamed else "completed")
    if streamed:
        assert request.pieces_sent in (until - 1, until)  # the last one does not count where nobody waits for it
        assert until < total


@EVERY_PLACE
@pytest.mark.parametrize("name", ["chat", "responses"])
@pytest.mark.parametrize("reason", ["content_filter", "length"])
def test_a_helper_takes_it_as_it_takes_an_end_of_the_providers(place: str, name: str, reason: Any) -> None:
    """Those of OpenAI's SDK raise for an answer that was cut, whoever cut it."""
    api = next(api for api in APIS if api.name == name)
    ends = Ends()
    ends.kind, ends.reason = "content", reason
    setting = Setting(place, EVERYTHING, own=[ends], answers=[Answer(SAID)])
    direct = Setting(setting.direct, answers=[Answer("one", finish_reason=reason)])

    async def asking(sdk: Any) -> tuple[type[Exception], str, str]:
        seen: list[Any] = []
        with pytest.raises((openai.OpenAIError, RuntimeError)) as caught:
            await api.ask(sdk, "helper", seen=seen, tools=None)
        return type(caught.value), str(caught.value), seen[-1].type

    assert setting.talk("openai", asking) == direct.talk("openai", asking)


# ---------------------------------------------------------------------- a plug-in that breaks


@EVERY_PLACE
@SPEAKING
def test_a_plugin_breaks_in_an_answer(place: str, api: Api) -> None:
    """What had left is there, then the SDK raises; a whole answer is refused."""
    answer = Answer(SAID)
    setting = Setting(place, EVERYTHING, own=[Breaks()], answers=[answer] * 3)

    async def asking(sdk: Any) -> None:
        for form in api.forms:
            seen: list[Any] = []
            with pytest.raises(ERRORS) as caught:
                await api.ask(sdk, form, seen=seen)
            assert_plugin_failed(caught.value, api, form)
            if form == "stream":
                assert "one" in str(seen)
                assert " two" in str(seen)
                assert "three" not in str(seen)

    with logged() as lines:
        setting.talk(api.maker, asking)
    assert_left(setting, answer, streamed=True)
    assert [line["error"] for line in lines] == ["plugin_failed"] * len(api.forms)


def assert_plugin_failed(error: Any, api: Api, form: str) -> None:
    """Hold an exception to what the SDK makes of such an answer, or of an error in the middle of a stream."""
    message = "The gateway could not check this request. Try again later."
    assert message in error.message
    assert "a secret" not in str(error)
    if api.maker == "openai":
        expected: type[Exception] = openai.InternalServerError if form == "whole" else openai.APIError
        assert issubclass(type(error), expected)
        assert (error.code, error.type) == ("plugin_failed", "server_error")
        assert error.body == {"message": message, "type": "server_error", "param": None, "code": "plugin_failed"}
    else:
        assert isinstance(error, anthropic.InternalServerError if form == "whole" else anthropic.APIStatusError)
        assert error.body == {"type": "error", "error": {"type": "overloaded_error", "message": message}}


# ---------------------------------------------------------------------- a provider that breaks

FAULTS: tuple[Scripted, ...] = (
    ErrorEvent(after=2, message="Broken.", code="oops", answer=Answer(SAID)),
    ErrorEvent(after=0, message="Broken.", answer=Answer(SAID)),
    ProviderError(529, "Too much.", "overloaded_error"),
    RateLimited(retry_after=7, retry_after_ms=6500),
    ProviderError(404, "No such model.", "invalid_request_error", "model_not_found", param="model"),
    RefuseConnection(),  # for outgoing calls only: else it is the service that fails
)
UNREADABLE: tuple[Scripted, ...] = (CutMidEvent(after=2, answer=Answer(SAID)), Garbage())


@EVERY_PLACE
@SPEAKING
def test_a_failure_of_the_provider_is_told_as_it_is(place: str, api: Api) -> None:
    """The same exception as without plug-ins, after the same objects; statistics count it as a failure."""
    faults = FAULTS if place in OUTGOING else FAULTS[:-1]
    setting = Setting(place, EVERYTHING, answers=[fault for fault in faults for _ in api.forms])
    with logged() as lines:
        found = setting.talk(api.maker, lambda sdk: all_failures(sdk, api, len(faults)))
    assert found == untouched(setting.direct, api.name, FAULTS)[: len(faults)]
    count = len(faults) * len(api.forms)
    assert [bool(line["error"]) for line in lines] == [True] * count
    plugins = setting.exchange.snapshot.plugins
    counted = next(one for one in plugins if isinstance(one, AiStatistics)).counters.read().values()
    assert sum(series.failures for series in counted) == count


@EVERY_PLACE
@SPEAKING
def test_what_nobody_can_read_is_told_as_it_is_or_refused(place: str, api: Api) -> None:
    """It passes those who only watch; where a guard must see every answer, a whole one is a 502."""
    answers = [fault for fault in UNREADABLE for _ in api.forms]
    watching = [entry for entry in EVERYTHING if entry["name"] != "ai-data-masking"]
    setting, guarded = (Setting(place, plugins, answers=answers) for plugins in (watching, EVERYTHING))
    found = setting.talk(api.maker, lambda sdk: all_failures(sdk, api, len(UNREADABLE)))
    assert found == untouched(setting.direct, api.name, UNREADABLE)
    refused = guarded.talk(api.maker, lambda sdk: all_failures(sdk, api, len(UNREADABLE)))
    for (kind, status, code, *_), *_ in refused:
        assert issubclass(kind, (openai.InternalServerError, anthropic.InternalServerError))
        assert (status, code) == (502, "uncovered_answer" if api.maker == "openai" else None)


@cache
def untouched(place: str, name: str, faults: tuple[Scripted, ...]) -> list[Any]:
    """What the SDK makes of the same failures with nothing before the provider."""
    api = next(api for api in APIS if api.name == name)
    direct = Setting(place, answers=[fault for fault in faults for _ in api.forms])
    return direct.talk(api.maker, lambda sdk: all_failures(sdk, api, len(faults), model=MODEL))


async def all_failures(sdk: Any, api: Api, count: int, **members: Any) -> list[Any]:
    """What each form says of each of so many failures."""
    return [await failures(sdk, api, **members) for _ in range(count)]


async def failures(sdk: Any, api: Api, **members: Any) -> list[Any]:
    """What each form says of a failure: what came before it, and the exception."""
    told: list[Any] = []
    for form in api.forms:
        seen: list[Any] = []
        error: Any = None
        try:
            await api.ask(sdk, form, seen=seen, **members)
        except Exception as raised:
            error = raised
        kept = ("status_code", "code", "type", "param", "message", "body")
        told.append([type(error), *(getattr(error, name, None) for name in kept), len(seen)])
        response = getattr(error, "response", None)
        told.append(dict(response.headers) if response is not None and response.status_code != 200 else None)
    return told

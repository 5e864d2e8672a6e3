"""Each refusal raises in the official SDKs the class that their own provider's would raise, and says what it says."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest

from aigw_middleware import Exchange, Plugin, PluginConfig, Refusal, Stage
from aigw_middleware.testing.script import Answer

from .apis import APIS, Api
from .setting import EVERY_PLACE, KEY, OUTGOING, Setting

MAKERS = pytest.mark.parametrize("maker", ["openai", "anthropic"])
FIRST = {"openai": APIS[0], "anthropic": APIS[-1]}
FORM = pytest.mark.parametrize("form", ["whole", "stream"])
CONSUMERS = [{"name": "alice", "credential": KEY}, {"name": "bob", "credential": "bobs-example-key-4567"}]
KEYS = {"keys": ["x-api-key", "authorization"], "consumers": CONSUMERS}

OPENAI: dict[int, tuple[type[openai.APIStatusError], str]] = {
    400: (openai.BadRequestError, "invalid_request_error"),
    401: (openai.AuthenticationError, "authentication_error"),
    403: (openai.PermissionDeniedError, "permission_error"),
    404: (openai.NotFoundError, "not_found_error"),
    408: (openai.APIStatusError, "invalid_request_error"),
    409: (openai.ConflictError, "conflict_error"),
    413: (openai.APIStatusError, "request_too_large"),
    415: (openai.APIStatusError, "invalid_request_error"),
    422: (openai.UnprocessableEntityError, "invalid_request_error"),
    429: (openai.RateLimitError, "rate_limit_error"),
    500: (openai.InternalServerError, "server_error"),
    502: (openai.InternalServerError, "server_error"),
    503: (openai.InternalServerError, "server_error"),
    504: (openai.InternalServerError, "server_error"),
    529: (openai.InternalServerError, "server_error"),
}
"""By status: the class that is raised, and its `type`."""
ANTHROPIC: dict[int, tuple[type[anthropic.APIStatusError], str]] = {
    400: (anthropic.BadRequestError, "invalid_request_error"),
    401: (anthropic.AuthenticationError, "authentication_error"),
    402: (anthropic.APIStatusError, "billing_error"),
    403: (anthropic.PermissionDeniedError, "permission_error"),
    404: (anthropic.NotFoundError, "not_found_error"),
    408: (anthropic.APIStatusError, "invalid_request_error"),
    409: (anthropic.ConflictError, "conflict_error"),
    413: (anthropic.APIStatusError, "request_too_large"),
    415: (anthropic.APIStatusError, "invalid_request_error"),
    422: (anthropic.UnprocessableEntityError, "invalid_request_error"),
    429: (anthropic.RateLimitError, "rate_limit_error"),
    500: (anthropic.InternalServerError, "api_error"),
    502: (anthropic.InternalServerError, "api_error"),
    503: (anthropic.InternalServerError, "overloaded_error"),
    504: (anthropic.InternalServerError, "timeout_error"),
    529: (anthropic.InternalServerError, "overloaded_error"),
}
EXACTLY = {
    413: "RequestTooLargeError",
    503: "ServiceUnavailableError",
    504: "DeadlineExceededError",
    529: "OverloadedError",
}
"""Classes of Anthropic's SDK that it has in some place, and in some versions under another name beside."""


def assert_raised(error: Any, api: Api, status: int, code: str, message: str) -> None:
    """Hold an SDK's exception to what was refused."""
    table: dict[int, tuple[Any, str]] = {**(OPENAI if api.maker == "openai" else ANTHROPIC)}
    expected, kind = table[status]
    assert issubclass(type(error), expected)
    assert error.status_code == status
    assert message in error.message
    if api.maker == "openai":
        assert type(error) is expected
        assert (error.code, error.type, error.param) == (code, kind, None)
        assert error.body == {"message": error.body["message"], "type": kind, "param": None, "code": code}
        assert message in error.body["message"]
    else:
        specific = getattr(anthropic, EXACTLY.get(status, ""), None) or expected
        assert issubclass(type(error), specific)
        assert error.body["type"] == "error"
        assert error.body["error"]["type"] == kind
        assert message in error.body["error"]["message"]


async def refused(sdk: Any, api: Api, form: str, **members: Any) -> Any:
    """The exception that a question raises."""
    with pytest.raises((openai.APIError, anthropic.APIError)) as caught:
        await api.ask(sdk, form, **members)
    return caught.value


async def refused_everywhere(sdk: Any, maker: str, **members: Any) -> list[tuple[Api, Any]]:
    """The exceptions that the APIs of an SDK raise for whole answers and for streams."""
    mine = [api for api in APIS if api.maker == maker]
    return [(api, await refused(sdk, api, form, **members)) for api in mine for form in api.forms[:2]]


# ---------------------------------------------------------------------- every status


class Refuses(Plugin[PluginConfig]):
    """Refuses every request."""

    name, stage = "refuses", Stage.DEFAULT

    refusal: Refusal

    def on_request(self, exchange: Exchange) -> Refusal:
        return self.refusal


@EVERY_PLACE
@MAKERS
def test_every_status_has_its_class(place: str, maker: str) -> None:
    refuses = Refuses()
    setting = Setting(place, own=[refuses])

    async def asking(sdk: Any) -> None:
        for status in OPENAI if maker == "openai" else ANTHROPIC:
            refuses.refusal = Refusal(status, "not_now", "Not now.")
            for api, error in await refused_everywhere(sdk, maker):
                assert_raised(error, api, status, "not_now", "Not now.")

    setting.talk(maker, asking)
    assert setting.provider.requests == []


# ---------------------------------------------------------------------- refusals of plug-ins


@dataclass(frozen=True)
class Case:
    """A refusal: what is configured, and what raises it."""

    status: int
    code: str
    message: str
    plugins: tuple[Mapping[str, Any], ...] = ()
    top: Mapping[str, Any] = field(default_factory=dict)
    own: Callable[[], list[Plugin[Any]]] = list
    options: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    outgoing: bool = True
    """Whether it also makes sense in front of a provider."""


class Breaks(Plugin[PluginConfig]):
    """Has a defect."""

    name, stage = "breaks", Stage.DEFAULT
    on_failure = "deny"

    def on_request(self, exchange: Exchange) -> None:
        raise LookupError("a secret")


def nested(depth: int) -> Any:
    """A list in a list and so on."""
    return [nested(depth - 1)] if depth else []


UNKNOWN = ({"role": "user", "content": [{"type": "hologram", "text": "x"}]},)
MASKING = {"name": "ai-data-masking", "config": {"deny_words": ["xylophone"]}}
CASES = {
    "JSON that is nested too deep": Case(
        400, "invalid_json", "nested too deep", (MASKING,), members={"extra_body": {"deep": nested(300)}}
    ),
    "a shape that is not read": Case(
        400,
        "uncovered_call",
        "cannot read",
        (MASKING,),
        members={"extra_body": dict.fromkeys(("messages", "input", "prompt"), UNKNOWN)},
    ),
    "too long for the model": Case(
        400,
        "context_length_exceeded",
        "maximum context length is 3 tokens",
        ({"name": "ai-context-limit", "config": {"max_context_tokens": 3}},),
    ),
    "a denied word": Case(
        403,
        "content_filter",
        "Not here.",
        (
            {
                "name": "ai-data-masking",
                "config": {"deny_words": ["warm"], "deny_code": 403, "deny_message": "Not here."},
            },
        ),
    ),
    "an unknown key": Case(
        401,
        "invalid_api_key",
        "Invalid API key",
        ({"name": "key-auth", "config": KEYS},),
        options={"api_key": "somebody-elses-key-01"},
        outgoing=False,
    ),
    "a key without the right": Case(
        403,
        "unauthorized_consumer",
        "Unauthorized consumer",
        ({"name": "key-auth", "config": {**KEYS, "allow": ["bob"]}},),
        outgoing=False,
    ),
    "a body that is too large": Case(
        413,
        "request_too_large",
        "larger than this service accepts",
        (MASKING,),
        top={"max_body_bytes": 1_000},
        members={"extra_body": {"padding": "x" * 1_000}},
    ),
    "a plug-in that broke": Case(503, "plugin_failed", "could not check", own=lambda: [Breaks()]),
}


@EVERY_PLACE
@MAKERS
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_refusal_of_a_plugin(place: str, maker: str, case: Case) -> None:
    if place in OUTGOING and not case.outgoing:
        place = {"outgoing-async": "asgi", "outgoing-sync": "wsgi"}[place]
    setting = Setting(place, case.plugins, own=case.own(), **case.top)
    errors = setting.talk(maker, lambda sdk: refused_everywhere(sdk, maker, **case.members), **case.options)
    for api, error in errors:
        assert_raised(error, api, case.status, case.code, case.message)
        assert "a secret" not in str(error)
    assert setting.provider.requests == []


@EVERY_PLACE
@MAKERS
@FORM
def test_a_deadline(place: str, maker: str, form: str) -> None:
    timeout = {"name": "timeout", "config": {"first_byte": 5}}
    waits = place in ("asgi", "outgoing-async")
    setting = Setting(place, [timeout], answers=[Answer("late", delay_response=math.inf if waits else 6)])
    api = FIRST[maker]
    error = setting.talk(maker, lambda sdk: refused(sdk, api, form), passing=(4, 2))
    assert_raised(error, api, 504, "upstream_timeout", "upstream request timeout")


# ---------------------------------------------------------------------- when to come back


@EVERY_PLACE
@MAKERS
@FORM
def test_the_sdk_comes_back_when_it_was_told_to(
    place: str, maker: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without retries it raises and tells when; with one it waits as long as that, which is long enough."""
    limits = {"limit_by_header": "authorization", "limit_keys": [{"key": "*", "query_per_minute": 4}]}
    setting, api = Setting(place, [{"name": "key-rate-limit", "config": limits}]), FIRST[maker]
    slept = sleeping(setting, maker, monkeypatch)

    async def asking(sdk: Any) -> Any:
        for _ in range(4):
            await api.ask(sdk, form)
        error = await refused(sdk.with_options(max_retries=0), api, form)
        await api.ask(sdk, form)
        return error

    error = setting.talk(maker, asking, max_retries=1)
    assert_raised(error, api, 429, "rate_limited", "Too many requests")
    assert error.response.headers["retry-after"] == "15"
    assert slept == [15]
    assert [exchange.outcome == "refused" for exchange in setting.probe.ended] == [*[False] * 4, True, True, False]
    assert len(setting.provider.requests) == 5


def sleeping(setting: Setting, maker: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the SDK sleep in virtual time. Returns how long it slept each time."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        setting.clock.advance(seconds)

    async def sleep_async(seconds: float) -> None:
        sleep(seconds)

    base: Any = openai._base_client if maker == "openai" else anthropic._base_client
    monkeypatch.setattr(base, "time", SimpleNamespace(sleep=sleep, time=setting.clock.now, time_ns=time.time_ns))
    monkeypatch.setattr(base, "anyio", SimpleNamespace(sleep=sleep_async))
    return slept

"""Configuration to stacks: rules, problems, secrets, directions, shadow, upstream spelling."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aigw_middleware import (
    ConfigError,
    Exchange,
    Field,
    Gateway,
    Needs,
    Plugin,
    PluginConfig,
    Refusal,
    Registry,
    Reply,
    Secret,
    Stage,
)
from aigw_middleware.config.loading import decode
from aigw_middleware.consumers import Consumer
from aigw_middleware.gateway import Core
from aigw_middleware.plugin import INBOUND, OUTBOUND
from aigw_middleware.testing import asgi_exchange


class MarkConfig(PluginConfig):
    value: str = Field("default", description="What to mark with.")
    extra_values: list[str] = Field([], description="More.")


class Mark(Plugin[MarkConfig]):
    """Marks the response with its configuration."""

    name, stage, priority = "mark", Stage.DEFAULT, 100

    def on_response(self, exchange: Exchange) -> None:
        assert exchange.response is not None
        exchange.response.headers.add("x-mark", self.config.value)


class IdentifyConfig(PluginConfig):
    header: str = "x-who"


class Identify(Plugin[IdentifyConfig]):
    """Believes a header; for tests only."""

    name, stage, priority, identifies = "identify", Stage.AUTHENTICATION, 310, True
    directions = frozenset({INBOUND})

    def on_request(self, exchange: Exchange) -> None:
        name = exchange.request.headers.get(self.config.header)
        if name:
            exchange.consumer = self.context.consumers.get(name) or Consumer(name)


class GuardConfig(PluginConfig):
    token: Secret = Field(description="A secret.")


class Guard(Plugin[GuardConfig]):
    """Refuses everybody, and edits all it can first."""

    name, stage, priority = "guard", Stage.AUTHORIZATION, 5

    def on_request(self, exchange: Exchange) -> Refusal:
        exchange.request.headers.set("x-edited", "1")
        exchange.attributes["edited"] = True
        return Refusal(403, "guarded", "No.")


class Body(Plugin[MarkConfig]):
    """Edits bodies."""

    name, stage, priority = "body", Stage.DEFAULT, 50

    def on_request_body(self, exchange: Exchange) -> None:
        exchange.request.edit()["edited"] = True


class Chatty(Plugin[MarkConfig]):
    """Needs LLM calls."""

    name, stage, priority, needs = "chatty", Stage.DEFAULT, 40, Needs.LLM

    def on_request_body(self, exchange: Exchange) -> Reply:
        assert exchange.llm is not None
        return Reply(200, [], exchange.llm.model.encode())


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    for plugin in (Mark, Identify, Guard, Body, Chatty):
        made.register(plugin)
    return made


async def app(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    headers = [(b"x-seen-" + name, value) for name, value in scope["headers"]]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": message.get("body", b"")})


def marks(
    gateway: Gateway, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b""
) -> list[str]:
    fields = [(name.encode(), value.encode()) for name, value in {"host": "api.example.com", **(headers or {})}.items()]
    result = asyncio.run(asgi_exchange(gateway, method=method, path=path, headers=fields, body=[body] if body else []))
    return [value.decode() for name, value in result.headers if name == b"x-mark"]


def problems(config: dict[str, Any], registry: Registry, **options: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        Core(config, registry=registry, **options)
    return {problem.path: f"{problem.message} {problem.hint}".strip() for problem in caught.value.problems}


def test_every_problem_at_once_with_its_path(registry: Registry) -> None:
    config = {
        "version": 2,
        "trusted_proxis": [],
        "max_body_bytes": "ten",
        "routes": [{"name": "a", "path_prefix": "/a"}, {"nam": "b"}],
        "plugins": [{"name": "mark", "config": {}, "rules": [{"match": {"rout": ["a"]}}]}],
    }
    found = problems(config, registry)
    assert found["trusted_proxis"] == "unknown key did you mean 'trusted_proxies'?"
    assert "10MB" in found["max_body_bytes"]
    assert found["routes[1].name"] == "is required"
    assert found["routes[1].nam"].endswith("did you mean 'name'?")
    assert found["plugins[0].rules[0].match.rout"].endswith("did you mean 'route'?")
    assert "version" in found


def test_plugin_problems_have_paths_into_the_file(registry: Registry) -> None:
    config = {
        "routes": [{"name": "chat", "path_prefix": "/chat"}],
        "plugins": [
            {"name": "marc"},
            {"name": "mark", "config": {"valu": "x"}},
            {"name": "mark", "id": "two", "rules": [{"match": {"route": ["caht"]}, "config": {"value": 5}}]},
            {"name": "guard", "config": {"token": "env:AIGW_TEST_MISSING"}},
            {"name": "mark", "id": "three", "rules": [{"match": {}}]},
        ],
        "outgoing": [{"name": "identify"}],
    }
    found = problems(config, registry)
    assert found["plugins[0].name"].endswith("did you mean 'mark'?")
    assert found["plugins[1].config.valu"] == "unknown key did you mean 'value'?"
    assert found["plugins[2].rules[0]"].endswith("did you mean 'chat'?")
    assert "should be a valid string" in found["plugins[2].rules[0].config.value"]
    assert "AIGW_TEST_MISSING is not set" in found["plugins[3].config.token"]
    assert "matches nothing" in found["plugins[4].rules[0].match"]
    assert "inbound exchanges only" in found["outgoing[0].name"]


def test_problems_of_the_file_and_of_its_plug_ins_come_together(registry: Registry) -> None:
    config = {
        "max_body": 3,
        "consumers": [{"nam": "a"}],
        "plugins": [
            {"name": "marc"},
            {"name": "mark", "shadw": True},
            {"name": "mark", "config": {"valu": "x"}},
        ],
    }
    assert set(problems(config, registry)) == {
        "max_body",
        "consumers[0].name",
        "consumers[0].nam",
        "plugins[0].name",
        "plugins[1].shadw",
        "plugins[2].config.valu",
    }


def test_values_never_appear_in_errors(registry: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        Core(
            {"secret": "canary-too-short", "plugins": [{"name": "guard", "config": {"token": 5, "canary-key": "x"}}]},
            registry=registry,
        )
    assert "canary-too-short" not in str(caught.value)


def test_rules_first_match_wins_and_lies_over_the_config(registry: Registry) -> None:
    config = {
        "routes": [
            {"name": "chat", "path_prefix": "/v1/chat", "methods": ["POST"]},
            {"name": "v1", "path_prefix": "/v1"},
        ],
        "plugins": [
            {
                "name": "mark",
                "config": {"value": "base", "extra_values": ["kept"]},
                "rules": [
                    {"match": {"route": ["chat"], "domain": ["*.example.com"]}, "config": {"value": "chat"}},
                    {"match": {"route": "v1"}, "enabled": False},
                    {"match": {"header": {"x-beta": "*"}}, "config": {"value": "beta"}},
                ],
            }
        ],
    }
    gateway = Gateway(app, config, registry=registry)
    assert marks(gateway, "/v1/chat/completions", "POST") == ["chat"]
    assert marks(gateway, "/v1/chat/completions", "POST", {"host": "other.org"}) == ["base"]
    assert marks(gateway, "/v1/chatter", "POST") == []
    assert marks(gateway, "/v2", headers={"x-beta": "yes"}) == ["beta"]
    assert marks(gateway, "/v2") == ["base"]
    first = gateway.core.snapshot.inbound.entries[0].variants[0]
    assert first.config == {"value": "chat", "extra_values": ["kept"]}


def test_rules_without_config_leave_the_rest_alone(registry: Registry) -> None:
    entry = {"name": "mark", "rules": [{"match": {"path": "/only"}, "config": {"value": "here"}}]}
    gateway = Gateway(app, {"plugins": [entry]}, registry=registry)
    assert marks(gateway, "/only") == ["here"]
    assert marks(gateway, "/else") == []


def test_upstream_rules_replace_and_follow_upstream_precedence(registry: Registry) -> None:
    rules = [
        {"_match_route_": ["chat"], "value": "route"},
        {"_match_domain_": ["*.example.com"], "extraValues": ["x"]},
        {"_match_domain_": ["off.org"], "_disable_": True},
    ]
    config = {
        "routes": [{"name": "chat", "path_prefix": "/chat"}],
        "plugins": [{"name": "mark", "config": {"value": "global", "_rules_": rules}}],
    }
    gateway = Gateway(app, config, registry=registry)
    assert marks(gateway, "/chat") == ["route"]
    assert marks(gateway, "/other") == ["default"]  # replaced, not laid over
    assert marks(gateway, "/other", headers={"host": "off.org:8443"}) == []
    assert marks(gateway, "/other", headers={"host": "example.org"}) == ["global"]
    found = problems(
        {"plugins": [{"name": "mark", "config": {"_rules_": [{"value": "x"}, {"_match_rout_": ["a"]}]}}]}, registry
    )
    assert "matches nothing" in found["plugins[0].config._rules_[0]"]
    assert "did you mean '_match_route_'?" in found["plugins[0].config._rules_[1]._match_rout_"]


def test_late_rules_are_looked_up_at_the_plug_ins_turn(registry: Registry) -> None:
    config = {
        "consumers": [{"name": "alice", "groups": ["staff"]}],
        "plugins": [
            {"name": "identify"},
            {
                "name": "mark",
                "config": {"value": "base"},
                "rules": [
                    {"match": {"path_prefix": "/v1", "consumer": ["bob"]}, "config": {"value": "bob on v1"}},
                    {"match": {"group": "staff"}, "config": {"value": "staff"}},
                    {"match": {"path": "/v1/plain"}, "config": {"value": "plain"}},
                    {"match": {"model": ["gpt-*"]}, "config": {"value": "gpt"}},
                ],
            },
        ],
    }
    gateway = Gateway(app, config, registry=registry)
    assert marks(gateway, "/v1/x", headers={"x-who": "bob"}) == ["bob on v1"]
    assert marks(gateway, "/v2/x", headers={"x-who": "bob"}) == ["base"]
    assert marks(gateway, "/v2/x", headers={"x-who": "alice"}) == ["staff"]
    assert marks(gateway, "/v1/plain") == ["plain"]
    chat = {"content-type": "application/json"}
    assert marks(gateway, "/v1/chat/completions", "POST", chat, b'{"model":"gpt-5","messages":[]}') == ["gpt"]
    assert marks(gateway, "/v1/chat/completions", "POST", chat, b'{"model":"other","messages":[]}') == ["base"]


def test_late_keys_before_they_can_be_known_are_refused(registry: Registry) -> None:
    config = {
        "plugins": [
            {"name": "identify"},
            {"name": "mark", "stage": "authorization", "rules": [{"match": {"consumer": ["a"]}, "config": {}}]},
            {
                "name": "mark",
                "id": "b",
                "stage": "authentication",
                "rules": [{"match": {"model": ["a"]}, "config": {}}],
            },
            {
                "name": "mark",
                "id": "c",
                "stage": "authentication",
                "priority": 1,
                "rules": [{"match": {"group": "g"}, "config": {}}],
            },
        ]
    }
    found = problems(config, registry)
    assert set(found) == {"plugins[1].rules[0].match.consumer", "plugins[2].rules[0].match.model"}


def test_secrets_print_as_their_reference(registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIGW_TEST_TOKEN", "canary-value")
    file = tmp_path / "token"
    file.write_text("canary-file\n")
    for reference, value in (
        ("env:AIGW_TEST_TOKEN", "canary-value"),
        (f"file:{file}", "canary-file"),
        ("canary-plain", "canary-plain"),
    ):
        core = Core({"plugins": [{"name": "guard", "config": {"token": reference}}]}, registry=registry)
        (plugin,) = core.snapshot.plugins
        assert plugin.config.token.reveal() == value
        shown = (
            repr(plugin.config)
            + str(plugin.config)
            + f"{plugin.config.token}"
            + plugin.config.model_dump_json()
            + repr(plugin)
        )
        assert value not in shown
        if ":" in reference:
            assert reference in shown


def test_shared_stores_need_a_secret(registry: Registry) -> None:
    assert "is required" in problems({"stores": {"default": "redis://localhost"}}, registry)["secret"]


def test_shadow_changes_nothing_and_records_all(registry: Registry) -> None:
    seen: list[Any] = []

    class Recorder(Plugin[PluginConfig]):
        name, stage, priority = "recorder", Stage.ROUTER, -5

        def on_complete(self, exchange: Exchange) -> None:
            seen.append((exchange.outcome, [(line.plugin, line.decision, line.reason) for line in exchange.records]))

    config = {
        "plugins": [
            {"name": "guard", "config": {"token": "x" * 20}, "shadow": True},
            {"name": "body", "shadow": True},
            {"name": "mark", "shadow": True, "config": {"value": "never"}},
        ]
    }
    gateway = Gateway(app, config, [Recorder()], registry=registry)
    fields = [(b"host", b"h"), (b"content-type", b"application/json")]
    result = asyncio.run(asgi_exchange(gateway, method="POST", headers=fields, body=[b'{"a": 1}']))
    assert (result.status, result.body) == (200, b'{"a": 1}')
    assert not {b"x-mark", b"x-seen-x-edited"} & {name for name, _ in result.headers}
    ((outcome, records),) = seen
    assert outcome == "completed"
    assert records == [
        ("guard", "would", "refuse: 403 guarded"),
        ("body", "would", "change"),
        ("mark", "would", "change"),
    ]


def test_a_plug_in_for_llm_calls_leaves_others_alone(registry: Registry) -> None:
    gateway = Gateway(app, {"plugins": [{"name": "chatty"}]}, registry=registry)
    fields = [(b"content-type", b"application/json")]

    def body(path: str, data: bytes, method: str = "POST") -> bytes:
        return asyncio.run(asgi_exchange(gateway, method=method, path=path, headers=fields, body=[data])).body

    assert body("/v1/chat/completions", b'{"model":"m","messages":[]}') == b"m"
    assert body("/own/path", b'{"model":"m","messages":[]}') == b"m"
    assert body("/own/path", b'{"model":"m"}') == b'{"model":"m"}'
    assert body("/v1/chat/completions", b"", "GET") == b""


def test_an_outgoing_side_must_be_there(registry: Registry) -> None:
    assert "is missing" in problems({"plugins": []}, registry, direction=OUTBOUND)["outgoing"]


def test_identity_headers_are_gone_before_any_hook(registry: Registry) -> None:
    gateway = Gateway(app, {"plugins": [{"name": "identify"}]}, registry=registry)
    spoofed = [
        (b"x-mse-consumer", b"root"),
        (b"x_mse_consumer", b"root"),
        (b"x-mse_consumer", b"root"),
        (b"x-kept", b"1"),
    ]
    result = asyncio.run(asgi_exchange(gateway, headers=spoofed))
    assert [name for name, _ in result.headers if name != b"x-seen-host"] == [b"x-seen-x-kept"]


def test_a_trusted_gateway_in_front_hands_over_the_consumer(registry: Registry) -> None:
    config = {
        "trust_identity_from": ["10.0.0.0/8"],
        "plugins": [{"name": "mark", "rules": [{"match": {"consumer": "alice"}, "config": {"value": "a"}}]}],
    }
    gateway = Gateway(app, config, registry=registry)

    def run(client: str) -> list[bytes]:
        result = asyncio.run(asgi_exchange(gateway, headers=[(b"x-mse-consumer", b"alice")], client=(client, 1)))
        return [name for name, _ in result.headers if name != b"x-seen-host"]

    assert run("10.1.2.3") == [b"x-seen-x-mse-consumer", b"x-mark"]
    assert run("192.0.2.1") == []


@pytest.mark.parametrize("path", ["/a%2fb", "/a/../b", "/a//b", "/a;x", "/a%00", "/%2e%2e/a", "/a\\b"])
def test_ambiguous_paths_are_refused_where_paths_are_matched(registry: Registry, path: str) -> None:
    config = {"routes": [{"name": "a", "path_prefix": "/a"}], "plugins": [{"name": "mark"}]}

    def status(config: dict[str, Any]) -> int | None:
        raw = path.encode()
        scope = {"raw_path": raw, "path": "/a/b"}
        return asyncio.run(asgi_exchange(Gateway(app, config, registry=registry), path="/a/b", scope=scope)).status

    assert status(config) == 400
    assert status({**config, "ambiguous_paths": "allow"}) == 200
    assert status({"plugins": [{"name": "mark"}]}) == 200


def test_keys_written_twice_are_refused() -> None:
    for suffix, text in ((".yaml", b"a: 1\na: 2\n"), (".json", b'{"a": 1, "a": 2}'), (".toml", b"a = 1\na = 2\n")):
        with pytest.raises(ConfigError, match=r"twice|overwrite|redefine"):
            decode(text, suffix, "file")


@pytest.mark.parametrize(
    ("suffix", "text"), [(".yaml", b"a: [1"), (".json", b"{"), (".toml", b"="), (".yaml", b"\xff"), (".yaml", b"- a")]
)
def test_broken_files_say_what_is_wrong(suffix: str, text: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(text, suffix, "gateway.conf")
    assert str(caught.value).startswith("gateway.conf: 1 problem")

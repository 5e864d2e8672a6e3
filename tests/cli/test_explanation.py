"""What `explain` says is what runs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.building import Builder
from aigw_middleware.cli.suspicions import covers
from aigw_middleware.config.loading import parse
from aigw_middleware.config.matching import Facts, Match, MatchIndex
from aigw_middleware.errors import ConfigError
from aigw_middleware.exchange import Exchange, Request
from aigw_middleware.explain import explain
from aigw_middleware.gateway import Core
from aigw_middleware.headers import Headers, InvalidHeader
from aigw_middleware.plugin import INBOUND, OUTBOUND, Needs, Plugin, PluginConfig
from aigw_middleware.registry import Registry
from aigw_middleware.snapshot import ANY_ROUTE

CHAT = "/v1/chat/completions"


@pytest.fixture
def snapshot_of(registry):
    def build(config, plugins=()):
        builder = Builder(parse(config), "configuration", str(Path()), registry, None)
        return builder.build({INBOUND: plugins}, {INBOUND})

    return build


def names(explanation):
    return [step.name for step in explanation.steps]


def entries(*plugin_names, **more):
    return {"plugins": [{"name": name} for name in plugin_names], **more}


def test_the_stack_is_sorted_with_a_reason_for_each_place(snapshot_of):
    config = entries("bare", "team-header", "token-count", "token-check", "digest-check", "page-rules")
    explanation = explain(snapshot_of(config), "POST", CHAT)
    assert [(step.place, step.name, step.reason) for step in explanation.steps] == [
        (1, "page-rules", "authorization is the first stage that has a plug-in here"),
        (2, "digest-check", "stage authentication comes after authorization"),
        (3, "token-check", "priority 310 comes after 330 of digest-check"),
        (4, "token-count", "stage default comes after authentication"),
        (5, "team-header", "priority 120 comes after 990 of token-count"),
        (6, "bare", "priority 5 comes after 120 of team-header"),
    ]
    assert [step.path for step in explanation.steps] == [f"plugins[{number}]" for number in (5, 4, 3, 2, 1, 0)]


def test_what_the_file_changes_about_the_order_is_said(snapshot_of):
    config = {
        "stage_order": ["authentication", "authorization", "statistics", "default"],
        "plugins": [
            {"name": "page-rules"},
            {"name": "token-check"},
            {"name": "team-header", "stage": "statistics", "priority": 5},
            {"name": "bare", "stage": "statistics"},
            {"name": "bare", "stage": "statistics", "id": "second"},
        ],
    }
    assert [(step.name, step.reason) for step in explain(snapshot_of(config)).steps] == [
        ("token-check", "authentication is the first stage that has a plug-in here"),
        ("page-rules", "stage authorization comes after authentication, as `stage_order` of the file has it"),
        ("bare", "stage statistics comes after authorization; the file sets its stage, its own is default"),
        ("bare", "like the bare before it: the order of the file decides; the file sets its stage, its own is default"),
        (
            "team-header",
            "priority 5 like bare: the name decides; the file sets its stage, its own is default; "
            "the file sets its priority, its own is 120",
        ),
    ]


def test_a_plugin_given_in_code_has_no_place_in_the_file(snapshot_of):
    class Given(Plugin[PluginConfig]):
        """Given in code."""

        name, priority = "given", 500

        def on_request(self, exchange):
            return None

    explanation = explain(snapshot_of(entries("team-header"), [Given()]))
    assert [(step.name, step.path, step.choice.label) for step in explanation.steps] == [
        ("given", "", "code"),
        ("team-header", "plugins[0]", "config"),
    ]


# ---------------------------------------------------------------------- rules

RULES = {
    "routes": [{"name": "chat", "path_prefix": "/v1/chat"}],
    "plugins": [
        {
            "name": "team-header",
            "config": {"header": "x-any"},
            "rules": [
                {"match": {"route": "chat", "domain": ["*.example.com", "localhost"]}, "config": {"header": "x-chat"}},
                {"match": {"method": "DELETE", "header": {"X-Secret": "hidden"}}, "enabled": False},
            ],
        }
    ],
}


def test_the_rule_that_was_chosen_and_why(snapshot_of):
    step = explain(snapshot_of(RULES), "POST", CHAT, {"host": "api.example.com"}).steps[0]
    assert (step.choice.label, step.choice.why) == ("rules[0]", "route=chat, domain=*.example.com|localhost")
    assert [(item.label, item.fate) for item in step.choice.considered] == [
        ("rules[0]", "chosen"),
        ("rules[1]", "not reached"),
        ("config", "not reached"),
    ]


def test_why_rules_do_not_match_without_showing_values_of_headers(snapshot_of):
    explanation = explain(snapshot_of(RULES), "POST", "/other", {"host": "example.com", "x-secret": "mine"})
    step = explanation.steps[0]
    assert (step.choice.label, step.choice.why) == ("config", "no rule matches")
    assert [(item.condition, item.why) for item in step.choice.considered[:2]] == [
        ("route=chat, domain=*.example.com|localhost", "route is *; domain is example.com"),
        ("method=DELETE, header x-secret", "method is POST; header x-secret is another"),
    ]
    assert "hidden" not in json.dumps(explanation.as_dict())
    assert "mine" not in json.dumps(explanation.as_dict())
    absent = explain(snapshot_of(RULES), "DELETE", "/other").steps[0].choice.considered
    assert [item.why for item in absent[:2]] == ["route is *; no domain is given", "header x-secret is absent"]


def test_a_rule_that_switches_off(snapshot_of):
    explanation = explain(snapshot_of(RULES), "DELETE", "/other", {"x-secret": "hidden"})
    assert names(explanation) == []
    absent = explanation.absent[0]
    assert (absent.name, absent.path) == ("team-header", "plugins[0]")
    assert absent.why == "rules[1] switches it off: method=DELETE, header x-secret"


def test_what_else_keeps_a_plugin_from_running(snapshot_of):
    config = {
        "plugins": [
            {"name": "team-header", "rules": [{"match": {"method": "GET"}}]},
            {"name": "bare", "enabled": False},
            {"name": "token-check"},
            {"name": "prompt-edit", "rules": [{"match": {"consumer": "bob"}, "enabled": False}]},
        ]
    }
    explanation = explain(snapshot_of(config))
    assert names(explanation) == ["token-check"]
    assert [(item.name, item.path, item.why) for item in explanation.absent] == [
        ("team-header", "plugins[0]", "no rule matches, and there is no `config` for the rest"),
        ("prompt-edit", "plugins[3]", "every rule that could apply switches it off"),
        ("bare", "plugins[1]", "the file switches it off: `enabled: false`"),
    ]


LATE = [
    {"match": {"consumer": ["bob", "alice"], "method": "POST"}, "config": {"header": "x-b"}},
    {"match": {"group": "staff", "method": "GET"}, "config": {"header": "x-c"}},
    {"match": {"model": ["gpt-5*"]}, "enabled": False},
]


def test_late_rules_are_decided_at_the_turn_of_the_plugin(snapshot_of):
    entry = {"name": "team-header", "config": {"header": "x-any"}, "rules": LATE}
    explanation = explain(snapshot_of({"plugins": [{"name": "token-check"}, entry]}))
    step = explanation.steps[1]
    assert (step.choice.label, step.choice.late) == ("", True)
    assert step.choice.why == (
        "decided at its turn by consumer=alice|bob (rules[0]); by model=gpt-5* (rules[2], off); else config"
    )
    assert [item.fate for item in step.choice.considered] == [
        "may be chosen",
        "does not match",
        "may be chosen",
        "may be chosen",
    ]
    assert step.hooks == ("on_request",)


def test_late_rules_without_a_rest(snapshot_of):
    entry = {"name": "team-header", "rules": LATE[:1]}
    step = explain(snapshot_of({"plugins": [{"name": "token-check"}, entry]})).steps[1]
    assert step.choice.why == "decided at its turn by consumer=alice|bob (rules[0]); else it does not run"


def test_late_rules_that_cannot_apply_leave_the_rest(snapshot_of):
    entry = {"name": "team-header", "config": {"header": "x-any"}, "rules": LATE[1:2]}
    step = explain(snapshot_of({"plugins": [{"name": "token-check"}, entry]})).steps[1]
    assert (step.choice.label, step.choice.why, step.choice.late) == ("config", "no rule matches", False)


def test_a_rule_by_model_makes_the_body_be_read(snapshot_of):
    entry = {"name": "team-header", "rules": LATE[2:], "config": {"header": "x-any"}}
    body = explain(snapshot_of({"plugins": [entry]}), "POST", CHAT).body
    assert (body.read, body.place, body.hook, body.wanted_by) == (True, 1, "on_request", ("team-header",))


# ---------------------------------------------------------------------- the body


def test_a_body_that_nobody_needs_is_not_read(snapshot_of):
    body = explain(snapshot_of(entries("token-check", "team-header")), "POST", CHAT).body
    assert (body.read, body.place, body.why, body.wanted_by) == (False, 0, "no plug-in needs it", ())


def test_in_the_gate_the_body_waits_for_all_header_checks(snapshot_of):
    explanation = explain(snapshot_of(entries("token-check", "digest-check")), "GET", "/any")
    body = explanation.body
    assert names(explanation)[body.place - 1] == "digest-check"
    assert (body.read, body.hook, body.wanted_by) == (True, "on_request_body", ("digest-check",))
    assert body.why == "after the header checks of the whole gate, in whatever order"
    assert body.limit == 10_000_000


def test_plugins_for_llm_calls_have_only_those_read(snapshot_of):
    snapshot = snapshot_of(entries("team-header", "prompt-edit"))
    body = explain(snapshot, "POST", CHAT).body
    assert (body.read, body.place, body.hook, body.why) == (True, 1, "on_request_body", "at its turn")
    for method, path in (("POST", "/other"), ("GET", CHAT)):
        body = explain(snapshot, method, path).body
        assert (body.read, body.why) == (False, "it is read for LLM calls only, and this is none")
    body = explain(snapshot, "POST", "/other", {"content-type": "application/json"}).body
    assert (body.read, body.why) == (True, "at its turn; its shape tells whether this is an LLM call")


def test_where_a_request_is_no_llm_call_only_the_others_have_its_body(snapshot_of):
    digest = {"name": "digest-check", "stage": "default", "priority": 7}
    snapshot = snapshot_of({"plugins": [{"name": "prompt-edit"}, {"name": "team-header"}, digest]})
    body = explain(snapshot, "POST", CHAT).body
    assert (body.place, body.wanted_by) == (1, ("prompt-edit", "digest-check"))
    body = explain(snapshot, "GET", "/any").body
    assert (body.place, body.hook, body.wanted_by) == (2, "on_request", ("digest-check",))


class AsksFirst(Plugin[PluginConfig]):
    """Say by the path whether the body matters; `/broken` breaks it."""

    name, priority = "asks-first", 500

    def wants_body(self, exchange):
        return exchange.request.path.startswith("/forms") or 1 // (exchange.request.path != "/broken") == 0

    def on_request_body(self, exchange):
        return None


def test_a_plugin_that_asks_first_is_asked(snapshot_of):
    snapshot = snapshot_of(entries("team-header"), [AsksFirst()])
    for path in ("/forms/1", "/broken"):
        body = explain(snapshot, "PUT", path).body
        assert (body.read, body.place, body.hook, body.why) == (True, 1, "on_request_body", "at its turn")
        assert body.wanted_by == ("asks-first",)
    body = explain(snapshot, "PUT", "/other").body
    assert (body.read, body.why, body.wanted_by) == (False, "by its path and headers no plug-in needs it", ())


def test_a_plugin_that_declines_is_not_the_first_to_see_the_body(snapshot_of):
    snapshot = snapshot_of(entries("prompt-edit"), [AsksFirst()])
    body = explain(snapshot, "POST", CHAT).body
    assert (body.place, body.wanted_by) == (2, ("prompt-edit",))
    json_type = {"content-type": "application/json"}
    assert "its shape tells" not in explain(snapshot, "POST", "/forms/1", json_type).body.why
    assert "its shape tells" in explain(snapshot, "POST", "/other", json_type).body.why


def test_to_count_tokens_the_body_is_read_last(snapshot_of):
    body = explain(snapshot_of(entries("token-count", "team-header")), "POST", CHAT).body
    assert (body.read, body.place) == (True, 0)
    assert body.why == "when every request hook has run, before the call"
    assert body.wanted_by == ("token-count",)


def test_a_plugin_that_may_call_twice_needs_the_body(snapshot_of):
    class Retry(Plugin[PluginConfig]):
        """Call again."""

        name, needs = "retry", Needs.REPLAY

        async def on_upstream(self, exchange, call):
            await call()

    body = explain(snapshot_of({}, [Retry()]), "GET", "/any").body
    assert (body.read, body.place, body.wanted_by) == (True, 0, ("retry",))


# ---------------------------------------------------------------------- facts


def test_the_caller_is_known_after_the_last_plugin_that_identifies(snapshot_of):
    caller = explain(snapshot_of(entries("token-check", "team-header"))).caller
    assert caller.value == "token-check"
    assert caller.why == "known when on_request of token-check has returned; anonymous before"
    caller = explain(snapshot_of(entries("team-header"))).caller
    assert (caller.value, caller.why) == ("", "anonymous: no plug-in of this stack identifies callers")


def test_a_trusted_gateway_hands_over_the_caller_and_others_do_not(snapshot_of):
    snapshot = snapshot_of(entries("team-header", trust_identity_from=["10.0.0.1"]))
    headers = [("X_Mse-Consumer", "eve"), ("x-mse-consumer", "bob"), ("accept", "*/*")]
    trusted = explain(snapshot, headers=headers, client="10.0.0.1")
    assert trusted.caller.why == "bob, as a gateway in front of this one says (`trust_identity_from`)"
    assert trusted.removed_headers == ("x-mse-consumer", "x_mse-consumer")
    assert explain(snapshot, headers=headers, client="10.0.0.2").caller.why.startswith("anonymous")


def test_outgoing_calls_inherit_the_caller(snapshot_of):
    explanation = explain(snapshot_of({"outgoing": [{"name": "team-header"}]}), direction=OUTBOUND)
    assert names(explanation) == ["team-header"]
    assert explanation.steps[0].path == "outgoing[0]"
    assert explanation.caller.why.startswith("inherited from the request")


def test_without_outgoing_there_is_nothing_to_explain(snapshot_of):
    with pytest.raises(ConfigError, match="outgoing: is missing"):
        explain(snapshot_of({}), direction=OUTBOUND)


@pytest.mark.parametrize(
    ("config", "method", "path", "dialect", "style"),
    [
        ({}, "POST", CHAT, "openai-chat", "openai"),
        ({}, "GET", CHAT, "", "openai"),
        ({}, "POST", "/v1/messages", "anthropic-messages", "anthropic"),
        ({}, "POST", "/other", "", "problem"),
        ({"error_format": "upstream"}, "POST", CHAT, "openai-chat", "upstream"),
        ({"routes": [{"name": "a", "path": "/a", "llm": "openai-chat"}]}, "POST", "/a", "openai-chat", "openai"),
        ({"routes": [{"name": "a", "path": "/a", "llm": "openai-chat"}]}, "GET", "/a", "", "openai"),
        ({"routes": [{"name": "a", "path_prefix": "/v1", "llm": "none"}]}, "POST", CHAT, "", "problem"),
    ],
)
def test_dialect_and_error_format(snapshot_of, config, method, path, dialect, style):
    explanation = explain(snapshot_of(config), method, path)
    assert (explanation.dialect.value, explanation.error_format.value) == (dialect, style)
    assert explanation.dialect.why
    assert explanation.error_format.why


def test_the_route_and_the_keys_that_chose_it(snapshot_of):
    config = {"routes": [{"name": "a", "path": "/a"}, {"name": "b", "path_regex": "^/b", "header": {"X-Team": "t"}}]}
    snapshot = snapshot_of(config)
    route = explain(snapshot, "GET", "/b%31?q=/a", {"x-team": "t"}).route
    assert (route.value, route.why) == ("b", "routes[1] is the first that matches: path_regex=^/b, header x-team")
    route = explain(snapshot, "GET", "/c").route
    assert (route.value, route.why) == ("*", "no route matches")
    assert explain(snapshot_of({}), "GET", "/c").route.why == "no routes are configured"


def test_the_client_behind_trusted_proxies(snapshot_of):
    snapshot = snapshot_of({"trusted_proxies": ["10.0.0.0/8"]})
    forwarded = {"x-forwarded-for": "203.0.113.9"}
    client = explain(snapshot, headers=forwarded, client="10.0.0.1").client
    assert (client.value, client.why) == ("203.0.113.9", "x-forwarded-for names it, and 10.0.0.1 is a trusted proxy")
    assert explain(snapshot, headers=forwarded, client="192.0.2.1").client.value == "192.0.2.1"
    assert explain(snapshot_of({}), headers=forwarded, client="10.0.0.1").client.value == "10.0.0.1"
    assert explain(snapshot).client.value == ""


def test_an_ambiguous_path_is_refused_where_something_matches_on_paths(snapshot_of):
    routes = [{"name": "a", "path_prefix": "/a"}]
    refusal = explain(snapshot_of({"routes": routes}), "GET", "/x/..%2fa").refusal
    assert (refusal.value, refusal.why) == ("400", "ambiguous_path: The path is ambiguous: an encoded slash.")
    allowed = snapshot_of({"routes": routes, "ambiguous_paths": "allow"})
    for snapshot, reason in ((allowed, "ambiguous_paths: allow"), (snapshot_of({}), "nothing here matches on paths")):
        refusal = explain(snapshot, "GET", "/x/..%2fa").refusal
        assert refusal.value == ""
        assert reason in refusal.why
    assert explain(snapshot_of({"routes": routes}), "GET", "/a").refusal.why == "the path has one meaning"


def test_shadow_is_said(snapshot_of):
    config = {"plugins": [{"name": "token-check", "shadow": True, "priority": 9}]}
    step = explain(snapshot_of(config)).steps[0]
    assert (step.shadow, step.identifies, step.hooks) == (True, True, ("on_request",))
    assert step.reason.endswith("the file sets its priority, its own is 310")


def test_hooks_and_needs(snapshot_of):
    count, edit = explain(snapshot_of(entries("prompt-edit", "token-count"))).steps
    assert (count.hooks, count.needs) == (("on_complete",), ("usage",))
    assert (edit.hooks, edit.needs) == (("on_request_body",), ("request_body", "llm"))


def test_bad_headers_are_refused(snapshot_of):
    with pytest.raises(InvalidHeader):
        explain(snapshot_of({}), headers={"a b": "c"})


def test_it_is_json(snapshot_of):
    explanation = explain(snapshot_of(RULES), "POST", CHAT)
    document = json.loads(json.dumps(explanation.as_dict()))
    assert document["steps"][0]["choice"]["considered"][0]["fate"] == "does not match"
    assert document["route"] == {"value": "chat", "why": "routes[0] is the first that matches: path_prefix=/v1/chat"}


# ---------------------------------------------------------------------- the same as what runs

VALUES = {
    "route": ["a", "b"],
    "path_prefix": ["/a", "/a/x", "/b"],
    "method": ["GET", "POST"],
    "domain": ["*", "a.b", "*.b"],
}
MATCHES = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 2), min_size=1).map(
    lambda chosen: {key: VALUES[key][number % len(VALUES[key])] for key, number in chosen.items()}
)
LATE_KEYS = st.sampled_from([{}, {}, {"consumer": "c"}, {"model": "m"}])
CONFIG_RULES = st.lists(st.tuples(MATCHES, LATE_KEYS, st.booleans()), max_size=5)


@given(
    CONFIG_RULES,
    st.booleans(),
    st.sampled_from(["/a", "/a/x/y", "/b", "/c"]),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["a.b", "c.b", ""]),
)
def test_what_is_explained_is_what_runs(rules, default, path, method, host):
    class Header(Plugin[PluginConfig]):
        """Do nothing, in a stage where late keys are allowed."""

        name = "header"

        def on_request(self, exchange):
            return None

    class Who(Plugin[PluginConfig]):
        """Identify."""

        name, identifies = "who", True

        def on_request(self, exchange):
            return None

    registry = Registry()
    registry.register(Header)
    registry.register(Who)
    config = {
        "routes": [{"name": "a", "path_prefix": "/a/x"}, {"name": "b", "domain": "c.b"}],
        "plugins": [
            {"name": "who", "priority": 900},
            {
                "name": "header",
                **({"config": {}} if default else {}),
                "rules": [{"match": {**match, **late}, "enabled": on} for match, late, on in rules],
            },
        ],
    }
    snapshot = Builder(parse(config), "configuration", ".", registry, None).build({}, {INBOUND})
    stacks = snapshot.sides[INBOUND]
    entry = stacks.entries[1]
    exchange = Exchange()
    exchange.snapshot, exchange.route, exchange.request = snapshot, ANY_ROUTE, Request()
    exchange.request.path, exchange.request.method = path, method
    exchange.request.headers = Headers([(b"host", host.encode())] if host else [])
    stack, _ = snapshot.admit(exchange, stacks)
    explanation = explain(snapshot, method, path, {"host": host} if host else {})
    assert names(explanation) == [plugin.name for plugin in stack.plugins]
    if len(stack.plugins) == 1:
        choice = explanation.absent[0]
        assert all(item.off or item.fate in ("does not match", "not reached") for item in choice.considered)
        return
    ran, choice = stack.plugins[1], explanation.steps[1].choice
    fates = {item.label: item.fate for item in choice.considered}
    if choice.late:
        assert [late for late, _ in ran.candidates] == [
            variant.late for variant in entry.variants if fates[variant.label] == "may be chosen"
        ]
    else:
        variant = entry.variants[list(entry.plugins).index(ran)]
        assert choice.label == variant.label
        assert fates[variant.label] == "chosen"


@given(
    MATCHES, MATCHES, st.sampled_from(["/a", "/a/x/y", "/b"]), st.sampled_from(["GET", "POST"]), st.sampled_from("ab")
)
def test_a_match_that_covers_another_matches_whatever_it_does(wide, narrow, path, method, route):
    wide, narrow = (Match(**{key: (value,) for key, value in match.items()}) for match in (wide, narrow))
    if not covers(wide, narrow):
        return
    facts = Facts(path, method, "a.b", route, {}.get)
    if MatchIndex([[narrow]]).choose(facts) == (0,):
        assert MatchIndex([[wide]]).choose(facts) == (0,)


@pytest.mark.parametrize(
    ("mode", "told"), [("any", "one of them is enough"), ("all", "each must let the caller in, as the same consumer")]
)
def test_what_several_ways_to_identify_oneself_add_up_to(mode: str, told: str) -> None:
    consumers = [{"name": "alice", "credential": "alice-example-key-0123"}]
    config = {
        "auth_mode": mode,
        "plugins": [
            {"name": "key-auth", "config": {"keys": ["x-api-key"], "consumers": consumers}},
            {"name": "basic-auth", "config": {"consumers": [{"name": "alice", "credential": "alice:a-long-password"}]}},
        ],
    }
    why = explain(Core(config), "GET", "/").caller.why
    assert f"Of basic-auth, key-auth, {told} (`auth_mode: {mode}`)" in why

"""`model-router`: what the headers say of a model, which one is chosen, and that nothing else is touched."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from aigw_middleware import INBOUND, OUTBOUND
from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.plugins.ai.model_field import PATH_VERBS, SUFFIXES
from aigw_middleware.plugins.ai.model_router import ModelRouter
from aigw_middleware.testing.script import Answer
from tests.plugins.chat import CUTS, Chat, example, problems, question, said
from tests.plugins.echo import Echo

PROVIDER, WHOLE, CHOSEN = "x-provider", "x-model", "x-higress-llm-model"
BOTH = {"add_provider_header": PROVIDER, "model_to_header": WHOLE}
FORGED = [(PROVIDER, "forged"), (WHOLE, "forged"), (WHOLE, "twice"), (CHOSEN, "forged")]
RULES = [
    {"pattern": "(?i)draw", "model": "painter"},
    {"pattern": "code|bug", "model": "coder"},
    {"pattern": "bug", "model": "never"},
]
AUTO = {"auto_routing": {"enable": True, "rules": RULES, "default_model": "general"}}
FORM = [("content-type", "multipart/form-data; boundary=cut")]
SPLIT = ("model-router", "changed", "the model's provider went from the body into a header")


def router(**config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return {"name": "model-router", "config": config}


def values(service: Echo, name: str) -> list[str]:
    """The values of a header that reached the service."""
    return [value.decode() for value in service.header(name)]


def form(model: str, *more: bytes) -> bytes:
    """A form with a picture and a model."""
    parts = [
        b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x00',
        b'Content-Disposition: form-data; name="model"\r\n\r\n' + model.encode(),
        *more,
    ]
    return b"".join(b"--cut\r\n" + part + b"\r\n" for part in parts) + b"--cut--\r\n"


@pytest.mark.parametrize(
    ("asked", "provider", "final"),
    [
        ("openai/gpt-4o", ["openai"], "gpt-4o"),
        ("a/b/c", ["a"], "b/c"),
        ("gpt-4o", [], "gpt-4o"),
        ("/gpt-4o", [], "/gpt-4o"),
        ("openai/", [], "openai/"),
        ("通/义", ["通"], "义"),
        ("higress/auto", ["higress"], "auto"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/chat/completions?a=/b"])
def test_a_provider_in_front_of_the_first_slash(path: str, asked: str, provider: list[str], final: str) -> None:
    service = Echo()
    chat = Chat(router(**BOTH), inner=service)
    assert chat.ask({"input": "x", "model": asked, "n": 1.50}, path=path, headers=FORGED).status == 200
    assert json.loads(service.body) == {"input": "x", "model": final, "n": 1.50}
    assert values(service, PROVIDER) == provider
    assert values(service, WHOLE) == [asked]
    assert values(service, CHOSEN) == ["forged"]  # no header of this configuration
    assert values(service, "content-length") == [str(len(service.body))]
    assert chat.records == ([SPLIT] if final != asked else [])


@pytest.mark.parametrize(
    ("config", "headers", "final"),
    [
        ({"add_provider_header": PROVIDER}, {PROVIDER: ["a"], WHOLE: ["own"]}, "b"),
        ({"model_to_header": WHOLE}, {PROVIDER: ["own"], WHOLE: ["a/b"]}, "a/b"),
        ({**BOTH, "keep_original_model_name": True}, {PROVIDER: ["a"], WHOLE: ["a/b"]}, "a/b"),
        ({"addProviderHeader": PROVIDER, "keepOriginalModelName": True}, {PROVIDER: ["a"]}, "a/b"),
        ({}, {PROVIDER: ["own"], WHOLE: ["own"]}, "a/b"),
    ],
)
def test_what_is_configured_is_done(config: dict[str, Any], headers: dict[str, list[str]], final: str) -> None:
    service = Echo()
    chat = Chat(router(**config), inner=service)
    body = b'{ "model": "a/b" }'
    chat.ask(body, path="/v1/rerank", headers=[(PROVIDER, "own"), (WHOLE, "own")])
    assert json.loads(service.body) == {"model": final}
    assert final != "a/b" or service.body == body
    assert {name: values(service, name) for name in headers} == headers
    assert chat.exchange.request.loaded is bool(config)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_of_the_compatible_gateways(suffix: str) -> None:
    service = Echo()
    Chat(router(**BOTH), inner=service).ask({"model": "a/b"}, path=f"/any{suffix}?model=c/d")
    assert json.loads(service.body) == {"model": "b"}
    assert values(service, WHOLE) == ["a/b"]


@pytest.mark.parametrize(
    ("path", "touched"),
    [("/v1/models", False), ("/v1/embeddings/", False), ("/v1/things?x=/embeddings", False), ("/v1/embeddings", True)],
)
def test_other_paths_are_left_alone(path: str, touched: bool) -> None:
    service = Echo()
    chat = Chat(router(**BOTH), inner=service)
    chat.ask({"model": "a/b"}, path=path, headers=FORGED)
    assert chat.exchange.request.loaded is touched
    assert json.loads(service.body)["model"] == ("b" if touched else "a/b")
    assert values(service, WHOLE) == (["a/b"] if touched else ["forged", "twice"])


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((), b""),
        ((), b'["a/b"]'),
        ((), b'"a/b"'),
        ((), b'{"model": ["a/b"]}'),
        ((), b'{"model": ""}'),
        ((), b'{"no": "a/b"}'),
        ((("content-type", "text/plain"),), b'{"model": "a/b"}'),
        ((("content-type", "multipart/mixed; boundary=cut"),), form("a/b")),
        ((("content-encoding", "unheard-of"),), b'{"model": "a/b"}'),
        (FORM, b""),
        ((*FORM, ("content-encoding", "gzip")), gzip.compress(form("a/b"))[:-9]),
        (FORM, b"--cut--\r\n"),
        (FORM, form("")),
    ],
)
def test_a_caller_never_writes_the_headers_of_a_path_it_works_on(headers: Any, body: bytes) -> None:
    service = Echo()
    chat = Chat(router(**BOTH, **AUTO), inner=service)
    assert chat.ask(body, path="/v1/rerank", headers=[*headers, *FORGED]).status == 200
    assert service.body == body
    assert [values(service, name) for name in (PROVIDER, WHOLE, CHOSEN)] == [[], [], []]


@pytest.mark.parametrize("body", [b'{"model": "m"', b'{"model": "m", "model": "a/b"}', b'{"model": "\xff"}'])
def test_json_that_two_readers_could_read_differently_is_refused(body: bytes) -> None:
    chat = Chat(router(**BOTH))
    answered = chat.ask(body)
    assert (answered.status, answered.json()["error"]["code"]) == (400, "invalid_json")
    assert chat.provider.requests == []


@pytest.mark.parametrize(("headers", "make"), [([], lambda m: b'{"model":"%s"}' % m.encode()), (FORM, form)])
def test_a_coded_body_is_routed_and_leaves_without_its_coding(headers: Any, make: Callable[[str], bytes]) -> None:
    service = Echo()
    body = gzip.compress(make("a/b"))
    Chat(router(**BOTH), inner=service).ask(body, path="/v1/rerank", headers=[*headers, ("content-encoding", "gzip")])
    assert service.body == make("b")
    assert (values(service, PROVIDER), values(service, "content-encoding")) == (["a"], [])


@pytest.mark.parametrize("headers", [[], FORM])
def test_an_unreadable_coding_passes_unless_the_operator_says_otherwise(headers: Any) -> None:
    coded: Any = {"path": "/v1/embeddings", "headers": [*headers, ("content-encoding", "unheard-of")]}
    chat = Chat(router(**BOTH), inner=Echo())
    assert chat.ask(b"\x1f\x8b", **coded).status == 200
    ((name, decision, reason),) = chat.records
    assert (name, decision) == ("model-router", "uncovered")
    assert reason.endswith("; policy: allow")
    strict = Chat({**router(**BOTH), "on_uncovered": "deny"}, inner=Echo())
    assert strict.ask(b"\x1f\x8b", **coded).status == 400


@pytest.mark.parametrize(
    ("model", "provider", "whole", "final"),
    [
        ("a\r\nx: b/c", [], [], "a\r\nx: b/c"),
        ("a/b\n", ["a"], [], "b\n"),
        (" a/b", [], [], " a/b"),
        ("a\t/b", [], [], "a\t/b"),
        ("a" * 1_025 + "/b", [], [], "a" * 1_025 + "/b"),
        ("a/" + "b" * 1_022, ["a"], ["a/" + "b" * 1_022], "b" * 1_022),
        ("a/" + "b" * 1_023, ["a"], [], "b" * 1_023),
    ],
)
def test_headers_hold_what_headers_can_hold(model: str, provider: list[str], whole: list[str], final: str) -> None:
    service = Echo()
    chat = Chat(router(**BOTH), inner=service)
    chat.ask({"model": model}, path="/v1/rerank", headers=FORGED)
    assert (values(service, PROVIDER), values(service, WHOLE)) == (provider, whole)
    assert json.loads(service.body) == {"model": final}
    skipped = [reason for _, decision, reason in chat.records if decision == "skipped"]
    names = [name for name, values in ((WHOLE, whole), (PROVIDER, provider)) if not values]
    assert skipped == [f"the model is no value for header {name}" for name in names]


@pytest.mark.parametrize(
    ("body", "final"),
    [({"request": {"model": "a/b", "n": 1}}, {"request": {"model": "b", "n": 1}}), ({"request": "a/b"}, None)],
)
def test_a_model_inside_another_member(body: Any, final: Any) -> None:
    service = Echo()
    config = {"modelKey": "request.model", "addProviderHeader": PROVIDER, "enableOnPathSuffix": ["*"]}
    Chat(router(**config), inner=service).ask(body, path="/anything")
    assert json.loads(service.body) == (final or body)


# ---------------------------------------------------------------------- forms


@pytest.mark.parametrize(("asked", "provider", "final"), [("openai/dall-e/2", ["openai"], "dall-e/2"), ("x", [], "x")])
def test_a_form_is_rewritten_in_the_one_part(asked: str, provider: list[str], final: str) -> None:
    service = Echo()
    chat = Chat(router(**BOTH), inner=service)
    chat.ask(form(asked), path="/v1/images/generations", headers=[*FORM, *FORGED])
    assert service.body == form(final)
    assert (values(service, PROVIDER), values(service, WHOLE)) == (provider, [asked])
    assert values(service, "content-length") == [str(len(service.body))]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no form", "it does not begin with its boundary"),
        (form("a/b")[:-4], "a line goes on after the boundary"),
        (form("a/b", b'Content-Disposition: form-data; name="model"\r\n\r\nc/d'), "it has the field model twice"),
        (form("a/--cut"), "its boundary stands where no line of its own begins"),
        (form("a/b\r\nc"), "a field would hold a line break or the boundary"),
    ],
)
def test_a_form_that_two_readers_could_read_differently_is_refused(body: bytes, reason: str) -> None:
    chat = Chat(router(**BOTH))
    answered = chat.ask(body, headers=FORM)
    error = answered.json()["error"]
    assert (answered.status, error["code"]) == (400, "invalid_form")
    assert error["message"] == f"The request body is not an acceptable form: {reason}."
    assert chat.provider.requests == []


def test_a_form_gets_the_default_model() -> None:
    service = Echo()
    chat = Chat(router(**AUTO), inner=service)
    chat.ask(form("higress/auto"), headers=FORM)
    assert service.body == form("general")
    assert values(service, CHOSEN) == ["general"]


# ---------------------------------------------------------------------- the choice of a model


def user(content: Any) -> dict[str, Any]:
    """What a user says."""
    return {"role": "user", "content": content}


def text(said: str) -> dict[str, Any]:
    """A part of it."""
    return {"type": "text", "text": said}


IMAGE = {"type": "image_url", "image_url": {"url": "https://draw.example/code.png"}}


@pytest.mark.parametrize(
    ("messages", "final", "why"),
    [
        ([user("find the bug in my code")], "coder", "rules[1]"),
        ([user("DRAW the bug")], "painter", "rules[0]"),
        ([user("hello")], "general", "default_model"),
        ([user("draw"), user("hello")], "general", "default_model"),
        ([user("hello"), user("draw")], "painter", "rules[0]"),
        ([user("code"), {"role": "assistant", "content": "draw"}], "coder", "rules[1]"),
        ([{"role": "system", "content": "draw"}, user("hello"), {"role": "tool", "content": "bug"}], "general", ""),
        ([user([text("draw"), IMAGE, text("some code")])], "coder", "rules[1]"),
        ([user([text("draw"), IMAGE])], "painter", "rules[0]"),
        ([user("code"), user([IMAGE])], "coder", "rules[1]"),
        ([user([text("code"), {"type": "of tomorrow"}])], "coder", "rules[1]"),
        ([{**user("hello"), "name": "draw"}], "general", "default_model"),
        ([user(None)], "general", "default_model"),
        ([], "general", "default_model"),
        ("draw", "general", "default_model"),
        ([user("la bugía è 通义")], "coder", "rules[1]"),
    ],
)
def test_the_first_rule_that_the_last_words_of_the_user_match(messages: Any, final: str, why: str) -> None:
    service = Echo()
    chat = Chat(router(**AUTO), inner=service)
    chat.ask({"model": "higress/auto", "messages": messages}, headers=FORGED)
    assert json.loads(service.body) == {"model": final, "messages": messages}
    assert values(service, CHOSEN) == [final]
    assert values(service, WHOLE) == ["forged", "twice"]
    ((name, decision, reason),) = chat.records
    assert (name, decision) == ("model-router", "changed")
    assert reason.startswith(f"model: {final}, {why}")


SAYS_CODE: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": ("/v1/chat/completions", {"messages": [user("draw"), user("code")]}),
    "openai-responses": ("/v1/responses", {"instructions": "draw", "input": [user("draw"), user("code")]}),
    "anthropic-messages": (
        "/v1/messages",
        {"system": "draw", "messages": [user("draw"), user([text("code")]), {"role": "assistant", "content": "draw"}]},
    ),
}


@pytest.mark.parametrize("dialect", sorted(SAYS_CODE))
def test_in_every_dialect_that_is_read(dialect: str) -> None:
    path, body = SAYS_CODE[dialect]
    service = Echo()
    Chat(router(**AUTO), inner=service).ask({"model": "higress/auto", **body}, path=path)
    final = "coder" if DIALECTS[dialect].covered else "general"
    assert json.loads(service.body) == {"model": final, **body}


def test_rules_are_about_words_that_there_are() -> None:
    service = Echo()
    routing = {"enable": True, "rules": [{"pattern": ".*", "model": "any"}], "default_model": "general"}
    chat = Chat(router(auto_routing=routing), inner=service)
    for messages, final in (([user("x")], "any"), ([user("")], "general"), ([], "general")):
        chat.ask({"model": "higress/auto", "messages": messages})
        assert json.loads(service.body)["model"] == final


def test_a_call_of_no_known_dialect_gets_the_default() -> None:
    service = Echo()
    Chat(router(**AUTO), inner=service).ask({"model": "higress/auto", "query": "draw"}, path="/v1/image-synthesis")
    assert json.loads(service.body) == {"model": "general", "query": "draw"}


@pytest.mark.parametrize(
    ("routing", "model"),
    [
        ({"enable": True, "rules": RULES}, "higress/auto"),
        ({"enable": True}, "higress/auto"),
        ({"enable": True, "rules": RULES, "defaultModel": "x"}, "Higress/Auto"),
        ({"enable": True, "rules": RULES, "defaultModel": "x"}, "higress/auto2"),
        ({"enable": False, "rules": RULES, "defaultModel": "x"}, "higress/auto"),
        ({"rules": RULES, "defaultModel": "x"}, "higress/auto"),
    ],
)
def test_where_none_is_chosen_the_body_leaves_as_it_came(routing: dict[str, Any], model: str) -> None:
    service = Echo()
    chat = Chat(router(modelToHeader=WHOLE, autoRouting=routing), inner=service)
    body = json.dumps(question("hello", model=model), indent=1).encode()
    chat.ask(body, headers=FORGED)
    assert service.body == body
    assert values(service, WHOLE) == [model]
    on = bool(routing.get("enable"))
    assert values(service, CHOSEN) == ([] if on else ["forged"])
    none = "no rule chooses a model for higress/auto, and there is no default_model"
    assert chat.records == ([("model-router", "skipped", none)] if on and model == "higress/auto" else [])


def test_no_provider_is_taken_from_a_model_that_nobody_chose() -> None:
    service = Echo()
    chat = Chat(router(**BOTH, autoRouting={"enable": True, "rules": RULES}), inner=service)
    chat.ask(question("hello", model="higress/auto"))
    assert json.loads(service.body)["model"] == "higress/auto"
    assert values(service, PROVIDER) == []


def test_a_chosen_model_has_a_provider_like_any_other() -> None:
    service = Echo()
    rules = [{"pattern": "draw", "model": "studio/painter/2"}]
    chat = Chat(router(**BOTH, autoRouting={"enable": True, "rules": rules}), inner=service)
    chat.ask(question("draw", model="higress/auto"), headers=FORGED)
    assert json.loads(service.body)["model"] == "painter/2"
    assert values(service, PROVIDER) == ["studio"]
    assert values(service, WHOLE) == values(service, CHOSEN) == ["studio/painter/2"]
    assert chat.records == [("model-router", "changed", "model: studio/painter/2, rules[0]"), SPLIT]


# ---------------------------------------------------------------------- a model in the path


@pytest.mark.parametrize("verb", PATH_VERBS)
@pytest.mark.parametrize(
    ("path", "whole", "provider"),
    [
        ("/v1beta/models/gemini-2.5-pro", "gemini-2.5-pro", []),
        ("/v1beta/models/google/gemini-2.5-pro", "google/gemini-2.5-pro", ["google"]),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro", []),
        ("/v1beta/models/a:b", "a:b", []),
    ],
)
def test_a_path_that_names_the_model_is_read(verb: str, path: str, whole: str, provider: list[str]) -> None:
    service = Echo()
    chat = Chat(router(**BOTH), inner=service)
    body = b'{ "model": "x/y", "contents": [] }'
    chat.ask(body, path=path + verb + "?alt=sse", headers=FORGED)
    assert service.body == body
    assert (values(service, WHOLE), values(service, PROVIDER)) == ([whole], provider)
    assert chat.exchange.request.path == path + verb
    assert not chat.exchange.request.loaded
    assert chat.records == []


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1beta/tuned:generateContent", "POST"),
        ("/v1beta/models/:generateContent", "POST"),
        ("/v1beta/models/m:generateContent", "GET"),
    ],
)
def test_other_paths_name_none(path: str, method: str) -> None:
    service = Echo()
    Chat(router(**BOTH), inner=service).ask(b"", path=path, method=method, headers=FORGED)
    assert (values(service, WHOLE), values(service, PROVIDER)) == ([], [])


def test_a_model_is_chosen_for_a_path_that_leaves_it_open() -> None:
    service = Echo()
    chat = Chat(router(**BOTH, **AUTO), inner=service)
    body = b'{ "contents": [{"role": "user", "parts": [{"text": "code"}]}] }'
    path = "/v1beta/models/higress/auto:generateContent"
    assert chat.ask(body, path=path, headers=FORGED).status == 200
    final = "coder" if DIALECTS["gemini"].covered else "general"
    assert service.body == body
    assert values(service, CHOSEN) == values(service, WHOLE) == [final]
    assert chat.exchange.request.path == path
    assert chat.ask(b"", path=path).status == 200
    assert values(service, CHOSEN) == ["general"]
    assert chat.ask(b"code", path=path, headers=[("content-type", "text/plain"), *FORGED]).status == 200
    assert (values(service, CHOSEN), values(service, WHOLE)) == ([], ["higress/auto"])


# ---------------------------------------------------------------------- hosts, configuration


@CUTS
def test_a_streamed_call_is_routed_and_its_answer_untouched(size: int) -> None:
    plain = Chat(answers=[Answer("one two")], size=size).ask(question(stream=True, model="x"))
    chat = Chat(router(**BOTH), answers=[Answer("one two")], size=size)
    answered = chat.ask(question(stream=True, model="a/x"))
    assert chat.received["model"] == "x"
    assert chat.provider.requests[0].header(PROVIDER) == "a"
    assert said(answered.body) == "one two"
    assert answered.chunks == plain.chunks


def test_on_wsgi() -> None:
    chat = Chat(router(**BOTH), answers=[Answer("y")])
    assert chat.ask_wsgi(question(model="a/x"), headers=FORGED).status == 200
    assert chat.received["model"] == "x"
    assert [chat.provider.requests[0].header(name) for name in (PROVIDER, WHOLE)] == ["a", "a/x"]


def test_the_mapper_behind_it_sees_the_name_without_the_provider() -> None:
    mapper = {"name": "model-mapper", "config": {"model_mapping": {"gpt": "mapped"}}}
    chat = Chat(mapper, router(**BOTH), answers=[Answer("y")])
    chat.ask(question(model="a/gpt"))
    assert chat.received["model"] == "mapped"


def test_in_shadow_nothing_is_changed() -> None:
    service = Echo()
    chat = Chat({**router(**BOTH), "shadow": True}, inner=service)
    body = b'{ "model": "a/b" }'
    for headers, sent in (([], body), (FORM, form("a/b")), (FORM, b"no form")):
        assert chat.ask(sent, path="/v1/rerank", headers=[*headers, (PROVIDER, "own")]).status == 200
        assert service.body == sent
        assert values(service, PROVIDER) == ["own"]


def test_both_directions() -> None:
    assert ModelRouter.directions == {INBOUND, OUTBOUND}


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({"model_key": "a..b"}, ".model_key", "should be the name of a member, such as `model` or `request.model`"),
        ({"add_provider_header": "no header"}, ".add_provider_header", "'no header' is not a header name"),
        (
            {"model_to_header": "connection"},
            ".model_to_header",
            "connection is hop-by-hop: it belongs to the server, not to a plug-in",
        ),
        ({"enable_on_path_suffix": "/x"}, ".enable_on_path_suffix", "should be a valid tuple"),
        (
            {"keep_original_model_name": "x"},
            ".keep_original_model_name",
            "should be a valid boolean, unable to interpret input",
        ),
        (
            {"auto_routing": {"enable": True, "rules": [*RULES, {"pattern": "(", "model": "m"}]}},
            ".auto_routing.rules[3].pattern",
            "is no RE2 pattern: missing ): (",
        ),
        (
            {"auto_routing": {"rules": [{"pattern": r"(a)\1", "model": "m"}]}},
            ".auto_routing.rules[0].pattern",
            r"is no RE2 pattern: invalid escape sequence: \1",
        ),
        (
            {"auto_routing": {"rules": [{"pattern": "", "model": "m"}]}},
            ".auto_routing.rules[0].pattern",
            "string should have at least 1 character",
        ),
        (
            {"auto_routing": {"rules": [{"pattern": "a", "model": ""}]}},
            ".auto_routing.rules[0].model",
            "string should have at least 1 character",
        ),
        ({"auto_routing": {"rules": [{"pattern": "a"}]}}, ".auto_routing.rules[0].model", "is required"),
        ({"auto_routing": {"default": "a"}}, ".auto_routing.default", "unknown key"),
        (
            {"add_provider_header": "X-M", "model_to_header": "x-m"},
            "",
            "header X-M cannot hold both the provider and the whole model",
        ),
        (
            {"add_provider_header": CHOSEN, "auto_routing": {"enable": True}},
            "",
            f"header {CHOSEN} cannot hold both the provider and the whole model",
        ),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    assert problems(router(**config)) == [(f"plugins[0].config{path}", message)]


@pytest.mark.parametrize(
    ("model", "words", "provider", "final"),
    [
        ("anthropic/claude-opus-4-1", "hello", "anthropic", "claude-opus-4-1"),
        ("higress/auto", "Look at this stack trace", "anthropic", "claude-sonnet-4-5"),
        ("higress/auto", "Translate it", "qwen", "qwen-mt-plus"),
        ("higress/auto", "hello", "qwen", "qwen-turbo"),
        ("qwen-max", "translate", None, "qwen-max"),
    ],
)
def test_the_example(model: str, words: str, provider: str | None, final: str) -> None:
    chat = Chat(*example(ModelRouter)["plugins"], answers=[Answer("x")])
    chat.ask(question(words, model=model))
    assert chat.received["model"] == final
    assert chat.provider.requests[0].header(PROVIDER) == provider

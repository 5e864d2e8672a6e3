"""`model-mapper`: which model stands for which, where, and that nothing else is touched."""

import json
from typing import Any

import pytest

from aigw_middleware import INBOUND, OUTBOUND
from aigw_middleware.plugins.ai.model_field import SUFFIXES
from aigw_middleware.plugins.ai.model_mapper import ModelMapper
from aigw_middleware.testing.script import Answer
from tests.plugins.chat import CUTS, PATH, Chat, example, problems, question, said
from tests.plugins.echo import Echo

HEADER = "x-higress-llm-model-final"
MAPPING = {"gpt-4o": "qwen-max", "gpt-4*": "qwen-long", "gpt-*": "qwen-plus", "keep-*": "", "*": "qwen-turbo"}


def mapper(**config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return {"name": "model-mapper", "config": config}


@pytest.mark.parametrize(
    ("asked", "final"),
    [
        ("gpt-4o", "qwen-max"),
        ("gpt-4o-mini", "qwen-long"),
        ("gpt-3.5", "qwen-plus"),
        ("gpt-", "qwen-plus"),
        ("gpt", "qwen-turbo"),
        ("", "qwen-turbo"),
        (None, "qwen-turbo"),
        (["gpt-4o"], "qwen-turbo"),
        ("keep-this", "keep-this"),
        ("Gpt-4o", "qwen-turbo"),
    ],
)
def test_exact_then_the_longest_prefix_then_the_rest(asked: Any, final: str) -> None:
    service = Echo()
    chat = Chat(mapper(model_mapping=MAPPING), inner=service)
    body = {"input": "x", "model": asked, "n": 1} if asked is not None else {"input": "x", "n": 1}
    assert chat.ask(body, path="/v1/embeddings").status == 200
    assert json.loads(service.body)["model"] == final
    assert service.header(HEADER) == [final.encode()]
    changed = asked != final
    assert chat.records == ([("model-mapper", "changed", f"model: {final}")] if changed else [])


@pytest.mark.parametrize(
    ("mapping", "asked", "final"),
    [
        ({}, "m", "m"),
        ({"a": "b"}, "m", "m"),
        ({"gpt-*": "x", "gpt-4-*": "y"}, "gpt-4-mini", "y"),
        ({"gpt-4-*": "y", "gpt-*": "x"}, "gpt-4-mini", "y"),
        ({"m": "", "*": "x"}, "m", "m"),
        ({"": "nameless"}, "", "nameless"),
    ],
)
def test_the_order_of_the_mapping_does_not_matter(mapping: dict[str, str], asked: str, final: str) -> None:
    service = Echo()
    Chat(mapper(model_mapping=mapping), inner=service).ask({"model": asked}, path="/v1/rerank")
    assert json.loads(service.body) == {"model": final}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_of_the_compatible_gateways(suffix: str) -> None:
    service = Echo()
    Chat(mapper(model_mapping={"*": "x"}), inner=service).ask({"model": "m"}, path=f"/any{suffix}?a=1")
    assert json.loads(service.body) == {"model": "x"}


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/v1/models", (), b'{"model": "m"}'),
        ("/v1/embeddings/", (), b'{"model": "m"}'),
        ("/v1/embeddings", (("content-type", "text/plain"),), b'{"model": "m"}'),
        ("/v1/embeddings", (("content-type", "multipart/form-data; boundary=x"),), b"--x\r\n"),
        ("/v1/embeddings", (), b""),
        ("/v1/embeddings", (), b'["m"]'),
        ("/v1/embeddings", (), b'"m"'),
    ],
)
def test_what_is_not_ours_passes_untouched(path: str, headers: Any, body: bytes) -> None:
    service = Echo()
    chat = Chat(mapper(model_mapping={"*": "x"}), inner=service)
    answered = chat.ask(body, path=path, headers=[*headers, (HEADER, "of the caller")])
    assert answered.status == 200
    assert service.body == body
    assert service.header(HEADER) == [b"of the caller"]
    assert chat.exchange.request.edited is False


def test_a_body_is_read_only_where_it_may_be_mapped() -> None:
    service = Echo()
    chat = Chat(mapper(model_mapping={"*": "x"}), inner=service)
    chat.ask({"model": "m"}, path="/v1/models")
    assert not chat.exchange.request.loaded
    chat.ask({"model": "m"}, path="/v1/embeddings")
    assert chat.exchange.request.loaded


def test_a_model_that_stands_for_itself_changes_nothing() -> None:
    service = Echo()
    chat = Chat(mapper(model_mapping={"*": "m"}), inner=service)
    chat.ask(b'{ "model": "m" }', path="/v1/embeddings")
    assert service.body == b'{ "model": "m" }'
    assert chat.records == []


def test_an_unchanged_body_keeps_its_bytes_and_an_edited_one_its_members() -> None:
    service = Echo()
    chat = Chat(mapper(model_mapping={"a": "b"}), inner=service)
    untouched = b'{ "model" : "m",\n "x": 1.50, "unknown": {"\xc3\xa9": [] } }'
    chat.ask(untouched, path="/v1/embeddings")
    assert service.body == untouched
    chat.ask(untouched.replace(b'"m"', b'"a"'), path="/v1/embeddings")
    assert service.body == '{"model":"b","x":1.50,"unknown":{"é":[]}}'.encode()


@pytest.mark.parametrize("body", [b'{"model": "m"', b'{"model": "m", "model": "a"}', b'{"model": "\xff"}'])
def test_a_body_that_two_readers_could_read_differently_is_refused(body: bytes) -> None:
    chat = Chat(mapper(model_mapping={"a": "b"}))
    answered = chat.ask(body)
    assert (answered.status, answered.json()["error"]["code"]) == (400, "invalid_json")
    assert chat.provider.requests == []


def test_a_coded_body_passes_unless_the_operator_says_otherwise() -> None:
    service = Echo()
    coded: Any = {"path": "/v1/embeddings", "headers": [("content-encoding", "gzip")]}
    chat = Chat(mapper(model_mapping={"*": "x"}), inner=service)
    assert chat.ask(b"\x1f\x8b", **coded).status == 200
    assert service.body == b"\x1f\x8b"
    assert chat.records == [
        (
            "model-mapper",
            "uncovered",
            "the body's content coding: the body ends in the middle of its gzip coding; policy: allow",
        )
    ]
    strict = Chat({**mapper(model_mapping={"*": "x"}), "on_uncovered": "deny"}, inner=Echo())
    assert strict.ask(b"\x1f\x8b", **coded).status == 400


@pytest.mark.parametrize(
    ("body", "final"),
    [
        ({"request": {"model": "m", "n": 1}}, {"request": {"model": "x", "n": 1}}),
        ({"request": {}}, {"request": {"model": "x"}}),
        ({"a": 1}, {"a": 1, "request": {"model": "x"}}),
        ({"request": "no object"}, {"request": {"model": "x"}}),
    ],
)
def test_a_model_inside_another_member(body: Any, final: Any) -> None:
    service = Echo()
    Chat(mapper(modelKey="request.model", modelMapping={"*": "x"}), inner=service).ask(body, path="/v1/rerank")
    assert json.loads(service.body) == final


def test_the_spelling_of_compatible_gateways_and_every_path() -> None:
    service = Echo()
    config = {"modelKey": "name", "modelMapping": {"m": "x"}, "enableOnPathSuffix": ["*"], "modelToHeader": "X-Model"}
    Chat(mapper(**config), inner=service).ask({"name": "m"}, path="/anything", headers=[("x-model", "forged")])
    assert json.loads(service.body) == {"name": "x"}
    assert service.header("x-model") == [b"x"]
    assert service.header(HEADER) == []


@pytest.mark.parametrize(("model", "value"), [("通义", ["通义".encode()]), ("a\r\nb: c", []), ("", [])])
def test_the_header_holds_what_a_header_can_hold(model: str, value: list[bytes]) -> None:
    service = Echo()
    chat = Chat(mapper(), inner=service)
    chat.ask({"model": model}, path="/v1/rerank", headers=[(HEADER, "forged")])
    assert service.header(HEADER) == value
    assert json.loads(service.body) == {"model": model}


def test_no_header_when_none_is_wanted() -> None:
    service = Echo()
    Chat(mapper(model_to_header=""), inner=service).ask({"model": "m"}, path="/v1/rerank", headers=[(HEADER, "own")])
    assert service.header(HEADER) == [b"own"]


@CUTS
def test_a_streamed_call_is_mapped_and_its_answer_untouched(size: int) -> None:
    plain = Chat(answers=[Answer("one two")], size=size).ask(question(stream=True, model="x"))
    chat = Chat(mapper(model_mapping={"m": "x"}), answers=[Answer("one two")], size=size)
    answered = chat.ask(question(stream=True))
    assert chat.received["model"] == "x"
    assert chat.provider.requests[0].header(HEADER) == "x"
    assert said(answered.body) == "one two"
    assert answered.chunks == plain.chunks


def test_on_wsgi() -> None:
    chat = Chat(mapper(model_mapping={"m": "x"}), answers=[Answer("y")])
    assert chat.ask_wsgi(question()).status == 200
    assert chat.received["model"] == "x"
    assert chat.provider.requests[0].header(HEADER) == "x"


def test_both_directions() -> None:
    assert ModelMapper.directions == {INBOUND, OUTBOUND}


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        (
            {"model_mapping": {"a*b": "x"}},
            "model_mapping",
            "'a*b' has a `*` that is not its end: only `prefix*` and `*` are patterns",
        ),
        ({"model_mapping": ["a"]}, "model_mapping", "should be a valid dictionary"),
        ({"model_mapping": {"a": 1}}, "model_mapping.a", "should be a valid string"),
        ({"enable_on_path_suffix": "/x"}, "enable_on_path_suffix", "should be a valid tuple"),
        ({"model_key": "a..b"}, "model_key", "should be the name of a member, such as `model` or `request.model`"),
        ({"model_to_header": "no header"}, "model_to_header", "'no header' is not a header name"),
        (
            {"model_to_header": "connection"},
            "model_to_header",
            "connection is hop-by-hop: it belongs to the server, not to a plug-in",
        ),
        ({"models": {}}, "models", "unknown key"),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    assert problems(mapper(**config)) == [(f"plugins[0].config.{path}", message)]


@pytest.mark.parametrize(
    ("asked", "final"),
    [("gpt-4o", "qwen-max"), ("gpt-4o-mini-2", "qwen-turbo"), ("gpt-4", "qwen-plus"), ("mine", "mine")],
)
def test_the_example(asked: str, final: str) -> None:
    chat = Chat(*example(ModelMapper)["plugins"], answers=[Answer("x")])
    chat.ask(question(model=asked), path=PATH)
    assert chat.received["model"] == final

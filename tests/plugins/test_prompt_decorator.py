"""`ai-prompt-decorator`: what is put around a conversation, what is replaced in it, and what stays as it is."""

from typing import Any

import pytest

from aigw_middleware import INBOUND, OUTBOUND, Consumer, Exchange, Plugin, PluginConfig, Stage
from aigw_middleware.plugins.ai.prompt_decorator import AiPromptDecorator
from aigw_middleware.plugins.ai.variables import NoValue, Template
from aigw_middleware.testing.script import Answer
from tests.plugins.chat import CUTS, Chat, example, problems, question, said

USER = {"role": "user", "content": "Hello?"}


def decorator(**config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return {"name": "ai-prompt-decorator", "config": config}


def says(role: str, content: Any, **members: Any) -> dict[str, Any]:
    """A message."""
    return {"role": role, "content": content, **members}


class Facts(Plugin[PluginConfig]):
    """What other plug-ins would have found out."""

    name, stage = "facts", Stage.AUTHENTICATION

    def on_request(self, exchange: Exchange) -> None:
        exchange.attributes["geo-city"] = "Zürich"
        exchange.claims = {"tenant": "acme", "level": 3, "org": {"name": "birds"}}
        exchange.consumer = Consumer(
            "alice", metadata={"team": "search", "size": 3, "tags": ["a"], "lead": {"name": "Bo"}}
        )


def decorated(messages: Any, *, headers: Any = (), facts: bool = False, **config: Any) -> Any:
    """The messages that reach the provider."""
    chat = Chat(decorator(**config), answers=[Answer("x")])
    if facts:
        chat.gateway.core.want(INBOUND, [Facts()])
    assert chat.ask({"model": "m", "messages": messages}, headers=headers).status == 200
    return chat.received["messages"]


def test_messages_before_and_after_in_their_order() -> None:
    prepend = [says("system", "first"), says("assistant", "second")]
    append = [says("user", "third"), says("user", "fourth")]
    messages = decorated([USER], prepend=prepend, append=append)
    assert messages == [*prepend, USER, *append]


def test_other_members_of_the_body_stay() -> None:
    chat = Chat(decorator(prepend=[says("system", "s")]), answers=[Answer("x")])
    chat.ask(b'{"model":"m","temperature":0.70,"messages":[{"role":"user","content":"H","x":{"y":[1.0]}}],"z":null}')
    assert chat.provider.requests[0].body == (
        b'{"model":"m","temperature":0.70,"messages":[{"role":"system","content":"s"},'
        b'{"role":"user","content":"H","x":{"y":[1.0]}}],"z":null}'
    )
    assert chat.records == [("ai-prompt-decorator", "changed", "1 messages before, 0 after")]


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ({"pattern": "Hello", "replacement": "Bye"}, "Hello, Hello.", "Bye, Bye."),
        ({"pattern": "Hello"}, "Hello!", "!"),
        ({"pattern": "a.c", "replacement": "x"}, "abc a.c", "abc x"),
        ({"pattern": "a.c", "replacement": "x", "regex": True}, "abc a.c", "x x"),
        ({"pattern": "(?i)hello", "replacement": "bye", "regex": True}, "HELLO hello", "bye bye"),
        (
            {"pattern": r"(\w+)@(\w+)", "replacement": "$2 at ${1}x $$ $0", "regex": True},
            "me@home",
            "home at mex $ me@home",
        ),
        ({"pattern": r"(?P<who>\w+)@", "replacement": "${who}-", "regex": True}, "me@home", "me-home"),
        ({"pattern": r"(a)|(b)", "replacement": "[$1$2]", "regex": True}, "ab", "[a][b]"),
        ({"pattern": "é+", "replacement": "e", "regex": True}, "caféé 敏", "cafe 敏"),
        ({"pattern": "$1", "replacement": "$2"}, "$1", "$2"),
        ({"pattern": "Hello", "replacement": "Bye", "on_role": "user"}, "Hello", "Bye"),
        ({"pattern": "Hello", "replacement": "Bye", "on_role": "system"}, "Hello", "Hello"),
    ],
)
def test_replacing(rule: dict[str, Any], before: str, after: str) -> None:
    assert decorated([says("user", before)], replace=[rule]) == [says("user", after)]


def test_replacements_follow_each_other_and_see_added_messages_and_parts_of_lists() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,one"}}
    messages = [
        says("developer", "one"),
        says("user", [{"type": "text", "text": "one two"}, picture]),
        says("assistant", None, tool_calls=[{"function": {"name": "one", "arguments": '{"a":"one"}'}}]),
        says("tool", "one", tool_call_id="one"),
    ]
    rules = [{"pattern": "one", "replacement": "two"}, {"pattern": "two", "replacement": "2"}]
    assert decorated(messages, prepend=[says("system", "one!")], replace=rules) == [
        says("system", "2!"),
        says("developer", "2"),
        says("user", [{"type": "text", "text": "2 2"}, picture]),
        messages[2],
        says("tool", "2", tool_call_id="one"),
    ]


def test_names_of_speakers_are_not_what_they_say() -> None:
    messages = [says("user", "one", name="one")]
    assert decorated(messages, replace=[{"pattern": "one", "replacement": "2"}]) == [says("user", "2", name="one")]


def test_what_no_rule_changes_keeps_its_bytes() -> None:
    chat = Chat(decorator(replace=[{"pattern": "absent"}]), answers=[Answer("x")])
    body = b'{ "model": "m", "messages": [ {"role": "user", "content": "H"} ] }'
    chat.ask(body)
    assert chat.provider.requests[0].body == body
    assert chat.records == []


@pytest.mark.parametrize(
    ("content", "filled"),
    [
        ("${geo-city}", "Zürich"),
        ("${geo-city:-unknown}", "Zürich"),
        ("${geo-isp:-unknown}.", "unknown."),
        ("<${geo-isp:-}>", "<>"),
        ("${header:x-team}/${header:X-Team}", "küche/küche"),
        ("${header:x-none:-none} ${header:x-none}", "none "),
        ("${header:x-empty:-none}", "none"),
        ("${header:x-latin}", "é"),
        ("${consumer}", "alice"),
        ("${consumer.metadata.team} ${consumer.metadata.size} ${consumer.metadata.tags}", 'search 3 ["a"]'),
        ("${consumer.metadata.lead.name}${consumer.metadata.lead.age:-?}", "Bo?"),
        ("${claims.tenant} ${claims.level} ${claims.org.name} ${claims.none:-?}", "acme 3 birds ?"),
        ("${HOME} $x ${} ${a:-b}", "${HOME} $x ${} ${a:-b}"),
        ("${geo-city} and ${geo-city}", "Zürich and Zürich"),
    ],
)
def test_variables(content: str, filled: str) -> None:
    headers = [("x-team", "küche".encode()), ("x-empty", ""), ("x-latin", "é".encode("latin-1"))]
    messages = decorated([USER], headers=headers, facts=True, prepend=[says("system", content)])
    assert messages == [says("system", filled), USER]


def test_nobody_is_the_consumer_of_an_anonymous_call() -> None:
    assert decorated([USER], append=[says("user", "I am ${consumer:-nobody}${consumer}.")])[-1] == says(
        "user", "I am nobody."
    )


def test_a_geo_variable_without_value_and_default_leaves_the_request_as_it_came() -> None:
    config = {
        "prepend": [says("system", "fixed"), says("system", "in ${geo-city}")],
        "replace": [{"pattern": "Hello", "replacement": "Bye"}],
    }
    chat = Chat(decorator(**config), answers=[Answer("x")])
    chat.ask(question())
    assert chat.received["messages"] == [USER]
    assert not chat.exchange.request.edited
    assert chat.records == [("ai-prompt-decorator", "skipped", "geo-city has no value and no default")]


def test_a_template_tells_what_is_missing() -> None:
    with pytest.raises(NoValue, match="geo-isp"):
        Template("${geo-isp}").fill(Exchange())
    assert not Template("no ${variable}").variable


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "m", "messages": "none"}, "/v1/chat/completions"),
        ({"model": "m", "input": "Hello?"}, "/v1/embeddings"),
        ({"messages": "none", "model": "m"}, "/v1/messages"),
    ],
)
def test_a_call_that_cannot_be_read_follows_the_policy(body: Any, path: str) -> None:
    entry = decorator(prepend=[says("system", "s")])
    chat = Chat(entry)
    chat.ask(body, path=path)
    assert chat.provider.requests[0].json == body
    assert [line[:2] for line in chat.records] == [("ai-prompt-decorator", "uncovered")]
    strict = Chat({**entry, "on_uncovered": "deny"})
    assert strict.ask(body, path=path).status == 400
    assert strict.provider.requests == []


@pytest.mark.parametrize(("path", "body"), [("/other", b'{"a": 1}'), ("/other", b"no json")])
def test_what_is_no_call_of_a_model_passes(path: str, body: bytes) -> None:
    chat = Chat(decorator(prepend=[says("system", "s")]))
    chat.ask(body, path=path)
    assert chat.provider.requests[0].body == body


@CUTS
def test_a_stream_comes_back_untouched(size: int) -> None:
    chat = Chat(decorator(prepend=[says("system", "s")]), answers=[Answer("one two")], size=size)
    plain = Chat(answers=[Answer("one two")], size=size)
    answered, expected = chat.ask(question(stream=True)), plain.ask(question(stream=True))
    assert chat.received["messages"] == [says("system", "s"), USER]
    assert (said(answered.body), answered.chunks) == ("one two", expected.chunks)


def test_on_wsgi() -> None:
    chat = Chat(decorator(prepend=[says("system", "s")]), answers=[Answer("x")])
    assert chat.ask_wsgi(question()).status == 200
    assert chat.received["messages"] == [says("system", "s"), USER]


def test_exchanges_do_not_share_messages() -> None:
    chat = Chat(decorator(prepend=[says("system", "one")], replace=[{"pattern": "one", "replacement": "2"}]))
    for _ in range(2):
        chat.ask(question())
        assert chat.received["messages"][0] == says("system", "2")


def test_both_directions() -> None:
    assert AiPromptDecorator.directions == {INBOUND, OUTBOUND}


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({}, "", "has nothing to do: give it prepend, append or replace"),
        ({"prepend": [{"role": "system"}]}, ".prepend[0].content", "is required"),
        ({"prepend": [says("", "x")]}, ".prepend[0].role", "string should have at least 1 character"),
        ({"append": [says("user", "x", name="y")]}, ".append[0].name", "unknown key"),
        ({"replace": [{"replacement": "x"}]}, ".replace[0].pattern", "is required"),
        ({"replace": [{"pattern": "(", "regex": True}]}, ".replace[0]", "pattern is no RE2 pattern: missing ): ("),
        (
            {"replace": [{"pattern": "(a)", "replacement": "$1x", "regex": True}]},
            ".replace[0]",
            "replacement names group '1x', which the pattern has not; ${1}x is $1 and an x",
        ),
        (
            {"prepend": [says("system", "${geo-town}")]},
            ".prepend[0].content",
            "${geo-town} is no variable: there are geo-country, geo-province, geo-city, geo-isp, header:name, "
            "consumer, consumer.metadata.key and claims.key",
        ),
        (
            {"prepend": [says("system", "${header:x y}")]},
            ".prepend[0].content",
            "${header:x y}: 'x y' is not a header name",
        ),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    assert problems(decorator(**config)) == [(f"plugins[0].config{path}", message)]


def test_the_example() -> None:
    chat = Chat(*example(AiPromptDecorator)["plugins"], answers=[Answer("x")])
    chat.ask(question("Call 1234-5678."), headers=[("x-team", "search")])
    assert chat.received["messages"] == [
        says("system", "You help guests of search in a city."),
        says("user", "Call 1234-****."),
    ]

"""Where conversations can be cut: what is left is one that its API takes, and its last turn is whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.turns import cuts, shortened


class Said(NamedTuple):
    """A message in no API's words; `mark` is its text, or the identifier of the call that it makes or answers."""

    what: str
    mark: str


def _chat(said: Said) -> Any:
    if said.what == "call":
        call = {"id": said.mark, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if said.what == "result":
        return {"role": "tool", "tool_call_id": said.mark, "content": "r"}
    return {"role": said.what, "content": said.mark}


def _anthropic(said: Said) -> Any:
    if said.what == "call":
        block = {"type": "tool_use", "id": said.mark, "name": "f", "input": {}}
        return {"role": "assistant", "content": [{"type": "text", "text": "c"}, block]}
    if said.what == "result":
        block = {"type": "tool_result", "tool_use_id": said.mark, "content": "r"}
        return {"role": "user", "content": [block, {"type": "text", "text": "and more"}]}
    return {"role": said.what, "content": said.mark}


def _gemini(said: Said) -> Any:
    if said.what == "call":
        return {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
    if said.what == "result":
        return {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"r": said.mark}}}]}
    return {"role": "model" if said.what == "assistant" else "user", "parts": [{"text": said.mark}]}


def _responses(said: Said) -> Any:
    if said.what == "call":
        return {"type": "function_call", "id": f"fc_{said.mark}", "call_id": said.mark, "name": "f", "arguments": "{}"}
    if said.what == "result":
        return {"type": "function_call_output", "call_id": said.mark, "output": "r"}
    return {"role": said.what, "content": said.mark}


WORDS: Mapping[str, Callable[[Said], Any]] = {
    "openai-chat": _chat,
    "anthropic-messages": _anthropic,
    "gemini": _gemini,
    "openai-responses": _responses,
}
IN_LIST = {"openai-chat", "openai-responses"}
"""Dialects whose messages of the system stand among the others."""
every_dialect = pytest.mark.parametrize("name", sorted(WORDS))


def test_every_dialect_with_a_conversation_can_be_cut() -> None:
    for name, dialect in DIALECTS.items():
        assert bool(dialect.conversation) == (name in WORDS)


def short(text: str) -> list[Said]:
    """A conversation of one letter a message: s(ystem), u(ser), a(ssistant), digits are calls, the second time results."""
    found: list[Said] = []
    for place, letter in enumerate(text):
        if letter.isdigit():
            found.append(Said("result" if letter in text[:place] else "call", letter))
        else:
            found.append(Said({"s": "system", "u": "user", "a": "assistant"}[letter], f"{letter}{place}"))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a", []),
        ("u", []),
        ("uau", [2]),
        ("auau", [1, 3]),
        ("uauau", [2, 4]),
        ("uaua", [2]),
        ("uu", []),
        ("uuau", [1, 3]),
        ("uauu", [2]),  # the last turn is both messages of the user
        ("u11au", [4]),
        ("uau11", [2]),
        ("u11u22a", [3]),
        ("u1212u", [5]),
        ("u1u1u", [4]),  # one in the middle would part a call from its result
        ("u11", []),
        ("11au", [3]),
        ("a11", []),
    ],
)
@every_dialect
def test_places(name: str, text: str, expected: list[int]) -> None:
    if name == "gemini" and text == "u1u1u":
        expected = [2, 4]  # where a result belongs to the content before it, there is none that could be parted
    messages = [WORDS[name](said) for said in short(text)]
    assert cuts(DIALECTS[name], messages) == expected


@pytest.mark.parametrize("name", sorted(IN_LIST))
def test_messages_of_the_system(name: str) -> None:
    messages = [WORDS[name](said) for said in short("suasuau")]
    dialect = DIALECTS[name]
    assert cuts(dialect, messages) == [1, 4, 6]
    assert shortened(dialect, messages, 4, keep_system=True) == [messages[0], messages[3], *messages[4:]]
    assert shortened(dialect, messages, 4, keep_system=False) == messages[4:]
    assert shortened(dialect, messages, 1, keep_system=True) == messages


def test_anthropic_s_first_message_is_the_user_s_whatever_the_system_said_between() -> None:
    messages = [_anthropic(said) for said in short("uasuau")]
    found = cuts(DIALECTS["anthropic-messages"], messages)
    assert found == [3, 5]
    assert shortened(DIALECTS["anthropic-messages"], messages, 3, keep_system=True) == messages[3:]


@pytest.mark.parametrize(
    ("name", "message", "begins"),
    [
        ("openai-chat", {"role": "function", "name": "f", "content": "r"}, False),
        ("openai-chat", {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}, True),
        ("openai-chat", {"role": "critic", "content": "x"}, False),
        ("anthropic-messages", {"role": "user", "content": [{"type": "image", "source": {}}]}, True),
        ("anthropic-messages", {"role": "user", "content": [{"type": "mcp_tool_result", "tool_use_id": "x"}]}, False),
        ("gemini", "as the SDK takes it", True),
        ("gemini", {"parts": {"text": "no role, one part"}}, True),
        ("gemini", {"role": "function", "parts": []}, False),
        ("gemini", {"role": "user", "parts": {"functionResponse": {"name": "f", "response": {}}}}, False),
        ("gemini", {"role": "user", "parts": [{"toolResponse": {"response": {}}}]}, False),
        ("openai-responses", {"type": "message", "role": "user", "content": []}, True),
        ("openai-responses", {"type": "reasoning", "summary": []}, False),
        ("openai-responses", {"type": "item_reference", "id": "msg_1"}, False),
        ("openai-responses", {"type": "computer_call_output", "call_id": "c"}, False),
        ("openai-responses", {"type": "mcp_approval_response", "approval_request_id": "x", "approve": True}, False),
    ],
)
def test_what_a_conversation_may_begin_with(name: str, message: Any, begins: bool) -> None:
    messages = [*(WORDS[name](said) for said in short("ua")), message, *(WORDS[name](said) for said in short("au"))]
    assert cuts(DIALECTS[name], messages) == ([2, 4] if begins else [4])


@every_dialect
def test_identifiers_that_come_again(name: str) -> None:
    turn = [Said("user", "u"), Said("call", "call_0"), Said("result", "call_0"), Said("assistant", "a")]
    messages = [WORDS[name](said) for said in [*turn, *turn, *turn, Said("user", "u")]]
    assert cuts(DIALECTS[name], messages) == [4, 8, 12]


def test_an_approval_stays_with_its_request() -> None:
    asked = {"type": "mcp_approval_request", "id": "x", "name": "f", "arguments": "{}", "server_label": "s"}
    answered = {"type": "mcp_approval_response", "approval_request_id": "x", "approve": True}
    user = _responses(Said("user", "u"))
    assert cuts(
        DIALECTS["openai-responses"], [user, asked, user, answered, _responses(Said("assistant", "a")), user]
    ) == [5]


@pytest.mark.parametrize("name", [name for name in DIALECTS if name not in WORDS])
def test_dialects_without_a_conversation(name: str) -> None:
    assert cuts(DIALECTS[name], [{"role": "user", "content": "x"}] * 3) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["user", "tool_result", "tool"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "parts", "tool_calls", "id", "call_id", "functionResponse"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@every_dialect
@given(messages=st.lists(values, max_size=6))
def test_messages_of_any_shape(name: str, messages: list[Any]) -> None:
    for cut in cuts(DIALECTS[name], messages):
        assert 0 < cut < len(messages)
        shortened(DIALECTS[name], messages, cut, keep_system=True)


@st.composite
def conversations(draw: st.DrawFn, *, adjacent: bool, system: bool) -> list[Said]:
    """Any conversation in which each result stands behind its call: at once, or anywhere later."""
    found: list[Said] = []
    open_calls: list[str] = []
    for number in range(draw(st.integers(0, 14))):
        choices = ["user", "assistant", "call"] + ["system"] * system + ["result"] * bool(open_calls)
        what = draw(st.sampled_from(choices))
        if adjacent and open_calls:
            what = "result"
        mark = f"m{number}"
        if what == "result":
            mark = open_calls.pop(draw(st.integers(0, len(open_calls) - 1)))
        elif what == "call":
            open_calls.append(mark)
        found.append(Said(what, mark))
    return found


@every_dialect
@given(data=st.data(), keep_system=st.booleans())
def test_what_is_left_is_a_conversation(name: str, data: st.DataObject, keep_system: bool) -> None:
    said = data.draw(conversations(adjacent=name == "gemini", system=name in IN_LIST))
    messages = [WORDS[name](one) for one in said]
    place = {id(message): index for index, message in enumerate(messages)}
    found = cuts(DIALECTS[name], messages)
    users = [index for index, one in enumerate(said) if one.what == "user"]
    for cut in found:
        kept = [
            said[place[id(message)]] for message in shortened(DIALECTS[name], messages, cut, keep_system=keep_system)
        ]
        others = [one for one in kept if one.what != "system"]
        assert others[0].what == "user"
        made = [one.mark for one in kept if one.what == "call"]
        assert all(one.mark in made for one in kept if one.what == "result")
        last = users[-1]
        while last and said[last - 1].what == "user":
            last -= 1
        assert kept[-(len(said) - last) :] == said[last:]
        if keep_system:
            assert [one for one in kept if one.what == "system"] == [one for one in said if one.what == "system"]
        else:
            assert kept == said[cut:]
    # None is left out that would do: every turn of the user's begins a conversation unless a call is open there.
    for index in users:
        if index > 0 and index not in found:
            parted = {one.mark for one in said[:index] if one.what == "call"} & {
                one.mark for one in said[index:] if one.what == "result"
            }
            assert parted or all(one.what == "user" for one in said[index - 1 : users[-1]])

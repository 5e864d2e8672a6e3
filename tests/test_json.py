"""Bodies are read so that no other reader could read something else, and written as they were spelled."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aigw_middleware.json import InvalidJSON, decode, decode_unambiguous, encode

names = st.sampled_from(["a", "b", "a\\u0062", "ab", "\\u0061", 'a\\"', "a:", '\\":'])
scalars = st.sampled_from(
    (
        *("1", "-0", "0", "1.50", "0.7", "1e5", "1E+2", "-0.0", "123456789012345678901234567890", "null", "true"),
        *('"x"', '"\\u00e9"', '"é"', '"\\/"', '"a\\":b"', '":"', '"\x7f"', '"\u2028"'),
    )
)
white = st.sampled_from(["", " ", "\n", "\t ", "\r\n"])


@st.composite
def documents(draw: Any, depth: int = 3) -> str:
    """Write a document, perhaps with one name twice."""
    kind = draw(st.sampled_from(["scalar", "list", "object", "object"])) if depth else "scalar"
    if kind == "scalar":
        return str(draw(scalars))
    space = draw(white)
    items = [draw(documents(depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "list":
        return f"[{space}" + f",{space}".join(items) + "]"
    return "{" + ",".join(f'{space}"{draw(names)}"{space}:{space}{item}' for item in items) + "}"


def has_duplicates(text: str) -> bool:
    """Say whether an object has a name twice, by another reader."""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len(dict(pairs)) != len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return found


@given(documents())
@example('{"a":1,"a":1}')
@example('{"a":1,"\\u0061":1}')
@example('{"a":":","a":1}')
@example('{"a":1,"a":2,"b":"\\u003a"}')
@example('{"a":1,"a":2,"b":"\\u003A:"}')
@example('{"a:":1,"a:":2,"b":"x"}')
@example('{"a\\\\":1,"b":1,"b":2}')
def test_names_that_occur_twice_are_refused_and_nothing_else(text: str) -> None:
    if has_duplicates(text):
        with pytest.raises(InvalidJSON, match="twice"):
            decode_unambiguous(text.encode())
    else:
        assert decode_unambiguous(text.encode()) == json.loads(text)


@given(documents())
def test_what_is_written_again_is_never_longer(text: str) -> None:
    """The quick look relies on it: equal length means that nothing was dropped."""
    data = text.encode()
    again = encode(decode(data))
    assert len(again) <= len(data)
    assert json.loads(again) == json.loads(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(-0.0)
@example(1e16)
@example(0.0001)
@example(0.00001)
def test_numbers_leave_as_they_were_written(number: float) -> None:
    for text in (repr(number), f"{number:e}", f"{number:.3f}"):
        assert encode(decode(text.encode())) == text.encode()


@pytest.mark.parametrize("text", ["1.0", "1.50", "0.70", "1E5", "1e-7", "-0.0", "100000000000000000000.5"])
def test_spellings_are_kept(text: str) -> None:
    body = f'{{"temperature":{text}}}'.encode()
    assert encode(decode(body)) == body
    assert decode(body)["temperature"] == float(text)


def test_nesting_is_bounded() -> None:
    decode_unambiguous(b"[" * 200 + b"]" * 200)
    for data in (b"[" * 203 + b"]" * 203, b'{"a":' * 203 + b"1" + b"}" * 203, b"[" * 100_000):
        with pytest.raises(InvalidJSON, match="nested too deep"):
            decode_unambiguous(data)

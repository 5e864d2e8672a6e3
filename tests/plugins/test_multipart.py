"""Forms in parts: what is read of them, what is refused, and that replacing one field leaves every other byte."""

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from aigw_middleware.plugins.ai.multipart import MAX_HEAD, MAX_PARTS, InvalidForm, is_form, text_field

TYPE = b"multipart/form-data; boundary=b"
MODEL = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a;b\\".png"\r\nContent-Type: image/png\r\n\r\n'
FILE += b"\x89PNG\r\n--c\r\n -b\r\n\x00-\r\n\r\n"
END = b"--b--\r\n"


def part(head: bytes, content: bytes = b"gpt") -> bytes:
    """One part of the boundary `b`."""
    return b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def field(data: bytes, content_type: bytes = TYPE) -> str | None:
    """The text of the field `model`."""
    found = text_field(data, content_type, "model")
    return None if found is None else found.text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (MODEL + END, "gpt"),
        (MODEL + b"--b--", "gpt"),
        (FILE + MODEL + END, "gpt"),
        (MODEL + FILE + END, "gpt"),
        (FILE + END, None),
        (END, None),
        (part(b"content-disposition:form-data;name=model") + END, "gpt"),
        (part(b'CONTENT-DISPOSITION: FORM-DATA ; NAME="model"') + END, "gpt"),
        (part(b'content-disposition: form-data; name="model"', b"") + END, ""),
        (part(b'content-disposition: form-data; name="model"', b"\r\n") + END, "\r\n"),
        (part(b'content-disposition: form-data; name="model"', "通/义".encode()) + END, "通/义"),
        (part(b'content-disposition: form-data; name="Model"') + END, None),
        (part(b"content-disposition: form-data; name=\"other\"; filename*=UTF-8''model") + MODEL + END, "gpt"),
        (part(b'content-type: text/plain; charset="UTF-8"\r\ncontent-disposition: form-data; name=model') + END, "gpt"),
        (part(b"content-type: multipart/form-data\r\ncontent-disposition: form-data; name=model") + END, "gpt"),
        (part(b"content-transfer-encoding: 8Bit\r\ncontent-disposition: form-data; name=model") + END, "gpt"),
        (part(b"content-length: 3\r\ncontent-disposition: form-data; name=model") + END, "gpt"),
        (part(b"content-length: 9\r\ncontent-disposition: form-data; name=other") + MODEL + END, "gpt"),
        (part(b"x:\r\ncontent-disposition: form-data; name=model") + END, "gpt"),
    ],
)
def test_what_is_read(data: bytes, text: str | None) -> None:
    assert field(data) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin with its boundary"),
        (b"\r\n" + MODEL + END, "does not begin with its boundary"),
        (b"preamble\r\n" + MODEL + END, "does not begin with its boundary"),
        (MODEL.replace(b"--b", b"--B") + END, "does not begin with its boundary"),
        (MODEL, "it has no end"),
        (MODEL + b"--b", "a line goes on after the boundary"),
        (MODEL + b"--b-", "a line goes on after the boundary"),
        (MODEL + b"--b \r\n" + MODEL[5:] + END, "a line goes on after the boundary"),
        (MODEL + b"--bb\r\n" + END, "a line goes on after the boundary"),
        (MODEL.replace(b"--b\r\n", b"--b\n") + END, "a line goes on after the boundary"),
        (MODEL + END + b"epilogue", "something follows its end"),
        (MODEL + END + MODEL + END, "something follows its end"),
        (MODEL + b"--b--\n", "something follows its end"),
        (MODEL + b"--b--x\n", "something follows its end"),
        (MODEL.replace(b"gpt", b"gpt\n--b") + END, "stands where no line of its own begins"),
        (MODEL.replace(b"gpt", b"gpt\r--b") + END, "stands where no line of its own begins"),
        (MODEL.replace(b"gpt", b"--b") + END, "stands where no line of its own begins"),
        (MODEL.replace(b"gpt", b"\n--b") + END, "stands where no line of its own begins"),
        (b"--b\r\n\r\ngpt\r\n" + END, "a part has no header"),
        (b"--b\r\n\r\n\r\n\r\n" + END, "a line of a part's header is none"),
        (b"--b\r\n\r\nx: y\r\n\r\ngpt\r\n" + END, "a line of a part's header is none"),
        (part(b"x: y\r\n--b\r\ncontent-disposition: form-data; name=model") + END, "where no line of its own begins"),
        (part(b"content-disposition: form-data; name=model\r\nx: --b") + END, "where no line of its own begins"),
        (MODEL.replace(b"gpt", b"x--b\r\nx: y\r\n\r\n") + END, "where no line of its own begins"),
        (part(b"x: y\r\n folded\r\ncontent-disposition: form-data; name=model") + END, "a line of a part's header"),
        (part(b"x: y\ncontent-disposition: form-data; name=model") + END, "a line of a part's header is none"),
        (part(b"x: \x00\r\ncontent-disposition: form-data; name=model") + END, "a line of a part's header is none"),
        (part(b"x : y\r\ncontent-disposition: form-data; name=model") + END, "a line of a part's header is none"),
        (
            part(b"X: y\r\nx: y\r\ncontent-disposition: form-data; name=model") + END,
            "a header field of a part is there",
        ),
        (part(b"content-type: text/plain") + END, "a part has no name"),
        (part(b"content-disposition: form-data") + END, "a part has no name"),
        (part(b"content-disposition: attachment; name=model") + END, "a part has no name"),
        (part(b'content-disposition: form-data; name="mod\\el"') + END, "can be read in two ways"),
        (part(b'content-disposition: form-data; name=" model"') + END, "can be read in two ways"),
        (part('content-disposition: form-data; name="model\u00a0"'.encode()) + END, "can be read in two ways"),
        (part(b"content-disposition: form-data; name*=utf-8''model") + END, "an extended parameter"),
        (part(b"content-disposition: form-data; name=x; name*=utf-8''model") + END, "an extended parameter"),
        (part(b"content-disposition: form-data; name*0=mod; name*1=el") + END, "an extended parameter"),
        (part(b"content-disposition: form-data; name=x; Name=model") + END, "has a parameter twice"),
        (part(b'content-disposition: form-data; name="model') + END, "a parameter that is none"),
        (part(b"content-disposition: form-data; name=model;") + END, "a parameter that is none"),
        (part(b"content-disposition: form-data; name=mo del") + END, "a parameter that is none"),
        (MODEL + FILE + MODEL + END, "it has the field model twice"),
        (part(b"content-disposition: form-data; name=model; filename=x") + END, "its field model is a file"),
        (part(b"content-disposition: form-data; name=model; filename*=utf-8''x") + END, "its field model is a file"),
        (MODEL.replace(b"gpt", b"\xff") + END, "its field model is not valid UTF-8"),
        (
            part(b"content-transfer-encoding: base64\r\ncontent-disposition: form-data; name=model") + END,
            "its field model has a transfer encoding",
        ),
        (
            part(b"content-type: text/plain; charset=utf-16\r\ncontent-disposition: form-data; name=model") + END,
            "its field model has another charset than UTF-8",
        ),
        (
            part(b"content-length: 2\r\ncontent-disposition: form-data; name=model") + END,
            "its field model states another length than it has",
        ),
        (
            part(b"content-length: +3\r\ncontent-disposition: form-data; name=model") + END,
            "its field model states another length than it has",
        ),
    ],
)
def test_what_two_readers_could_read_differently_is_no_form(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidForm, match=reason):
        field(data)


@pytest.mark.parametrize(
    ("content_type", "valid"),
    [
        (b"multipart/form-data; boundary=b", True),
        (b"Multipart/Form-Data ; charset=utf-8; Boundary=b ", True),
        (b'multipart/form-data; boundary="b"', True),
        (b"multipart/form-data; boundary=b; charset=utf-16", False),
        (b"multipart/form-data", False),
        (b"multipart/form-data; boundary=", False),
        (b'multipart/form-data; boundary=""', False),
        (b'multipart/form-data; boundary="b "', False),
        (b"multipart/form-data; boundary=b; boundary=b", False),
        (b"multipart/form-data; boundary=b, multipart/form-data", False),
        (b"multipart/form-data; boundary*=b", False),
        (b'multipart/form-data; boundary="\\b"', False),
    ],
)
def test_the_boundary(content_type: bytes, valid: bool) -> None:
    if valid:
        assert field(MODEL + END, content_type) == "gpt"
    else:
        with pytest.raises(InvalidForm):
            field(MODEL + END, content_type)


@pytest.mark.parametrize("length", [70, 71])
def test_a_boundary_has_at_most_70_characters(length: int) -> None:
    boundary = b"'" * (length - 1) + b"?"
    data, content_type = (
        (MODEL + END).replace(b"--b", b"--" + boundary),
        b'multipart/form-data; boundary="%s"' % boundary,
    )
    if length == 70:
        assert field(data, content_type) == "gpt"
    else:
        with pytest.raises(InvalidForm, match="no valid boundary"):
            field(data, content_type)


def test_a_boundary_with_a_colon_is_no_header_field() -> None:
    data = part(b"x: y\r\n--a:b\r\ncontent-disposition: form-data; name=model") + END
    with pytest.raises(InvalidForm, match="where no line of its own begins"):
        field(data.replace(b"--b", b"--a:b"), b'multipart/form-data; boundary="a:b"')


def test_bounds() -> None:
    other = part(b"content-disposition: form-data; name=other")
    assert field(other * (MAX_PARTS - 1) + MODEL + END) == "gpt"
    with pytest.raises(InvalidForm, match="too many parts"):
        field(other * MAX_PARTS + MODEL + END)
    head = b"content-disposition: form-data; name=model\r\nx: "
    assert field(part(head + b"y" * (MAX_HEAD - 4 - len(head))) + END) == "gpt"
    with pytest.raises(InvalidForm, match="too large"):
        field(part(head + b"y" * (MAX_HEAD - 3 - len(head))) + END)


def test_only_the_field_is_replaced() -> None:
    found = text_field(FILE + MODEL + FILE + END, TYPE, "model")
    assert found is not None
    assert found.replaced("claude") == FILE + MODEL.replace(b"gpt", b"claude") + FILE + END
    assert found.replaced("") == FILE + MODEL.replace(b"gpt", b"") + FILE + END
    assert "gpt" not in repr(found)


def test_a_length_that_the_part_states_follows() -> None:
    stated = part(b"content-disposition: form-data; name=model\r\nContent-Length:  3\r\nx: y")
    found = text_field(FILE + stated + END, TYPE, "model")
    assert found is not None
    assert found.replaced("claude-opus") == FILE + stated.replace(b"3", b"11").replace(b"gpt", b"claude-opus") + END


@pytest.mark.parametrize("text", ["--b", "x--b--", "a\r\nb", "a\nb", "a\rb"])
def test_what_would_break_the_form_is_not_put_there(text: str) -> None:
    found = text_field(MODEL + END, TYPE, "model")
    assert found is not None
    with pytest.raises(InvalidForm, match="line break or the boundary"):
        found.replaced(text)


@pytest.mark.parametrize(
    ("content_type", "form"),
    [(TYPE, True), (b"Multipart/form-data", True), (b"multipart/mixed; boundary=b", False), (None, False)],
)
def test_what_is_a_form(content_type: bytes | None, form: bool) -> None:
    assert is_form(content_type) is form


# ---------------------------------------------------------------------- another reader


def read_by_another(data: bytes) -> list[str] | None:
    """The fields `model` as Werkzeug reads them; None where it takes the body for no form."""
    kind, options = parse_options_header(TYPE.decode())
    parser = FormDataParser(stream_factory=lambda *_, **__: io.BytesIO(), silent=False)
    try:
        _, form, files = parser.parse(io.BytesIO(data), kind, len(data), options)
    except (ValueError, HTTPException):
        return None
    return [*form.getlist("model"), *(file.read().decode("latin-1") for file in files.getlist("model"))]


NAMES = st.sampled_from(["model", "Model", "prompt", "image", "n"])
CONTENTS = st.one_of(
    st.binary(max_size=40), st.lists(st.sampled_from([b"\r", b"\n", b"-", b"b", b":", b"m"]), max_size=12).map(b"".join)
)


@given(st.lists(st.tuples(NAMES, CONTENTS, st.booleans()), max_size=5), st.text("ab/-", max_size=5))
def test_the_forms_of_clients(parts: Sequence[tuple[str, bytes, bool]], text: str) -> None:
    kept = [given for given in parts if given[0] != "model"]
    fitting = all(b"--b" not in content for _, content, _ in kept) and "--b" not in text

    def form(model: str) -> bytes:
        written = [
            part(f'Content-Disposition: form-data; name="{name}"'.encode() + b'; filename="f"' * file, content)
            for name, content, file in kept
        ]
        written.insert(len(kept) // 2, MODEL.replace(b"gpt", model.encode()))
        return b"".join(written) + END

    if fitting:
        found = text_field(form("gpt"), TYPE, "model")
        assert found is not None
        assert found.text == "gpt"
        assert found.replaced(text) == form(text)
        assert read_by_another(form(text)) == [text]


PIECES = [
    b"\r\n",
    b"\r",
    b"\n",
    b"--b",
    b"--b--",
    b"\r\n\r\n",
    b"--",
    b" ",
    b";",
    b'"',
    b"\\",
    b":",
    b"x",
    b"\x00",
    b"\xe9",
]
PIECES += [MODEL, FILE, END, b'name="model"', b"name=model", b'; filename="x"', b"name*=utf-8''model", b"\r\nx: y"]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 6), st.sampled_from([b"", *PIECES])), max_size=4),
    st.sampled_from([MODEL + FILE + END, FILE + MODEL + END, MODEL + END]),
)
def test_what_is_read_of_a_damaged_form_is_what_another_reader_reads(
    damages: Sequence[tuple[int, int, bytes]], data: bytes
) -> None:
    for at, gone, put in damages:
        data = data[:at] + put + data[at + gone :]
    try:
        text = field(data)
    except InvalidForm:
        return
    other = read_by_another(data)
    assert other is None or other == ([] if text is None else [text])

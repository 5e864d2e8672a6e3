"""Ambiguous paths, mount prefixes and decoding."""

from urllib.parse import quote_from_bytes, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.paths import ambiguous, decode_path, matching_path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"/a%2fb", "an encoded slash"),
        (b"/..%2Fadmin", "an encoded slash"),
        (b"/a\\b", "a backslash"),
        (b"/a%5cb", "an encoded backslash"),
        (b"/a%5Cb", "an encoded backslash"),
        (b"//api", "an empty segment"),
        (b"/api//", "an empty segment"),
        (b"/a;b", "a semicolon"),
        (b"/..;/admin", "a semicolon"),
        (b"/a%3Bb", "an encoded semicolon"),
        (b"/a%3bb", "an encoded semicolon"),
        (b"/a\0", "a NUL"),
        (b"/a%00", "an encoded NUL"),
        (b"/a%", "a percent sign that encodes nothing"),
        (b"/a%4", "a percent sign that encodes nothing"),
        (b"/a%zz", "a percent sign that encodes nothing"),
        (b"/a%4/b", "a percent sign that encodes nothing"),
        (b"/%%41", "a percent sign that encodes nothing"),
        (b"/.", "a dot segment"),
        (b"/..", "a dot segment"),
        (b".", "a dot segment"),
        (b"../a", "a dot segment"),
        (b"/api/../x", "a dot segment"),
        (b"/api/./x", "a dot segment"),
        (b"/api/%2e%2E/x", "a dot segment"),
        (b"/api/.%2e", "a dot segment"),
        (b"/%2e/x", "a dot segment"),
        (b"/a\xff", "bytes that are not UTF-8"),
        (b"/%ff", "bytes that are not UTF-8"),
        (b"/%c0%af", "bytes that are not UTF-8"),
        (b"/%c3/%a9", "bytes that are not UTF-8"),
        (b"/%ed%a0%80", "bytes that are not UTF-8"),
    ],
)
def test_ambiguous(path: bytes, reason: str) -> None:
    assert ambiguous(path) == reason


@pytest.mark.parametrize(
    "path",
    [
        *(b"/", b"/v1/chat/completions", b"/v1/models/", b"*", b"", b"/%61pi", b"/caf%C3%A9", "/café".encode()),
        *(b"/a%20b%25", b"/.well-known/x", b"/a/..b", b"/a.", b"/a../b", b"/...", b"/.a%2e", b"/a%2e/b", b"/a%3fb%23"),
        *(b"/a:b@c!$&'()*+,=~_-", b"a"),
    ],
)
def test_not_ambiguous(path: bytes) -> None:
    assert ambiguous(path) is None


parts = st.sampled_from(
    [b"/", b".", b"%2e", b"%2E", b"%2f", b"%5C", b"a", b";", b"%3b", b"\\", b"%00", b"\0", b"%41", b"%c3%a9", b"%"]
)


@given(st.lists(parts | st.binary(max_size=2)).map(b"".join))
def test_a_path_that_passes_has_one_meaning(path: bytes) -> None:
    """What the code promises to its users, without the order of its tests."""
    if ambiguous(path) is not None:
        return
    text = decode_path(path)
    assert text == path.decode() if b"%" not in path else unquote(path.decode(), errors="strict")
    assert decode_path(quote_from_bytes(text.encode()).encode()) == text
    assert not set(text) & set("\\;\0")
    assert text.count("/") == path.count(b"/")
    segments = text.split("/")
    assert not {".", ".."} & set(segments)
    assert "" not in segments[1:-1]


@given(st.text().map(lambda text: "/" + text))
def test_encoded_text_is_decoded(text: str) -> None:
    encoded = text.encode("utf-8", errors="replace")
    assert decode_path(quote_from_bytes(encoded).encode()) == encoded.decode()
    assert decode_path(encoded.replace(b"%", b"%25")) == encoded.decode()


def test_what_is_not_utf8_is_replaced() -> None:
    assert decode_path(b"/%ff\xff%41") == "/\ufffd\ufffdA"
    assert decode_path(b"/%zz") == "/%zz"


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/v1/chat", "", "/v1/chat"),
        ("/sub/v1/chat", "/sub", "/v1/chat"),
        ("/sub/v1/chat", "/sub/", "/v1/chat"),
        ("/sub/v1/chat", "sub", "/v1/chat"),
        ("/sub", "/sub", "/"),
        ("/sub/", "/sub", "/"),
        ("/sub", "/sub/", "/"),
        ("/subway", "/sub", "/subway"),
        ("/subway/sub", "/sub", "/subway/sub"),
        ("/v1/chat", "/sub", "/v1/chat"),
        ("/v1/sub/x", "/sub", "/v1/sub/x"),
        ("/sub/sub/x", "/sub", "/sub/x"),
        ("/a/b/c", "/a/b", "/c"),
        ("/a/bc", "/a/b", "/a/bc"),
        ("/sub//x", "/sub", "//x"),
        ("/x", "/", "/x"),
        ("", "", "/"),
        ("", "/sub", "/"),
        ("*", "", "/*"),
    ],
)
def test_matching_path(path: str, root_path: str, expected: str) -> None:
    assert matching_path(path, root_path) == expected


@given(st.text("/ab"), st.text("/ab").map(lambda text: "/" + text.strip("/")))
def test_the_same_answer_mounted_or_not(rest: str, mount: str) -> None:
    path = "/" + rest
    mounted = path if mount == "/" else mount + path
    assert matching_path(mounted, mount) == path == matching_path(path, "")

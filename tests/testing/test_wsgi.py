"""WSGI, by hand and through the in-process client: lazy, closed once, and to the letter of PEP 3333."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import httpx
import httpx2
import pytest

from aigw_middleware.testing.clients import wsgi_client
from aigw_middleware.testing.wsgi import wsgi_exchange
from aigw_middleware.testing.wsgi_call import CountedBody
from aigw_middleware.testing.wsgi_transport import WsgiTransport, wsgi_transport_class

TEXT = [("Content-Type", "text/plain")]


def answering(result: Iterable[bytes], headers: list[tuple[str, str]] = TEXT) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(headers))
        return result

    return app


def reading(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    length = environ.get("CONTENT_LENGTH")
    body = (
        environ["wsgi.input"].read(int(length) if length else 9)
        if length or environ.get("wsgi.input_terminated")
        else b""
    )
    text = f"{length} {environ.get('wsgi.input_terminated')} {body.decode()}".encode()
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(text)))])
    return [text]


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_chunk_is_made_when_it_is_asked_for(library: Any) -> None:
    body = CountedBody([b"", b"0", b"", b"1", b"2"])
    with wsgi_client(answering(body), library=library) as http, http.stream("GET", "/") as response:
        assert body.taken == 2
        chunks = response.iter_raw()
        assert (next(chunks), body.taken) == (b"0", 2)
        assert (next(chunks), body.taken, body.closed) == (b"1", 4, 0)
    assert (body.taken, body.closed) == (4, 1)


def test_a_body_read_to_its_end_is_closed_once() -> None:
    body = CountedBody([b"a", b"b"])
    with wsgi_client(answering(body)) as http:
        response = http.get("/")
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream.close()
    assert (response.text, body.closed) == ("ab", 1)


@pytest.mark.parametrize(("chunked", "seen"), [(False, "3 None abc"), (True, "None True abc")])
def test_the_request_body_has_a_length_or_an_end(chunked: bool, seen: str) -> None:
    with wsgi_client(validator(reading), chunked=chunked) as http:
        assert http.post("/", content=b"abc").text == seen
        assert http.post("/", content=iter([b"a", b"bc"])).text == seen
    exchange = wsgi_exchange(validator(reading), "POST", body=[b"a", b"bc"], chunked=chunked)
    assert (exchange.body.decode(), exchange.exception, exchange.closed) == (seen, None, 1)
    assert wsgi_exchange(validator(reading)).body == b"None None "
    assert wsgi_exchange(answering([b"{", b"}"])).json() == {}


def test_a_chunked_request_body_is_made_as_it_is_read() -> None:
    made: list[bytes] = []

    def upload() -> Iterator[bytes]:
        for chunk in (b"a", b"b"):
            made.append(chunk)
            yield chunk

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert made == []
        first = environ["wsgi.input"].read1()
        assert (first, made) == (b"a", [b"a"])
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    with wsgi_client(app, chunked=True) as http:
        assert http.post("/", content=upload()).content == b"b"


def test_the_environ_is_what_a_server_makes_of_the_request() -> None:
    seen: dict[str, Any] = {}

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen.update(environ)
        start_response("299 Fine", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Name", "\xe9")])
        return []

    headers = [("X-Tag", "1"), ("x-tag", "2"), ("Cookie", "a=1"), ("Cookie", "b=2")]
    options: dict[str, Any] = {"root_path": "/sub", "client": ("10.0.0.1", 7), "environ": {"my.key": 1}}
    with wsgi_client(app, "https://host:444/sub", **options) as http:
        response = http.get("/caf%C3%A9?q=%20", headers=headers)
    assert (response.status_code, response.reason_phrase, response.content) == (299, "Fine", b"")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers.raw[2] == (b"X-Name", b"\xe9")
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"].encode("latin-1"), seen["QUERY_STRING"]) == (
        "/sub",
        "/café".encode(),
        "q=%20",
    )
    assert (seen["HTTP_X_TAG"], seen["HTTP_COOKIE"], seen["my.key"]) == ("1,2", "a=1; b=2", 1)
    assert (seen["REMOTE_ADDR"], seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("10.0.0.1", "host", "444")
    assert "CONTENT_LENGTH" not in seen


def test_the_mount_point_leaves_only_paths_below_it() -> None:
    paths = ("/sub", "/sub/x", "/subway", "/x")
    seen = [wsgi_exchange(answering([]), path=path, root_path="/sub", client=None).environ for path in paths]
    assert [environ["PATH_INFO"] for environ in seen] == ["", "/x", "/subway", "/x"]
    assert all("REMOTE_ADDR" not in environ for environ in seen)


def test_what_is_written_comes_before_what_is_returned() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"a")

        def rest() -> Iterator[bytes]:
            write(b"b")
            yield b"c"
            write(b"d")

        return rest()

    with wsgi_client(app) as http, http.stream("GET", "/") as response:
        assert list(response.iter_raw()) == [b"a", b"b", b"c", b"d"]
    assert wsgi_exchange(app).chunks == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("sent_before", [False, True])
def test_an_error_replaces_the_response_until_its_headers_are_sent(sent_before: bool) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"a" if sent_before else b""
        try:
            raise LookupError("app")
        except LookupError:
            start_response("500 Oops", [("X-Error", "1")], sys.exc_info())
        yield b"error"

    exchange = wsgi_exchange(app)
    with wsgi_client(app) as http:
        if sent_before:
            with pytest.raises(LookupError, match="app"):
                http.get("/")
            assert (exchange.status, exchange.chunks, type(exchange.exception)) == (200, [b"a"], LookupError)
        else:
            assert (http.get("/").status_code, exchange.status, exchange.body) == (500, 500, b"error")
    assert (exchange.starts, exchange.closed) == (2, 1)


@pytest.mark.parametrize("late", [False, True])
def test_what_the_app_raises_reaches_the_client_and_the_body_is_closed(late: bool) -> None:
    class Failing(CountedBody):
        def __next__(self) -> bytes:
            if self.taken == late:
                raise LookupError("app")
            return super().__next__()

    body = Failing([b"a"])
    with wsgi_client(answering(body)) as http, pytest.raises(LookupError, match="app"):
        http.get("/")
    assert body.closed == 1
    with wsgi_client(answering(body := Failing([b"a"])), raise_app_exceptions=False) as http:
        if late:
            with pytest.raises(httpx.RemoteProtocolError):
                http.get("/")
        else:
            assert http.get("/").status_code == 500
    assert body.closed == 1


def silent(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return []


def starts_twice(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


@pytest.mark.parametrize(
    ("app", "error"),
    [
        (silent, AssertionError),
        (starts_twice, AssertionError),
        (answering(b"ab"), TypeError),  # type: ignore[arg-type]  # iterates as numbers, a classic mistake
        (answering([b"12"], [("Content-Length", "3")]), httpx.RemoteProtocolError),
        (answering([b"12", b"34"], [("Content-Length", "3")]), httpx.RemoteProtocolError),
    ],
)
def test_broken_responses_do_not_pass(app: WSGIApplication, error: type[Exception]) -> None:
    with wsgi_client(app) as http, pytest.raises(error):
        http.get("/")


def test_head_has_the_length_of_get_and_no_body() -> None:
    with wsgi_client(answering([b"123"], [("Content-Length", "3")])) as http:
        head = http.head("/")
    assert (head.headers["content-length"], head.content) == ("3", b"")


@pytest.mark.parametrize(
    ("close_after", "taken", "complete"), [(0, 0, False), (1, 2, False), (2, 4, False), (None, 4, True)]
)
def test_an_exchange_ends_where_it_is_told_to(close_after: int | None, taken: int, complete: bool) -> None:
    body = CountedBody([b"", b"a", b"", b"b"])
    exchange = wsgi_exchange(answering(body), close_after=close_after)
    assert (body.taken, exchange.complete, exchange.closed, body.closed) == (taken, complete, 1, 1)
    assert exchange.result is body


def test_an_exchange_may_never_iterate_and_never_read() -> None:
    body = CountedBody([b"a"])
    exchange = wsgi_exchange(answering(body), "POST", body=[b"x"], never_iterate=True, forbid_input=True)
    assert (body.taken, body.closed, exchange.status, exchange.input_reads) == (0, 1, 200, 0)
    assert (exchange.header("content-TYPE"), exchange.header("x")) == ("text/plain", None)
    forbidden = wsgi_exchange(reading, "POST", body=[b"x"], forbid_input=True)
    assert isinstance(forbidden.exception, AssertionError)
    assert forbidden.input_reads == 1


def test_an_exchange_keeps_the_first_error_and_closes() -> None:
    class Failing(CountedBody):
        def __next__(self) -> bytes:
            raise LookupError("first")

        def close(self) -> None:
            raise KeyError("second")

    exchange = wsgi_exchange(answering(Failing([])))
    assert (type(exchange.exception), exchange.closed) == (LookupError, 1)
    assert isinstance(wsgi_exchange(answering(Failing([])), never_iterate=True).exception, KeyError)


def test_each_library_has_its_own_class_made_once() -> None:
    assert wsgi_transport_class("httpx") is WsgiTransport
    assert isinstance(wsgi_transport_class("httpx2")(reading), httpx2.BaseTransport)

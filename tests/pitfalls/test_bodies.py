"""Pitfalls of bodies: lengths that lie, codings, hostile JSON, early answers, framing after an edit."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Channel, Exchange, Gateway, Needs, Plugin, Refusal, Reply, WSGIGateway, current_exchange
from aigw_middleware.testing import asgi_exchange, wsgi_exchange
from aigw_middleware.testing.matrix import Script, Scripted, assert_same, run_everywhere

CHAT = "/v1/chat/completions"
JSON = [("content-type", "application/json")]


def plugin(**members: Any) -> Plugin[Any]:
    return type("Made", (Plugin,), {"name": "made", **members})()


def read_json(self: Any, exchange: Exchange) -> None:
    assert isinstance(exchange.request.json, dict)


def read_texts(self: Any, exchange: Exchange) -> None:
    if exchange.llm is not None:
        exchange.local[self] = [slot.text for slot in exchange.llm.texts()]


def edit_answer(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.body = exchange.response.body + b" edited"


def nothing(self: Any, exchange: Exchange, *arguments: Any) -> None:
    return None


async def unreached(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the service was reached")


def unreached_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    raise AssertionError("the service was reached")


def check_error(body: bytes, path: str, status: int, code: str) -> None:
    """Check that an error is in the format of its path's callers."""
    error = json.loads(body)
    if path == CHAT:
        assert set(error) == {"error"}
        assert set(error["error"]) == {"message", "type", "param", "code"}
        assert error["error"]["code"] == code
        assert error["error"]["message"]
    else:
        assert (error["status"], error["code"]) == (status, code)
        assert error["detail"]


# ---------------------------------------------------------------------- bad input: JSON

SECRET = "s3cr3t-value"
DEEP = 100_000
BAD_JSON = {
    "broken UTF-8": b'{"model":"' + SECRET.encode() + b'\xff","messages":[]}',
    "overlong UTF-8": b'{"model":"\xc0\xaf","messages":[]}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"model":"m"}',
    "lone surrogate": b'{"model":"\\ud800","messages":[]}',
    "cut off": b'{"model":"' + SECRET.encode(),
    "no JSON": SECRET.encode(),
    "empty": b"",
    "trailing": b'{"model":"m"} {}',
    "NaN": b'{"model":NaN}',
    "duplicate member": b'{"model":"m","messages":[],"model":"' + SECRET.encode() + b'"}',
    "duplicate, spaced": b'{"model" : "m","messages":[],"model"\n: "x"}',
    "duplicate, escaped": b'{"model":"m","messages":[],"\\u006dodel":"x"}',
    "duplicate, nested": b'{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}',
    "duplicate, hidden by a colon in a text": b'{"a:b":"c:d","model":"m","model":"x"}',
    "deep arrays": b'{"model":"m","messages":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"model":"m","messages":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep and cut off": b"[" * DEEP,
    "a little too deep": b'{"model":"m","messages":' + b"[" * 300 + b"]" * 300 + b"}",
}


@pytest.mark.parametrize("path", [CHAT, "/things"])
@pytest.mark.parametrize("case", BAD_JSON)
def test_json_that_two_readers_could_read_differently_is_refused_in_the_callers_format(case: str, path: str) -> None:
    script = Script(method="POST", path=path, headers=JSON, body=[BAD_JSON[case]] if BAD_JSON[case] else [])
    transcript = assert_same(run_everywhere(script, lambda: [plugin(on_request_body=read_json, on_failure="allow")]))
    assert transcript.status == 400
    assert transcript.seen == []
    assert transcript.outcomes == ["refused"]
    expected = "application/json" if path == CHAT else "application/problem+json"
    assert transcript.headers["content-type"] == [expected]
    check_error(transcript.body, path, 400, "invalid_json")
    assert SECRET.encode() not in transcript.body
    assert b"msgspec" not in transcript.body
    assert b"Traceback" not in transcript.body


@pytest.mark.parametrize("path", [CHAT, "/things"])
@pytest.mark.parametrize(
    "case", [case for case in BAD_JSON if "model" in case or case.startswith(("dup", "lone", "deep a"))]
)
def test_a_guard_of_llm_calls_is_not_passed_by_json_that_it_cannot_read(case: str, path: str) -> None:
    guard = lambda: [  # noqa: E731
        plugin(needs=Needs.LLM, on_request_body=read_texts, on_failure="deny", on_uncovered="deny")
    ]
    script = Script(method="POST", path=path, headers=JSON, body=[BAD_JSON[case]])
    transcript = assert_same(run_everywhere(script, guard))
    assert (transcript.status, transcript.seen) == (400, [])
    check_error(transcript.body, path, 400, "invalid_json")


@given(
    st.dictionaries(st.text(':" \\\n\u00e9{}a', max_size=4), st.integers() | st.text(':"\\a', max_size=4), max_size=5)
)
def test_names_with_colons_and_quotes_are_no_duplicates(value: dict[str, Any]) -> None:
    data = json.dumps(value, indent=1).encode()
    seen: list[Any] = []
    made = plugin(on_request_body=lambda self, exchange: seen.append(exchange.request.json))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    result = asyncio.run(asgi_exchange(Gateway(app, plugins=[made]), "POST", headers=JSON, body=[data]))
    assert (result.status, seen) == (200, [value])


# ---------------------------------------------------------------------- 33: sizes are counted


@pytest.mark.parametrize("path", [CHAT, "/things"])
@pytest.mark.parametrize("declared", [None, b"5", b"65536", b"-1", b"+5", b"1e9", b"\xb2", b""])
def test_a_body_is_counted_whatever_length_is_declared(declared: bytes | None, path: str) -> None:
    piece = b"x" * 65_536
    reads = [0]

    async def run() -> list[Any]:
        async def receive() -> Any:
            reads[0] += 1
            return {"type": "http.request", "body": piece, "more_body": True}  # without end: never 100 MB in memory

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        if declared is not None:
            headers.append((b"content-length", declared))
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        gateway = Gateway(unreached, {"max_body_bytes": 1_000_000}, plugins=[plugin(on_request_body=nothing)])
        await gateway(scope, receive, send)
        return sent

    start, body = asyncio.run(run())
    assert start["status"] == 413
    assert reads == [1_000_000 // 65_536 + 1]
    check_error(body["body"], path, 413, "request_too_large")


class Endless:
    """A request body on WSGI that does not end; `reads` counts the bytes asked for."""

    def __init__(self) -> None:
        self.given = 0

    def read(self, size: int) -> bytes:
        self.given += size
        return b"x" * size


@pytest.mark.parametrize("declared", ["", "\xb2", "5"])
@pytest.mark.parametrize("flags", [{"wsgi.input_terminated": True}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
def test_a_chunked_body_on_wsgi_is_counted(flags: dict[str, Any], declared: str) -> None:
    source = Endless()
    environ = {"wsgi.input": source, "CONTENT_LENGTH": declared, **flags}
    gateway = WSGIGateway(unreached_wsgi, {"max_body_bytes": 100_000}, plugins=[plugin(on_request_body=nothing)])
    if declared == "5" and "wsgi.input_terminated" not in flags:
        environ["wsgi.input_terminated"] = True
    result = wsgi_exchange(gateway, "POST", CHAT, headers=JSON, environ=environ)
    assert (result.exception, result.status) == (None, 413)
    assert source.given <= 100_001
    check_error(result.body, CHAT, 413, "request_too_large")


@pytest.mark.parametrize("path", [CHAT, "/things"])
@pytest.mark.parametrize("declared", ["1000001", "9" * 19, "9" * 5_000])
def test_a_declared_length_over_the_bound_is_refused_unread(declared: str, path: str) -> None:
    config = {"max_body_bytes": 1_000_000}
    headers = [*JSON, ("content-length", declared)]
    made = lambda: [plugin(on_request_body=nothing)]  # noqa: E731
    asgi = asyncio.run(
        asgi_exchange(Gateway(unreached, config, plugins=made()), "POST", path, headers=headers, forbid_receive=True)
    )
    wsgi = wsgi_exchange(
        WSGIGateway(unreached_wsgi, config, plugins=made()), "POST", path, headers=headers, forbid_input=True
    )
    for result in (asgi, wsgi):
        assert (result.exception, result.status) == (None, 413)
        check_error(result.body, path, 413, "request_too_large")


class Steps:
    """Counts the lines of Python that run in a block: a measure of work that no machine changes."""

    def __init__(self) -> None:
        self.count = 0

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "line"
        return self._trace

    def __enter__(self) -> Steps:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *arguments: Any) -> None:
        sys.settrace(self._before)


async def _read_all(count: int, gateway: Gateway) -> list[Any]:
    left = [count]

    async def receive() -> Any:
        left[0] -= 1
        return {"type": "http.request", "body": b"x", "more_body": left[0] > 0}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await gateway({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
    return sent


async def length(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the length of each piece of the body."""
    sizes = []
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        sizes.append(len(message["body"]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(sizes).encode()})


def test_a_million_chunks_of_one_byte_are_one_body() -> None:
    sent = asyncio.run(_read_all(1_000_000, Gateway(length, plugins=[plugin(on_request_body=nothing)])))
    assert sent[1]["body"] == b"[1000000]"


class Crumbs:
    """A request body on WSGI that comes byte by byte."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int) -> bytes:
        given = min(size, self.left, 1)
        self.left -= given
        return b"x" * given


@pytest.mark.parametrize("declared", [True, False])
def test_a_million_reads_of_one_byte_are_one_body_on_wsgi(declared: bool) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["CONTENT_LENGTH"].encode(), b" %d" % len(environ["wsgi.input"].read())]

    framing = {"CONTENT_LENGTH": "1000000"} if declared else {"wsgi.input_terminated": True}
    gateway = WSGIGateway(app, plugins=[plugin(on_request_body=nothing)])
    result = wsgi_exchange(gateway, "POST", environ={"wsgi.input": Crumbs(1_000_000), **framing})
    assert result.body == b"1000000 1000000"


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_input_leaves_nothing_behind(case: str) -> None:
    ended: list[Any] = []

    async def wait(self: Any, exchange: Exchange) -> None:
        await asyncio.sleep(0)

    async def run() -> None:
        stack = [plugin(on_request=wait), plugin(priority=1, on_request_body=read_json)]
        stack.append(plugin(priority=2, on_complete=lambda self, exchange: ended.append(exchange.outcome)))
        gateway = Gateway(unreached, plugins=stack)
        before = asyncio.all_tasks()
        result = await asgi_exchange(gateway, "POST", CHAT, headers=JSON, body=[BAD_JSON[case]])
        assert (result.status, result.exception) == (400, None)
        assert "aigw" not in result.scope.get("state", {})
        assert asyncio.all_tasks() == before
        assert current_exchange() is None

    asyncio.run(run())
    assert ended == ["refused"]


@pytest.mark.parametrize("side", ["request", "held answer", "passing answer"])
def test_work_for_small_chunks_is_linear(side: str) -> None:
    def steps(count: int) -> int:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            for _ in range(count):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await send({"type": "http.response.body"})

        hooks: dict[str, Any] = {
            "request": {"on_request_body": nothing},
            "held answer": {"on_response_body": nothing},
            "passing answer": {"on_complete": nothing},
        }
        gateway = Gateway(length if side == "request" else app, plugins=[plugin(**hooks[side])])
        with Steps() as counted:
            asyncio.run(_read_all(count if side == "request" else 1, gateway))
        return counted.count

    first, second, fourth = steps(500), steps(1_000), steps(2_000)
    assert fourth - second <= 2.2 * (second - first)


# ---------------------------------------------------------------------- 23 - 25: framing after an edit


async def _whole(scope: Any, receive: Any, send: Any) -> None:
    fields = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"5"), (b"ETag", b'"v1"')]
    fields += [(b"Digest", b"x"), (b"Content-MD5", b"x"), (b"Accept-Ranges", b"bytes")]
    await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": fields})
    await send({"type": "http.response.body", "body": b"hello" if scope["method"] != "HEAD" else b""})


def test_an_edited_answer_has_its_length_and_no_validator_of_the_old_one() -> None:
    gateway = Gateway(_whole, plugins=[plugin(on_response_body=edit_answer)])
    result = asyncio.run(asgi_exchange(gateway, path="/200"))
    assert result.body == b"hello edited"
    assert sorted(result.headers) == [(b"content-length", b"12"), (b"content-type", b"text/plain")]


@pytest.mark.parametrize("path", ["/206", "/204", "/304"])
def test_parts_and_answers_without_a_body_are_never_edited(path: str) -> None:
    gateway = Gateway(_whole, plugins=[plugin(on_response_body=edit_answer)])
    result = asyncio.run(asgi_exchange(gateway, path=path))
    assert result.body == b"hello"
    assert result.header("etag") == '"v1"'
    assert result.header("content-length") == "5"


def test_head_keeps_the_fields_of_get_and_is_never_edited() -> None:
    result = asyncio.run(
        asgi_exchange(Gateway(_whole, plugins=[plugin(on_response_body=edit_answer)]), "HEAD", path="/200")
    )
    assert (result.body, result.header("content-length"), result.header("etag")) == (b"", "5", '"v1"')


@pytest.mark.parametrize("status", [403, 204])
@pytest.mark.parametrize("kind", [Refusal, Reply])
def test_an_answer_of_ours_to_head_has_the_fields_of_get_and_no_body(kind: Any, status: int) -> None:
    def answer(self: Any, exchange: Exchange) -> Any:
        if kind is Refusal:
            return Refusal(403, "no", "No.")
        return Reply(status, [("x-a", "1")], b"text" if status != 204 else b"", content_type="text/plain")

    get = assert_same(run_everywhere(Script(), lambda: [plugin(on_request=answer)]))
    head = assert_same(run_everywhere(Script(method="HEAD"), lambda: [plugin(on_request=answer)]))
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")
    assert ("content-length" in get.headers) is (get.status != 204)


def test_a_stream_that_text_hooks_may_change_has_no_length() -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\ndata: [DONE]\n\n'
    fields = [("content-type", "text/event-stream"), ("content-length", str(len(event))), ("etag", '"v"')]

    def double(self: Any, exchange: Exchange, text: str, channel: Channel) -> str:
        return text * 2

    asked = b'{"model":"m","stream":true,"messages":[]}'
    script = Script(
        method="POST", path=CHAT, headers=JSON, body=[asked], answer=Scripted(headers=fields, chunks=[event])
    )
    transcript = assert_same(run_everywhere(script, lambda: [plugin(on_text=double)]))
    assert b'"xx"' in transcript.body
    assert not {"content-length", "etag"} & set(transcript.headers)


def test_an_edited_request_has_its_length_and_is_not_chunked() -> None:
    def edit(self: Any, exchange: Exchange) -> None:
        exchange.request.body = b"other"

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(([f for f in scope["headers"] if f[0] != b"host"], await receive()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    gateway = Gateway(app, plugins=[plugin(on_request_body=edit)])
    asyncio.run(asgi_exchange(gateway, "POST", body=[b"a", b"bc"], chunked=True))
    asyncio.run(asgi_exchange(gateway, "POST", body=[b"a", b"bc"]))
    assert seen == [([(b"content-length", b"5")], {"type": "http.request", "body": b"other", "more_body": False})] * 2


# ---------------------------------------------------------------------- 26, 27: codings


@pytest.mark.parametrize(
    ("coding", "edited"),
    [
        (None, True),
        ("identity", True),
        ("gzip", False),
        ("br", False),
        ("zstd", False),
        ("gzip, br", False),
        ("GZip", False),
    ],
)
def test_coded_answers_are_not_edited_as_text(coding: str | None, edited: bool) -> None:
    fields = [("content-type", "text/plain"), *([("content-encoding", coding)] if coding else [])]
    script = Script(answer=Scripted(headers=fields, chunks=[b"hello"]))
    hosts = ("asgi", "wsgi", "django", "django-async")  # an HTTP client would decode what is no gzip
    transcript = assert_same(run_everywhere(script, lambda: [plugin(on_response_body=edit_answer)], hosts=hosts))
    assert transcript.body == (b"hello edited" if edited else b"hello")
    assert transcript.headers.get("content-encoding", [None])[0] == coding


ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}'
SERVED = ("asgi", "wsgi", "django", "django-async")  # an HTTP client decodes what it gets


def coded_answer(media_type: str, coding: str, body: bytes) -> Script:
    fields = [("content-type", media_type), ("content-encoding", coding), ("content-length", str(len(body)))]
    asked = b'{"model":"m","messages":[]}'
    return Script(method="POST", path=CHAT, headers=JSON, body=[asked], answer=Scripted(headers=fields, chunks=[body]))


@pytest.mark.parametrize(("policy", "status"), [("deny", 502), ("allow", 200)])
@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
def test_a_coded_answer_of_a_model_follows_the_guards_policy(media_type: str, policy: str, status: int) -> None:
    script = coded_answer(media_type, "compress", ANSWER)
    guard = lambda: [plugin(on_text=nothing, on_uncovered=policy)]  # noqa: E731
    transcript = assert_same(run_everywhere(script, guard, hosts=SERVED))
    assert transcript.status == status
    assert (transcript.body == ANSWER) is (policy == "allow")


def test_a_damaged_coded_answer_follows_the_guards_policy() -> None:
    script = coded_answer("application/json", "gzip", gzip.compress(ANSWER)[:-12])
    denying = assert_same(run_everywhere(script, lambda: [plugin(on_text=nothing, on_uncovered="deny")], hosts=SERVED))
    assert denying.status == 502
    assert script.answer is not None
    allowing = assert_same(
        run_everywhere(script, lambda: [plugin(on_text=nothing, on_uncovered="allow")], hosts=SERVED)
    )
    assert (allowing.status, [allowing.body]) == (200, script.answer.chunks)


def louder(self: Plugin[Any], exchange: Exchange, text: str, channel: Channel) -> str:
    return text.upper()


def test_a_coded_answer_is_read_and_leaves_as_it_came_unless_it_is_edited() -> None:
    coded = gzip.compress(ANSWER, mtime=0)
    script = coded_answer("application/json", "gzip", coded)
    guard = lambda: [plugin(on_text=nothing, on_uncovered="deny")]  # noqa: E731
    untouched = assert_same(run_everywhere(script, guard, hosts=SERVED))
    assert (untouched.status, untouched.body) == (200, coded)
    assert untouched.headers["content-encoding"] == ["gzip"]
    assert untouched.headers["content-length"] == [str(len(coded))]
    edited = assert_same(run_everywhere(script, lambda: [plugin(on_text=louder)], hosts=SERVED))
    assert edited.body == ANSWER.replace(b'"hi"', b'"HI"')
    assert "content-encoding" not in edited.headers
    assert edited.headers["content-length"] == [str(len(ANSWER))]


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_a_coded_stream_is_read_and_leaves_as_it_came_unless_it_may_be_edited(cut: int) -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
    plain = chunk + chunk + b"data: [DONE]\n\n"
    coded = gzip.compress(plain, mtime=0)
    fields = [("content-type", "text/event-stream"), ("content-encoding", "gzip")]
    asked = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
    chunks = [coded[start : start + cut] for start in range(0, len(coded), cut)]
    script = Script(
        method="POST", path=CHAT, headers=JSON, body=[asked], answer=Scripted(headers=fields, chunks=chunks)
    )
    produced: list[int] = []

    def counted(self: Plugin[Any], exchange: Exchange) -> None:
        produced.append(exchange.meter.produced_pieces)

    observed = assert_same(
        run_everywhere(script, lambda: [plugin(needs=Needs.USAGE, on_complete=counted)], hosts=SERVED)
    )
    assert (observed.body, observed.headers["content-encoding"]) == (coded, ["gzip"])
    assert produced == [2] * len(SERVED)
    edited = assert_same(run_everywhere(script, lambda: [plugin(on_text=louder)], hosts=SERVED))
    assert edited.body == plain.replace(b'"hi"', b'"HI"')
    assert "content-encoding" not in edited.headers


def test_a_coded_stream_that_breaks_ends_in_an_error_of_the_dialect() -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
    coded = gzip.compress(chunk, mtime=0)
    fields = [("content-type", "text/event-stream"), ("content-encoding", "gzip")]
    broken = Scripted(headers=fields, chunks=[coded, b"no member of a gzip file"])
    asked = b'{"model":"m","stream":true,"messages":[]}'
    script = Script(method="POST", path=CHAT, headers=JSON, body=[asked], answer=broken)
    transcript = assert_same(run_everywhere(script, lambda: [plugin(on_text=louder)], hosts=SERVED))
    assert transcript.body.startswith(chunk.replace(b'"hi"', b'"HI"'))
    assert b"bad_content_coding" in transcript.body


@pytest.mark.parametrize(("policy", "status"), [("deny", 400), ("allow", 200)])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("compress", b'{"model":"m","messages":[]}'),
        ("gzip", b'{"model":"m","messages":[]}'),
        ("gzip", gzip.compress(b'{"model":"m","messages":[]}')[:-4]),
        ("gzip, gzip, gzip, gzip", b"{}"),
        ("gzip", gzip.compress(b" " * 50_000_000)),
    ],
    ids=["unknown", "no gzip", "cut off", "too many", "bomb"],
)
def test_a_coded_request_follows_the_guards_policy_and_is_never_inflated(
    coding: str, body: bytes, policy: str, status: int
) -> None:
    script = Script(method="POST", path=CHAT, headers=[*JSON, ("content-encoding", coding)], body=[body])
    guard = lambda: [plugin(needs=Needs.LLM, on_request_body=read_texts, on_uncovered=policy)]  # noqa: E731
    transcript = assert_same(run_everywhere(script, guard))
    assert transcript.status == status
    if policy == "allow":
        assert transcript.seen[0].body == body
    else:
        check_error(transcript.body, CHAT, 400, "uncovered_call")


@pytest.mark.parametrize("path", [CHAT, "/things"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZip", "identity, x-gzip"])
def test_a_coded_request_is_read_and_goes_on_as_it_came_unless_it_is_edited(coding: str, path: str) -> None:
    plain = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    body = zlib.compress(plain) if coding == "deflate" else gzip.compress(plain)
    script = Script(method="POST", path=path, headers=[*JSON, ("content-encoding", coding)], body=[body])
    guard = lambda: [plugin(needs=Needs.LLM, on_request_body=read_texts, on_uncovered="deny")]  # noqa: E731
    untouched = assert_same(run_everywhere(script, guard)).seen[0]
    assert (untouched.body, untouched.headers["content-encoding"]) == (body, [coding])

    def shout(self: Plugin[Any], exchange: Exchange) -> None:
        assert exchange.llm is not None
        for slot in exchange.llm.texts():
            exchange.llm.replace(slot, slot.text.upper())

    edited = assert_same(run_everywhere(script, lambda: [plugin(needs=Needs.LLM, on_request_body=shout)])).seen[0]
    assert edited.body == plain.replace(b'"hi"', b'"HI"')
    assert "content-encoding" not in edited.headers


def test_a_coded_request_told_by_its_shape_only_does_not_pass_a_guard_that_denies() -> None:
    body = b'{"model":"m","messages":[]}'
    script = Script(method="POST", path="/things", headers=[*JSON, ("content-encoding", "compress")], body=[body])
    transcript = assert_same(run_everywhere(script, lambda: [plugin(on_text=nothing, on_uncovered="deny")]))
    assert (transcript.status, transcript.seen) == (400, [])
    check_error(transcript.body, "/things", 400, "uncovered_call")
    allowed = assert_same(run_everywhere(script, lambda: [plugin(on_text=nothing, on_uncovered="allow")]))
    assert allowed.seen[0].body == body


@pytest.mark.parametrize("body", [b"", b'{"a":1}', b"[1]"])
def test_other_json_passes_such_a_guard(body: bytes) -> None:
    script = Script(method="POST", path="/things", headers=JSON, body=[body] if body else [])
    transcript = assert_same(run_everywhere(script, lambda: [plugin(on_text=nothing, on_uncovered="deny")]))
    assert (transcript.status, transcript.seen[0].body) == (200, body)


# ---------------------------------------------------------------------- 30: refused unread


@pytest.mark.parametrize("answer", [Refusal(401, "no", "No."), Reply(200, [], b"hit")])
def test_an_answer_from_header_hooks_never_asks_for_the_body(answer: Any) -> None:
    stack: Callable[[], list[Plugin[Any]]] = lambda: [  # noqa: E731
        plugin(on_request=lambda self, exchange: answer),
        plugin(priority=1, on_request_body=nothing, needs=Needs.USAGE),
    ]
    headers = [*JSON, ("expect", "100-continue"), ("content-length", "10")]
    asgi = asyncio.run(
        asgi_exchange(Gateway(unreached, plugins=stack()), "POST", CHAT, headers=headers, forbid_receive=True)
    )
    wsgi = wsgi_exchange(WSGIGateway(unreached_wsgi, plugins=stack()), "POST", CHAT, headers=headers, forbid_input=True)
    assert (asgi.status, asgi.receive_calls, asgi.exception) == (answer.status, 0, None)
    assert (wsgi.status, wsgi.input_reads, wsgi.exception) == (answer.status, 0, None)


# ---------------------------------------------------------------------- 29: framing of streams


def _cuts(data: bytes, places: list[int]) -> Iterator[bytes]:
    start = 0
    for place in sorted({place % (len(data) + 1) for place in places}):
        yield data[start:place]
        start = place
    yield data[start:]


TRANSCRIPT = (
    b"\xef\xbb\xbf: comment\n\n"
    + b'data: {"choices":[{"index":0,"delta":{"content":"caf\xc3\xa9"},"finish_reason":null}]}\r\n\r\n'
    + b'event: x\rdata: {"choices":[\rdata: {"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}\r\r'
    + b"id: 7\nretry: 10\n\ndata: [DONE]\n\n"
)


@given(st.lists(st.integers(0, 400), max_size=20), st.sampled_from(["texts", "events", "usage"]))
def test_a_stream_cut_anywhere_passes_byte_for_byte(places: list[int], kind: str) -> None:
    hooks: dict[str, Any] = {
        "texts": {"on_text": nothing},
        "events": {"on_event": nothing},
        "usage": {"needs": Needs.USAGE},
    }
    asked = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
    answer = Scripted(headers=[("content-type", "text/event-stream")], chunks=list(_cuts(TRANSCRIPT, places)))
    script = Script(method="POST", path=CHAT, headers=JSON, body=[asked], answer=answer)
    transcript = run_everywhere(script, lambda: [plugin(**hooks[kind])], hosts=["asgi"])["asgi"]
    assert transcript.body == TRANSCRIPT
    assert transcript.outcomes == ["completed"]

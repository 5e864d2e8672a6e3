"""How the host matrix runs one script on each host: the scripted service, the caller, and what both saw."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from .matrix import Script, Seen, Transcript, grouped, seen_headers


class ScriptedFailure(Exception):
    """What the scripted service raises."""


def run_asgi(script: Script, transcript: Transcript, options: dict[str, Any]) -> None:
    """Run the script through an ASGI gateway with hand-written receive and send."""
    from ..hosts.asgi import Gateway

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        transcript.seen.append(
            Seen(scope["method"], scope["path"], scope["query_string"].decode(), seen_headers(headers), body)
        )
        answer = script.answer
        if answer.fails_before:
            raise ScriptedFailure
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        chunks = answer.chunks if answer.streams else [b"".join(answer.chunks)]
        for number, chunk in enumerate(chunks):
            if answer.fails_after == number:
                raise ScriptedFailure
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if answer.fails_after is not None and answer.fails_after >= len(chunks):
            raise ScriptedFailure
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    pieces = list(script.body) or [b""]
    incoming = [
        {"type": "http.request", "body": piece, "more_body": number + 1 < len(pieces)}
        for number, piece in enumerate(pieces)
    ]

    async def receive() -> Any:
        if incoming:
            return incoming.pop(0)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            transcript.status = message["status"]
            transcript.headers = grouped(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
            )
        elif message.get("body"):
            if script.leave_after is not None and len(transcript.chunks) >= script.leave_after:
                raise OSError("the caller left")
            transcript.chunks.append(bytes(message["body"]))

    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in _request_headers(script)]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": script.method,
        "scheme": "http",
        "path": script.path,
        "raw_path": script.path.encode(),
        "query_string": script.query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }

    async def exchange() -> None:
        gateway = Gateway(app, **options)
        try:
            await gateway(scope, receive, send)
        except (ScriptedFailure, OSError) as error:
            transcript.raised = "" if transcript.status and script.answer.fails_before else _name(error)

    asyncio.run(exchange())


def run_wsgi(script: Script, transcript: Transcript, options: dict[str, Any]) -> None:
    """Run the script through a WSGI gateway."""
    from ..hosts.wsgi import WSGIGateway

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        length = environ.get("CONTENT_LENGTH")
        stream = environ["wsgi.input"]
        body = stream.read(int(length)) if length else stream.read() if environ.get("wsgi.input_terminated") else b""
        transcript.seen.append(_seen_in(environ, environ["PATH_INFO"], body))
        return _iterable(script, lambda status, fields: start_response(status, fields))

    environ = _environ(script)

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        transcript.status = int(status[:3])
        transcript.headers = grouped(headers)

    gateway = WSGIGateway(app, **options)
    result: Any = None
    try:
        result = gateway(environ, start_response)
        _collect(script, transcript, iter(result))
    except ScriptedFailure as error:
        transcript.raised = _name(error)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()


def _django(script: Script, transcript: Transcript, options: dict[str, Any], *, asynchronous: bool) -> None:
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIRequest
    from django.http import HttpResponse, StreamingHttpResponse

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], USE_I18N=False, SECRET_KEY="matrix")  # noqa: S106 - only this test process
    from ..gateway import Core
    from ..hosts.django import GatewayMiddleware

    class Middleware(GatewayMiddleware):
        def make_core(self) -> Core:
            return Core(options["config"], options["plugins"], clock=options["clock"])

    answer = script.answer

    def failing() -> Iterator[bytes]:
        for number, chunk in enumerate(answer.chunks):
            if answer.fails_after == number:
                raise ScriptedFailure
            yield chunk
        if answer.fails_after is not None:
            raise ScriptedFailure

    async def failing_async() -> AsyncIterator[bytes]:
        for chunk in failing():
            yield chunk

    def view(request: Any) -> Any:
        transcript.seen.append(_seen_in(request.META, request.path_info, request.body))
        if answer.fails_before:
            raise ScriptedFailure
        response: Any
        if answer.streams:
            response = StreamingHttpResponse(failing_async() if asynchronous else failing(), status=answer.status)
        else:
            response = HttpResponse(b"".join(answer.chunks), status=answer.status)
        del response.headers["Content-Type"]
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                response.cookies.load(value)
            else:
                response.headers[name] = value
        return response

    request = WSGIRequest(_environ(script))

    def record(response: Any) -> None:
        transcript.status = response.status_code
        cookies = [("set-cookie", cookie.OutputString()) for cookie in response.cookies.values()]
        transcript.headers = grouped([*response.headers.items(), *cookies])

    if not asynchronous:
        response = Middleware(view)(request)
        record(response)
        try:
            _collect(script, transcript, iter(response.streaming_content if response.streaming else [response.content]))
        except ScriptedFailure as error:
            transcript.raised = _name(error)
        response.close()
        return

    async def async_view(request: Any) -> Any:
        return view(request)

    async def exchange() -> None:
        response = await Middleware(async_view)(request)
        record(response)
        try:
            if not response.streaming:
                _collect(script, transcript, iter([response.content]))
                return
            async for chunk in response.streaming_content:
                if script.leave_after is not None and len(transcript.chunks) >= script.leave_after:
                    transcript.raised = "OSError"
                    break
                if chunk:
                    transcript.chunks.append(chunk)
        except ScriptedFailure as error:
            transcript.raised = _name(error)
        finally:
            response.close()

    asyncio.run(exchange())


def run_django(script: Script, transcript: Transcript, options: dict[str, Any]) -> None:
    """Run the script through Django's middleware, synchronously."""
    _django(script, transcript, options, asynchronous=False)


def run_django_async(script: Script, transcript: Transcript, options: dict[str, Any]) -> None:
    """Run the script through Django's middleware, asynchronously."""
    _django(script, transcript, options, asynchronous=True)


def _client(name: str, asynchronous: bool) -> Callable[[Script, Transcript, dict[str, Any]], None]:
    def run(script: Script, transcript: Transcript, options: dict[str, Any]) -> None:
        import importlib

        from ..hosts.client import transport_classes

        module = importlib.import_module(name)
        answer = script.answer
        options = {**options, "config": options["config"] if options["config"] is not None else {"outgoing": []}}

        def respond(request: Any, body: bytes, stream: Any) -> Any:
            url = request.url
            headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in request.headers.raw]
            transcript.seen.append(Seen(request.method, url.path, url.query.decode(), seen_headers(headers), body))
            if answer.fails_before:
                raise ScriptedFailure
            raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in answer.headers]
            return module.Response(answer.status, headers=raw, stream=stream)

        def chunks() -> Iterator[bytes]:
            pieces = answer.chunks if answer.streams else [b"".join(answer.chunks)]
            for number, chunk in enumerate(pieces):
                if answer.fails_after == number:
                    raise ScriptedFailure
                yield chunk
            if answer.fails_after is not None and answer.fails_after >= len(pieces):
                raise ScriptedFailure

        class Blocking(module.BaseTransport):  # type: ignore[misc, name-defined]
            def handle_request(self, request: Any) -> Any:
                class Stream(module.SyncByteStream):  # type: ignore[misc, name-defined]
                    def __iter__(self) -> Iterator[bytes]:
                        return chunks()

                return respond(request, b"".join(request.stream), Stream())

        class Asynchronous(module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
            async def handle_async_request(self, request: Any) -> Any:
                class Stream(module.AsyncByteStream):  # type: ignore[misc, name-defined]
                    async def __aiter__(self) -> AsyncIterator[bytes]:
                        for chunk in chunks():
                            yield chunk

                return respond(request, b"".join([piece async for piece in request.stream]), Stream())

        blocking, asynchronous_class = transport_classes(name)
        query = f"?{script.query}" if script.query else ""
        headers = [(key, value.encode("latin-1")) for key, value in _request_headers(script)]
        request = module.Request(
            script.method,
            f"http://testserver{script.path}{query}",
            headers=headers,
            content=b"".join(script.body) or None,
        )

        def record(response: Any) -> None:
            transcript.status = response.status_code
            transcript.headers = grouped(
                (key.decode("latin-1"), value.decode("latin-1")) for key, value in response.headers.raw
            )

        if not asynchronous:
            transport = blocking(Blocking(), **options)
            try:
                response = transport.handle_request(request)
                record(response)
                try:
                    _collect(script, transcript, iter(response.stream))
                finally:
                    response.close()
            except ScriptedFailure as error:
                transcript.raised = _name(error)
            return

        async def exchange() -> None:
            transport = asynchronous_class(Asynchronous(), **options)
            try:
                response = await transport.handle_async_request(request)
                record(response)
                try:
                    async for chunk in response.stream:
                        if script.leave_after is not None and len(transcript.chunks) >= script.leave_after:
                            transcript.raised = "OSError"
                            break
                        if chunk:
                            transcript.chunks.append(chunk)
                finally:
                    await response.aclose()
            except ScriptedFailure as error:
                transcript.raised = _name(error)

        asyncio.run(exchange())

    return run


RUNNERS: dict[str, Callable[[Script, Transcript, dict[str, Any]], None]] = {
    "asgi": run_asgi,
    "wsgi": run_wsgi,
    "django": run_django,
    "django-async": run_django_async,
    "httpx": _client("httpx", False),
    "httpx-async": _client("httpx", True),
    "httpx2": _client("httpx2", False),
    "httpx2-async": _client("httpx2", True),
}


def _request_headers(script: Script) -> list[tuple[str, str]]:
    headers = [("host", "testserver"), *script.headers]
    if script.body and not script.chunked:
        headers.append(("content-length", str(sum(map(len, script.body)))))
    return headers


def _environ(script: Script) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": script.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": script.path.encode("utf-8").decode("latin-1"),
        "QUERY_STRING": script.query,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(b"".join(script.body)),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if script.chunked:
        environ["wsgi.input_terminated"] = True
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    for name, value in _request_headers(script):
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        separator = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{separator}{value}" if key in environ else value
    return environ


def _seen_in(environ: dict[str, Any], path: str, body: bytes) -> Seen:
    headers = [(key[5:].replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_")]
    headers += [("content-type", environ["CONTENT_TYPE"])] if environ.get("CONTENT_TYPE") else []
    return Seen(environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""), seen_headers(headers), body)


def _iterable(script: Script, start: Callable[[str, list[tuple[str, str]]], Any]) -> Iterator[bytes]:
    answer = script.answer
    if answer.fails_before:
        raise ScriptedFailure
    start(f"{answer.status} Scripted", list(answer.headers))

    def chunks() -> Iterator[bytes]:
        pieces = answer.chunks if answer.streams else [b"".join(answer.chunks)]
        for number, chunk in enumerate(pieces):
            if answer.fails_after == number:
                raise ScriptedFailure
            yield chunk
        if answer.fails_after is not None and answer.fails_after >= len(pieces):
            raise ScriptedFailure

    return chunks()


def _collect(script: Script, transcript: Transcript, chunks: Iterator[bytes]) -> None:
    for chunk in chunks:
        if script.leave_after is not None and len(transcript.chunks) >= script.leave_after:
            transcript.raised = "OSError"
            return
        if chunk:
            transcript.chunks.append(chunk)


def _name(error: BaseException) -> str:
    return "OSError" if isinstance(error, OSError) else type(error).__name__

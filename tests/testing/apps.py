"""Hand-written ASGI apps that send what they are told to."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def body(chunk: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


LENGTH_3: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]}
TRAILED: Message = {"type": "http.response.start", "status": 200, "trailers": True}


def failing(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise LookupError("app")

    return app


def sending(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app

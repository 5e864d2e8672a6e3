"""The handshake of a websocket through the stack: headers are judged, frames are not read."""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..exchange import Refusal, Response
from ..headers import Headers, end_to_end
from ..hooks import UNCOVERED, run
from ..pipeline import complete, refuse
from ..plugin import INBOUND

if TYPE_CHECKING:
    from ..exchange import Exchange, Reply

POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1
_EXTENSION = "websocket.http.response"


async def handshake(app: Any, scope: Any, receive: Any, send: Any, exchange: Exchange) -> None:
    """Run every `on_request`, then the application; refuse with a response where the server can send one, else close."""
    snapshot = exchange.snapshot
    stack, answer = snapshot.admit(exchange, snapshot.sides[INBOUND])
    outcome: Any = "failed"
    result: Any = answer
    try:
        if result is None and stack.unread_guards:
            guard = stack.unread_guards[0]
            exchange.decide(guard, "refused", "the frames of a websocket are not read")
            result = UNCOVERED
        if result is None:
            result = run(stack.requests, exchange)
            if type(result) is CoroutineType:
                result = await result
        if result is not None:
            outcome = "refused"
            await _answer(scope, receive, send, exchange, stack, result)
            return
        if exchange.request.headers.changed:
            scope = {**scope, "headers": exchange.request.headers.raw}
        await app(scope, receive, send)
        outcome = "completed"
    finally:
        complete(stack, exchange, outcome)


async def _answer(scope: Any, receive: Any, send: Any, exchange: Exchange, stack: Any, answer: Reply | Refusal) -> None:
    if isinstance(answer, Refusal):
        response = refuse(stack, exchange, answer)
    else:
        response = Response(answer.status, Headers(end_to_end(answer.headers), owned=True))
        response.load(answer.body if isinstance(answer.body, bytes) else b"")
        response.headers.set_length(len(response.wire))
    await receive()  # websocket.connect: the protocol wants it taken before it is answered
    if _EXTENSION in (scope.get("extensions") or {}):
        await send(
            {"type": "websocket.http.response.start", "status": response.status, "headers": response.headers.raw}
        )
        await send({"type": "websocket.http.response.body", "body": response.wire, "more_body": False})
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "refused"})

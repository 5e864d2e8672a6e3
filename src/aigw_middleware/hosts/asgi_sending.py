"""What goes to the server on ASGI: heads, pieces, answers of our own, and the end of the exchange."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, MutableMapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..around import CallOutcome, held_by
from ..errors import ClientLeft
from ..exchange import Exchange, Refusal, Reply, Response
from ..flow import Flow, Mode
from ..headers import Headers, end_to_end
from ..pipeline import complete, refuse, settle_and_complete, walk_for_answer
from .asgi_inbox import Inbox

if TYPE_CHECKING:
    from ..exchange import Outcome
    from ..hooks import Answer
    from ..pipeline import Stack

Message = MutableMapping[str, Any]


class Sending:
    """The way to the server of one exchange: what is sent, and answers of plug-ins in place of the application's."""

    outermost = True
    _attempts = 0
    _flow: Flow | None = None
    _start: Message | None = None
    _sent_start = False
    _dropping = False
    """The answer under way was thrown away by a `hold`."""
    _stopped = False
    """The application was told to stop, its answer replaced or ended."""
    _passing = False
    """Nothing looks at the body, so there is no flow."""
    _told = False
    """The application was told, by an exception of ours, that the client left."""
    _over = False
    """The last byte was handed to the server."""
    _expects_trailers = False
    _plain = False
    """The first piece has passed, and nothing looks at those that follow."""

    def __init__(self, app: Any, scope: Any, receive: Any, send: Any, exchange: Exchange, stack: Stack) -> None:
        self._app = app
        self._scope = scope
        self._send: Callable[[Any], Awaitable[None]] = send
        self._inbox = Inbox(receive, exchange)
        self.exchange = exchange
        self.stack = stack
        self.frames: list[CallOutcome] = []

    # ------------------------------------------------------------------ messages

    def _head_message(self) -> Message:
        """Return the message that starts the response: the application's own where nothing was changed."""
        response, message = self.exchange.response, self._start
        assert response is not None
        headers = response.__dict__.get("headers")
        if message is None or response.status != message["status"] or (headers is not None and headers.changed):
            return {
                **(message or {"type": "http.response.start"}),
                "status": response.status,
                "headers": response.headers.raw,
            }
        if headers is not None and type(message.get("headers", ())) not in (list, tuple):
            return {**message, "headers": headers.raw}  # an iterator that we read is exhausted
        return message

    async def _send_start(self) -> None:
        exchange = self.exchange
        message = self._head_message()
        self._sent_start = True
        await self._guarded(message)
        stream = self._flow is not None and self._flow.mode is Mode.EVENTS and exchange.llm is not None
        if stream or exchange.route.watch_disconnect:
            self._inbox.watch(self._scope)

    async def _out(self, data: bytes, more: bool) -> None:
        self.exchange.bytes_sent += len(data)
        await self._guarded({"type": "http.response.body", "body": data, "more_body": more})
        if not more:
            self._over = True

    async def _last(self, message: Message) -> None:
        self.exchange.bytes_sent += len(message.get("body", b""))
        await self._guarded(message)
        if not self._expects_trailers:
            self._over = True
            waiting = self._end("completed")
            if waiting is not None:
                await waiting

    async def _guarded(self, message: Message) -> None:
        """Hand a message to the server. Only what this raises means that the client left."""
        inbox = self._inbox
        if inbox.gone:
            if inbox.drains:
                return
            self._told = True
            raise ClientLeft("the client left")
        try:
            await self._send(message)
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        self._inbox.left()
        if not self._inbox.drains:
            raise ClientLeft(str(error)) from error

    # ------------------------------------------------------------------ answers of our own

    async def deliver(self, answer: Reply | Refusal) -> None:
        """Send an answer of a plug-in or of the gateway itself, through the hooks that it passes."""
        exchange = self.exchange
        self._start = None
        while True:
            if isinstance(answer, Refusal):
                response = refuse(self.stack, exchange, answer)
                if self._held(response):
                    return
                await self._send_start()
                await self._out(response.wire if exchange.request.method != "HEAD" else b"", False)
                await self._finish("refused")
                return
            response = Response(answer.status, Headers(end_to_end(answer.headers), owned=True))
            if self._held(response):
                return
            replaced = await self._send_reply(answer, response)
            if replaced is None:
                return
            answer = replaced

    def _held(self, response: Response) -> bool:
        return bool(self.frames) and held_by(self.frames, response.status, response.headers) is not None

    async def _send_reply(self, reply: Reply, response: Response) -> Answer:
        """Send a Reply; returns the answer of a hook that replaces it."""
        flow = Flow(self.exchange, self.stack, walk_for_answer(self.stack, self.exchange))
        self._flow = flow
        result = flow.start(response)
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            return answer  # type: ignore[return-value]
        if isinstance(reply.body, bytes):
            return await self._send_whole(flow, response, reply.body)
        return await self._send_streamed(flow, reply.body)

    async def _send_whole(self, flow: Flow, response: Response, body: bytes) -> Answer:
        out = flow.chunk(body)
        result = flow.end() if not flow.finished else None
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            return answer  # type: ignore[return-value]
        out += flow.tail() if not flow.finished else b""
        if response.status >= 200 and response.status not in (204, 304):
            response.headers.set_length(len(out))
        await self._send_start()
        await self._out(out if self.exchange.request.method != "HEAD" else b"", False)
        await self._finish("completed")
        return None

    async def _send_streamed(self, flow: Flow, body: AsyncIterable[bytes]) -> Answer:
        """Stream a Reply; the iterator is closed whatever happens, for nobody else would (PEP 525)."""
        iterator = body.__aiter__()
        try:
            if flow.mode is not Mode.HOLD:
                await self._send_start()
            async for chunk in iterator:
                out = flow.chunk(chunk)
                if flow.mode is not Mode.HOLD:
                    await self._out(out, not flow.finished)
                if flow.finished:
                    await self._finish("completed")
                    return None
            result = flow.end()
            answer = await result if type(result) is CoroutineType else result
            if answer is not None:
                return answer  # type: ignore[return-value]
            tail = flow.tail()
            if flow.mode is Mode.HOLD:
                await self._send_start()
            await self._out(tail, False)
            await self._finish("completed")
            return None
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    async def _finish(self, outcome: Outcome, *, cancelled: bool = False) -> None:
        waiting = self._end(outcome, cancelled=cancelled)
        if waiting is not None:
            await waiting

    def _end(self, outcome: Outcome, *, cancelled: bool = False) -> Coroutine[Any, Any, None] | None:
        """End the exchange; returns what is still to be awaited for it, None when nothing is."""
        if outcome == "completed" and self._inbox.drains:
            outcome = "aborted"  # read to its end, but nobody was there to hear it
        return settle_and_complete(self.stack, self.exchange, outcome, cancelled=cancelled)


async def turn_down(stack: Stack, exchange: Exchange, refusal: Refusal, send: Callable[[Any], Awaitable[None]]) -> None:
    """Send a refusal of the header hooks: nothing was read, nothing runs, so it needs none of the above."""
    response = refuse(stack, exchange, refusal)
    body = response.wire if exchange.request.method != "HEAD" else b""
    outcome: Outcome = "aborted"
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers.raw})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        exchange.bytes_sent = len(body)
        outcome = "refused"
    except OSError:
        return  # the client left: nobody is there to be told
    finally:
        complete(stack, exchange, outcome)

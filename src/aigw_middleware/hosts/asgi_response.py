"""The response of an exchange on ASGI: the application pushes it, hooks change it, the server gets it.

To stop an application early, `send` raises an OSError as a server of ASGI 2.4 does when the client left; what then comes
out of the application is swallowed.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import CoroutineType
from typing import TYPE_CHECKING

from ..around import held_by
from ..errors import ClientLeft
from ..exchange import Refusal, Reply, Response
from ..flow import Flow, Mode
from ..headers import Headers, lower_names
from ..hooks import run
from ..lazy import lazy
from ..pipeline import complete
from .asgi_sending import Message, Sending

if TYPE_CHECKING:
    from ..pipeline import Walk

UNSAFE_EXTENSIONS = ("http.response.pathsend", "http.response.zerocopysend")
"""Extensions that send a body past every hook; taken from the scope when a hook may need the body."""


class _Stopped(ClientLeft):
    """Raised from `send` to stop an application whose answer is no longer wanted."""


class _SentResponse(Response):
    """The response that an application sends; its fields are looked at only when somebody asks."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self.status = message["status"]

    @lazy
    def headers(self) -> Headers:
        return Headers(lower_names(self._message.get("headers", ())), owned=True)


class Outbox(Sending):
    """What the application sends, on its way through the flow to the server."""

    def _application_send(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.body":
            if self._plain:
                return self._pass(message)
            flow = self._flow
            if flow is None or flow.mode is Mode.PASS or self._stopped or self._dropping:
                return self._body(message)
            return self._hold(flow, message) if flow.mode is Mode.HOLD else self._read(flow, message)
        if kind == "http.response.start":
            return self._head(message)
        if self._stopped or self._dropping:
            return _swallow()
        if kind == "http.response.trailers":
            return self._trailers(message)
        if kind in UNSAFE_EXTENSIONS:
            return self._last(message)
        return self._send(message)

    def _head(self, message: Message) -> Awaitable[None]:
        """Choose the way of an answer whose status and headers are there."""
        exchange = self.exchange
        if self._stopped:
            raise _Stopped("the answer was replaced")
        response = _SentResponse(message)
        if self.frames and held_by(self.frames, response.status, response.headers) is not None:
            self._dropping = True
            return _swallow()
        self._start = message
        if "trailers" in message:
            self._expects_trailers = bool(message["trailers"])
        stack = self.stack
        walk = stack.walk_of(exchange)
        if walk.bodiless and not stack.usage and "meter" not in exchange.__dict__:
            return self._head_only(response, walk)
        return self._head_and_body(response, walk)

    async def _head_and_body(self, response: Response, walk: Walk) -> None:
        """The way of answers whose body something looks at."""
        flow = self._flow = Flow(self.exchange, self.stack, walk)
        result = flow.start(response)
        if result is not None:
            answer = await result if type(result) is CoroutineType else result
            if answer is not None:
                await self._replace(answer)  # type: ignore[arg-type]
        if flow.mode is not Mode.HOLD:
            await self._send_start()

    async def _head_only(self, response: Response, walk: Walk) -> None:
        """The quick way of answers whose body nothing looks at."""
        exchange = self.exchange
        exchange.response = response
        if walk.head:
            result = run(walk.head, exchange)
            if result is not None:
                answer = await result if type(result) is CoroutineType else result
                if answer is not None:
                    await self._replace(answer)  # type: ignore[arg-type]
        self._passing = self._sent_start = True
        message = self._head_message()
        if self._inbox.gone:
            await self._guarded(message)
            return
        try:
            await self._send(message)
        except OSError as error:
            self._lost(error)
        if exchange.route.watch_disconnect:
            self._inbox.watch(self._scope)

    async def _replace(self, answer: Reply | Refusal) -> None:
        """A hook answered in place of the application: send that, and stop the application."""
        self._stopped = True
        await self.deliver(answer)
        raise _Stopped("the answer was replaced")

    async def _pass(self, message: Message) -> None:
        """The quick way of pieces that nothing looks at; whatever is unusual goes the other."""
        if self._stopped or self._inbox.gone or not message.get("more_body", False):
            await self._body(message)
            return
        self.exchange.bytes_sent += len(message.get("body", b""))
        try:
            await self._send(message)
        except OSError as error:
            self._lost(error)

    async def _body(self, message: Message) -> None:
        """A piece of a body that nothing looks at, or that is not wanted any more."""
        if self._dropping:
            return
        if self._stopped:
            raise _Stopped("the answer was replaced")
        exchange = self.exchange
        if self._flow is None and not self._passing:
            await self._send(message)  # a body before its start: the server says what is wrong with it
            return
        more = message.get("more_body", False)
        data = message.get("body", b"")
        if self.frames or self.stack.watches:
            self._arrived(data)
        exchange.bytes_sent += len(data)
        if self._inbox.gone:
            await self._guarded(message)
        else:
            try:
                await self._send(message)
            except OSError as error:
                self._lost(error)
        if not more and not self._expects_trailers:
            self._over = True
            if "meter" in exchange.__dict__ or self._inbox.drains:
                await self._finish("completed")
            else:
                complete(self.stack, exchange, "completed")
        elif more and not self.frames and (exchange.first_byte or not self.stack.watches):
            self._plain = True

    def _arrived(self, data: bytes) -> None:
        for frame in self.frames:
            if frame.guard is not None:
                frame.guard.progress()
            if frame.capture:
                frame.keep(data)
        if data and not self.exchange.first_byte and self.stack.watches:
            self.exchange.first_byte = self.exchange.ports.clock.monotonic()

    async def _read(self, flow: Flow, message: Message) -> None:
        """A piece of a body that is looked at while it passes: events, or an answer read beside."""
        more = message.get("more_body", False)
        data = message.get("body", b"")
        if self.frames or not self.exchange.first_byte:
            self._arrived(data)
        if type(data) is not bytes:
            data = bytes(data)
        stream = flow.stream
        out = flow.feed(data) if stream is not None else flow.chunk(data)
        if stream is not None and stream.finished:
            self._stopped = True
            await self._out(out, False)
            await self._finish("failed" if self.exchange.refusal or self.exchange.error else "completed")
            raise _Stopped("a plug-in ended the answer")
        if not more:
            flow.end()
            out += flow.tail()
            await self._last(message if out is data else {"type": "http.response.body", "body": out})
            return
        self.exchange.bytes_sent += len(out)
        if out is not data:
            message = {"type": "http.response.body", "body": out, "more_body": True}
        if self._inbox.gone:
            await self._guarded(message)
            return
        try:
            await self._send(message)
        except OSError as error:
            self._lost(error)

    async def _hold(self, flow: Flow, message: Message) -> None:
        """A piece of a body that is held until its end, so that hooks see it whole."""
        more = message.get("more_body", False)
        data = message.get("body", b"")
        self._arrived(data)
        flow.chunk(data if type(data) is bytes else bytes(data))
        if flow.overfull:
            await self._give_up(flow, more)
            return
        if more:
            return
        result = flow.end()
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            await self._replace(answer)  # type: ignore[arg-type]
        body = flow.tail()
        if self._expects_trailers:  # a message with a length has no room for them (RFC 9112, section 7.1.2)
            self.exchange.response.headers.remove("content-length")  # type: ignore[union-attr]
        if body is not data:
            message = {"type": "http.response.body", "body": body}
        if self._expects_trailers or self._inbox.gone or self.exchange.route.watch_disconnect:
            await self._send_start()
            await self._last(message)
            return
        head = self._head_message()
        self._sent_start = True
        self.exchange.bytes_sent += len(body)
        try:
            await self._send(head)
            await self._send(message)
        except OSError as error:
            self._lost(error)
        self._over = True
        waiting = self._end("completed")
        if waiting is not None:
            await waiting

    async def _give_up(self, flow: Flow, more: bool) -> None:
        result = flow.give_up()
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            await self._replace(answer)  # type: ignore[arg-type]
        await self._send_start()
        held = flow.held()
        if more:
            await self._out(held, True)
        else:
            await self._last({"type": "http.response.body", "body": held, "more_body": False})

    async def _trailers(self, message: Message) -> None:
        await self._guarded(message)
        if not message.get("more_trailers", False):
            self._over = True
            await self._finish("completed")


async def _swallow() -> None:
    """Take a message of an application whose answer is no longer wanted."""

"""One request and its response, as plug-ins see them, whatever host carries them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from . import json as strict_json
from .body import Body
from .consumers import ANONYMOUS, Consumer
from .forms import Form, form_of
from .headers import Headers, RawHeaders, header_name, header_value
from .lazy import lazy

if TYPE_CHECKING:
    from .llm.view import LlmCall
    from .plugin import Direction, Plugin
    from .ports import Ports
    from .runtime import Runtime
    from .snapshot import Route, Snapshot

Outcome = Literal["", "completed", "refused", "aborted", "failed"]


_QUERY = re.compile(rb"[!-\"$-~]*\Z")  # RFC 3986, section 3.4, and what clients send in spite of it


class Request(Body):
    """The request of an exchange. Hosts fill in where its parts come from."""

    method: str = "GET"
    scheme: str = "http"
    http_version: str = "1.1"
    peer: str | None = None
    """Address of the connection's other end as text; `exchange.client` is the caller behind trusted proxies."""
    root_path: str = ""
    query: bytes = b""
    requeried: bool = False
    """Whether `set_query` was called, so that hosts must write the query back."""
    raw_path: bytes | None = None
    """The path as it was on the wire, without the query; None where the host does not know it."""
    path: str = "/"
    """The decoded path without the mount prefix: the one form that all matching uses."""

    @property
    def paths(self) -> tuple[str | bytes | None, ...]:
        """What `raw_path` and `path` follow from: requests that have it in common have both in common."""
        return self.raw_path, self.path

    @property
    def target(self) -> str:
        """Path and query as sent, for signatures and messages."""
        path = self.raw_path if self.raw_path is not None else self.path.encode()
        return (path + b"?" + self.query if self.query else path).decode("latin-1")

    def set_query(self, query: bytes) -> None:
        """Give the service another query, percent-encoded as on the wire. Raises ValueError for what cannot stand there."""
        if not _QUERY.match(query):
            raise ValueError("a query has visible ASCII characters only, and no #")
        self.query = query
        self.requeried = True
        self.__dict__.pop("parameters", None)

    @lazy
    def parameters(self) -> list[tuple[str, str]]:
        """The decoded query parameters in order, at most 1,000 of them."""
        from urllib.parse import parse_qsl

        text = self.query.decode("latin-1")
        if text.count("&") >= 1_000:
            text = "&".join(text.split("&", 1_000)[:1_000])
        return parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="replace")

    def parameter(self, name: str) -> str | None:
        """Return the first query parameter `name`, decoded, or None."""
        if not self.query:
            return None
        return next((value for key, value in self.parameters if key == name), None)

    @lazy
    def cookies(self) -> dict[str, str]:
        """Cookies by name; the first of a name wins. HTTP/2 splits the field over several lines (RFC 9113, 8.2.3)."""
        found: dict[str, str] = {}
        for line in self.headers.get_all("cookie"):
            for part in line.split(";"):
                name, separator, value = part.strip().partition("=")
                if separator:
                    found.setdefault(name, value)
        return found

    @lazy
    def domain(self) -> str:
        """The host name the client asked for, lower case, without port or brackets."""
        host = (self.headers.get("host") or "").strip().lower()
        if host.startswith("["):
            return host[1:].partition("]")[0]
        return host.partition(":")[0].rstrip(".")

    def _read_json(self, data: bytes) -> Any:
        return strict_json.decode_unambiguous(data)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"


class Response(Body):
    """The response of an exchange, from the service or from a plug-in."""

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers

    @lazy
    def form(self) -> Form:
        """What the body is, by its Content-Type."""
        return form_of(self.headers.get_bytes(b"content-type") or b"")

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.form.media_type

    @property
    def readable(self) -> bool:
        """Whether the body's text can be read: it has no content coding, or one that can be decoded."""
        coding = self.coding
        return coding is None or coding.decodable

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


class Reply:
    """An answer given by a plug-in in place of the service: a cache hit, a preflight, a redirect.

    `body` is bytes, or an async iterable of bytes for a streamed answer. Raises InvalidHeader.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | str | AsyncIterable[bytes] = b"",
        content_type: str | None = None,
    ) -> None:
        fields = headers.items() if isinstance(headers, Mapping) else headers
        raw = [(header_name(name), header_value(value)) for name, value in fields]
        if content_type is not None:
            raw.append((b"content-type", header_value(content_type)))
        self.status = status
        self.headers: RawHeaders = [field for field in raw if field[0] not in (b"content-length", b"transfer-encoding")]
        self.body: bytes | AsyncIterable[bytes] = body.encode() if isinstance(body, str) else body

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}>"


class Refusal:
    """A request turned down: status, machine-readable code, text. Rendered in the caller's error format.

    `upstream` is the `(content type, body)` that compatible gateways send, used with `error_format: upstream`, or, with
    `exact=True`, always: a body that the operator configured. Make constant refusals once, in `compile`: each keeps
    its rendered forms. Raises InvalidHeader.
    """

    __slots__ = ("code", "exact", "headers", "rendered", "status", "text", "upstream")

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        upstream: tuple[str, bytes] | None = None,
        exact: bool = False,
    ) -> None:
        fields = headers.items() if isinstance(headers, Mapping) else headers
        self.status = status
        self.code = code
        self.text = text
        self.headers: RawHeaders = [(header_name(name), header_value(value)) for name, value in fields]
        self.upstream = upstream
        self.exact = exact
        self.rendered: dict[str, tuple[RawHeaders, bytes]] = {}

    def __repr__(self) -> str:
        return f"<Refusal {self.status} {self.code}>"


class Finish:
    """Returned by a stream hook to end the answer: `text` still goes out, then the dialect's end with `reason`.

    Reasons are OpenAI's words: `stop`, `length`, `content_filter`; other dialects translate.
    """

    __slots__ = ("reason", "text")

    def __init__(self, reason: str = "content_filter", text: str = "") -> None:
        self.reason = reason
        self.text = text


class Decision(msgspec.Struct, eq=False, gc=False):
    """One line of an exchange's record: which plug-in decided what, and why."""

    plugin: str
    decision: str
    reason: str = ""
    rule: str = ""
    microseconds: float = 0.0

    def __repr__(self) -> str:
        return f"<{self.plugin} {self.decision} {self.reason}>"


class Exchange:
    """One request and its response on their way through the stack.

    Attributes have class-level defaults so that making one costs little; what is not used is never made.
    """

    kind: ClassVar[str] = "http"
    direction: Direction
    snapshot: Snapshot
    runtime: Runtime
    ports: Ports
    request: Request
    response: Response | None = None
    route: Route
    consumer: Consumer = ANONYMOUS
    identified_by: str = ""
    """Name of the plug-in that verified the caller's credential, of an anonymous one too; empty: none did."""
    claims: Mapping[str, Any] = MappingProxyType({})
    """What the caller's verified token says, for plug-ins to read; nothing where there was none."""
    unidentified: tuple[Refusal, ...] = ()
    """Refusals of plug-ins that did not know the caller, where another one may."""
    outcome: Outcome = ""
    error: BaseException | None = None
    """The exception that ended it, if one did."""
    refusal: Refusal | None = None
    answered_by: str = ""
    """Name of the plug-in whose Reply or Refusal was sent; empty: the service answered."""
    answering: Plugin[Any] | None = None
    """The plug-in whose Reply is on its way out, which its own response hooks do not see."""
    broken: tuple[Plugin[Any], ...] = ()
    started: float = 0.0
    """Monotonic seconds, stamped by the host; so are the next two, 0.0 until they happened."""
    first_byte: float = 0.0
    finished: float = 0.0
    bytes_sent: int = 0
    ended: bool = False

    @lazy
    def local(self) -> dict[Plugin[Any], Any]:
        """State that belongs to one plug-in and this exchange: `exchange.local[self]`."""
        return {}

    @lazy
    def attributes(self) -> dict[str, Any]:
        """Values that plug-ins publish to each other, to records and to outgoing calls (`geo-country`, ...)."""
        return {}

    @lazy
    def records(self) -> list[Decision]:
        """What was decided, in order."""
        return []

    @lazy
    def meter(self) -> Meter:
        """Estimate, usage and reservations of this exchange."""
        return Meter(self.ports, self.llm)

    @property
    def first_token(self) -> float:
        """Monotonic seconds at which the provider's first text came; 0.0: none did, or nobody measured."""
        meter = self.__dict__.get("meter")
        return meter.first_token if meter is not None else 0.0

    @lazy
    def client(self) -> str | None:
        """The caller's address behind trusted proxies, as text; None when the host knows none."""
        return self.snapshot.edge.client(self.request)

    @lazy
    def llm(self) -> LlmCall | None:
        """The LLM call that this exchange is, in any dialect; None when it is none."""
        return recognise(self)

    @lazy
    def id(self) -> str:
        """A random identifier of 32 hexadecimal digits, made on first use."""
        return self.runtime.random_id()

    @property
    def store(self) -> Any:
        """The default store of this exchange's ports."""
        return self.ports.store

    def decide(self, plugin: Plugin[Any] | str, decision: str, reason: str = "") -> None:
        """Add a line to the record: `changed`, `skipped`, `refused`, `answered`, `failed`, `would`."""
        if isinstance(plugin, str):
            self.records.append(Decision(plugin, decision, reason))
        else:
            self.records.append(Decision(plugin.name, decision, reason, plugin.context.entry))

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} {self.request.path} {self.outcome or 'in flight'}>"


class Websocket(Exchange):
    """The handshake of a websocket: only `on_request` and its like run, frames are not read."""

    kind = "websocket"


_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})


class Caller:
    """What an exchange leaves in the context of the code that serves it: the exchange, and later only who called."""

    __slots__ = ("attributes", "consumer", "ended", "exchange")

    def __init__(self, exchange: Exchange | None) -> None:
        self.exchange = exchange
        self.consumer = ANONYMOUS
        self.attributes: Mapping[str, Any] = _NO_ATTRIBUTES
        self.ended = 0.0

    def detach(self, now: float) -> None:
        """Keep who called, drop the exchange; `now` is monotonic seconds."""
        exchange = self.exchange
        if exchange is not None:
            self.consumer = exchange.consumer
            self.attributes = exchange.__dict__.get("attributes", _NO_ATTRIBUTES)
            self.exchange = None
            self.ended = now


CALLER: ContextVar[Caller | None] = ContextVar("aigw_middleware_caller", default=None)


@contextlib.contextmanager
def detached() -> Iterator[None]:
    """Run code, tasks it starts included, as nobody: outgoing calls made in it inherit no caller."""
    token = CALLER.set(None)
    try:
        yield
    finally:
        CALLER.reset(token)


def current_exchange() -> Exchange | None:
    """Return the exchange that the running code serves, or None outside of one or after its end."""
    caller = CALLER.get()
    return caller.exchange if caller is not None else None


from .llm.view import recognise  # noqa: E402 - the view is made of exchanges, and an exchange makes its view
from .meter import Meter  # noqa: E402

"""Tell browsers which other origins may call the service, and answer their preflight requests.

    plugins:
      - name: cors
        config:
          allow_origins: ["https://app.example.com"]
          allow_origin_patterns: ["https://*.example.org:[8080,9090]"]
          allow_credentials: true
          expose_headers: [X-Request-Id]

Every response gets its fields, refusals and errors included, or scripts could not read why they were refused. Fields of
this kind that the service sends are replaced, so there is one policy. A request that is not allowed still reaches the
service: it is the browser that keeps the answer from the script.

It stands in for Starlette's CORSMiddleware with the same keywords. What differs: a preflight is answered with 204 whether
it is allowed or not, the origin is always named where Starlette sends `*`, `*` together with credentials is refused at
start (`allow_origin_patterns: ["*"]` says that), and what is not given has the defaults below.

Source: Fetch standard, section 3.3 (CORS protocol); RFC 6454, section 6.2 (serialised origins); the semantics are those
of version 2.0.1 of the compatible plug-in.
"""

from __future__ import annotations

import re

from pydantic import field_validator, model_validator

from ...config.models import Names
from ...exchange import Exchange, Reply, Request, Response
from ...headers import Headers, RawHeaders, header_name
from ...plugin import INBOUND, Field, Plugin, PluginConfig, Stage
from ..patterns import compile_pattern
from .origins import OriginPattern, canonical_origin, is_origin, is_own_origin, written_origin
from .preflights import Fields, PreflightAnswers

VERSION = b"2.0.1"
_VARY = (b"vary", b"Origin")
_VARY_PREFLIGHT = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
_ALLOW_ORIGIN = b"access-control-allow-origin"
_REPLACED = frozenset(
    {
        _ALLOW_ORIGIN,
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-private-network",
        b"access-control-expose-headers",
        b"access-control-max-age",
        b"x-cors-trace",
        b"x-cors-version",
    }
)
_ASKING = frozenset(
    {
        b"origin",
        b"host",
        b"access-control-request-headers",
        b"access-control-request-method",
        b"access-control-request-private-network",
    }
)
_MET_RARELY = _REPLACED | {b"vary"}
_DEFAULT_HEADERS = (
    *("DNT", "X-CustomHeader", "Keep-Alive", "User-Agent", "X-Requested-With"),
    *("If-Modified-Since", "Cache-Control", "Content-Type", "Authorization"),
)
_SAFELISTED = frozenset({b"accept", b"accept-language", b"content-language", b"content-type"})  # Fetch, section 2.2.2
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")


class CorsConfig(PluginConfig):
    """Which origins may do what."""

    allow_origins: Names | None = Field(
        None,
        description="Origins that may call, such as `https://app.example.com:8443`; `*`: all but `null`. Unset: `*`, "
        "unless patterns or `allow_credentials` are given; an empty list: none.",
    )
    allow_origin_patterns: Names = Field(
        (),
        description="Patterns of origins: `*` stands for any text, `:[8080,9090]` at the end for one of these ports, "
        "`:[*]` for any port or none. They match whole origins, in any case of letters.",
    )
    allow_origin_regex: str | None = Field(None, description="RE2 pattern that a whole origin must match.")
    allow_methods: Names = Field(
        ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"),
        description="Methods that may be used, `*`: all. Where GET may be, HEAD may.",
    )
    allow_headers: Names = Field(
        _DEFAULT_HEADERS,
        description="Request headers that may be sent, `*`: all. Accept, Accept-Language, Content-Language and "
        "Content-Type always may.",
    )
    expose_headers: Names = Field((), description="Response headers that scripts may read, `*`: all.")
    allow_credentials: bool = Field(False, description="Whether cookies and HTTP authentication may be sent.")
    allow_private_network: bool = Field(
        False, description="Whether pages of public sites may call this service on a private network."
    )
    max_age: int = Field(86_400, ge=-1, description="Seconds for which browsers may keep a preflight; -1: not at all.")
    trace: bool = Field(
        False,
        description="Send `X-Cors-Version`, and in `X-Cors-Trace` why a request is not allowed. Off by default: it "
        "tells everybody what the policy is, and costs bytes in every response.",
    )

    @field_validator("allow_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for origin in value or ():
            if origin not in ("*", "null") and written_origin(origin) is None:
                hint = ": wildcards belong into allow_origin_patterns" if "*" in origin else ""
                raise ValueError(f"{origin!r} is no origin such as https://example.com:8443{hint}")
        return value

    @field_validator("allow_origin_patterns")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            OriginPattern(pattern)
        return value

    @field_validator("allow_origin_regex")
    @classmethod
    def _regex(cls, value: str | None) -> str | None:
        if value is not None:
            compile_pattern(value)
        return value

    @field_validator("allow_methods", "allow_headers", "expose_headers")
    @classmethod
    def _tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            header_name(name)
        return value

    @model_validator(mode="after")
    def _credentials(self) -> CorsConfig:
        if self.allow_credentials and self.allow_origins is not None and "*" in self.allow_origins:
            raise ValueError(
                "allow_origins: * cannot be used with allow_credentials: name the origins, or use patterns (any origin: "
                'allow_origin_patterns: ["*"])'
            )
        return self


class Cors(Plugin[CorsConfig]):
    """Answer preflight requests, and mark every response for the origins that may read it."""

    name, stage, priority = "cors", Stage.AUTHORIZATION, 340
    directions = frozenset({INBOUND})

    def compile(self) -> None:
        config = self.config
        origins = config.allow_origins
        if origins is None:
            open_to_all = not (config.allow_origin_patterns or config.allow_origin_regex or config.allow_credentials)
            origins = ("*",) if open_to_all else ()
        self._any_origin = "*" in origins
        self._patterns = tuple(OriginPattern(pattern) for pattern in config.allow_origin_patterns)
        self._regex = compile_pattern(config.allow_origin_regex) if config.allow_origin_regex is not None else None
        methods = {method.upper() for method in config.allow_methods}
        if "GET" in methods:
            methods.add("HEAD")
        self._methods = None if "*" in methods else frozenset(methods)
        self._asked = None if "*" in methods else frozenset(method.encode() for method in methods)
        headers = {name.lower().encode() for name in config.allow_headers}
        self._any_header = b"*" in headers
        self._headers = frozenset() if self._any_header else frozenset(headers)
        self._compile_fields(origins)
        self._answers = PreflightAnswers(self._preflight)

    def _compile_fields(self, origins: tuple[str, ...]) -> None:
        config = self.config
        self._trace: RawHeaders = [(b"x-cors-version", VERSION)] if config.trace else []
        credentials = [(b"access-control-allow-credentials", b"true")] if config.allow_credentials else []
        exposed = ", ".join(config.expose_headers).encode()
        exposing = [(b"access-control-expose-headers", exposed)] if exposed else []
        # `Vary` is the last field of each: where a response has one already, it is merged instead.
        self._marks = (*credentials, *exposing, *self._trace, _VARY)
        self._unmarked: Fields = (*self._trace, _VARY)
        written = [b"null" if origin == "null" else written_origin(origin) for origin in origins if origin != "*"]
        self._known: dict[bytes, Fields] = {
            origin: ((_ALLOW_ORIGIN, origin), *self._marks) for origin in written if origin is not None
        }
        methods = ", ".join(method.upper() for method in config.allow_methods).encode()
        allowing = [(b"access-control-allow-methods", methods)] if self._asked is not None else []
        self._allowed_headers = b"" if self._any_header else ", ".join(config.allow_headers).encode()
        max_age = (b"access-control-max-age", str(config.max_age).encode())
        self._preflight_fields = (*allowing, *credentials, max_age, *self._trace, _VARY_PREFLIGHT)

    def on_request(self, exchange: Exchange) -> Reply | None:
        request = exchange.request
        if request.method != "OPTIONS":
            return None
        origin = method = names = b""
        host: bytes | None = None
        private = False
        for name, value in [field for field in request.headers.raw if field[0] in _ASKING]:
            if name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                method = value
            elif name == b"access-control-request-headers":
                names = names + b"," + value if names else value
            elif name == b"host":
                host = value
            else:
                private = value == b"true"
        if not origin or not method or is_own_origin(request, host, origin):
            return None
        reply = Reply(204)
        reply.headers = [*self._answers.find(origin, method, names, private)]
        return reply

    def on_response(self, exchange: Exchange) -> None:
        assert exchange.response is not None
        self._mark(exchange.request, exchange.response.headers)

    def on_refusal(self, exchange: Exchange, response: Response) -> None:
        self._mark(exchange.request, response.headers)

    # ------------------------------------------------------------------ responses

    def _mark(self, request: Request, headers: Headers) -> None:
        """Put the policy's fields on a response, in place of those that the service sent."""
        origin = request.headers.get_bytes(b"origin")
        if not origin:
            fields = self._unmarked
        elif self._methods is None or request.method in self._methods:
            fields = self._known.get(origin) or self._judge(request, origin)
        else:
            fields = self._not_allowed(b"the method is not allowed")
        for name, _ in headers.raw:
            if name in _MET_RARELY:
                headers.remove_all(_REPLACED)
                if "vary" in headers:
                    headers.add_token("Vary", "Origin")
                    fields = fields[:-1]
                break
        headers.extend_trusted(fields)

    def _judge(self, request: Request, origin: bytes) -> Fields:
        """Return the fields for an origin that is not listed as it is written."""
        if not self._allows(origin):
            return self._not_allowed(b"the origin is not allowed")
        own = is_own_origin(request, request.headers.get_bytes(b"host"), origin)
        return self._unmarked if own else ((_ALLOW_ORIGIN, origin), *self._marks)

    def _not_allowed(self, reason: bytes) -> Fields:
        return ((b"x-cors-trace", reason), *self._unmarked) if self._trace else self._unmarked

    def _allows(self, origin: bytes) -> bool:
        """Judge an origin that is not listed as it is written. `null` is none: it must be listed."""
        if self._any_origin:
            return is_origin(origin)
        parsed = canonical_origin(origin)
        if parsed is None:
            return False
        if parsed.text in self._known:
            return True
        for pattern in self._patterns:
            if pattern.matches(parsed):
                return True
        return self._regex is not None and self._regex.fullmatch(origin.decode("latin-1")) is not None

    # ------------------------------------------------------------------ preflight requests

    def _preflight(self, origin: bytes, method: bytes, asked: bytes, private: bool) -> Fields:
        """Return the fields that answer a preflight; where it is not allowed, none of CORS."""
        reason = b""
        names = [part.strip() for part in asked.split(b",") if part and not part.isspace()]
        more = [name for name in names if name.lower() not in self._headers]
        if origin not in self._known and not self._allows(origin):
            reason = b"the origin is not allowed"
        elif (self._asked is not None and method.upper() not in self._asked) or not _TOKEN.match(method):
            reason = b"the method is not allowed"
        elif more and not all(_TOKEN.match(name) if self._any_header else name.lower() in _SAFELISTED for name in more):
            reason = b"a header is not allowed"
        if reason:
            return (*(((b"x-cors-trace", reason),) if self._trace else ()), *self._trace, _VARY_PREFLIGHT)
        fields: RawHeaders = [(_ALLOW_ORIGIN, origin), *self._preflight_fields]
        if self._asked is None:
            fields.append((b"access-control-allow-methods", method))
        if more or self._allowed_headers:
            allowed = b", ".join([self._allowed_headers, *more] if self._allowed_headers else more)
            fields.append((b"access-control-allow-headers", allowed))
        if private and self.config.allow_private_network:
            fields.append((b"access-control-allow-private-network", b"true"))
        return tuple(fields)

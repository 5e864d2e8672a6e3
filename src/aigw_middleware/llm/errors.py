"""The one error face: refusals as the caller's API would send them, so that its client raises the right exception.

OpenAI's, Anthropic's or Gemini's error JSON for LLM calls, `application/problem+json` (RFC 9457) elsewhere.
"""

from __future__ import annotations

import http
from typing import TYPE_CHECKING

from .. import json as strict_json
from ..headers import RawHeaders, end_to_end

if TYPE_CHECKING:
    from ..exchange import Exchange, Refusal

_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    **_OPENAI_TYPES,
    402: "billing_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GEMINI_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error_object(style: str, status: int, code: str, text: str) -> dict[str, object]:
    """Return the error in the words of `style`: `openai`, `anthropic`, `gemini` or `problem`."""
    if style == "openai":
        kind = _OPENAI_TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
        return {"error": {"message": text, "type": kind, "param": None, "code": code}}
    if style == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": text}}
    if style == "gemini":
        reason = _GEMINI_STATUS.get(status) or ("INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        return {"error": {"code": status, "message": text, "status": reason, "details": [{"reason": code}]}}
    return {"type": "about:blank", "title": _title(status), "status": status, "detail": text, "code": code}


def render(refusal: Refusal, exchange: Exchange) -> tuple[RawHeaders, bytes]:
    """Return the header fields and the body of `refusal` in the caller's format; kept in it, for constant ones."""
    style = "exact" if refusal.exact else error_style(exchange)
    rendered = refusal.rendered.get(style)
    if rendered is None:
        rendered = refusal.rendered[style] = _render(refusal, style)
    return rendered


def error_style(exchange: Exchange) -> str:
    """Return which error format the caller reads: by its route, else its path, else the shape of its body once it is read."""
    snapshot = exchange.snapshot
    if snapshot.error_format == "upstream":
        return "upstream"
    style = exchange.route.error_style or snapshot.dialects.style_of(exchange.request.path)
    if style == "problem" and exchange.route.llm == "auto":
        call = exchange.__dict__.get("llm")
        if call is not None:
            return call.dialect.error_style  # type: ignore[no-any-return]
    return style


def _render(refusal: Refusal, style: str) -> tuple[RawHeaders, bytes]:
    if style in ("exact", "upstream") and refusal.upstream is not None:
        content_type, body = refusal.upstream
        field = [(b"content-type", content_type.encode("latin-1"))] if content_type else []
    else:
        if style in ("exact", "upstream"):
            style = "problem"
        body = strict_json.encode(error_object(style, refusal.status, refusal.code, refusal.text))
        field = [_PROBLEM if style == "problem" else _JSON]
    # The framing of the message is not a plug-in's to set.
    own = [header for header in end_to_end(refusal.headers) if header[0] != b"content-length"]
    return [*own, *field, (b"content-length", b"%d" % len(body))], body


def _title(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"

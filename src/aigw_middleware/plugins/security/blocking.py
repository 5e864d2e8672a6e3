"""What plug-ins that block requests answer: the status and the body that an operator chose, else our own."""

from __future__ import annotations

from ... import json as strict_json
from ...exchange import Refusal
from ...plugin import Field, PluginConfig


class BlockingConfig(PluginConfig):
    """The answer to a blocked request."""

    blocked_code: int = Field(403, ge=200, le=599, description="Status of the answer to a blocked request.")
    blocked_message: str = Field(
        "", description="Its body, sent as it is; empty: an error in the caller's format that says what happened."
    )

    def refusal(self, code: str, text: str) -> Refusal:
        """Return the refusal; `code` and `text` are for callers when no body is configured."""
        body = self.blocked_message.encode()
        return Refusal(
            self.blocked_code, code, text, upstream=(_content_type(body) if body else "", body), exact=bool(body)
        )


def _content_type(body: bytes) -> str:
    try:
        strict_json.decode(body)
    except strict_json.InvalidJSON:
        return "text/plain; charset=utf-8"
    return "application/json"

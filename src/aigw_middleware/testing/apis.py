"""What the dialects of one provider share: how errors look and how models are listed.

Sources: OpenAI API reference, "Error codes" and "Models"; Anthropic API reference, "Errors" and "List Models"; Google
AI for Developers, Gemini API, "Models", and google.rpc `Status`, `Code` and `RetryInfo`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from .script import ProviderError


class Api(Protocol):
    """The customs of one provider."""

    request_id: str
    """The header that names a request."""

    def error(self, error: ProviderError, request_id: str) -> dict[str, Any]:
        """The body of an error."""

    def models(self, names: Sequence[str], created: int) -> dict[str, Any]:
        """The list of all models; `created` in seconds since 1970."""


class OpenAIApi:
    """OpenAI's customs."""

    request_id = "x-request-id"

    def error(self, error: ProviderError, request_id: str) -> dict[str, Any]:
        """The one object of all errors."""
        return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}

    def models(self, names: Sequence[str], created: int) -> dict[str, Any]:
        """A list object."""
        data = [{"id": name, "object": "model", "created": created, "owned_by": "fake"} for name in names]
        return {"object": "list", "data": data}


class AnthropicApi:
    """Anthropic's customs."""

    request_id = "request-id"
    TYPES: Mapping[int, str] = {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        405: "invalid_request_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        504: "timeout_error",
        529: "overloaded_error",
    }

    def error(self, error: ProviderError, request_id: str) -> dict[str, Any]:
        """The object of all errors, which names the request."""
        by_status = self.TYPES.get(error.status) or ("api_error" if error.status >= 500 else "invalid_request_error")
        kind = error.type if error.type in self.TYPES.values() else by_status
        return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": request_id}

    def models(self, names: Sequence[str], created: int) -> dict[str, Any]:
        """A page that is the only one."""
        since = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        data = [
            {"type": "model", "id": name, "display_name": name, "created_at": since, "lifecycle": "active"}
            for name in names
        ]
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return {"data": data, "has_more": False, **ends}


class GeminiApi:
    """Customs of Google's APIs."""

    request_id = "x-request-id"
    STATUS: Mapping[int, str] = {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        409: "ABORTED",
        429: "RESOURCE_EXHAUSTED",
        499: "CANCELLED",
        500: "INTERNAL",
        501: "UNIMPLEMENTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }

    def error(self, error: ProviderError, request_id: str) -> dict[str, Any]:
        """A `Status`; with `RetryInfo` where the error says when to come back."""
        by_code = self.STATUS.get(error.status) or ("INTERNAL" if error.status >= 500 else "FAILED_PRECONDITION")
        status = error.type if error.type.isupper() else by_code
        body: dict[str, Any] = {"code": error.status, "message": error.message, "status": status}
        waits = [value for name, value in error.headers if name.lower() == "retry-after"]
        if waits and waits[0].replace(".", "", 1).isdecimal():
            delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{waits[0]}s"}
            body["details"] = [delay]
        return {"error": body}

    def models(self, names: Sequence[str], created: int) -> dict[str, Any]:
        """A page that is the only one."""
        methods = ["generateContent", "countTokens", "embedContent"]
        return {
            "models": [
                {
                    "name": f"models/{name}",
                    "version": "001",
                    "displayName": name,
                    "inputTokenLimit": 1_048_576,
                    "outputTokenLimit": 65_536,
                    "supportedGenerationMethods": methods,
                }
                for name in names
            ]
        }


OPENAI: Api = OpenAIApi()
ANTHROPIC: Api = AnthropicApi()
GEMINI: Api = GeminiApi()

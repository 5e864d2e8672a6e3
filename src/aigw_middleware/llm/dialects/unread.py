"""APIs of models that are recognised and not read, so that no guard skips their calls in silence.

Sources: Amazon Bedrock API reference, "Converse", "ConverseStream", "InvokeModel" and "CountTokens"; Anthropic API
reference, "Create a Text Completion" (legacy).
"""

from __future__ import annotations

from typing import Any

from .base import Dialect


class Unread(Dialect):
    """Bedrock's own conversations, other vendors' models behind its `invoke`, and Anthropic's old completions."""

    name = "unread"
    error_style = "problem"
    suffixes = ("/v1/complete",)
    hints = ("/converse", "/converse-stream", "/invoke", "/invoke-with-response-stream", "/count-tokens")
    hint_within = "/model/"  # others' paths may end alike
    covered = False

    def hinted(self, body: Any) -> bool:
        return not (isinstance(body, dict) and "anthropic_version" in body)  # Claude's messages are read

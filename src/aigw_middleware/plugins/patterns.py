"""Operators' regular expressions: RE2, which takes linear time whatever the pattern and the text."""

from __future__ import annotations

from typing import Any


def compile_pattern(pattern: str) -> Any:
    """Return the compiled RE2 pattern, with `search` and `fullmatch`. Raises ValueError that says what is wrong."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(f"is no RE2 pattern: {reason.decode() if isinstance(reason, bytes) else reason}") from None

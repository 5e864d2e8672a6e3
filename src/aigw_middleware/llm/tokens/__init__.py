"""How many tokens a call will take, before it is made."""

from __future__ import annotations

from .counter import TokenCounter, counter_for
from .families import Family, family_of
from .images import image_tokens
from .ladder import Availability, Source, availability, forget
from .overheads import count_prompt, overhead, prompt_tokens

__all__ = [
    "Availability",
    "Family",
    "Source",
    "TokenCounter",
    "availability",
    "count_prompt",
    "counter_for",
    "family_of",
    "forget",
    "image_tokens",
    "overhead",
    "prompt_tokens",
]

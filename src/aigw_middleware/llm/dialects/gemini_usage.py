"""Gemini's `usageMetadata`, in the meaning that usage has here.

Source: the Gemini API reference, "UsageMetadata", and Vertex AI's of the same name; `responseTokenCount` of its Live API.
"""

from __future__ import annotations

from typing import Any, Final

from ..usage import Usage, count, part
from .gemini_parts import snake

_DETAILS: Final = (
    ("promptTokensDetails", "cacheTokensDetails", "cachedContentTokenCount", "toolUsePromptTokenCount"),
    ("candidatesTokensDetails", "responseTokensDetails", "thoughtsTokenCount"),
)
_DETAIL_OF: Final = {name: side for side, names in enumerate(_DETAILS) for name in names}
_CAMEL_CASE: Final = {
    snake(name): name
    for name in (
        *("promptTokenCount", "candidatesTokenCount", "responseTokenCount", "totalTokenCount"),
        *("promptTokenDetails", "toolUsePromptTokensDetails", *_DETAILS[0], *_DETAILS[1]),
    )
}
_MODALITIES: Final = {"AUDIO": "AUDIO", "IMAGE": "IMAGE", 4: "AUDIO", 2: "IMAGE"}
"""Those that are counted apart; by their numbers where a client asks for `enum-encoding=int`."""


class _Counted(Usage, eq=False):
    """Gemini counts anew for each chunk, the prompt too, which may get smaller: what was told last stands."""

    def after(self, earlier: Usage | None) -> Usage:
        return super().after(earlier) if self.partial else self


def gemini_usage(value: Any, *, finished: bool = True) -> Usage | None:
    """Return the usage that `usageMetadata` reports; None where it has no counts, only what kind of traffic it was.

    Gemini counts thoughts apart from the candidates, and what tools gave back apart from the prompt; tokens read from
    a cache are part of its prompt.
    """
    if not isinstance(value, dict):
        return None
    if "_" in "".join(value):
        value = {_CAMEL_CASE.get(name, name): item for name, item in value.items()}
    get = value.get
    prompt, said, total = get("promptTokenCount"), get("candidatesTokenCount"), get("totalTokenCount")
    if said is None:
        said = get("responseTokenCount")  # as the Live API has it
    if prompt is None and said is None and total is None:
        return None
    thoughts, tools, cached = get("thoughtsTokenCount"), get("toolUsePromptTokenCount"), get("cachedContentTokenCount")
    thoughts = count(thoughts) if thoughts else 0  # asked first: most chunks have none of these three
    tools = count(tools) if tools else 0
    cached = count(cached) if cached else 0
    stated, produced = count(prompt), count(said)
    details: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name, item in value.items():
        side = _DETAIL_OF.get(name)
        if side is not None and item is not None:
            details[side][name] = item
    sent = _by_modality(
        get("promptTokensDetails") or get("promptTokenDetails"),  # the latter as embeddings have it
        get("toolUsePromptTokensDetails"),
    )
    answered = _by_modality(get("candidatesTokensDetails") or get("responseTokensDetails"))
    return _Counted(
        stated + tools,
        produced + thoughts,
        None if total is None else count(total),
        cached,
        0,
        0,
        sent.get("AUDIO", 0),
        sent.get("IMAGE", 0),
        thoughts,
        answered.get("AUDIO", 0),
        "provider",
        stated,
        produced,
        details[0] or None,
        details[1] or None,
        not finished and said is None and not thoughts,
    )


def _by_modality(*details: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for told in details:
        for one in told if isinstance(told, list) else ():
            if not isinstance(one, dict):
                continue
            modality = one.get("modality")
            modality = _MODALITIES.get(modality) if isinstance(modality, (str, int)) else None
            if modality is not None:
                found[modality] = found.get(modality, 0) + part(one, "tokenCount", "token_count")
    return found

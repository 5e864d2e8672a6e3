"""Gemini's `usageMetadata`, in the meaning that usage has here.

Source: the Gemini API reference, "UsageMetadata", and Vertex AI's of the same name; `responseTokenCount` of its Live API.
"""

from __future__ import annotations

from typing import Any, Final

from ..usage import Usage, count, part
from .gemini_parts import snake
from .walking import dicts

_DETAILS: Final = (
    ("promptTokensDetails", "cacheTokensDetails", "cachedContentTokenCount", "toolUsePromptTokenCount"),
    ("candidatesTokensDetails", "responseTokensDetails", "thoughtsTokenCount"),
)
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
    if any("_" in name for name in value):
        value = {_CAMEL_CASE.get(name, name): item for name, item in value.items()}
    prompt, said, total = map(value.get, ("promptTokenCount", "candidatesTokenCount", "totalTokenCount"))
    if said is None:
        said = value.get("responseTokenCount")  # as the Live API has it
    if prompt is None and said is None and total is None:
        return None
    thoughts, tools = count(value.get("thoughtsTokenCount")), count(value.get("toolUsePromptTokenCount"))
    sent = _by_modality(
        value.get("promptTokensDetails") or value.get("promptTokenDetails"),  # the latter as embeddings have it
        value.get("toolUsePromptTokensDetails"),
    )
    produced = _by_modality(value.get("candidatesTokensDetails") or value.get("responseTokensDetails"))
    details = [{name: value[name] for name in names if value.get(name) is not None} for names in _DETAILS]
    return _Counted(
        count(prompt) + tools,
        count(said) + thoughts,
        None if total is None else count(total),
        count(value.get("cachedContentTokenCount")),
        audio_input_tokens=sent.get("AUDIO", 0),
        image_input_tokens=sent.get("IMAGE", 0),
        reasoning_tokens=thoughts,
        audio_output_tokens=produced.get("AUDIO", 0),
        stated_input=count(prompt),
        stated_output=count(said),
        input_details=details[0] or None,
        output_details=details[1] or None,
        partial=not finished and said is None and not thoughts,
    )


def _by_modality(*details: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for told in details:
        for one in dicts(told) if told else ():
            modality = one.get("modality")
            modality = _MODALITIES.get(modality) if isinstance(modality, (str, int)) else None
            if modality is not None:
                found[modality] = found.get(modality, 0) + part(one, "tokenCount", "token_count")
    return found

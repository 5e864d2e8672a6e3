"""The parts that Gemini's contents are made of, alike in requests and answers, and the two spellings of every name.

Source: the Gemini API reference, "Content", "Part", "FunctionCall", "GroundingMetadata", and Vertex AI's of the same
names. Both APIs are protocol buffers, which are read with names in camel case and as they are defined, in snake case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .walking import dicts, strings

LEAVES: Final = 10**9
"""The parts of all texts but a run's are numbered from here; far above the parts that an answer could have."""

_WORDS: Final = {
    "functionCall": ("args", "tool_arguments"),
    "functionResponse": ("response", "tool_result"),
    "toolCall": ("args", "tool_arguments"),
    "toolResponse": ("response", "tool_result"),
    "executableCode": ("code", "tool_arguments"),
    "codeExecutionResult": ("output", "tool_result"),
    "audioTranscription": ("", "transcript"),
    "speechMetadata": ("", "document"),
}
"""What a member of a part says: which of its members does, all where it is empty, and what kind of text that is."""
_SILENT: Final = (
    "inlineData",
    "fileData",
    "thoughtSignature",
    "videoMetadata",
    "audioMetadata",
    "documentMetadata",
    "spreadsheetMetadata",
    "partMetadata",
    "mediaResolution",
    "mediaProcessing",
)
_MARKS: Final = ("text", "thought", "thoughtSignature", "partMetadata", "mediaResolution", "speechMetadata")


def snake(name: str) -> str:
    """Return how a name is spelled in snake case."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


class _Spellings(dict[str, tuple[str, ...]]):
    """The spellings of each name, camel case first; only the names that stand in this package are asked for."""

    def __missing__(self, name: str) -> tuple[str, ...]:
        other = snake(name)
        found = self[name] = (name,) if other == name else (name, other)
        return found


SPELLINGS: Final = _Spellings()
_SAYING: Final = {spelled: said for name, said in _WORDS.items() for spelled in SPELLINGS[name]}
_QUIET: Final = frozenset(spelled for name in _SILENT for spelled in SPELLINGS[name])
_NO_BREAK: Final = frozenset(spelled for name in _MARKS for spelled in SPELLINGS[name])
_BLOBS: Final = (*SPELLINGS["inlineData"], *SPELLINGS["fileData"])


def get(value: Any, name: str) -> Any:
    """Return a member under whichever spelling it has, the first that is not null; None where there is none."""
    if isinstance(value, dict):
        for spelled in SPELLINGS[name]:
            found = value.get(spelled)
            if found is not None:
                return found
    return None


def key_of(value: Mapping[str, Any], name: str) -> str:
    """Return the spelling under which an object has a member; the name itself where it has none."""
    return next((spelled for spelled in SPELLINGS[name] if spelled in value), name)


def one_or_more(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, or the one that stands there instead of a list, as both APIs read it."""
    return [value] if isinstance(value, dict) else dicts(value)


def texts_of(part: dict[str, Any]) -> Iterator[tuple[Any, Any, str]]:
    """Yield container, key and kind of every text of a part; those of unknown members, too, as `document`.

    A text beside a `thoughtSignature` is a text like any other: the signature is for the model's own memory of its
    thoughts, and is sent back as it came.
    """
    for name, value in list(part.items()):
        if name == "text":
            if isinstance(value, str):
                yield part, name, "reasoning" if part.get("thought") is True else "content"
        elif name in _SAYING:
            inner, kind = _SAYING[name]
            if not isinstance(value, (dict, list)):
                yield from _told(part, name, kind)
            elif inner and isinstance(value, dict):
                yield from _told(value, inner, kind)
            else:
                yield from ((*place, kind) for place in strings(value))
        elif name not in _QUIET:
            yield from _told(part, name, "document")


def _told(holder: dict[str, Any], key: str, kind: str) -> Iterator[tuple[Any, Any, str]]:
    value = holder.get(key)
    if isinstance(value, str):
        yield holder, key, kind
    else:
        yield from ((*place, kind) for place in strings(value))


def breaks(part: Mapping[str, Any]) -> bool:
    """Whether a part stands between texts, so that one behind it does not go on with the one before it."""
    return any(name not in _NO_BREAK for name in part)


def unknown(part: Any) -> str:
    """Return why the texts of a request's part are not known; empty when they are."""
    if isinstance(part, str):
        return ""
    if not isinstance(part, dict):
        return "a part is no object"
    for name, value in part.items():
        if name == "text":
            if value is not None and not isinstance(value, str):
                return "the text of a part is no text"
        elif name not in _SAYING and name not in _QUIET and next(_told(part, name, ""), None) is not None:
            return "a content has a part of unknown type"
    return ""


def blobs(part: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield kind, source and resolution of what a part carries or points to."""
    for name in _BLOBS:
        blob = part.get(name)
        if isinstance(blob, dict):
            media = str(get(blob, "mimeType") or "").partition("/")[0].lower()
            source = get(blob, "data") or get(blob, "fileUri")
            resolution = get(get(part, "mediaResolution"), "level")
            kind = media if media in ("image", "audio", "video") else "file"
            yield kind, source if isinstance(source, str) else "", resolution if isinstance(resolution, str) else ""
    for name in SPELLINGS["functionResponse"]:
        for inner in one_or_more(get(part.get(name), "parts")):
            yield from blobs({key: value for key, value in inner.items() if key not in SPELLINGS["functionResponse"]})


def grounding(candidate: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield container and key of what an answer repeats of itself and of its sources beside its parts."""
    for name in SPELLINGS["finishMessage"]:  # repeats a function call that could not be read
        if isinstance(candidate.get(name), str):
            yield candidate, name
    metadata = get(candidate, "groundingMetadata")
    if metadata is None:
        return
    for support in one_or_more(get(metadata, "groundingSupports")):
        yield from _strings_at(support, ("segment", "text"))
    for chunk in one_or_more(get(metadata, "groundingChunks")):
        for source in ("web", "retrievedContext", "maps"):
            yield from _strings_at(chunk, (source, "title"))
            yield from _strings_at(chunk, (source, "text"))
        yield from _strings_at(chunk, ("retrievedContext", "ragChunk", "text"))
    for name in ("webSearchQueries", "imageSearchQueries", "retrievalQueries"):
        yield from strings(get(metadata, name))
    for name in SPELLINGS["renderedContent"]:  # the queries again, as HTML
        yield from _strings_at(get(metadata, "searchEntryPoint"), (name,))


def _strings_at(value: Any, path: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    *names, last = path
    for name in names:
        value = get(value, name)
    if isinstance(value, dict) and isinstance(value.get(last), str):
        yield value, last

"""What a body is, by its Content-Type and its Content-Encoding."""

from __future__ import annotations

import msgspec

from .llm.framing import SSE, Framing, framing_of


class Uncovered(Exception):
    """What must be read cannot be: becomes the plug-in's `on_uncovered` policy. The text says why."""


class Form(msgspec.Struct, eq=False, gc=False):
    """What a body is, told by its Content-Type."""

    media_type: str
    """In lower case, without parameters."""
    json: bool
    events: bool
    """A stream of server-sent events."""
    readable: bool
    """Text of a kind that is read whole."""
    media: bool
    """A sound, a picture or a video."""
    framing: Framing | None
    """How events are put into it, of whatever kind they are; None: it is no stream."""


MAX_KNOWN_FORMS = 256  # values of Content-Type whose form is kept: services send few, the bound is for made-up ones
_forms: dict[bytes, Form] = {}


def form_of(content_type: bytes) -> Form:
    """Return the form that a Content-Type value says (RFC 6839: `+json` is JSON)."""
    form = _forms.get(content_type)
    if form is None:
        media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
        json = media_type == "application/json" or media_type.endswith("+json")
        media = media_type.startswith(("audio/", "image/", "video/"))
        framing = framing_of(media_type)
        events = framing is SSE
        readable = json or media_type in ("", "application/xml") or media_type.startswith("text/")
        form = Form(media_type, json, events, readable, media, framing)
        if len(_forms) < MAX_KNOWN_FORMS:
            _forms[content_type] = form
    return form

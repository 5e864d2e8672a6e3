"""A body: the text that plug-ins see, and the bytes that leave."""

from __future__ import annotations

from typing import Any

from . import json as strict_json
from .codings import Coding, CodingError, coding_of, decode
from .forms import Uncovered
from .headers import Headers
from .lazy import lazy


class Body:
    """A body that is decoded at most once and encoded at most once, and forwarded untouched unless edited."""

    headers: Headers
    received_body: bytes | None = None
    """The bytes as they came; what digests and signatures are checked against. None: not loaded."""
    _wire: bytes | None = None
    _plain: bytes | None = None
    _stale: bool = False
    _coded: bool = False
    edited: bool = False
    """Whether what leaves differs from what came."""
    max_plain: int = 10_000_000
    """Bytes that a body with a content coding may have without it."""

    @property
    def loaded(self) -> bool:
        """Whether the body is here; declare the need (`on_request_body`, `on_response_body`) to have it loaded."""
        return self._wire is not None or self._stale

    @property
    def body(self) -> bytes:
        """The body as it stands, edits included, without a content coding; empty when it was not loaded.

        What plug-ins put here is sent without a coding. Raises Uncovered for a coding that cannot be undone in bounds.
        """
        if self._coded:
            return self._decoded()
        return self.wire

    @body.setter
    def body(self, data: bytes) -> None:
        self._wire = data
        self._stale = False
        self._touched()
        self.__dict__.pop("json", None)

    @property
    def wire(self) -> bytes:
        """The bytes that leave: those that came, unless something was edited."""
        if self._stale:
            self._wire = strict_json.encode(self.json)
            self._stale = False
        return self._wire or b""

    @property
    def coding(self) -> Coding | None:
        """The content coding that the header says; None when the bytes are the text."""
        if self.headers.get_bytes(b"content-encoding") is None:
            return None
        return coding_of(", ".join(self.headers.get_all("content-encoding")).encode("latin-1"))

    def load(self, data: bytes) -> None:
        """Set the bytes that came; called by the driver."""
        self._wire = self.received_body = data
        self._coded = len(data) > 0 and self.coding is not None

    def _decoded(self) -> bytes:
        coding = self.coding
        if self._plain is None and coding is not None:
            try:
                self._plain = decode(self.wire, ", ".join(coding.names).encode(), self.max_plain)
            except CodingError as error:
                raise Uncovered(f"the body's content coding: {error.text}") from None
        return self._plain or b""

    def _touched(self) -> None:
        self.edited = True
        if self._coded:
            self._coded = False
            self._plain = None
            self.headers.remove_all((b"content-encoding",))

    @lazy
    def json(self) -> Any:
        """The body as JSON, shared by all readers: change it through `edit()` only. Raises InvalidJSON, Uncovered."""
        return self._read_json(self.body)

    def _read_json(self, data: bytes) -> Any:
        return strict_json.decode(data)

    def edit(self) -> Any:
        """Return the JSON of the body to change in place; the body is encoded anew, once, when it leaves."""
        value = self.json
        self._stale = True
        self._touched()
        return value

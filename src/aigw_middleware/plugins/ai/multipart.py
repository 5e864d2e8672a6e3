"""Forms sent as `multipart/form-data`: one text field is read and replaced, every other byte stays as it is.

The service behind reads the same bytes with a parser of its own, and parsers are lenient in different ways: some take a
bare line feed for a line break, some the first of two fields and some the last. So what is read here is the grammar and
nothing beside it, and a body that two readers could take apart differently is no form: no preamble, no epilogue, no
padding, no folded lines, no second field of the name that is asked for.

Source: RFC 7578; RFC 2046, section 5.1.1; the grammar of parameters is that of RFC 9110, section 5.6.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from ...forms import form_of

MAX_PARTS = 1_000
MAX_HEAD = 8_192  # bytes of the header of one part

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t -~\x80-\xff]*)\Z")
_PARAMETER = re.compile(
    rb"[ \t]*;[ \t]*(" + _TOKEN + rb")=(?:(" + _TOKEN + rb')|"((?:[^"\\]|\\.)*)")', re.DOTALL
)  # RFC 9110, section 5.6.4 and 5.6.6
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]\Z")  # RFC 2046, section 5.1.1
_LENGTH = re.compile(rb"[0-9]{1,15}\Z")
_PLAIN = frozenset({b"7bit", b"8bit", b"binary"})
_CHARSETS = frozenset({b"utf-8", b"us-ascii"})


class InvalidForm(ValueError):
    """A body that is no form, or that two readers could read differently; the text says why, never the content."""


class TextField(msgspec.Struct, eq=False, gc=False):
    """One text field of a form."""

    text: str
    _data: bytes
    _opening: bytes
    _start: int
    _end: int
    _length: tuple[int, int] | None
    """Where the part states its own length, as some clients do."""

    def replaced(self, text: str) -> bytes:
        """Return the form with another text in this field. Raises InvalidForm for a text that would break the form."""
        value = text.encode()
        if b"\r" in value or b"\n" in value or self._opening in value:
            raise InvalidForm("a field would hold a line break or the boundary")
        data, start = self._data, self._start
        if self._length is None:
            return data[:start] + value + data[self._end :]
        first, last = self._length
        return b"".join((data[:first], b"%d" % len(value), data[last:start], value, data[self._end :]))

    def __repr__(self) -> str:
        return f"<TextField {self._start}>"


def is_form(content_type: bytes | None) -> bool:
    """Whether a Content-Type value means a form in parts."""
    return content_type is not None and form_of(content_type).media_type == "multipart/form-data"


def text_field(data: bytes, content_type: bytes, name: str) -> TextField | None:
    """Return the text field `name` of the form `data`, None if it has none. Takes linear time. Raises InvalidForm."""
    opening = b"--" + _boundary(content_type)
    wanted = name.encode()
    found: TextField | None = None
    for head, content, end in _parts(data, opening):
        fields = _fields(data, head, content)
        parameters = _disposition(data, fields)
        if parameters[b"name"] != wanted:
            continue
        if found is not None:
            raise InvalidForm(f"it has the field {name} twice")
        if b"filename" in parameters or b"filename*" in parameters:
            raise InvalidForm(f"its field {name} is a file")
        length = _plain_text(data, fields, end - content, name)
        try:
            text = data[content:end].decode()
        except UnicodeDecodeError:
            raise InvalidForm(f"its field {name} is not valid UTF-8") from None
        found = TextField(text, data, opening, content, end, length)
    return found


def _boundary(content_type: bytes) -> bytes:
    parameters = _parameters(content_type)[1]
    if parameters.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise InvalidForm("it has another charset than UTF-8")
    boundary = parameters.get(b"boundary", b"")
    if not _BOUNDARY.match(boundary):
        raise InvalidForm("its Content-Type has no valid boundary")
    return boundary


def _parts(data: bytes, opening: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield where each part's header, its content and its end are. `opening`: the boundary behind its two dashes."""
    if not data.startswith(opening):
        raise InvalidForm("it does not begin with its boundary")
    at = 0
    for number in range(MAX_PARTS + 1):
        at += len(opening)
        if data.startswith(b"--", at):
            if data[at + 2 : at + 5] not in (b"", b"\r\n"):
                raise InvalidForm("something follows its end")
            return
        if number == MAX_PARTS:
            raise InvalidForm("it has too many parts")
        if not data.startswith(b"\r\n", at):
            raise InvalidForm("a line goes on after the boundary")
        head = at + 2
        content = data.find(b"\r\n\r\n", head, head + MAX_HEAD) + 4
        if content < 4:
            raise InvalidForm("a part has no header, or one that is too large")
        at = data.find(opening, head)
        if at < 0:
            raise InvalidForm("it has no end")
        if at - 2 < content or not data.startswith(b"\r\n", at - 2):  # within a line, too, some take it for a boundary
            raise InvalidForm("its boundary stands where no line of its own begins")
        yield head, content, at - 2


def _fields(data: bytes, head: int, content: int) -> dict[bytes, tuple[int, int]]:
    """Return where the values of a part's header fields stand, by lower-case name."""
    found: dict[bytes, tuple[int, int]] = {}
    at = head
    for line in data[head : content - 4].split(b"\r\n"):
        match = _LINE.match(line)
        if match is None:
            raise InvalidForm("a line of a part's header is none")
        name = match[1].lower()
        if name in found:
            raise InvalidForm("a header field of a part is there twice")
        found[name] = at + match.start(2), at + match.end(2)
        at += len(line) + 2
    return found


def _value(data: bytes, fields: dict[bytes, tuple[int, int]], name: bytes) -> bytes | None:
    place = fields.get(name)
    return data[place[0] : place[1]] if place is not None else None


def _disposition(data: bytes, fields: dict[bytes, tuple[int, int]]) -> dict[bytes, bytes]:
    """Return the parameters of a part's Content-Disposition (RFC 7578, section 4.2)."""
    kind, parameters = _parameters(_value(data, fields, b"content-disposition") or b"")
    if kind != b"form-data" or b"name" not in parameters:
        raise InvalidForm("a part has no name")
    name = parameters[b"name"].decode("utf-8", "replace")
    if "\\" in name or name != name.strip():
        raise InvalidForm("the name of a part can be read in two ways")
    return parameters


def _plain_text(data: bytes, fields: dict[bytes, tuple[int, int]], size: int, name: str) -> tuple[int, int] | None:
    """Check that a part is text as it stands; return where it states its length."""
    coding = _value(data, fields, b"content-transfer-encoding")
    if coding is not None and coding.strip().lower() not in _PLAIN:
        raise InvalidForm(f"its field {name} has a transfer encoding")
    content_type = _value(data, fields, b"content-type")
    if content_type is not None and _parameters(content_type)[1].get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise InvalidForm(f"its field {name} has another charset than UTF-8")
    length = _value(data, fields, b"content-length")
    if length is not None and not (_LENGTH.match(length) and int(length) == size):
        raise InvalidForm(f"its field {name} states another length than it has")
    return fields.get(b"content-length")


def _parameters(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return what comes before the parameters of a header value, in lower case, and the parameters by lower-case name.

    Quoted values are returned as they stand between their quotes.
    """
    value = value.rstrip(b" \t")
    at = value.find(b";")
    if at < 0:
        return value.lower(), {}
    kind = value[:at].strip().lower()
    found: dict[bytes, bytes] = {}
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None:
            raise InvalidForm("a header value has a parameter that is none")
        name = match[1].lower()
        if name in found:
            raise InvalidForm("a header value has a parameter twice")
        if b"*" in name and name != b"filename*":  # a name or a boundary in pieces or in another charset: RFC 2231
            raise InvalidForm("a header value has an extended parameter")
        found[name] = match[2] if match[2] is not None else match[3]
        at = match.end()
    return kind, found

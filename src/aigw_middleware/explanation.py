"""An explanation of what would happen to a request, as plain data. `explain` makes it, the command line prints it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .choices import Choice, Considered


@dataclass(frozen=True, slots=True)
class Named:
    """A fact of the request, and why it is so. An empty value: there is none."""

    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """One plug-in of the stack."""

    place: int
    """From 1. A request passes the places upwards, its answer downwards."""
    name: str
    path: str
    """Where it stands in the file (`plugins[2]`); empty: it was given in code."""
    stage: str
    priority: int
    reason: str
    """Why it stands at this place."""
    choice: Choice
    hooks: tuple[str, ...]
    """The hooks it has, in the order of an exchange's life."""
    needs: tuple[str, ...]
    on_failure: str
    shadow: bool
    identifies: bool
    """Whether it sets the caller."""


@dataclass(frozen=True, slots=True)
class Absent:
    """One entry of the file that does not run for the request."""

    name: str
    path: str
    why: str
    considered: tuple[Considered, ...] = ()


@dataclass(frozen=True, slots=True)
class BodyPoint:
    """Where the request's body is read into memory."""

    read: bool
    place: int
    """Of the plug-in whose hook is the first to see it; 0: it is not read, or only when every request hook has run."""
    hook: str
    why: str
    wanted_by: tuple[str, ...]
    limit: int
    """Bytes; a longer body is refused with 413."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a request."""

    direction: str
    method: str
    path: str
    """In the one form that rules match: decoded, without the query."""
    domain: str
    route: Named
    client: Named
    """The caller's address behind trusted proxies."""
    caller: Named
    """Its value is the plug-in from whose turn on the caller is known."""
    dialect: Named
    error_format: Named
    refusal: Named
    """Its value is the status with which the path itself would be refused, before any hook."""
    body: BodyPoint
    removed_headers: tuple[str, ...]
    """Headers of the request that only this gateway may set, and that it takes away."""
    steps: tuple[Step, ...]
    absent: tuple[Absent, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain dicts, lists, texts and numbers, ready for JSON."""
        return asdict(self)

"""The two exceptions that cross modules: a configuration that is wrong, and an exchange that cannot go on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration: where (`plugins[2].config.keys`), what, and what would be right."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path or 'configuration'}: {self.message}{f' ({self.hint})' if self.hint else ''}"


class ConfigError(ValueError):
    """A configuration was refused; `problems` lists everything wrong with it, not only the first."""

    def __init__(
        self, problems: Iterable[Problem], source: str = "", places: Iterable[tuple[int | str, ...]] = ()
    ) -> None:
        self.problems = tuple(problems)
        self.places = tuple(places)
        """The same places as keys and indexes, where the problems are in the configuration's own models."""
        self.source = source
        super().__init__(self._text())

    @classmethod
    def of(cls, path: str, message: str, hint: str = "") -> ConfigError:
        """An error with one problem."""
        return cls([Problem(path, message, hint)])

    def _text(self) -> str:
        count = len(self.problems)
        head = f"{self.source or 'configuration'}: {count} problem{'s' if count != 1 else ''}"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the known name most like `name`, else the empty string."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else ""


class ClientLeft(OSError):
    """The client closed the connection. An OSError, as servers of ASGI 2.4 raise from `send`."""


class Suspended(RuntimeError):
    """A hook waited for something that a synchronous host cannot wait for; hooks may await ports only."""

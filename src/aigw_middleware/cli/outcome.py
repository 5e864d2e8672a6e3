"""How a sub-command ends: exit codes, and the failure that carries one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..errors import Problem
    from .terminal import Terminal

OK: Final = 0
PROBLEMS: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130  # as a shell reports SIGINT
PIPE_CLOSED: Final = 141  # as a shell reports SIGPIPE


class Failed(Exception):
    """A sub-command cannot do what it was asked; said in one line, or in one line for each problem."""

    def __init__(
        self, code: int, message: str, hint: str = "", *, file: str = "", problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.file = file
        self.problems = problems

    def show(self, terminal: Terminal, *, as_json: bool) -> None:
        """Write it for a person, or as a JSON document."""
        if as_json:
            document = {"ok": False, "file": self.file, "error": self.message, "hint": self.hint}
            terminal.json({**document, "problems": as_dicts(self.problems)})
            return
        for line in lines_of(self.file, self.problems):
            terminal.line(line)
        terminal.line(f"aigw: {self.message}{f' ({self.hint})' if self.hint else ''}")


def lines_of(file: str, problems: Sequence[Problem]) -> list[str]:
    """Return problems as `FILE: path: message (hint)`."""
    return [f"{file}: {problem}" for problem in problems]


def as_dicts(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """Return problems for JSON."""
    return [{"path": problem.path, "message": problem.message, "hint": problem.hint} for problem in problems]


def counted(number: int, name: str) -> str:
    """Return `1 rule`, `2 rules`."""
    return f"{number} {name}{'' if number == 1 else 's'}"

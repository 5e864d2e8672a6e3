"""How the demo is shown: to a person as it happens, or to a machine at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, Protocol

from ..cli.terminal import Column, Row, Terminal, printable
from .recorded import Recorded
from .steps import ALICE, DENIED, MODEL, Step, Watcher

WIDTH: Final = 80  # cells in a line where nobody says how many there are
INDENT: Final = "   "


class Show(Protocol):
    """Told what happens."""

    watcher: Watcher

    def welcome(self, url: str) -> None:
        """The service is up."""

    def result(self, steps: Sequence[Step], recorded: Recorded, seconds: float) -> None:
        """All steps were taken, so many seconds after the beginning."""

    def keeping(self, url: str) -> None:
        """The service stays up until Ctrl-C."""

    def closing(self, recorded: Recorded) -> None:
        """The service was told to stop."""


class ForMachines:
    """Writes one JSON document; what is said while the service stays up goes to standard error."""

    def __init__(self) -> None:
        self.watcher = Watcher(lambda title: None, lambda text: None)
        self._url = ""

    def welcome(self, url: str) -> None:
        """Keep the address for the document."""
        self._url = url

    def result(self, steps: Sequence[Step], recorded: Recorded, seconds: float) -> None:
        """Write the document."""
        Terminal(sys.stdout).json(
            {
                "ok": all(step.ok for step in steps),
                "url": self._url,
                "seconds": round(seconds, 3),
                "steps": [step.as_dict() for step in steps],
                "recorded": recorded.as_dict(),
            }
        )
        sys.stdout.flush()

    def keeping(self, url: str) -> None:
        """Say how to end it."""
        sys.stderr.write(f"aigw demo: serving on {url} until Ctrl-C\n")

    def closing(self, recorded: Recorded) -> None:
        """Nothing: there was one document already."""


class ForPeople:
    """Writes what happens as it happens, then tables of at most the terminal's width."""

    def __init__(self) -> None:
        terminal = Terminal.of(sys.stdout)
        self._width = terminal.limit = terminal.limit or WIDTH
        self._terminal = terminal
        self._column = 0
        self._step = 0
        self.watcher = Watcher(self._begin, self._say)

    def welcome(self, url: str) -> None:
        """Say who is there."""
        import openai

        self._terminal.line(f"A chat service behind its gateway is at {url}.")
        self._terminal.line(f"A fake provider stands in for the model, openai {openai.__version__} is the client.")
        sys.stdout.flush()

    def result(self, steps: Sequence[Step], recorded: Recorded, seconds: float) -> None:
        """Write the tables and the verdict."""
        self._end_text()
        terminal = self._terminal
        failed = [step.step for step in steps if not step.ok]
        terminal.title("What happened")
        columns = (Column("step"), Column("expected"), Column("got"), Column("", style="" if failed else "green"))
        terminal.table(
            columns, [Row((step.step, step.expected, step.got, "ok" if step.ok else "FAILED")) for step in steps]
        )
        self._record(recorded)
        terminal.line()
        if failed:
            terminal.line(f"Not as expected: {'; '.join(failed)}.", "red")
        else:
            terminal.line(f"All {len(steps)} steps went as expected, in {seconds:.1f} s.", "green")
        sys.stdout.flush()

    def keeping(self, url: str) -> None:
        """Write what to try."""
        terminal = self._terminal
        terminal.title("It keeps serving. Try, in another terminal (Ctrl-C here ends it):")
        key = f"  -H 'authorization: Bearer {ALICE}'"
        call = f"curl -N {url}/v1/chat/completions \\\n{key} \\\n  -H 'content-type: application/json' \\\n"
        for what, text in (
            ("who am I", f"curl {url}/whoami \\\n{key}"),
            ("an answer", f"{call}{_body('Hello')}"),
            ("a stream", f"{call}{_body('Speak slowly, please', stream=True)}"),
            ("a denied word", f"{call}{_body(f'What is {DENIED}?')}"),
            ("no key", f"curl -i {url}/whoami"),
        ):
            terminal.write("")
            terminal.line(f"# {what}", "dim")
            for line in text.splitlines():  # never wrapped: they are there to be copied
                terminal.write(line)
        sys.stdout.flush()

    def closing(self, recorded: Recorded) -> None:
        """Write what was recorded in all."""
        self._record(recorded)
        sys.stdout.flush()

    # ------------------------------------------------------------------ as it happens

    def _begin(self, title: str) -> None:
        self._end_text()
        self._step += 1
        self._terminal.line()
        self._terminal.line(f"{self._step}. {title[0].upper()}{title[1:]}", "bold")
        sys.stdout.flush()

    def _say(self, text: str) -> None:
        """Write a piece of text at once, where the last one ended; a new line before a word that has no room."""
        for number, line in enumerate(text.split("\n")):
            if number:
                self._end_text()
            for word in _words(printable(line)):
                if self._column and self._column + len(word) > self._width:
                    self._end_text()
                if not self._column:
                    word = INDENT + word.lstrip()
                sys.stdout.write(word)
                self._column += len(word)
        sys.stdout.flush()

    def _end_text(self) -> None:
        if self._column:
            sys.stdout.write("\n")
        self._column = 0

    def _record(self, recorded: Recorded) -> None:
        terminal = self._terminal
        terminal.title("What the gateway recorded")
        terminal.table(
            (
                Column("consumer"),
                Column("model"),
                Column("answer"),
                Column("calls", right=True),
                Column("tokens in", right=True),
                Column("out", right=True),
                Column("first token", right=True),
                Column("outcome"),
            ),
            [
                Row(
                    (
                        item.consumer,
                        item.model,
                        item.answer,
                        item.calls,
                        item.input_tokens,
                        item.output_tokens,
                        "" if item.first_token_ms is None else f"{item.first_token_ms} ms",
                        item.outcome,
                    )
                )
                for item in recorded.calls
            ],
        )
        terminal.title("What plug-ins answered in place of the service")
        terminal.table(
            (Column("plug-in"), Column("consumer"), Column("status", right=True), Column("calls", right=True)),
            [Row((item.plugin, item.consumer, item.status, item.calls)) for item in recorded.turned_down],
        )


def _words(line: str) -> list[str]:
    """Cut at spaces; each word with the space before it."""
    first, *rest = line.split(" ")
    return [word for word in (first, *(f" {word}" for word in rest)) if word]


def _body(text: str, *, stream: bool = False) -> str:
    streamed = ' "stream": true,' if stream else ""
    messages = f"""       "messages": [{{"role": "user", "content": "{text}"}}]}}'"""
    return f"""  -d '{{"model": "{MODEL}",{streamed}\n{messages}"""

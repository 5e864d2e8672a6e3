"""`aigw explain FILE`: what would happen to a request: the sorted stack, and why it is as it is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from .loading import add_file, load_or_fail, registry_for
from .outcome import OK, PROBLEMS, USAGE, Failed
from .terminal import Column, Row

if TYPE_CHECKING:
    from ..choices import Considered
    from ..explanation import Explanation, Named, Step
    from ..registry import Registry
    from .terminal import Terminal

MARKS: Final = {
    "on_request": "req",
    "on_request_body": "body",
    "on_identified": "known",
    "on_upstream": "around",
    "on_response": "resp",
    "on_response_body": "resp-body",
    "on_event": "event",
    "on_text": "text",
    "on_refusal": "refusal",
    "on_error": "error",
    "on_complete": "end",
}
"""Short marks of the hooks, in the order of an exchange's life."""

WITH_BODY: Final = ("POST", "PUT", "PATCH")

STEP_COLUMNS: Final = (
    Column("#", right=True),
    Column("plug-in", style="bold"),
    Column("stage"),
    Column("priority", right=True),
    Column("configuration"),
    Column("hooks"),
)
ABSENT_COLUMNS: Final = (Column("plug-in", style="bold"), Column("where"), Column("why", prose=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    parser.add_argument("--path", default="/v1/chat/completions", help="path as on the wire (default: %(default)s)")
    parser.add_argument("--method", default="POST", help="HTTP method (default: %(default)s)")
    parser.add_argument(
        "--header",
        dest="headers",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        help="a header; may be repeated (without a content type, a request with a body has JSON)",
    )
    parser.add_argument("--host", default="", help="host that the request asks for")
    parser.add_argument("--client", metavar="IP", default=None, help="address of the connection's other end")
    parser.add_argument("--outgoing", action="store_true", help="a call that the service makes, not one that it gets")


def run(arguments: argparse.Namespace, output: Terminal, registry: Registry | None) -> int:
    """Explain. Raises Failed for a configuration with problems, and for arguments that make no request."""
    headers = [_header(text) for text in arguments.headers]
    assumed = False
    if arguments.host:
        headers.insert(0, ("host", arguments.host))
    if arguments.method.upper() in WITH_BODY and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", "application/json"))
        assumed = True
    snapshot = load_or_fail(arguments.file, registry_for(arguments, registry))
    from ..addresses import parse_address
    from ..explain import explain
    from ..headers import InvalidHeader
    from ..plugin import INBOUND, OUTBOUND

    if not arguments.path.startswith("/"):
        raise Failed(USAGE, f"--path {arguments.path}: a path begins with a slash", f"--path /{arguments.path}")
    if arguments.client is not None and parse_address(arguments.client) is None:
        raise Failed(USAGE, f"--client {arguments.client}: not an IP address")
    direction = OUTBOUND if arguments.outgoing else INBOUND
    try:
        explanation = explain(
            snapshot, arguments.method, arguments.path, headers, client=arguments.client, direction=direction
        )
    except InvalidHeader as error:
        raise Failed(USAGE, f"--header: {error}") from None
    except ConfigError as error:
        file = arguments.file
        raise Failed(PROBLEMS, f"{file} has nothing for outgoing calls", file=file, problems=error.problems) from None
    if arguments.json:
        output.json({"ok": True, "file": arguments.file, **explanation.as_dict()})
    else:
        show(explanation, output, assumed="content-type: application/json" if assumed else "")
    return OK


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise Failed(USAGE, f"--header {text!r}: no name and value", "--header 'x-team: search'")
    return name.strip(), value.strip()


# ---------------------------------------------------------------------- for people


def show(explanation: Explanation, output: Terminal, *, assumed: str = "") -> None:
    """Write an explanation for a person; `assumed` is a header that the request is taken to have."""
    output.line(f"{explanation.method} {explanation.path}", "bold")
    if explanation.refusal.value:
        output.line(f"This request is refused with {explanation.refusal.value}, before any hook.", "bold red")
        output.line(explanation.refusal.why, indent=2)
        output.line("Below: the stack that it would have met otherwise.", "dim")
    facts = _facts(explanation)
    if assumed:
        facts.append(("assumed", assumed))
    output.pairs(facts)
    if explanation.steps:
        inner = "the service" if explanation.direction == "inbound" else "the API"
        output.title(f"The stack: a request passes it downwards to {inner}, its answer upwards")
        output.table(STEP_COLUMNS, [_row(step, explanation) for step in explanation.steps])
        shown = {hook for step in explanation.steps for hook in step.hooks}
        output.line()
        output.line(f"Hooks: {', '.join(f'{mark} = {hook}' for hook, mark in MARKS.items() if hook in shown)}.", "dim")
    else:
        output.line()
        output.line("No plug-in runs for this request.")
    if explanation.absent:
        output.title("Does not run")
        rows = [Row((item.name, item.path, item.why), _passed(item.considered)) for item in explanation.absent]
        output.table(ABSENT_COLUMNS, rows)


def _facts(explanation: Explanation) -> list[tuple[str, str]]:
    facts = [
        ("route", _named(explanation.route)),
        ("LLM call", _named(explanation.dialect)),
        ("errors as", _named(explanation.error_format)),
        ("client", _named(explanation.client)),
        ("caller", explanation.caller.why),
        ("body", _body(explanation)),
    ]
    if explanation.domain:
        facts.insert(0, ("host", explanation.domain))
    if explanation.removed_headers:
        facts.append(("taken away", f"{', '.join(explanation.removed_headers)}: only this gateway may set it"))
    if not explanation.refusal.value and "ambiguous" in explanation.refusal.why:
        facts.append(("path", explanation.refusal.why))
    return facts


def _named(fact: Named) -> str:
    return f"{fact.value}: {fact.why}" if fact.value else fact.why


def _body(explanation: Explanation) -> str:
    body = explanation.body
    if not body.read:
        return f"not read: {body.why}"
    where = f"read before {body.hook} of {explanation.steps[body.place - 1].name}" if body.place else "read"
    wanted = f"; wanted by {', '.join(body.wanted_by)}" if body.wanted_by else ""
    return f"{where}, {body.why}; at most {body.limit:,} bytes{wanted}"


def _row(step: Step, explanation: Explanation) -> Row:
    notes = [step.reason]
    if len(step.choice.considered) > 1:
        notes.append(f"{step.choice.label}: {step.choice.why}" if step.choice.label else step.choice.why)
    notes += _passed(step.choice.considered)
    if step.shadow:
        notes.append("shadow: it decides nothing, and records what it would do")
    body = explanation.body
    if body.read and body.place == step.place:
        notes.append(f"body is loaded here, before its {body.hook}: {body.why}")
    if explanation.caller.value and step.place == max(other.place for other in explanation.steps if other.identifies):
        notes.append("the caller is known from here on")
    label = step.choice.label or "late"
    marks = " ".join(MARKS[hook] for hook in step.hooks)
    return Row((step.place, step.name, step.stage, step.priority, label, marks), notes)


def _passed(considered: tuple[Considered, ...]) -> list[str]:
    passed = [item for item in considered if item.fate == "does not match"]
    return [f"{item.label} does not match ({item.condition}): {item.why}" for item in passed]

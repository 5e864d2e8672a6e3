"""What one exchange comes down to: its end, its tokens, its times, its cost. Counters, log and traces read it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....llm.prices import Cost, PriceBook
    from ....llm.usage import Usage

REPORTED: Final = "reported"  # the class of an error that an answer tells of, although its status is that of a success
UNNAMED: Final = "error"
FIRST_FAILURE: Final = 400  # the lowest status that means the call was not answered


class Measured(msgspec.Struct, eq=False, gc=False):
    """The figures of one exchange. Times are seconds since it began, None where there was no such moment."""

    outcome: str
    error: str = ""
    """A class of errors: a refusal's code, the provider's status, the name of an exception; empty: none."""
    served: bool = False
    """It was let through, whatever came of it."""
    failed: bool = False
    """The provider did not answer, or answered with an error."""
    answered: bool = False
    """There was an answer, and no error in it."""
    streamed: bool = False
    usage: Usage | None = None
    total: float = 0.0
    first_byte: float | None = None
    first_token: float | None = None
    """Of streams only: a whole answer has all its tokens at once."""
    interval: float | None = None
    """Mean seconds between two tokens of a stream."""
    cost: Cost | None = None
    unpriced: bool = False
    """Tokens were used for which there is no price."""
    model: str = ""
    """The model that answered, else the one that was asked for."""
    answering: str = ""
    """The model that answered, as the answer names it."""


def measure(exchange: Exchange, model: str, *, counts_tokens: bool, book: PriceBook | None) -> Measured:
    """Return the figures of an exchange that is over; `model` is the one that was asked for."""
    outcome = exchange.outcome
    refusal = exchange.refusal
    if outcome == "refused" and "meter" not in exchange.__dict__:  # before anything could be used
        return Measured(outcome, refusal.code if refusal is not None else UNNAMED, model=model)
    meter, response = exchange.meter, exchange.response
    started = exchange.started
    measured = Measured(outcome, model=meter.model or model, answering=meter.model, total=exchange.finished - started)
    if exchange.first_byte:
        measured.first_byte = exchange.first_byte - started
    if outcome == "failed" and exchange.error is not None:
        measured.error = type(exchange.error).__name__
    elif refusal is not None:
        measured.error = refusal.code
    elif outcome == "failed":
        measured.error = UNNAMED
    elif response is not None and response.status >= FIRST_FAILURE:
        measured.error = str(response.status)
    elif meter.error_reported:
        measured.error = REPORTED
    if outcome != "refused":
        measured.served = True
        refused = response is not None and response.status >= FIRST_FAILURE
        measured.failed = outcome == "failed" or meter.error_reported or (refused and not exchange.answered_by)
        measured.answered = response is not None and not refused and not measured.failed
    pieces = meter.produced_pieces
    if counts_tokens and (meter.reported is not None or pieces):
        usage = measured.usage = meter.usage
        if book is not None:
            _price(measured, book, usage, model, exchange)
    if meter.streamed:
        measured.streamed = True
        if meter.first_token:
            measured.first_token = meter.first_token - started
            if measured.usage is not None and measured.usage.output_tokens > 1:
                measured.interval = (exchange.finished - meter.first_token) / (measured.usage.output_tokens - 1)
    return measured


def _price(measured: Measured, book: PriceBook, usage: Usage, model: str, exchange: Exchange) -> None:
    """Charge what the model costs that answered, else the one that was asked for, when the call began."""
    at = exchange.ports.clock.now() - measured.total
    cost = book.cost(measured.model, usage, at)
    if cost is None and model and model != measured.model:
        cost = book.cost(model, usage, at)
    measured.cost = cost
    measured.unpriced = cost is None

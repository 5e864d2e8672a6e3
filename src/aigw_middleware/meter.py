"""What one exchange uses: the estimate before the call, the usage after it, and what was reserved in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .llm.usage import Usage, estimate

if TYPE_CHECKING:
    from .exchange import Exchange
    from .llm.dialects.base import Delta
    from .state.store import Claim, Reserved, Store


class Reservation:
    """Amounts held in a store until the exchange ends; `actual` turns the final meter into what is really charged."""

    __slots__ = ("actual", "id", "store")

    def __init__(self, store: Any, id: str, actual: Callable[[Meter], Sequence[int]]) -> None:
        self.store = store
        self.id = id
        self.actual = actual


class Meter:
    """One estimate, one usage, all reservations. The core settles them together, once, whatever the end is."""

    __slots__ = (
        "_exchange",
        "_kept",
        "_texts",
        "keep_text",
        "model",
        "produced_bytes",
        "produced_pieces",
        "reported",
        "reservations",
    )

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.produced_bytes = 0
        """UTF-8 bytes of text the provider sent so far, before any filter."""
        self.produced_pieces = 0
        self.reported: Usage | None = None
        """The provider's own numbers: the last it gave."""
        self.model = ""
        """The model that the answer names."""
        self.reservations: list[Reservation] = []
        self.keep_text = 0
        """Characters of produced text to keep, for `text`; 0: none."""
        self._kept = 0
        self._texts: dict[str, list[str]] = {}

    def text(self, kind: str = "content") -> str:
        """Return the produced text of one kind, as far as `keep_text` allowed keeping it."""
        return "".join(self._texts.get(kind, ()))

    def _keep(self, kind: str, text: str) -> None:
        room = self.keep_text - self._kept
        if room > 0:
            text = text[:room]
            self._kept += len(text)
            self._texts.setdefault(kind, []).append(text)

    def observe(self, delta: Delta) -> None:
        """Count what one stream event carries."""
        if delta.usage is not None:
            self.reported = delta.usage
        if delta.model:
            self.model = delta.model
        pieces = delta.pieces
        if pieces:
            if not self.produced_pieces:
                self._exchange.first_token = self._exchange.ports.clock.monotonic()
            self.produced_pieces += len(pieces)
            for piece in pieces:
                text = piece.text
                self.produced_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
                if self.keep_text:
                    self._keep(piece.kind, text)

    def observe_answer(self, body: Any) -> None:
        """Count a whole answer's JSON."""
        call = self._exchange.llm
        if call is None:
            return
        dialect = call.dialect
        reported = dialect.usage(body)
        if reported is not None:
            self.reported = reported
        self.model = dialect.model(body) or self.model
        for slot in dialect.answer_texts(body):
            self.produced_pieces += 1
            self.produced_bytes += len(slot.text.encode("utf-8", "surrogatepass"))
            if self.keep_text:
                self._keep(slot.kind, slot.text)
        if self.produced_pieces and not self._exchange.first_token:
            self._exchange.first_token = self._exchange.ports.clock.monotonic()

    @property
    def usage(self) -> Usage:
        """The usage so far: the provider's numbers, else an estimate from bytes; `source` says which."""
        if self.reported is not None:
            return self.reported
        return estimate(self.prompt_bytes, self.produced_bytes)

    @property
    def prompt_bytes(self) -> int:
        """UTF-8 bytes of the request's texts; a number of tokens never exceeds it."""
        call = self._exchange.llm
        if call is None or not call.covered:
            return 0
        return sum(len(slot.text.encode("utf-8", "surrogatepass")) for slot in call.texts())

    async def reserve(
        self,
        claims: Sequence[Claim],
        actual: Callable[[Meter], Sequence[int]],
        *,
        lease: float = 600.0,
        store: Store | None = None,
    ) -> Reserved:
        """Hold amounts in a store until the exchange ends; the core settles or releases them then.

        `actual` gives, at the end, what each claim really used. `lease` is seconds after which a crashed process's
        reservations come back. Raises StoreError.
        """
        store = store if store is not None else self._exchange.ports.store
        reserved = await store.reserve(claims, lease)
        if reserved.id is not None:
            self.reservations.append(Reservation(store, reserved.id, actual))
        return reserved

    async def settle(self) -> None:
        """Charge what was used and give back the rest of every reservation."""
        reservations, self.reservations = self.reservations, []
        for reservation in reservations:
            await reservation.store.settle(reservation.id, reservation.actual(self))

    async def release(self) -> None:
        """Give back every reservation whole: the call never happened."""
        reservations, self.reservations = self.reservations, []
        for reservation in reservations:
            await reservation.store.release(reservation.id)

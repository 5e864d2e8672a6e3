"""What one exchange uses: the estimate before the call, the usage after it, and what was reserved in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from . import json as strict_json
from .llm.usage import SAMPLE, Usage, sampled_tokens

if TYPE_CHECKING:
    from .llm.dialects.base import Call, Delta, Place
    from .llm.view import LlmCall
    from .ports import Ports
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
        "_answer",
        "_calls",
        "_guess",
        "_kept",
        "_ports",
        "_sample",
        "_sampled",
        "_texts",
        "answer_id",
        "call",
        "error_reported",
        "finish_reasons",
        "first_token",
        "keep_text",
        "model",
        "produced_bytes",
        "produced_pieces",
        "reported",
        "reservations",
        "streamed",
    )

    def __init__(self, ports: Ports, call: LlmCall | None) -> None:
        self._ports = ports
        self.call = call
        """The LLM call that is measured; None when the exchange is none."""
        self.first_token = 0.0
        """Monotonic seconds at which the first text came; 0.0: none did."""
        self.produced_bytes = 0
        """UTF-8 bytes of text the provider sent so far, before any filter."""
        self.produced_pieces = 0
        self.reported: Usage | None = None
        """The provider's own numbers: the last it gave."""
        self.model = ""
        """The model that the answer names."""
        self.streamed = False
        """The answer is a stream."""
        self.reservations: list[Reservation] = []
        self.keep_text = 0
        """Characters of produced text to keep, for `text`; 0: none."""
        self._kept = 0
        self._calls: dict[tuple[int, int], dict[str, Any]] = {}
        self._answer: Any = None
        self.answer_id = ""
        """The identifier that the provider gave the answer."""
        self.finish_reasons: tuple[str, ...] = ()
        """Why the choices of the answer ended, in the provider's words."""
        self.error_reported = False
        """The answer, or an event of it, reports an error, whatever its status."""
        self._texts: dict[str, list[str]] = {}
        self._sample: list[str] = []
        self._sampled = 0
        self._guess: tuple[int, Usage] | None = None

    def text(self, kind: str = "content") -> str:
        """Return the produced text of one kind, as far as `keep_text` allowed keeping it."""
        return "".join(self._texts.get(kind, ()))

    def tool_calls(self) -> list[dict[str, Any]]:
        """Return the tool calls produced, arguments assembled, as far as `keep_text` allowed keeping them."""
        return [
            {
                "index": number,
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
            }
            for number, (_, call) in enumerate(sorted(self._calls.items()))
        ]

    def _begin_calls(self, calls: Iterable[Call]) -> None:
        for call in calls:
            arguments = [call.arguments] if call.arguments else []
            begun = {"id": call.id, "name": call.name, "arguments": arguments}
            self._calls.setdefault((call.index, call.part), begun)

    def _keep(self, kind: str, text: str, place: tuple[int, int]) -> None:
        room = self.keep_text - self._kept
        if room > 0:
            text = text[:room]
            self._kept += len(text)
            self._texts.setdefault(kind, []).append(text)
            if kind == "tool_arguments" and place in self._calls:
                self._calls[place]["arguments"].append(text)

    def observe(self, delta: Delta) -> None:
        """Count what one stream event carries."""
        if delta.usage is not None:
            self.reported = delta.usage.after(self.reported)
        if delta.model:
            self.model = delta.model
        if delta.identifier:
            self.answer_id = delta.identifier
        if delta.error:
            self.error_reported = True
        if delta.reasons:
            self.finish_reasons = (*self.finish_reasons, *delta.reasons)
        if delta.calls and self.keep_text:
            self._begin_calls(delta.calls)
        for piece in delta.pieces:
            self.observe_text(piece.place, piece.text)

    def observe_text(self, place: Place, text: str) -> None:
        """Count one piece of text."""
        if not self.produced_pieces:
            self.first_token = self._ports.clock.monotonic()
        self.produced_pieces += 1
        size = len(text)
        self.produced_bytes += size if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if self._sampled < SAMPLE:
            self._sampled += size
            self._sample.append(text)
        if self.keep_text:
            self._keep(place[1], text, (place[0], place[2]))

    def observe_answer(self, delta: Delta, data: bytes) -> None:
        """Count what a whole answer carries; `data` is its JSON as it came."""
        self._answer = data
        self.answer_id = ""
        self.finish_reasons = ()
        self.reported = None
        self.observe(delta)

    @property
    def answer(self) -> Any:
        """The JSON of a whole answer, as the provider sent it; None for streams and other media types."""
        if type(self._answer) is bytes:
            try:
                self._answer = strict_json.decode(self._answer)
            except strict_json.InvalidJSON:
                self._answer = None
        return self._answer

    @property
    def usage(self) -> Usage:
        """The usage so far: the provider's numbers, else tokens counted, else estimated; `source` says which."""
        reported = self.reported
        if reported is not None and not reported.partial:
            return reported
        if self._guess is None or self._guess[0] != self.produced_bytes:
            self._guess = (self.produced_bytes, self._counted(reported))
        return self._guess[1]

    def _counted(self, reported: Usage | None) -> Usage:
        """Return the usage where the provider told none, or only of the prompt: texts are counted, at most for a moment."""
        from .llm.tokens import counter_for

        call = self.call
        counter = counter_for(self.model or (call.model if call is not None else ""))
        output, certain = sampled_tokens(counter, ["".join(self._sample)], self.produced_bytes)
        if reported is None:
            texts = [slot.text for slot in call.texts()] if call is not None and call.covered else []
            prompt, counted = sampled_tokens(counter, texts, None)
            certain = certain and counted
            reported = Usage(prompt)
        usage = reported.after(Usage(output_tokens=output))
        usage.stated_output = None
        usage.source = "tokenizer" if certain else "bytes"
        return usage

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
        store = store if store is not None else self._ports.store
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

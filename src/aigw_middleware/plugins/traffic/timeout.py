"""Give up waiting for the service, or for the provider behind it.

    plugins:
      - name: timeout
        config: {total: 60s, first_byte: 20s, idle: 10s}

`total` runs from the start of the call to the end of the answer, `first_byte` to its first byte, `idle` from each piece
of it to the next. Before the answer has started the caller gets a 504. An answer under way is broken off; a stream of a
language model that any plug-in reads, as `ai-statistics` does, ends with an error event of its API instead. The same as
`policies: {timeout: {...}}` of a route or of the whole configuration.
"""

from __future__ import annotations

from ...around import Call, DeadlineExceeded
from ...config.models import Seconds
from ...exchange import Exchange, Refusal
from ...plugin import Field, Plugin, PluginConfig, Stage

UPSTREAM_TEXT = "upstream request timeout"


class TimeoutConfig(PluginConfig):
    """Deadlines of the call; 0: none."""

    total: Seconds = Field(0, description="Seconds from the start of the call to the end of the answer; 0: no limit.")
    first_byte: Seconds = Field(0, description="Seconds to the first byte of the answer; 0: no limit.")
    idle: Seconds = Field(0, description="Seconds between two pieces of the answer; 0: no limit.")


class Timeout(Plugin[TimeoutConfig]):
    """Answer 504 when the service takes too long."""

    name, stage, priority = "timeout", Stage.ROUTER, 100
    shadowable = False

    def compile(self) -> None:
        config = self.config
        if not (config.total or config.first_byte or config.idle):
            self.unused = frozenset({"on_upstream"})
        self._refusal = Refusal(504, "upstream_timeout", UPSTREAM_TEXT, upstream=("text/plain", UPSTREAM_TEXT.encode()))

    async def on_upstream(self, exchange: Exchange, call: Call) -> Refusal | None:
        config = self.config
        outcome = await call(total=config.total, first_byte=config.first_byte, idle=config.idle)
        if not isinstance(outcome.error, DeadlineExceeded):
            return None
        if outcome.started:
            exchange.decide(self, "changed", f"cut off: {outcome.error}")
            return None
        exchange.decide(self, "refused", f"504 upstream_timeout: {outcome.error}")
        return self._refusal

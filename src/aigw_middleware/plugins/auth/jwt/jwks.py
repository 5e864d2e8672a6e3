"""Key sets that somebody else publishes: fetched when first needed, and kept fresh without making callers wait.

What was fetched lives in the runtime, one copy for all plug-ins and rules that name the same address. Times are monotonic
seconds.

| age of the set | what a caller gets |
|---|---|
| below 80 % of `ttl` | the set |
| up to `ttl` | the set, while it is fetched again beside the exchange (on a synchronous host: by one caller) |
| up to `ttl` + `max_stale` | the set if fetching fails; a caller who is the first to ask waits for the answer |
| beyond, or none yet | the answer, or nothing |

However many ask, and whatever key ids they name, there is one fetch at a time, and none within `cooldown` of another that
failed or did not bring the key.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from ....ports import HttpError, LockTimeout
from .key_set import read_key_set
from .keys import KeySet

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....ports import Ports
    from ....runtime import Runtime

logger = logging.getLogger("aigw_middleware")

REFRESH_AT: Final = 0.8
"""Part of `ttl` after which a set is fetched again."""
MAX_BYTES: Final = 512 * 1024
"""Of a key set: that of a large provider, with certificates, has a twentieth of it."""
MAX_ETAG: Final = 1_024
_ACCEPT: Final = "application/jwk-set+json, application/json"


class Fetched:
    """What was fetched from one address, in one runtime."""

    __slots__ = ("attempted", "busy", "digest", "etag", "failing", "fetched", "keys", "task")

    def __init__(self) -> None:
        self.keys: KeySet | None = None
        self.fetched = -math.inf
        """When the set was last known to be current."""
        self.attempted = -math.inf
        """When the last fetch began or ended."""
        self.failing = False
        """Whether the last fetch failed."""
        self.busy = False
        """Whether a fetch is under way."""
        self.task: asyncio.Task[None] | None = None
        """The last fetch, on an event loop."""
        self.etag = ""
        self.digest = b""


class RemoteKeys(NamedTuple):
    """Where a key set is, and how long it is good for; all times in seconds."""

    url: str
    ttl: float = 600.0
    timeout: float = 1.5
    cooldown: float = 30.0
    """Below `ttl * REFRESH_AT`, or a set could not be renewed in time."""
    max_stale: float = 3_600.0

    def state(self, runtime: Runtime) -> Fetched:
        """Return what was fetched in that runtime."""
        return runtime.state_of_host(f"jwks {self.url}", Fetched)

    def current(self, exchange: Exchange) -> KeySet | None:
        """Return the set when nobody has to wait for it; starts a fetch beside the exchange when one is due."""
        fetched = self.state(exchange.runtime)
        now = exchange.ports.clock.monotonic()
        age = now - fetched.fetched
        if age < self.ttl * REFRESH_AT:
            return fetched.keys
        if age >= self.ttl and not (fetched.failing and age < self.ttl + self.max_stale):
            return None
        if not self._due(fetched, now):
            return fetched.keys
        if exchange.ports.color == "sync":
            return None
        self._start(exchange, fetched)
        return fetched.keys

    def worth_waiting(self, exchange: Exchange) -> bool:
        """Whether a fetch is under way, or may be begun, that could bring what is missing now."""
        fetched = self.state(exchange.runtime)
        return _under_way(fetched) or self._cool(fetched, exchange.ports.clock.monotonic())

    async def fetch(self, exchange: Exchange) -> None:
        """Wait for the fetch under way, or make one unless one has just been made."""
        fetched = self.state(exchange.runtime)
        ports = exchange.ports
        if ports.color == "sync":
            try:
                async with ports.locks(f"jwks {self.url}", self.timeout):
                    if self._cool(fetched, ports.clock.monotonic()):
                        await self._fetch(ports, fetched)
            except LockTimeout:
                return
            return
        if _under_way(fetched) or self._cool(fetched, ports.clock.monotonic()):
            # In a task: a caller who leaves must not take the answer from the others who wait for it.
            await asyncio.shield(self._start(exchange, fetched))

    def last_known(self, exchange: Exchange) -> KeySet | None:
        """Return the set if its age still allows that, whatever became of fetching it anew."""
        fetched = self.state(exchange.runtime)
        age = exchange.ports.clock.monotonic() - fetched.fetched
        return fetched.keys if age < self.ttl + self.max_stale * fetched.failing else None

    # ------------------------------------------------------------------ one fetch

    def _cool(self, fetched: Fetched, now: float) -> bool:
        return now >= fetched.attempted + self.cooldown

    def _due(self, fetched: Fetched, now: float) -> bool:
        """Whether the set should be fetched anew, and nobody is at it."""
        return not _under_way(fetched) and self._cool(fetched, now)

    def _start(self, exchange: Exchange, fetched: Fetched) -> asyncio.Task[None]:
        task = fetched.task
        if task is None or task.done():
            fetch = self._fetch(exchange.ports, fetched)
            task = asyncio.get_running_loop().create_task(fetch, context=contextvars.Context())
            fetched.task = task
        return task

    async def _fetch(self, ports: Ports, fetched: Fetched) -> None:
        """Ask for the set and keep the answer, or that there was none."""
        clock = ports.clock
        began = fetched.attempted = clock.monotonic()
        fetched.busy = True
        headers = {"accept": _ACCEPT}
        if fetched.etag and fetched.keys is not None:
            headers["if-none-match"] = fetched.etag
        try:
            answer = await ports.http.request(
                "GET", self.url, headers=headers, timeout=self.timeout, max_response_bytes=MAX_BYTES
            )
            if answer.status == 200:
                self._take(fetched, answer.body)
                etag = next((value for name, value in answer.headers if name == b"etag"), b"")
                fetched.etag = etag.decode("latin-1") if len(etag) <= MAX_ETAG else ""
            elif answer.status != 304 or fetched.keys is None:
                raise ValueError(f"status {answer.status}")
        except Exception as error:
            fetched.failing = True
            reason = error if isinstance(error, (HttpError, ValueError)) else type(error).__name__
            logger.warning("jwt-auth: no keys from %s: %s", urlsplit(self.url).hostname, reason)
        else:
            fetched.failing = False
            fetched.fetched = began
        finally:
            fetched.attempted = clock.monotonic()
            fetched.busy = False

    def _take(self, fetched: Fetched, body: bytes) -> None:
        """Keep the keys in an answer; the same bytes stay the same set, and what it has verified stays verified."""
        digest = sha256(body).digest()
        if digest == fetched.digest:
            return
        keys = read_key_set(body, lenient=True)
        host = urlsplit(self.url).hostname
        for note in keys.notes:
            logger.info("jwt-auth: of the keys of %s, %s", host, note)
        if keys.shared_secrets:
            logger.warning("jwt-auth: %s publishes a shared secret: whoever reads it there can sign with it", host)
        fetched.keys, fetched.digest = keys, digest


def _under_way(fetched: Fetched) -> bool:
    return fetched.busy or (fetched.task is not None and not fetched.task.done())


def stop_fetching(runtime: Runtime, sources: list[RemoteKeys]) -> list[asyncio.Task[None]]:
    """Cancel the fetches that are under way in a runtime that ends, and return them to be waited for."""
    tasks = [source.state(runtime).task for source in sources]
    waiting = [task for task in tasks if task is not None and not task.done()]
    for task in waiting:
        task.cancel()
    return waiting

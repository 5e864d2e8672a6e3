"""A real server in a thread of its own, on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import uvicorn

START_SECONDS = 15.0
STOP_SECONDS = 5.0


class Server:
    """Serve an ASGI app with uvicorn while the `with` block runs.

    `port` 0 takes a free one. Raises RuntimeError when the port is taken, or when the app does not start in time.
    """

    def __init__(self, app: Any, port: int = 0) -> None:
        import uvicorn

        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            self._socket.close()
            raise RuntimeError(f"127.0.0.1:{port}: {error.strerror}") from None
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop that serves, once it runs."""
        config = uvicorn.Config(
            app,
            loop="asyncio",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=int(STOP_SECONDS) - 1,
        )
        self._server: uvicorn.Server = uvicorn.Server(config)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="aigw-demo", daemon=True)

    def _serve(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        try:
            asyncio.run(serve())
        except BaseException as error:  # SystemExit too: so uvicorn ends when an app does not start
            self._failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        if not self._server.started:
            self._stop()
            raise RuntimeError("the service did not start" + (f": {self._failure}" if self._failure else ""))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def wait(self) -> None:
        """Return when the server has stopped. Raises KeyboardInterrupt."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)
        self._socket.close()

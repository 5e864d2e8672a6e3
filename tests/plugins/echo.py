"""A service that keeps what it got."""

from typing import Any


class Echo:
    """A service of any path that keeps what it got."""

    def __init__(self) -> None:
        self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = scope["headers"]
        self.body = b""
        more = True
        while more:
            message = await receive()
            self.body += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def header(self, name: str) -> list[bytes]:
        """The values of a request header."""
        return [value for key, value in self.headers if key == name.encode()]

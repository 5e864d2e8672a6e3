"""Raw-socket exchanges with real servers: what no test client of ours can be trusted to imitate."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import aigw_middleware

pytestmark = pytest.mark.servers

HOST = "127.0.0.1"
PATIENCE = 5.0  # seconds for any one read, write or connect: reached only by a failure
START_SECONDS = 9.0
CHAT = b"/v1/chat/completions"
ASK = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
SERVERS = {
    "uvicorn": ["uvicorn", "--host", HOST, "--port", "{port}", "--no-access-log", "served:asgi"],
    "uvicorn-h11": ["uvicorn", "--host", HOST, "--port", "{port}", "--http", "h11", "--loop", "asyncio", "served:asgi"],
    "granian": ["granian", "--host", HOST, "--port", "{port}", "--interface", "asgi", "served:asgi"],
    "granian-wsgi": ["granian", "--host", HOST, "--port", "{port}", "--interface", "wsgi", "served:wsgi"],
    "hypercorn": ["hypercorn", "--bind", HOST + ":{port}", "served:asgi"],
    "gunicorn": ["gunicorn", "--bind", HOST + ":{port}", "served:wsgi"],
    "gunicorn-threads": ["gunicorn", "--bind", HOST + ":{port}", "--threads", "2", "served:wsgi"],
    "gunicorn-uvicorn": [
        *("gunicorn", "--bind", HOST + ":{port}", "--worker-class", "uvicorn.workers.UvicornWorker", "served:asgi")
    ],
    "waitress": ["waitress", "--listen", HOST + ":{port}", "served:wsgi"],
    "daphne": ["daphne", "--bind", HOST, "--port", "{port}", "served:asgi"],
}
CONTINUES_UNASKED = {"hypercorn", "gunicorn", "gunicorn-threads", "waitress", "daphne"}
"""Servers that send `100 Continue` by themselves, before anybody asked for the body."""
TELL_BY_RECEIVE = {"uvicorn", "uvicorn-h11", "granian", "hypercorn", "gunicorn-uvicorn", "daphne"}
"""Servers that tell of a lost client while the service only waits; the others when it writes."""


class Answer:
    """One HTTP/1.1 response as it came."""

    def __init__(self, status: int, fields: dict[bytes, bytes]) -> None:
        self.status = status
        self.fields = fields
        self.body = b""


class Client:
    """A client that writes bytes and reads responses, and sees what the server does in between."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE)
        self._reader = self.socket.makefile("rb")

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def head(self) -> Answer:
        """Read status and header fields. Raises EOFError when the server closed the connection instead."""
        line = self._reader.readline()
        if not line:
            raise EOFError
        version, status, *_ = line.split(b" ", 2)
        assert version == b"HTTP/1.1", line
        fields: dict[bytes, bytes] = {}
        while (line := self._reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        return Answer(int(status), fields)

    def piece(self, answer: Answer) -> bytes:
        """Read one piece of a body: a chunk, an event, or what has a length; empty at the end."""
        if answer.fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            size = int(self._reader.readline().split(b";")[0], 16)
            data = self._reader.read(size)
            assert self._reader.readline() == b"\r\n"
            return data
        length = answer.fields.get(b"content-length")
        if length is not None:
            return self._reader.read(int(length) - len(answer.body))
        return self._reader.read1()

    def answer(self) -> Answer:
        """Read a whole response, an interim one if that comes first."""
        answer = self.head()
        if answer.status >= 200:
            while piece := self.piece(answer):
                answer.body += piece
        return answer

    def until(self, answer: Answer, text: bytes) -> None:
        """Read pieces until the body ends with `text`."""
        while not answer.body.endswith(text):
            piece = self.piece(answer)
            assert piece, answer.body
            answer.body += piece

    def close(self, *, abruptly: bool = False) -> None:
        if abruptly:  # a reset instead of a polite end: what a killed client does
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._reader.close()
        self.socket.close()


class Control:
    """The test's end of what a streamed answer follows."""

    def __init__(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        self._connection = connection
        self._lines = connection.makefile("rb")

    def said(self) -> bytes:
        return self._lines.readline()

    def peek(self, size: int) -> bytes:
        """Return the beginning of what it says next, and leave it there."""
        return self._lines.peek(size)[:size]

    def say(self, line: bytes) -> None:
        self._connection.sendall(line + b"\n")

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


class Server:
    """A server in its own process."""

    def __init__(self, name: str, port: int, listener: socket.socket, log: Path) -> None:
        self.name = name
        self.port = port
        self.listener = listener
        self.log = log

    @contextmanager
    def client(self) -> Iterator[Client]:
        client = Client(self.port)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def control(self) -> Iterator[Control]:
        control = Control(self.listener)
        try:
            yield control
        finally:
            control.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=PATIENCE).close()
            return
        except ConnectionRefusedError:
            pass
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"the server does not listen: {log.read_text()}")


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    name = request.param
    log = tmp_path_factory.mktemp("server") / "log"
    port = _free_port()
    module, *options = SERVERS[name]
    here = Path(__file__).parent
    paths = [str(here), str(Path(aigw_middleware.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    with socket.create_server((HOST, 0)) as listener, log.open("wb") as output:
        listener.settimeout(PATIENCE)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "AIGW_TEST_CONTROL": str(listener.getsockname()[1]),
            "PYTHONUNBUFFERED": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", module, *(option.format(port=port) for option in options)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=environment,
            start_new_session=True,
        )
        try:
            _wait_until_it_listens(process, port, log)
            yield Server(name, port, listener, log)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(process.pid, signal.SIGKILL)  # workers that outlived it, too
            except ProcessLookupError:
                pass
            process.wait(PATIENCE)
    assert "Traceback" not in log.read_text()


def request(method: bytes, target: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: test", *fields, b"", b""])


def check_refusal(answer: Answer) -> None:
    assert answer.status == 401
    assert answer.fields[b"content-type"] == b"application/problem+json"
    assert answer.fields[b"www-authenticate"] == b"Key"
    assert json.loads(answer.body)["code"] == "invalid_key"


def check_next(client: Client) -> None:
    """Ask once more on the same connection: a right answer, or a connection that is closed."""
    try:
        client.send(request(b"GET", b"/hello?second"))
        answer = client.answer()
    except (EOFError, ConnectionError):
        return
    assert (answer.status, answer.body) == (200, b"hello second")


def test_get(server: Server) -> None:
    with server.client() as client:
        client.send(request(b"GET", b"/hello?first"))
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"hello first")
        check_next(client)


def test_a_refused_post_leaves_the_connection_in_order(server: Server) -> None:
    body = request(b"GET", b"/hello?smuggled") * 2_000
    with server.client() as client:
        client.send(request(b"POST", b"/closed", b"Content-Length: %d" % len(body)), body)
        check_refusal(client.answer())
        check_next(client)


def test_a_chunked_post_is_edited(server: Server) -> None:
    with server.client() as client:
        client.send(request(b"POST", b"/echo", b"Transfer-Encoding: chunked", b"Content-Type: text/plain"))
        for chunk in (b"one", b" two", b" three"):
            client.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        client.send(b"0\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"one two three asked answered")
        check_next(client)


def test_each_event_of_a_stream_arrives_before_the_next_is_made(server: Server) -> None:
    fields = (b"Content-Type: application/json", b"Content-Length: %d" % len(ASK))
    with server.client() as client:
        client.send(request(b"POST", CHAT, *fields), ASK)
        with server.control() as control:
            answer = client.head()
            assert (answer.status, answer.fields[b"content-type"]) == (200, b"text/event-stream")
            for number in (1, 2):
                client.until(answer, b'"%d"},"finish_reason":null}]}\n\n' % number)
                assert control.said() == b"sent %d\n" % number
                control.say(b"next" if number == 1 else b"end")
            while piece := client.piece(answer):
                answer.body += piece
            assert answer.body.endswith(b"data: [DONE]\n\n")
        check_next(client)


def _push_until_it_notices(control: Control) -> None:
    """Ask for events, which the server cannot deliver, until the service goes: its next word is the last."""
    for number in range(2, 1_000):
        control.say(b"next")
        if control.peek(5) != b"sent ":
            return
        assert control.said() == b"sent %d\n" % number


def test_a_service_sees_its_client_leave_a_stream(server: Server) -> None:
    fields = (b"Content-Type: application/json", b"Content-Length: %d" % len(ASK))
    client = Client(server.port)
    client.send(request(b"POST", CHAT, *fields), ASK)
    with server.control() as control:
        answer = client.head()
        client.until(answer, b"\n\n")
        client.close(abruptly=True)
        assert control.said() == b"sent 1\n"
        if server.name not in TELL_BY_RECEIVE:
            _push_until_it_notices(control)
        assert control.said() == b"left\n"
    with server.client() as another:
        check_next(another)


@pytest.mark.parametrize("path", [b"/closed", b"/echo"])
def test_expect_100_continue(server: Server, path: bytes) -> None:
    body = b"0123456789"
    with server.client() as client:
        client.send(request(b"POST", path, b"Expect: 100-continue", b"Content-Length: 10", b"Content-Type: text/plain"))
        answer = client.answer()
        if path == b"/echo":
            assert answer.status == 100
            client.send(body)
            answer = client.answer()
            assert (answer.status, answer.body) == (200, body + b" asked answered")
            return
        assert (answer.status == 100) is (server.name in CONTINUES_UNASKED)
        if answer.status == 100:
            client.send(body)
            answer = client.answer()
        check_refusal(answer)

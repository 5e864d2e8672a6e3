"""What a request leaves behind and holds while it runs (P10), and what a consumer takes (P5)."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from aigw_middleware.hosts.asgi import Gateway

from . import peers
from .apps import chat, streamed_chat
from .cases_stream import Around
from .exchange import Receive as Body
from .exchange import asgi_case, chat_body, drop, headers, scope
from .measure import BARE, PEER, Lab
from .stack import ai_stack, key_consumers, token
from .table import Row, Section, Target

IN_FLIGHT = 200
GARBAGE_REQUESTS = 200
IN_FLIGHT_LIMIT = 8_000  # bytes
FLAT = 1_000  # kB of growth that count as none: what allocators do not give back
BYTES_PER_KEY = 200
KEYS = 20_000


async def garbage(lab: Lab) -> Section:
    """P10: objects that only the cycle collector frees."""
    body, streamed = chat_body(), chat_body(stream=True)
    whole_request = scope(headers(body, token=token()))
    stream_request = scope(headers(streamed, token=token()))
    made = ai_stack()
    stream = streamed_chat(20)
    whole = await _cyclic(Gateway(chat, made.config, made.plugins), whole_request, body)
    streams = await _cyclic(Gateway(stream, made.config, made.plugins), stream_request, streamed)
    refused = await _cyclic(Gateway(chat, made.config, made.plugins), scope(headers(body, key="")), body)
    peer = await _cyclic(peers.passing(chat), whole_request, body)
    return Section(
        "garbage",
        "P10: objects of each request that only the cycle collector frees",
        [
            Row("12 plug-ins, whole answer", whole, unit="", target=Target("0", 0, whole)),
            Row("12 plug-ins, stream", streams, unit="", target=Target("0", 0, streams)),
            Row("12 plug-ins, refused", refused, unit="", target=Target("0", 0, refused)),
            Row("one no-op BaseHTTPMiddleware", peer, unit=""),
        ],
        [made.note],
    )


async def _cyclic(app: ASGIApp, request: Scope, body: bytes) -> float:
    case = asgi_case(app, request, body)
    await case(50)
    await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    try:
        await case(GARBAGE_REQUESTS)
        await asyncio.sleep(0)
        return gc.collect() / GARBAGE_REQUESTS
    finally:
        gc.enable()


async def in_flight(lab: Lab) -> Section:
    """P10: memory that each request holds while the service works on it."""
    body = chat_body()
    made = ai_stack()
    arounds: dict[str, Around] = {
        BARE: lambda app: app,
        PEER: peers.passing,
        "nothing": Gateway,
        "stack": lambda app: Gateway(app, made.config, made.plugins),
    }
    held = {name: await _held(around, body) for name, around in arounds.items()}
    stack, peer, nothing = (held[name] - held[BARE] for name in ("stack", PEER, "nothing"))
    return Section(
        "in-flight",
        f"P10: bytes that each of {IN_FLIGHT} requests in flight holds, added to the bare application",
        [
            Row("bare application with its task, whole", held[BARE], unit="B"),
            Row("one no-op BaseHTTPMiddleware", peer, unit="B", ratio=1.0),
            Row("gateway with nothing enabled", nothing, unit="B", ratio=nothing / peer),
            Row("12 plug-ins", stack, unit="B", ratio=stack / peer, target=Target("8 kB", IN_FLIGHT_LIMIT, stack)),
        ],
        [made.note],
    )


async def _held(around: Around, body: bytes) -> float:
    """Return the bytes of one request whose service has read its body and waits."""
    loop = asyncio.get_running_loop()
    doors: list[asyncio.Future[None]] = []
    arrivals = asyncio.Semaphore(0)

    async def waiting(scope_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        door: asyncio.Future[None] = loop.create_future()
        doors.append(door)
        arrivals.release()
        await door
        await chat(scope_, Body(b""), send)

    app = around(waiting)

    async def one() -> None:
        # Fields of its own, as from a server: what is kept of them must count.
        fields = [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in headers(body, token=token())]
        await app({**scope(fields), "state": {}}, Body(bytes(bytearray(body))), drop)

    async def round_of(count: int) -> int:
        before = tracemalloc.get_traced_memory()[0]
        tasks = [loop.create_task(one()) for _ in range(count)]
        for _ in range(count):
            await arrivals.acquire()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
        for door in doors:
            door.set_result(None)
        doors.clear()
        await asyncio.gather(*tasks)
        return taken

    tracemalloc.start()
    try:
        await round_of(10)
        gc.collect()
        return await round_of(IN_FLIGHT) / IN_FLIGHT
    finally:
        tracemalloc.stop()


async def flat(lab: Lab) -> Section:
    """P10: whether a process of its own grows; in this one, memory that was freed before would take the growth."""
    requests, reloads = (100_000, 1_000) if lab.effort.thorough else (2_000, 10)
    lab.progress(f"{requests:,} requests, {reloads:,} reloads")
    command = [sys.executable, "-m", "bench.resident", str(requests), str(reloads)]
    folder = Path(__file__).parent.parent
    answer = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True, cwd=folder)
    served, reloaded = json.loads(answer.stdout)
    return Section(
        "resident",
        "P10: growth of the resident memory of a process",
        [
            Row(f"{requests:,} requests through 12 plug-ins", served, unit="kB", target=Target("flat", FLAT, served)),
            Row(
                f"{reloads:,} reloads that change key-auth", reloaded, unit="kB", target=Target("flat", FLAT, reloaded)
            ),
        ],
        [f"after a tenth as many to warm up; up to {FLAT:,} kB counts as flat", ai_stack().note],
    )


async def keys(lab: Lab) -> Section:
    """P5: what a key with its own consumer takes in memory."""
    count = KEYS if lab.effort.thorough else KEYS // 10
    consumers = key_consumers(count)
    config = {"plugins": [{"name": "key-auth", "config": {"keys": ["x-api-key"], "consumers": consumers}}]}
    gc.collect()
    tracemalloc.start()
    try:
        gateway = Gateway(chat, config)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert gateway.core.snapshot.generation == 1
    row = Row("a key with its own consumer", taken, unit="B", target=Target(f"{BYTES_PER_KEY} B", BYTES_PER_KEY, taken))
    return Section("keys", f"P5: memory of {count:,} keys in key-auth, the configuration's own text not counted", [row])

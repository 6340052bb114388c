"""Handshakes that no library would send, on real servers: refused, and fit to read in the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from signal import SIGTERM

from websockets.asyncio.client import connect

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE

Endpoints = Callable[..., None]

ANSWER_SECONDS = 2.0
PREFIX = b"/websockets/v4/service/"
PATHS = [
    PREFIX + b"../service/private", PREFIX + b"%2e%2e/service/private", PREFIX + b"%2E/private",
    b"/" + PREFIX + b"private", PREFIX + b"/private", PREFIX + b"private/", PREFIX + b"private%00",
    PREFIX + b"private%0d%0aERROR%20forged%1b%5b31m", PREFIX + b"private;x=1",
    PREFIX + b"%2570rivate", PREFIX + b"private%2f", PREFIX + b"%ff%fe", PREFIX + b"%ed%a0%80",
    PREFIX + b"\x1b[31mforged", PREFIX + b"\xff\xfe", PREFIX + b"x" * 20_000, b"*", b"private",
]  # fmt: skip
ORIGINS = [
    b"", b"null", b"https://evil.test", b"http://{host}.evil.test", b"http://evil.test@{host}",
    b"http://{host}@evil.test", b"http://{host}, http://evil.test", b"file://{host}",
    b"http://{host}\r\nOrigin: http://evil.test", b"http://evil.test\r\nOrigin: http://{host}",
    b"http://evil.test\\\\@{host}", b"http://\x1b[31mforged", b"http://{host}:1",
]  # fmt: skip


async def status_of(server: Server, path: bytes, origin: bytes, host: bytes = b"") -> bytes:
    """Return the status of a handshake that is written by hand; nothing where none comes."""
    own = b"127.0.0.1:%d" % server.port
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(
            b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Origin: %s\r\n\r\n" % (path, host or own, origin.replace(b"{host}", own))
        )
        with contextlib.suppress(ConnectionError, TimeoutError):  # Uvicorn doesn't always answer
            async with asyncio.timeout(ANSWER_SECONDS * SCALE):
                return (await reader.readline()).partition(b" ")[2][:3]
        return b""
    finally:
        writer.close()


async def test_no_handshake_written_by_hand_gets_in_or_writes_into_the_log(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(
        site,
        public={"handler": "handlers.echo"},
        private={"handler": "handlers.echo", "access": "authenticated"},
    )
    for server in (site.start_daphne(), site.start_uvicorn()):
        own, public = b"http://127.0.0.1:%d" % server.port, PREFIX + b"public"
        assert await status_of(server, public, own) == b"101"
        attempts = [
            *(status_of(server, path, own) for path in (*PATHS, PREFIX + b"private")),
            *(status_of(server, public, origin) for origin in ORIGINS),
            status_of(server, public, b"http://evil.test", host=b"evil.test"),
            status_of(server, public, own, host=b"evil.test"),
        ]
        statuses = await asyncio.gather(*attempts)
        assert b"101" not in statuses, statuses
        assert {b"403", b"404"} & set(statuses)
        async with connect(server.ws("public")) as websocket:
            await websocket.send("still there")
            assert await websocket.recv() == "still there"
        ours = [line for line in server.output.splitlines() if "websockets_app" in line]
        assert len(ours) > 10
        assert all(line.isprintable() for line in ours)
        assert not any(line.lstrip().startswith("ERROR forged") for line in ours)
        assert "Traceback" not in server.output
        server.kill(SIGTERM)  # which writes the refusals that are counted together
    events = "SELECT detail, COALESCE(repeats, 1) AS n FROM websockets_app_event"
    refusals = site.rows(f"{events} WHERE kind = 'refused'")
    assert sum(refusal["n"] for refusal in refusals) > 30
    assert all(refusal["detail"].isprintable() for refusal in refusals)

"""A peer that floods an endpoint: as a program, since it takes as much of a core as it gets.

It sends without looking at anything, and when its session is closed, it opens another one::

    python -m tests.infrastructure.flood ws://127.0.0.1:8000/websockets/v4/service/slow

On SIGTERM it prints how many sessions it opened, and how many bytes it sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from urllib.parse import SplitResult, urlsplit

PEERS = 4
SIZE = 1024
PAUSE_SECONDS = 0.05

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# A binary message, masked with zeros (RFC 6455 §5.2): that many at once that writing costs little.
FRAMES = (b"\x82\xfe" + SIZE.to_bytes(2, "big") + bytes(4) + bytes(SIZE)) * 32


class Flood:
    """Several peers that flood one endpoint."""

    def __init__(self, url: SplitResult) -> None:
        self.sessions = 0
        self.bytes = 0
        self._url = url

    async def run(self) -> None:
        """Flood until SIGTERM comes."""
        peers = [asyncio.create_task(self._flood()) for _ in range(PEERS)]
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, peers[0].cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*peers)

    async def _flood(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._flood_a_session()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _flood_a_session(self) -> None:
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        try:
            request = HANDSHAKE.format(path=self._url.path, host=self._url.netloc)
            writer.write(request.encode())
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            self.sessions += 1
            sending = asyncio.create_task(self._send(writer))
            await reader.read(1)  # the close frame: nothing else is ever said
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        finally:
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(FRAMES)
            await writer.drain()
            self.bytes += len(FRAMES)


if __name__ == "__main__":
    flood = Flood(urlsplit(sys.argv[1]))
    asyncio.run(flood.run())
    sys.stdout.write(f"{flood.sessions} sessions, {flood.bytes} bytes\n")

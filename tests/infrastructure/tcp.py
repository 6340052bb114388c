"""A relay between a client and a server, whose connections can be lost without a word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Relay:
    """Relays TCP connections, in the event loop of the test."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._to = port
        self._lost = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def lose_all(self) -> None:
        """Let nothing more through on the connections that are open; neither end hears of it."""
        self._lost += 1

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += (writer, there_writer)
        born = self._lost
        for source, target in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pump(source, target, born))
            self._tasks.add(task)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, born: int
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if born == self._lost:
                    target.write(data)
        target.close()

    async def end(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def running_relay(port: int) -> AsyncIterator[Relay]:
    """Relay to a port of this machine."""
    relay = Relay(port)
    server = await asyncio.start_server(relay.relay, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        await relay.end()

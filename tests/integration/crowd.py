"""Many peers at once, in the event loop of the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect

from tests.infrastructure.processes import Server
from tests.infrastructure.waiting import SCALE

AT_ONCE = 25


@contextlib.asynccontextmanager
async def crowd(server: Server, path: str, number: int) -> AsyncIterator[list[ClientConnection]]:
    """Open so many sessions, a few at the same time; close those that are left."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def come() -> ClientConnection:
        async with turns:
            return await connect(
                server.ws(path), compression=None, ping_interval=None, open_timeout=30 * SCALE
            )

    peers = await asyncio.gather(*(come() for _ in range(number)))
    try:
        yield peers
    finally:
        await asyncio.gather(*(peer.close() for peer in peers))


async def heard(peer: ClientConnection, seconds: float = 10.0) -> str:
    """Return the next message of a peer."""
    async with asyncio.timeout(seconds * SCALE):
        return str(await peer.recv())


async def heard_by_all(peers: list[ClientConnection], seconds: float = 20.0) -> set[str]:
    """Return what each hears next, each word once."""
    return set(await asyncio.gather(*(heard(peer, seconds) for peer in peers)))

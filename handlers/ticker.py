"""Tell the time every second, until the peer leaves."""

import asyncio
from datetime import UTC, datetime

from websockets_app import websockets

# A module lives as long as its process: what a session needs later is kept under its id.
_tickers: dict[str, asyncio.Task[None]] = {}


async def on_open(session: websockets.Peer) -> None:
    _tickers[session.id] = asyncio.create_task(tick(session))


async def on_close(session: websockets.Peer) -> None:
    _tickers.pop(session.id).cancel()


async def tick(session: websockets.Peer) -> None:
    while not session.closed:
        await session.asend_json({"time": datetime.now(UTC).isoformat(timespec="seconds")})
        await asyncio.sleep(1)

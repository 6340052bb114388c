"""Tell the time every second, until the peer leaves."""

import asyncio
from datetime import UTC, datetime

_tickers = {}


async def on_open(session):
    _tickers[session.id] = asyncio.create_task(tick(session))


async def on_close(session):
    ticker = _tickers.pop(session.id, None)
    if ticker is not None:
        ticker.cancel()


async def tick(session):
    while not session.closed:
        await session.asend_json({"time": datetime.now(UTC).isoformat(timespec="seconds")})
        await asyncio.sleep(1)

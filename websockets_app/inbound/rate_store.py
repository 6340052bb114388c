"""The store by which all processes count messages together: Redis or Valkey, by `limits`."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import BlockingConnectionPool

NAMESPACE: Final = "websockets"
ANSWER_SECONDS: Final = 1.0
CONNECTIONS: Final = 4


class RateStore:
    """Made and used in one event loop. Nothing is connected before it is asked."""

    def __init__(self, url: str) -> None:
        """Raise `ValueError` for a URL that is none of Redis'."""
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
        )
        options: dict[str, Any] = {"implementation": "redispy", "connection_pool": self._pool}
        storage = RedisStorage("async+redis://", **options)
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    async def take(self, name: str, number: int, most: int, seconds: int) -> bool:
        """Add `number` to `name`, unless more than `most` came in the last `seconds`."""
        item = RateLimitItemPerSecond(most, seconds, namespace=NAMESPACE)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._limiter.hit(item, name, cost=number)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

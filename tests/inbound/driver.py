"""A connection to our application without a server: both ends of the ASGI protocol in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from websockets_app.inbound.consumers import EndpointConsumer

PREFIX = "/websockets/v4/service/"


class Connection:
    """The server's side of one ASGI WebSocket connection, in the test's own event loop."""

    def __init__(
        self,
        path: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        user: Any = None,
        subprotocols: Iterable[str] = (),
        extensions: Iterable[str] = (),
        application: Callable[..., Awaitable[None]] | None = None,
    ) -> None:
        self._application = application or EndpointConsumer()
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        named = {"host": "testserver", **dict(headers)}
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": path if path.startswith("/") else PREFIX + path,
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "client": ("192.0.2.7", 1234),
            "scheme": "ws",
            "subprotocols": list(subprotocols),
            "extensions": {name: {} for name in extensions},
        }
        if user is not None:
            self.scope["user"] = user
        self.send_to_peer: Callable[[dict[str, Any]], Awaitable[None]] = self.sent.put
        self.task: asyncio.Future[None] | None = None

    async def connect(self) -> dict[str, Any]:
        """Begin, and return the application's first answer."""
        self._events.put_nowait({"type": "websocket.connect"})
        serving = self._application(self.scope, self._events.get, self.send_to_peer)
        self.task = asyncio.ensure_future(serving)
        return await self.next()

    async def next(self) -> dict[str, Any]:
        """Return what the application sends next."""
        async with asyncio.timeout(5):
            return await self.sent.get()

    def send(self, message: str | bytes) -> None:
        """Let the peer send a message."""
        key = "text" if isinstance(message, str) else "bytes"
        self._events.put_nowait({"type": "websocket.receive", key: message})

    def leave(self, code: int = 1000, reason: str = "") -> None:
        """Let the peer leave."""
        self._events.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def ended(self) -> None:
        """Wait until the application has returned."""
        assert self.task is not None
        async with asyncio.timeout(5):
            await self.task

"""A connection to `EndpointConsumer` without a server: both ends of the ASGI protocol in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from websockets_app.inbound.consumers import EndpointConsumer
from websockets_app.testing.asgi import AsgiConnection, scope_of

SENT_BY: Final = {asyncio.Queue.put.__module__.partition(".")[0]}
"""The package of the `send` that a `Connection` gives, as of a server."""


class Connection(AsgiConnection):
    """The server's side of one connection, event by event: no answer is interpreted."""

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
        scope = scope_of(
            path,
            headers=dict(headers),
            subprotocols=subprotocols,
            extensions=extensions,
            address="192.0.2.7",
        )
        if user is not None:
            scope["user"] = user
        super().__init__(application or EndpointConsumer(), scope)

    async def connect(self) -> dict[str, Any]:
        """Begin, and return the application's first answer."""
        self.begin()
        return await self.next()

    async def status(self) -> int:
        """Begin, and return the HTTP status of the application's answer."""
        answer = await self.connect()
        match answer["type"]:
            case "websocket.accept":
                return 101
            case "websocket.close":  # before an accept, servers answer this with 403
                return 403
            case _:
                return int(answer["status"])

"""One WebSocket connection as an ASGI server has it, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ..conf import app_settings

Event = dict[str, Any]
Application = Callable[..., Awaitable[None]]

HOST: Final = "testserver"
"""What Django's test runners add to ALLOWED_HOSTS."""


class AsgiConnection:
    """Both directions of ASGI events between a test and an application that it runs."""

    def __init__(self, application: Application, scope: Mapping[str, Any]) -> None:
        self.scope = dict(scope)
        self.sent: asyncio.Queue[Event] = asyncio.Queue()
        """What the application has sent."""
        self.send_to_peer: Callable[[Event], Awaitable[None]] = self.sent.put
        """What the application gets as its `send`."""
        self.task: asyncio.Task[None] | None = None
        self._application = application
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def begin(self) -> None:
        """Run the application in a task, and let the peer ask to connect."""
        self.put({"type": "websocket.connect"})
        work = self._application(self.scope, self._events.get, self.send_to_peer)
        # As under a server: without the context variables of whoever runs the tests.
        self.task = asyncio.create_task(_awaiting(work), context=contextvars.Context())

    def put(self, event: Event) -> None:
        """Hand an event to the application."""
        self._events.put_nowait(event)

    def send(self, message: str | bytes) -> None:
        """Let the peer send a message."""
        key = "text" if isinstance(message, str) else "bytes"
        self.put({"type": "websocket.receive", key: message})

    def leave(self, code: int = 1000, reason: str = "") -> None:
        """Let the peer leave."""
        self.put({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def next(self, timeout: float = 5.0) -> Event:
        """Return what the application sends next."""
        async with asyncio.timeout(timeout):
            return await self.sent.get()

    async def ended(self, timeout: float = 5.0) -> None:
        """Wait until the application has returned; raise what it raised."""
        assert self.task is not None
        async with asyncio.timeout(timeout):
            await asyncio.shield(self.task)


def scope_of(
    path: str,
    *,
    headers: Mapping[str, str],
    subprotocols: Iterable[str] = (),
    extensions: Iterable[str] = (),
    address: str = "127.0.0.1",
) -> dict[str, Any]:
    """Return the scope of a handshake; a path without a leading slash is below `PREFIX`."""
    split = urlsplit(path if path.startswith("/") else f"/{app_settings.PREFIX}{path}")
    named = {"host": HOST, **{name.lower(): value for name, value in headers.items()}}
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": unquote(split.path),
        "raw_path": split.path.encode(),
        "query_string": split.query.encode(),
        "root_path": "",
        "headers": [
            (name.encode("latin-1"), text.encode("latin-1")) for name, text in named.items()
        ],
        "client": (address, 54321),
        "server": (HOST, 80),
        "subprotocols": list(subprotocols),
        "extensions": {name: {} for name in extensions},
    }


async def _awaiting(work: Awaitable[None]) -> None:
    await work

"""Pings, to notice a peer that is gone without a word.

The library has its own, and would close the link when a slow handler has stopped the reading: the
pong waits unread then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ..core.close_codes import CloseCode
from ..core.states import CloseCause

if TYPE_CHECKING:
    from .connection import Connection


async def keep_alive(connection: Connection, socket: ClientConnection) -> None:
    """Ping as the client's row says until the connection ends; end it if a pong stays away."""
    config = connection.config
    if not config.ping_interval:
        return
    try:
        while await _is_alive(connection, socket):
            pass
    except ConnectionClosed:
        return
    reason = f"no pong within {config.ping_timeout:g} s"
    await connection.aclose(CloseCode.INTERNAL_ERROR, reason, CloseCause.PING_TIMEOUT)


async def _is_alive(connection: Connection, socket: ClientConnection) -> bool:
    """Ping once, and tell whether the peer may still be there."""
    await asyncio.sleep(connection.config.ping_interval)
    handled = connection.record.messages_in
    try:
        async with asyncio.timeout(connection.config.ping_timeout):
            await (await socket.ping())  # which waits, too, behind what a peer doesn't read
    except TimeoutError:
        # Without a pong that could be read, the silence says nothing. Reading that was stopped
        # and goes on has come with another message for the handler.
        return connection.record.messages_in != handled or not socket.transport.is_reading()
    return True

"""Connections of the generator, by picows: the fastest there is, so that it isn't what limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.generator.load import Load

AT_ONCE: Final = 32
"""Handshakes under way."""
HANDSHAKE_SECONDS: Final = 60.0


class ServerClosed(Exception):
    """The server closed a connection that should have stayed open."""


class Peer(WSListener):
    """One connection."""

    transport: WSTransport

    def __init__(self, broke: Callable[[Exception], None]) -> None:
        self._broke = broke
        self._leaving = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self._fail(f"{frame.get_close_code()} {frame.get_close_reason()}")
        else:
            self.heard(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._fail("without a word")

    def heard(self, frame: WSFrame) -> None:
        """Take a message of the server's."""

    def say(self, message: bytes) -> None:
        self.transport.send(WSMsgType.TEXT, message)

    async def leave(self) -> None:
        """Close the connection as a browser does, the close handshake included."""
        self._leaving = True
        self.transport.send_close(WSCloseCode.OK)
        await self.transport.wait_disconnected()

    def _fail(self, told: str) -> None:
        if not self._leaving:
            self._broke(ServerClosed(f"The server closed a connection: {told}"))


P = TypeVar("P", bound=Peer)


async def connect(load: Load, make: Callable[[], P]) -> P:
    """Open one connection."""
    _, peer = await ws_connect(
        make, load.url,
        extra_headers=load.headers, websocket_handshake_timeout=HANDSHAKE_SECONDS,
    )  # fmt: skip
    return cast("P", peer)


async def connect_all(load: Load, make: Callable[[], P]) -> list[P]:
    """Open all connections of a load."""
    return await side_by_side([connect(load, make) for _ in range(load.connections)])


async def leave_all(peers: Sequence[Peer]) -> None:
    await side_by_side([peer.leave() for peer in peers])


async def side_by_side(work: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Do all of it, so much at once that the server is busy and none waits for long."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async with places:
            return await coroutine

    return await asyncio.gather(*map(one, work))

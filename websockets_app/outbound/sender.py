"""The sender of one client: takes its messages out of the outbox and writes them in order.

A few are claimed at a time, written, and followed by a ping: its pong says that the peer received
the frames before it (RFC 6455 §5.5.3), and no more. What is on its way when the connection ends is
in doubt; what was claimed and not written yet goes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, InterfaceError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ..dispatch.frames import Frame
from ..exceptions import InvalidResult
from ..models.outbox import Claimed
from .connection import Connection

if TYPE_CHECKING:
    from .leases import Hold
    from .outbox import Outbox

logger = logging.getLogger(__name__)

WINDOW: Final = 100
"""How many messages of a client are on their way at most, without a pong after them."""
FINISH_SECONDS: Final = 2.0
"""How long a connection that is to be closed stays open for the pong that is still to come."""
RETRY_SECONDS: Final = 1.0


class Sender:
    """Sends one client's messages, over one connection after the other."""

    def __init__(
        self,
        outbox: Outbox,
        hold: Hold,
        name: str,
        *,
        on_close: Callable[[Claimed], object],
        on_doubt: Callable[[int], object],
    ) -> None:
        self.hold = hold
        self.name = name
        self.on_close = on_close
        """Called with the close that the client's code asked for, when its turn has come."""
        self.on_doubt = on_doubt
        """Called with the number of messages of which nobody knows whether they arrived."""
        self.on_the_way: set[int] = set()
        """Messages that may have been written and that no pong came for."""
        self.unsettled = True
        """Whether an earlier connection or runner may have left messages claimed or written."""
        self._outbox = outbox
        self._claiming = False
        self._owing = False
        self._moved = asyncio.Event()  # something is queued, a pong came, or it is to end
        self._turn = asyncio.Lock()

    @property
    def sending(self) -> bool:
        """Whether a connection is open that messages go out on."""
        return self._turn.locked()

    async def run(self, connection: Connection, socket: ClientConnection) -> None:
        """Send over `connection` until it ends or `finish` is called."""
        async with self._turn:
            self._claiming = True
            try:
                while self._claiming and not connection.closed:
                    await self._step(connection, socket)
                await self._acknowledged(connection)
            except ConnectionClosed:
                pass  # the connection tells how it ended
            finally:
                self.unsettled |= self._owing

    async def finish(self) -> None:
        """Claim nothing more, write what is claimed, and wait a little for its pong."""
        self.stop()
        try:
            async with asyncio.timeout(FINISH_SECONDS), self._turn:
                pass
        except TimeoutError:
            logger.warning("Client %s: no pong for its last messages", self.name)

    def stop(self) -> None:
        """Claim nothing more; where the connection has ended, that is all."""
        self._claiming = False
        self.wake()

    def wake(self) -> None:
        """Let it look what is new."""
        self._moved.set()

    async def _step(self, connection: Connection, socket: ClientConnection) -> None:
        self._moved.clear()
        room = WINDOW - len(self.on_the_way)
        claimed = await self._claim(room) if room > WINDOW // 2 else []
        if claimed:
            await self._write(claimed, connection, socket)
        elif self._claiming:
            await self._moved.wait()

    async def _claim(self, most: int) -> list[Claimed]:
        try:
            if self.unsettled:
                await self._outbox.settle(self)
            self._owing = True
            claimed = await self._outbox.claim(self.hold, most)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Client %s: the outbox can't be read: %s", self.name, error)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.wake)
            return []
        self._owing = bool(claimed or self.on_the_way)
        return claimed

    async def _write(
        self, messages: list[Claimed], connection: Connection, socket: ClientConnection
    ) -> None:
        written: list[int] = []
        for message in messages:
            if message.close_code is not None:
                await self._ping(socket, written)
                await self._close(message, connection)
                return
            if connection.closed:
                break
            if await self._sent(message, connection):
                written.append(message.id)
        await self._ping(socket, written)

    async def _sent(self, message: Claimed, connection: Connection) -> bool:
        self.on_the_way.add(message.id)
        try:
            await connection.asend(_frame(message))
        except InvalidResult as error:  # it can't be a frame, now or ever
            self.on_the_way.discard(message.id)
            self._outbox.failed(self.hold, message.id, str(error))
            return False
        return True

    async def _ping(self, socket: ClientConnection, ids: list[int]) -> None:
        """Send the ping whose pong acknowledges `ids`, and everything before them."""
        if not ids:
            return
        written_at = time.time()
        self._outbox.written(self.hold, ids, written_at)
        pong = asyncio.ensure_future(await socket.ping())
        pong.add_done_callback(partial(self._take_pong, ids, written_at))

    def _take_pong(self, ids: list[int], written_at: float, pong: asyncio.Future[float]) -> None:
        if pong.cancelled() or pong.exception() is not None:
            return  # the connection ended first
        self.on_the_way.difference_update(ids)
        self._outbox.acknowledged(self.hold, ids, written_at)
        self.wake()

    async def _close(self, message: Claimed, connection: Connection) -> None:
        """End the client, once the messages before are there."""
        self._claiming = False
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._acknowledged(connection)
        except TimeoutError:
            logger.warning("Client %s closes without a pong for its last messages", self.name)
        self.on_close(message)

    async def _acknowledged(self, connection: Connection) -> None:
        while self.on_the_way and not connection.closed:
            self._moved.clear()
            await self._moved.wait()


def _frame(message: Claimed) -> Frame:
    return message.text if message.text is not None else bytes(message.binary or b"")

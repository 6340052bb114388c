"""The sender of one client: takes its messages out of the outbox and writes them in order.

A few are claimed at a time, written, and followed by a ping: its pong says that the peer received
the frames before it (RFC 6455 §5.5.3), and no more. What is on its way when the connection ends is
in doubt; what was claimed and not written yet goes back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import DatabaseError, InterfaceError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from ..core.states import OutboxStatus
from ..dispatch.frames import Frame
from ..exceptions import InvalidResult
from ..models.outbox import Claimed
from ..redaction import get_logger
from .connection import Connection

if TYPE_CHECKING:
    from .leases import Hold
    from .outbox import Outbox

logger = get_logger(__name__)

WINDOW: Final = 100
"""How many messages of a client are on their way at most, without a pong after them."""
FINISH_SECONDS: Final = 2.0
"""How long a connection that is to be closed stays open for the pong that is still to come."""
RETRY_SECONDS: Final = 1.0


class Fate(NamedTuple):
    """What became of messages that were claimed under an epoch."""

    epoch: int
    status: OutboxStatus
    at: float
    """Seconds since 1970; of what is acknowledged, when it was written."""
    reason: str = ""


class Sender:
    """Sends one client's messages, over one connection after the other."""

    def __init__(
        self,
        outbox: Outbox,
        hold: Hold,
        name: str,
        *,
        on_closed: Callable[[Claimed], object],
        on_doubt: Callable[[int], object],
    ) -> None:
        self.hold = hold
        self.name = name
        self.on_closed = on_closed
        """Called with the close that the client's code asked for, once its row says so."""
        self.on_doubt = on_doubt
        """Called with the number of messages of which nobody knows whether they arrived."""
        self.on_the_way: set[int] = set()
        """Messages that may have been written and that no pong came for."""
        self.unsettled = True
        """Whether an earlier connection or runner may have left messages claimed or written."""
        self.unanswered = False
        """Whether it may have claimed messages that it doesn't know of: the answer was lost."""
        self.closing = False
        """Whether its client's row is being stopped, since its code asked for that."""
        self._outbox = outbox
        self._claiming = False
        self._claimed = False  # whether this connection may have claimed anything
        self._news = False  # whether something may be queued
        self._moved = asyncio.Event()  # there is news, a pong came, or it is to end
        self._turn = asyncio.Lock()

    @property
    def sending(self) -> bool:
        """Whether a connection is open that messages go out on."""
        return self._turn.locked()

    @property
    def hungry(self) -> bool:
        """Whether it would claim something now, if anything were queued."""
        return self._claiming and (self.unsettled or len(self.on_the_way) < WINDOW // 2)

    async def run(self, connection: Connection, socket: ClientConnection) -> None:
        """Send over `connection` until it ends, a close is carried out, or `finish` is called."""
        async with self._turn:
            self._claiming = self._news = True
            try:
                while self._claiming and _is_open(connection, socket):
                    await self._step(connection, socket)
                await self._acknowledged(connection)
            except ConnectionClosed:
                pass  # the connection tells how it ended
            except (DatabaseError, InterfaceError) as error:
                logger.warning("Client %s could not be closed yet: %s", self.name, error)
            finally:
                self._claiming = False
                self.unsettled |= self._claimed

    async def finish(self) -> None:
        """Claim nothing more, write what is claimed, and wait a little for its pong."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self.end()
        except TimeoutError:
            logger.warning("Client %s: no pong for its last messages", self.name)

    async def end(self) -> None:
        """Claim nothing more, and wait until what is claimed has gone the way it goes."""
        self.stop()
        async with self._turn:
            pass

    def stop(self) -> None:
        """Claim nothing more; where the connection has ended, that is all."""
        self._claiming = False
        self._moved.set()

    def notice(self) -> None:
        """Let it look: something may be queued."""
        self._news = True
        self._moved.set()

    def settled(self) -> None:
        """Take note that nothing is in doubt any more."""
        self.on_the_way.clear()
        self.unsettled = self.unanswered = self._claimed = False

    # Out of the outbox

    async def _step(self, connection: Connection, socket: ClientConnection) -> None:
        self._moved.clear()
        claimed = await self._claim() if self._news and self.hungry else []
        if claimed:
            await self._write(claimed, connection, socket)
        elif self._claiming:
            await self._moved.wait()

    async def _claim(self) -> list[Claimed]:
        self._news = False
        try:
            if self.unsettled:
                await self._outbox.settle(self)
            self._claimed = True
            room = WINDOW - len(self.on_the_way)
            claimed = await self._outbox.claim(self, room)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Client %s: the outbox can't be read: %s", self.name, error)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.notice)
            return []
        self._news |= len(claimed) == room  # or else what comes later goes together
        return claimed

    # Onto the wire

    async def _write(
        self, messages: Sequence[Claimed], connection: Connection, socket: ClientConnection
    ) -> None:
        written: list[int] = []
        for message in messages:
            if not _is_open(connection, socket):
                break  # what is left was never written
            if message.close_code is not None:
                await self._ping(socket, written)
                await self._close(message, connection)
                return
            if await self._sent(message, connection):
                written.append(message.id)
        await self._ping(socket, written)

    async def _sent(self, message: Claimed, connection: Connection) -> bool:
        self.on_the_way.add(message.id)
        try:
            await connection.asend(_frame(message))
        except InvalidResult as error:  # it can't be a frame, now or ever
            self.on_the_way.discard(message.id)
            self._note([message.id], OutboxStatus.DEAD, time.time(), str(error))
            return False
        return True

    async def _ping(self, socket: ClientConnection, ids: list[int]) -> None:
        """Send the ping whose pong acknowledges `ids`, and everything before them."""
        if not ids:
            return
        written_at = time.time()
        self._note(ids, OutboxStatus.WRITTEN, written_at)
        pong = asyncio.ensure_future(await socket.ping())
        pong.add_done_callback(partial(self._take_pong, ids, written_at))

    def _take_pong(self, ids: list[int], written_at: float, pong: asyncio.Future[float]) -> None:
        if pong.cancelled() or pong.exception() is not None:
            return  # the connection ended first
        self.on_the_way.difference_update(ids)
        self._note(ids, OutboxStatus.ACKNOWLEDGED, written_at)
        self._moved.set()

    async def _close(self, message: Claimed, connection: Connection) -> None:
        """Close the client once the messages before are there.

        If the connection ends first, the close goes back: they may have to be sent again.
        """
        self._claiming = False
        try:
            async with asyncio.timeout(connection.config.ping_timeout):
                await self._acknowledged(connection)
        except TimeoutError:
            logger.warning("Client %s closes without a pong for its last messages", self.name)
        if not connection.closed:
            await self._outbox.close(self, message)

    async def _acknowledged(self, connection: Connection) -> None:
        while self.on_the_way and not connection.closed:
            self._moved.clear()
            await self._moved.wait()

    def _note(self, ids: list[int], status: OutboxStatus, at: float, reason: str = "") -> None:
        self._outbox.note(ids, Fate(self.hold.epoch, status, at, reason))


def _is_open(connection: Connection, socket: ClientConnection) -> bool:
    """Tell whether what is written now may still reach the peer."""
    return not connection.closed and socket.state is State.OPEN


def _frame(message: Claimed) -> Frame:
    return message.text if message.text is not None else bytes(message.binary or b"")

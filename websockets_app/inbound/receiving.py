"""How messages come in: one after the other, and read ahead while the handler is busy."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from asyncio import Future, Task
from time import monotonic
from typing import Any, Final

from ..core.metering import TokenBucket
from ..core.states import CloseCause
from ..dispatch.frames import Frame, size_of
from ..node.node import Node
from ..recording.peer_record import PeerRecord
from . import excess, server
from .config import EndpointConfig
from .ending import Ending, told_by_server
from .excess import Excess
from .read_ahead import Inbox, ReadAhead
from .server import Receive

REST_SECONDS: Final = 0.5
"""How long a session that we closed waits for the peer's own close frame."""


class Receiving(ABC):
    """The receiving half of a session. Used in the node's event loop only."""

    config: EndpointConfig
    ending: Ending | None
    record: PeerRecord

    def __init__(self, node: Node, receive: Receive) -> None:
        self.bucket: TokenBucket | None = None
        """From which each message takes a token; None: any number may come."""
        self.over: Future[None] = node.loop.create_future()
        """Done when nothing more is said to the peer, whatever the handler still does."""
        self._node = node
        self._receive = receive
        self._task: Task[Any] | None = None
        self._waiting = False  # whether that task waits for a message, and may be interrupted
        self._ahead: ReadAhead | None = None
        self._ahead_task: Task[Any] | None = None
        self._all_read = False  # the server has told that nothing more comes
        self._answered: int | None = None
        """The code of the peer's own close frame, which came after ours."""

    @abstractmethod
    def end(self, code: int, cause: CloseCause, reason: str = "") -> Ending:
        """Note how the session ended."""

    @abstractmethod
    def _is_busy(self) -> bool:
        """Tell whether the handler runs."""

    @abstractmethod
    def exceed(self, limit: Excess) -> Task[Any]:
        """End the session for a limit that it has hit, now; the task tells the peer."""

    async def _next_ahead(self, ahead: ReadAhead) -> Frame | None:
        """Return the next message that was read ahead; None where there is none, or none yet."""
        if ahead.inbox:
            return ahead.inbox.get()
        if ahead.done or self.ending is not None:
            self._ahead = None
            return None
        self._waiting = True
        try:
            await ahead.arrived.wait()
        finally:
            self._waiting = False
        ahead.arrived.clear()
        return None

    def _take(self, event: dict[str, Any]) -> Frame | None:
        """Return the message of an ASGI event; None where the event ended the session."""
        if event["type"] != "websocket.receive":
            self._all_read = True
            if self.ending is None:
                self.end(*told_by_server(event))
            else:
                self._answered = server.answered_code(event)
            return None
        text = event.get("text")
        message: Frame = text if text is not None else event.get("bytes") or b""
        size = len(message) if message.isascii() else size_of(message)
        if self.ending is not None:
            self.record.discard(size)
            return None
        self.record.received(message, size)
        if size > self.config.max_message_size:
            self.exceed(excess.too_big(self.config, size))
            return None
        if self.bucket is not None and not self.bucket.take(monotonic()):
            self.exceed(excess.too_fast(self.config))
            return None
        return message

    def watch(self) -> None:
        """Read ahead while the handler is busy, to see the peer leave.

        After an end that wasn't the peer's, too: it may send on, and where the server has no flow
        control, what nobody reads would pile up there until the handler has ended.
        """
        if self._all_read or (self._ahead is not None and not self._ahead.done):
            return
        limits = self.config.inbox_messages, self.config.inbox_bytes
        self._ahead = ReadAhead(
            self._ahead.inbox if self._ahead else Inbox(*limits, self._node.peers.queued),
            receive=self._receive_ahead,
            overflow=self._overflow,
            is_wanted=self._is_wanted_ahead,
        )
        self._ahead_task = self._node.own(self._ahead.run())

    def _is_wanted_ahead(self) -> bool:
        return not self._all_read and (self.ending is not None or self._is_busy())

    async def _receive_ahead(self) -> Frame | None:
        try:
            event = await self._receive()
        except Exception:
            if self.ending is None:
                raise
            self._all_read = True  # some servers end a `receive` so that comes after the end
            return None
        return self._take(event)

    async def _overflow(self) -> None:
        await self.exceed(excess.too_many_waiting(self.config))

    def _interrupt(self) -> None:
        """Wake the session's task where it waits for a message; never inside a handler."""
        if self._waiting and self._task is not None:
            self._waiting = False
            self._task.cancel()

    def let_go(self, life: Task[Any] | None = None) -> None:
        """Let the server's own task go on: nothing more is said, or the `life` has ended."""
        if not self.over.done():
            self.over.set_result(None)

    def _drop_waiting(self, cause: CloseCause) -> int:
        """Drop what waits for the handler, unless the peer left: that much it sent before."""
        if self._ahead is None or cause == CloseCause.PEER:
            return 0
        return self._ahead.inbox.clear()

    async def _read_rest(self) -> None:
        """Read on after our close frame until the peer's own; discard and count what comes.

        What a peer sent before it saw our close is still on its way (RFC 6455 §1.4). The server's
        own task doesn't wait for much longer than `REST_SECONDS`, and a stop of the server doesn't
        wait for peers.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REST_SECONDS):
                if self._ahead_task is not None and not self._ahead_task.done():
                    await asyncio.wait({self._ahead_task})  # which reads that far already
                while not (self._all_read or self._node.draining):
                    await self._receive_ahead()
                    await asyncio.sleep(0)  # a peer that sends on must not hold up the others

    def _stop_reading_ahead(self) -> None:
        if self._ahead_task is not None:
            self._ahead_task.cancel()

"""Reading ahead: who receives for a session while its handler is busy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from ..core.metering import ByteCounter
from ..dispatch.frames import Frame, memory_of, size_of


class Inbox:
    """Messages that wait for a busy handler, in bounds.

    The row bounds their number and their bytes on the wire. Their memory is part of what the node
    counts for all of its queues.
    """

    def __init__(self, most_messages: int, most_bytes: int, queued: ByteCounter) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[Frame, int, int]] = deque()
        self._bytes = 0
        self._queued = queued
        self.memory = 0
        """Bytes of memory that the messages take."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Frame) -> bool:
        """Take a message; False where it doesn't fit. A single one always does."""
        size = size_of(message)
        full = len(self._waiting) >= self._most_messages or self._bytes + size > self._most_bytes
        if full and self._waiting:
            return False
        memory = memory_of(message)
        self._waiting.append((message, size, memory))
        self._bytes += size
        self.memory += memory
        self._queued.total += memory
        return True

    def get(self) -> Frame:
        message, size, memory = self._waiting.popleft()
        self._bytes -= size
        self.memory -= memory
        self._queued.total -= memory
        return message

    def clear(self) -> int:
        """Drop everything; return how many messages that were."""
        dropped = len(self._waiting)
        self._waiting.clear()
        self._queued.total -= self.memory
        self._bytes = self.memory = 0
        return dropped


class ReadAhead:
    """Fills an inbox, in a task of its own, until the session's task waits for a message again.

    A receive that is under way is never cancelled to change hands: not every server's survives
    that. So it goes on receiving until one message has come while the session waited.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        receive: Callable[[], Awaitable[Frame | None]],
        overflow: Callable[[], Awaitable[object]],
        is_wanted: Callable[[], bool],
    ) -> None:
        self.inbox = inbox
        self.arrived = asyncio.Event()
        """Set when there is something new to see: a message, or the end."""
        self.done = False
        self._receive = receive
        self._overflow = overflow
        self._is_wanted = is_wanted

    async def run(self) -> None:
        try:
            wanted = True
            while wanted:
                message = await self._receive()
                if message is not None and not self.inbox.put(message):
                    await self._overflow()
                wanted = self._is_wanted()
                self.arrived.set()
        finally:
            self.done = True
            self.arrived.set()

"""How messages go out to a peer: in the order in which they were sent, waited for or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..core.close_codes import CloseCode
from ..core.metering import ByteCounter
from ..core.states import CloseCause, SendAnswer
from ..dispatch.frames import Frame, memory_of

WAITING_BYTES: Final = 64 * 2**20
"""What may wait to be written to one peer; more means that it doesn't read."""


class Sending(ABC):
    """The sending half of a session or connection. Used in the node's event loop only."""

    def __init__(
        self, own: Callable[[Coroutine[Any, Any, Any]], object], queued: ByteCounter
    ) -> None:
        self._own = own
        self._queued = queued  # of the node: until it is closed, this peer's bytes are part of it
        self._queue: deque[tuple[Frame, int]] | None = None  # most peers never need one
        self._waiting_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes of memory that messages of an open peer take while they wait."""
        return 0 if self.closed else self._waiting_bytes

    def free_queue(self, limit: int) -> None:
        """Close the peer: the node may queue `limit` bytes, and this peer has the most."""
        why = over_limit(limit, self.queued_bytes)
        self._own(self.aclose(CloseCode.TRY_AGAIN_LATER, why, CloseCause.SLOW))

    def send_soon(self, frame: Frame) -> None:
        """Write a message before whatever is sent after it; nobody waits.

        A peer for which too much waits is closed with 1013.
        """
        if self.closed:
            return
        cost = memory_of(frame)
        if self._waiting_bytes + cost > WAITING_BYTES:
            why = f"{WAITING_BYTES} bytes wait for the peer to read"
            self._own(self.aclose(CloseCode.TRY_AGAIN_LATER, why, CloseCause.SLOW))
            return
        if self._queue is None:
            self._queue = deque()
        self._waiting_bytes += cost
        self._queued.total += cost
        self._queue.append((frame, cost))
        if len(self._queue) == 1:
            self._own(self._write_queued())

    async def asend(self, frame: Frame) -> SendAnswer:
        """Write a message to the peer, after what waits."""
        if self._queue:  # as it is when this runs, not where it was called, in another thread
            await self._write_queued()
        return await self._write(frame)

    def answer(self, frame: Frame) -> Coroutine[Any, Any, SendAnswer]:
        """Write what a callback returned, in the task that ran it."""
        return self.asend(frame)

    def offer(self, frame: Frame) -> SendAnswer | Coroutine[Any, Any, SendAnswer]:
        """Write a message if that can be done at once; return the answer, or what goes on."""
        return self.asend(frame)

    async def _write_queued(self) -> None:
        while self._queue:
            frame, cost = self._queue.popleft()
            try:
                await self._write(frame)
            finally:
                self._waiting_bytes -= cost
                if not self.closed:
                    self._queued.total -= cost

    def _stop_counting(self) -> None:
        """Take this peer's bytes out of the node's: it is closed, and gives them up soon."""
        self._queued.total -= self._waiting_bytes

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""

    @abstractmethod
    async def aclose(
        self, code: int, reason: str = "", cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        """Close the connection from this side."""

    @abstractmethod
    async def _write(self, frame: Frame) -> SendAnswer:
        """Write a message now."""


def over_limit(limit: int, size: int) -> str:
    """Return the close reason of the peer whose messages took the most of the node's `limit`."""
    return f"all peers may queue {limit} bytes (MAX_QUEUED_BYTES); this one had the most: {size}"

"""How messages go out to a peer: in the order in which they were sent, waited for or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ..core.states import SendAnswer
from ..dispatch.frames import Frame


class Sending(ABC):
    """The sending half of a session or connection. Used in the node's event loop only."""

    def __init__(self, own: Callable[[Coroutine[Any, Any, Any]], object]) -> None:
        self._own = own
        self._queue: deque[Frame] | None = None  # most peers never need one

    def send_soon(self, frame: Frame) -> None:
        """Write a message before whatever is sent after it; nobody waits."""
        if self._queue is None:
            self._queue = deque()
        self._queue.append(frame)
        if len(self._queue) == 1:
            self._own(self._write_queued())

    async def asend(self, frame: Frame) -> SendAnswer:
        """Write a message to the peer."""
        if self._queue:
            await self._write_queued()
        return await self._write(frame)

    async def _write_queued(self) -> None:
        while self._queue:
            await self._write(self._queue.popleft())

    @abstractmethod
    async def _write(self, frame: Frame) -> SendAnswer:
        """Write a message now."""

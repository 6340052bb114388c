"""Messages of one peer that nobody waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..core.states import SendAnswer
from ..dispatch.frames import Frame


class SendQueue:
    """Goes out soon, and before whatever is sent to the peer afterwards."""

    def __init__(
        self,
        write: Callable[[Frame], Awaitable[SendAnswer]],
        own: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._write = write
        self._own = own
        self._frames: deque[Frame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> None:
        """Take a message; a task of the node's writes it, unless somebody else does before."""
        self._frames.append(frame)
        if len(self._frames) == 1:
            self._own(self.flush())

    async def flush(self) -> None:
        """Write all that waits."""
        while self._frames:
            await self._write(self._frames.popleft())

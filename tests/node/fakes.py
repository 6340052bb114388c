"""A live peer that keeps what is sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from websockets_app.core.states import CloseCause, Direction, SendAnswer
from websockets_app.dispatch.frames import Frame
from websockets_app.node.handles import PeerHandle


class Handle(PeerHandle):
    """A handle of no particular direction."""

    __slots__ = ()

    direction = Direction.IN


class KeepingPeer:
    """A peer as its node knows one, without a socket."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.handle: Any = Handle(name)
        self.params: Mapping[str, Any] = {"room": "kitchen"}
        self.user: Any = "tom"
        self.closed = False
        self.sent: list[Frame] = []
        self.closed_with: tuple[int, str, CloseCause] | None = None
        self.watched = 0
        self.queued_bytes = 0
        self.freed_for: int | None = None

    async def asend(self, frame: Frame) -> SendAnswer:
        if self.closed:
            return SendAnswer.GONE
        self.sent.append(frame)
        return SendAnswer.WRITTEN

    def offer(self, frame: Frame) -> Coroutine[Any, Any, SendAnswer]:
        return self.asend(frame)

    def send_soon(self, frame: Frame) -> None:
        self.sent.append(frame)

    async def aclose(
        self, code: int, reason: str = "", cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        self.closed, self.closed_with = True, (code, reason, cause)
        return SendAnswer.WRITTEN

    def free_queue(self, limit: int) -> None:
        self.freed_for = limit

    def watch(self) -> None:
        self.watched += 1


class DeafPeer(KeepingPeer):
    """A peer that doesn't read: what is sent to it never gets written."""

    async def asend(self, frame: Frame) -> SendAnswer:
        await asyncio.Event().wait()
        return SendAnswer.WRITTEN

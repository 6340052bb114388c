"""When a sender asks for more, its outbox, connection and socket played by others."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

from websockets.protocol import State

from tests.infrastructure.waiting import aeventually
from websockets_app.models.outbox import Claimed
from websockets_app.outbound.leases import Hold
from websockets_app.outbound.sender import WINDOW, Sender


class Stage:
    """An outbox that has so many messages for each claim, and a peer that pongs at once."""

    def __init__(self) -> None:
        self.queued: list[int] = []
        self.claims: list[int] = []
        nothing: Any = lambda *args: None  # noqa: E731 - four names for it would say no more
        outbox: Any = SimpleNamespace(settle=self.settle, claim=self.claim, note=nothing)
        self.sender = Sender(outbox, Hold(1, 1), "client", on_closed=nothing, on_doubt=nothing)

    async def settle(self, sender: Sender) -> None:
        sender.settled()

    async def claim(self, sender: Sender, most: int) -> list[Claimed]:
        self.claims.append(most)
        number = min(most, self.queued.pop(0)) if self.queued else 0
        return [Claimed(key, uuid.uuid4(), "text", None, None, "", "") for key in range(number)]

    async def write(self, frame: object) -> None:
        pass

    async def ping(self) -> asyncio.Future[float]:
        pong: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        pong.set_result(0.0)
        return pong

    async def run(self) -> None:
        connection: Any = SimpleNamespace(closed=False, asend=self.write)
        socket: Any = SimpleNamespace(state=State.OPEN, ping=self.ping)
        await self.sender.run(connection, socket)


async def settled(stage: Stage, claims: int) -> None:
    """Wait until it has claimed so often, and a little longer."""
    await aeventually(lambda: len(stage.claims) >= claims)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(stage.claims) == claims


async def test_it_claims_again_at_once_only_where_it_got_all_it_asked_for() -> None:
    stage = Stage()
    stage.queued = [WINDOW, WINDOW, WINDOW - 1]
    running = asyncio.create_task(stage.run())
    await settled(stage, 3)
    stage.queued = [1]
    stage.sender.notice()
    await settled(stage, 4)  # what comes after that one is claimed together, at the next notice
    assert stage.claims == [WINDOW] * 4
    stage.sender.stop()
    await running

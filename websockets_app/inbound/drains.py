"""Closing a node's sessions over a time, as `drain_websockets` asks for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..conf import app_settings
from ..core.pacing import moments
from ..core.states import CloseCause, DrainState, EventKind, SendAnswer
from ..models import Drain
from ..node.looper import repeat
from ..node.node import Node
from ..redaction import get_logger
from .session import InboundSession

logger = get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Drainage:
    """A drain that this node has begun."""

    order: Drain
    waiting: list[str]
    """The sessions still to be closed, by their ids: those who leave are nobody's burden."""
    found: int
    closed: int = 0
    gone: int = 0
    state: DrainState = DrainState.RUNNING
    ends_at: float = float("inf")
    """Monotonic time from which on it means nothing any more."""

    def columns(self) -> dict[str, object]:
        return {
            "state": self.state.value, "found": self.found, "closed": self.closed,
            "gone": self.gone,
        }  # fmt: skip

    def __str__(self) -> str:
        return f"closed: {self.closed} of {self.found} sessions, gone by themselves: {self.gone}"


class Drains:
    """The drains of a node, one at a time. Used in the node's event loop only.

    They are asked for in the database, not over the channel layer: so a site without one can be
    drained, too, who asked can read how far it has come, and nobody else can ask.
    """

    def __init__(self, node: Node, sessions: Callable[[], Iterable[InboundSession]]) -> None:
        self._node = node
        self._sessions = sessions
        self._last = 0
        self._current: _Drainage | None = None
        self._closing: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def start(self) -> None:
        """Look, as often as the lease is renewed, whether somebody asks for a drain."""
        every = app_settings.HEARTBEAT_INTERVAL
        self._node.begin(repeat(self.poll, every, hurry=self._news))

    def stop(self) -> None:
        """Close nobody by and by any more: all close at once now, or the drain is cancelled."""
        if self._closing is not None:
            self._closing.cancel()
        self._current = None

    def keeps_out(self, endpoint: str) -> bool:
        """Tell whether nobody new is to be admitted to `endpoint`, a path."""
        current = self._current
        return (
            current is not None
            and current.order.keep_out is not None
            and current.order.concerns(endpoint)
            and time.monotonic() < current.ends_at
        )

    async def poll(self) -> None:
        """Tell how far a drain has come, or stop it; begin the next one."""
        current = self._current
        if current is not None and not await self._is_wanted(current):
            self.stop()
            self._note(current, f"cancelled; {current}")
        order = await self._node.control.run(Drain.objects.take, self._node.id, self._last)
        if order is not None:
            self._begin(order)

    async def _is_wanted(self, current: _Drainage) -> bool:
        over = time.monotonic() >= current.ends_at
        key, columns = current.order.pk, current.columns()
        wanted = await self._node.control.run(Drain.objects.tell, key, **columns)
        if over and self._current is current:
            self._current = None
        return wanted or over

    def _begin(self, order: Drain) -> None:
        self.stop()
        self._last = order.pk
        ids = [each.id for each in self._sessions() if order.concerns(each.config.endpoint)]
        random.shuffle(ids)
        self._current = _Drainage(order, ids, len(ids))
        of = f" of {', '.join(order.endpoints)}" if order.endpoints else ""
        self._note(self._current, f"{len(ids)} sessions{of} close over {order.seconds:g} s")
        self._closing = self._node.own(self._close_all(self._current))
        self._news.set()

    async def _close_all(self, drainage: _Drainage) -> None:
        """Close each session at its moment; a peer that doesn't read holds nobody up."""
        begun, seconds = time.monotonic(), drainage.order.seconds
        under_way: set[asyncio.Task[None]] = set()
        for moment in moments(drainage.found, seconds, random.random):
            await asyncio.sleep(begun + moment - time.monotonic())
            task = self._node.own(self._close(drainage.waiting.pop(), drainage))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way)
        drainage.state = DrainState.DONE
        drainage.ends_at = time.monotonic() + (drainage.order.keep_out or 0)
        self._note(drainage, f"done; {drainage}")
        self._news.set()

    async def _close(self, session_id: str, drainage: _Drainage) -> None:
        order, session = drainage.order, self._node.peers.get(session_id)
        answer = SendAnswer.GONE
        if session is not None:
            answer = await session.aclose(order.code, order.reason, CloseCause.SHUTDOWN)
        if answer == SendAnswer.GONE:
            drainage.gone += 1
        else:
            drainage.closed += 1

    def _note(self, drainage: _Drainage, detail: str) -> None:
        logger.info("Drain of node %s: %s", self._node.id[:8], detail)
        self._node.recorder.add_own(
            EventKind.DRAIN, code=drainage.order.code, cause=CloseCause.SHUTDOWN, detail=detail
        )

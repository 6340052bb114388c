"""What limits count over the sessions of a node, and the loops that look after them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from ..conf import app_settings
from ..core.circuit_breaker import CircuitBreaker
from ..core.states import EventKind
from ..node.looper import repeat
from ..node.node import Node
from ..redaction import get_logger
from . import excess
from .connection_rates import ConnectionRates
from .neighbours import Neighbours
from .rates import SETTLE_SECONDS, Rates
from .seats import Seats
from .session import InboundSession

if TYPE_CHECKING:
    from .rate_store import RateStore

logger = get_logger(__name__)

LOOK_SECONDS: Final = 1.0
"""How often idle and congested sessions are looked for: so much later may they be closed."""

LOOK_AT_ONCE: Final = 500
"""After so many sessions, less than a millisecond, others have their turn."""


PATIENCE: Final = {True: 5.0, False: 1.0}
"""Seconds that a handshake waits for the database, or the store of sessions.

By whether the endpoint needs a user: a public one opens without, and so waits for less long.
"""


class Limits:
    """Made inside the node's event loop; nothing runs until `start`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.seats = Seats()
        self.rates = Rates()
        self.connections = ConnectionRates()
        self.neighbours = Neighbours(node)
        self.breakers = {
            needs_user: CircuitBreaker(seconds) for needs_user, seconds in PATIENCE.items()
        }
        """For what handshakes ask the database, by whether the endpoint needs a user."""
        self._store: RateStore | None = None
        self._store_away = False

    async def start(self) -> None:
        """Begin to look after the sessions."""
        await self.neighbours.start()
        self.node.begin(repeat(self._look_after, LOOK_SECONDS))
        self._store = self._make_store()
        if self._store is not None:
            self.node.begin(repeat(self._settle, SETTLE_SECONDS))
            self.node.on_drained.append(self._store.close)

    async def _look_after(self) -> None:
        """End the sessions whose time is up; forget whose buckets are full."""
        now = time.monotonic()
        for number, session in enumerate(self._sessions(), 1):
            if not session.closed and (limit := session.overdue(now)):
                session.exceed(limit)
            if number % LOOK_AT_ONCE == 0:
                await asyncio.sleep(0)
        used = {session.bucket for session in self._sessions() if session.bucket}
        self.rates.forget(used, now)
        self.connections.forget(now)

    async def _settle(self) -> None:
        """Tell the store what came here, and end those who were too fast in all processes."""
        assert self._store is not None
        try:
            spent = await self.rates.settle(self._store, time.monotonic())
        except Exception as error:
            self._tell_away(error)
            raise
        self._store_away = False
        for session in self._sessions() if spent else ():
            if session.bucket in spent:
                session.exceed(excess.too_fast(session.config, everywhere=True))

    def _make_store(self) -> RateStore | None:
        url = app_settings.RATE_STORE
        if url is None:
            return None
        try:
            from .rate_store import RateStore  # needs what isn't installed everywhere

            return RateStore(url)
        except (ImportError, ValueError) as error:
            logger.exception("RATE_STORE can't be used")
            self._tell_away(error)
            return None

    def _tell_away(self, error: Exception) -> None:
        """Record, once until it is back, that each process counts for itself."""
        if not self._store_away:
            why = f"RATE_STORE doesn't answer: each process counts rates for itself ({error!r})"
            self.node.recorder.add_own(EventKind.PROBLEM, detail=why)
        self._store_away = True

    def _sessions(self) -> list[InboundSession]:
        return [peer for peer in self.node.peers if isinstance(peer, InboundSession)]

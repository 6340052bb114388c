"""The other server nodes: whether there are any, and how many sessions they hold."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from django.db import DatabaseError, InterfaceError

from ..conf import app_settings
from ..core.states import EventKind
from ..database import again_where_cut
from ..models import Endpoint
from ..models import Node as NodeRow
from ..node.looper import repeat
from ..node.node import Node
from ..recording.repeats import Occurrence
from ..redaction import get_logger
from .config import EndpointConfig
from .seats import NOBODY, Taken
from .visitor import Visitor

logger = get_logger(__name__)

ANSWER_SECONDS: Final = 5.0
COUNT_SECONDS: Final = 0.25
"""How long a count of all their sessions is good for: as long as they may take to write them.

A crowd that comes back at once would else have all counted for each of it.
"""


class Neighbours:
    """What a node knows of the others that serve the same endpoints.

    A node that serves alone asks nothing at a handshake. With the database away it counts its own
    sessions only: a limit that can't be counted must not close what is open to everybody.
    """

    def __init__(self, node: Node) -> None:
        self.exist = False
        self._node = node
        self._counted: dict[int, tuple[float, int]] = {}  # by endpoint: when, and how many

    async def start(self) -> None:
        """Look once, and then as often as nodes renew their leases."""
        try:
            await self.look()
        except (DatabaseError, InterfaceError, TimeoutError):
            logger.warning("Whether other nodes serve, too, can't be known yet", exc_info=True)
        self._node.begin(repeat(self.look, app_settings.HEARTBEAT_INTERVAL))

    async def look(self) -> None:
        """Find out whether another node serves."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                mine = self._node.id
                self.exist = await self._node.control.run(NodeRow.objects.serve_beside, mine)
        except (DatabaseError, InterfaceError, TimeoutError):
            self.exist = False
            raise

    def hold(self, config: EndpointConfig, visitor: Visitor) -> Taken:
        """Return how many sessions they hold, as far as written. Sync: reads the database."""
        now = time.monotonic()
        counted_at, counted = self._counted.get(config.id, (float("-inf"), 0))
        anew = now - counted_at > COUNT_SECONDS
        try:
            taken = again_where_cut(partial(self._count, config, visitor, anew))
        except (DatabaseError, InterfaceError) as error:
            self._node.run_soon(self._warn, config, error)
            return NOBODY
        if not anew:
            return taken._replace(all=counted)
        self._counted[config.id] = now, taken.all
        return taken

    def _warn(self, config: EndpointConfig, error: Exception) -> None:
        example = Occurrence(
            f"The sessions of other nodes can't be counted: {error}", recorded=False
        )
        equal_in = f"uncounted sessions: {type(error).__name__}"
        recorder = self._node.recorder
        if not recorder.is_repeat(EventKind.PROBLEM, config.subject, equal_in, lambda: example):
            logger.warning(example.detail, extra={"endpoint": config.endpoint})

    def _count(self, config: EndpointConfig, visitor: Visitor, anew: bool) -> Taken:
        endpoint = Endpoint.objects.filter(pk=config.id)
        who = visitor.user, visitor.address
        return Taken(*endpoint.open_beside(self._node.id, *who, all_of_them=anew))

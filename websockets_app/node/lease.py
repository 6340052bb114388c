"""A node's lease: renewed on the database's clock; others' that stand still are reaped."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import DatabaseError, InterfaceError

from ..conf import app_settings
from ..core.close_codes import CloseCode
from ..core.lifeline import Lifeline
from ..core.states import CloseCause, Direction, EventKind, NodeKind
from ..database import DatabaseThread
from ..models import ClientRuntime, Event, Node, Session
from ..recording.facts import moment
from ..redaction import get_logger

logger = get_logger(__name__)


class Lease:
    """Keeps one node's row alive, and notices the rows of nodes that died."""

    def __init__(self, node_id: str, kind: NodeKind, thread: DatabaseThread) -> None:
        self.node_id = node_id
        self.kind = kind
        self.server = ""
        self.told: dict[str, Any] = {}
        """Further columns of the node's row, written with each renewal."""
        self.renewed_at: float | None = None
        """Monotonic time at which the last renewal that succeeded was begun."""
        self.on_reaped: list[Callable[[], Awaitable[None]]] = []
        """Awaited when this node lives and finds that it was declared lost."""
        self.on_lost: list[Callable[[str], object]] = []
        """Called with the channel of each node that this one declared lost."""
        self._thread = thread
        self._lifeline = Lifeline(app_settings.NODE_TTL)
        self._registered = False
        self._reaped = False

    async def beat(self) -> None:
        """Renew the lease, then look at the others'."""
        begun = time.monotonic()
        try:
            self._reaped |= await self._thread.run(self._renew)
            self.renewed_at = begun
            await self._take_up_again()
            lost = await self._thread.run(self._reap_lost)
        except (DatabaseError, InterfaceError):
            self._lifeline.blind()
            raise
        for channel in lost:
            for tell in self.on_lost:
                tell(channel)

    async def give_back(self) -> None:
        """End the lease, as a node does that stops."""
        await self._thread.run(Node.objects.stop, self.node_id)

    async def _take_up_again(self) -> None:
        """React to having been reaped; after a failure, at the next beat."""
        if self._reaped:
            logger.error("Node %s was declared lost and lives: taking up again", self.node_id)
            for react in self.on_reaped:
                await react()
            self._reaped = False

    def _renew(self) -> bool:
        """Renew or register; tell whether the node had been reaped."""
        # The database is asked even before the first registration: that may have been committed
        # without an answer.
        if Node.objects.renew(self.node_id, **self.told):
            return False
        if Node.objects.revive(self.node_id, **self.told):
            return True
        Node.objects.register(
            self.node_id, self.kind, hostname=socket.gethostname(), pid=os.getpid(),
            server=self.server, **self.told,
        )  # fmt: skip
        gone, self._registered = self._registered, True
        return gone

    def _reap_lost(self) -> list[str]:
        """Reap who stands still; return the channels that nobody listens on any more."""
        beats = Node.objects.beats()
        beats.pop(self.node_id, None)
        still = self._lifeline.look(beats, time.monotonic())
        reaped = [lost for lost in still if reap(lost, beats[lost], by=self.node_id)]
        return Node.objects.channels(reaped) if reaped else []


def reap(node_id: str, beat: int, *, by: str) -> bool:
    """Close what a lost node held, in one transaction; False where it had moved after all.

    Its sessions get their close event, under the number of the node `by` that saw the loss: the
    lost node may live and go on counting its own. Then it also takes these events back
    (`recording.writer`), so that each session has one close event.
    """
    at = moment(time.time())
    with Node.objects.atomic():
        if not Node.objects.reap(node_id, beat):
            return False
        # The lock that `Node.objects.reap` holds lets no batch of the node's come in between.
        held = Session.objects.open().of_node(node_id)
        sessions, ended = list(held), Event.objects.closed(held.values("pk"))
        Session.objects.close_lost(node_id, at, CloseCode.ABNORMAL)
        released = ClientRuntime.objects.release_all_of(node_id, "its runner was lost", at)
        lost = Event(kind=EventKind.NODE_LOST, node_id=by, peer=node_id, at=at, seq=beat)
        closes = [
            _close_event(session, by, beat) for session in sessions if session.pk not in ended
        ]
        Event.objects.bulk_create([lost, *closes], ignore_conflicts=True)
    logger.warning(
        "Node %s is lost: %d sessions closed, %d clients released",
        node_id, len(sessions), released,
    )  # fmt: skip
    return True


def _close_event(session: Session, by: str, beat: int) -> Event:
    return Event(
        kind=EventKind.CLOSE, at=moment(time.time()), node_id=by, peer=session.pk, seq=beat,
        direction=Direction.IN, endpoint_id=session.endpoint_id, name=session.endpoint_path,
        code=CloseCode.ABNORMAL, cause=CloseCause.NODE_LOST,
    )  # fmt: skip

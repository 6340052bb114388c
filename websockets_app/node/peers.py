"""The live peers of a node: by id, by group, and those busy in a handler now."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from operator import attrgetter
from typing import Any, Final, Protocol

from ..core.close_codes import CloseCode
from ..core.metering import ByteCounter
from ..core.peer import Peer
from ..core.states import CloseCause, EventKind, SendAnswer
from ..dispatch.dispatcher import raise_what_ends_the_task
from ..dispatch.frames import Frame, size_of
from ..dispatch.loader import Handler
from ..exceptions import GroupLimitReached
from ..recording.peer_record import PeerRecord
from ..redaction import get_logger

logger = get_logger(__name__)

FAN_OUT_SECONDS: Final = 5.0
"""How long one member of a group may keep a broadcast waiting."""


Answer = SendAnswer | Coroutine[Any, Any, SendAnswer]
"""What became of a message; or what goes on where the server lets it wait."""


class LivePeer(Protocol):
    """A session or connection, as the node that holds it knows it."""

    id: str
    handler: Handler
    record: PeerRecord

    @property
    def handle(self) -> Peer: ...
    @property
    def params(self) -> Any: ...
    @property
    def user(self) -> Any: ...
    @property
    def closed(self) -> bool: ...

    def send_soon(self, frame: Frame) -> None: ...
    def offer(self, frame: Frame) -> Answer: ...
    async def asend(self, frame: Frame) -> SendAnswer: ...
    async def aclose(
        self, code: int, reason: str, cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer: ...
    def log_extra(self) -> dict[str, Any]: ...
    @property
    def queued_bytes(self) -> int: ...
    def free_queue(self, limit: int) -> None: ...
    def watch(self) -> None:
        """Look after a peer whose handler has been running since the last sweep."""


class Peers:
    """Used in the node's event loop only."""

    def __init__(self, max_queued_bytes: int, max_groups: int) -> None:
        self.queued = ByteCounter()
        """What waits for the handlers of all peers, and for the peers themselves."""
        self._max_queued_bytes = max_queued_bytes
        self._max_groups = max_groups
        self.busy: dict[LivePeer, int] = {}
        """Peers whose handler runs now, each with a number that no other callback has."""
        self._by_id: dict[str, LivePeer] = {}
        self._groups: defaultdict[str, set[LivePeer]] = defaultdict(set)
        self._memberships: defaultdict[LivePeer, set[str]] = defaultdict(set)
        self.numbers = itertools.count(1)
        self._seen_busy: dict[LivePeer, int] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[LivePeer]:
        return iter(list(self._by_id.values()))

    def get(self, peer_id: str) -> LivePeer | None:
        return self._by_id.get(peer_id)

    def add(self, peer: LivePeer) -> None:
        self._by_id[peer.id] = peer

    def discard(self, peer: LivePeer) -> None:
        self._by_id.pop(peer.id, None)
        for group in self._memberships.pop(peer, ()):
            self._remove(group, peer)

    def join(self, peer: LivePeer, group: str) -> None:
        """Make `peer` a member of `group`; raise `GroupLimitReached` if it may join no more."""
        if peer.id not in self._by_id:
            return
        joined = self._memberships[peer]
        if group not in joined and len(joined) >= self._max_groups:
            raise GroupLimitReached(
                f"Session {peer.id} can't join another group: it is a member of {len(joined)}, as "
                "many as WEBSOCKETS['GROUPS_PER_SESSION'] allows."
            )
        self._groups[group].add(peer)
        joined.add(group)

    async def ajoin(self, peer: LivePeer, group: str) -> None:
        """Do as `join` does, for callers in other threads."""
        self.join(peer, group)

    def join_or_report(self, peer: LivePeer, group: str) -> None:
        """Do as `join` does for a caller that doesn't wait: record an error of the peer."""
        try:
            self.join(peer, group)
        except GroupLimitReached as error:
            text = str(error)
            if peer.record.is_repeat(EventKind.ERROR, "join", lambda: text):
                peer.record.count_error()
            else:
                logger.warning("%s", text, extra=peer.log_extra())
                peer.record.error(text)

    def leave(self, peer: LivePeer, group: str) -> None:
        if peer in self._memberships:  # asked from another thread, it may have left meanwhile
            self._memberships[peer].discard(group)
        self._remove(group, peer)

    async def fan_out(self, group: str, frame: Frame) -> int:
        """Send `frame` to every member here; return how many it was written to.

        It is begun for all of them before anything else is sent, so that nothing overtakes it.
        Raises `InvalidResult` where it can't be sent to anybody.
        """
        size_of(frame)
        answers: list[SendAnswer] = []
        async with asyncio.TaskGroup() as tasks:
            for peer in list(self._groups.get(group, ())):
                answer = _offer(peer, frame)
                if isinstance(answer, SendAnswer):
                    answers.append(answer)
                else:
                    tasks.create_task(_follow(peer, answer, answers.append))
        await asyncio.sleep(0)  # or who sends in a loop would stop the whole process
        return answers.count(SendAnswer.WRITTEN)

    async def attend(self, peer: LivePeer, callback: Awaitable[None]) -> None:
        """Await a callback of `peer` where the sweep can see that it runs."""
        self.busy[peer] = next(self.numbers)
        try:
            await callback
        finally:
            del self.busy[peer]

    def sweep(self) -> None:
        """Let those be watched whose handler still runs the callback of the last sweep.

        If the messages of all peers take too much memory, free that of the largest queues.
        """
        seen = self._seen_busy
        for peer, number in self.busy.items():
            if seen.get(peer) == number:
                peer.watch()
        self._seen_busy = dict(self.busy)
        if self.queued.total > self._max_queued_bytes:
            self._free_largest_queues()

    def _free_largest_queues(self) -> None:
        excess = self.queued.total - self._max_queued_bytes
        # A peer that has left is busy only: its handler still gets what it sent before.
        peers = {*self._by_id.values(), *self.busy}
        for peer in sorted(peers, key=attrgetter("queued_bytes"), reverse=True):
            if excess <= 0:
                break
            excess -= peer.queued_bytes
            peer.free_queue(self._max_queued_bytes)

    def _remove(self, group: str, peer: LivePeer) -> None:
        members = self._groups.get(group)
        if members is not None:
            members.discard(peer)
            if not members:
                del self._groups[group]


def _offer(peer: LivePeer, frame: Frame) -> Answer:
    """Begin to write to a member of a group; one at whom that fails is no reason to stop."""
    try:
        return peer.offer(frame)
    except BaseException as error:
        raise_what_ends_the_task(error)
        logger.exception("A broadcast could not be written to %s", peer.id)
        return SendAnswer.GONE


async def _follow(
    peer: LivePeer,
    sending: Coroutine[Any, Any, SendAnswer],
    on_answer: Callable[[SendAnswer], object],
) -> None:
    """Wait for a member; one that doesn't read must not hold up the others."""
    try:
        try:
            async with asyncio.timeout(FAN_OUT_SECONDS):
                on_answer(await sending)
        except TimeoutError:
            await peer.aclose(CloseCode.TRY_AGAIN_LATER, "too much unread", CloseCause.SLOW)
    except BaseException as error:
        raise_what_ends_the_task(error)
        logger.exception("A broadcast could not be written to %s", peer.id)

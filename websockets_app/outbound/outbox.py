"""The outbox of a runner: finds what its clients have to send, and writes what became of it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple, TypeVar

from ..core.states import OutboxStatus
from ..database import DatabaseThread
from ..models import Client, ClientRuntime, OutboxMessage
from ..models.outbox import Claimed
from ..recording.facts import moment
from .leases import Hold
from .sender import Fate, Sender

T = TypeVar("T")

WRITE_SECONDS: Final = 0.1
"""The shortest time between two writes of what was written and acknowledged."""
EXPIRE_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.05
LINGER_SECONDS: Final = 0.25
"""For so long after something was found it is looked again, every `LOOK_SECONDS`.

Who sends a lot nudges once for many (`node.nudges.OUTBOX_SECONDS`).
"""

Fates = dict[int, Fate]
"""What became of messages, by their ids."""


class Outbox:
    """The senders of a runner's clients, and the one thread in which they use the database."""

    def __init__(
        self, node_id: str, hurry: asyncio.Event, on_lost: Callable[[Hold], object]
    ) -> None:
        self._node_id = node_id
        self._hurry = hurry
        self._on_lost = on_lost
        self._thread = DatabaseThread("outbox")
        self._senders: dict[Hold, Sender] = {}
        self._fates: Fates = {}
        self._writing = asyncio.Lock()
        self._expire_at = 0.0
        self._linger_until = 0.0
        self._look_again: asyncio.TimerHandle | None = None

    # Senders come and go

    def add(self, sender: Sender) -> None:
        self._senders[sender.hold] = sender
        self._hurry.set()  # for what an earlier runner has left

    async def remove(self, sender: Sender) -> None:
        """Let a sender go, after what it leaves behind is settled."""
        del self._senders[sender.hold]
        await sender.end()
        await self.settle(sender)

    def stop(self) -> None:
        self._thread.stop()

    # What is new

    async def poll(self) -> None:
        """See what is queued, what earlier connections left, and what has waited for too long."""
        await self._settle_what_is_left()
        hungry = {s.hold.client_id: s for s in self._senders.values() if s.hungry}
        resting = {s.hold.client_id: s for s in self._senders.values() if not s.sending}
        news = await self._thread.run(_look, list(hungry), list(resting), self._expires_now())
        for client_id in news.waiting:
            hungry[client_id].notice()
        for client_id in news.closing:
            await self._close_now(resting[client_id])
        self._linger(found=bool(news.waiting))

    async def claim(self, sender: Sender, most: int) -> list[Claimed]:
        """Claim the oldest messages of a client; none where its lease is lost."""
        async with self._taken() as fates:
            node, hold = self._node_id, sender.hold
            known = list(sender.on_the_way) if sender.unanswered else None
            sender.unanswered = True
            claimed = await self._thread.run(_claim, fates, node, hold, most, known)
            sender.unanswered = False
        if claimed is None:
            self._on_lost(sender.hold)
            return []
        self._linger(found=bool(claimed))
        return claimed

    async def settle(self, sender: Sender) -> None:
        """Put back what was claimed and never written; what may have arrived is in doubt."""
        async with self._taken() as fates:
            node, hold, known = self._node_id, sender.hold, list(sender.on_the_way)
            doubtful = await self._thread.run(_settle, fates, node, hold, known)
            sender.settled()
        if doubtful is None:
            self._on_lost(sender.hold)
        elif doubtful:
            sender.on_doubt(doubtful)

    async def close(self, sender: Sender, message: Claimed) -> None:
        """Write that a close that was claimed is carried out: its client is stopped."""
        done = await self._closing(sender, partial(_close, message_id=message.id))
        if done is None:
            self._on_lost(sender.hold)
        elif done:
            sender.on_closed(message)

    # What became of it

    def note(self, ids: Collection[int], fate: Fate) -> None:
        """Let what became of messages be written soon; nothing waits."""
        self._fates.update(dict.fromkeys(ids, fate))

    async def flush(self) -> None:
        """Write what became of messages; where the database refuses it, it waits on."""
        if self._fates:
            async with self._taken() as fates:
                await self._thread.run(_write, fates)

    # Steps

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[Fates]:
        """Take what waits to be written; where that fails, it waits on.

        Who claims or settles writes it in the same transaction. So what the database then calls
        claimed is either on its way here or was never written: by a claim whose answer was lost.
        """
        async with self._writing:
            fates, self._fates = self._fates, {}
            try:
                yield fates
            except BaseException:
                self._fates = fates | self._fates
                raise

    async def _settle_what_is_left(self) -> None:
        for sender in list(self._senders.values()):
            if sender.unsettled and not sender.sending:
                await self.settle(sender)

    async def _close_now(self, sender: Sender) -> None:
        """Carry out the close that is next of a client without a connection."""
        message = await self._closing(sender, _close_next)
        if message is not None:
            sender.on_closed(message)

    async def _closing(self, sender: Sender, unit: Callable[[str, Hold], T]) -> T:
        """Stop a client's row; others see that before its keeper hears from here why."""
        sender.closing = True
        try:
            return await self._thread.run(unit, self._node_id, sender.hold)
        finally:
            sender.closing = False

    def _linger(self, *, found: bool) -> None:
        """Look again soon while something is going on: more may have been committed since."""
        loop = asyncio.get_running_loop()
        if found:
            self._linger_until = loop.time() + LINGER_SECONDS
        if self._look_again is None and loop.time() < self._linger_until:
            self._look_again = loop.call_later(LOOK_SECONDS, self._hurry_again)

    def _hurry_again(self) -> None:
        self._look_again = None
        self._hurry.set()

    def _expires_now(self) -> bool:
        now = time.monotonic()
        if now < self._expire_at:
            return False
        self._expire_at = now + EXPIRE_SECONDS
        return True


# Units of work, in the database's thread. The lock of a client's lease comes before its messages.


class _News(NamedTuple):
    waiting: set[int]
    """Clients with something queued, of those that would send it now."""
    closing: set[int]
    """Clients whose next message is a close, of those that rest."""


def _look(hungry: Collection[int], resting: Collection[int], expire: bool) -> _News:
    messages = OutboxMessage.objects
    if expire:
        messages.expire(_now())
    return _News(waiting=messages.waiting_of(hungry), closing=messages.closing_of(resting))


def _claim(
    fates: Fates, node_id: str, hold: Hold, most: int, known: Sequence[int] | None
) -> list[Claimed] | None:
    """Return what is claimed, None where the lease is lost.

    Where the answer to an earlier claim was lost, what isn't `known` of it goes back first.
    """
    with OutboxMessage.objects.atomic():
        held = _lock(node_id, hold)
        _write(fates)
        if not held:
            return None if _is_lost(hold) else []
        if known is not None:
            OutboxMessage.objects.put_back(*hold, except_for=known)
        return OutboxMessage.objects.claim(*hold, most, _now())


def _settle(fates: Fates, node_id: str, hold: Hold, known: Sequence[int]) -> int | None:
    """Return how many messages are uncertain or dead now, None where the lease is lost."""
    with OutboxMessage.objects.atomic():
        held = _lock(node_id, hold)
        _write(fates)
        if not held:
            return None if _is_lost(hold) else 0
        OutboxMessage.objects.put_back(*hold, except_for=known)
        manner = Client.objects.values_list("on_uncertain", flat=True).get(pk=hold.client_id)
        return OutboxMessage.objects.doubt(hold.client_id, manner, _now())


def _close(node_id: str, hold: Hold, message_id: int) -> bool | None:
    """Return whether it was still to be done, None where the lease is lost."""
    with OutboxMessage.objects.atomic():
        if _lock(node_id, hold):
            return _carry_out(hold, message_id)
        return None if _is_lost(hold) else False


def _close_next(node_id: str, hold: Hold) -> Claimed | None:
    with OutboxMessage.objects.atomic():
        if _lock(node_id, hold):
            message = OutboxMessage.objects.claim_close(*hold, _now())
            if message and _carry_out(hold, message.id):
                return message
    return None


def _carry_out(hold: Hold, message_id: int) -> bool:
    now = _now()
    if not OutboxMessage.objects.acknowledge([message_id], hold.epoch, now, now):
        return False
    Client.objects.filter(pk=hold.client_id, ephemeral=False).stop()
    return True


def _write(fates: Fates) -> None:
    together: defaultdict[Fate, list[int]] = defaultdict(list)
    for message_id, fate in fates.items():
        together[fate].append(message_id)
    with OutboxMessage.objects.atomic():
        for fate, ids in together.items():
            _write_one(fate, ids)


def _write_one(fate: Fate, ids: list[int]) -> None:
    messages, at = OutboxMessage.objects, moment(fate.at)
    if fate.status == OutboxStatus.ACKNOWLEDGED:
        messages.acknowledge(ids, fate.epoch, at, _now())
    elif fate.status == OutboxStatus.WRITTEN:
        messages.written(ids, fate.epoch, at)
    else:
        messages.fail(ids, fate.epoch, at, fate.reason)


def _lock(node_id: str, hold: Hold) -> bool:
    return ClientRuntime.objects.lock(hold.client_id, node_id, hold.epoch)


def _is_lost(hold: Hold) -> bool:
    """Tell whether another may hold the client; one that was deleted the watcher tells of."""
    return ClientRuntime.objects.filter(pk=hold.client_id).exists()


def _now() -> datetime:
    return moment(time.time())

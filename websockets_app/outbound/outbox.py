"""The outbox of a runner: finds what its clients have to send, and writes what became of it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from django.db import transaction

from ..database import DatabaseThread
from ..models import Client, ClientRuntime, OutboxMessage
from ..models.outbox import Claimed
from ..recording.facts import moment
from .leases import Hold
from .sender import Sender

WRITE_SECONDS: Final = 0.1
"""The shortest time between two writes of what was written and acknowledged."""
LINGER_SECONDS: Final = 0.05
"""How soon it is looked again after something was found: more may have been committed since."""
EXPIRE_SECONDS: Final = 1.0


class _Progress(NamedTuple):
    """What is to be noted of messages that went out together."""

    hold: Hold
    written_at: float
    acknowledged: bool


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
        self._progress: dict[int, _Progress] = {}
        self._failed: dict[int, tuple[Hold, str]] = {}
        self._writing = asyncio.Lock()
        self._expire_at = 0.0

    # Senders come and go

    def add(self, sender: Sender) -> None:
        self._senders[sender.hold] = sender
        self._hurry.set()  # for what an earlier runner has left

    async def remove(self, sender: Sender) -> None:
        """Let a sender go, after what it leaves behind is settled."""
        del self._senders[sender.hold]
        await self.flush()
        if sender.unsettled:
            await self.settle(sender)

    def stop(self) -> None:
        self._thread.stop()

    # What is new

    async def poll(self) -> None:
        """See what is queued, what earlier connections left, and what has waited for too long."""
        await self._settle_what_is_left()
        sending = {s.hold.client_id: s for s in self._senders.values() if s.sending}
        resting = {s.hold.client_id: s for s in self._senders.values() if not s.sending}
        if not self._senders:
            return
        news = await self._thread.run(_look, list(sending), list(resting), self._expires_now())
        for client_id in news.waiting:
            sending[client_id].wake()
        for client_id in news.closing:
            await self._close(resting[client_id])
        if news.waiting:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._hurry.set)

    async def claim(self, hold: Hold, most: int) -> list[Claimed]:
        """Claim the oldest messages of a client; none where its lease is lost."""
        claimed = await self._thread.run(_claim, self._node_id, hold, most)
        if claimed is None:
            self._on_lost(hold)
        return claimed or []

    async def settle(self, sender: Sender) -> None:
        """Put back what was claimed and never written; what may have arrived is in doubt."""
        await self.flush()
        written = list(sender.on_the_way)
        doubtful = await self._thread.run(_settle, self._node_id, sender.hold, written)
        sender.on_the_way.clear()
        sender.unsettled = False
        if doubtful is None:
            self._on_lost(sender.hold)
        elif doubtful:
            sender.on_doubt(doubtful)

    async def end(self, hold: Hold, message: Claimed) -> bool:
        """Write that a close was carried out: its client is stopped. False: the lease is lost."""
        return await self._thread.run(_end, self._node_id, hold, message.id)

    # What became of it

    def written(self, hold: Hold, ids: list[int], at: float) -> None:
        self._note(ids, _Progress(hold, at, acknowledged=False))

    def acknowledged(self, hold: Hold, ids: list[int], written_at: float) -> None:
        self._note(ids, _Progress(hold, written_at, acknowledged=True))

    def failed(self, hold: Hold, message_id: int, reason: str) -> None:
        self._failed[message_id] = (hold, reason)

    async def flush(self) -> None:
        """Write what became of messages; where the database refuses it, it waits on."""
        async with self._writing:
            progress, self._progress = self._progress, {}
            failed, self._failed = self._failed, {}
            if not progress and not failed:
                return
            try:
                await self._thread.run(_write, progress, failed)
            except BaseException:
                self._progress = progress | self._progress
                self._failed = failed | self._failed
                raise

    # Steps

    def _note(self, ids: list[int], progress: _Progress) -> None:
        self._progress.update(dict.fromkeys(ids, progress))

    async def _settle_what_is_left(self) -> None:
        for sender in list(self._senders.values()):
            if sender.unsettled and not sender.sending:
                await self.settle(sender)

    async def _close(self, sender: Sender) -> None:
        """Carry out the close that is all that a client without a connection has to send."""
        for message in await self.claim(sender.hold, 1):
            if message.close_code is None:  # a sender before it was late to commit
                sender.unsettled = True
            else:
                sender.on_close(message)

    def _expires_now(self) -> bool:
        now = time.monotonic()
        if now < self._expire_at:
            return False
        self._expire_at = now + EXPIRE_SECONDS
        return True


class _News(NamedTuple):
    waiting: set[int]
    """Clients with something queued, of those whose connection is open."""
    closing: set[int]
    """Clients whose next message is a close, of those that rest."""


def _look(sending: Collection[int], resting: Collection[int], expire: bool) -> _News:
    messages = OutboxMessage.objects
    if expire:
        messages.expire(moment(time.time()))
    return _News(waiting=messages.waiting_of(sending), closing=messages.closing_of(resting))


def _claim(node_id: str, hold: Hold, most: int) -> list[Claimed] | None:
    with transaction.atomic():
        if not ClientRuntime.objects.lock(hold.client_id, node_id, hold.epoch):
            return None
        now = moment(time.time())
        return OutboxMessage.objects.claim(hold.client_id, hold.epoch, most, now)


def _settle(node_id: str, hold: Hold, written: list[int]) -> int | None:
    """Return how many messages are uncertain or dead now, None where the lease is lost."""
    with transaction.atomic():
        if not ClientRuntime.objects.lock(hold.client_id, node_id, hold.epoch):
            return None
        OutboxMessage.objects.put_back(hold.client_id, hold.epoch, except_for=written)
        manner = Client.objects.values_list("on_uncertain", flat=True).get(pk=hold.client_id)
        return OutboxMessage.objects.doubt(hold.client_id, manner, moment(time.time()))


def _write(progress: dict[int, _Progress], failed: dict[int, tuple[Hold, str]]) -> None:
    together: defaultdict[_Progress, list[int]] = defaultdict(list)
    for message_id, done in progress.items():
        together[done].append(message_id)
    now, messages = moment(time.time()), OutboxMessage.objects
    with transaction.atomic():
        for done, ids in together.items():
            written_at, epoch = moment(done.written_at), done.hold.epoch
            if done.acknowledged:
                messages.acknowledge(ids, epoch, written_at, now)
            else:
                messages.written(ids, epoch, written_at)
        for message_id, (hold, reason) in failed.items():
            messages.fail([message_id], hold.epoch, now, reason)


def _end(node_id: str, hold: Hold, message_id: int) -> bool:
    with transaction.atomic():
        if not ClientRuntime.objects.lock(hold.client_id, node_id, hold.epoch):
            return False
        now = moment(time.time())
        OutboxMessage.objects.acknowledge([message_id], hold.epoch, now, now)
        Client.objects.filter(pk=hold.client_id, ephemeral=False).stop()
        return True

"""The supervisor: which clients this runner holds, kept in step with their rows."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from ..conf import app_settings
from ..core import policy
from ..core.states import EventKind, NodeKind, Topic
from ..models import Client
from ..models.client import ClientQuerySet
from ..node.handler_retries import STEP_SECONDS, HandlerRetries
from ..node.looper import repeat
from ..node.node import Node
from ..node.watcher import Change, Watcher
from ..recording.facts import Subject, moment
from .config import ClientConfig, prepare, with_handler
from .dialling import Dialler
from .keeper import Keeper, Means
from .leases import WRITE_SECONDS, Hold, Leases
from .outbox import WRITE_SECONDS as OUTBOX_WRITE_SECONDS
from .outbox import Outbox
from .parting import LEASE_LOST, RUNNER_STOPS, STOPPED

COUNT_SECONDS: Final = 1.0
OVER_SECONDS: Final = 5.0


class Supervisor:
    """A runner's node, and a keeper for each client that it holds."""

    def __init__(self, names: list[str] | None = None) -> None:
        self.node = Node(NodeKind.RUNNER)
        self.desired: dict[int, ClientConfig] = {}
        self._names = names or None
        self._keepers: dict[int, Keeper] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dialler = Dialler(self.node.loop)
        self._leases = Leases(self.node.id, self.node.control, self._lost)
        self._outbox_filled = self.node.hurried(Topic.OUTBOX)
        self._outbox = Outbox(self.node.id, self._outbox_filled, self._lost)
        self._means = Means(self.node, self._dialler, self._leases, self._outbox)
        self._claiming = asyncio.Lock()
        self._room = asyncio.Event()  # set when a keeper has gone: its client may be wanted again
        self._over = asyncio.Event()  # set when an ephemeral client has ended
        self.node.watch(Watcher(self.node.descriptors, self._rows, prepare, self._apply))
        self._retries = HandlerRetries(
            self.node.id, "client", self.node.handlers, with_handler, self._apply
        )
        self.node.lease.on_reaped.append(self._drop_what_is_lost)
        self.node.on_drained += [self._outbox.flush, self._remove_what_is_over]

    async def start(self) -> None:
        await self.node.start()
        self.node.begin(repeat(self._reconcile, app_settings.POLL_INTERVAL, hurry=self._room))
        self.node.begin(repeat(self._retries.step, STEP_SECONDS, hurry=self._retries.changed))
        self.node.begin(repeat(self._leases.flush, WRITE_SECONDS))
        self.node.begin(repeat(self._count, COUNT_SECONDS))
        interval, filled = app_settings.POLL_INTERVAL, self._outbox_filled
        self.node.begin(repeat(self._outbox.poll, interval, hurry=filled))
        self.node.begin(repeat(self._outbox.flush, OUTBOX_WRITE_SECONDS))
        self.node.begin(repeat(self._remove_what_is_over, OVER_SECONDS, hurry=self._over))

    async def stop(self) -> None:
        """Claim nothing more, close every client with 1001, write what is left, give all back."""
        self.node.draining = True
        for keeper in self._keepers.values():
            keeper.part(RUNNER_STOPS)
        await self.node.stop()
        self._outbox.stop()
        self._dialler.stop()

    def hurry(self) -> None:
        """Let what is still running be cancelled now, rather than when its time is up."""
        for task in self._tasks:
            task.cancel()

    def __len__(self) -> int:
        return len(self._keepers)

    def _rows(self) -> ClientQuerySet:
        return Client.objects.desired_to_run(self._names)

    async def _apply(self, change: Change[ClientConfig]) -> None:
        """Take a change of the clients' rows over."""
        kept = {key: row for key, row in self.desired.items() if key not in change.removed}
        self.desired = kept | change.changed
        self._retries.note(change)
        await self._reconcile()
        for key, config in change.changed.items():
            if keeper := self._keepers.get(key):
                keeper.touch(config)

    async def _reconcile(self) -> None:
        """Make what runs here what is desired, as far as no other runner has it."""
        if self.node.draining:
            return
        plan = policy.plan(
            {key: config.traits for key, config in self.desired.items()},
            {key: keeper.config.traits for key, keeper in self._keepers.items()},
        )
        for key in plan.stop:
            self._keepers[key].part(STOPPED)
        for key in plan.reconnect:
            self._keepers[key].reconnect(self.desired[key])
        for key in plan.update:
            self._keepers[key].update(self.desired[key])
        await self._claim(plan.start)

    async def _claim(self, wanted: frozenset[int]) -> None:
        """Begin to keep those of `wanted` that are free. Claims never run side by side."""
        async with self._claiming:
            free = sorted(key for key in wanted if key not in self._keepers)
            for hold in await self._leases.claim(free) if free else []:
                self._keep(hold)

    def _keep(self, hold: Hold) -> None:
        config = self.desired.get(hold.client_id)
        if config is None or self.node.draining:  # while the claim was under way
            self._leases.release(hold)
            return
        keeper = Keeper(self._means, hold, config)
        self._keepers[hold.client_id] = keeper
        task = self.node.own(keeper.run())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._kept(keeper, done))

    def _kept(self, keeper: Keeper, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        client_id = keeper.hold.client_id
        del self._keepers[client_id]
        if keeper.closed_under is not None and keeper.closed_under is self.desired.get(client_id):
            del self.desired[client_id]  # its row says so, and the next poll would find it
        if keeper.config.ephemeral:
            self._over.set()
        self._room.set()

    def _lost(self, hold: Hold) -> None:
        """Let go of a client whose epoch no longer holds."""
        keeper = self._keepers.get(hold.client_id)
        if keeper is not None and keeper.hold == hold:
            keeper.part(LEASE_LOST)

    async def _drop_what_is_lost(self) -> None:
        """Compare with the database, after this node was declared lost and lives."""
        self._retries.report_anew()
        held = await self._leases.held()
        for keeper in list(self._keepers.values()):
            if keeper.hold not in held:
                self._lost(keeper.hold)

    async def _remove_what_is_over(self) -> None:
        """Delete the ephemeral clients that have ended; tell of what they still had to send."""
        await self._leases.flush()
        for about, unsent in await self.node.control.run(_remove_what_is_over):
            if unsent:
                text = f"it ended with {unsent} messages in its outbox, which are gone"
                self.node.recorder.add_own(EventKind.ERROR, about, detail=text)

    async def _count(self) -> None:
        for keeper in self._keepers.values():
            keeper.count()


def _remove_what_is_over() -> list[tuple[Subject, int]]:
    removed = Client.objects.remove_over(moment(time.time()))
    return [
        (Subject("out", None, client.pk, client.name), client.unsent)  # type: ignore[attr-defined]
        for client in removed
    ]

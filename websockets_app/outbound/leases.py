"""What a runner writes of its clients: claims, and states under the claim's epoch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..core.states import ClientState
from ..database import DatabaseThread
from ..models import Client, ClientRuntime
from ..recording.facts import moment

WRITE_SECONDS: Final = 0.25
"""The shortest time between two writes: a client that flaps doesn't flood the database."""


class Hold(NamedTuple):
    """A client that this runner has claimed, and the epoch that every write names."""

    client_id: int
    epoch: int


class Leases:
    """The runner's hold on its clients. One writer; of each client the latest values win.

    With the database away, values wait and are written when it is back.
    """

    def __init__(
        self, node_id: str, thread: DatabaseThread, on_lost: Callable[[Hold], None]
    ) -> None:
        self._node_id = node_id
        self._thread = thread
        self._on_lost = on_lost
        self._waiting: dict[Hold, dict[str, Any]] = {}
        self._writing = asyncio.Lock()

    def put(self, hold: Hold, **values: Any) -> None:
        """Let `values` be written soon; nothing waits."""
        self._waiting.setdefault(hold, {}).update(values)

    def release(self, hold: Hold) -> None:
        """Give a client back, after what was put before."""
        self.put(hold, holder_id=None)

    def forget(self, hold: Hold) -> None:
        """Drop what waits for a client that somebody else has."""
        self._waiting.pop(hold, None)

    async def flush(self) -> None:
        """Write what waits; where the database refuses it, it waits on."""
        async with self._writing:
            batch, self._waiting = self._waiting, {}
            if not batch:
                return
            try:
                lost = await self._thread.run(_write, self._node_id, batch)
            except BaseException:
                self._put_back(batch)
                raise
        for hold in lost:
            self._on_lost(hold)

    async def claim(self, client_ids: list[int]) -> list[Hold]:
        """Claim those of `client_ids` that nobody holds."""
        await self.flush()  # what is to be given back would otherwise still count as held
        return await self._thread.run(_claim, self._node_id, client_ids)

    async def held(self) -> frozenset[Hold]:
        """Return what this runner holds, as the database knows it."""
        epochs = await self._thread.run(ClientRuntime.objects.held_by, self._node_id)
        return frozenset(Hold(*item) for item in epochs.items())

    def _put_back(self, batch: dict[Hold, dict[str, Any]]) -> None:
        for hold, values in batch.items():
            self._waiting[hold] = values | self._waiting.get(hold, {})


def _write(node_id: str, batch: dict[Hold, dict[str, Any]]) -> list[Hold]:
    """Write a batch; return those whose lease somebody else has now."""
    with ClientRuntime.objects.atomic():
        missed = [
            hold
            for hold, values in batch.items()
            if not ClientRuntime.objects.write(hold.client_id, node_id, hold.epoch, **values)
        ]
        if not missed:
            return []
        # The row of a client that was deleted is gone with it: the watcher tells that.
        rows = ClientRuntime.objects.in_bulk([hold.client_id for hold in missed])
        return [hold for hold in missed if hold.client_id in rows]


def _claim(node_id: str, client_ids: list[int]) -> list[Hold]:
    """Claim in one transaction; take up what an earlier one claimed whose answer was lost."""
    _add_missing_rows(client_ids)
    runtimes = ClientRuntime.objects
    free = runtimes.claimable(client_ids, moment(time.time()))
    if free:
        with runtimes.atomic():
            for client_id in free:
                runtimes.claim(client_id, node_id)
    held = runtimes.filter(client_id__in=client_ids).held_by(node_id)
    return [Hold(*item) for item in held.items()]


def _add_missing_rows(client_ids: list[int]) -> None:
    missing = Client.objects.filter(pk__in=client_ids).without_runtime()
    rows = [
        ClientRuntime(client_id=key, state=ClientState.UNASSIGNED)
        for key in missing.values_list("pk", flat=True)
    ]
    if rows:
        ClientRuntime.objects.bulk_create(rows, ignore_conflicts=True)

"""Storing the row of a client that code creates, in such a way that it can be undone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, connections, router
from django.db.models import F
from django.utils import timezone

from ..core.states import ClientState, Desired, OutboxStatus
from ..exceptions import ClientConflict
from ..models import Client, ClientRuntime, OutboxMessage
from . import opening

ABANDONED_SECONDS: Final = 10.0
"""How long after its time a creator that died is still waited for."""


@dataclass(slots=True, kw_only=True)
class Stored:
    """What was done to have the row."""

    client: Client
    made: bool = False
    restarted: bool = False
    since: datetime | None = None
    """When the state of a row that was there before had last changed."""
    returned: int = 0
    """How many calls had returned the client when this one stored it; this one is added later."""

    def has_failed(self, seen: opening.Seen) -> bool:
        """Tell whether the client has failed to open since it was stored."""
        if self.client.ephemeral:
            return seen.ended_at is not None
        return seen.has_failed_since(self.since)

    def count(self) -> bool:
        """Note that this call returns the client; False if its row has been deleted meanwhile."""
        runtime = ClientRuntime.objects.filter(client=self.client.pk)
        counted = runtime.update(returned=F("returned") + 1, awaited_until=None)
        self.returned += counted
        return bool(counted)

    def undo(self) -> None:
        """Leave nothing behind that was not there before, unless another call has returned it."""
        with Client.objects.atomic():
            runtime = ClientRuntime.objects.filter(client=self.client.pk, returned=self.returned)
            if not runtime.update(returned=self.returned):  # which locks it until the commit
                return
            row = Client.objects.filter(pk=self.client.pk)
            if self.made:
                row.delete()
            elif self.restarted:
                row.stop()


def store(client: Client, given: list[str], wait: float | None) -> Stored | None:
    """Store the row, or take up the one of that name where it is the same.

    `given` names the fields that the caller has set, besides URI, handler and engine. `wait` is
    for how many seconds he waits. None: try again soon, the row that is there is just leaving.
    """
    namesakes = Client.objects.filter(name=client.name)
    existing = namesakes.first()
    if existing is None:
        try:
            return _insert(client, wait)
        except IntegrityError:  # another was faster
            existing = namesakes.first()
            if existing is None and in_transaction():
                raise
    if existing is None:  # and has failed since, and taken his row with him
        return None
    return _take_up(existing, client, given, wait)


def in_transaction() -> bool:
    """Tell whether what this thread writes is not committed at once."""
    connection = connections[router.db_for_write(Client)]
    return connection.in_atomic_block or not connection.get_autocommit()


def _insert(client: Client, wait: float | None) -> Stored:
    with Client.objects.atomic():
        client.save(force_insert=True)
        until = None
        if client.ephemeral and wait is not None:
            until = timezone.now() + timedelta(seconds=wait + ABANDONED_SECONDS)
        returned = int(wait is None)
        ClientRuntime.objects.create(client=client, awaited_until=until, returned=returned)
    return Stored(client=client, made=True, returned=returned)


def _take_up(
    existing: Client, client: Client, given: list[str], wait: float | None
) -> Stored | None:
    """Run the client of that name, where it is the same; one that failed tries again at once."""
    _refuse_another(existing, client, given)
    try:
        runtime, _ = ClientRuntime.objects.get_or_create(client=existing)
    except IntegrityError:  # the call that made the row has just deleted it
        return None
    stored = Stored(client=existing, since=runtime.since, returned=runtime.returned)
    if wait is None:
        # Counted before it runs: a call that fails no longer stops the client from then on.
        if not stored.count():
            return None
    elif _is_leaving(existing, runtime.state):
        return None
    row = Client.objects.filter(pk=existing.pk)
    stored.restarted = bool(row.run())
    if runtime.state == ClientState.FAILED and not stored.restarted:
        row.update()  # another revision, by which the runner notices
    return stored


def _refuse_another(existing: Client, client: Client, given: list[str]) -> None:
    compared = ("uri", "handler", "engine", "ephemeral", *given)
    if differing := [
        name for name in compared if getattr(existing, name) != getattr(client, name)
    ]:
        raise ClientConflict(
            f"A client {client.name!r} exists and has another {', '.join(differing)}. Change that "
            "row, delete it, or take another name."
        )


def _is_leaving(existing: Client, state: str) -> bool:
    """Tell whether the connection is being closed: to find it open would be no good."""
    if existing.desired == Desired.STOP and state in {ClientState.OPEN, ClientState.CLOSING}:
        return True
    closes = OutboxMessage.objects.filter(client=existing, close_code__isnull=False)
    return closes.filter(status=OutboxStatus.CLAIMED).exists()

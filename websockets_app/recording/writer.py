"""One batch, from memory to the database: sync, in one transaction, safe to replay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from django.db import DataError, IntegrityError, NotSupportedError, transaction

from ..core.states import EventKind
from ..models import Event, Node
from ..redaction import get_logger
from .facts import Fact, RepeatedFact, SessionRow, events_in
from .insertion import Row
from .minutes import MinuteKey, write_minutes
from .payloads import redact_payloads
from .tables import (
    EVENTS,
    REPEATED_EVENTS,
    SESSIONS,
    event_rows,
    repeated_event_rows,
    session_rows,
)

logger = get_logger(__name__)

T = TypeVar("T")

_LIFECYCLE: Final = frozenset({EventKind.OPEN, EventKind.CLOSE})

REFUSED: Final = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
"""The database can't take these rows, today or tomorrow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is written together."""

    node_id: str
    facts: list[Fact]
    sessions: dict[str, SessionRow] = field(default_factory=dict)
    minutes: dict[MinuteKey, tuple[int, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.facts or self.sessions or self.minutes)

    def parts(self) -> list[Batch]:
        """Return smaller batches that together, in their order, are this one; none for one row."""
        parts = (
            *(
                replace(self._empty(), sessions=dict(part))
                for part in _halves(self.sessions.items())
            ),
            *(replace(self._empty(), facts=part) for part in _halves(self.facts)),
            *(
                replace(self._empty(), minutes=dict(part))
                for part in _halves(self.minutes.items())
            ),
        )
        return list(parts) if len(parts) > 1 else []

    def _empty(self) -> Batch:
        return Batch(node_id=self.node_id, facts=[])

    def __str__(self) -> str:
        # Not the rows themselves: they may hold what a peer sent.
        kinds = [str(fact.kind) for fact in self.facts]
        return ", ".join(
            [*kinds, *(f"session {key}" for key in self.sessions), *map(str, self.minutes)]
        )


def _halves(rows: Iterable[T]) -> list[list[T]]:
    """Return `rows` as one or two lists of about the same length, or as none."""
    whole = list(rows)
    middle = (len(whole) + 1) // 2
    return [half for half in (whole[:middle], whole[middle:]) if half]


def write_all_but_refused(batch: Batch) -> int:
    """Write `batch` but for the single rows that the database refuses; return what is lost."""
    redact_payloads(batch.facts)  # before the transaction, which others may wait for
    try:
        write(batch)
    except REFUSED:
        if parts := batch.parts():
            return sum(map(write_all_but_refused, parts))
        logger.exception("A row can't be written and is dropped: %s", batch)
        return events_in(batch.facts[0]) if batch.facts else 1
    return 0


def write(batch: Batch) -> None:
    """Write `batch`. Writing it twice, after an unclear commit, changes nothing."""
    if not EVENTS.can_copy:
        _write(batch, EVENTS.upsert)
        return
    try:
        _write(batch, EVENTS.copy)
    except IntegrityError:  # written before, since the commit's answer was lost
        _write(batch, EVENTS.upsert)
    except NotSupportedError:  # as into a table with row-level security
        EVENTS.can_copy = False
        _write(batch, EVENTS.upsert)


def _write(batch: Batch, write_events: Callable[[list[Row]], None]) -> None:
    with transaction.atomic(using=EVENTS.connection.alias):
        # Before anything else: who declares a node lost locks its row first, too.
        _keep_one_close(batch)
        if batch.sessions:
            SESSIONS.upsert(session_rows(batch.sessions.values()))
        if facts := [fact for fact in batch.facts if type(fact) is Fact]:
            write_events(event_rows(batch.node_id, facts))
        if repeated := [fact for fact in batch.facts if isinstance(fact, RepeatedFact)]:
            REPEATED_EVENTS.upsert(repeated_event_rows(batch.node_id, repeated))
        write_minutes(batch.node_id, batch.minutes)


def _keep_one_close(batch: Batch) -> None:
    """Let each session have one close event, if this node was declared lost and lives.

    The node that declared it lost has closed its sessions. Of those that go on, and of those whose
    true end hadn't been written, this node knows better.
    """
    peers = [fact.peer for fact in batch.facts if fact.peer and fact.kind in _LIFECYCLE]
    if peers and Node.objects.lock_if_reaped(batch.node_id):
        Event.objects.revoke_lost(peers, batch.node_id)

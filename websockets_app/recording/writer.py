"""One batch, from memory to the database: sync, in one transaction, safe to replay."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from django.db import DataError, IntegrityError, transaction

from ..models import Event, Session
from .facts import Fact, SessionRow, events_in, moment, storable
from .minutes import MinuteKey, write_minutes

logger = logging.getLogger(__name__)

T = TypeVar("T")

REFUSED: Final = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
"""The database can't take these rows, today or tomorrow."""

_SESSION_UPDATES = (
    "closed_at",
    "close_code",
    "close_code_sent",
    "close_reason",
    "close_cause",
    "handler",
    "messages_in",
    "messages_out",
    "bytes_in",
    "bytes_out",
)


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
    with transaction.atomic():
        _write_sessions(batch)
        _write_events(batch)
        write_minutes(batch.node_id, batch.minutes)


def _write_sessions(batch: Batch) -> None:
    if batch.sessions:
        Session.objects.bulk_create(
            [Session(**_storable(row)) for row in batch.sessions.values()],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=_SESSION_UPDATES,
        )


def _write_events(batch: Batch) -> None:
    # An upsert of what is there already rather than `ignore_conflicts`, under which SQLite ignores
    # a row that breaks any constraint, without a word.
    Event.objects.bulk_create(
        [_event(batch.node_id, fact) for fact in batch.facts],
        update_conflicts=True,
        unique_fields=["node", "peer", "seq"],
        update_fields=["seq"],
    )


def _event(node_id: str, fact: Fact) -> Event:
    columns = fact._asdict()
    columns["at"] = moment(fact.at)
    return Event(node_id=node_id, **_storable(columns))


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: storable(value) for name, value in row.items()}

"""One batch, from memory to the database: sync, in one transaction, safe to replay."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db import transaction

from ..models import Event, Session
from .facts import Fact, SessionRow, moment
from .minutes import MinuteKey, write_minutes

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

    def halves(self) -> list[Batch]:
        """Return two smaller batches that together are this one, or none if it has one row."""
        if len(self.facts) + len(self.sessions) + len(self.minutes) <= 1:
            return []
        halves = [
            Batch(
                node_id=self.node_id,
                facts=self.facts[half::2],
                sessions=dict(list(self.sessions.items())[half::2]),
                minutes=dict(list(self.minutes.items())[half::2]),
            )
            for half in (0, 1)
        ]
        return [half for half in halves if half]


def write(batch: Batch) -> None:
    """Write `batch`. Writing it twice, after an unclear commit, changes nothing."""
    with transaction.atomic():
        _write_sessions(batch)
        _write_events(batch)
        write_minutes(batch.node_id, batch.minutes)


def _write_sessions(batch: Batch) -> None:
    if batch.sessions:
        Session.objects.bulk_create(
            [Session(**row) for row in batch.sessions.values()],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=_SESSION_UPDATES,
        )


def _write_events(batch: Batch) -> None:
    Event.objects.bulk_create(
        [_event(batch.node_id, fact) for fact in batch.facts], ignore_conflicts=True
    )


def _event(node_id: str, fact: Fact) -> Event:
    columns = fact._asdict()
    columns["at"] = moment(fact.at)
    columns["detail"] = fact.detail.replace("\0", "␀")  # PostgreSQL refuses NUL in a text
    return Event(node_id=node_id, **columns)

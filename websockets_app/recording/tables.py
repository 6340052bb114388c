"""The tables that a batch goes to, and its rows as their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from ..models import Event, Session
from ..redaction import redactor
from .facts import Fact, RepeatedFact, SessionRow, storable
from .insertion import Insertion, Row, clock, documents, flags

_SESSION_UPDATES: Final = (
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

_EVENT_COLUMNS: Final = (*Fact._fields, "node")
_EVENT_KEY: Final = ("peer", "node", "seq")
EVENTS: Final = Insertion(Event, _EVENT_COLUMNS, unique=_EVENT_KEY)
REPEATED_EVENTS: Final = Insertion(
    Event, (*_EVENT_COLUMNS, "repeats", "first_at"), unique=_EVENT_KEY
)
SESSIONS: Final = Insertion(
    Session,
    tuple(field.attname for field in Session._meta.concrete_fields),
    unique=("id",),
    updated=_SESSION_UPDATES,
)


def event_rows(node_id: str, facts: Iterable[Fact]) -> list[Row]:
    """Return the rows of `facts`, for `EVENTS`."""
    connection = EVENTS.connection
    as_time, as_flag, redact = clock(connection), flags(connection), redactor().text
    return [_event_row(fact, as_time, as_flag, redact, node_id) for fact in facts]


def repeated_event_rows(node_id: str, facts: Sequence[RepeatedFact]) -> list[Row]:
    """Return the rows of `facts`, for `REPEATED_EVENTS`."""
    as_time = clock(REPEATED_EVENTS.connection)
    rows = zip(event_rows(node_id, facts), facts, strict=True)
    return [(*row, fact.repeats, as_time(fact.first_at)) for row, fact in rows]


def session_rows(rows: Iterable[SessionRow]) -> list[Row]:
    """Return `rows`, each with every column, for `SESSIONS`."""
    as_stored = _session_values(SESSIONS.connection)
    return [
        tuple(as_stored.get(name, storable)(row[name]) for name in SESSIONS.columns)
        for row in rows
    ]


def _session_values(connection: BaseDatabaseWrapper) -> dict[str, Callable[[Any], Any]]:
    """Return what makes of a column's value what drivers take, where that isn't the same."""
    as_time: Callable[[Any], Any] = connection.ops.adapt_datetimefield_value
    return {
        "params": documents(connection),
        "opened_at": as_time,
        "closed_at": lambda at: None if at is None else as_time(at),
        "close_reason": lambda reason: storable(redactor().text(reason)),
        "close_cause": str,
    }


def _event_row(
    fact: Fact,
    as_time: Callable[[float], Any],
    as_flag: Mapping[bool | None, Any],
    redact: Callable[[str], str],
    node_id: str,
) -> Row:
    """Return a row of plain values: drivers are slow with members of enumerations."""
    (
        kind, at, seq, peer, direction, endpoint_id, client_id, name, code, cause, detail,
        outgoing, size, sha256, payload, lost,
    ) = fact  # fmt: skip
    return (
        str(kind), as_time(at), seq, peer, direction, endpoint_id, client_id, storable(name),
        code and int(code), cause and str(cause), detail and storable(redact(detail)),
        as_flag[outgoing], size, sha256, payload and storable(payload), lost, node_id,
    )  # fmt: skip

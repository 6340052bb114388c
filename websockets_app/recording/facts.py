"""What waits to be written: plain tuples, cheap to make where it matters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.utils import timezone

from ..core.states import EventKind

UNREDACTED: Final = "?"
"""Stands for the hash of a message while its payload is still as it was sent."""


class Fact(NamedTuple):
    """An event before it is a row; the fields are the columns of `Event`."""

    kind: EventKind
    at: float
    seq: int
    peer: str = ""
    direction: str = ""
    endpoint_id: int | None = None
    client_id: int | None = None
    name: str = ""
    code: int | None = None
    cause: str = ""
    detail: str = ""
    outgoing: bool | None = None
    size: int | None = None
    sha256: str = ""
    payload: str | bytes = ""
    lost: int | None = None


class RepeatedFact(Fact):
    """An event that stands for many equal ones. Messages, which never do, stay small."""

    repeats: int
    first_at: float


class Subject(NamedTuple):
    """Whom facts are about: an endpoint or a client."""

    direction: str
    endpoint_id: int | None
    client_id: int | None
    name: str

    @property
    def descriptor(self) -> int | None:
        """The primary key of the endpoint or client."""
        return self.endpoint_id if self.client_id is None else self.client_id


SessionRow = dict[str, Any]
"""The columns of a `Session`, whole: writing it again changes nothing."""


def moment(at: float) -> datetime:
    """Return the time `at` (seconds since the epoch) as the site's rows keep it."""
    aware = datetime.fromtimestamp(at, UTC)
    return (
        aware if settings.USE_TZ else timezone.make_naive(aware, timezone.get_default_timezone())
    )


def storable(value: Any) -> Any:
    """Return `value` with its texts as every database keeps them.

    PostgreSQL refuses NUL, in JSON too; lone surrogates can't be encoded at all.
    """
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return value.replace("\0", "␀").encode(errors="replace").decode()


def events_in(fact: Fact) -> int:
    """Return how many events are lost with `fact`: a gap stands for many, as do equal ones."""
    if isinstance(fact, RepeatedFact):
        return fact.repeats
    return 1 if fact.lost is None else fact.lost

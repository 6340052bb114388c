"""Equal refusals and errors: the first few in a minute one by one, the rest as one with a count.

Peers that nobody knows can cause as many of them as they like. So what is kept is bounded, in
memory, in the table and in the log, whatever the peers vary; and each one is counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ..core.states import EventKind
from .facts import RepeatedFact, Subject

FIRST: Final = 5
"""How many equal ones in a minute are recorded and logged one by one."""
WINDOW_SECONDS: Final = 60.0
GROUPS_PER_SUBJECT: Final = 8
"""How many different refusals, or errors, of one endpoint or client are told apart."""
MAX_GROUPS: Final = 1000

_Key = tuple[EventKind, str, int | None, int | None, str | None]


class Occurrence(NamedTuple):
    """One of many equal ones, which stands for them."""

    detail: str
    code: int | None = None
    cause: str = ""
    level: int = logging.WARNING
    recorded: bool = True
    """Whether it is recorded as an event; otherwise it is only logged."""


class Repeated(NamedTuple):
    """How often something happened again within a minute, and when."""

    kind: EventKind
    subject: Subject
    example: Occurrence
    mixed: bool
    """Whether they differ, because there were too many groups."""
    number: int
    first_at: float
    last_at: float

    def fact(self, seq: int) -> RepeatedFact:
        """Return the event that stands for all of them, with the number `seq`."""
        detail, code, cause, *_ = self.example
        if self.mixed:
            detail, code, cause = f"several different ones, such as: {detail}", None, ""
        fact = RepeatedFact(
            kind=self.kind, at=self.last_at, seq=seq, **self.subject._asdict(),
            code=code, cause=cause, detail=detail,
        )  # fmt: skip
        fact.repeats, fact.first_at = self.number, self.first_at
        return fact


@dataclass(slots=True)
class _Group:
    subject: Subject
    ends_at: float
    told: int = 0
    repeats: int = 0
    example: Occurrence | None = None
    first_at: float = 0.0
    last_at: float = 0.0


class Repeats:
    """Counts what happens again and again. Used in the node's event loop only."""

    def __init__(self) -> None:
        self._groups: dict[_Key, _Group] = {}
        self._groups_of: Counter[_Key] = Counter()

    def is_repeat(
        self,
        kind: EventKind,
        subject: Subject,
        equal_in: str,
        occurrence: Callable[[], Occurrence],
        *,
        now: float,
        at: float,
        first: int = FIRST,
    ) -> bool:
        """Count an occurrence; return whether it is a repeat, which isn't told by itself.

        Occurrences of one kind and subject are equal if `equal_in` is. `now` is the time of a
        clock that never goes back, `at` the time of day. `occurrence` makes the example.
        """
        group = self._group(kind, subject, equal_in, now)
        if group.told < first:
            group.told += 1
            return False
        if group.example is None:
            group.example, group.first_at = occurrence(), at
        group.repeats += 1
        group.last_at = at
        return True

    def take(self, now: float | None = None) -> list[Repeated]:
        """Take out the groups whose minute is over by `now`, or all; return what they counted."""
        over = [key for key, group in self._groups.items() if now is None or group.ends_at <= now]
        return [repeated for key in over if (repeated := self._take(key))]

    def _group(self, kind: EventKind, subject: Subject, equal_in: str, now: float) -> _Group:
        others: _Key = kind, subject.direction, subject.endpoint_id, subject.client_id, None
        key: _Key = (*others[:-1], equal_in)
        group = self._groups.get(key)
        if group is None and self._is_full(others):
            key = others
            group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(subject, now + WINDOW_SECONDS)
            self._groups_of[others] += 1
        return group

    def _is_full(self, others: _Key) -> bool:
        return len(self._groups) >= MAX_GROUPS or self._groups_of[others] >= GROUPS_PER_SUBJECT

    def _take(self, key: _Key) -> Repeated | None:
        group = self._groups.pop(key)
        others: _Key = (*key[:-1], None)
        self._groups_of[others] -= 1
        if not self._groups_of[others]:
            del self._groups_of[others]
        if group.example is None:
            return None
        return Repeated(
            key[0], group.subject, group.example, key == others,
            group.repeats, group.first_at, group.last_at,
        )  # fmt: skip

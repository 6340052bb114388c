"""Counters by minute, added up in memory and written as absolute values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ..models import Minute
from ..models.minute import COUNTERS
from .facts import moment

_WIDTH: Final = len(COUNTERS)
_KEPT_SECONDS: Final = 180


class MinuteKey(NamedTuple):
    """Whose counters, and of which minute."""

    direction: str
    descriptor: int
    minute: int
    """Seconds since the epoch at which it begins."""


class MinuteCounters:
    """What one node counted in the last minutes, and which of it isn't written yet."""

    def __init__(self) -> None:
        self._counts: dict[MinuteKey, list[int]] = {}
        self._dirty: set[MinuteKey] = set()

    def add(self, direction: str, descriptor: int, at: float, **counts: int) -> None:
        """Add `counts` (of `models.minute.COUNTERS`) to the minute of `at`."""
        key = MinuteKey(direction, descriptor, int(at // 60) * 60)
        row = self._counts.get(key)
        if row is None:
            row = self._counts[key] = [0] * _WIDTH
        for name, count in counts.items():
            row[COUNTERS.index(name)] += count
        self._dirty.add(key)

    def take(self) -> dict[MinuteKey, tuple[int, ...]]:
        """Return what changed since the last take, as absolute values."""
        taken = {key: tuple(self._counts[key]) for key in self._dirty}
        self._dirty.clear()
        return taken

    def put_back(self, keys: Iterable[MinuteKey]) -> None:
        """Take again what could not be written."""
        self._dirty.update(keys)

    def forget_before(self, at: float) -> None:
        """Drop the minutes that are over and written."""
        for key in [key for key in self._counts if key.minute < at - _KEPT_SECONDS]:
            if key not in self._dirty:
                del self._counts[key]


def write_minutes(node_id: str, counts: dict[MinuteKey, tuple[int, ...]]) -> None:
    """Write `counts` over what `node_id` wrote of the same minutes before."""
    if not counts:
        return
    Minute.objects.put(
        [
            Minute(
                node_id=node_id,
                direction=key.direction,
                descriptor=key.descriptor,
                minute=moment(key.minute),
                **dict(zip(COUNTERS, row, strict=True)),
            )
            for key, row in counts.items()
        ]
    )

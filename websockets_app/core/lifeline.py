"""When a node may be declared lost: not for a clock's sake, nor for the database's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class _Sight(NamedTuple):
    beat: int
    since: float


class Lifeline:
    """One node's view of the others' leases.

    A lease is lost when it stood still for a whole `ttl` of the observer's own monotonic clock,
    with the observer looking all along: after a failed look, or a pause of its own, it begins
    anew, since the others may have been unable to renew too.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._sights: dict[str, _Sight] = {}
        self._looked_at: float | None = None

    def look(self, beats: Mapping[str, int], now: float) -> list[str]:
        """Take in every living node's beat at `now` (monotonic seconds); return the lost ones."""
        if self._looked_at is not None and now - self._looked_at > self._ttl / 2:
            self._sights.clear()
        self._looked_at = now
        self._sights = {
            node: sight
            if (sight := self._sights.get(node)) and sight.beat == beat
            else _Sight(beat, now)
            for node, beat in beats.items()
        }
        return [node for node, sight in self._sights.items() if now - sight.since >= self._ttl]

    def blind(self) -> None:
        """Begin anew: the database didn't answer."""
        self._sights.clear()

"""The bounded buffer between those who record and the one who writes."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..core.states import EventKind
from .facts import Fact

_MAKE_ROOM: Final = 10
"""A full buffer loses a tenth of itself at once, so that making room is rare."""


class FactBuffer:
    """Facts in their order. Past its bound the oldest messages go first, and are counted."""

    def __init__(self, bound: int) -> None:
        self._bound = max(bound, _MAKE_ROOM)
        self._facts: deque[Fact] = deque()
        self.lost = 0
        """Facts dropped since the last `take_lost`."""

    def __len__(self) -> int:
        return len(self._facts)

    def append(self, fact: Fact) -> None:
        if len(self._facts) >= self._bound:
            self._make_room()
        self._facts.append(fact)

    def take(self, most: int) -> list[Fact]:
        """Take the `most` oldest facts out."""
        facts = self._facts
        return [facts.popleft() for _ in range(min(most, len(facts)))]

    def put_back(self, facts: list[Fact]) -> None:
        """Put facts that could not be written in front again."""
        self._facts.extendleft(reversed(facts))

    def take_lost(self) -> int:
        """Return how many facts were dropped, and begin to count anew."""
        lost, self.lost = self.lost, 0
        return lost

    def _make_room(self) -> None:
        due = self._bound // _MAKE_ROOM
        kept: deque[Fact] = deque()
        for fact in self._facts:
            if due and fact.kind == EventKind.MESSAGE:
                due -= 1
                self.lost += 1
            else:
                kept.append(fact)
        while due and kept:
            kept.popleft()
            due -= 1
            self.lost += 1
        self._facts = kept

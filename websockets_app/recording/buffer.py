"""The bounded buffer between those who record and the one who writes."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..core.states import EventKind
from .facts import Fact, events_in

_LEAST: Final = 10
_TEXT_BOUND: Final = 64 * 1024 * 1024
"""Characters of details and payloads that are kept, however few events they belong to."""


class FactBuffer:
    """Facts in their order. Past its bounds the oldest messages go first, and are counted."""

    def __init__(self, bound: int, text_bound: int = _TEXT_BOUND) -> None:
        self.bound: Final = max(bound, _LEAST)
        self._text_bound = text_bound
        self._facts: deque[Fact] = deque()
        self._text = 0
        self.lost = 0
        """Events dropped since the last `take_lost`."""

    def __len__(self) -> int:
        return len(self._facts)

    def append(self, fact: Fact) -> int:
        """Take a fact; return how many there are now."""
        facts = self._facts
        facts.append(fact)
        self._text += len(fact.detail) + len(fact.payload)
        count = len(facts)
        if count > self.bound or self._text > self._text_bound:
            self._make_room()
        return count

    def take(self, most: int) -> list[Fact]:
        """Take the `most` oldest facts out."""
        facts = self._facts
        taken = [facts.popleft() for _ in range(min(most, len(facts)))]
        self._text -= sum(map(_text_in, taken))
        return taken

    def put_back(self, facts: list[Fact]) -> None:
        """Put facts that could not be written in front again."""
        self._facts.extendleft(reversed(facts))
        self._text += sum(map(_text_in, facts))

    def take_lost(self) -> int:
        """Return how many events were dropped, and begin to count anew."""
        lost, self.lost = self.lost, 0
        return lost

    def _make_room(self) -> None:
        """Drop a tenth at once, so that making room is rare."""
        self._drop_oldest(messages_only=True)
        self._drop_oldest(messages_only=False)

    def _drop_oldest(self, *, messages_only: bool) -> None:
        rows_left, text_left = self.bound * 9 // 10, self._text_bound * 9 // 10
        rows, kept = len(self._facts), deque[Fact]()
        for fact in self._facts:
            is_full = rows > rows_left or self._text > text_left
            if is_full and (not messages_only or fact.kind == EventKind.MESSAGE):
                rows -= 1
                self._text -= _text_in(fact)
                self.lost += events_in(fact)
            else:
                kept.append(fact)
        self._facts = kept


def _text_in(fact: Fact) -> int:
    return len(fact.detail) + len(fact.payload)

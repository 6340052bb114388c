"""What got lost on the way from senders that number what they send."""

from __future__ import annotations

from typing import Final

SENDERS: Final = 1000
"""How many senders are remembered: those heard last."""
MOST: Final = 2**63 - 1
"""What a column of the database can hold."""
WIDEST_GAP: Final = 1_000_000
"""More can't be missing between two messages: such a number is forged."""
LONGEST_SENDER: Final = 64
"""Characters of a sender's name; a node's has 32."""


class Numbering:
    """Counts the holes in senders' numbers. What was overtaken on its way fills its own."""

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}
        self._forgotten = 0
        self._missing_before = 0

    def note(self, sender: str, number: int) -> bool:
        """Take note of what arrived; return False if no sender can have written that.

        Counting then begins anew with the sender's next message, since the forged number may have
        come before the true ones.
        """
        if number < 1 or len(sender) > LONGEST_SENDER:
            return False
        heard = self._heard.pop(sender, None) or _Heard(number)
        if not heard.can_be_followed_by(number):
            self._forgotten += heard.missing
            return False
        heard.note(number)
        self._heard[sender] = heard
        if len(self._heard) > SENDERS:
            self._forgotten += self._heard.pop(next(iter(self._heard))).missing
        return True

    def lost(self) -> int:
        """Return how many are missing, and were when last asked: not what is on its way."""
        missing = self._forgotten + sum(heard.missing for heard in self._heard.values())
        lost, self._missing_before = min(missing, self._missing_before), missing
        return min(lost, MOST)


class _Heard:
    """What arrived of one sender."""

    __slots__ = ("_count", "_first", "_last")

    def __init__(self, first: int) -> None:
        self._first = self._last = first
        self._count = 0

    @property
    def missing(self) -> int:
        return max(0, self._last - self._first + 1 - self._count)

    def can_be_followed_by(self, number: int) -> bool:
        return abs(number - self._last) <= WIDEST_GAP

    def note(self, number: int) -> None:
        if number >= self._first:  # what was on its way before the first is nobody's loss
            self._last = max(self._last, number)
            self._count += 1

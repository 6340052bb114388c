"""Not waiting again and again for something that doesn't answer."""

from __future__ import annotations

from typing import Final

SLOW_SECONDS: Final = 0.25
"""A failure that took less made nobody wait, and says nothing about the next one."""


class CircuitBreaker:
    """Opens after one slow failure; closes after an answer. Times are monotonic seconds.

    While it is open nobody asks, until something else was answered since: the lease's renewal.
    Then one caller tries, and the others go on not waiting until its answer is there.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        """Seconds that a caller waits at most."""
        self._failed_at: float | None = None
        self._is_tried = False

    def may_ask(self, answered_at: float | None) -> bool:
        """Tell whether to ask now; `answered_at` is when the last renewal that succeeded began."""
        if self._failed_at is None:
            return True
        if self._is_tried or answered_at is None or answered_at <= self._failed_at:
            return False
        self._is_tried = True
        return True

    def note_answer(self) -> None:
        """Close the circuit: the next caller asks again."""
        self._failed_at, self._is_tried = None, False

    def note_failure(self, asked_at: float, now: float) -> None:
        """Open, if the caller that asked at `asked_at` had to wait."""
        if now - asked_at >= SLOW_SECONDS or self._failed_at is not None:
            self._failed_at = now
        self._is_tried = False

    def note_nothing(self) -> None:
        """Let the next caller try: this one learned nothing, it was cancelled, say."""
        self._is_tried = False

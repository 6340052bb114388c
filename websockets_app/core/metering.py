"""What limits are measured by: how much comes, and for how long nothing changes.

Whoever asks brings the time, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from typing import Final


class TokenBucket:
    """Lets `burst` messages through at once, and `rate` a second on the average."""

    __slots__ = ("_at", "_tokens", "burst", "rate", "taken")

    def __init__(self, rate: float, burst: int) -> None:
        self.rate: Final = rate
        self.burst: Final = burst
        self.taken = 0
        """How many messages were let through."""
        self._tokens = float(burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Let a message through, or not. The hot path."""
        tokens = self._tokens + (now - self._at) * self.rate
        self._at = now
        if tokens > self.burst:
            tokens = self.burst
        if tokens < 1:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1
        self.taken += 1
        return True

    def attempt(self, now: float) -> bool:
        """Return whether an attempt is within the rate. A refused attempt costs a token as well.

        So a peer that keeps trying too fast is refused until it slows down. The debt is bounded by
        one burst.
        """
        if self.take(now):
            return True
        self._tokens = max(self._tokens - 1, float(-self.burst))
        return False

    def is_full(self, now: float) -> bool:
        """Tell whether it is as good as new."""
        return self._tokens + (now - self._at) * self.rate >= self.burst


class ByteCounter:
    """How many bytes of messages wait in all queues of a node."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


class Stillness:
    """For how long a value has stayed the same, as seen by whoever looks now and then."""

    __slots__ = ("_since", "_value")

    def __init__(self) -> None:
        self._value: int | None = None
        self._since: float | None = None

    def seconds(self, value: int | None, now: float) -> float:
        """Return for how long it has been `value`; 0 at the first look."""
        if self._since is None or value != self._value:
            self._value, self._since = value, now
        return now - self._since

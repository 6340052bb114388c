"""Doing many things over a time, so that what they cause doesn't come all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def moments(number: int, seconds: float, chance: Callable[[], float]) -> Iterator[float]:
    """Yield when each of `number` things is due, in seconds from the start, in order.

    Each has an equal part of `seconds` for itself, and comes somewhere in it, as `chance` (0 to 1)
    tells: several processes that do so at once keep no step with each other.
    """
    for index in range(number):
        yield (index + chance()) * seconds / number

"""How much a poll asks at once: portions of a list, and turns of those asked one by one."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

T = TypeVar("T")

PORTION: Final = 500
"""How many values a query names: some databases allow no more than 999."""


def portions(values: Iterable[T]) -> Iterator[list[T]]:
    """Split `values`, a portion for each query."""
    left = iter(values)
    while portion := list(islice(left, PORTION)):
        yield portion


class Turns:
    """Lets a bounded number have their turn each time, those first who have waited longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._round = 0
        self._last: dict[Hashable, int] = {}

    def take(self, waiting: Collection[Hashable]) -> set[Hashable]:
        """Return whose turn it is among `waiting`; who no longer waits is forgotten."""
        last = {one: self._last.get(one, 0) for one in waiting}
        chosen = sorted(last, key=last.__getitem__)[: self._most]
        self._round += 1
        self._last = last | dict.fromkeys(chosen, self._round)
        return set(chosen)

"""Waiting that somebody else in the event loop can call off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class CalledOff(Exception):
    """What was awaited isn't wanted any more, and was cancelled."""


class Errand:
    """One thing at a time that its own task awaits, without a second task."""

    def __init__(self) -> None:
        self._scope: asyncio.Timeout | None = None

    async def run(self, work: Awaitable[T]) -> T:
        """Return what `work` returns; raise `CalledOff` where it was called off before."""
        scope = self._scope = asyncio.timeout(None)
        try:
            async with scope:
                return await work
        except TimeoutError:
            if scope.expired():
                raise CalledOff from None
            raise
        finally:
            self._scope = None

    def call_off(self) -> None:
        """Cancel what is awaited now, if anything is."""
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.reschedule(asyncio.get_running_loop().time())

"""What has come to the peer that a test plays, and waiting for more of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from ..dispatch.frames import Frame


class Closed(NamedTuple):
    """How a connection ended."""

    code: int
    reason: str


class Arrivals:
    """Messages in their order, and in the end how the connection was closed.

    Whoever waits in vain gets an `AssertionError`; the connection stays as it is.
    """

    def __init__(self) -> None:
        self.messages: list[Frame] = []
        self.closed: Closed | None = None
        self.failure: BaseException | None = None
        """What the other side raised instead of closing."""
        self._taken = 0
        self._news = asyncio.Event()

    def add(self, message: Frame) -> None:
        """Take a message of the other side."""
        self.messages.append(message)
        self._news.set()

    def end(self, closed: Closed, failure: BaseException | None = None) -> None:
        """Take note that nothing more will come; the first to say so is right."""
        if self.closed is None:
            self.closed, self.failure = closed, failure
        self._news.set()

    async def take(self, timeout: float) -> Frame:
        """Return the next message that nobody has taken."""
        if not await self._came(lambda: self._has_message() or self.closed is not None, timeout):
            raise AssertionError(f"No message came within {timeout:g} s.")
        if not self._has_message():
            self._raise_failure()
            raise AssertionError(f"No message came: it was closed with {self._told()}.")
        self._taken += 1
        return self.messages[self._taken - 1]

    async def nothing(self, timeout: float) -> None:
        """Wait for `timeout` seconds; raise where a message is there or comes, or a close."""
        if not await self._came(lambda: self._has_message() or self.closed is not None, timeout):
            return
        if self._has_message():
            raise AssertionError(f"A message came: {self.messages[self._taken]!r}.")
        self._raise_failure()
        raise AssertionError(f"It was closed with {self._told()}.")

    async def end_of_it(self, timeout: float) -> Closed:
        """Return how it was closed."""
        await self._came(lambda: self.closed is not None, timeout)
        self._raise_failure()
        if self.closed is None:
            raise AssertionError(f"It was not closed within {timeout:g} s.")
        return self.closed

    def _has_message(self) -> bool:
        return len(self.messages) > self._taken

    def _told(self) -> str:
        return " ".join(map(str, self.closed or ())).strip()

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def _came(self, condition: Callable[[], bool], timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

"""Waiting for other threads, tasks and processes: poll with a deadline, never just sleep."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

SCALE = float(os.environ.get("TEST_TIME_SCALE", "1"))
"""Factor of every timeout of the suite, for slow machines."""


def eventually(predicate: Callable[[], T], timeout: float = 5.0, every: float = 0.05) -> T:
    """Return the first truthy value of ``predicate()``; fail after ``timeout`` (scaled) seconds.

    An AssertionError that the predicate raises counts as "not yet".
    """
    deadline = time.monotonic() + timeout * SCALE
    while True:
        value, failure = _attempt(predicate)
        if value:
            return value
        if time.monotonic() >= deadline:
            raise _too_late(predicate, timeout, value) from failure
        time.sleep(every)


async def aeventually(
    predicate: Callable[[], Any], timeout: float = 5.0, every: float = 0.02
) -> Any:
    """Do as ``eventually`` does, without blocking the loop; ``predicate`` may be a coroutine."""
    deadline = time.monotonic() + timeout * SCALE
    while True:
        value, failure = await _attempt_async(predicate)
        if value:
            return value
        if time.monotonic() >= deadline:
            raise _too_late(predicate, timeout, value) from failure
        await asyncio.sleep(every)


def _attempt(predicate: Callable[[], T]) -> tuple[T | None, AssertionError | None]:
    try:
        return predicate(), None
    except AssertionError as failure:
        return None, failure


async def _attempt_async(predicate: Callable[[], Any]) -> tuple[Any, AssertionError | None]:
    try:
        value = predicate()
        return (await value if inspect.isawaitable(value) else value), None
    except AssertionError as failure:
        return None, failure


def _too_late(predicate: Callable[[], object], timeout: float, value: object) -> AssertionError:
    return AssertionError(f"not within {timeout * SCALE:g} s: {predicate!r}, at last {value!r}")

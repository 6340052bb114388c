"""The one loop behind every background task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..redaction import get_logger

logger = get_logger(__name__)


async def repeat(
    step: Callable[[], Awaitable[object]],
    every: float,
    *,
    hurry: asyncio.Event | None = None,
) -> None:
    """Await `step` for ever, `every` seconds apart, sooner where `hurry` is set.

    A step that raises is logged once, until one succeeds again; the loop goes on.
    """
    failing = False
    while True:
        try:
            await step()
            failing = False
        except Exception:
            if not failing:
                logger.exception("%s failed; tried again every %s s", _name(step), every)
            failing = True
        await _pause(every, hurry)


async def _pause(seconds: float, hurry: asyncio.Event | None) -> None:
    if hurry is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await hurry.wait()
    except TimeoutError:
        return
    hurry.clear()


def _name(step: Callable[[], Awaitable[object]]) -> str:
    return getattr(step, "__qualname__", repr(step))

"""How asyncio code reaches the ORM: dedicated threads, one unit of work at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from .conf import app_settings

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThread:
    """A thread with database connections of its own, kept open between units of work.

    Django's shared thread-sensitive executor is left to the site: our repeated work never queues
    behind a slow view, nor a view behind it. With `RECORDING = "inline"` the unit does run there,
    inside the transaction of a test.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"websockets-{name}")

    async def run(self, unit: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `unit` in the thread and return what it returns."""
        work = partial(unit, *args, **kwargs)
        if app_settings.RECORDING == "inline":
            return await sync_to_async(work, thread_sensitive=True)()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _with_fresh_connections, work)

    def stop(self) -> None:
        """Close the thread's connections and let it end, without waiting for it."""
        self._executor.submit(connections.close_all)
        self._executor.shutdown(wait=False)


def _with_fresh_connections(work: Callable[[], T]) -> T:
    drop_broken_connections()
    return work()


def drop_broken_connections() -> None:
    """Close this thread's connections that an error has spoilt; keep the others.

    `close_old_connections()` would also end those past `CONN_MAX_AGE`, which is 0 by default: a
    new connection for each poll.
    """
    for connection in connections.all(initialized_only=True):
        connection.close_at = None
        connection.close_if_unusable_or_obsolete()

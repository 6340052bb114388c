"""How asyncio code reaches the ORM: dedicated threads, one unit of work at a time."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connections

from .conf import app_settings

P = ParamSpec("P")
T = TypeVar("T")

CUT_SECONDS: Final = 1.0
"""What fails later than that failed for another reason than a connection that had been cut."""


class DatabaseThread:
    """A thread with database connections of its own, kept open between units of work.

    Django's shared thread-sensitive executor is left to the site: our repeated work never queues
    behind a slow view, nor a view behind it. With `RECORDING = "inline"` the unit does run there,
    inside the transaction of a test. Unlike an executor's, the thread doesn't hold up the end of
    the process: a database that is locked then may take its time.
    """

    def __init__(self, name: str) -> None:
        self._name = f"websockets-{name}"
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = False

    async def run(self, unit: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `unit` in the thread and return what it returns."""
        work = partial(unit, *args, **kwargs)
        if app_settings.RECORDING == "inline":
            return await sync_to_async(work, thread_sensitive=True)()
        if self._stopped:
            raise RuntimeError(f"The thread {self._name} has stopped.")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._jobs.put(_Job(future, work))
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """Let the thread end once it has done what it was asked before, without waiting for it."""
        self._stopped = True
        self._jobs.put(None)

    def _work(self) -> None:
        while job := self._jobs.get():
            if job.future.set_running_or_notify_cancel():
                job.do()
            del job  # or what it wrote would live until the thread is needed again
        connections.close_all()


class _Job(NamedTuple):
    future: Future[Any]
    unit: Callable[[], Any]

    def do(self) -> None:
        try:
            drop_broken_connections()
            self.future.set_result(self.unit())
        except BaseException as error:
            self.future.set_exception(error)


def again_where_cut(work: Callable[[], T]) -> T:
    """Do `work`, and once more where it fails because this thread's connection had been cut.

    That is told at once. What took longer would take as long again.
    """
    began = time.monotonic()
    try:
        return work()
    except (InterfaceError, OperationalError):
        if time.monotonic() - began > CUT_SECONDS:
            raise
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

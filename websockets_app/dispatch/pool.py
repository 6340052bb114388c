"""Threads for sync callbacks: a bounded number, started as they are needed."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections
from django.db.backends.signals import connection_created

from ..conf import app_settings

T = TypeVar("T")

IDLE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0
"""How often connections are looked at in a thread that seems to have none."""


class _Job(NamedTuple):
    future: asyncio.Future[Any]
    context: contextvars.Context
    function: Callable[..., Any]
    args: tuple[Any, ...]


class _Done(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class _Connected(threading.local):
    """What a thread knows of its connections to databases without looking, which takes long."""

    may_be = False
    looked_at = 0.0


_connected = _Connected()


def _note_connection(**_: object) -> None:
    _connected.may_be = True


connection_created.connect(_note_connection)


def _close_old_connections() -> None:
    """Do as Django does before a request: each time where there are connections, and now and then.

    One that failed while it was made is never told of.
    """
    now = time.monotonic()
    if _connected.may_be or now - _connected.looked_at > LOOK_SECONDS:
        close_old_connections()
        kept = connections.all(initialized_only=True)
        _connected.may_be = any(one.connection is not None for one in kept)
        _connected.looked_at = now


class SyncPool:
    """Runs sync functions in threads of its own, for the one event loop that made it.

    Unlike `sync_to_async`, whose thread-sensitive calls all share one thread, calls for different
    peers run in parallel. Finished ones are handed back in batches: one wake-up of the loop for
    all that ended meanwhile. Threads end with the process, never holding it up.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        size: int,
        tidy_connections: Callable[[], None] = _close_old_connections,
    ) -> None:
        """`tidy_connections` runs before each function, in its thread."""
        self._loop = loop
        self._size = size
        self._tidy_connections = tidy_connections
        self._inline = app_settings.RECORDING == "inline"
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[_Done] = deque()
        self._wakeup_due = False
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._waiting = 0  # jobs handed in and not handed back; the loop's thread alone counts

    @property
    def waiting(self) -> int:
        """How many calls wait because every thread is busy."""
        return max(0, self._waiting - self._size)

    def run(self, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Run `function` in a thread, in a copy of the caller's context; return its result.

        A cancelled caller doesn't wait; the function runs to its end all the same.
        """
        if self._inline:
            return sync_to_async(function, thread_sensitive=True)(*args)
        if self._stopped:
            raise RuntimeError("The threads for sync functions have stopped.")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        if self._waiting > len(self._threads) < self._size:
            self._start_thread()
        self._jobs.put(_Job(future, contextvars.copy_context(), function, args))
        return future

    def stop(self) -> None:
        """Let each thread end once what was handed in before is done."""
        self._stopped = True
        for _ in self._threads:
            self._jobs.put(None)

    def _start_thread(self) -> None:
        name = f"websockets-sync-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        """One thread: take a job, run it, hand it back; give connections back when idle."""
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                connections.close_all()
                job = self._jobs.get()
            if job is None:
                connections.close_all()
                return
            self._hand_back(self._run(job))
            del job  # or the message would live until the thread is needed again

    def _hand_back(self, done: _Done) -> None:
        self._done.append(done)
        # Two threads may both see False and wake the loop twice: harmless. Neither can see True
        # after the loop has begun to drain, since the loop says False before it looks.
        if not self._wakeup_due:
            self._wakeup_due = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._done.clear()

    def _drain(self) -> None:
        self._wakeup_due = False
        while self._done:
            future, result, error = self._done.popleft()
            self._waiting -= 1
            if future.done():  # its caller was cancelled
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def _run(self, job: _Job) -> _Done:
        future, context, function, args = job
        try:
            self._tidy_connections()
            return _Done(future, context.run(function, *args), None)
        except StopIteration as error:  # a future can't carry it
            told = RuntimeError(f"callback raised StopIteration: {error}")
            told.__cause__ = error
            return _Done(future, None, told)
        except BaseException as error:
            _connected.may_be = True
            return _Done(future, None, error)

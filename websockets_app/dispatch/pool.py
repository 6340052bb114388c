"""Threads for sync callbacks: a bounded number, started as they are needed."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections
from django.db.backends.signals import connection_created

from ..conf import app_settings

T = TypeVar("T")

IDLE_SECONDS: Final = 5.0
TIMES_FREE: Final = 3
"""How many times as many threads as stay free one owner may hold: three quarters of all."""
LOOK_SECONDS: Final = 1.0
"""How often connections are looked at in a thread that seems to have none."""


class _Job(NamedTuple):
    owner: Hashable
    future: asyncio.Future[Any]
    context: contextvars.Context
    function: Callable[..., Any]
    args: tuple[Any, ...]


# Half the time of `_Job(…)`, for every sync callback.
_job: Callable[[tuple[Any, ...]], _Job] = partial(tuple.__new__, _Job)


class _Done(NamedTuple):
    owner: Hashable
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


def may_take(held: int, free: int) -> bool:
    """Tell whether an owner that holds `held` threads may take one of the `free` ones.

    Its first needs only to be free. Of what others leave it may then hold three quarters, so the
    next owner finds a free thread, too.
    """
    return free > 0 and (not held or held < TIMES_FREE * (free - 1))


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

    A call may have an owner, such as an endpoint. No owner takes every thread (`may_take`): its
    further calls wait until some of its own have ended, and calls of others don't wait for them.
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
        # Used in the loop's thread only:
        self._free = size
        self._held: dict[Hashable, int] = {}  # threads, by owner
        self._queues: dict[Hashable, deque[_Job]] = {}  # by owner; the first has the next turn

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return sum(map(len, self._queues.values()))

    def run(self, function: Callable[..., T], *args: Any, owner: Hashable = None) -> Awaitable[T]:
        """Run `function` in a thread, in a copy of the caller's context; return its result.

        A cancelled caller doesn't wait; the function runs to its end all the same. Without an
        `owner` it may take any free thread.
        """
        if self._inline:
            return sync_to_async(function, thread_sensitive=True)(*args)
        if self._stopped:
            raise RuntimeError("The threads for sync functions have stopped.")
        future: asyncio.Future[T] = self._loop.create_future()
        job = _job((owner, future, contextvars.copy_context(), function, args))
        held, free = self._held.get(owner, 0), self._free
        # If more threads are free than held, it may take one: that saves a call for each message.
        if owner not in self._queues and (held < free - 1 or may_take(held, free)):
            self._start(job)
        else:
            self._queues.setdefault(owner, deque()).append(job)
        return future

    def stop(self) -> None:
        """Let each thread end once what was handed in before is done."""
        self._stopped = True
        for waiting in self._queues.values():
            for job in waiting:
                self._start(job)
        self._queues.clear()
        for _ in self._threads:
            self._jobs.put(None)

    def _start(self, job: _Job) -> None:
        """Let the next free thread run a job."""
        self._free -= 1
        if job.owner is not None:
            self._held[job.owner] = self._held.get(job.owner, 0) + 1
        if self._size - self._free > len(self._threads) < self._size:
            self._start_thread()
        self._jobs.put(job)

    def _start_waiting(self) -> None:
        """Start what waited and may start now, one job of each owner in turn."""
        owners = deque(self._queues)
        while owners and self._free > 0:
            owner = owners.popleft()
            if not may_take(self._held.get(owner, 0), self._free):
                continue
            waiting = self._queues.pop(owner)
            self._start(waiting.popleft())
            if waiting:
                self._queues[owner] = waiting  # behind the others
                owners.append(owner)

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
            owner, future, result, error = self._done.popleft()
            self._free += 1
            if owner is not None:
                self._held[owner] -= 1
                if not self._held[owner]:
                    del self._held[owner]
            if future.done():  # its caller was cancelled
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        if self._queues:
            self._start_waiting()

    def _run(self, job: _Job) -> _Done:
        owner, future, context, function, args = job
        try:
            self._tidy_connections()
            return _Done(owner, future, context.run(function, *args), None)
        except StopIteration as error:  # a future can't carry it
            told = RuntimeError(f"callback raised StopIteration: {error}")
            told.__cause__ = error
            return _Done(owner, future, None, told)
        except BaseException as error:
            _connected.may_be = True
            return _Done(owner, future, None, error)

"""An event loop for tests that have none: in a thread beside the test's."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync
from django.core.exceptions import SynchronousOnlyOperation

P = ParamSpec("P")
T = TypeVar("T")


class LoopThread:
    """Runs coroutines for sync code, and goes on between its calls.

    What async code hands to Django's thread for sync work (the ORM below `await`, plain callbacks)
    runs in the thread that waits in `call`: the test's, whose connection sees its transaction.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._work = _Work()
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="websockets-test", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` in the loop, and return what it returns."""
        return self._work.until(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def stop(self) -> None:
        """End the loop, with the tasks that still run on it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._work.until(self._ended)
        self._thread.join()

    def _run(self) -> None:
        # asgiref looks here for tasks that it hasn't begun itself.
        AsyncToSync.loop_thread_executors[self._loop] = self._work  # type: ignore[assignment]
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()
        del AsyncToSync.loop_thread_executors[self._loop]
        self._ended.set_result(None)


class _Work(Executor):
    """Runs what is submitted in the thread that waits for something."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._jobs.put(lambda: _do(future, lambda: function(*args, **kwargs)))
        return future

    def until(self, awaited: Future[T]) -> T:
        """Work until `awaited` is done, and return its result."""
        awaited.add_done_callback(lambda done: self._jobs.put(None))
        while not awaited.done() or not self._jobs.empty():
            if job := self._jobs.get():
                job()
        return awaited.result()


def _do(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


_lock = threading.Lock()
_shared: LoopThread | None = None
_users = 0


@contextmanager
def loop_thread() -> Iterator[LoopThread]:
    """Lend the one loop of all sync conversations, which ends with its last user."""
    global _shared, _users  # noqa: PLW0603 - changed under the lock alone
    refuse_in_event_loop()
    with _lock:
        lent = _shared = _shared or LoopThread()
        _users += 1
    try:
        yield lent
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _shared = None
        if _shared is not lent:
            lent.stop()


def refuse_in_event_loop() -> None:
    """Raise `SynchronousOnlyOperation` where an event loop runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation("An event loop runs here: use AsyncConversation.")

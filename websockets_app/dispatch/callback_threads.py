"""Threads for what async callbacks pass to `sync_to_async`, the async ORM included."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar
from weakref import WeakSet

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import close_old_connections, connections

from ..forking import in_forked_child
from .pool import IDLE_SECONDS, may_take

P = ParamSpec("P")
T = TypeVar("T")

STALE_SECONDS: Final = 1.0
"""Old connections are closed before a job that comes so long after the job before it."""


class ThreadBinding:
    """The thread of one callback and of the tasks that it starts, once it needs one."""

    __slots__ = ("__weakref__", "owner", "worker")

    def __init__(self, owner: Hashable = None) -> None:
        self.owner = owner
        self.worker: _Worker | None = None


_binding: ContextVar[ThreadBinding] = ContextVar("websockets_app_thread_binding")
_contexts: set[ThreadSensitiveContext] = set()
"""Of the `CallbackThreads` that have not stopped."""


@in_forked_child
def _forget_threads() -> None:
    """Let asgiref start threads of its own in the child, where none of the parent's exist."""
    if _contexts:
        SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
    for context in _contexts:
        SyncToAsync.context_to_thread_executor.pop(context, None)
    _contexts.clear()


class CallbackThreads(Executor):
    """Runs the sync functions of one callback in one thread, and different callbacks in parallel.

    Without it, asgiref runs all of them in a single thread of the process. A callback gets a
    thread with its first call of `sync_to_async` and keeps it until it returns and every task that
    it started has ended. If all threads are taken, callbacks share them: none ever waits for
    another callback to return, only for the functions that run before its own.

    No owner, such as an endpoint, takes every thread (`may_take`): its further callbacks share its
    own.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._stopped = False
        self._workers: list[_Worker] = []
        self._context = ThreadSensitiveContext()
        # asgiref looks up here which executor belongs to the context that `bind` sets.
        SyncToAsync.context_to_thread_executor[self._context] = self
        _contexts.add(self._context)

    def bind(self, owner: Hashable = None) -> ThreadBinding:
        """Let `sync_to_async` in the current task, and in tasks made by it, use one thread.

        It is one of the threads that `owner` may take.
        """
        binding = ThreadBinding(owner)
        _binding.set(binding)
        SyncToAsync.thread_sensitive_context.set(self._context)
        return binding

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `function` in the thread of the current callback. asgiref calls this."""
        future: Future[T] = Future()
        binding = _binding.get()
        with self._lock:
            if self._stopped:
                raise RuntimeError("The threads for async callbacks have stopped.")
            is_first = binding.worker is None
            worker = binding.worker = binding.worker or self._choose(binding.owner)
            if worker.thread is threading.current_thread():
                raise RuntimeError(
                    "sync_to_async would deadlock: its thread runs this event loop. "
                    "Use async_to_sync() instead of asyncio.run()."
                )
            worker.bindings.add(binding)
            worker.waiting += 1
            worker.jobs.put(_Job(future, partial(function, *args, **kwargs), is_first))
        return future

    def stop(self) -> None:
        """Let each thread end after the jobs that it already has, without waiting for them.

        Tasks that handlers leave behind share one thread of asgiref's from then on.
        """
        SyncToAsync.context_to_thread_executor.pop(self._context, None)
        _contexts.discard(self._context)
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                worker.jobs.put(None)

    def _choose(self, owner: Hashable) -> _Worker:
        """Return a free or a new thread if `owner` may take one, else the one with least to do."""
        idle = [worker for worker in self._workers if not worker.bindings]
        held = [worker for worker in self._workers if worker.bindings and worker.owner == owner]
        free = self._size - len(self._workers) + len(idle)
        if may_take(len(held), free):
            if not idle:
                self._workers.append(_Worker(self._work))
            worker = idle[0] if idle else self._workers[-1]
            worker.owner = owner
            return worker
        return min(held or self._workers, key=lambda one: (one.waiting, len(one.bindings)))

    def _work(self, worker: _Worker) -> None:
        """Do the jobs of one thread, which ends when it has been idle and unbound for a while."""
        used_at = time.monotonic()
        while True:
            try:
                job = worker.jobs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                if self._retire(worker):
                    break
                close_old_connections()
                continue
            if job is None:
                break
            future = job.future
            is_stale = time.monotonic() - used_at > STALE_SECONDS
            is_wanted = future.set_running_or_notify_cancel()
            result, error = job.run(is_stale=is_stale) if is_wanted else (None, None)
            used_at = time.monotonic()
            # The job holds the binding of its callback: without it, the thread is free again.
            del job
            with self._lock:
                worker.waiting -= 1
            if error is not None:
                future.set_exception(error)
            elif is_wanted:
                future.set_result(result)
            del future, result, error
        connections.close_all()

    def _retire(self, worker: _Worker) -> bool:
        with self._lock:
            if worker.bindings or worker.waiting:
                return False
            self._workers.remove(worker)
            return True


class _Job(NamedTuple):
    future: Future[Any]
    function: Callable[[], Any]
    is_first: bool
    """Whether it is the first of its callback."""

    def run(self, *, is_stale: bool) -> tuple[Any, BaseException | None]:
        try:
            if self.is_first or is_stale:
                close_old_connections()  # as Django does between requests
            return self.function(), None
        except BaseException as error:
            del self  # the traceback would keep it
            return None, error


class _Worker:
    """One thread, the jobs it has to do, and the callbacks that it belongs to."""

    def __init__(self, work: Callable[[_Worker], None]) -> None:
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.waiting = 0
        """Jobs that have not ended; changed under the lock."""
        self.bindings: WeakSet[ThreadBinding] = WeakSet()
        self.owner: Hashable = None
        """Whose callback took it last when it was free."""
        self.thread = threading.Thread(
            target=work, args=[self], name="websockets-callback", daemon=True
        )
        self.thread.start()

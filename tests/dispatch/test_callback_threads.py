"""What async callbacks pass to `sync_to_async` runs in parallel, one thread for each callback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection

from tests.dispatch.test_dispatcher import Target
from tests.infrastructure.waiting import SCALE, aeventually
from websockets_app.dispatch import callback_threads, loader
from websockets_app.dispatch.callback_threads import CallbackThreads
from websockets_app.dispatch.dispatcher import Dispatcher
from websockets_app.dispatch.pool import SyncPool

SIZE = 4

Open = Callable[..., Any]


@pytest.fixture
async def threads() -> AsyncIterator[CallbackThreads]:
    made = CallbackThreads(SIZE)
    workers = made._workers
    yield made
    made.stop()
    await aeventually(lambda: not any(worker.thread.is_alive() for worker in workers))


class OpenSession:
    """A session's task: it runs `on_message` for one message after the other."""

    def __init__(
        self, threads: CallbackThreads, on_message: Callable[..., Any], endpoint: str | None
    ) -> None:
        handler = loader.handler_of("made", {"on_message": on_message})
        self.target = Target(handler)
        self.target.subject = endpoint or self.target
        pool = SyncPool(asyncio.get_running_loop(), 1)
        self._dispatcher = Dispatcher(self.target, pool, threads)
        self._messages: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    async def message(self) -> Any:
        """Run the callback; return what it answered."""
        handled = asyncio.get_running_loop().create_future()
        self._messages.put_nowait(handled)
        await handled
        assert not self.target.failures, self.target.failures
        return self.target.sent[-1] if self.target.sent else None

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await self._dispatcher.open()
        while True:
            handled = await self._messages.get()
            await self._dispatcher.message("")
            handled.set_result(None)


@pytest.fixture
async def open_session(threads: CallbackThreads) -> AsyncIterator[Open]:
    sessions: list[OpenSession] = []

    def make(on_message: Callable[..., Any], endpoint: str | None = None) -> OpenSession:
        sessions.append(OpenSession(threads, on_message, endpoint))
        return sessions[-1]

    yield make
    for session in sessions:
        await session.leave()


def thread_id() -> str:
    return str(threading.get_ident())


async def ask_thread() -> str:
    return await sync_to_async(thread_id)()


async def test_callbacks_of_different_sessions_block_side_by_side(open_session: Open) -> None:
    together = threading.Barrier(SIZE)

    async def on_message() -> None:
        await sync_to_async(together.wait)(5 * SCALE)

    await asyncio.gather(*(open_session(on_message).message() for _ in range(SIZE)))


async def test_a_callback_and_the_tasks_it_starts_use_one_thread(open_session: Open) -> None:
    used: list[int] = []

    async def on_message() -> None:
        asked = await asyncio.gather(*(ask_thread() for _ in range(10)))
        used.append(len({*asked, await ask_thread()}))

    sessions = [open_session(on_message) for _ in range(SIZE)]
    await asyncio.gather(*(session.message() for session in sessions))
    assert used == [1] * SIZE


async def test_a_callback_that_keeps_its_thread_delays_nobody(
    open_session: Open, threads: CallbackThreads
) -> None:
    used, leave = asyncio.Semaphore(0), asyncio.Event()

    async def stay() -> str:
        before = await ask_thread()
        used.release()
        await leave.wait()
        assert await ask_thread() == before
        return before

    staying = [asyncio.create_task(open_session(stay).message()) for _ in range(SIZE + 1)]
    for _ in staying:
        await used.acquire()
    assert await open_session(ask_thread).message()
    assert len(threads._workers) == SIZE
    leave.set()
    assert len(set(await asyncio.gather(*staying))) == SIZE


async def test_a_callback_that_has_to_share_takes_the_thread_with_the_least_to_do(
    open_session: Open,
) -> None:
    release, used, leave = threading.Event(), asyncio.Semaphore(0), asyncio.Event()

    async def block() -> None:
        await sync_to_async(release.wait)(30 * SCALE)

    async def stay() -> None:
        await ask_thread()
        used.release()
        await leave.wait()

    blocked = [asyncio.create_task(open_session(block).message()) for _ in range(SIZE - 1)]
    staying = asyncio.create_task(open_session(stay).message())
    await used.acquire()
    try:
        async with asyncio.timeout(10 * SCALE):
            await open_session(ask_thread).message()
    finally:
        release.set()
        leave.set()
        await asyncio.gather(*blocked, staying)


async def test_slow_callbacks_of_one_endpoint_leave_a_thread_to_the_others(
    open_session: Open, threads: CallbackThreads
) -> None:
    release = threading.Event()

    async def block() -> None:
        await sync_to_async(release.wait)(30 * SCALE)

    blocked = [
        asyncio.create_task(open_session(block, "slow").message()) for _ in range(10 * SIZE)
    ]
    await aeventually(lambda: sum(worker.waiting for worker in threads._workers) == len(blocked))
    try:
        async with asyncio.timeout(10 * SCALE):
            await open_session(ask_thread, "other").message()
    finally:
        release.set()
        await asyncio.gather(*blocked)


async def test_a_callback_gives_its_thread_to_the_next(
    open_session: Open, threads: CallbackThreads
) -> None:
    sessions = [open_session(ask_thread) for _ in range(SIZE)]
    answers = {await session.message() for session in sessions * 2}
    assert len(answers) == len(threads._workers) == 1


async def test_callbacks_that_stay_in_the_loop_start_no_thread(
    open_session: Open, threads: CallbackThreads
) -> None:
    async def on_message() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await open_session(on_message).message() == "done"
    assert not threads._workers


async def test_a_task_that_outlives_its_callback_keeps_its_thread_for_itself(
    open_session: Open, threads: CallbackThreads
) -> None:
    steps: asyncio.Queue[None] = asyncio.Queue()
    seen: asyncio.Queue[str] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []

    async def stay_behind() -> None:
        while True:
            seen.put_nowait(await ask_thread())
            await steps.get()

    async def on_message() -> str:
        if not tasks:
            tasks.append(asyncio.create_task(stay_behind()))
        return await ask_thread()

    session = open_session(on_message)
    before = await session.message()
    assert await seen.get() == before
    assert await session.message() != before
    steps.put_nowait(None)
    assert await seen.get() == before
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()
    await aeventually(lambda: not any(worker.bindings for worker in threads._workers))


async def test_threads_end_when_nobody_needs_them(
    open_session: Open, threads: CallbackThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_threads, "IDLE_SECONDS", 0.05)
    used, leave = asyncio.Semaphore(0), asyncio.Event()

    async def stay() -> None:
        before = await ask_thread()
        used.release()
        await leave.wait()
        assert await ask_thread() == before

    staying = asyncio.create_task(open_session(stay).message())
    await used.acquire()
    assert await open_session(ask_thread).message()
    assert len(threads._workers) == 2
    left = [worker.thread for worker in threads._workers]
    await aeventually(lambda: sum(thread.is_alive() for thread in left) == 1)
    leave.set()
    await staying
    await aeventually(lambda: not any(thread.is_alive() for thread in left))
    assert await open_session(ask_thread).message()  # and a new one is started


async def test_connections_are_closed_between_callbacks_as_between_requests(
    open_session: Open, transactional_db: None
) -> None:
    opened: list[Any] = []

    def use() -> None:
        get_user_model().objects.exists()
        opened.append(connection.connection)

    async def on_message() -> None:
        await sync_to_async(use)()
        await sync_to_async(use)()

    session = open_session(on_message)
    await session.message()
    await session.message()
    first, second, third, fourth = opened
    assert first is second
    assert third is fourth
    assert first is not third  # CONN_MAX_AGE is 0


async def test_a_callback_that_pauses_gets_a_new_connection_if_the_old_one_is_unusable(
    open_session: Open, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(callback_threads, "STALE_SECONDS", 0)  # as if it paused between the two

    def use() -> None:
        get_user_model().objects.exists()
        opened.append(connection.connection)
        connection.set_autocommit(False)

    async def on_message() -> None:
        await sync_to_async(use)()
        await sync_to_async(use)()

    await open_session(on_message).message()
    assert opened[0] is not opened[1]


async def test_what_would_deadlock_raises(open_session: Open) -> None:
    def run_another_loop() -> None:
        with pytest.raises(RuntimeError, match="would deadlock"):
            asyncio.run(ask_thread())

    async def on_message() -> None:
        await sync_to_async(run_another_loop)()

    await open_session(on_message).message()


async def test_async_to_sync_inside_sync_to_async_comes_back_to_the_same_thread(
    open_session: Open,
) -> None:
    def there_and_back() -> str:
        assert async_to_sync(ask_thread)() == thread_id()
        return "same"

    async def on_message() -> str:
        return await sync_to_async(there_and_back)()

    assert await open_session(on_message).message() == "same"


async def test_what_a_function_raises_comes_back_and_its_thread_goes_on(
    open_session: Open,
) -> None:
    async def on_message() -> str:
        for error in (ValueError, SystemExit, KeyboardInterrupt):

            def fail(error: type[BaseException] = error) -> None:
                raise error("no")

            with pytest.raises(error):
                await sync_to_async(fail)()
        return await ask_thread()

    assert await open_session(on_message).message()


async def test_a_task_that_outlives_the_threads_still_runs(
    open_session: Open, threads: CallbackThreads
) -> None:
    stopped, tasks = asyncio.Event(), []

    async def stay_behind() -> str:
        await stopped.wait()
        return await ask_thread()

    async def on_message() -> str:
        tasks.append(asyncio.create_task(stay_behind()))
        return await ask_thread()

    await open_session(on_message).message()
    threads.stop()
    stopped.set()
    assert await tasks[0]


async def test_threads_that_have_stopped_are_forgotten_by_asgiref() -> None:
    before = len(SyncToAsync.context_to_thread_executor)
    CallbackThreads(SIZE).stop()
    assert len(SyncToAsync.context_to_thread_executor) == before


async def test_other_tasks_of_the_process_use_asgirefs_own_thread(open_session: Open) -> None:
    assert await open_session(ask_thread).message() != await ask_thread()

"""Sync callbacks run in parallel, in a bounded number of threads that hold nothing when idle."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, connections, transaction

from tests.infrastructure.waiting import aeventually
from websockets_app.dispatch import pool as pools
from websockets_app.dispatch.pool import SyncPool, may_take

SIZE = 4


@pytest.fixture
async def pool() -> AsyncIterator[SyncPool]:
    made = SyncPool(asyncio.get_running_loop(), SIZE)
    yield made
    made.stop()
    await aeventually(lambda: not pool_threads(made))


def pool_threads(pool: SyncPool) -> list[threading.Thread]:
    return [thread for thread in pool._threads if thread.is_alive()]


async def test_a_function_runs_in_another_thread_and_its_result_comes_back(
    pool: SyncPool,
) -> None:
    assert await pool.run(divmod, 17, 5) == (3, 2)
    assert await pool.run(threading.get_ident) != threading.get_ident()


async def test_an_idle_thread_keeps_nothing_of_what_it_ran(pool: SyncPool) -> None:
    class Message:
        pass

    message = Message()
    gone = weakref.ref(message)
    assert await pool.run(id, message)
    del message
    await aeventually(lambda: gone() is None)


async def test_what_a_function_raises_comes_back(pool: SyncPool) -> None:
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 1, 0)


async def test_what_a_future_can_not_carry_comes_back_as_an_error(pool: SyncPool) -> None:
    def stop() -> None:
        raise StopIteration("enough")

    with pytest.raises(RuntimeError, match="StopIteration: enough"):
        await pool.run(stop)


async def test_an_attempt_to_exit_comes_back_and_ends_no_thread(pool: SyncPool) -> None:
    for _ in range(2 * SIZE):
        with pytest.raises(SystemExit):
            await pool.run(sys.exit, 3)
    assert await pool.run(lambda: "alive") == "alive"


async def test_functions_run_at_the_same_time_up_to_the_bound(pool: SyncPool) -> None:
    together = threading.Barrier(SIZE)
    assert sorted(await asyncio.gather(*(pool.run(together.wait, 5) for _ in range(SIZE)))) == [
        *range(SIZE)
    ]


async def test_past_the_bound_they_wait_for_their_turn(pool: SyncPool) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)  # long enough that the others would overlap if they could
        with lock:
            running -= 1

    await asyncio.gather(*(pool.run(work) for _ in range(10 * SIZE)))
    assert running == 0
    assert 1 < most <= SIZE
    assert len(pool_threads(pool)) == SIZE


async def test_no_thread_is_started_before_it_is_needed(pool: SyncPool) -> None:
    assert not pool_threads(pool)
    for _ in range(5):
        await pool.run(int)
    assert len(pool_threads(pool)) == 1


async def test_a_slow_function_delays_no_other(pool: SyncPool) -> None:
    release = threading.Event()
    slow = asyncio.ensure_future(pool.run(release.wait, 10))
    assert await pool.run(lambda: "fast") == "fast"
    assert not slow.done()
    release.set()
    assert await slow


async def test_a_cancelled_caller_does_not_wait_and_the_function_runs_to_its_end(
    pool: SyncPool,
) -> None:
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(10)
        ended.set()

    caller = asyncio.ensure_future(pool.run(work))
    await aeventually(begun.is_set)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not ended.is_set()
    release.set()
    await aeventually(ended.is_set)
    await aeventually(lambda: pool._free == SIZE)
    assert await pool.run(lambda: "next") == "next"


async def test_a_function_sees_the_caller_s_context_and_changes_only_its_own(
    pool: SyncPool,
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("caller's")

    def work() -> str:
        seen = variable.get()
        variable.set("function's")
        return seen

    assert await pool.run(work) == "caller's"
    assert variable.get() == "caller's"
    assert await pool.run(work) == "caller's"


async def test_thousands_of_calls_all_come_back_to_their_own_callers(pool: SyncPool) -> None:
    results = await asyncio.gather(*(pool.run(str, number) for number in range(5000)))
    assert results == [str(number) for number in range(5000)]


async def test_idle_threads_give_their_database_connections_back(
    pool: SyncPool, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.05)
    states: list[Callable[[], bool]] = []

    def use() -> None:
        get_user_model().objects.count()
        wrapper = connection._connections[connection._alias]  # type: ignore[attr-defined]
        states.append(lambda: wrapper.connection is not None)

    await pool.run(use)
    await aeventually(lambda: not states[0]())
    await pool.run(use)  # and it takes another one when it needs one


async def test_a_connection_that_a_function_left_in_a_broken_state_is_not_handed_on(
    pool: SyncPool, transactional_db: None
) -> None:
    def leave_a_transaction_open() -> None:
        transaction.set_autocommit(False)
        get_user_model().objects.create(username="tom")

    await pool.run(leave_a_transaction_open)
    assert await pool.run(transaction.get_autocommit)
    assert await pool.run(get_user_model().objects.count) == 0


async def test_a_failure_before_the_function_reaches_its_caller(
    pool: SyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("the driver's own trouble")

    monkeypatch.setattr(pool, "_tidy_connections", fail)
    for _ in range(2 * SIZE):
        with pytest.raises(RuntimeError, match="driver"):
            await pool.run(int)


def test_a_thread_that_ends_after_its_loop_disturbs_nobody() -> None:
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(10)

    async def leave_it_behind() -> SyncPool:
        pool = SyncPool(asyncio.get_running_loop(), SIZE)
        caller = asyncio.ensure_future(pool.run(work))
        await aeventually(begun.is_set)
        caller.cancel()
        return pool

    pool = asyncio.run(leave_it_behind())
    release.set()
    pool.stop()
    for thread in pool._threads:
        thread.join(5)
        assert not thread.is_alive()


async def test_a_pool_that_has_stopped_refuses_what_would_wait_for_ever(pool: SyncPool) -> None:
    assert await pool.run(divmod, 17, 5) == (3, 2)
    pool.stop()
    with pytest.raises(RuntimeError, match="have stopped"):
        await pool.run(divmod, 17, 5)


async def test_a_connection_that_failed_while_it_was_made_is_not_kept(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = type(connections["default"])
    set_up, failures = backend.init_connection_state, ["the server goes down"]

    def cut(wrapper: Any) -> None:
        if failures:
            if wrapper.vendor != "mysql":  # whose driver can't close a connection twice
                wrapper.connection.close()
            raise OperationalError(failures.pop())
        set_up(wrapper)

    monkeypatch.setattr(backend, "init_connection_state", cut)
    pool = SyncPool(asyncio.get_running_loop(), 1)
    with pytest.raises(OperationalError):
        await pool.run(get_user_model().objects.count)
    assert await pool.run(get_user_model().objects.count) == 0
    await pool.run(connections.close_all)
    pool.stop()


# Owners


@pytest.fixture
def blocker() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_one_owner_leaves_a_thread_to_others(
    pool: SyncPool, blocker: threading.Event
) -> None:
    slow = [pool.run(blocker.wait, owner="slow") for _ in range(10 * SIZE)]
    assert await pool.run(lambda: "at once", owner="other") == "at once"
    assert len(pool_threads(pool)) == SIZE
    assert pool.waiting == 9 * SIZE + 1
    blocker.set()
    assert all(await asyncio.gather(*slow))
    assert (pool.waiting, pool._free, pool._held) == (0, SIZE, {})


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 16, 32, 100])
def test_shares_grow_smaller_and_each_owner_gets_a_thread_as_long_as_there_is_one(
    size: int,
) -> None:
    free, shares = size, []
    while free:
        held = 0
        while may_take(held, free):
            held, free = held + 1, free - 1
        shares.append(held)
    assert shares == sorted(shares, reverse=True)
    assert all(shares)
    assert shares[0] <= max(1, size * 3 / 4)


async def test_calls_without_an_owner_take_every_thread(
    pool: SyncPool, blocker: threading.Event
) -> None:
    slow = [pool.run(blocker.wait) for _ in range(SIZE)]
    assert pool.waiting == 0
    blocker.set()
    await asyncio.gather(*slow)


async def test_owners_take_turns_and_each_keeps_its_order() -> None:
    pool = SyncPool(asyncio.get_running_loop(), 1)
    release, ran = threading.Event(), []
    slow = pool.run(release.wait, 10)
    waiting = [
        pool.run(ran.append, (owner, number), owner=owner)
        for owner in ("a", "b")
        for number in range(20)
    ]
    release.set()
    await asyncio.gather(slow, *waiting)
    pool.stop()
    assert ran == [(owner, number) for number in range(20) for owner in ("a", "b")]


async def test_what_waits_when_the_pool_stops_runs_to_its_end(
    pool: SyncPool, blocker: threading.Event
) -> None:
    slow = [pool.run(blocker.wait, owner="slow") for _ in range(3 * SIZE)]
    last = pool.run(lambda: "ran", owner="slow")
    pool.stop()
    blocker.set()
    assert await last == "ran"
    assert all(await asyncio.gather(*slow))

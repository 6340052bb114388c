"""Asyncio code reaches the ORM by threads of its own, which recover and hold nobody up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, transaction
from pytest_django import Settings

from tests.infrastructure.waiting import aeventually
from websockets_app import database
from websockets_app.database import DatabaseThread


@pytest.fixture
async def thread(transactional_db: None) -> AsyncIterator[DatabaseThread]:
    made = DatabaseThread("test")
    yield made
    made.stop()
    await aeventually(lambda: made._thread is None or not made._thread.is_alive())


def raw_connection() -> int:
    connection.ensure_connection()
    return id(connection.connection)


async def test_units_run_one_after_the_other_in_one_thread(thread: DatabaseThread) -> None:
    running: list[int] = []

    def unit(number: int) -> tuple[int, int]:
        running.append(number)
        alone = len(running)
        running.remove(number)
        return alone, threading.get_ident()

    answers = await asyncio.gather(*(thread.run(unit, number) for number in range(50)))
    assert {alone for alone, _ in answers} == {1}
    assert len({ident for _, ident in answers} - {threading.get_ident()}) == 1


async def test_units_take_arguments_and_what_they_raise_comes_back(thread: DatabaseThread) -> None:
    assert await thread.run(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        await thread.run(divmod, 1, 0)
    with pytest.raises(SystemExit):
        await thread.run(sys.exit, 1)
    assert await thread.run(int, "1") == 1


async def test_an_idle_thread_keeps_nothing_of_what_it_wrote(thread: DatabaseThread) -> None:
    class Batch:
        pass

    batch = Batch()
    gone = weakref.ref(batch)
    assert await thread.run(id, batch)
    del batch
    await aeventually(lambda: gone() is None)


async def test_the_connection_is_kept_from_one_unit_to_the_next(thread: DatabaseThread) -> None:
    assert await thread.run(raw_connection) == await thread.run(raw_connection)


async def test_a_connection_in_a_broken_state_is_not_handed_to_the_next_unit(
    thread: DatabaseThread,
) -> None:
    def leave_a_transaction_open() -> None:
        transaction.set_autocommit(False)
        get_user_model().objects.create(username="tom")

    await thread.run(leave_a_transaction_open)
    assert await thread.run(transaction.get_autocommit)
    assert await thread.run(get_user_model().objects.count) == 0


async def test_a_connection_that_was_cut_fails_one_unit_at_most(thread: DatabaseThread) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connection that could be cut")

    def scalar(query: str, *arguments: object) -> int:
        with connection.cursor() as cursor:
            cursor.execute(query, arguments)
            return int(cursor.fetchone()[0])

    await thread.run(get_user_model().objects.count)
    backend = await thread.run(scalar, "SELECT pg_backend_pid()")
    await sync_to_async(scalar)("SELECT pg_terminate_backend(%s)::int", backend)
    await asyncio.gather(thread.run(get_user_model().objects.count), return_exceptions=True)
    assert await thread.run(get_user_model().objects.count) == 0


async def test_a_caller_that_is_cancelled_leaves_the_thread_to_the_next(
    thread: DatabaseThread,
) -> None:
    begun, release = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        release.wait(10)

    caller = asyncio.create_task(thread.run(slow))
    waiting = asyncio.create_task(thread.run(begun.clear))
    await aeventually(begun.is_set)
    for task in (caller, waiting):
        task.cancel()
    await asyncio.gather(caller, waiting, return_exceptions=True)
    release.set()
    assert await thread.run(lambda: "next") == "next"
    assert begun.is_set()  # what had not begun never ran


async def test_a_thread_that_stops_does_what_it_was_asked_before(thread: DatabaseThread) -> None:
    release, last = threading.Event(), []
    blocked = asyncio.create_task(thread.run(release.wait, 10))
    after = asyncio.create_task(thread.run(last.append, "written"))
    await asyncio.sleep(0)
    thread.stop()
    release.set()
    await asyncio.gather(blocked, after)
    assert last == ["written"]


async def test_a_thread_that_has_stopped_takes_no_more_work(thread: DatabaseThread) -> None:
    thread.stop()
    with pytest.raises(RuntimeError, match="websockets-test has stopped"):
        await thread.run(int)


async def test_no_thread_is_started_before_it_is_needed() -> None:
    made = DatabaseThread("idle")
    assert made._thread is None
    made.stop()


@pytest.mark.django_db
def test_inline_the_unit_runs_in_the_thread_and_transaction_of_the_test(
    settings: Settings,
) -> None:
    settings.WEBSOCKETS = {"RECORDING": "inline"}
    get_user_model().objects.create(username="tom")
    made = DatabaseThread("inline")

    async def look() -> tuple[int, int]:
        counted = await made.run(get_user_model().objects.count)
        return counted, await made.run(threading.get_ident)

    assert async_to_sync(look)() == (1, threading.get_ident())
    made.stop()


def test_a_unit_that_never_ends_does_not_hold_up_the_end_of_the_process() -> None:
    source = (
        "import asyncio, threading, django\n"
        "django.setup()\n"
        "from websockets_app.database import DatabaseThread\n"
        "async def main():\n"
        "    asyncio.create_task(DatabaseThread('stuck').run(threading.Event().wait))\n"
        "    await asyncio.sleep(0.1)\n"
        "asyncio.run(main())\n"
        "print('ended')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "ended\n"


@pytest.mark.parametrize(("seconds", "attempts"), [(0.0, 2), (2.0, 1)])
def test_what_fails_at_once_is_done_again_since_the_connection_may_have_been_cut(
    monkeypatch: pytest.MonkeyPatch, seconds: float, attempts: int
) -> None:
    now, done = [0.0], []

    def work() -> None:
        done.append(now)
        now[0] += seconds
        raise OperationalError("cut")

    monkeypatch.setattr(database, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with pytest.raises(OperationalError):
        database.again_where_cut(work)
    assert len(done) == attempts

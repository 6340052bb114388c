"""Recording blocks nobody, is bounded, loses nothing below its bound, and counts what it does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError, connection, transaction
from pytest_django import Settings

from tests.infrastructure.waiting import aeventually
from tests.recording.conftest import ECHO, Away, MakeRecorder, events_away
from tests.recording.rows import session_row
from websockets_app.core.states import CloseCause, EventKind
from websockets_app.models import Event, Minute, Session
from websockets_app.recording import recorder as recorders
from websockets_app.recording.facts import SessionRow, moment
from websockets_app.recording.recorder import BATCH_ROWS, MOST_SESSIONS, Recorder
from websockets_app.recording.writer import Batch, write_all_but_refused


def session(name: str = "s", **columns: Any) -> SessionRow:
    return session_row(name, moment(time.time()), **columns)


def put(recorder: Recorder, row: SessionRow) -> None:
    recorder.put_session(row["id"], lambda: row)


def record(recorder: Recorder, count: int, kind: EventKind = EventKind.REFUSED) -> None:
    for number in range(count):
        recorder.add_own(kind, ECHO, detail=str(number))


async def details(**filters: Any) -> list[str]:
    found = Event.objects.filter(**filters).order_by("pk").values_list("detail", flat=True)
    return [detail async for detail in found]


async def written() -> int:
    return await Event.objects.acount()


# Batches


async def test_what_is_recorded_is_written_soon(running: Recorder) -> None:
    record(running, 3)
    put(running, session())
    running.count(ECHO, refused=3)
    await aeventually(lambda: details())
    assert await details() == ["0", "1", "2"]
    assert await Session.objects.acount() == 1
    assert (await Minute.objects.aget()).refused == 3


async def test_many_rows_do_not_wait_for_the_clock(
    running: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "BATCH_SECONDS", 3600.0)
    await asyncio.sleep(0)
    record(running, BATCH_ROWS)
    await aeventually(written)
    assert await written() == BATCH_ROWS


@pytest.mark.parametrize("bound", [20, 21])
async def test_a_small_buffer_is_emptied_before_it_is_full(
    settings: Settings, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    settings.WEBSOCKETS = {"EVENT_BUFFER": bound}
    monkeypatch.setattr(recorders, "BATCH_SECONDS", 3600.0)
    recorder = make_recorder()
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    record(recorder, 10)
    await aeventually(written)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await written() == 10


async def test_rows_are_written_in_batches_and_in_their_order(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def observed(batch: Batch) -> int:
        sizes.append(len(batch.facts))
        return write_all_but_refused(batch)

    monkeypatch.setattr(recorders, "write_all_but_refused", observed)
    record(recorder, 2 * BATCH_ROWS + 10)
    assert await recorder.flush()
    assert sizes == [BATCH_ROWS, BATCH_ROWS, 10]
    assert await details() == [str(number) for number in range(2 * BATCH_ROWS + 10)]


async def test_sessions_that_fill_batches_do_not_wait_for_the_clock_between_them(
    recorder: Recorder,
) -> None:
    for number in range(4 * MOST_SESSIONS + 1):
        put(recorder, session(f"s{number}"))
    record(recorder, 1)

    assert await recorder.flush(wholly=False)
    assert await Session.objects.acount() == 4 * MOST_SESSIONS
    assert await recorder.flush()
    assert await Session.objects.acount() == 4 * MOST_SESSIONS + 1


async def test_what_comes_while_a_batch_is_written_waits_for_a_batch_of_its_own(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    loop = asyncio.get_running_loop()

    def observed(batch: Batch) -> int:
        sizes.append(len(batch.facts))
        recorded = threading.Event()
        loop.call_soon_threadsafe(lambda: (record(recorder, 3), recorded.set()))
        recorded.wait(10)
        return write_all_but_refused(batch)

    monkeypatch.setattr(recorders, "write_all_but_refused", observed)
    monkeypatch.setattr(recorders, "BATCH_SECONDS", 0.05)
    record(recorder, 1)
    task = asyncio.create_task(recorder.run())
    begun = time.monotonic()
    await aeventually(lambda: len(sizes) >= 5)
    assert time.monotonic() - begun >= 4 * 0.05
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_numbers_of_the_events_show_that_none_is_missing(recorder: Recorder) -> None:
    record(recorder, 5)
    await recorder.flush()
    assert [event.seq async for event in Event.objects.order_by("pk")] == [1, 2, 3, 4, 5]


async def test_two_nodes_write_side_by_side(make_recorder: MakeRecorder) -> None:
    first, second = make_recorder(), make_recorder()
    for recorder in (first, second):
        record(recorder, 20)
        recorder.count(ECHO, refused=20)
    assert await asyncio.gather(first.flush(), second.flush()) == [True, True]
    assert await written() == 40
    assert await Minute.objects.acount() == 2


# The database away


async def test_a_locked_database_blocks_the_writer_and_nobody_else(running: Recorder) -> None:
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            table = connection.ops.quote_name(Event._meta.db_table)
            if connection.vendor == "postgresql":
                cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            elif connection.vendor == "mysql":
                cursor.execute(f"LOCK TABLES {table} WRITE")  # until the connection is closed
            locked.set()  # SQLite's transactions here are IMMEDIATE: it has the lock already
            release.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    await aeventually(locked.is_set)
    try:
        record(running, 1)
        # The writer has begun, and is stuck:
        await aeventually(lambda: running._writing.locked() and not len(running._buffer))
        begun = time.monotonic()
        record(running, 5000)
        assert time.monotonic() - begun < 1.0
        begun = time.monotonic()
        await asyncio.sleep(0)
        assert time.monotonic() - begun < 0.5
    finally:
        release.set()
    holder.join(10)
    await aeventually(lambda: _are_written(5001), timeout=10)


async def _are_written(count: int) -> bool:
    return await written() == count


async def test_nothing_is_lost_while_the_database_is_away(recorder: Recorder) -> None:
    async with Away():
        record(recorder, 700)
        put(recorder, session())
        recorder.count(ECHO, refused=700)
        assert not await recorder.flush()
        recorder.count(ECHO, refused=1)
        assert not await recorder.flush()
    record(recorder, 1)
    assert await recorder.flush()
    assert await details() == [*map(str, range(700)), "0"]
    assert [event.seq async for event in Event.objects.order_by("pk")] == [*range(1, 702)]
    assert await Session.objects.acount() == 1
    assert (await Minute.objects.aget()).refused == 701


async def test_the_writer_comes_back_by_itself(
    running: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "RETRY_SECONDS", 0.05)
    async with Away():
        record(running, 1)
        await aeventually(lambda: running._failing)
    await aeventually(lambda: _are_written(1))


async def test_that_the_database_is_away_is_logged_once(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    async with Away():
        record(recorder, 1)
        for _ in range(3):
            assert not await recorder.flush()
    warnings = [entry for entry in caplog.records if "Events wait" in entry.getMessage()]
    assert len(warnings) == 1


async def test_past_the_bound_messages_go_first_and_one_gap_tells_how_many(
    make_recorder: MakeRecorder, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"EVENT_BUFFER": 100}
    recorder = make_recorder()
    async with Away():
        record(recorder, 50, EventKind.OPEN)
        assert not await recorder.flush()
        for _ in range(5):
            record(recorder, 60, EventKind.MESSAGE)
            assert not await recorder.flush()
    assert await recorder.flush()
    assert await recorder.flush()
    kinds = [event.kind async for event in Event.objects.order_by("pk")]
    assert kinds.count("open") == 50
    assert kinds.count("gap") == 1
    gap = await Event.objects.aget(kind="gap")
    assert gap.lost == 300 - kinds.count("message")
    assert "more events came" in gap.detail
    # And the numbers have as many holes.
    seqs = [event.seq async for event in Event.objects.order_by("seq")]
    assert seqs[-1] - len(seqs) == gap.lost


async def test_the_gap_is_told_even_if_nothing_follows_the_outage(
    make_recorder: MakeRecorder, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"EVENT_BUFFER": 10}
    recorder = make_recorder()
    async with Away():
        record(recorder, 25, EventKind.MESSAGE)
        assert not await recorder.flush()
    assert await recorder.flush()  # the node's last, say
    gap = await Event.objects.aget(kind="gap")
    assert gap.lost == 25 - await Event.objects.filter(kind="message").acount()


async def test_sessions_that_wait_are_bounded_and_those_lost_are_counted(
    make_recorder: MakeRecorder, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"EVENT_BUFFER": 20}
    recorder = make_recorder()
    async with Away():
        record(recorder, 1)  # the sessions' own table is there
        for number in range(25):
            put(recorder, session(str(number)))
            put(recorder, session(str(number), messages_in=1))
        assert not await recorder.flush()
    assert await recorder.flush()
    assert await Session.objects.filter(messages_in=1).acount() == 20
    assert (await Event.objects.aget(kind="gap")).lost == 5


# Replays


async def test_a_commit_without_an_answer_is_repeated_and_changes_nothing(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_is_lost(batch: Batch) -> int:
        write_all_but_refused(batch)
        raise OperationalError("server closed the connection unexpectedly")

    record(recorder, 20)
    put(recorder, session())
    recorder.count(ECHO, refused=20)
    with monkeypatch.context() as patched:
        patched.setattr(recorders, "write_all_but_refused", answer_is_lost)
        assert not await recorder.flush()
    assert await written() == 20
    assert await recorder.flush()
    assert await written() == 20
    assert await Session.objects.acount() == 1
    assert (await Minute.objects.aget()).refused == 20


async def test_a_writer_that_is_cancelled_in_a_write_leaves_nothing_unwritten_nor_twice(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()

    def slow(batch: Batch) -> int:
        begun.set()
        release.wait(10)
        return write_all_but_refused(batch)

    monkeypatch.setattr(recorders, "write_all_but_refused", slow)
    task = asyncio.create_task(recorder.run())
    record(recorder, 3)
    await aeventually(begun.is_set)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    release.set()
    record(recorder, 1)
    assert await recorder.flush()
    assert await details() == ["0", "1", "2", "0"]


async def test_a_newer_row_of_a_session_wins_over_one_that_could_not_be_written(
    recorder: Recorder,
) -> None:
    async with Away():
        record(recorder, 1)
        put(recorder, session(messages_in=1))
        assert not await recorder.flush()
        put(recorder, session(messages_in=2))
        assert not await recorder.flush()
    assert await recorder.flush()
    assert (await Session.objects.aget()).messages_in == 2


# Trouble


async def test_a_row_that_is_refused_is_dropped_alone_and_a_gap_tells_it(
    recorder: Recorder,
) -> None:
    record(recorder, 3)
    recorder.add_own(EventKind.REFUSED, ECHO, cause="no such cause")
    record(recorder, 3)
    assert await recorder.flush()
    assert await recorder.flush()
    assert await details(kind="refused") == ["0", "1", "2", "0", "1", "2"]
    gap = await Event.objects.aget(kind="gap")
    assert (gap.lost, gap.detail) == (1, "the database refused them")


async def test_a_database_that_refuses_everything_stops_no_flush(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(batch: Batch) -> int:
        return len(batch.facts)

    with monkeypatch.context() as patched:
        patched.setattr(recorders, "write_all_but_refused", refuse)
        record(recorder, 5)
        async with asyncio.timeout(5):
            for _ in range(3):
                assert await recorder.flush()
    assert await written() == 0


async def test_an_error_that_nobody_foresaw_ends_no_writer_and_loses_nothing(
    running: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "RETRY_SECONDS", 0.05)
    asked = threading.Event()

    def fail(batch: Batch) -> int:
        asked.set()
        raise KeyError("nobody foresaw this")

    with monkeypatch.context() as patched:
        patched.setattr(recorders, "write_all_but_refused", fail)
        record(running, 3)
        await aeventually(asked.is_set)
    await aeventually(lambda: _are_written(3))


async def test_a_connection_that_was_cut_is_made_anew(recorder: Recorder) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connection that could be cut")

    def scalar(query: str, *arguments: object) -> int:
        with connection.cursor() as cursor:
            cursor.execute(query, arguments)
            return int(cursor.fetchone()[0])

    record(recorder, 1)
    assert await recorder.flush()
    backend = await recorder._thread.run(scalar, "SELECT pg_backend_pid()")
    await sync_to_async(scalar)("SELECT pg_terminate_backend(%s)::int", backend)
    record(recorder, 1)
    await recorder.flush()
    assert await recorder.flush()
    assert await written() == 2


# Modes


async def test_recording_can_be_off_and_then_keeps_nothing_in_memory_either(
    make_recorder: MakeRecorder, settings: Settings
) -> None:
    settings.WEBSOCKETS = {"RECORDING": "off"}
    recorder = make_recorder()
    record(recorder, 10)
    put(recorder, session())
    recorder.count(ECHO, refused=10)
    assert not recorder._buffer
    assert not recorder._sessions
    assert not recorder.minutes._counts
    await recorder.settle()
    assert await recorder.flush()
    assert await written() == 0
    assert await Session.objects.acount() == 0
    assert await Minute.objects.acount() == 0


async def test_in_the_background_nothing_is_written_before_its_time(recorder: Recorder) -> None:
    record(recorder, 1)
    await recorder.settle()
    assert await written() == 0


@pytest.mark.django_db
def test_inline_recording_is_written_at_once_within_the_test_s_transaction(
    settings: Settings,
) -> None:
    settings.WEBSOCKETS = {"RECORDING": "inline"}
    threads = []

    async def go() -> None:
        recorder = Recorder("inline")
        record(recorder, 2)
        await recorder.settle()
        threads.append(await sync_to_async(threading.get_ident)())
        recorder.stop()

    async_to_sync(go)()
    assert connection.in_atomic_block
    assert Event.objects.count() == 2
    assert threads == [threading.get_ident()]


@pytest.mark.django_db
def test_inline_recording_of_a_poison_row_spoils_no_transaction(settings: Settings) -> None:
    settings.WEBSOCKETS = {"RECORDING": "inline"}

    async def go() -> None:
        recorder = Recorder("inline")
        record(recorder, 1)
        recorder.add_own(EventKind.REFUSED, ECHO, cause="no such cause")
        await recorder.settle()
        recorder.stop()

    async_to_sync(go)()
    assert Event.objects.count() == 1


# The end of the process


def left_behind(work: Callable[[Recorder], None]) -> Recorder:
    """Return a recorder whose loop ended before it could write."""

    async def go() -> Recorder:
        recorder = Recorder("node")
        work(recorder)
        return recorder

    return asyncio.run(go())


def test_what_is_left_at_exit_is_written_from_the_main_thread(transactional_db: None) -> None:
    def work(recorder: Recorder) -> None:
        record(recorder, 2 * BATCH_ROWS)
        recorder.add_own(EventKind.REFUSED, cause="no such cause")
        put(recorder, session())
        recorder.count(ECHO, refused=2)

    recorder = left_behind(work)
    recorder.flush_at_exit()
    recorder.flush_at_exit()
    recorder.stop()
    assert Event.objects.count() == 2 * BATCH_ROWS
    assert Session.objects.count() == 1
    assert Minute.objects.get().refused == 2


def test_a_database_that_is_away_at_exit_is_told_in_the_log(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = left_behind(lambda recorder: record(recorder, 3))
    recorder.stop()
    with events_away():
        recorder.flush_at_exit()
    assert "3 events could not be written at exit" in caplog.text


# Peers


async def test_the_counters_of_open_sessions_are_written_now_and_then(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "COLLECT_SECONDS", 0.0)
    peer = recorder.of_peer(ECHO, "s", "counters", lambda: session(messages_in=peer.messages_in))
    peer.opened()
    peer.received("hello", 5)
    task = asyncio.create_task(recorder.run())

    async def count() -> int:
        return await Session.objects.filter(messages_in=peer.messages_in).acount()

    await aeventually(count)
    peer.received("hello", 5)
    await aeventually(count)
    assert (await Minute.objects.aget()).messages_in == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_flood_does_not_keep_the_counters_from_being_collected(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "COLLECT_SECONDS", 0.0)
    monkeypatch.setattr(recorders, "BATCH_SECONDS", 3600.0)
    peer = recorder.of_peer(ECHO, "s", "rows")
    peer.opened()
    task = asyncio.create_task(recorder.run())
    for _ in range(BATCH_ROWS):
        peer.received("hello", 5)
    await aeventually(lambda: Minute.objects.filter(messages_in=BATCH_ROWS).acount())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_peer_that_closed_is_not_kept(recorder: Recorder) -> None:
    peer = recorder.of_peer(ECHO, "s", "counters")
    peer.opened()
    assert recorder.live == {peer}
    peer.closed(1000, CloseCause.PEER, "")
    assert not recorder.live

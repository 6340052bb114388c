"""What waits for a busy handler, in its order and its bounds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.infrastructure.waiting import aeventually
from websockets_app.core.metering import ByteCounter
from websockets_app.dispatch.frames import Frame, memory_of
from websockets_app.inbound.read_ahead import Inbox, ReadAhead


@given(st.lists(st.text("aä☃", max_size=5) | st.binary(max_size=5), max_size=20))
def test_messages_come_out_in_their_order(messages: list[Frame]) -> None:
    inbox = Inbox(20, 1000, ByteCounter())
    assert all(inbox.put(message) for message in messages)
    assert len(inbox) == len(messages)
    assert [inbox.get() for _ in messages] == messages


def test_no_more_messages_fit_than_the_row_allows() -> None:
    inbox = Inbox(2, 1000, ByteCounter())
    assert [inbox.put("x") for _ in range(3)] == [True, True, False]
    inbox.get()
    assert inbox.put("there is room again")


@pytest.mark.parametrize("message", ["☃☃", b"123456"])
def test_no_more_bytes_fit_than_the_row_allows(message: Frame) -> None:
    inbox = Inbox(1000, 12, ByteCounter())
    assert [inbox.put(message) for _ in range(3)] == [True, True, False]
    inbox.get()
    assert inbox.put(message)


def test_a_single_message_always_fits() -> None:
    inbox = Inbox(1, 1, ByteCounter())
    assert inbox.put("longer than all that may wait")
    assert not inbox.put("")


def test_what_is_dropped_is_counted_and_makes_room() -> None:
    inbox = Inbox(2, 4, ByteCounter())
    inbox.put("ab")
    inbox.put("cd")
    assert inbox.clear() == 2
    assert inbox.put("abcd")


@given(st.lists(st.text("aä☃🏠", max_size=5) | st.binary(max_size=5), max_size=20), st.booleans())
def test_the_node_counts_the_memory_of_messages_while_they_wait(
    messages: list[Frame], dropped: bool
) -> None:
    queued = ByteCounter()
    first, second = Inbox(20, 1000, queued), Inbox(20, 1000, queued)
    second.put("of another session")
    for message in messages:
        first.put(message)
    assert first.memory == sum(map(memory_of, messages))
    assert queued.total == first.memory + second.memory
    if dropped:
        first.clear()
    while first:
        first.get()
    assert (first.memory, queued.total) == (0, second.memory)


def test_the_memory_of_a_message_is_what_python_needs_for_it() -> None:
    plain, with_emoji = memory_of("a" * 1000), memory_of("a" * 999 + "🏠")
    assert plain < 1500
    assert with_emoji > 4000


async def test_it_reads_until_a_message_has_come_while_it_was_not_wanted_any_more() -> None:
    incoming: asyncio.Queue[Frame | None] = asyncio.Queue()
    busy = True
    ahead = ReadAhead(
        Inbox(10, 10, ByteCounter()), receive=incoming.get, overflow=never, is_wanted=lambda: busy
    )
    task = asyncio.create_task(ahead.run())
    incoming.put_nowait("1")
    incoming.put_nowait("2")
    await aeventually(lambda: len(ahead.inbox) == 2)
    busy = False
    assert not ahead.done  # a receive that is under way is never cancelled
    incoming.put_nowait("3")
    await task
    assert [ahead.inbox.get() for _ in range(3)] == ["1", "2", "3"]
    assert ahead.arrived.is_set()


async def test_whoever_waits_for_it_hears_of_a_failure_too() -> None:
    async def receive() -> Frame | None:
        raise OSError("the transport broke")

    ahead = ReadAhead(
        Inbox(1, 1, ByteCounter()), receive=receive, overflow=never, is_wanted=lambda: True
    )
    with pytest.raises(OSError, match="broke"):
        await ahead.run()
    assert ahead.done
    assert ahead.arrived.is_set()


async def test_what_does_not_fit_is_told() -> None:
    incoming: asyncio.Queue[Frame | None] = asyncio.Queue()
    overflows: list[int] = []

    async def overflow() -> None:
        overflows.append(len(ahead.inbox))

    ahead = ReadAhead(
        Inbox(1, 10, ByteCounter()),
        receive=incoming.get,
        overflow=overflow,
        is_wanted=lambda: not overflows,
    )
    for message in ("fits", "doesn't"):
        incoming.put_nowait(message)
    await ahead.run()
    assert overflows == [1]


async def never() -> None:
    raise AssertionError("there was room")

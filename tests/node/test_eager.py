"""What is run at once goes on in another task just where it waited."""

from __future__ import annotations

import asyncio

import pytest

from tests.infrastructure.waiting import aeventually
from websockets_app.node import eager


async def test_what_does_not_wait_has_ended_without_a_task() -> None:
    done = []

    async def work() -> None:
        done.append("now")

    assert eager.start(work()) is None
    assert done == ["now"]


async def test_what_waits_goes_on_in_whatever_task_awaits_it() -> None:
    events, steps = [asyncio.Event(), asyncio.Event()], []

    async def work() -> None:
        for number, event in enumerate(events):
            steps.append(number)
            await event.wait()
            await asyncio.sleep(0)

    rest = eager.start(work())
    assert rest is not None
    assert steps == [0]
    task = asyncio.ensure_future(rest)
    events[0].set()
    await aeventually(lambda: steps == [0, 1])
    assert not task.done()
    events[1].set()
    await task


async def test_a_failure_comes_from_where_it_is_awaited() -> None:
    async def fails(waits: float) -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError("bad luck")

    with pytest.raises(ValueError, match="bad luck"):
        eager.start(fails(0))
    rest = eager.start(fails(1))
    assert rest is not None
    with pytest.raises(ValueError, match="bad luck"):
        await rest


async def test_a_cancellation_reaches_what_waits() -> None:
    heard = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    rest = eager.start(work())
    assert rest is not None
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == ["cancelled"]


async def test_what_only_can_be_awaited_is_left_to_do_so() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    assert eager.start(future) is future

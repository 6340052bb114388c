"""What is awaited can be called off, without a second task."""

from __future__ import annotations

import asyncio

import pytest

from websockets_app.outbound.errand import CalledOff, Errand


async def test_it_returns_what_the_work_returns_and_raises_what_it_raises() -> None:
    async def work() -> int:
        return 7

    async def late() -> None:
        raise TimeoutError("its own")

    errand = Errand()
    errand.call_off()  # nothing is awaited: nothing happens, now or later
    assert await errand.run(work()) == 7
    with pytest.raises(TimeoutError, match="its own"):
        await errand.run(late())


async def test_what_is_called_off_is_cancelled_and_the_next_is_not() -> None:
    errand = Errand()
    asyncio.get_running_loop().call_soon(errand.call_off)
    asyncio.get_running_loop().call_soon(errand.call_off)
    with pytest.raises(CalledOff):
        await errand.run(asyncio.Event().wait())
    await errand.run(asyncio.sleep(0))


async def test_a_cancellation_of_the_task_stays_one() -> None:
    task = asyncio.create_task(Errand().run(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

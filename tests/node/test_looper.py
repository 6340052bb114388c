"""The one loop: it goes on after every failure, and hurries where it is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from tests.infrastructure.waiting import aeventually
from websockets_app.node.looper import repeat

Start = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    tasks: list[asyncio.Task[None]] = []
    yield lambda loop: tasks.append(asyncio.create_task(loop))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Step:
    """A step that counts, and fails where it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.fails = False

    async def __call__(self) -> None:
        self.count += 1
        if self.fails:
            raise RuntimeError(f"step {self.count}")


async def test_a_step_is_repeated(start: Start) -> None:
    step = Step()
    start(repeat(step, 0.001))
    await aeventually(lambda: step.count >= 5)


async def test_a_step_that_fails_is_repeated_and_logged_once_for_each_row_of_failures(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    step = Step()
    step.fails = True
    start(repeat(step, 0.001))
    await aeventually(lambda: step.count >= 5)
    assert caplog.text.count("tried again every 0.001 s") == 1
    step.fails = False
    succeeded = step.count + 2
    await aeventually(lambda: step.count >= succeeded)
    step.fails = True
    failed = step.count + 2
    await aeventually(lambda: step.count >= failed)
    assert caplog.text.count("tried again every 0.001 s") == 2


async def test_a_hurry_ends_the_pause_once(start: Start) -> None:
    step, hurry = Step(), asyncio.Event()
    start(repeat(step, 3600, hurry=hurry))
    await aeventually(lambda: step.count == 1)
    hurry.set()
    await aeventually(lambda: step.count == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert step.count == 2
    assert not hurry.is_set()


async def test_a_hurry_during_a_step_is_not_forgotten(start: Start) -> None:
    hurry, release, seen = asyncio.Event(), asyncio.Event(), []

    async def step() -> None:
        seen.append(len(seen))
        await release.wait()

    start(repeat(step, 3600, hurry=hurry))
    await aeventually(lambda: seen == [0])
    hurry.set()
    release.set()
    await aeventually(lambda: seen == [0, 1])


async def test_without_a_hurry_the_pause_ends_by_itself(start: Start) -> None:
    step = Step()
    start(repeat(step, 0.001, hurry=asyncio.Event()))
    await aeventually(lambda: step.count >= 3)

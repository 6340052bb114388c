"""What nobody waits for is forwarded in its order; a failure is told, and holds up nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine

import pytest

from tests.infrastructure.waiting import aeventually, eventually
from websockets_app.exceptions import NodeUnreachable
from websockets_app.node import forwarding
from websockets_app.node.forwarding import Forwarding, ThreadForwarding


def owned() -> tuple[Forwarding, list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    return Forwarding(lambda work: tasks.append(asyncio.create_task(work))), tasks


async def test_letters_go_one_by_one_in_their_order_in_one_task() -> None:
    out, tasks = owned()
    gone: list[int] = []

    def letter(number: int) -> Callable[[], Coroutine[object, object, None]]:
        async def go() -> None:
            await asyncio.sleep(0.001 * (5 - number))  # the first would otherwise be overtaken
            gone.append(number)

        return go

    for number in range(5):
        out.put(letter(number))
    await aeventually(lambda: len(gone) == 5)
    assert gone == [0, 1, 2, 3, 4]
    await asyncio.gather(*tasks)
    assert len(tasks) == 1
    out.put(letter(5))
    await aeventually(lambda: len(gone) == 6)


async def test_a_failure_is_told_once_in_a_row_and_the_next_letter_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, tasks = owned()
    gone = asyncio.Event()

    async def fail() -> None:
        raise NodeUnreachable("The layer is away.")

    async def break_down() -> None:
        raise ZeroDivisionError

    async def go() -> None:
        gone.set()

    for letter in (fail, fail, fail, break_down, go):
        out.put(letter)
    await asyncio.gather(*tasks)
    assert gone.is_set()
    assert caplog.text.count("could not be forwarded: The layer is away.") == 1
    assert "ZeroDivisionError" in caplog.text


async def test_of_more_than_can_wait_the_last_are_refused_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(forwarding, "MOST", 2)
    out, tasks = owned()
    gone: list[int] = []

    async def go() -> None:
        gone.append(1)

    for _ in range(5):
        out.put(go)
    await asyncio.gather(*tasks)
    assert len(gone) == 2
    assert "2 wait already" in caplog.text


def test_without_a_node_a_thread_forwards_in_order_and_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, gone = ThreadForwarding(), []

    def fail() -> None:
        raise NodeUnreachable("The layer is away.")

    for number in range(20):
        out.put(lambda number=number: gone.append(number))  # type: ignore[misc]
        out.put(fail)
    eventually(lambda: len(gone) == 20)
    assert gone == list(range(20))
    name = "websockets-forwarding"
    eventually(lambda: all(thread.name != name for thread in threading.enumerate()))
    assert "The layer is away." in caplog.text

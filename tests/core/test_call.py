"""What a callback sees of itself is its own, in every task and thread, and stays as it was."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from types import MappingProxyType
from typing import Any

import pytest

from websockets_app.core.call import ARGUMENTS, Call, current_call
from websockets_app.core.states import Method


class FakePeer:
    """A peer that has everything a call asks one for."""

    handle: Any = object()
    params = MappingProxyType({"room": "kitchen"})
    user = "tom"


CALL = Call(Method.ON_MESSAGE, FakePeer(), "hello")


def test_a_call_answers_every_argument_that_a_callback_may_ask_for() -> None:
    for name in ARGUMENTS:
        getattr(CALL, name)
    assert CALL.session is FakePeer.handle
    assert CALL.params == {"room": "kitchen"}
    assert CALL.user == "tom"


def test_a_call_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        CALL.message = "other"  # type: ignore[misc]


def test_outside_of_a_callback_there_is_no_call() -> None:
    assert current_call.get() is None


async def test_a_task_keeps_the_call_of_its_birth() -> None:
    released = asyncio.Event()

    async def look_later() -> Call | None:
        await released.wait()
        return current_call.get()

    current_call.set(CALL)
    task = asyncio.create_task(look_later())
    current_call.set(CALL._replace(message="the next message"))
    released.set()
    assert await task is CALL


def test_a_thread_that_runs_in_the_context_sees_the_call_and_others_do_not() -> None:
    seen: list[Call | None] = []

    def look() -> None:
        seen.append(current_call.get())

    context = contextvars.copy_context()
    context.run(current_call.set, CALL)
    for run in (lambda: context.run(look), look):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert seen == [CALL, None]

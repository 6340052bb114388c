"""A callback that keeps sending to a peer that has left is ended by `SessionGone`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import pytest

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.infrastructure.waiting import aeventually
from websockets_app.inbound.serving import Serving
from websockets_app.models import Event, Session

Serve = Callable[..., Any]
Opened = tuple[Serving, Connection, ModuleType]
Open = Callable[[str], Any]

PRELUDE = """
import asyncio, time
from websockets_app import exceptions

diary, go_on = [], False

def wait():
    while not go_on:
        time.sleep(0.01)

async def await_go():
    while not go_on:
        await asyncio.sleep(0.01)

async def send_on(send):
    while True:
        diary.append(await send())
        await asyncio.sleep(0.01)

def send_on_plain(send):
    while True:
        diary.append(send())
        time.sleep(0.01)
"""
PLAIN = {
    "text": "session.send_text('tick')",
    "bytes": "session.send_bytes(b'tick')",
    "json": "session.send_json({'tick': 1})",
    "queued": "session.send_text_async('tick')",
}


@pytest.fixture
async def opened(serve: Serve, write_handler: WriteHandler) -> AsyncIterator[Open]:
    """Open a session on a handler of the given source."""
    modules: list[ModuleType] = []

    async def make(source: str) -> Opened:
        reference = write_handler("gone", PRELUDE + source)
        serving = await serve(gone={"handler": reference})
        connection = Connection("gone")
        assert (await connection.connect())["type"] == "websocket.accept"
        modules.append(sys.modules[reference])
        return serving, connection, modules[0]

    yield make
    for module in modules:
        module.go_on = True  # type: ignore[attr-defined]


async def leave(serving: Serving, connection: Connection) -> None:
    """Let the peer leave, and wait until its node knows."""
    connection.leave()
    await aeventually(lambda: not len(serving.node.peers))


async def assert_ended_without_an_error(serving: Serving) -> None:
    await aeventually(lambda: not serving.node.peers.busy)
    assert await serving.node.recorder.flush()
    kinds = [event.kind async for event in Event.objects.exclude(peer="").order_by("id")]
    assert kinds == ["open", "close"]
    assert (await Session.objects.aget()).close_cause == "peer"


@pytest.mark.parametrize("send", PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize("callback", ["on_open", "on_message"])
async def test_a_sync_callback_that_sends_in_a_loop_ends_with_its_session(
    opened: Open, callback: str, send: str, caplog: pytest.LogCaptureFixture
) -> None:
    serving, connection, handler = await opened(
        f"def {callback}(session): send_on_plain(lambda: {send})\n"
        "def on_error(error): diary.append(error)\n"
        "def on_close(code): diary.append(code)\n"
    )
    connection.send("begin")
    await aeventually(lambda: len(handler.diary) > 2)
    await leave(serving, connection)
    await aeventually(lambda: handler.diary[-1] == 1000)
    *answers, _ = handler.diary
    assert answers.count("gone") <= 1  # and it was the last answer of all
    assert set(answers) <= {"written", "gone", None}
    await assert_ended_without_an_error(serving)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("send", [*PLAIN.values()][:3], ids=[*PLAIN][:3])
async def test_an_async_callback_that_sends_in_a_loop_ends_with_its_session(
    opened: Open, send: str
) -> None:
    send = send.replace("session.send", "session.asend")
    serving, connection, handler = await opened(
        f"async def on_open(session): await send_on(lambda: {send})\n"
        "def on_close(code): diary.append(code)\n"
    )
    await aeventually(lambda: len(handler.diary) > 2)
    await leave(serving, connection)
    await aeventually(lambda: handler.diary[-2:] == ["gone", 1000])
    await assert_ended_without_an_error(serving)


@pytest.mark.parametrize(
    "loop",
    [
        "async with asyncio.TaskGroup() as tasks: tasks.create_task(send_on(send))",
        "await asyncio.to_thread(send_on_plain, lambda: session.send_text('tick'))",
        "await send_on(lambda: asyncio.wait_for(send(), 5))",
        "await asyncio.create_task(send_on(send))",
    ],
)
async def test_tasks_and_threads_of_a_callback_end_with_its_session(
    opened: Open, loop: str
) -> None:
    serving, connection, handler = await opened(
        f"async def on_open(session):\n    send = lambda: session.asend_text('tick')\n    {loop}\n"
    )
    await aeventually(lambda: len(handler.diary) > 2)
    await leave(serving, connection)
    await assert_ended_without_an_error(serving)
    assert handler.diary.count("gone") == 1


async def test_every_callback_gets_one_answer_before_it_is_ended(opened: Open) -> None:
    serving, connection, handler = await opened(
        "async def on_message(message, session):\n"
        "    await await_go()\n"
        "    diary.append((message, await session.asend_text('done')))\n"
        "    await session.asend_text('more')\n"
        "    diary.append('not reached')\n"
    )
    for message in ("first", "second"):  # the second one waits while the first is handled
        connection.send(message)
    await aeventually(lambda: len(serving.node.peers.busy))
    await leave(serving, connection)
    handler.go_on = True
    await aeventually(lambda: handler.diary == [("first", "gone"), ("second", "gone")])
    await assert_ended_without_an_error(serving)


async def test_on_close_can_send_in_vain_and_clean_up(opened: Open) -> None:
    serving, connection, handler = await opened(
        "def on_close(session):\n"
        "    diary.extend(session.send_text('bye') for _ in range(3))\n"
        "    diary.append('cleaned up')\n"
    )
    await leave(serving, connection)
    await aeventually(lambda: handler.diary == [*["gone"] * 3, "cleaned up"])
    await assert_ended_without_an_error(serving)


async def test_outside_of_its_own_callbacks_a_session_answers_gone_and_never_raises(
    opened: Open,
) -> None:
    serving, connection, handler = await opened(
        "peers = []\n"
        "def on_open(session): peers.append(session)\n"
        "def on_message(session):\n"
        "    for _ in range(3):\n"
        "        diary.extend(peer.send_text('to all') for peer in peers)\n"
    )
    await leave(serving, connection)
    (kept,) = handler.peers
    assert [await kept.asend_text("late") for _ in range(3)] == ["gone"] * 3
    assert [await asyncio.to_thread(kept.send_text, "late") for _ in range(3)] == ["gone"] * 3
    for _ in range(3):
        kept.send_text_async("late")
    other = Connection("gone")
    await other.connect()
    other.send("tell all")
    await aeventually(lambda: handler.diary == ["gone", "written"] * 3)
    other.leave()
    await other.ended()


async def test_a_session_gone_that_a_handler_raises_while_its_peer_is_there_is_an_error(
    opened: Open,
) -> None:
    serving, connection, handler = await opened(
        "def on_message(): raise exceptions.SessionGone\n"
        "def on_error(error): diary.append(error)\n"
    )
    connection.send("x")
    text = "SessionGone: The session or connection is closed: nothing can be sent any more."
    await aeventually(lambda: handler.diary == [text])
    await leave(serving, connection)
    assert await serving.node.recorder.flush()
    assert await Event.objects.filter(kind="error").acount() == 1

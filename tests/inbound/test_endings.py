"""However a session ends: one close event, one on_close, and a row that says why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.infrastructure.waiting import aeventually
from websockets_app.core.states import CloseCause
from websockets_app.inbound.handle import WebsocketSession
from websockets_app.inbound.serving import Serving, stop_serving
from websockets_app.models import Endpoint, Event, Session
from websockets_app.node.node import SWEEP_SECONDS

Serve = Callable[..., Any]

DIARY = """
import asyncio

diary, go_on = [], asyncio.Event()

async def on_message(message, session):
    if message == "raise":
        raise LookupError("as it was told to")
    if message == "close":
        await session.aclose(4321, "enough")
    if message == "wait":
        diary.append("waits")
        await go_on.wait()
        diary.append(await session.asend_text("too late"))

def on_close(code):
    diary.append(code)
"""


class OpenSession:
    """One session on the endpoint `diary`, from both of its ends."""

    def __init__(self, serving: Serving, connection: Connection, handler: ModuleType) -> None:
        self.serving = serving
        self.connection = connection
        self.handler = handler
        (peer,) = serving.node.peers
        self.handle = WebsocketSession(peer.id, here=True)

    async def row(self) -> Session:
        """Return the session's row once all is written."""
        assert await self.serving.node.recorder.flush()
        return await Session.objects.aget(pk=self.handle.id)

    async def closes(self) -> list[Event]:
        return [event async for event in Event.objects.filter(kind="close", peer=self.handle.id)]


Open = Callable[..., Awaitable[OpenSession]]


@pytest.fixture
def open_session(serve: Serve, write_handler: WriteHandler) -> Open:
    """Open a session on an endpoint that is created with the given fields."""

    async def make(**fields: Any) -> OpenSession:
        reference = write_handler("diary", DIARY)
        serving = await serve(diary={"handler": reference, **fields})
        connection = Connection("diary")
        assert (await connection.connect())["type"] == "websocket.accept"
        return OpenSession(serving, connection, sys.modules[reference])

    return make


async def peer_leaves(session: OpenSession) -> None:
    session.connection.leave(1001, "off")


async def server_gives_up(session: OpenSession) -> None:
    assert session.connection.task is not None
    session.connection.task.cancel()


async def handler_closes(session: OpenSession) -> None:
    session.connection.send("close")


async def handler_raises(session: OpenSession) -> None:
    session.connection.send("raise")


async def message_is_too_big(session: OpenSession) -> None:
    session.connection.send("x" * 101)


async def operator_closes(session: OpenSession) -> None:
    await session.handle.aclose(1000, "go", cause=CloseCause.ADMIN)


async def row_is_deleted(session: OpenSession) -> None:
    await Endpoint.objects.all().adelete()


async def row_changes(session: OpenSession) -> None:
    await Endpoint.objects.aupdate(handler="handlers.echo")


async def process_ends(session: OpenSession) -> None:
    await stop_serving()


ENDINGS = [
    (peer_leaves, 1001, "off", "peer"),
    (server_gives_up, 1001, "", "shutdown"),
    (handler_closes, 4321, "enough", "handler"),
    (handler_raises, 1011, "handler error", "handler_error"),
    (message_is_too_big, 1009, "101 bytes; the endpoint takes 100", "too_big"),
    (operator_closes, 1000, "go", "admin"),
    (row_is_deleted, 1001, "endpoint removed", "config"),
    (row_changes, 1012, "endpoint changed", "config"),
    (process_ends, 1001, "", "shutdown"),
]

FIELDS = {"on_change": "close", "on_handler_error": "close", "max_message_size": 100}


@pytest.mark.parametrize(
    ("end", "code", "reason", "cause"), ENDINGS, ids=[ending[0].__name__ for ending in ENDINGS]
)
async def test_every_end_is_recorded_once_with_code_reason_and_cause(
    open_session: Open,
    end: Callable[[OpenSession], Awaitable[None]],
    code: int,
    reason: str,
    cause: str,
) -> None:
    session = await open_session(**FIELDS)
    await end(session)
    await aeventually(lambda: session.handler.diary == [code])
    row = await session.row()
    assert (row.close_code, row.close_reason, row.close_cause) == (code, reason, cause)
    assert row.closed_at is not None
    (event,) = await session.closes()
    assert (event.code, event.detail, event.cause) == (code, reason, cause)


@pytest.mark.parametrize("second", [ending[0] for ending in ENDINGS], ids=lambda end: end.__name__)
@pytest.mark.parametrize("first", [ending[0] for ending in ENDINGS], ids=lambda end: end.__name__)
async def test_of_two_ends_at_once_one_counts(
    open_session: Open,
    first: Callable[[OpenSession], Awaitable[None]],
    second: Callable[[OpenSession], Awaitable[None]],
) -> None:
    session = await open_session(**FIELDS)
    await asyncio.gather(first(session), second(session))
    await aeventually(lambda: session.handler.diary)
    row = await session.row()
    (event,) = await session.closes()
    assert (row.close_code, row.close_cause) == (event.code, event.cause)
    assert session.handler.diary == [event.code]


async def test_a_peer_that_left_is_noticed_while_the_handler_runs_which_may_go_on_to_its_end(
    open_session: Open,
) -> None:
    assert SWEEP_SECONDS * 2 <= 0.1  # the second sweep at the latest reads ahead
    session = await open_session()
    session.connection.send("wait")
    await aeventually(lambda: session.handler.diary == ["waits"])
    session.connection.leave()
    await aeventually(lambda: session.handle.closed)
    assert (await session.row()).close_cause == "peer"  # although the handler still runs
    session.handler.go_on.set()
    await aeventually(lambda: session.handler.diary == ["waits", "gone", 1000])
    await session.row()
    assert len(await session.closes()) == 1


async def test_bytes_that_wait_for_a_slow_handler_are_bounded_and_the_dropped_counted(
    open_session: Open,
) -> None:
    session = await open_session(inbox_bytes=10)
    session.connection.send("wait")
    await aeventually(lambda: session.handler.diary == ["waits"])
    for _ in range(3):
        session.connection.send("☃☃")  # 6 bytes: a second one doesn't fit
    closed = await session.connection.next()
    assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
    row = await session.row()
    assert (row.close_code, row.close_cause) == (1013, "slow")
    (event,) = await session.closes()
    assert "messages dropped that waited: 1" in event.detail
    session.handler.go_on.set()
    await aeventually(lambda: session.handler.diary == ["waits", "gone", 1013])


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
async def test_what_a_peer_sends_after_our_close_is_counted_and_its_own_code_recorded(
    open_session: Open, is_busy: bool
) -> None:
    session = await open_session()
    if is_busy:
        session.connection.send("wait")
        await aeventually(lambda: session.handler.diary == ["waits"])
    await operator_closes(session)
    for _ in range(2):
        session.connection.send("on its way")
    session.connection.leave(4001, "off")
    session.handler.go_on.set()
    await session.connection.ended()
    row = await session.row()
    assert (row.close_code, row.messages_in) == (1000, 3 if is_busy else 2)
    assert session.handler.diary == (["waits", "gone", 1000] if is_busy else [1000])
    event = await Event.objects.aget(kind="after_close", peer=session.handle.id)
    assert (event.code, event.detail) == (4001, "messages discarded: 2")
    (close,) = await session.closes()
    assert (close.code, close.seq < event.seq) == (1000, True)


async def test_a_peer_that_only_answers_our_close_leaves_no_other_event(
    open_session: Open,
) -> None:
    session = await open_session()
    await operator_closes(session)
    session.connection.leave(1000)
    await session.connection.ended()
    await session.row()
    assert not await Event.objects.filter(kind="after_close").aexists()


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1010, 1015, 2000, 5000])
async def test_a_code_that_may_not_be_sent_is_refused_and_closes_nothing(
    open_session: Open, code: int
) -> None:
    session = await open_session()
    with pytest.raises(ValueError, match=str(code)):
        await session.handle.aclose(code)
    with pytest.raises(ValueError, match=str(code)):
        await asyncio.to_thread(session.handle.close, code)
    assert not session.handle.closed
    session.connection.leave()
    await session.connection.ended()


async def test_the_state_of_a_module_lasts_from_one_session_to_the_next(
    serve: Serve, write_handler: WriteHandler
) -> None:
    source = "seen = []\ndef on_message(message):\n    seen.append(message)\n    return seen"
    await serve(lasting={"handler": write_handler("lasting", source)})
    for message, answer in (("a", '["a"]'), ("b", '["a","b"]')):
        connection = Connection("lasting")
        await connection.connect()
        connection.send(message)
        assert (await connection.next())["text"] == answer
        connection.leave()
        await connection.ended()

"""A node that is drained: who is closed, when, and who may come meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from tests.inbound.driver import Connection
from tests.infrastructure.waiting import aeventually
from websockets_app.inbound.serving import Serving, stop_serving
from websockets_app.inbound.session import InboundSession
from websockets_app.models import Drain, Event, Session

Serve = Callable[..., Any]
Ask = Callable[..., Awaitable[Drain]]

FOREVER = 3600.0


@pytest.fixture
async def serving(serve: Serve, settings: Settings) -> Serving:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "HEARTBEAT_INTERVAL": 0.05}
    made: Serving = await serve(
        echo={"handler": "handlers.echo"}, room={"handler": "handlers.echo"}
    )
    return made


@pytest.fixture
def ask(serving: Serving) -> Ask:
    async def make(**order: Any) -> Drain:
        columns = {"seconds": 0.0, **order}
        keys = await serving.node.control.run(Drain.objects.ask, [serving.node.id], **columns)
        return await Drain.objects.aget(pk=keys[0])

    return make


async def arrived(path: str = "echo") -> Connection:
    connection = Connection(path)
    assert (await connection.connect())["type"] == "websocket.accept"
    return connection


async def becomes(drain: Drain, state: str) -> Drain:
    async def has_become() -> bool:
        await drain.arefresh_from_db()
        return drain.state == state

    await aeventually(has_become)
    return drain


async def details(serving: Serving) -> list[str]:
    assert await serving.node.recorder.flush()
    events = Event.objects.filter(kind="drain", cause="shutdown", code=1012).order_by("seq")
    return [event.detail async for event in events]


async def test_every_session_is_closed_and_told_and_the_row_says_why(
    serving: Serving, ask: Ask
) -> None:
    connections = [await arrived() for _ in range(5)]
    drain = await becomes(await ask(seconds=0.2, reason="deploying"), "done")
    assert (drain.found, drain.closed, drain.gone) == (5, 5, 0)
    for connection in connections:
        assert await connection.next() == {
            "type": "websocket.close", "code": 1012, "reason": "deploying",
        }  # fmt: skip
    assert await details(serving) == [
        "5 sessions close over 0.2 s", "done; closed: 5 of 5 sessions, gone by themselves: 0",
    ]  # fmt: skip
    rows = Session.objects.filter(close_code=1012, close_cause="shutdown")
    assert await rows.acount() == 5


async def test_who_comes_meanwhile_is_let_in_and_stays(serving: Serving, ask: Ask) -> None:
    await arrived()
    drain = await becomes(await ask(seconds=FOREVER), "running")
    newcomer = await arrived()
    await becomes(await ask(seconds=0.0, endpoints=["room"]), "done")
    assert not await Drain.objects.filter(pk=drain.pk).aexists()
    newcomer.send("still here")
    assert (await newcomer.next())["text"] == "still here"


async def test_only_the_sessions_of_the_endpoint_that_is_named_are_closed(
    serving: Serving, ask: Ask
) -> None:
    echo, room = await arrived("echo"), await arrived("room")
    drain = await becomes(await ask(endpoints=["room"], keep_out=FOREVER), "done")
    assert drain.closed == 1
    assert (await room.next())["code"] == 1012
    echo.send("hello")
    assert (await echo.next())["text"] == "hello"
    await arrived("echo")
    assert (await Connection("room").connect())["type"] == "websocket.close"


async def test_nobody_new_is_admitted_until_the_drain_is_cancelled(
    serving: Serving, ask: Ask
) -> None:
    stays = await arrived()
    drain = await becomes(await ask(seconds=FOREVER, keep_out=0.0), "running")
    refused = Connection("echo", extensions=["websocket.http.response"])
    assert (await refused.connect())["status"] == 503
    assert await serving.node.control.run(Drain.objects.cancel, [drain.pk]) == 1
    await aeventually(lambda: not serving.drains.keeps_out("echo"))
    await arrived()
    stays.send("not closed")
    assert (await stays.next())["text"] == "not closed"
    assert (await details(serving))[1].startswith("cancelled; closed: 0 of 1")
    (event,) = [event async for event in Event.objects.filter(kind="refused")]
    assert (event.code, event.cause) == (1013, "shutdown")


async def test_people_may_come_again_once_the_time_is_up(serving: Serving, ask: Ask) -> None:
    await becomes(await ask(keep_out=0.3), "done")
    assert serving.drains.keeps_out("echo")
    await aeventually(lambda: not serving.drains.keeps_out("echo"))
    await arrived()


async def test_who_was_admitted_as_a_drain_began_is_closed_when_it_opens(
    serving: Serving, ask: Ask
) -> None:
    connection = await arrived()
    (peer,) = serving.node.peers
    await becomes(await ask(endpoints=["room"], keep_out=FOREVER), "done")
    assert isinstance(peer, InboundSession)
    peer.config = replace(peer.config, endpoint="room")
    await serving.welcome(peer)
    assert (await connection.next())["code"] == 1012


async def test_who_left_meanwhile_is_counted_and_not_closed(
    serving: Serving, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await arrived()
    monkeypatch.setattr("random.random", lambda: 1.0)  # closed at the very end
    drain = await becomes(await ask(seconds=0.5), "running")
    connection.leave()
    await aeventually(lambda: not len(serving.node.peers))
    drain = await becomes(drain, "done")
    assert (drain.found, drain.closed, drain.gone) == (1, 0, 1)


async def test_a_node_that_stops_amid_a_drain_does_not_wait_for_its_end(
    serving: Serving, ask: Ask
) -> None:
    connections = [await arrived() for _ in range(3)]
    drain = await becomes(await ask(seconds=FOREVER), "running")
    await stop_serving()
    for connection in connections:
        assert (await connection.next())["code"] == 1001
    await drain.arefresh_from_db()
    assert drain.state == "running"


async def test_a_drain_goes_on_while_the_database_is_away(
    serving: Serving, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = [await arrived() for _ in range(3)]
    drain = await becomes(await ask(seconds=0.5), "running")

    def away(*arguments: object, **columns: object) -> None:
        raise ConnectionError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(Drain.objects, "tell", away)
        for connection in connections:
            assert (await connection.next())["code"] == 1012
    assert (await becomes(drain, "done")).closed == 3

"""A server node among changing rows, and peers that don't keep to what one hopes of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import Connection
from tests.inbound.life import BreakableConnection
from tests.infrastructure.waiting import aeventually
from websockets_app.inbound.serving import stop_serving
from websockets_app.models import Endpoint, Event, Node, Session
from websockets_app.node.lease import reap

Serve = Callable[..., Any]

HESITANT = """
import asyncio

asked, decided = asyncio.Event(), asyncio.Event()

async def may_open():
    asked.set()
    await decided.wait()
    return True

async def on_message(message):
    return message
"""


PARTING = """
import asyncio

parted = []

async def on_close(code):
    await asyncio.sleep(0)
    parted.append(code)
"""


class DeafConnection(Connection):
    """A peer that doesn't read: once it is accepted, a server waits for ever to write more."""

    async def connect(self) -> dict[str, Any]:
        self.send_to_peer = self._send_once
        return await super().connect()

    async def _send_once(self, event: dict[str, Any]) -> None:
        if event["type"] != "websocket.accept":
            await asyncio.Event().wait()
        await self.sent.put(event)


class FailingConnection(Connection):
    """A peer whose server has no word for why it can't close."""

    async def connect(self) -> dict[str, Any]:
        self.send_to_peer = self._send_or_fail
        return await super().connect()

    async def _send_or_fail(self, event: dict[str, Any]) -> None:
        if event["type"] == "websocket.close":
            raise LookupError(event["type"])
        await self.sent.put(event)


async def test_a_peer_is_refused_if_its_endpoint_is_deleted_while_may_open_runs(
    serve: Serve, write_handler: WriteHandler
) -> None:
    serving = await serve(hesitant={"handler": write_handler("hesitant", HESITANT)})
    import written_handlers.hesitant as handler  # type: ignore[import-not-found]

    connection = Connection("hesitant")
    accepted = asyncio.create_task(connection.connect())
    await handler.asked.wait()
    await Endpoint.objects.all().adelete()
    await aeventually(lambda: len(serving.registry) == 0)
    handler.decided.set()
    assert await accepted == {"type": "websocket.close"}  # before an accept: HTTP 403
    await connection.ended()


async def test_a_change_while_a_peer_is_admitted_reaches_its_session(
    serve: Serve, write_handler: WriteHandler
) -> None:
    serving = await serve(hesitant={"handler": write_handler("hesitant", HESITANT)})
    import written_handlers.hesitant as handler

    connection = Connection("hesitant")
    accepted = asyncio.create_task(connection.connect())
    await handler.asked.wait()
    await Endpoint.objects.aupdate(max_message_size=3)
    (served,) = serving.registry._configs
    await aeventually(lambda: serving.registry.get(served).max_message_size == 3)
    handler.decided.set()
    await accepted
    connection.send("four")
    assert (await connection.next())["code"] == 1009
    await connection.ended()


async def test_a_peer_that_does_not_read_holds_up_no_change(serve: Serve) -> None:
    serving = await serve(
        deaf={"handler": "handlers.echo", "on_change": "close"}, echo={"handler": "handlers.echo"}
    )
    connections = [DeafConnection("deaf") for _ in range(5)]
    for connection in connections:
        await connection.connect()
    await Endpoint.objects.filter(endpoint="deaf").adelete()
    await aeventually(lambda: len(serving.registry) == 1)
    await Endpoint.objects.all().adelete()
    await aeventually(lambda: len(serving.registry) == 0, timeout=3)
    for connection in connections:
        await connection.ended()
    assert await serving.node.recorder.flush()
    assert await Event.objects.filter(kind="close", cause="config").acount() == 5


async def test_a_session_whose_server_fails_is_told_so_and_closed_in_order(
    serve: Serve, write_handler: WriteHandler
) -> None:
    reference = write_handler("parting", PARTING)
    serving = await serve(parting={"handler": reference})
    connection = BreakableConnection("parting", None)
    await connection.connect()
    connection.fails = True
    connection.send("which nobody receives any more")
    assert await connection.next() == {
        "type": "websocket.close", "code": 1011, "reason": "",
    }  # fmt: skip
    await connection.ended()
    assert await serving.node.recorder.flush()
    closed = await Event.objects.aget(kind="close")
    assert (closed.code, closed.cause) == (1011, "transport")
    assert sys.modules[reference].parted == [1011]


async def test_a_server_that_fails_to_close_one_session_does_not_keep_the_node_from_ending(
    serve: Serve, write_handler: WriteHandler
) -> None:
    serving = await serve(parting={"handler": write_handler("parting", PARTING)})
    failing, sound = FailingConnection("parting"), Connection("parting")
    for connection in (failing, sound):
        assert (await connection.connect())["type"] == "websocket.accept"
    await aeventually(lambda: len(serving.node.peers) == 2)
    await stop_serving()
    assert (await sound.next())["code"] == 1001
    assert (await Node.objects.aget(pk=serving.node.id)).state == "stopped"
    assert {s.close_cause async for s in Session.objects.all()} == {"shutdown"}


async def test_a_session_whose_node_was_declared_lost_and_lives_has_one_close_event(
    serve: Serve, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "HEARTBEAT_INTERVAL": 600}  # when we say so
    serving = await serve(echo={"handler": "handlers.echo"})
    staying, leaving = Connection("echo"), Connection("echo")
    for connection in (staying, leaving):
        await connection.connect()
    assert await serving.node.recorder.flush()
    leaving.leave()  # its end isn't written when the node is declared lost
    await leaving.ended()

    async def is_declared_lost() -> bool:
        beat = (await Node.objects.aget()).beat  # it renews its lease while it starts
        return await sync_to_async(reap)(serving.node.id, beat, by="another")

    await aeventually(is_declared_lost)
    await serving.node.lease.beat()
    assert await serving.node.recorder.flush()
    assert await Event.objects.filter(kind="close").acount() == 1
    staying.leave()
    await staying.ended()
    assert await serving.node.recorder.flush()
    closes = [event async for event in Event.objects.filter(kind="close")]
    assert sorted(event.cause for event in closes) == ["peer", "peer"]
    assert {event.peer for event in closes} == {row.pk async for row in Session.objects.all()}
    told = Event.objects.filter(kind="node_lost").exclude(endpoint=None)
    assert await told.acount() == 2
    assert await Session.objects.filter(close_cause="peer").acount() == 2
    assert (await Node.objects.aget()).reaped == 1

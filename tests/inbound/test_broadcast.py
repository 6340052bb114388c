"""What a broadcast costs the channel layer: one message, whatever the number of members."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import pytest
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from pytest_django import Settings
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tests.inbound.conftest import WriteHandler
from tests.inbound.driver import SENT_BY, Connection
from tests.infrastructure.layers import use_layer
from tests.infrastructure.waiting import aeventually
from websockets_app import websockets
from websockets_app.exceptions import NodeUnreachable
from websockets_app.inbound import server
from websockets_app.inbound.consumers import EndpointConsumer
from websockets_app.inbound.serving import stop_serving
from websockets_app.node import broadcast, elsewhere

MEMBERS = 50
JOINS = "def on_open(session):\n    session.join('Grüße ☃')\n    return 'joined'\n"


@pytest.mark.parametrize("plain", [True, False])
async def test_a_broadcast_is_one_message_to_all_nodes_whatever_the_number_of_members(
    serve: Callable[..., Any],
    write_handler: WriteHandler,
    settings: Settings,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    plain: bool,
) -> None:
    use_layer(settings, valkey_url)
    serving = await serve(group={"handler": write_handler("joins", JOINS)})
    await aeventually(lambda: serving.node.layer.channel)
    connections = [Connection("group") for _ in range(MEMBERS)]
    for connection in connections:
        await connection.connect()
        assert (await connection.next())["text"] == "joined"
    sent: list[str] = []
    group_send = RedisChannelLayer.group_send

    async def counting(layer: RedisChannelLayer, group: str, message: dict[str, Any]) -> None:
        sent.append(message["mail"]["group"])
        await group_send(layer, group, message)

    monkeypatch.setattr(RedisChannelLayer, "group_send", counting)
    if plain:
        written = await asyncio.to_thread(websockets.broadcast, "Grüße ☃", {"n": 1})
    else:
        written = await websockets.abroadcast("Grüße ☃", {"n": 1})
    assert (written, sent) == (MEMBERS, ["Grüße ☃"])
    for connection in connections:
        assert (await connection.next())["text"] == '{"n":1}'
    await serving.node.peers.fan_out("Grüße ☃", "last")  # its own message came to nobody twice
    for connection in connections:
        assert (await connection.next())["text"] == "last"
        connection.leave()
        await connection.ended()
    await stop_serving()
    await cast("RedisChannelLayer", get_channel_layer()).close_pools()


@pytest.mark.parametrize("plain", [True, False])
async def test_a_member_who_does_not_read_keeps_no_other_node_waiting_and_a_failure_nobody_here(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    serving = await serve(echo={"handler": "handlers.echo"})
    posted, read = asyncio.Event(), asyncio.Event()
    written: list[str] = []

    async def fan_out(group: str, frame: str) -> int:
        await read.wait()
        written.append(frame)
        return 1

    async def apost_to_all(letter: object) -> None:
        posted.set()
        raise NodeUnreachable("away")

    def post_to_all(letter: object) -> None:
        asyncio.run_coroutine_threadsafe(apost_to_all(letter), serving.node.loop).result()

    monkeypatch.setattr(broadcast, "spans_processes", lambda: True)
    monkeypatch.setattr(elsewhere, "apost_to_all", apost_to_all)
    monkeypatch.setattr(elsewhere, "post_to_all", post_to_all)
    monkeypatch.setattr(serving.node.peers, "fan_out", fan_out)
    if plain:
        work = asyncio.to_thread(websockets.broadcast, "room", "text")
    else:
        work = websockets.abroadcast("room", "text")
    sending = asyncio.create_task(work)
    await aeventually(posted.is_set)
    assert not written
    read.set()
    with pytest.raises(NodeUnreachable, match="away"):
        await sending
    assert written == ["text"]


VARIABLE: ContextVar[str] = ContextVar("variable", default="")
TELLS = """
from websockets_app.websockets import abroadcast

async def on_message(message):
    return f"told {await abroadcast('room', message)}"
"""


class Guarding:
    """A site's middleware around `send`, which asks for the task and the context it runs in."""

    def __init__(self) -> None:
        self._application = EndpointConsumer()
        self.waits = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def guarded(event: dict[str, Any]) -> None:
            token = VARIABLE.set(event["type"])
            async with asyncio.timeout(0.05):
                if self.waits and event["type"] == "websocket.send":
                    await asyncio.Event().wait()
                await send(event)
            VARIABLE.reset(token)

        await self._application(scope, receive, guarded)


async def test_a_middleware_around_send_may_time_out_and_harms_its_own_session_alone(
    serve: Callable[..., Any], write_handler: WriteHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SEND_WITHOUT_A_TASK", SENT_BY)
    serving = await serve(echo={"handler": write_handler("tells", TELLS)})
    guarding = Guarding()
    speaker, guarded = Connection("echo"), Connection("echo", application=guarding)
    for connection in (speaker, guarded):
        await connection.connect()
    for peer in serving.node.peers:
        serving.node.peers.join(peer, "room")
    guarding.waits = True
    speaker.send("news")
    assert [(await speaker.next())["text"] for _ in range(2)] == ["news", "told 1"]
    assert VARIABLE.get() == ""
    for connection in (speaker, guarded):
        connection.leave()
        await connection.ended()


def test_a_send_is_known_for_a_servers_only_where_it_is() -> None:
    async def send(event: dict[str, Any]) -> None:
        """Send as a site's own code does."""

    uvicorn = WebSocketsSansIOProtocol.send
    assert server.is_its_own(uvicorn)  # type: ignore[arg-type]
    assert server.is_its_own(partial(uvicorn, None))  # type: ignore[arg-type]
    for other in (send, partial(send), [].append):
        assert not server.is_its_own(other)  # type: ignore[arg-type]

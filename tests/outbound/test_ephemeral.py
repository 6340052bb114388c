"""A client without a name lives as long as its one connection."""

from __future__ import annotations

import pytest
from websockets.asyncio.server import ServerConnection

from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import Guests, MakeHandler, MakePeer, Supervised, in_thread
from websockets_app import exceptions as errors
from websockets_app import websockets
from websockets_app.models import Client, ClientRuntime, OutboxMessage


async def has_gone() -> bool:
    models = (Client, ClientRuntime, OutboxMessage)
    return not any([await model.objects.aexists() for model in models])


async def test_the_peer_closes_and_its_row_is_gone_for_good(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    closes: list[int] = []
    guests = Guests()

    def on_close(code: int) -> None:
        closes.append(code)

    uri, handler = await make_peer(guests), make_handler(on_close=on_close)
    client = await websockets.acreate_websocket(uri, handler, backoff_base=0.1)
    await guests.now[0].close(1012)
    await aeventually(has_gone)
    assert closes == [1012]
    assert guests.ever == 1
    with pytest.raises(errors.ClientGone, match=f"no client {client.id} any more"):
        await client.asend("too late")
    assert await client.aclose() == websockets.SendAnswer.GONE
    assert await client.asend_text("too late") == websockets.SendAnswer.GONE
    assert await websockets.aget_client(client.id) is None
    assert [event.kind for event in await supervised.events()] == ["connecting", "open", "close"]


async def test_code_closes_it_after_what_it_sent_before(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    client = await websockets.acreate_websocket(await make_peer(guests), make_handler())
    (socket,) = guests.now
    for number in range(20):
        await client.asend(str(number))
    assert await client.aclose(4000, "that was all") == websockets.SendAnswer.FORWARDED
    await aeventually(has_gone)
    assert guests.said == [str(number) for number in range(20)]
    assert (socket.close_code, socket.close_reason) == (4000, "that was all")
    assert (await supervised.close()).cause == "handler"


async def test_one_that_is_over_before_anybody_looks_was_open_all_the_same(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.send("all that there is")

    received: list[str] = []

    def on_message(message: str) -> None:
        received.append(message)

    handler = make_handler(on_message=on_message)
    client = await websockets.acreate_websocket(await make_peer(talk), handler)
    assert received == ["all that there is"]
    await aeventually(has_gone, timeout=10)
    with pytest.raises(errors.ClientGone):
        await client.asend("too late")


@pytest.mark.parametrize("how", ["delete", "stop", "reconnect"])
async def test_an_operator_ends_it(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, how: str
) -> None:
    guests = Guests()
    await websockets.acreate_websocket(await make_peer(guests), make_handler())
    await in_thread(getattr(Client.objects.all(), how))
    await aeventually(has_gone)
    await aeventually(lambda: not guests.now)
    assert guests.ever == 1


async def test_it_ends_with_its_runner_and_no_other_opens_it_again(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    uri, handler = await make_peer(guests), make_handler()
    first = Supervised()
    await first.supervisor.start()
    for _ in range(4):
        await websockets.acreate_websocket(uri, handler)
    await first.supervisor.stop()
    held_by_the_other = len(supervised.supervisor)
    assert await Client.objects.acount() == held_by_the_other
    await aeventually(lambda: len(guests.now) == held_by_the_other)
    assert guests.ever == 4


async def test_one_that_nobody_waits_for_tries_once(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    errors_told: list[str] = []

    def on_error(error: str) -> None:
        errors_told.append(error)

    handler = make_handler(on_error=on_error)
    await websockets.acreate_websocket("ws://127.0.0.1:9/", handler, wait=False)
    await aeventually(has_gone)
    assert len(errors_told) == 1

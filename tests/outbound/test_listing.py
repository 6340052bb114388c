"""Clients are found by those who didn't create them."""

from __future__ import annotations

import json

import pytest

from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import Guests, MakeHandler, MakePeer, Supervised, in_thread
from websockets_app import websockets
from websockets_app.models import Client


async def test_the_clients_that_there_are_as_json_and_without_a_secret(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    uri, handler = await make_peer(Guests()), make_handler()
    await supervised.add(
        "ws://me:s3cret@127.0.0.1:9/?token=s3cret",
        handler,
        name="stopped",
        desired="stop",
        headers={"Authorization": "s3cret"},
    )
    client = await websockets.acreate_websocket(uri, handler)
    clients = await websockets.aget_clients()
    assert clients == await in_thread(websockets.get_clients)
    text = json.dumps(clients)
    assert "s3cret" not in text
    assert json.loads(text) == clients
    stopped, opened = clients
    row = await Client.objects.select_related("runtime").aget(pk=client.id)
    assert row.runtime.opened_at is not None
    assert opened == {
        "id": row.pk,
        "name": row.name,
        "uri": uri,
        "handler": handler,
        "engine": "python",
        "desired": "run",
        "ephemeral": True,
        "state": "open",
        "reason": "",
        "attempt": 1,
        "since": row.runtime.since and row.runtime.since.isoformat(),
        "next_attempt_at": None,
        "opened_at": row.runtime.opened_at.isoformat(),
        "created_at": row.created_at.isoformat(),
    }
    told = {name: stopped[name] for name in ("uri", "state", "desired", "ephemeral", "since")}
    assert told == {
        "uri": "ws://127.0.0.1:9/?token=…",
        "state": "unassigned",
        "desired": "stop",
        "ephemeral": False,
        "since": None,
    }


async def test_a_client_is_found_by_its_id(
    transactional_db: None, make_handler: MakeHandler
) -> None:
    row = await Client.objects.acreate(name="it", uri="ws://a/", handler=make_handler())
    for key in (row.pk, str(row.pk)):
        found = await websockets.aget_client(key)
        assert found is not None
        assert found.get_id() == str(row.pk)
        assert found.direction == "out"
    for key in (row.pk + 1, -1, 10**30, "", "it", "1.5"):
        assert await websockets.aget_client(key) is None


async def test_the_open_client_that_was_created_first_is_found_by_its_handler(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    uri, handler, other = await make_peer(Guests()), make_handler(), make_handler()
    assert await websockets.aget_client_by_handler(handler) is None
    await supervised.add(uri, handler, name="stopped", desired="stop")
    first = await websockets.acreate_websocket(uri, handler)
    second = await websockets.acreate_websocket(uri, handler, name="second")
    third = await websockets.acreate_websocket(uri, handler)
    await websockets.acreate_websocket(uri, other)
    for spelling in ("made0", "made_handlers.made0", "/made_handlers/made0.py", "made0.js"):
        assert await websockets.aget_client_by_handler(spelling) == first
        assert await in_thread(websockets.get_client_by_handler, spelling) == first
    for client, next_one in ((first, second), (second, third), (third, None)):
        await client.aclose()
        # At once, and at every moment from now on.
        assert await websockets.aget_client_by_handler(handler) == next_one
        await in_thread(wait_until_closed, client, next_one, handler)


def wait_until_closed(
    client: websockets.WebsocketClient, next_one: websockets.WebsocketClient | None, handler: str
) -> None:
    while not client.closed:
        assert websockets.get_client_by_handler(handler) == next_one


@pytest.mark.parametrize("handler", ["os..path", "made_handlers.gone", ""])
async def test_no_client_has_a_handler_that_can_not_be(
    transactional_db: None, handler: str
) -> None:
    assert await websockets.aget_client_by_handler(handler) is None
    assert await websockets.aget_client_by_handler("made0", "lua") is None


async def test_one_that_has_ended_is_not_there(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    client = await websockets.acreate_websocket(await make_peer(guests), make_handler())
    await guests.now[0].close()

    async def none_there() -> bool:
        return await websockets.aget_clients() == []

    await aeventually(none_there)
    assert await websockets.aget_client(client.id) is None

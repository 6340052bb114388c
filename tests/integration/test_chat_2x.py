"""The seed's 2.x chat, with Tom and Jerry at two processes of one site."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

CROWD = """
from websockets_app import websockets

def handle(params):
    for number in range(20):
        websockets.shared.add("crowd", [params["name"], number])
        websockets.shared.add("guests", number)
    return [len(websockets.shared.members(key)) for key in ("crowd", "guests")]
"""


async def said(connection: ClientConnection) -> str:
    async with asyncio.timeout(10 * SCALE):
        return str(await connection.recv())


async def ask(connection: ClientConnection, module: str, **params: str) -> None:
    await connection.send(json.dumps({"module": module, "params": params}))


async def chat(connection: ClientConnection, **params: str) -> None:
    # `from` is a word of Python's.
    await ask(connection, "/chat/chat_service.js", **{k.rstrip("_"): v for k, v in params.items()})


async def test_tom_and_jerry_at_two_processes_talk_and_are_listed(
    make_site: Callable[..., Site], valkey_url: str
) -> None:
    site = make_site(redis_url=valkey_url)
    crowd = site.write_handler("crowd", CROWD)
    site.shell(
        "Endpoint.objects.create(endpoint='/service/<str:type>', access='public',"
        " handler='websockets_app.websocket_handlers',"
        f" services=['handlers.chat.chat_service', '{crowd}'])"
    )
    first, second = site.start_daphne(), site.start_daphne()
    async with (
        connect(first.ws("/service/js")) as tom,
        connect(second.ws("/service/js")) as jerry,
    ):
        await chat(tom, type="welcome", from_="Tom")
        assert await said(tom) == "Welcome Tom!"
        await chat(jerry, type="welcome", from_="Jerry")
        assert await said(jerry) == "Welcome Jerry!"
        await both_are_seen(site)

        await chat(tom, type="message", from_="Tom", to="Jerry", message="Hello Jerry!")
        assert await said(jerry) == "Hello Jerry!"
        await chat(jerry, type="message", from_="Jerry", to="Tom", message="Hi Tom!")
        assert await said(tom) == "Hi Tom!"
        await chat(jerry, type="message", from_="Jerry", to="Spike", message="Hi?")
        for connection in (tom, jerry):
            await chat(connection, type="list", from_="Tom")
            assert json.loads(await said(connection)) == ["Tom", "Jerry"]

        for connection, name in ((tom, "Tom"), (jerry, "Jerry")):
            await ask(connection, "crowd", name=name)
        counts = [json.loads(await said(connection)) for connection in (tom, jerry)]
        assert max(counts) == [40, 20]  # whoever came last saw that nobody was lost
    assert "no session for Spike" in second.output
    for server in (first, second):
        assert "raised" not in server.output


COLLECTS = """
from websockets_app import websockets

def handle(params):
    added = [websockets.shared.add("once", number, timeout=60) for number in range(100)]
    return [sum(added)]
"""


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_of_two_processes_that_add_members_that_have_expired_one_adds_each(
    make_site: Callable[..., Site], database: str, request: pytest.FixtureRequest
) -> None:
    site = make_site()
    if database == "postgresql":
        site = make_site(database_url=request.getfixturevalue("postgres_database"))
    collects = site.write_handler("collects", COLLECTS)
    site.shell(
        "Endpoint.objects.create(endpoint='/service/<str:type>', access='public',"
        f" handler='websockets_app.websocket_handlers', services=['{collects}'])"
    )
    first, second = site.start_daphne(), site.start_daphne()
    async with (
        connect(first.ws("/service/js")) as tom,
        connect(second.ws("/service/js")) as jerry,
    ):
        for turn in range(2):
            if turn:
                site.shell("SharedMember.objects.update(expires_at='2001-01-01T00:00Z')")
            for connection in (tom, jerry):
                await ask(connection, "collects")
            added = [json.loads(await said(connection))[0] for connection in (tom, jerry)]
            assert sum(added) == 100
            rows = site.rows("SELECT member FROM websockets_app_sharedmember ORDER BY member")
            assert len(rows) == 100
    for server in (first, second):
        assert "raised" not in server.output


async def both_are_seen(site: Site) -> None:
    """Wait until each process can know of the other's session: the recorder writes in batches."""
    rows = "SELECT 1 FROM websockets_app_session s JOIN websockets_app_node n ON n.id = s.node_id"
    await aeventually(lambda: len(site.rows(f"{rows} WHERE n.channel <> ''")) == 2)

"""Several processes on PostgreSQL, with a channel layer on Valkey between them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

SLOW_POLLS = "WEBSOCKETS['POLL_INTERVAL'] = 60"

MAKER = """
from websockets_app.models import Endpoint

async def on_message(message):
    await Endpoint.objects.acreate(endpoint=message, handler="handlers.echo", access="public")
    return "made"
"""


async def echoes(server: Server, path: str) -> bool:
    try:
        async with connect(server.ws(path)) as websocket:
            await websocket.send("x")
            return await websocket.recv() == "x"
    except InvalidStatus:
        return False


async def test_a_nudge_over_the_layer_makes_a_row_live_in_another_process_at_once(
    make_site: Callable[..., Site], postgres_database: str, valkey_url: str
) -> None:
    site = make_site(database_url=postgres_database, redis_url=valkey_url, settings=SLOW_POLLS)
    maker = site.write_handler("maker", MAKER)
    site.shell(f"Endpoint.objects.create(endpoint='maker', handler={maker!r}, access='public')")
    first, second = site.start_daphne(), site.start_daphne()
    assert not await echoes(second, "new")  # its node is there, and won't poll for a minute
    async with connect(first.ws("maker")) as websocket:
        await websocket.send("new")
        assert await websocket.recv() == "made"
    made = time.monotonic()
    await aeventually(lambda: echoes(second, "new"))
    assert time.monotonic() - made < 1.0 * SCALE


async def test_a_server_and_a_runner_record_on_postgresql_what_happens(
    make_site: Callable[..., Site], postgres_database: str, valkey_url: str
) -> None:
    site = make_site(database_url=postgres_database, redis_url=valkey_url)
    server = site.start_daphne()
    site.shell(
        "Endpoint.objects.create(endpoint='ticker', handler='handlers.ticker', access='public',"
        " record_messages='payloads')\n"
        f"Client.objects.create(name='ticker', uri={server.ws('ticker')!r},"
        " handler='handlers.printer')"
    )
    runner = site.start_runner()
    await asyncio.to_thread(runner.wait_for_output, "Message received: ")
    (state,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_clientruntime WHERE state = 'open'")
    )
    assert state["epoch"] == 1
    assert await asyncio.to_thread(site.kill, runner, signal.SIGTERM) == 0
    (session,) = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
    )
    assert (session["close_code"], session["close_cause"]) == (1001, "peer")
    kinds = [
        (row["direction"], row["kind"])
        for row in site.rows(
            "SELECT * FROM websockets_app_event WHERE peer != '' AND kind != 'message' ORDER BY at"
        )
    ]
    assert sorted(kinds) == [
        ("in", "close"), ("in", "open"), ("out", "close"), ("out", "connecting"), ("out", "open"),
    ]  # fmt: skip
    assert await asyncio.to_thread(site.kill, server, signal.SIGTERM) == 0
    (minute,) = site.rows(
        "SELECT sum(messages_out) AS sent FROM websockets_app_minute WHERE direction = 'in'"
    )
    assert minute["sent"] == session["messages_out"] >= 1
    messages = site.rows("SELECT * FROM websockets_app_event WHERE kind = 'message'")
    assert len(messages) == session["messages_out"]
    assert all('"time"' in message["payload"] for message in messages)

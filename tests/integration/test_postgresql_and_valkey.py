"""Several processes on PostgreSQL, with a channel layer on Valkey between them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

IDLE_SECONDS = 60
SLOW_POLLS = "WEBSOCKETS['POLL_INTERVAL'] = 3600.0"

MAKER = """
from websockets_app.models import Endpoint

async def on_message(message):
    await Endpoint.objects.acreate(endpoint=message, handler="handlers.echo", access="public")
    return "made"
"""


COUNTS = """
from websockets_app.models import Endpoint

{form} on_message(message):
    return message + " " + str({count})
"""

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def echoes(server: Server, path: str) -> bool:
    try:
        async with connect(server.ws(path)) as websocket:
            await websocket.send("x")
            return await websocket.recv() == "x"
    except InvalidStatus:
        return False


@pytest.mark.timeout(240)
async def test_a_nudge_over_the_layer_makes_a_row_live_elsewhere_at_once_also_after_an_idle_minute(
    make_site: Callable[..., Site], postgres_database: str, valkey_url: str
) -> None:
    site = make_site(database_url=postgres_database, redis_url=valkey_url, settings=SLOW_POLLS)
    maker = site.write_handler("maker", MAKER)
    site.shell(f"Endpoint.objects.create(endpoint='maker', handler={maker!r}, access='public')")
    first, second = site.start_daphne(), site.start_daphne()
    assert not await echoes(second, "fresh")  # its node is there, and won't poll for an hour
    async with connect(first.ws("maker")) as maker_socket:
        assert await seconds_until_live(maker_socket, second, "fresh") < 1.0 * SCALE
        began = time.monotonic()
        await aeventually(
            lambda: time.monotonic() - began > IDLE_SECONDS, timeout=IDLE_SECONDS + 5, every=0.5
        )
        assert await seconds_until_live(maker_socket, second, "later") < 1.0 * SCALE
    for server in (first, second):
        assert "Error" not in server.output


async def test_a_command_nudges_the_servers_too_and_leaves_nothing_behind(
    make_site: Callable[..., Site], postgres_database: str, valkey_url: str
) -> None:
    site = make_site(database_url=postgres_database, redis_url=valkey_url, settings=SLOW_POLLS)
    server = site.start_daphne()
    assert not await echoes(server, "one")  # its node is there, and won't poll for an hour
    code = (
        "from websockets_app.models import Endpoint\n"
        "for path in ('one', 'two'):\n"
        "    Endpoint.objects.create(endpoint=path, handler='handlers.echo', access='public')"
    )
    done = await asyncio.to_thread(site.manage, "shell", "-v", "0", "-c", code)
    assert done.stderr == ""
    await aeventually(lambda: echoes(server, "one"), timeout=1)
    await aeventually(lambda: echoes(server, "two"), timeout=1)


async def seconds_until_live(maker: ClientConnection, server: Server, path: str) -> float:
    """Make an endpoint in one process, and wait for it in another."""
    await maker.send(path)
    assert await maker.recv() == "made"
    made = time.monotonic()
    await aeventually(lambda: echoes(server, path))
    return time.monotonic() - made


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
            "SELECT * FROM websockets_app_event WHERE peer != ''"
            " AND kind NOT IN ('message', 'after_close') ORDER BY at"  # a tick may come too late
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


async def answers(socket: ClientConnection, message: str) -> bool:
    """Tell whether the handler answers `message`; what came too late before is passed over."""
    await socket.send(message)
    try:
        async with asyncio.timeout(2 * SCALE):
            while (await socket.recv()).split()[0] != message:
                continue
    except TimeoutError:
        return False
    return True


async def test_handlers_and_recording_recover_when_the_database_cuts_every_connection(
    make_site: Callable[..., Site], endpoints: Callable[..., None], postgres_database: str
) -> None:
    site = make_site(database_url=postgres_database)
    asynchronous = COUNTS.format(form="async def", count="await Endpoint.objects.acount()")
    plain = COUNTS.format(form="def", count="Endpoint.objects.count()")
    endpoints(
        site,
        asynchronous={"handler": site.write_handler("asynchronous", asynchronous)},
        plain={"handler": site.write_handler("plain", plain)},
    )
    server = site.start_daphne()
    async with (
        connect(server.ws("asynchronous")) as first,
        connect(server.ws("plain")) as second,
    ):
        for number, socket in enumerate((first, second)):
            assert await answers(socket, f"before{number}")
        site.rows(CUT)
        for name, socket in (("async", first), ("plain", second)):
            attempts = iter(range(100))
            await aeventually(lambda: answers(socket, f"{name}{next(attempts)}"), timeout=10)  # noqa: B023
    closed = "SELECT close_cause FROM websockets_app_session WHERE closed_at IS NOT NULL"
    rows = await aeventually(lambda: len(site.rows(closed)) == 2 and site.rows(closed), timeout=10)
    assert [row["close_cause"] for row in rows] == ["peer", "peer"]
    events = site.rows(
        "SELECT kind, count(*) AS n FROM websockets_app_event"
        " WHERE peer <> '' AND kind IN ('open', 'close') GROUP BY kind ORDER BY kind"
    )
    assert events == [{"kind": "close", "n": 2}, {"kind": "open", "n": 2}]

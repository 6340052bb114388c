"""The database and the layer that processes share: idle for a minute, cut off, locked."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

Endpoints = Callable[..., None]

IDLE_SECONDS = 60
WITHOUT_POLLING = "WEBSOCKETS |= {'POLL_INTERVAL': 3600.0}"

SAVES = """
from websockets_app.models import Endpoint

def on_message(message):
    Endpoint.objects.create(endpoint=message, handler="handlers.echo", access="public")
    return "saved"
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


async def is_served(server: Server, path: str) -> bool:
    try:
        async with connect(server.ws(path)):
            return True
    except InvalidStatus:
        return False


async def seconds_until_served(saver: ClientConnection, server: Server, path: str) -> float:
    """Save an endpoint in one process, and wait for it in another that doesn't poll."""
    await saver.send(path)
    assert await saver.recv() == "saved"
    saved = time.monotonic()
    await aeventually(lambda: is_served(server, path))
    return time.monotonic() - saved


@pytest.mark.timeout(240)
async def test_a_nudge_reaches_other_processes_at_once_also_after_an_idle_minute(
    make_site: Callable[..., Site], endpoints: Endpoints, postgres_database: str, valkey_url: str
) -> None:
    site = make_site(
        database_url=postgres_database, redis_url=valkey_url, settings=WITHOUT_POLLING
    )
    endpoints(site, saves={"handler": site.write_handler("saves", SAVES)})
    first, second = site.start_daphne(), site.start_daphne()
    assert await is_served(second, "saves")  # its node runs
    async with connect(first.ws("saves")) as saver:
        assert await seconds_until_served(saver, second, "fresh") < 1.0 * SCALE
        began = time.monotonic()
        await aeventually(
            lambda: time.monotonic() - began > IDLE_SECONDS, timeout=IDLE_SECONDS + 5, every=0.5
        )
        assert await seconds_until_served(saver, second, "later") < 1.0 * SCALE
    for server in (first, second):
        assert "channel layer fails" not in server.output
        assert "Error" not in server.output


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
    make_site: Callable[..., Site], endpoints: Endpoints, postgres_database: str
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


async def test_a_locked_database_keeps_nobody_from_opening_and_talking(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    assert await is_served(server, "echo")
    assert site.sqlite is not None
    locked = sqlite3.connect(site.sqlite, isolation_level=None)
    locked.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    for number in range(20):
        async with connect(server.ws("echo")) as socket:
            await socket.send(str(number))
            assert await socket.recv() == str(number)
    assert time.monotonic() - began < 3.0 * SCALE
    assert len(site.rows("SELECT 1 FROM websockets_app_session")) <= 1
    locked.execute("ROLLBACK")
    locked.close()
    rows = "SELECT 1 FROM websockets_app_session WHERE close_cause = 'peer'"
    await aeventually(lambda: len(site.rows(rows)) == 21, timeout=15)
    kinds = [
        row["kind"]
        for row in site.rows("SELECT kind FROM websockets_app_event WHERE peer <> '' ORDER BY id")
    ]
    assert kinds == ["open", "close"] * 21

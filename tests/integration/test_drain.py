"""Real servers drained by a real command: when their peers are closed, and that they serve on."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.infrastructure.site import Site
from tests.infrastructure.waiting import aeventually

Endpoints = Callable[..., None]
Sessions = Callable[[str], Awaitable[list[ClientConnection]]]

SOON = "WEBSOCKETS['HEARTBEAT_INTERVAL'] = 0.2; WEBSOCKETS['NODE_TTL'] = 5.0"
SESSIONS = 50
SECONDS = 2.0


@pytest.fixture
async def sessions() -> AsyncIterator[Sessions]:
    """Open many sessions; those that the server doesn't close are closed in the end."""
    async with AsyncExitStack() as stack:

        async def make(url: str) -> list[ClientConnection]:
            return [await stack.enter_async_context(connect(url)) for _ in range(SESSIONS)]

        yield make


async def ends_of(peers: list[ClientConnection]) -> list[float]:
    """Return when each was closed, in order."""

    async def end(websocket: ClientConnection) -> float:
        await websocket.wait_closed()
        return time.monotonic()

    return sorted(await asyncio.gather(*map(end, peers)))


async def echoes(url: str) -> bool:
    try:
        async with connect(url) as websocket:
            await websocket.send("x")
            return await websocket.recv() == "x"
    except InvalidStatus:
        return False


async def test_sessions_of_two_servers_close_evenly_over_two_seconds_and_both_serve_on(
    make_site: Callable[..., Site],
    endpoints: Endpoints,
    sessions: Sessions,
    valkey_url: str,
) -> None:
    site = make_site(redis_url=valkey_url, settings=SOON)
    endpoints(site, echo={"handler": "handlers.echo"}, other={"handler": "handlers.echo"})
    servers = {4012: site.start_daphne(), 1012: site.start_uvicorn()}
    opened = {code: await sessions(server.ws("echo")) for code, server in servers.items()}
    async with connect(servers[1012].ws("other")) as bystander:
        options = ("--local", "--endpoint", "echo", "--over", str(SECONDS))
        command = site.start("drain", "drain_websockets", *options)
        times = await asyncio.gather(*map(ends_of, opened.values()))
        assert await asyncio.to_thread(command.wait) == 0, command.output
        await bystander.send("unharmed")
        assert await bystander.recv() == "unharmed"
    assert all(map(is_spread, times)), times
    for code, server in servers.items():
        assert {websocket.close_code for websocket in opened[code]} == {code}
        assert await echoes(server.ws("echo"))
        assert re.search(rf":{server.pid} +done +closed: {SESSIONS} of {SESSIONS}", command.output)
    rows = await aeventually(lambda: ended(site, 2 * SESSIONS))
    assert {row["close_code"] for row in rows} == {1012}
    events = site.rows("SELECT detail FROM websockets_app_event WHERE kind = 'drain'")
    assert sorted(event["detail"] for event in events) == [
        *[f"{SESSIONS} sessions of echo close over 2 s"] * 2,
        *[f"done; closed: {SESSIONS} of {SESSIONS} sessions, gone by themselves: 0"] * 2,
    ]


def is_spread(times: list[float]) -> bool:
    """Tell whether about a quarter of the closes came in each quarter of the time."""
    quarters = [0] * 4
    for moment in times:
        quarters[min(3, int((moment - times[0]) / (SECONDS / 4)))] += 1
    about = SESSIONS / 4
    return times[-1] - times[0] > SECONDS * 0.8 and all(
        about / 3 < number < about * 2 for number in quarters
    )


def ended(site: Site, number: int) -> list[dict[str, object]]:
    sql = "SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL"
    rows = site.rows(f"{sql} AND close_cause = 'shutdown'")
    return rows if len(rows) == number else []


async def test_on_sqlite_with_no_layer_it_keeps_people_out_until_ctrl_c_which_stops_it_safely(
    make_site: Callable[..., Site], endpoints: Endpoints, sessions: Sessions
) -> None:
    site = make_site(settings=SOON)
    endpoints(site, echo={"handler": "handlers.echo"})
    server = site.start_daphne()
    sockets = await sessions(server.ws("echo"))
    options = ("--all", "--over", "600", "--keep-out", "600", "--json")
    command = site.start("drain", "drain_websockets", *options)
    await asyncio.to_thread(command.wait_for_output, f" of {SESSIONS};")
    assert not await echoes(server.ws("echo"))
    assert await asyncio.to_thread(command.kill, signal.SIGINT) == 130, command.output
    (line,) = re.findall(r"^\[.*\]$", command.output, re.MULTILINE)
    (told,) = json.loads(line)
    assert (told["state"], told["found"]) == ("cancelled", SESSIONS)
    await aeventually(lambda: echoes(server.ws("echo")))
    alive = [socket for socket in sockets if socket.close_code is None]
    assert len(alive) > SESSIONS / 2
    for socket in alive:
        await socket.send("x")
        assert await socket.recv() == "x"

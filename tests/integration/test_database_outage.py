"""PostgreSQL is away for longer than a lease, or hangs: nobody is reaped, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from websockets.asyncio.client import ClientConnection, connect

from tests.infrastructure.postgres import Postgres
from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually
from tests.integration.crowd import heard

NODE_TTL = 2.0
LEASES = f"WEBSOCKETS |= {{'HEARTBEAT_INTERVAL': 0.3, 'NODE_TTL': {NODE_TTL}}}"
SESSIONS = "SELECT id, close_cause FROM websockets_app_session"
NODES = "SELECT id, state, beat FROM websockets_app_node ORDER BY id"
LIVES = (
    "SELECT kind, count(*) AS n, count(DISTINCT peer) AS peers FROM websockets_app_event"
    " WHERE peer <> '' GROUP BY kind ORDER BY kind"
)


async def test_three_nodes_outlive_a_database_that_is_away_for_longer_than_their_leases(
    make_site: Callable[..., Site],
    endpoints: Callable[..., None],
    postgres: Postgres,
    postgres_database: str,
    valkey_url: str,
) -> None:
    site = make_site(database_url=postgres_database, redis_url=valkey_url, settings=LEASES)
    endpoints(site, echo={"handler": "handlers.echo"})
    servers = [await asyncio.to_thread(site.start_uvicorn) for _ in range(3)]
    async with AsyncExitStack() as stack:
        before = [
            await stack.enter_async_context(connect(server.ws("echo"))) for server in servers
        ]
        await aeventually(lambda: len(site.rows(SESSIONS)) == 3)
        nodes = site.rows(NODES)
        with postgres.stopped():
            meanwhile = await come_and_go(servers, before, stack)
        await aeventually(lambda: len(site.rows(SESSIONS)) == 6, timeout=15)
        await aeventually(lambda: have_moved(nodes, site), timeout=15)
        await asyncio.gather(*map(echoes, [*before[1:], *meanwhile]))
        causes = [row["close_cause"] for row in site.rows(SESSIONS)]
        assert sorted(causes) == ["", "", "", "", "", "peer"]
    await aeventually(lambda: all(row["close_cause"] == "peer" for row in site.rows(SESSIONS)))
    lives = await aeventually(lambda: site.rows(LIVES)[0]["n"] == 6 and site.rows(LIVES))
    assert lives == [
        {"kind": "close", "n": 6, "peers": 6},
        {"kind": "open", "n": 6, "peers": 6},
    ]
    lost = "SELECT * FROM websockets_app_event WHERE kind IN ('node_lost', 'gap')"
    assert site.rows(lost) == []


async def come_and_go(
    servers: list[Server], before: list[ClientConnection], stack: AsyncExitStack
) -> list[ClientConnection]:
    """Talk on, leave and come while the database is away, until every lease is long past."""
    begun = time.monotonic()
    await before[0].close()
    meanwhile = await come(servers, stack)

    async def talk() -> bool:
        await asyncio.gather(*map(echoes, [*before[1:], *meanwhile]))
        return time.monotonic() - begun > 1.5 * NODE_TTL

    await aeventually(talk, timeout=3 * NODE_TTL, every=0.05)
    return meanwhile


async def come(servers: list[Server], stack: AsyncExitStack) -> list[ClientConnection]:
    """Open a session on each."""
    opening = (connect(server.ws("echo"), open_timeout=5 * SCALE) for server in servers)
    return [await stack.enter_async_context(connection) for connection in opening]


async def echoes(peer: ClientConnection) -> None:
    await peer.send("hello")
    assert await heard(peer, 1.0) == "hello"


def have_moved(before: list[dict[str, object]], site: Site) -> bool:
    """Tell whether every lease of before is renewed again, by those who held it."""
    now = site.rows(NODES)
    assert [row["id"] for row in now] == [row["id"] for row in before]
    return all(
        new["state"] == "alive" and new["beat"] > old["beat"] + 1  # type: ignore[operator]
        for old, new in zip(before, now, strict=True)
    )


async def test_a_database_that_hangs_makes_one_public_handshake_wait_for_a_second(
    make_site: Callable[..., Site],
    endpoints: Callable[..., None],
    postgres: Postgres,
    postgres_database: str,
) -> None:
    site = make_site(database_url=postgres_database, settings=LEASES)
    endpoints(site, echo={"handler": "handlers.echo"})
    server = await asyncio.to_thread(site.start_uvicorn)
    cookie = {"Cookie": f"sessionid={'a' * 32}"}

    async def open_and_talk() -> None:
        websocket = connect(server.ws("echo"), additional_headers=cookie, open_timeout=20 * SCALE)
        async with websocket as peer:
            await echoes(peer)

    await open_and_talk()
    with postgres.frozen():
        begun = time.monotonic()
        for _ in range(5):
            await open_and_talk()
        assert time.monotonic() - begun < 1.0 + 1.5 * SCALE
    await aeventually(lambda: len(site.rows(SESSIONS)) == 6, timeout=15)

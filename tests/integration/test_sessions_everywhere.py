"""Sessions of all processes of a site, from each of them and from a shell.

Two server processes, on PostgreSQL and Valkey.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually
from tests.integration.crowd import crowd, heard, heard_by_all

MANY = 500
KILLED = 200
LEASE_SETTINGS = "WEBSOCKETS |= {'HEARTBEAT_INTERVAL': 0.4, 'NODE_TTL': 3.0}"

UNLIMITED = {"max_sessions_per_address": 0}

MEMBER = """
from websockets_app import websockets

async def on_open(session):
    session.join("everyone 🌍")

async def on_message(message, session):
    if message == "id":
        return session.id
    if message.startswith("all "):
        return str(await websockets.abroadcast("everyone 🌍", message))
    return "echo " + message
"""

SHELL = """
import json
from websockets_app import websockets
by_id = {{session.id: session for session in websockets.get_open_sessions("member")}}
answers = {{}}
{code}
print(json.dumps([len(by_id), answers]))
"""


async def in_shell(site: Site, code: str) -> tuple[int, Any]:
    """Run code in a shell that has the sessions `by_id`; return how many, and `answers`."""
    number, answers = json.loads(await asyncio.to_thread(site.shell, SHELL.format(code=code)))
    return number, answers


async def id_of(peer: ClientConnection) -> str:
    await peer.send("id")
    return await heard(peer)


def member_site(
    make_site: Callable[..., Site], endpoints: Callable[..., None], **options: str
) -> Site:
    site = make_site(**options)
    endpoints(site, member={"handler": site.write_handler("member", MEMBER), **UNLIMITED})
    return site


def open_rows(site: Site) -> int:
    (row,) = site.rows("SELECT count(*) AS n FROM websockets_app_session WHERE closed_at IS NULL")
    return int(row["n"])


async def test_a_shell_and_each_process_reach_the_sessions_of_both(
    make_site: Callable[..., Site],
    endpoints: Callable[..., None],
    postgres_database: str,
    valkey_url: str,
) -> None:
    site = member_site(make_site, endpoints, database_url=postgres_database, redis_url=valkey_url)
    servers = [await asyncio.to_thread(site.start_daphne) for _ in range(2)]
    async with (
        crowd(servers[0], "member", MANY) as here,
        crowd(servers[1], "member", MANY) as there,
    ):
        opened = time.monotonic()
        await aeventually(lambda: open_rows(site) == 2 * MANY)
        assert time.monotonic() - opened < 1.0 * SCALE
        tom, jerry = here[0], there[0]
        ids = [await id_of(tom), await id_of(jerry)]

        code = f"for key in {ids}: answers[key] = by_id[key].send_text('from the shell')"
        assert await in_shell(site, code) == (2 * MANY, dict.fromkeys(ids, "forwarded"))
        assert await heard_by_all([tom, jerry]) == {"from the shell"}

        await tom.send("all from a session")
        assert await heard_by_all(there) == {"all from a session"}
        assert await heard_by_all(here) == {"all from a session"}
        assert await heard(tom) == str(MANY)  # so many of its own process

        code = (
            f"answers['sent'] = websockets.broadcast('everyone 🌍', {{'an': 'object'}})\n"
            f"answers['closed'] = by_id[{ids[1]!r}].close(4000, 'enough')"
        )
        _, answers = await in_shell(site, code)
        assert answers == {"sent": 0, "closed": "forwarded"}
        assert await heard_by_all([*here, *there]) == {'{"an":"object"}'}
        await asyncio.wait_for(jerry.wait_closed(), 10 * SCALE)
        assert jerry.close_code == 4000
        closed = "SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL"
        (row,) = await aeventually(lambda: site.rows(closed))
        assert (row["id"], row["close_cause"]) == (ids[1], "handler")
        assert (row["close_code"], row["close_reason"]) == (4000, "enough")
        assert open_rows(site) == 2 * MANY - 1
    (lost,) = site.rows("SELECT sum(mail_lost + mail_dropped) AS n FROM websockets_app_node")
    assert lost["n"] == 0
    for server in servers:
        assert "(RedisChannelLayer) answers: other processes are reached" in server.output
        assert "Traceback" not in server.output


async def test_sessions_of_a_killed_process_are_closed_and_the_others_do_not_notice(
    make_site: Callable[..., Site],
    endpoints: Callable[..., None],
    postgres_database: str,
    valkey_url: str,
) -> None:
    site = member_site(
        make_site, endpoints, database_url=postgres_database, redis_url=valkey_url,
        settings=LEASE_SETTINGS,
    )  # fmt: skip
    staying = await asyncio.to_thread(site.start_uvicorn)
    killed = await asyncio.to_thread(site.start_daphne)
    lost = "SELECT * FROM websockets_app_session WHERE close_cause = 'node_lost'"
    async with connect(staying.ws("member")) as tom, connect(staying.ws("member")) as jerry:
        async with crowd(killed, "member", KILLED):
            await aeventually(lambda: open_rows(site) == KILLED + 2)
            await asyncio.to_thread(site.kill, killed, signal.SIGKILL)
            slowest = await talk_until(tom, lambda: len(site.rows(lost)) == KILLED)
        assert slowest < 1.0 * SCALE
        assert open_rows(site) == 2
        await jerry.send("all still here")
        assert await heard_by_all([tom, jerry]) == {"all still here"}
        assert await heard(jerry) == "2"
    closes = site.rows(
        "SELECT peer FROM websockets_app_event WHERE kind = 'close' AND cause = 'node_lost'"
    )
    assert len({row["peer"] for row in closes}) == len(closes) == KILLED
    states = site.rows("SELECT state FROM websockets_app_node ORDER BY state")
    assert [row["state"] for row in states] == ["alive", "lost"]
    assert "Traceback" not in staying.output


async def talk_until(peer: ClientConnection, is_done: Callable[[], bool]) -> float:
    """Let a peer talk until something has happened; return the longest time to an answer."""
    slowest = 0.0

    async def talk() -> bool:
        nonlocal slowest
        begun = time.monotonic()
        await peer.send("hello")
        assert await heard(peer) == "echo hello"
        slowest = max(slowest, time.monotonic() - begun)
        return await asyncio.to_thread(is_done)

    await aeventually(talk, timeout=20)
    return slowest

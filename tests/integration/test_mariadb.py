"""Real servers and runners on MariaDB: sessions, events, the outbox, and a killed runner."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from websockets.asyncio.client import connect

from tests.infrastructure.site import Site
from tests.infrastructure.waiting import aeventually, eventually
from tests.integration.peers import running_peer

QUICK = "WEBSOCKETS |= {'NODE_TTL': 2.0, 'HEARTBEAT_INTERVAL': 0.3}"


def number(site: Site, table: str, where: str = "1 = 1") -> int:
    sql = f"SELECT COUNT(*) AS n FROM websockets_app_{table} WHERE {where}"  # noqa: S608
    return int(site.rows(sql)[0]["n"])


async def test_sessions_are_served_and_recorded(
    make_site: Callable[..., Site], mariadb_database: str, endpoints: Callable[..., None]
) -> None:
    site = make_site(database_url=mariadb_database)
    endpoints(
        site,
        echo={"handler": "handlers.echo", "record_messages": "payloads"},
        Echo={"handler": "handlers.room"},
    )
    server = site.start_daphne()
    async with connect(server.ws("echo")) as websocket:
        await websocket.send("héllo 🙂")
        assert await websocket.recv() == "héllo 🙂"
        await aeventually(lambda: number(site, "session", "closed_at IS NULL") == 1)
    await aeventually(lambda: number(site, "session", "close_code = 1000") == 1)
    payloads = site.rows("SELECT payload FROM websockets_app_event WHERE kind = 'message'")
    assert [row["payload"] for row in payloads] == ["héllo 🙂", "héllo 🙂"]
    await aeventually(lambda: number(site, "minute", "messages_in = 1 AND closed = 1") == 1)
    assert json.loads(site.manage("websocket_health", "--json").stdout)["healthy"]
    assert "Traceback" not in server.output


@pytest.mark.timeout(240)
def test_a_killed_runner_s_client_goes_to_another_and_every_message_arrives(
    make_site: Callable[..., Site], mariadb_database: str
) -> None:
    site = make_site(database_url=mariadb_database, settings=QUICK)
    received: list[str] = []
    with running_peer(lambda connection: received.extend(map(str, connection))) as peer:
        site.shell(
            f"Client.objects.create(name='c', uri={peer.uri!r}, handler='handlers.printer',"
            " on_uncertain='resend', backoff_base=0.1)"
        )
        first = site.start_runner()
        eventually(lambda: number(site, "clientruntime", "state = 'open'"), timeout=20)
        site.start_runner()
        eventually(lambda: number(site, "node", "state = 'alive'") == 2, timeout=20)
        send = "from websockets_app import websockets\nclient, = Client.objects.all()\n"
        send += "for n in range(20): websockets.get_client(client.pk).send(f'{0}-{n}')"
        site.shell(send.replace("{0}", "before"))
        eventually(lambda: "before-19" in received, timeout=20)
        site.kill(first)
        site.shell(send.replace("{0}", "after"))
        eventually(lambda: "after-19" in received, timeout=30)
        eventually(
            lambda: number(site, "outboxmessage", "status = 'acknowledged'") == 40, timeout=20
        )
    once = list(dict.fromkeys(received))
    assert once == [f"{when}-{n}" for when in ("before", "after") for n in range(20)]
    assert number(site, "event", "kind = 'node_lost'") == 1

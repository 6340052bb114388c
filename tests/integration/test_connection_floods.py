"""A flood of connections: table and log stay small, everything is counted, others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from signal import SIGTERM

import pytest
from websockets.asyncio.client import connect

from tests.infrastructure.flood import HANDSHAKE
from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

PEERS = 20
FLOOD_SECONDS = 3.0
FEW = 20
"""Rows that a flood of a few seconds may add once its limit has been reached."""
BEHIND_PROXY = "WEBSOCKETS['TRUSTED_PROXIES'] = ['127.0.0.1']"
RAISES = "def on_message(message):\n    raise ValueError(message)\n"


class Flood:
    """Peers of one address that connect, leave and connect again as fast as they can."""

    def __init__(self, server: Server, path: str) -> None:
        self.statuses: Counter[int] = Counter()
        self._port = server.port
        request = HANDSHAKE.format(path=path, host=f"127.0.0.1:{server.port}")
        self._request = request.replace("\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Flood until the block is left, and let the last attempts end."""
        self._over = False
        peers = [asyncio.create_task(self._connect_again_and_again()) for _ in range(PEERS)]
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(*peers)

    async def _connect_again_and_again(self) -> None:
        while not self._over:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._request.encode())
            status = await reader.readuntil(b"\r\n\r\n")
            self.statuses[int(status.split()[1])] += 1
            writer.close()


def rows(site: Site) -> int:
    """Return how many rows the tables of history have."""
    sql = (
        "SELECT (SELECT COUNT(*) FROM websockets_app_event)"
        " + (SELECT COUNT(*) FROM websockets_app_session)"
        " + (SELECT COUNT(*) FROM websockets_app_minute) AS n"
    )
    return int(site.rows(sql)[0]["n"])


def has_written(site: Site, opened: int) -> bool:
    """Return whether the sessions that a flood opened are written, with their ends."""
    sql = "SELECT COUNT(*) AS n, COUNT(closed_at) AS closed FROM websockets_app_session"
    (sessions,) = site.rows(sql)
    return bool(sessions["n"] - 1 == sessions["closed"] == opened)  # the other one stays open


@pytest.mark.parametrize("path", ["private", "unknown", "echo"])
async def test_a_flood_of_connections_adds_few_rows_and_log_lines_and_each_is_counted(
    tmp_path: Path, migrated_database: Path, endpoints: Callable[..., None], path: str
) -> None:
    site = Site(tmp_path, template=migrated_database, settings=BEHIND_PROXY)
    endpoints(
        site,
        echo={"handler": "handlers.echo"},
        private={"handler": "handlers.echo", "access": "authenticated"},
    )
    server = site.start_uvicorn("--no-access-log", "--log-level", "warning")
    try:
        flood = Flood(server, f"/websockets/v4/service/{path}")
        async with connect(server.ws("echo")) as other, flood.running():
            await aeventually(lambda: flood.statuses[429] > 100)
            await aeventually(lambda: has_written(site, flood.statuses[101]))
            before, until = rows(site), time.monotonic() + FLOOD_SECONDS
            while time.monotonic() < until:
                await other.send("x")
                assert await asyncio.wait_for(other.recv(), 5 * SCALE) == "x"
                await asyncio.sleep(0.05)
            grown = rows(site) - before
        server.kill(SIGTERM)
    finally:
        site.end()
    assert grown < FEW
    refused = sum(flood.statuses.values()) - flood.statuses[101]
    sql = "SELECT SUM(COALESCE(repeats, 1)) AS n FROM websockets_app_event WHERE kind = 'refused'"
    assert site.rows(sql) == [{"n": refused}]
    assert len(server.output.splitlines()) < 4 * FEW
    told = re.findall(r"\(refused\): ([\d,]+) more like this", server.output)
    singles = server.output.count("Refused /")
    assert sum(int(number.replace(",", "")) for number in told) + singles == refused


async def test_a_peer_whose_messages_make_the_handler_raise_adds_few_rows_and_log_lines(
    site: Site, endpoints: Callable[..., None]
) -> None:
    raises = {"handler": site.write_handler("raises", RAISES), "messages_per_second": 0}
    endpoints(site, raises=raises)
    server = site.start_uvicorn("--log-level", "warning")
    async with connect(server.ws("raises")) as peer:
        for number in range(1000):
            await peer.send(str(number))
    sql = "SELECT messages_in AS n FROM websockets_app_session WHERE closed_at IS NOT NULL"
    await aeventually(lambda: site.rows(sql) == [{"n": 1000}], 20.0)
    server.kill(SIGTERM)
    sql = "SELECT COALESCE(repeats, 1) AS n FROM websockets_app_event WHERE kind = 'error'"
    assert json.dumps([row["n"] for row in site.rows(sql)]) == "[1, 1, 1, 1, 1, 995]"
    assert site.rows("SELECT SUM(errors) AS n FROM websockets_app_minute") == [{"n": 1000}]
    assert server.output.count("Traceback") == 5
    assert "995 more like this" in server.output

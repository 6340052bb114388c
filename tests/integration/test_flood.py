"""Floods on a slow handler: they cost a bounded memory, and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.infrastructure.processes import Process, Server
from tests.infrastructure.site import REPOSITORY, Site
from tests.infrastructure.waiting import SCALE, aeventually
from tests.integration.crowd import crowd
from websockets_app.conf import WebsocketsSettings

Endpoints = Callable[..., None]

OTHERS = 100
FLOOD_SECONDS = 3.0
MOST_MIB = 40
"""What a server may grow by: the inboxes, and the buffers of whom it has just closed."""
CROWD = 40
CROWD_MESSAGES = 10  # as in RECEIVED
SIZE = 1024**2 - 1
RECEIVED = (
    "SELECT COUNT(*) AS sessions FROM websockets_app_session "
    "WHERE close_cause = 'slow' OR messages_in = 10"
)
CLOSED = "SELECT close_reason FROM websockets_app_session WHERE close_cause = 'slow'"
HANGS = "import asyncio\nasync def on_message(message):\n    await asyncio.sleep(60)\n"
SLEEPS = "import asyncio\nasync def on_message(message):\n    await asyncio.sleep(2)\n"


def resident_mib(process: Process) -> float:
    """Return how much memory a process has."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def start_flood(site: Site, server: Server, path: str) -> Process:
    command = [sys.executable, "-m", "tests.infrastructure.flood", server.ws(path)]
    log = site.directory / "flood.log"
    flood = Process("flood", command, log, site.env(), REPOSITORY)
    site.processes.append(flood)
    return flood


async def round_trips(peer: ClientConnection, until: float) -> list[float]:
    """Return how long each of several messages took to come back."""
    seconds = []
    while time.monotonic() < until:
        sent = time.perf_counter()
        await peer.send("x")
        assert await peer.recv() == "x"
        seconds.append(time.perf_counter() - sent)
        await asyncio.sleep(0.1)  # as people who talk, not as a flood
    return seconds


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("start", [Site.start_daphne, Site.start_uvicorn])
async def test_a_flood_on_a_slow_handler_keeps_memory_flat_and_the_others_talking(
    site: Site, endpoints: Endpoints, start: Callable[[Site], Server]
) -> None:
    slow = {"handler": site.write_handler("sleeps", SLEEPS), "messages_per_second": 0}
    endpoints(site, echo={"handler": "handlers.echo"}, slow=slow)
    server = start(site)
    async with crowd(server, "echo", OTHERS) as peers:
        before = resident_mib(server)
        flood = start_flood(site, server, "slow")
        await aeventually(
            lambda: site.rows("SELECT 1 FROM websockets_app_session WHERE close_cause = 'slow'")
        )
        until = time.monotonic() + FLOOD_SECONDS
        talks = await asyncio.gather(*(round_trips(peer, until) for peer in peers))
        grown = resident_mib(server) - before
    assert await asyncio.to_thread(flood.kill, signal.SIGTERM) == 0
    told = re.search(r"(\d+) sessions, (\d+) bytes", flood.output)
    assert told
    assert int(told[1]) > 4  # who was closed came back
    assert int(told[2]) > 2 * MOST_MIB * 1024**2  # more than could be kept
    assert grown < MOST_MIB, f"{grown:.0f} MiB"
    assert all(talks)  # each of them, all the time
    median = statistics.median(seconds for talk in talks for seconds in talk)
    assert median < 0.5 * SCALE, f"{median * 1000:.0f} ms"


async def send_deflated(peer: ClientConnection) -> None:
    """Send messages of 1 MiB that take 1 KiB on the wire, until the peer is closed."""
    with contextlib.suppress(ConnectionClosed):
        for _ in range(CROWD_MESSAGES):
            await peer.send("x" * SIZE)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("start", [Site.start_daphne, Site.start_uvicorn])
async def test_many_sessions_that_are_each_within_their_limits_queue_no_more_than_the_process_may(
    site: Site, endpoints: Endpoints, start: Callable[[Site], Server]
) -> None:
    endpoints(site, slow={"handler": site.write_handler("hangs", HANGS)})
    server = start(site)
    memory: list[float] = []

    def all_received() -> bool:
        memory.append(resident_mib(server))
        return site.rows(RECEIVED)[0]["sessions"] == CROWD

    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(connect(server.ws("slow"), ping_interval=None))
            for _ in range(CROWD)
        ]
        memory.append(resident_mib(server))
        await asyncio.gather(*map(send_deflated, opened))
        await aeventually(all_received, timeout=30)
    reasons = [row["close_reason"] for row in site.rows(CLOSED)]
    assert reasons
    assert all("MAX_QUEUED_BYTES" in reason for reason in reasons)
    # What is queued, a message in each handler, and three for the server's own buffers.
    allowed = WebsocketsSettings.MAX_QUEUED_BYTES / 1024**2 + 4 * CROWD
    grown = max(memory) - memory[0]
    assert grown < allowed, f"{grown:.0f} MiB"

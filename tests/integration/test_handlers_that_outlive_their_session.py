"""Handlers that go on when their peer has left, on real servers with the default thread pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from signal import SIGTERM

import pytest
from websockets.asyncio.client import connect

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.waiting import SCALE, aeventually

Endpoints = Callable[..., None]

SERVERS = [Site.start_daphne, Site.start_uvicorn]

TICKER = """
import time

def on_open(session):
    while True:
        session.send_text("tick")
        time.sleep(0.05)
"""
ASYNC_TICKER = """
import asyncio

async def on_open(session):
    while True:
        await session.asend_text("tick")
        await asyncio.sleep(0.05)
"""
STUCK = """
import time

def on_open():
    time.sleep(3600)
"""
PLAIN_ECHO = "def on_message(message): return message"
COUNT = """
import asyncio

async def on_message():
    return str(len(asyncio.all_tasks()))
"""


@pytest.mark.parametrize("start", SERVERS)
async def test_reloads_of_a_page_whose_sync_handler_sends_in_a_loop_use_no_thread_up(
    site: Site, endpoints: Endpoints, start: Callable[[Site], Server]
) -> None:
    endpoints(
        site,
        ticker={"handler": site.write_handler("ticker", TICKER)},
        echo={"handler": site.write_handler("plain_echo", PLAIN_ECHO)},
    )
    server = start(site)
    for _ in range(40):  # more than there are threads
        async with connect(server.ws("ticker")) as page:
            assert await page.recv() == "tick"
    async with asyncio.timeout(5 * SCALE), connect(server.ws("echo")) as peer:
        await peer.send("still served")
        assert await peer.recv() == "still served"
    server.kill(SIGTERM)  # which writes the events that wait
    kinds = site.rows("SELECT DISTINCT kind FROM websockets_app_event WHERE peer != ''")
    # A tick may arrive after the close: that is no error.
    assert {row["kind"] for row in kinds} - {"after_close"} == {"open", "close"}
    assert "Traceback" not in server.output


@pytest.mark.parametrize("start", SERVERS)
async def test_tasks_of_an_async_handler_that_sends_in_a_loop_end_with_their_sessions(
    site: Site, endpoints: Endpoints, start: Callable[[Site], Server]
) -> None:
    endpoints(
        site,
        ticker={"handler": site.write_handler("ticker", ASYNC_TICKER)},
        count={"handler": site.write_handler("count", COUNT)},
    )
    server = start(site)
    async with connect(server.ws("count")) as counter:

        async def tasks() -> int:
            await counter.send("count")
            return int(await counter.recv())

        before = await tasks()
        for _ in range(60):
            async with connect(server.ws("ticker")) as page:
                await page.recv()

        async def have_ended() -> bool:
            return await tasks() < before + 10

        await aeventually(have_ended, timeout=10)


async def test_callbacks_that_hang_are_counted_and_make_the_site_unhealthy(
    make_site: Callable[..., Site], endpoints: Endpoints
) -> None:
    site = make_site(settings="WEBSOCKETS['SYNC_THREADS'] = 3")
    endpoints(site, stuck={"handler": site.write_handler("stuck", STUCK)})
    server = site.start_uvicorn()
    for _ in range(5):
        async with connect(server.ws("stuck")):
            pass

    def counted() -> bool:
        (node,) = site.rows("SELECT * FROM websockets_app_node")
        return (node["stuck_callbacks"], node["waiting_callbacks"]) == (5, 3)

    await aeventually(counted, timeout=20)
    health = site.manage("websocket_health", check=False)
    assert health.returncode == 1
    assert "callbacks still run although their session has ended: 5" in health.stdout
    assert "callbacks wait: 3" in health.stdout
    events = site.rows("SELECT detail FROM websockets_app_event WHERE kind = 'problem'")
    assert {event["detail"].split()[0] for event in events} == {"Callbacks", "Sync"}
    assert server.output.count("site_handlers.stuck of endpoint stuck that still run") == 1

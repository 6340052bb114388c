"""Limits where the server matters: what it sends, whether it waits, and whom others hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.infrastructure.site import Site
from tests.infrastructure.waiting import aeventually

Endpoints = Callable[..., None]

FLOOD = """
async def on_message(message, session):
    while await session.asend_bytes(bytes(1024 * 1024)) == "written":
        pass
"""


async def is_refused(url: str) -> bool:
    """Tell whether there is no room for one more."""
    try:
        async with connect(url):
            return False
    except InvalidStatus as refused:
        return refused.response.status_code in (403, 503)  # Daphne knows one alone


async def test_sessions_are_counted_over_servers_and_a_rate_is_told_as_each_can(
    make_site: Callable[..., Site], endpoints: Endpoints
) -> None:
    site = make_site(settings="WEBSOCKETS['HEARTBEAT_INTERVAL'] = 0.2")
    limits = {"max_sessions": 2, "messages_per_second": 0.001, "message_burst": 1}
    endpoints(site, echo={"handler": "handlers.echo", **limits})
    daphne, uvicorn = site.start_daphne(), site.start_uvicorn()
    async with connect(daphne.ws("echo")) as one, connect(uvicorn.ws("echo")) as other:
        for server in (daphne, uvicorn):
            await aeventually(partial(is_refused, server.ws("echo")))
        for websocket in (one, other):
            await websocket.send("1")
            await websocket.send("2")
            assert await websocket.recv() == "1"
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
    assert (one.close_code, other.close_code) == (4008, 1008)
    ended = await aeventually(
        lambda: site.rows("SELECT * FROM websockets_app_session WHERE close_cause = 'rate'")[1:]
    )
    assert {row["close_code"] for row in ended} == {1008}


async def test_a_peer_that_does_not_read_is_closed_where_the_server_waits_for_it(
    site: Site, endpoints: Endpoints
) -> None:
    endpoints(site, flood={"handler": site.write_handler("flood", FLOOD), "send_timeout": 0.2})
    server = site.start_uvicorn()
    # Compressed, more of these zeros than anybody sends would fit into the sockets' buffers.
    options: dict[str, Any] = {"max_queue": 1, "compression": None, "close_timeout": 0}
    async with connect(server.ws("flood"), **options) as websocket:
        await websocket.send("go")
        (row,) = await aeventually(
            lambda: site.rows("SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL")
        )
        assert (row["close_code"], row["close_cause"]) == (1013, "slow")
        assert row["close_reason"] == "a message to the peer waited for 0.2 s"

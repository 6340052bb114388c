"""The settings for PostgreSQL that the documentation has, and how many connections it promises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import connect

from tests.infrastructure.documents import blocks
from tests.infrastructure.site import Site
from websockets_app.checks.postgresql import LASTING, SHARED
from websockets_app.conf import WebsocketsSettings
from websockets_app.node.node import LOOKUP_THREADS

SETTINGS = """
{block}
del DATABASES["default"]["ENGINE"], DATABASES["default"]["NAME"]
DATABASES["default"] = {{
    **given, **DATABASES["default"],
    "OPTIONS": {{**given.get("OPTIONS", {{}}), **DATABASES["default"]["OPTIONS"]}},
}}
"""
ASKS = """
from django.db import connection
from asgiref.sync import sync_to_async

def ask():
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return cursor.fetchone()[0]

{callback}
"""
PLAIN = "def on_message(message): return ask()"
ASYNC = "async def on_message(message): return await sync_to_async(ask)()"
COUNT = (
    "SELECT count(*) AS n FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
SESSIONS = 60


async def answers(url: str) -> set[object]:
    """Let many sessions ask at once; return what they are told."""
    sockets = [await connect(url) for _ in range(SESSIONS)]
    await asyncio.gather(*(socket.send("x") for socket in sockets))
    told = set(await asyncio.gather(*(socket.recv() for socket in sockets)))
    await asyncio.gather(*(socket.close() for socket in sockets))
    return told


async def test_a_process_takes_no_more_connections_than_the_page_says_and_they_have_time_outs(
    make_site: Callable[..., Site], endpoints: Callable[..., None], postgres_database: str
) -> None:
    (block,) = blocks("docs/how-to/run-in-production.md", "PostgreSQL")
    settings = 'given = DATABASES["default"]\n' + SETTINGS.format(block=block.text)
    site = make_site(database_url=postgres_database, settings=settings)
    endpoints(
        site,
        plain={"handler": site.write_handler("plain", ASKS.format(callback=PLAIN))},
        asynchronous={"handler": site.write_handler("asynchronous", ASKS.format(callback=ASYNC))},
    )
    server = site.start_uvicorn()
    most = LASTING + LOOKUP_THREADS + SHARED + WebsocketsSettings.SYNC_TO_ASYNC_THREADS
    assert await answers(server.ws("asynchronous")) == {"30s"}
    assert site.rows(COUNT)[0]["n"] <= most
    assert await answers(server.ws("plain")) == {"30s"}
    assert site.rows(COUNT)[0]["n"] <= most + WebsocketsSettings.SYNC_THREADS

"""Serving endpoints for as long as a test's communicators need it, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import connection, connections

from ..conf import app_settings
from ..exceptions import ConfigurationError
from ..inbound.serving import Serving, get_serving, is_serving, stop_serving

_users: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, int]] = WeakKeyDictionary()


@asynccontextmanager
async def endpoints_served() -> AsyncIterator[Serving]:
    """Serve the endpoints as they are now; what this begins ends with its last user."""
    await sync_to_async(_refuse_to_miss_the_transaction)()
    loop = asyncio.get_running_loop()
    if is_serving() and loop not in _users:  # somebody else's, who ends it
        yield await _up_to_date()
        return
    _users[loop] = _users.get(loop, 0) + 1
    try:
        yield await _up_to_date()
    finally:
        _users[loop] -= 1
        if not _users[loop]:
            del _users[loop]
            await stop_serving()
            await sync_to_async(_let_connections_go)()


async def _up_to_date() -> Serving:
    begun = not is_serving()
    serving = await get_serving()
    if not begun:
        await serving.node.look()
    return serving


def _refuse_to_miss_the_transaction() -> None:
    """Raise where the test's rows are out of sight for the threads that would serve them."""
    if connection.in_atomic_block and app_settings.RECORDING != "inline":
        raise ConfigurationError(
            "The test runs in a transaction, which endpoints can't see with "
            f"WEBSOCKETS['RECORDING'] = {app_settings.RECORDING!r}: decorate it with "
            "websockets_app.testing.inline_recording()."
        )


def _let_connections_go() -> None:
    """Close what the ORM opened in this thread, or PostgreSQL couldn't drop the test database."""
    for opened in connections.all(initialized_only=True):
        if not opened.in_atomic_block:
            opened.close()

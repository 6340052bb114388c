"""Fixtures for tests that drive the consumer without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from websockets_app.inbound import receiving
from websockets_app.inbound.serving import Serving, get_serving, stop_serving
from websockets_app.models import Endpoint

WriteHandler = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def wait_briefly_for_the_peers_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scale the time for which a closed session waits: no server answers a close here."""
    monkeypatch.setattr(receiving, "REST_SECONDS", 0.05)


@pytest.fixture
async def serve(
    transactional_db: None,
) -> AsyncIterator[Callable[..., Any]]:
    """Create endpoints, public by default, and serve them; they are drained in the end."""

    async def start(**rows: dict[str, Any]) -> Serving:
        for path, fields in rows.items():
            await Endpoint.objects.acreate(**{"endpoint": path, "access": "public", **fields})
        return await get_serving()

    yield start
    await stop_serving()
    # The async ORM's connection, which would keep PostgreSQL from dropping the test's database.
    await sync_to_async(connections.close_all)()

"""Fixtures for tests that drive the consumer without a server."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from websockets_app.dispatch import loader
from websockets_app.inbound.serving import Serving, get_serving, stop_serving
from websockets_app.models import Endpoint

WriteHandler = Callable[[str, str], str]


@pytest.fixture
def write_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[WriteHandler]:
    """Write a handler module below an allowed package of the test's own; return its reference."""
    package = tmp_path / "written_handlers"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings.WEBSOCKETS = {
        **settings.WEBSOCKETS, "HANDLER_PACKAGES": ["handlers", "written_handlers"],
    }  # fmt: skip

    def write(name: str, source: str) -> str:
        (package / f"{name}.py").write_text(source)
        return f"written_handlers.{name}"

    yield write
    for module in [name for name in sys.modules if name.startswith("written_handlers")]:
        del sys.modules[module]
    loader.load.cache_clear()


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

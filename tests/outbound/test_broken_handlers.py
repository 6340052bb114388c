"""A client whose handler failed to load connects as soon as it loads, and says so until then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import Guests, MakePeer
from websockets_app.models import LoadError
from websockets_app.node import handler_retries

WriteHandler = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_retries, "BACKOFF", handler_retries.Backoff(base=0.1, ceiling=0.1))
    monkeypatch.setattr("websockets_app.outbound.supervisor.STEP_SECONDS", 0.05)


async def test_a_corrected_handler_lets_its_client_connect_without_a_change_of_its_row(
    write_handler: WriteHandler, settings: Settings, supervised: Any, make_peer: MakePeer
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "HANDLER_PACKAGES": ["written_handlers"]}
    guests = Guests()
    reference = write_handler("broken", "raise ConnectionError('the broker is away')")
    client = await supervised.add(await make_peer(guests), reference)
    await supervised.wait_for("failed")

    async def is_reported() -> bool:
        reports = LoadError.objects.filter(client=client, attempts__gt=2)
        return await reports.filter(problem__contains="the broker is away").aexists()

    async def is_over() -> bool:
        return not await LoadError.objects.aexists()

    await aeventually(is_reported)
    write_handler("broken", "def on_message(): pass")
    await aeventually(lambda: guests.now)
    await supervised.wait_for("open")
    await aeventually(is_over)

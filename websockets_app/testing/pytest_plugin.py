"""Fixtures for pytest.

A `conftest.py` asks for them: `pytest_plugins = ["websockets_app.testing.pytest_plugin"]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from . import Conversation, EndpointCommunicator, inline_recording


@pytest.fixture
def websocket_conversation() -> Iterator[Callable[..., Conversation]]:
    """Open a `Conversation`, called as that is; it ends with the test. Needs no database."""
    with ExitStack() as held:
        yield lambda *args, **options: held.enter_context(Conversation(*args, **options))


@pytest.fixture
def endpoint_communicator(
    transactional_db: None,
) -> Iterator[Callable[..., EndpointCommunicator]]:
    """Make an `EndpointCommunicator`, called as that is, under `inline_recording()`.

    For async tests, whose ORM has a connection of its own: hence the `transactional_db` of
    pytest-django. Fails the test that leaves a connection open.
    """
    with inline_recording(), communicators() as make:
        yield make


@contextmanager
def communicators() -> Iterator[Callable[..., EndpointCommunicator]]:
    """Make communicators, none of which may be left open."""
    made: list[EndpointCommunicator] = []

    def make(*args: Any, **options: Any) -> EndpointCommunicator:
        made.append(EndpointCommunicator(*args, **options))
        return made[-1]

    yield make
    if any(communicator.is_open for communicator in made):
        pytest.fail("An EndpointCommunicator is still open: use `async with`, or disconnect().")

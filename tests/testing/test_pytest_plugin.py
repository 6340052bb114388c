"""The fixtures, and that nobody needs pytest for the rest."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.infrastructure.site import REPOSITORY
from websockets_app.conf import app_settings
from websockets_app.models import Endpoint
from websockets_app.node.node import nodes
from websockets_app.testing import Conversation, EndpointCommunicator
from websockets_app.testing.pytest_plugin import communicators


def test_a_conversation_of_the_fixture_is_open_and_found(
    websocket_conversation: Callable[..., Conversation],
) -> None:
    echo = websocket_conversation("handlers.echo")
    assert len(nodes()) == 1
    assert not echo.session.closed


async def test_the_communicators_fixture_sets_what_tests_need(
    endpoint_communicator: Callable[..., EndpointCommunicator],
) -> None:
    assert app_settings.RECORDING == "inline"
    assert (await endpoint_communicator("nowhere").connect()).status == 404


async def test_a_connection_that_is_left_open_fails_its_test(
    endpoint_communicator: Callable[..., EndpointCommunicator],
) -> None:
    await Endpoint.objects.acreate(endpoint="echo", handler="handlers.echo", access="public")

    async def forget() -> None:
        with communicators() as make:
            made.append(make("echo"))
            await made[0].connect()

    made: list[EndpointCommunicator] = []
    with pytest.raises(pytest.fail.Exception, match="still open"):
        await forget()
    await made[0].disconnect()


def test_the_kit_needs_no_pytest() -> None:
    modules = (REPOSITORY / "websockets_app" / "testing").glob("*.py")
    importing = [
        path.stem
        for path in modules
        if re.search(r"^\s*(from|import) _?pytest", path.read_text(encoding="utf-8"), re.M)
    ]
    assert importing == ["pytest_plugin"]

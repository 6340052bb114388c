"""In a user's TestCase nothing is written behind their back."""

from __future__ import annotations

import sys
import threading
from typing import Any
from unittest.mock import patch

from asgiref.sync import async_to_sync, sync_to_async
from channels.testing import WebsocketCommunicator
from django.test import TestCase, TransactionTestCase, override_settings

import handlers.echo  # noqa: F401 - so that a test can replace its callback
from websockets_app.dispatch import loader
from websockets_app.inbound.serving import stop_serving
from websockets_app.models import Endpoint, Event, Minute, Node, Session
from websockets_app.routing import with_websockets

PATH = "/websockets/v4/service/echo"


async def no_http(*arguments: Any) -> None:
    raise AssertionError("no HTTP here")


async def talk() -> str:
    """Open the endpoint as a site's own test would, by its ASGI application."""
    communicator = WebsocketCommunicator(
        with_websockets(no_http), PATH, headers=[(b"host", b"testserver")]
    )
    try:
        assert (await communicator.connect())[0]
        await communicator.send_to(text_data="hello")
        answer: str = await communicator.receive_from()
        await communicator.disconnect()
        return answer
    finally:
        await stop_serving()


def recorded() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in (Session, Event, Minute, Node)}


class InlineTests(TestCase):
    """Inside the transaction of a test, on whatever database the suite runs on."""

    def setUp(self) -> None:
        Endpoint.objects.create(endpoint="echo", handler="handlers.echo", access="public")

    @override_settings(WEBSOCKETS={"RECORDING": "inline"})
    def test_inline_recording_sees_the_tests_rows_and_writes_into_its_transaction(self) -> None:
        assert async_to_sync(talk)() == "hello"
        session = Session.objects.get()
        assert (session.close_cause, session.messages_in) == ("peer", 1)
        kinds = list(Event.objects.filter(peer=session.pk).values_list("kind", flat=True))
        assert sorted(kinds) == ["close", "open"]

    @override_settings(WEBSOCKETS={"RECORDING": "inline"})
    def test_what_an_earlier_test_recorded_was_rolled_back(self) -> None:
        assert recorded() == {"Session": 0, "Event": 0, "Minute": 0, "Node": 0}
        assert async_to_sync(talk)() == "hello"
        assert Session.objects.count() == 1

    @override_settings(WEBSOCKETS={"RECORDING": "inline"})
    def test_async_handlers_use_the_tests_thread_and_so_see_its_rows(self) -> None:
        seen: list[object] = []

        async def on_message(message: str) -> str:
            seen.append(await sync_to_async(threading.get_ident)())
            seen.append(await Endpoint.objects.acount())
            return message

        with patch.object(sys.modules["handlers.echo"], "on_message", on_message):
            loader.load.cache_clear()
            assert async_to_sync(talk)() == "hello"
        loader.load.cache_clear()
        assert seen == [threading.get_ident(), 1]

    async def test_inline_recording_works_in_an_async_test(self) -> None:
        with override_settings(WEBSOCKETS={"RECORDING": "inline"}):
            assert await talk() == "hello"
        assert (await Session.objects.aget()).close_cause == "peer"


class OffTests(TransactionTestCase):
    """Without recording endpoints work the same; the node alone leaves a row, its lease."""

    @override_settings(WEBSOCKETS={"RECORDING": "off"})
    def test_recording_that_is_off_writes_no_session_event_or_minute(self) -> None:
        Endpoint.objects.create(endpoint="echo", handler="handlers.echo", access="public")
        assert async_to_sync(talk)() == "hello"
        assert recorded() == {"Session": 0, "Event": 0, "Minute": 0, "Node": 1}

"""An endpoint under test: in a transaction, by the tests that a site would write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.test import Client, TestCase, override_settings
from pytest_django import Settings

from tests.inbound.conftest import WriteHandler
from websockets_app.exceptions import ConfigurationError
from websockets_app.inbound.serving import is_serving
from websockets_app.models import Endpoint, Event, Minute, Node, Session
from websockets_app.node.node import nodes
from websockets_app.testing import Answer, EndpointCommunicator, inline_recording
from wsproject.asgi import application

Communicator = type[EndpointCommunicator]


@inline_recording()
class TransactionTests(TestCase):
    """What the test writes is served, and what is recorded is rolled back with it."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.tom = User.objects.create_user("tom", password="secret")
        Endpoint.objects.create(endpoint="echo", handler="handlers.echo", access="public")
        Endpoint.objects.create(endpoint="private", handler="handlers.echo")

    async def test_messages_of_every_kind_come_back_and_the_session_is_recorded(self) -> None:
        async with EndpointCommunicator("echo") as peer:
            await peer.send("grüße")
            await peer.send(b"\x00")
            await peer.send("")
            await peer.send_json({"a": [1]})
            assert await peer.receive() == "grüße"
            assert await peer.receive() == b"\x00"
            assert await peer.receive() == ""
            assert await peer.receive_json() == {"a": [1]}
            assert len(peer.received) == 4
        row = await Session.objects.aget()
        assert (row.close_cause, row.messages_in) == ("peer", 4)

    def test_nothing_is_left_behind_but_what_the_transaction_holds(self) -> None:
        async_to_sync(self.open_and_leave)()
        assert not [thread for thread in threading.enumerate() if "websockets" in thread.name]
        assert Session.objects.count() == 2

    def test_what_another_test_recorded_is_gone(self) -> None:
        assert [model.objects.count() for model in (Session, Event, Minute, Node)] == [0] * 4

    async def open_and_leave(self) -> None:
        tasks = asyncio.all_tasks()
        async with EndpointCommunicator("echo"), EndpointCommunicator("echo"):
            assert is_serving()
        assert not is_serving()
        assert asyncio.all_tasks() == tasks

    async def test_who_is_logged_in_may_enter_by_name_or_by_their_session(self) -> None:
        client = Client()
        await sync_to_async(client.force_login)(self.tom)
        for known in ({"user": self.tom}, {"client": client}):
            async with EndpointCommunicator("private", **known):
                row = await Session.objects.aget(closed_at=None)
                assert row.username == "tom"
        stranger = await EndpointCommunicator("private").connect()
        assert stranger == Answer(accepted=False, status=403)

    async def test_a_row_that_is_new_or_changed_counts_for_the_next_that_connects(self) -> None:
        async with EndpointCommunicator("echo") as peer:
            await Endpoint.objects.acreate(
                endpoint="new", handler="handlers.echo", access="public"
            )
            async with EndpointCommunicator("new"):
                await Endpoint.objects.filter(endpoint="echo").aupdate(enabled=False)
                assert not await EndpointCommunicator("echo").connect()
                assert (await peer.wait_closed()).code == 1001


class UndecoratedTests(TestCase):
    """The default setting can't work in a transaction, and the kit says what can."""

    async def test_a_transaction_that_can_not_be_seen_is_refused_with_the_remedy(self) -> None:
        with self.assertRaisesMessage(ConfigurationError, "inline_recording()"):
            await EndpointCommunicator("echo").connect()


@pytest.fixture
async def echo(endpoint_communicator: Communicator) -> Communicator:
    """The kit's fixture, and an endpoint `echo` for everybody."""
    await Endpoint.objects.acreate(endpoint="echo", handler="handlers.echo", access="public")
    return endpoint_communicator


async def test_a_refusal_tells_its_status(echo: Communicator) -> None:
    assert await echo("nowhere").connect() == Answer(accepted=False, status=404)
    evil = echo("echo", origin="https://evil.example")
    assert not await evil.connect()
    with pytest.raises(AssertionError, match=r"/nowhere was refused.*404"):
        async with echo("nowhere"):
            pass
    assert not nodes()


async def test_where_refusals_are_closes_the_answer_tells_the_code(
    echo: Communicator, settings: Settings
) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "REFUSE_WITH": "close"}
    unknown = echo("nowhere")
    assert await unknown.connect() == Answer(accepted=False, status=101, code=4404)
    assert await unknown.wait_closed() == (4404, "")
    async with echo("echo") as peer:
        await peer.send("in")
        assert await peer.receive() == "in"


async def test_origin_headers_address_and_subprotocols_are_those_of_the_handshake(
    echo: Communicator,
) -> None:
    await Endpoint.objects.aupdate(subprotocols=["v2", "v1"])
    peer = echo(
        "/websockets/v4/service/echo?a=b",
        origin=None,
        headers={"Host": "localhost"},
        subprotocols=["v1"],
        address="192.0.2.7",
    )
    answer = await peer.connect()
    assert (answer.accepted, answer.status, answer.subprotocol) == (True, 101, "v1")
    row = await Session.objects.aget()
    assert (row.address, row.origin, row.subprotocol) == ("192.0.2.7", "", "v1")
    await peer.disconnect()


async def test_receiving_nothing_leaves_the_connection_alone(echo: Communicator) -> None:
    async with echo("echo", timeout=0.05) as peer:
        assert await peer.receive_nothing(timeout=0.01)
        with pytest.raises(AssertionError, match="No message came within"):
            await peer.receive()
        await peer.send("still here")
        with pytest.raises(AssertionError, match="A message came: 'still here'"):
            await peer.receive_nothing(timeout=5)
        assert await peer.receive() == "still here"
        assert peer.is_open


async def test_how_the_endpoint_closed_is_told_and_what_came_before_can_still_be_received(
    echo: Communicator, write_handler: WriteHandler
) -> None:
    source = (
        "async def on_message(session):\n"
        "    await session.asend_text('last words')\n    await session.aclose(4000, 'enough')"
    )
    await Endpoint.objects.aupdate(handler=write_handler("leaves", source))
    async with echo("echo") as peer:
        await peer.send("x")
        assert await peer.wait_closed() == (4000, "enough")
        assert await peer.receive() == "last words"
        with pytest.raises(AssertionError, match="closed with 4000 enough"):
            await peer.receive()
        with pytest.raises(AssertionError, match="not open"):
            await peer.send("y")
    assert (await Session.objects.aget()).close_cause == "handler"


async def test_a_handler_that_does_not_end_fails_the_test_and_is_ended(
    echo: Communicator, write_handler: WriteHandler
) -> None:
    source = (
        "import asyncio\nasync def on_message():\n"
        "    await asyncio.Event().wait()\nasync def on_open():\n    return 'open'"
    )
    await Endpoint.objects.aupdate(handler=write_handler("hangs", source))
    tasks = asyncio.all_tasks()
    peer = echo("echo", timeout=0.2)
    await peer.connect()
    assert await peer.receive() == "open"
    await peer.send("x")
    with pytest.raises(AssertionError, match=r"still runs after 0\.2 s"):
        await peer.disconnect()
    assert asyncio.all_tasks() == tasks


async def test_a_sites_whole_application_can_be_opened_and_what_it_raises_is_raised(
    echo: Communicator,
) -> None:
    async with echo("echo", application=application) as peer:
        await peer.send("x")
        assert await peer.receive() == "x"

    async def broken(*arguments: Any) -> None:
        raise ZeroDivisionError

    async def silent(*arguments: Any) -> None:
        pass

    async def breaks_later(scope: Any, receive: Callable[[], Any], send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await echo("x", application=broken).connect()
    with pytest.raises(AssertionError, match="not answered"):
        await echo("x", application=silent).connect()
    peer = echo("x", application=breaks_later)
    await peer.connect()
    await peer.send("x")
    with pytest.raises(ZeroDivisionError):
        await peer.receive()
    with pytest.raises(ZeroDivisionError):
        await peer.disconnect()


async def test_a_communicator_connects_once(echo: Communicator) -> None:
    async with echo("echo") as peer:
        with pytest.raises(RuntimeError, match="once"):
            await peer.connect()


async def test_recording_that_is_off_leaves_only_the_lease_of_the_node(
    transactional_db: None, settings: Settings
) -> None:
    await Endpoint.objects.acreate(endpoint="echo", handler="handlers.echo", access="public")
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "RECORDING": "off"}
    async with EndpointCommunicator("echo") as peer:
        await peer.send("x")
        assert await peer.receive() == "x"
    written = [await model.objects.acount() for model in (Session, Event, Minute)]
    assert (written, await Node.objects.acount()) == ([0] * 3, 1)


def test_the_setting_keeps_what_else_the_site_has_set() -> None:
    from websockets_app.conf import app_settings

    with override_settings(WEBSOCKETS={"PREFIX": "ws/"}), inline_recording():
        assert (app_settings.PREFIX, app_settings.RECORDING) == ("ws/", "inline")
    assert app_settings.RECORDING == "background"

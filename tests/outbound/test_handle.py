"""A client's handle works from wherever its code runs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import Guests, MakeHandler, MakePeer, Supervised, in_thread
from websockets_app import exceptions as errors
from websockets_app import websockets
from websockets_app.models import Client, OutboxMessage
from websockets_app.websockets import SendAnswer, WebsocketClient

NOBODY = "ws://127.0.0.1:9/"


@pytest.fixture
def client(transactional_db: None, make_handler: MakeHandler) -> WebsocketClient:
    """A client that no runner has."""
    return websockets.create_websocket(NOBODY, make_handler(), name="it", wait=False)


@pytest.mark.parametrize(
    ("call", "other"),
    [
        (lambda it: websockets.create_websocket(NOBODY, "made0"), "acreate_websocket"),
        (lambda it: websockets.create_websocket(NOBODY, "made0", wait=False), "acreate_websocket"),
        (lambda it: websockets.get_clients(), "aget_clients"),
        (lambda it: websockets.get_client(it.id), "aget_client"),
        (lambda it: websockets.get_client_by_handler("made0"), "aget_client_by_handler"),
        (lambda it: it.send("x"), "asend"),
        (lambda it: it.send_text("x"), "asend_text"),
        (lambda it: it.send_bytes(b"x"), "asend_bytes"),
        (lambda it: it.send_json({}), "asend_json"),
        (lambda it: it.close(), "aclose"),
        (lambda it: it.closed, "aclosed"),
        (lambda it: it.send_text_async("x"), "asend"),
    ],
)
async def test_a_plain_form_where_an_event_loop_runs_names_the_other_one(
    client: WebsocketClient, call: Callable[[WebsocketClient], Any], other: str
) -> None:
    with pytest.raises(SynchronousOnlyOperation, match=rf"await {other}\(\)"):
        call(client)
    assert not await OutboxMessage.objects.aexists()
    assert await Client.objects.acount() == 1


def test_it_pickles_and_what_it_sends_waits_for_a_runner(client: WebsocketClient) -> None:
    copy = pickle.loads(pickle.dumps(client))  # noqa: S301 - our own
    assert copy == client
    assert copy.send("text")
    assert copy.send(b"\x00\xff", ttl=5)
    assert copy.send_json({"a": 1}) == SendAnswer.FORWARDED
    copy.send_text_async("only queued")
    rows = OutboxMessage.objects.order_by("id").values_list("text", "binary", "expires_at")
    assert [(text, binary and bytes(binary), bool(at)) for text, binary, at in rows] == [
        ("text", None, False),
        (None, b"\x00\xff", True),
        ('{"a":1}', None, False),
        ("only queued", None, False),
    ]
    assert copy.closed


def test_a_second_close_is_none(client: WebsocketClient) -> None:
    assert client.close() == SendAnswer.FORWARDED
    assert client.close(4000) == SendAnswer.FORWARDED
    assert OutboxMessage.objects.get().close_code == 1000
    Client.objects.update(desired="stop")
    assert client.close() == SendAnswer.GONE
    with pytest.raises(ValueError, match="1005"):
        client.close(1005)
    with pytest.raises(ValueError, match="because"):
        client.close(cause="because")  # type: ignore[arg-type]


def test_it_says_so_when_its_client_has_gone_also_inside_a_transaction(
    client: WebsocketClient,
) -> None:
    Client.objects.all().delete()
    copy = pickle.loads(pickle.dumps(client))  # noqa: S301 - our own
    for handle in (client, copy):
        with pytest.raises(errors.ClientGone, match=f"no client {client.id} any more"):
            handle.send("too late")
        with transaction.atomic(), pytest.raises(errors.ClientGone):
            handle.send("too late")
        assert handle.send_text("too late") == SendAnswer.GONE
        assert handle.close() == SendAnswer.GONE
        assert handle.closed


def test_what_can_not_be_sent_is_refused_at_once(client: WebsocketClient, settings: Any) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "OUTBOX_MESSAGE_SIZE": 10}
    with pytest.raises(errors.MessageTooBig, match=r"11 bytes, .* allows 10"):
        client.send("☃☃☃..")
    with pytest.raises(errors.InvalidResult):
        client.send(3.5)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidResult, match="NUL"):
        client.send("a\0b")
    with pytest.raises(errors.InvalidResult, match="UTF-8"):
        client.send("\ud800")
    assert not OutboxMessage.objects.exists()
    client.send(["\0"])
    assert OutboxMessage.objects.get().text == r'["\u0000"]'


@pytest.mark.django_db
def test_in_a_users_test_case_waiting_is_refused_and_sending_is_seen(
    make_handler: MakeHandler,
) -> None:
    handler = make_handler()
    with pytest.raises(errors.WaitInTransaction):
        websockets.create_websocket(NOBODY, handler)
    client = websockets.create_websocket(NOBODY, handler, wait=False)
    client.send("hello")
    assert OutboxMessage.objects.get().text == "hello"
    assert websockets.get_client(client.id) == client


async def test_in_the_runner_a_callback_writes_at_once_and_sends_durably(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    answers: list[Any] = []

    def plain(session: WebsocketClient) -> None:
        it = websockets.get_client(session.id)
        assert it == session
        assert pickle.loads(pickle.dumps(session)) == it  # noqa: S301 - our own
        answers.append([session.send_text("1"), it.send_text("2"), it.closed])
        it.send("durable")

    async def awaiting(session: WebsocketClient) -> None:
        it = await websockets.aget_client(session.id)
        assert it == session
        session.send_text_async("0")
        answers.append([await session.asend_text("1"), await it.asend_text("2"), it.closed])
        await it.asend("durable")

    for on_open, said in ((plain, ["1", "2"]), (awaiting, ["0", "1", "2"])):
        guests = Guests()
        await websockets.acreate_websocket(
            await make_peer(guests), make_handler(on_open=on_open), name=on_open.__name__
        )
        await aeventually(lambda: guests.said == [*said, "durable"])  # noqa: B023
    assert answers == [[SendAnswer.WRITTEN, SendAnswer.WRITTEN, False]] * 2


async def test_in_a_callback_close_ends_the_connection_and_elsewhere_the_client(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()

    def on_message(session: WebsocketClient) -> None:
        session.close(4000)

    uri, handler = await make_peer(guests), make_handler(on_message=on_message)
    client = await websockets.acreate_websocket(uri, handler, name="it", backoff_base=0.1)
    assert await client.aclosed() is False
    await guests.now[0].send("go")
    await aeventually(lambda: guests.ever == 2 and guests.now)
    await in_thread(client.close)
    await supervised.wait_for("stopped")
    assert guests.ever == 2
    assert await client.aclosed() is True

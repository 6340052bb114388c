"""Clients that code creates open, or tell why not and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.infrastructure.waiting import aeventually
from tests.outbound.certificates import Certificates
from tests.outbound.conftest import Guests, MakeHandler, MakePeer, Supervised, in_thread
from websockets_app import exceptions as errors
from websockets_app import websockets
from websockets_app.models import Client, ClientRuntime, Node, OutboxMessage
from websockets_app.outbound.creation import Creation, described

NOBODY = "ws://127.0.0.1:9/"
"""Where nobody listens: the port of the service `discard`."""


async def rows() -> tuple[int, int, int]:
    """Count what a client could leave behind."""
    models = (Client, ClientRuntime, OutboxMessage)
    return tuple([await model.objects.acount() for model in models])  # type: ignore[return-value]


async def fails(kind: type[Exception], words: str, uri: str, handler: str, **options: Any) -> None:
    """Create a client that can't open, without a name and with one: nothing is left of either."""
    creations = [
        websockets.acreate_websocket(uri, handler, name=name, **options) for name in (None, "it")
    ]
    for raised in await asyncio.gather(*creations, return_exceptions=True):
        assert type(raised) is kind, raised
        assert words in str(raised)
        assert "s3cret" not in str(raised)
    assert await rows() == (0, 0, 0)


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Run a server that takes connections and says nothing."""
    over = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    over.set()
    server.close()
    await server.wait_closed()


# It opens


async def test_it_is_open_and_its_on_open_has_run(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    diary: list[str] = []

    async def on_open() -> str:
        diary.append("opened")
        return "first"

    guests = Guests()
    uri, handler = await make_peer(guests), make_handler(on_open=on_open)
    client = await websockets.acreate_websocket(uri, handler, headers={"X-Key": "1"})
    assert diary == ["opened"]
    assert not await in_thread(lambda: client.closed)
    row = await Client.objects.aget()
    assert (client.id, client.direction) == (str(row.pk), "out")
    assert (row.uri, row.handler, row.ephemeral) == (uri, handler, True)
    assert row.headers == {"X-Key": "1"}
    await client.asend("second")
    await aeventually(lambda: guests.said == ["first", "second"])


async def test_code_without_an_event_loop_creates_clients_too(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    uri, handler = await make_peer(guests), make_handler()
    client = await in_thread(websockets.create_websocket, uri, handler, name="named")
    assert len(guests.now) == 1
    assert (await Client.objects.aget()).name == "named"
    with pytest.raises(errors.PeerUnreachable):
        await in_thread(websockets.create_websocket, NOBODY, handler)
    assert await Client.objects.acount() == 1
    await in_thread(client.send, {"from": "a thread"})
    await aeventually(lambda: guests.said == ['{"from":"a thread"}'])


async def test_without_waiting_it_is_there_at_once_and_sends_when_it_opens(
    transactional_db: None, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    uri, handler = await make_peer(guests), make_handler()
    client = await websockets.acreate_websocket(uri, handler, wait=False)  # no runner lives
    for word in ("one", b"two"):
        await client.asend(word)
    assert guests.ever == 0
    supervised = Supervised()
    await supervised.supervisor.start()
    await aeventually(lambda: guests.said == ["one", b"two"])
    await supervised.supervisor.stop()
    assert await rows() == (0, 0, 0)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_callback_may_create_a_client(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, is_async: bool
) -> None:
    guests = Guests()
    uri, inner = await make_peer(guests), make_handler(on_open=lambda: "inner")

    async def create() -> str:
        client = await websockets.acreate_websocket(uri, inner, name="inner")
        await client.asend("from the outer one")
        return "outer"

    def create_plainly() -> str:
        websockets.create_websocket(uri, inner, name="inner").send("from the outer one")
        return "outer"

    outer = make_handler(on_open=create if is_async else create_plainly)
    await websockets.acreate_websocket(uri, outer)
    await aeventually(lambda: len(guests.said) == 3)
    assert guests.said[0] == "inner"
    assert set(guests.said) == {"inner", "outer", "from the outer one"}


# It doesn't, and says why


@pytest.mark.parametrize(
    ("kind", "words", "uri", "options"),
    [
        (errors.PeerUnreachable, "Connection refused", NOBODY, {}),
        (errors.PeerUnreachable, "its name has no address", "ws://nowhere.invalid/?k=s3cret", {}),
        (errors.AddressNotAllowed, "ALLOWED_CLIENT_HOSTS", "ws://10.0.0.1/?k=s3cret", {}),
        (errors.CredentialMissing, "env:NOT_THERE", f"{NOBODY}?k=env:NOT_THERE", {}),
        (errors.CredentialMissing, "env:NOT_THERE", NOBODY, {"headers": {"A": "env:NOT_THERE"}}),
        (errors.InvalidClient, "headers", NOBODY, {"headers": {"X": "s3cret\r\nHost: b"}}),
        (errors.InvalidClient, "subprotocols", NOBODY, {"subprotocols": ["s3cret token"]}),
    ],
)
async def test_what_nobody_can_connect_to_raises_the_reason(
    supervised: Supervised,
    make_handler: MakeHandler,
    kind: type[Exception],
    words: str,
    uri: str,
    options: Any,
) -> None:
    await fails(kind, words, uri, make_handler(), **options)


async def test_a_certificate_that_nobody_vouches_for_fails(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    certificates: Certificates,
) -> None:
    uri, handler = await make_peer(Guests(), ssl=certificates.server_context()), make_handler()
    await fails(errors.TlsFailed, "CERTIFICATE_VERIFY_FAILED", uri, handler)
    trusted = certificates.authority.read_text()
    await websockets.acreate_websocket(uri, handler, ca_certificates=trusted)


async def test_a_handshake_that_the_peer_refuses_fails_with_its_status(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.FORBIDDEN, "no\n")

    uri = await make_peer(Guests(), process_request=refuse)
    await fails(errors.HandshakeRefused, "HTTP 403 Forbidden", uri, make_handler())


async def test_a_peer_that_closes_before_on_open_has_run_has_closed_at_once(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    async def turn_away(socket: ServerConnection) -> None:
        await socket.close(4003, "not you")

    async def on_open(session: websockets.Peer) -> None:
        await aeventually(lambda: session.closed)

    uri, handler = await make_peer(turn_away), make_handler(on_open=on_open)
    await fails(errors.ClosedAtOnce, "the peer closed (4003): not you", uri, handler)


async def test_an_on_open_that_raises_fails_where_the_row_closes_for_that(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    def on_open() -> None:
        raise LookupError("no such thing")

    uri, handler = await make_peer(Guests()), make_handler(on_open=on_open)
    await websockets.acreate_websocket(uri, handler, name="goes on")
    await Client.objects.all().adelete()
    words = "its handler raised (1011)"
    await fails(errors.ClosedAtOnce, words, uri, handler, on_handler_error="close")


async def test_a_server_that_says_nothing_fails_after_the_open_timeout_or_ones_own(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    async with silent_server() as uri:
        words, handler = "no handshake within 0.1 s", make_handler()
        await fails(errors.ConnectTimeout, words, uri, handler, open_timeout=0.1)
        await fails(errors.ConnectTimeout, "not open after 0.3 s", uri, handler, timeout=0.3)
        await websockets.acreate_websocket(uri, handler, name="it", wait=False)
        await supervised.wait_for("connecting")
        with pytest.raises(errors.ConnectTimeout, match="its handshake is not over"):
            await websockets.acreate_websocket(uri, handler, name="it", timeout=0.1)


async def test_an_on_open_that_takes_longer_than_one_waits_is_told(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    go_on = asyncio.Event()
    uri, handler = await make_peer(Guests()), make_handler(on_open=go_on.wait)
    await fails(errors.ConnectTimeout, "not open after 0.5 s", uri, handler, timeout=0.5)
    client = await websockets.acreate_websocket(uri, handler, name="it", wait=False)
    await supervised.wait_for("open")
    with pytest.raises(errors.ConnectTimeout, match="connected, and its on_open has not ended"):
        await websockets.acreate_websocket(uri, handler, name="it", timeout=0.1)
    go_on.set()
    assert await websockets.acreate_websocket(uri, handler, name="it") == client


async def test_a_handler_that_only_the_runner_finds_out_about_fails_with_the_reason(
    supervised: Supervised,
    write_handler: Callable[[str, str], str],
) -> None:
    broken = write_handler("broken", "1 / 0")
    words = "'written_handlers.broken' can't be imported: ZeroDivisionError"
    await fails(errors.HandlerProblem, words, NOBODY, broken)
    empty = write_handler("empty", "")
    await fails(errors.HandlerProblem, "has no callback", NOBODY, empty)


async def test_a_client_that_is_deleted_or_stopped_meanwhile_fails(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    async with silent_server() as uri:
        for verb, words in (("adelete", "has deleted it"), ("aupdate", "has stopped it")):
            how = {"desired": "stop"} if verb == "aupdate" else {}
            creation = asyncio.create_task(
                websockets.acreate_websocket(uri, make_handler(), name="it")
            )
            await aeventually(lambda: len(supervised.supervisor) == 1)
            await getattr(Client.objects.all(), verb)(**how)
            with pytest.raises(errors.ConnectFailed, match=words):
                await creation
            assert await rows() == (0, 0, 0)
            await aeventually(lambda: len(supervised.supervisor) == 0)


# Nobody would see it


async def test_without_a_runner_that_lives_it_says_how_to_start_one(
    transactional_db: None, make_handler: MakeHandler
) -> None:
    words, handler = "manage.py run_websocket_clients", make_handler()
    await fails(errors.NoRunner, words, NOBODY, handler)
    died = timezone.now() - timedelta(minutes=1)
    await Node.objects.acreate(id="dead", kind="runner", pid=1, started_at=died, renewed_at=died)
    await fails(errors.NoRunner, words, NOBODY, handler)


async def test_inside_a_transaction_waiting_raises_at_once_and_storing_obeys_it(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    handler = make_handler()

    def create() -> None:
        with transaction.atomic():
            websockets.create_websocket(NOBODY, handler, wait=False).send("hello")
            websockets.create_websocket(NOBODY, handler, name="it", wait=False)
            assert Client.objects.count() == 2
            websockets.create_websocket(NOBODY, handler)

    with pytest.raises(errors.WaitInTransaction, match="wait=False"):
        await in_thread(create)
    assert await rows() == (0, 0, 0)


def test_with_autocommit_off_waiting_raises_at_once(
    transactional_db: None, make_handler: MakeHandler
) -> None:
    transaction.set_autocommit(False)
    try:
        with pytest.raises(errors.WaitInTransaction, match="autocommit"):
            websockets.create_websocket(NOBODY, make_handler())
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


# It is cancelled


async def test_a_creation_that_is_cancelled_leaves_nothing_behind(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    async with silent_server() as uri:
        for name in (None, "it"):
            creation = asyncio.create_task(
                websockets.acreate_websocket(uri, make_handler(), name=name)
            )
            await aeventually(lambda: len(supervised.supervisor) == 1)
            creation.cancel()
            with pytest.raises(asyncio.CancelledError):
                await creation
            assert await rows() == (0, 0, 0)
            await aeventually(lambda: len(supervised.supervisor) == 0)


@pytest.mark.parametrize("timeout", [None, 10.0])
async def test_so_does_one_whose_client_was_there_when_its_caller_had_gone(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, timeout: float | None
) -> None:
    uri, handler = await make_peer(Guests()), make_handler()

    def lose_interest() -> None:
        creation = Creation(described(uri, handler, "python", "it", {}), {}, timeout)
        steps = creation.steps()
        while next(steps) is not None:
            pass
        assert Client.objects.exists()
        steps.close()

    await in_thread(lose_interest)
    assert (await rows())[0] == 0

"""A client that has a name is created once, whoever asks for it and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import Guests, MakeHandler, MakePeer, Supervised, in_thread
from websockets_app import exceptions as errors
from websockets_app import websockets
from websockets_app.models import Client, ClientRuntime, OutboxMessage
from websockets_app.outbound.creation import Creation, described

Steps = Generator[float | None, None, None]

NOBODY = "ws://127.0.0.1:9/"


async def test_the_same_again_is_the_same_client(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    uri, handler = await make_peer(guests), make_handler()
    first = await websockets.acreate_websocket(uri, handler, name="it", headers={"X": "1"})
    for options in ({}, {"headers": {"X": "1"}}, {"wait": False}):
        again = await websockets.acreate_websocket(uri, handler, name="it", **options)  # type: ignore[arg-type]
        assert again == first
    spelled = handler.replace(".", "/") + ".js"
    assert await in_thread(websockets.create_websocket, uri, spelled, name="it") == first
    assert (await Client.objects.acount(), guests.ever) == (1, 1)


async def test_another_of_that_name_is_a_conflict_and_changes_nothing(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    uri, handler, other = await make_peer(Guests()), make_handler(), make_handler()
    client = await websockets.acreate_websocket(uri, handler, name="it")
    before = await Client.objects.values().aget()
    for words, values in (
        ("another uri", {"uri": NOBODY}),
        ("another handler", {"handler": other}),
        ("another headers, origin", {"headers": {"X": "s3cret"}, "origin": "http://a"}),
    ):
        asked: dict[str, Any] = {"uri": uri, "handler": handler, **values}
        with pytest.raises(errors.ClientConflict, match=words) as raised:
            await websockets.acreate_websocket(**asked, name="it")
        assert "s3cret" not in str(raised.value)
    assert await Client.objects.values().aget() == before
    ephemeral = await websockets.acreate_websocket(uri, handler)
    name = (await Client.objects.aget(pk=ephemeral.id)).name
    with pytest.raises(errors.ClientConflict, match="another ephemeral"):
        await websockets.acreate_websocket(uri, handler, name=name)
    assert not await in_thread(lambda: client.closed)


async def test_one_that_was_stopped_runs_again(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    uri, handler = await make_peer(guests), make_handler()
    first = await websockets.acreate_websocket(uri, handler, name="it")
    await Client.objects.aupdate(desired="stop")
    await supervised.wait_for("stopped")
    assert await websockets.acreate_websocket(uri, handler, name="it") == first
    assert (len(guests.now), guests.ever) == (1, 2)


async def test_one_that_is_just_being_closed_opens_again(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    closed = asyncio.Event()
    guests = Guests()
    uri, handler = await make_peer(guests), make_handler(on_close=closed.wait)
    first = await websockets.acreate_websocket(uri, handler, name="it")
    await first.aclose()
    await supervised.wait_for("closing")
    creation = asyncio.create_task(websockets.acreate_websocket(uri, handler, name="it"))
    with pytest.raises(errors.ConnectTimeout, match="was closed before"):
        await websockets.acreate_websocket(uri, handler, name="it", timeout=0.1)
    closed.set()
    assert await creation == first
    await aeventually(lambda: (len(guests.now), guests.ever) == (1, 2))


async def test_a_close_that_no_runner_has_begun_is_called_off(
    transactional_db: None, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    uri, handler = await make_peer(guests), make_handler()
    client = await websockets.acreate_websocket(uri, handler, name="it", wait=False)
    await client.asend("hello")
    await client.aclose()
    await client.aclose()
    await websockets.acreate_websocket(uri, handler, name="it", wait=False)
    assert await OutboxMessage.objects.filter(status="queued").acount() == 1
    supervised = Supervised()
    await supervised.supervisor.start()
    await aeventually(lambda: guests.said == ["hello"])
    await supervised.wait_for("open")
    await supervised.supervisor.stop()


async def test_one_that_failed_tries_again_at_once_and_old_failures_are_no_news(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    went_on = asyncio.Event()

    async def on_open() -> None:
        await went_on.wait()

    handler = make_handler(on_open=on_open)
    uri = await make_peer(Guests())
    row = await supervised.add(uri, handler, name="it", headers={"X": "env:NOT_THERE"})
    await supervised.wait_for("failed")
    with pytest.raises(errors.CredentialMissing):
        await websockets.acreate_websocket(uri, handler, name="it")
    assert await Client.objects.filter(desired="run").aexists()
    await Client.objects.aupdate(desired="stop", headers={})
    await supervised.wait_for("stopped")
    creation = asyncio.create_task(websockets.acreate_websocket(uri, handler, name="it"))
    told = await supervised.wait_for("open")
    assert (told.failure, told.ready_at) == ("credential", None)
    went_on.set()
    assert (await creation).id == str(row.pk)


async def test_one_that_was_there_is_left_as_it_was_when_it_can_not_open(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    handler = make_handler()
    await supervised.add(NOBODY, handler, name="stopped", desired="stop")
    await supervised.add(NOBODY, handler, name="tries")
    for name in ("stopped", "tries"):
        with pytest.raises(errors.PeerUnreachable, match="Connection refused"):
            await websockets.acreate_websocket(NOBODY, handler, name=name)
    desired = {row.name: row.desired async for row in Client.objects.all()}
    assert desired == {"stopped": "stop", "tries": "run"}


async def create_in_threads(number: int, *args: Any, **options: Any) -> list[Any]:
    """Create one client from `number` threads at once; return what became of each."""
    creations = [
        in_thread(websockets.create_websocket, *args, name="it", **options) for _ in range(number)
    ]
    return await asyncio.gather(*creations, return_exceptions=True)


async def test_threads_that_create_it_at_once_have_one_client(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    uri, handler = await make_peer(guests), make_handler()
    clients = await create_in_threads(4, uri, handler)
    assert {type(client) for client in clients} == {websockets.WebsocketClient}
    assert len(set(clients)) == 1
    assert (await Client.objects.acount(), guests.ever) == (1, 1)


async def test_where_they_all_fail_nothing_is_left(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    raised = await create_in_threads(4, NOBODY, make_handler())
    assert {type(error) for error in raised} == {errors.PeerUnreachable}
    assert not await Client.objects.aexists()
    assert not await ClientRuntime.objects.aexists()


async def test_a_creator_that_fails_leaves_a_client_that_another_call_has_returned(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    handler = make_handler()
    failing = asyncio.create_task(websockets.acreate_websocket(NOBODY, handler, name="it"))
    await aeventually(Client.objects.aexists)
    client = await websockets.acreate_websocket(NOBODY, handler, name="it", wait=False)
    with pytest.raises(errors.PeerUnreachable):
        await failing
    assert await Client.objects.filter(pk=client.id, desired="run").aexists()


async def test_a_creator_that_fails_does_not_stop_a_client_that_another_call_has_returned(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    handler = make_handler()
    await supervised.add(NOBODY, handler, name="it", desired="stop")
    failing = asyncio.create_task(websockets.acreate_websocket(NOBODY, handler, name="it"))
    await aeventually(Client.objects.filter(desired="run").aexists)
    client = await websockets.acreate_websocket(NOBODY, handler, name="it", wait=False)
    with pytest.raises(errors.PeerUnreachable):
        await failing
    assert await Client.objects.filter(pk=client.id, desired="run").aexists()


async def test_a_creator_that_is_cancelled_leaves_a_client_that_another_call_has_seen_open(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    uri, handler = await make_peer(Guests()), make_handler()
    steps = await begun(uri, handler)
    client = await websockets.acreate_websocket(uri, handler, name="it")
    await in_thread(steps.close)
    assert not await in_thread(lambda: client.closed)


async def test_a_creator_whose_client_goes_with_another_that_failed_makes_its_own(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    may_open = asyncio.Event()
    uri, handler = await make_peer(Guests()), make_handler(on_open=may_open.wait)
    first, second = await begun(uri, handler), await begun(uri, handler)
    await in_thread(first.close)
    assert not await Client.objects.aexists()
    may_open.set()

    async def is_open() -> bool:
        return await in_thread(next, second) is None

    await aeventually(is_open)
    await supervised.wait_for("open")
    await in_thread(second.close)
    assert not await Client.objects.aexists()  # no other call had returned it


async def begun(uri: str, handler: str) -> Steps:
    """Return the steps of a creation that has stored its client, and waits."""

    def begin() -> Steps:
        client = described(uri, handler, "python", "it", {})
        steps = Creation(client, {}, 10.0).steps()
        next(steps)
        return steps

    return await in_thread(begin)


async def test_it_comes_back_when_its_connection_breaks(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    async def turn_away_later(socket: ServerConnection) -> None:
        guests.ever += 1
        await socket.recv()

    guests = Guests()
    uri, handler = await make_peer(turn_away_later), make_handler()
    client = await websockets.acreate_websocket(uri, handler, name="it", backoff_base=0.1)
    await client.asend("leave")
    await aeventually(lambda: guests.ever == 2)


# What can't be stored


@pytest.fixture
def invalid(db: None, make_handler: MakeHandler) -> Iterator[dict[str, Any]]:
    """Values of a client, for a test to spoil; none may be stored."""
    yield {"uri": NOBODY, "handler": make_handler(), "name": "it", "wait": False}
    assert not Client.objects.exists()


@pytest.mark.parametrize(
    ("kind", "words", "values"),
    [
        (errors.InvalidClient, "subprotocols: Write a JSON list", {"subprotocols": "v1"}),
        (errors.InvalidClient, "headers: Write a JSON object", {"headers": ["X"]}),
        (errors.InvalidClient, "headers: Write a JSON object", {"headers": {"X": 1}}),
        (errors.InvalidClient, "name: This field cannot be blank", {"name": ""}),
        (errors.InvalidClient, "name: .* at most 100", {"name": "n" * 101}),
        (errors.InvalidClient, "open_timeout: .* greater", {"open_timeout": 0}),
        (errors.InvalidClient, "on_uncertain: .* not a valid choice", {"on_uncertain": "worry"}),
        (errors.InvalidClient, "ca_certificates: .* PEM", {"ca_certificates": "none"}),
        (errors.InvalidClient, "no pings, wiat. It may have .*headers", {"wiat": 1, "pings": 2}),
        (errors.InvalidClient, "no desired", {"desired": "stop"}),
        (errors.InvalidUri, "'http://a/\\?k=…' can't .* ws://", {"uri": "http://a/?k=s3cret"}),
        (errors.InvalidUri, "blank", {"uri": ""}),
        (errors.HandlerNotAllowed, "no handler reference", {"handler": "os..path"}),
        (errors.HandlerNotFound, "made_handlers.gone", {"handler": "gone"}),
        (errors.UnknownEngine, "'lua'", {"engine": "lua"}),
    ],
)
def test_what_a_row_can_not_hold_is_refused_before_anything_is_stored(
    invalid: dict[str, Any], kind: type[Exception], words: str, values: dict[str, Any]
) -> None:
    with pytest.raises(kind, match=words) as raised:
        websockets.create_websocket(**{**invalid, **values})
    assert type(raised.value) is kind
    assert "s3cret" not in str(raised.value)

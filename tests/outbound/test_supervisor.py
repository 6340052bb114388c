"""What the supervisor makes of changes of the clients' rows."""

from __future__ import annotations

import asyncio

import pytest

from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import Guests, MakeHandler, MakePeer, Supervised
from websockets_app.models import Client, ClientRuntime
from websockets_app.outbound.connection import Connection


async def test_a_deleted_client_is_closed_with_1000(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    client = await supervised.add(await make_peer(guests), make_handler())
    await aeventually(lambda: guests.now)
    (socket,) = guests.now
    await client.adelete()
    await aeventually(lambda: not guests.now)
    assert socket.close_code == 1000
    await aeventually(lambda: len(supervised.supervisor) == 0)
    assert (await supervised.close()).cause == "config"


async def test_a_client_that_is_stopped_and_run_again_at_once_runs(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    await supervised.add(await make_peer(guests), make_handler())
    await aeventually(lambda: guests.ever == 1)
    await Client.objects.aupdate(desired="stop")
    await aeventually(lambda: not guests.now)
    await Client.objects.aupdate(desired="run")
    await aeventually(lambda: guests.ever == 2)
    row = await supervised.wait_for("open")
    assert row.epoch == 2


async def test_what_a_connection_would_not_notice_changes_nothing(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    await supervised.add(await make_peer(guests), make_handler())
    await aeventually(lambda: guests.ever == 1)
    await Client.objects.aupdate(description="other", name="renamed")

    def names() -> list[str]:
        return [config.name for config in supervised.supervisor.desired.values()]

    await aeventually(lambda: names() == ["renamed"])
    assert guests.ever == 1
    assert [event.kind for event in await supervised.events()] == ["connecting", "open"]


async def test_a_client_that_waits_tries_at_once_when_its_row_changes(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, unused_tcp_port: int
) -> None:
    guests = Guests()
    await supervised.add(
        f"ws://127.0.0.1:{unused_tcp_port}/", make_handler(), backoff_base=60, backoff_ceiling=60
    )
    await supervised.wait_for("backoff")
    await Client.objects.aupdate(uri=await make_peer(guests))
    await aeventually(lambda: guests.now)
    row = await supervised.wait_for("open")
    assert (row.next_attempt_at, row.attempt) == (None, 1)


async def test_a_failed_client_tries_again_when_its_row_is_saved(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    client = await supervised.add(await make_peer(guests), "made_handlers.made0")
    row = await supervised.wait_for("failed")
    assert "made_handlers.made0" in row.reason
    make_handler()
    await client.asave()
    await supervised.wait_for("open")


async def test_a_row_with_values_that_no_form_would_take_fails_and_never_dials(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    client = await supervised.add(await make_peer(guests), make_handler(), headers=["X-Token"])
    row = await supervised.wait_for("failed")
    assert row.reason == "Its headers are no JSON object."
    assert guests.ever == 0
    client.headers = {}
    await client.asave()
    await supervised.wait_for("open")


async def test_an_error_of_the_runner_s_own_makes_a_client_rest_as_any_other(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(connection: Connection, socket: object) -> None:
        raise ZeroDivisionError("nobody thought of it")

    monkeypatch.setattr(Connection, "run", fail)
    await supervised.add(await make_peer(Guests()), make_handler(), backoff_base=60)
    row = await supervised.wait_for("backoff")
    assert row.reason == "the runner failed with ZeroDivisionError: nobody thought of it"
    assert row.next_attempt_at is not None


async def test_a_stopped_client_does_not_wait_for_its_backoff(
    supervised: Supervised, make_handler: MakeHandler, unused_tcp_port: int
) -> None:
    await supervised.add(
        f"ws://127.0.0.1:{unused_tcp_port}/", make_handler(), backoff_base=60, backoff_ceiling=60
    )
    await supervised.wait_for("backoff")
    await Client.objects.aupdate(desired="stop")
    row = await supervised.wait_for("stopped")
    assert (row.holder_id, row.next_attempt_at) == (None, None)


async def test_an_attempt_under_way_is_called_off(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await supervised.add(f"ws://127.0.0.1:{port}/", make_handler(), open_timeout=60)
    await arrived.wait()
    await Client.objects.aupdate(desired="stop")
    await supervised.wait_for("stopped")
    server.close()
    await server.wait_closed()


async def test_a_broken_handler_leaves_an_open_connection_with_the_old_one(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    received: list[str] = []

    def on_message(message: str) -> None:
        received.append(message)

    guests = Guests()
    await supervised.add(await make_peer(guests), make_handler(on_message=on_message))
    await aeventually(lambda: guests.now)
    await Client.objects.aupdate(handler="made_handlers.missing")

    async def told() -> bool:
        return "problem" in [event.kind for event in await supervised.events()]

    await aeventually(told)
    await guests.now[0].send("still here")
    await aeventually(lambda: received == ["still here"])
    assert guests.ever == 1


async def test_a_client_held_by_a_living_runner_is_left_alone_until_it_is_free(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    client = await supervised.add(await make_peer(guests), make_handler(), desired="stop")
    await ClientRuntime.objects.acreate(client=client, holder_id="other", epoch=5)
    await Client.objects.aupdate(desired="run")
    await aeventually(lambda: client.pk in supervised.supervisor.desired)
    assert len(supervised.supervisor) == 0
    await ClientRuntime.objects.aupdate(holder_id=None)
    await aeventually(lambda: guests.now)
    assert (await supervised.wait_for("open")).epoch == 6


async def test_a_runner_that_stops_claims_nothing_more(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    guests = Guests()
    busy = asyncio.Event()

    async def on_message() -> None:
        await busy.wait()

    uri, handler = await make_peer(guests), make_handler(on_message=on_message)
    await supervised.add(uri, handler)
    await aeventually(lambda: guests.now)
    await guests.now[0].send("keep it busy")
    await aeventually(lambda: supervised.supervisor.node.peers.busy)
    stopping = asyncio.create_task(supervised.supervisor.stop())
    await aeventually(lambda: supervised.supervisor.node.draining)
    late = await supervised.add(uri, handler, name="late")
    await aeventually(lambda: late.pk in supervised.supervisor.desired)  # it still looks
    busy.set()
    await stopping
    assert guests.ever == 1
    assert not await ClientRuntime.objects.filter(client=late).aexists()


async def test_one_client_in_trouble_does_not_hold_up_another(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    never = asyncio.Event()

    async def on_open() -> None:
        await never.wait()

    guests = Guests()
    uri = await make_peer(guests)
    await supervised.add(uri, make_handler(on_open=on_open), name="blocked")
    await supervised.add("ws://nowhere.invalid/", make_handler(), name="nowhere")
    await supervised.add(uri, make_handler(), name="fine", headers={"X": "1"})
    await aeventually(lambda: guests.ever == 2)

    async def fine() -> bool:
        row = await ClientRuntime.objects.aget(client__name="fine")
        return row.state == "open"

    await aeventually(fine)
    never.set()

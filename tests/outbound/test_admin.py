"""What an operator does in the admin, and what the peers of the clients notice of it."""

from __future__ import annotations

import pytest
from django.test import Client as Browser

from tests.admin.pages import aact, log_in_operator, told
from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import Guests, MakeHandler, MakePeer, Supervised
from websockets_app.models import Client, OutboxMessage


@pytest.fixture
async def operator(transactional_db: None) -> Browser:
    return await log_in_operator()


@pytest.fixture
def guests() -> Guests:
    return Guests()


@pytest.fixture
async def client(
    supervised: Supervised, make_peer: MakePeer, make_handler: MakeHandler, guests: Guests
) -> Client:
    """A client that is open."""
    row = await supervised.add(await make_peer(guests), make_handler())
    await aeventually(lambda: guests.now)
    return row


async def test_a_text_of_the_admin_arrives(
    operator: Browser, client: Client, guests: Guests
) -> None:
    response = await aact(operator, "send_text", client, text="Grüße")
    assert told(response) == ["Queued for: client"]
    await aeventually(lambda: guests.said == ["Grüße"])


async def test_a_message_that_an_operator_sends_again_arrives(
    operator: Browser, client: Client, guests: Guests
) -> None:
    message = await OutboxMessage.objects.acreate(
        client=client, text="perhaps twice", status="uncertain"
    )
    await aact(operator, "send_again", message)
    await aeventually(lambda: guests.said == ["perhaps twice"])


async def test_a_connection_that_an_operator_closes_is_opened_again(
    operator: Browser, client: Client, guests: Guests, supervised: Supervised
) -> None:
    (first,) = guests.now
    await aact(operator, "close_connection", client)
    await aeventually(lambda: guests.ever == 2 and guests.now and first not in guests.now)
    assert first.close_code == 1001
    closed = await supervised.close()
    assert (closed.code, closed.cause) == (1001, "admin")


async def test_an_ephemeral_client_whose_connection_an_operator_closes_ends(
    operator: Browser,
    supervised: Supervised,
    make_peer: MakePeer,
    make_handler: MakeHandler,
    guests: Guests,
) -> None:
    row = await supervised.add(await make_peer(guests), make_handler(), ephemeral=True)
    await aeventually(lambda: guests.now)
    response = await aact(operator, "close_connection", row)
    assert told(response) == ["To close and end: client"]

    async def is_gone() -> bool:
        return not await Client.objects.aexists()

    await aeventually(is_gone)
    assert guests.ever == 1


async def test_a_client_that_is_to_run_again_is_not_closed_by_what_was_queued(
    operator: Browser,
    supervised: Supervised,
    make_peer: MakePeer,
    make_handler: MakeHandler,
    guests: Guests,
) -> None:
    row = await supervised.add(await make_peer(guests), make_handler(), desired="stop")
    await OutboxMessage.objects.acreate(client=row, close_code=1000)
    await OutboxMessage.objects.acreate(client=row, text="still here")
    await aact(operator, "run", row)
    await aeventually(lambda: guests.said == ["still here"])
    assert guests.ever == 1
    assert (await Client.objects.aget()).desired == "run"

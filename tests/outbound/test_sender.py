"""What is sent through a client goes out in order, and is called what can be known of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from websockets.asyncio.server import ServerConnection

from tests.infrastructure.waiting import aeventually
from tests.outbound.conftest import MakeHandler, MakePeer, Supervised, queue
from tests.outbound.inbox import Inbox, Message
from websockets_app import websockets
from websockets_app.core.states import CloseCause
from websockets_app.models import Client, ClientRuntime, OutboxMessage
from websockets_app.outbound import sender as module
from websockets_app.outbound.handle import WebsocketClient
from websockets_app.outbound.sender import WINDOW


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a connection that is to be closed wait less for a pong that doesn't come."""
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.1)


async def send(client: Client, *messages: Any, **options: Any) -> None:
    for message in messages:
        await WebsocketClient.of(client).asend(message, **options)


async def rows() -> list[OutboxMessage]:
    return [row async for row in OutboxMessage.objects.order_by("id")]


async def statuses() -> list[str]:
    return [row.status for row in await rows()]


async def are(*expected: str) -> None:
    async def so() -> bool:
        found = await statuses()
        assert found == [*expected], Counter(found)
        return True

    await aeventually(so)


# In order, and acknowledged


async def test_messages_arrive_in_order_and_are_acknowledged(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    client = await supervised.add(await make_peer(inbox), make_handler())
    await send(client, "text ☃", b"\x00\xff", {"a": [1]}, "", b"")
    expected: list[Message] = ["text ☃", b"\x00\xff", '{"a":[1]}', "", b""]
    await aeventually(lambda: inbox.messages == expected)
    await are(*["acknowledged"] * 5)
    for row in await rows():
        assert None not in (row.claimed_at, row.written_at, row.ended_at)
        assert (row.epoch, row.attempts, row.reason) == (1, 1, "")
    await aeventually(lambda: supervised.runtime())
    assert [event.kind for event in await supervised.events()] == ["connecting", "open"]


async def test_what_is_committed_together_goes_out_together_and_what_rolls_back_does_not(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    client = await supervised.add(await make_peer(inbox), make_handler())
    handle = WebsocketClient.of(client)

    def change_their_mind(mind: bool) -> None:
        with transaction.atomic():
            handle.send(f"first {mind}")
            handle.send(f"second {mind}")
            transaction.set_rollback(mind)

    await sync_to_async(change_their_mind)(True)
    await sync_to_async(change_their_mind)(False)
    await aeventually(lambda: inbox.messages == ["first False", "second False"])


async def test_many_messages_arrive_in_order_in_more_than_one_window(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    client = await supervised.add(await make_peer(inbox), make_handler())
    expected = [str(number) for number in range(5 * WINDOW + 1)]
    await queue(client, *expected)
    await aeventually(lambda: inbox.messages == expected)
    await are(*["acknowledged"] * len(expected))


async def test_what_on_open_returns_goes_first_on_each_connection(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    async def on_open(session: websockets.Peer) -> str:
        await session.asend_text("hello")
        return "subscribe"

    uri, handler = await make_peer(inbox), make_handler(on_open=on_open)
    client = await supervised.add(uri, handler, desired="stop")
    await send(client, "waited")
    await Client.objects.aupdate(desired="run")
    await aeventually(lambda: inbox.messages == ["hello", "subscribe", "waited"])
    await are("acknowledged")
    inbox.break_off()
    await send(client, "then")
    await aeventually(lambda: inbox.messages[3:] == ["hello", "subscribe", "then"])


async def test_nothing_goes_out_while_on_open_runs(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    may_end = asyncio.Event()

    async def on_open() -> str:
        await may_end.wait()
        return "subscribe"

    client = await supervised.add(await make_peer(inbox), make_handler(on_open=on_open))
    await send(client, "waits")
    await supervised.wait_for("open")
    assert await statuses() == ["queued"]
    may_end.set()
    await aeventually(lambda: inbox.messages == ["subscribe", "waits"])


async def test_a_message_to_a_stopped_client_waits_until_it_runs(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    uri, handler = await make_peer(inbox), make_handler()
    client = await supervised.add(uri, handler, desired="stop")
    other = await supervised.add(uri, handler, name="other")
    await send(client, "waits")
    await send(other, "goes")
    await are("queued", "acknowledged")
    await Client.objects.aupdate(desired="run")
    await are("acknowledged", "acknowledged")
    assert inbox.messages == ["goes", "waits"]


# Without a pong


@pytest.mark.usefixtures("impatient")
async def test_a_peer_that_never_pongs_gets_one_window_and_no_more_is_claimed(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    inbox.pongs = False
    client = await supervised.add(await make_peer(inbox), make_handler())
    await queue(client, *map(str, range(WINDOW + 50)))
    await are(*["written"] * WINDOW, *["queued"] * 50)
    await Client.objects.aupdate(desired="stop")
    await are(*["uncertain"] * WINDOW, *["queued"] * 50)
    assert len(inbox.messages) == WINDOW


async def test_a_successor_settles_a_full_window_before_it_goes_on(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    inbox.pongs = False
    client = await supervised.add(await make_peer(inbox), make_handler())
    await queue(client, *map(str, range(WINDOW + 1)))
    await are(*["written"] * WINDOW, "queued")
    inbox.break_off()
    await are(*["uncertain"] * WINDOW, "acknowledged")
    assert inbox.messages == [str(number) for number in range(WINDOW + 1)]
    (doubt,) = [e for e in await supervised.events() if "outbox" in e.detail]
    assert doubt.detail == f"Messages of the outbox that may have arrived or not: {WINDOW}"


async def test_a_peer_that_reads_nothing_is_noticed_although_the_ping_can_not_be_written(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    asleep = asyncio.Event()

    async def sleep(socket: ServerConnection) -> None:
        socket.transport.pause_reading()  # soon enough: the first ping waits for half a second
        await asleep.wait()

    uri = await make_peer(sleep, close_timeout=0.1)
    client = await supervised.add(
        uri, make_handler(), ping_interval=0.5, ping_timeout=0.3, close_timeout=0.1,
        backoff_base=60,
    )  # fmt: skip
    await queue(client, *["x" * 1_000_000] * 12)
    event = await supervised.close()
    assert event.cause == "ping_timeout"
    asleep.set()


# A connection that breaks


async def ten_amid_which_it_breaks(
    supervised: Supervised, uri: str, handler: str, inbox: Inbox, **fields: Any
) -> list[Message]:
    """Send ten to a peer that answers no ping, and breaks off at the fourth; return all ten."""
    inbox.pongs, inbox.breaks_after = False, 4
    client = await supervised.add(uri, handler, **fields)
    expected: list[Message] = [f"message {n}" for n in range(10)]
    await queue(client, *map(str, expected))
    return expected


async def test_after_a_break_what_was_on_its_way_is_uncertain_and_successors_go_on(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    uri, handler = await make_peer(inbox), make_handler()
    expected = await ten_amid_which_it_breaks(supervised, uri, handler, inbox)
    await are(*["uncertain"] * 10)
    await queue(await Client.objects.aget(), "after")
    await are(*["uncertain"] * 10, "acknowledged")
    *arrived, last = inbox.messages
    assert (arrived, last) == (expected[: len(arrived)], "after")


async def test_with_resend_what_was_on_its_way_comes_again_in_order_under_the_same_id(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    uri, handler = await make_peer(inbox), make_handler()
    expected = await ten_amid_which_it_breaks(
        supervised, uri, handler, inbox, on_uncertain="resend"
    )
    before = {row.text: row.message_id for row in await rows()}
    await are(*["acknowledged"] * 10)
    arrived, again = inbox.messages[:-10], inbox.messages[-10:]
    assert (arrived, again) == (expected[: len(arrived)], expected)
    assert len(arrived) >= 4
    assert {row.text: row.message_id for row in await rows()} == before
    assert [row.attempts for row in await rows()] == [2, *[1] * 9]


async def test_what_was_claimed_and_not_written_goes_back_and_is_not_uncertain(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = module.Sender._sent

    async def break_before_the_fourth(sender: Any, message: Any, connection: Any) -> bool:
        done = await write(sender, message, connection)
        if message.text == "message 2" and len(inbox.sockets) == 1:
            inbox.break_off()
            await aeventually(lambda: connection.closed)
        return done

    monkeypatch.setattr(module.Sender, "_sent", break_before_the_fourth)
    client = await supervised.add(await make_peer(inbox), make_handler())
    await queue(client, *[f"message {n}" for n in range(10)])
    await are(*["uncertain"] * 3, *["acknowledged"] * 7)
    assert inbox.messages[-7:] == [f"message {n}" for n in range(3, 10)]


async def test_text_that_can_not_be_a_frame_is_given_up_and_holds_up_nothing(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No database here would keep such a text; what is tried is what the sender makes of it.
    frame = module._frame
    monkeypatch.setattr(module, "_frame", lambda m: "\ud800" if m.text == "bad" else frame(m))
    client = await supervised.add(await make_peer(inbox), make_handler())
    await queue(client, "one", "bad", "two")
    await are("acknowledged", "dead", "acknowledged")
    assert inbox.messages == ["one", "two"]
    assert "UTF-8" in (await rows())[1].reason


# What waits for too long


async def test_messages_expire_while_the_peer_is_down(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    unused_tcp_port: int,
) -> None:
    client = await supervised.add(f"ws://127.0.0.1:{unused_tcp_port}/", make_handler())
    await send(client, "soon stale", ttl=0.2)
    await send(client, "patient")
    await are("expired", "queued")
    await make_peer(inbox, port=unused_tcp_port)
    await are("expired", "acknowledged")
    assert inbox.messages == ["patient"]


async def test_messages_expire_also_where_a_runner_holds_no_client_at_all(
    supervised: Supervised, make_handler: MakeHandler
) -> None:
    client = await supervised.add("ws://127.0.0.1/", make_handler(), desired="stop")
    await send(client, "soon stale", ttl=0.1)
    await are("expired")


# Closing


@pytest.mark.parametrize("cause", [CloseCause.HANDLER, CloseCause.ADMIN])
async def test_close_follows_the_messages_before_it_with_code_reason_and_cause(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    cause: CloseCause,
) -> None:
    client = await supervised.add(await make_peer(inbox), make_handler())
    expected = [str(number) for number in range(WINDOW + 10)]
    await queue(client, *expected)
    await WebsocketClient.of(client).aclose(4321, "that was all", cause=cause)
    await queue(client, "too late")
    row = await supervised.wait_for("stopped")
    assert row.reason == "closed by its code"
    await aeventually(lambda: inbox.closes == [(4321, "that was all")])
    assert inbox.messages == expected
    await are(*["acknowledged"] * (len(expected) + 1), "queued")
    await client.arefresh_from_db()
    assert client.desired == "stop"
    assert (await supervised.close()).cause == cause


async def test_close_waits_for_messages_that_have_to_be_sent_again(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    uri, handler = await make_peer(inbox), make_handler()
    expected = await ten_amid_which_it_breaks(
        supervised, uri, handler, inbox, on_uncertain="resend"
    )
    await WebsocketClient.of(await Client.objects.aget()).aclose(4000)
    await supervised.wait_for("stopped")
    await aeventually(lambda: len(inbox.closes) == 2)
    assert inbox.messages[-10:] == expected
    assert inbox.closes[-1][0] == 4000


async def test_close_while_the_peer_is_down_closes_at_once_if_nothing_is_queued_before(
    supervised: Supervised, make_handler: MakeHandler, unused_tcp_port: int
) -> None:
    client = await supervised.add(
        f"ws://127.0.0.1:{unused_tcp_port}/", make_handler(), backoff_base=60, backoff_ceiling=60
    )
    await supervised.wait_for("backoff")
    await WebsocketClient.of(client).aclose()
    await supervised.wait_for("stopped")
    await are("acknowledged")
    await aeventually(lambda: len(supervised.supervisor) == 0)


async def test_close_while_the_peer_is_down_waits_for_the_messages_before_it(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    inbox: Inbox,
    unused_tcp_port: int,
) -> None:
    client = await supervised.add(f"ws://127.0.0.1:{unused_tcp_port}/", make_handler())
    await send(client, "first")
    await WebsocketClient.of(client).aclose(4000, "bye")
    await supervised.wait_for("backoff")
    assert await statuses() == ["queued", "queued"]
    await make_peer(inbox, port=unused_tcp_port)
    await aeventually(lambda: inbox.closes == [(4000, "bye")])
    assert inbox.messages == ["first"]
    await are("acknowledged", "acknowledged")


@pytest.mark.usefixtures("impatient")
async def test_close_after_a_message_without_a_pong_does_not_wait_for_ever(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    inbox.pongs = False
    client = await supervised.add(
        await make_peer(inbox), make_handler(), ping_interval=0, ping_timeout=0.3
    )
    await send(client, "read, and not answered")
    await WebsocketClient.of(client).aclose()
    await supervised.wait_for("stopped")
    await aeventually(lambda: inbox.closes)
    await are("uncertain", "acknowledged")


# The end of a client, and of the runner


async def test_an_ephemeral_client_that_ends_with_unsent_messages_tells_so(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    inbox.pongs = False
    client = await supervised.add(await make_peer(inbox), make_handler(), ephemeral=True)
    await send(client, "written", "written too")
    await are("written", "written")
    inbox.break_off()

    async def gone() -> bool:
        return not await Client.objects.aexists()

    await aeventually(gone)
    assert await rows() == []

    async def told() -> list[str]:
        return [event.detail for event in await supervised.events() if "outbox" in event.detail]

    assert await aeventually(told) == [
        "Messages of the outbox that may have arrived or not: 2",
        "it ended with 2 messages in its outbox, which are gone",
    ]


async def test_a_stopped_runner_finishes_what_it_has_claimed_and_leaves_the_rest(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, inbox: Inbox
) -> None:
    client = await supervised.add(await make_peer(inbox), make_handler())
    await queue(client, *map(str, range(20 * WINDOW)))
    await aeventually(lambda: len(inbox.messages) > WINDOW, every=0.001)
    await supervised.supervisor.stop()
    found = await statuses()
    assert set(found) <= {"acknowledged", "queued"}
    assert found.count("acknowledged") == len(inbox.messages) > WINDOW
    assert inbox.messages == [str(number) for number in range(len(inbox.messages))]
    assert [code for code, _ in inbox.closes] == [1001]
    assert (await ClientRuntime.objects.aget()).holder_id is None

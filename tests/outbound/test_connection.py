"""One socket's life: what handlers, peers and the record see of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.infrastructure.waiting import SCALE, aeventually
from tests.outbound.conftest import MakeHandler, MakePeer, Supervised
from websockets_app import websockets
from websockets_app.models import Event


async def echo(socket: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            await socket.send(message)


async def test_what_on_open_returns_is_sent_first_after_each_connect(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    firsts: list[Any] = []

    async def take_two(socket: ServerConnection) -> None:
        firsts.append((await socket.recv(), await socket.recv()))

    async def on_open(session: websockets.Peer) -> dict[str, str]:
        await session.asend_text("from within")
        return {"subscribe": "all"}

    handler = make_handler(on_open=on_open)
    await supervised.add(await make_peer(take_two), handler)
    await aeventually(lambda: firsts[:2] == [("from within", '{"subscribe":"all"}')] * 2)


async def test_text_and_binary_reach_the_handler_which_may_be_sync(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    received: list[Any] = []

    async def talk(socket: ServerConnection) -> None:
        for message in ("text ☃", b"\x00\xff", ""):
            await socket.send(message)
        await socket.wait_closed()

    def on_message(message: str | bytes) -> None:
        session = websockets.get_session()
        assert session is not None
        received.append((message, session.direction, session.closed, websockets.is_on_message()))

    await supervised.add(await make_peer(talk), make_handler(on_message=on_message))
    expected = [(message, "out", False, True) for message in ("text ☃", b"\x00\xff", "")]
    await aeventually(lambda: received == expected)


async def test_no_client_waits_for_what_another_ones_callback_does_in_sync_to_async(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    together, received = threading.Barrier(3), list[str]()

    async def on_open() -> None:
        await sync_to_async(together.wait)(5 * SCALE)

    async def on_message(message: str) -> None:
        await sync_to_async(together.wait)(5 * SCALE)
        received.append(message)

    async def talk(socket: ServerConnection) -> None:
        await socket.send("hello")
        await socket.wait_closed()

    uri, handler = await make_peer(talk), make_handler(on_open=on_open, on_message=on_message)
    for name in ("a", "b", "c"):
        await supervised.add(uri, handler, name=name)
    await aeventually(lambda: len(received) == 3)


async def test_the_peers_close_is_told_with_code_and_reason(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    closed: list[tuple[int, str]] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.close(4001, "enough")

    def on_close(code: int, reason: str) -> None:
        closed.append((code, reason))

    uri = await make_peer(talk)
    await supervised.add(uri, make_handler(on_close=on_close), backoff_base=60)
    event = await supervised.close()
    assert (event.code, event.cause, event.detail) == (4001, "peer", "enough")
    await aeventually(lambda: closed == [(4001, "enough")])


async def test_messages_before_the_peers_close_are_handled_though_the_handler_is_slow(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    diary: list[str] = []
    go_on = asyncio.Event()

    async def talk(socket: ServerConnection) -> None:
        for number in range(5):
            await socket.send(str(number))

    async def on_message(message: str, session: websockets.Peer) -> None:
        await go_on.wait()
        diary.append(f"{message} {await session.asend_text('late')}")

    def on_close() -> None:
        diary.append("closed")

    uri = await make_peer(talk)
    await supervised.add(uri, make_handler(on_message=on_message, on_close=on_close))
    row = await supervised.wait_for("closing")  # seen, although the handler is busy
    assert row.reason == "the peer closed (1000)"
    assert (await supervised.close()).cause == "peer"
    go_on.set()
    await aeventually(lambda: "closed" in diary)
    assert diary[:6] == [*(f"{number} gone" for number in range(5)), "closed"]


async def test_a_peer_that_leaves_during_a_handler_is_noticed_at_once(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    left: list[float] = []
    noticed: list[float] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        left.append(time.monotonic())
        socket.transport.abort()

    async def on_open(session: websockets.Peer) -> None:
        await session.asend_text("go")
        await aeventually(lambda: session.closed, every=0.01)
        noticed.append(time.monotonic())

    await supervised.add(await make_peer(talk), make_handler(on_open=on_open))
    await aeventually(lambda: noticed)
    assert noticed[0] - left[0] < 0.2 * SCALE
    assert (await supervised.close()).cause == "transport"


async def test_too_big_a_message_closes_with_1009(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    async def talk(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await socket.send("x" * 101)
            await socket.wait_closed()

    await supervised.add(await make_peer(talk), make_handler(), max_message_size=100)
    event = await supervised.close()
    assert (event.code, event.cause) == (1009, "too_big")


@pytest.mark.parametrize(
    ("on_handler_error", "kinds"),
    [
        ("continue", ["connecting", "open", "error"]),
        ("close", ["connecting", "open", "error", "close"]),
    ],
)
async def test_a_callback_that_raises_is_recorded_and_told(
    supervised: Supervised,
    make_handler: MakeHandler,
    make_peer: MakePeer,
    on_handler_error: str,
    kinds: list[str],
) -> None:
    errors: list[str] = []

    def on_open() -> None:
        raise LookupError("no such thing")

    def on_error(error: str) -> None:
        errors.append(error)

    await supervised.add(
        await make_peer(echo),
        make_handler(on_open=on_open, on_error=on_error),
        on_handler_error=on_handler_error,
        backoff_base=60,
        backoff_ceiling=60,
    )
    await aeventually(lambda: errors == ["LookupError: no such thing"])

    async def recorded() -> bool:
        return [event.kind for event in await supervised.events()][: len(kinds)] == kinds

    await aeventually(recorded)
    if on_handler_error == "close":
        assert (await supervised.close()).code == 1011
    else:
        await supervised.wait_for("open")


async def test_a_failed_attempt_is_an_error_for_the_handler_too(
    supervised: Supervised, make_handler: MakeHandler, unused_tcp_port: int
) -> None:
    diary: list[str] = []

    def on_error(error: str) -> None:
        diary.append(error)

    def on_close() -> None:
        diary.append("closed")

    handler = make_handler(on_error=on_error, on_close=on_close)
    await supervised.add(f"ws://127.0.0.1:{unused_tcp_port}/", handler)
    await aeventually(lambda: len(diary) > 1)
    assert all("Connection refused" in line for line in diary)


async def test_its_handler_may_close_it(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    codes: list[int | None] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.wait_closed()
        codes.append(socket.close_code)

    def on_open(session: websockets.Peer) -> None:
        session.close(4000, "seen enough")

    await supervised.add(await make_peer(talk), make_handler(on_open=on_open))
    event = await supervised.close()
    assert (event.code, event.cause, event.detail) == (4000, "handler", "seen enough")
    await aeventually(lambda: 4000 in codes)


async def test_what_a_peer_sends_before_it_sees_our_close_is_counted(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    seen: list[str] = []

    async def talk(socket: ServerConnection) -> None:
        for text in ("close", "on its way", "on its way"):
            await socket.send(text)
        await socket.wait_closed()

    async def on_message(message: str, session: websockets.Peer) -> None:
        seen.append(message)
        await session.aclose(4000)

    row = await supervised.add(await make_peer(talk), make_handler(on_message=on_message))
    close = await supervised.close()

    async def after_close() -> Event | None:
        events = [event for event in await supervised.events() if event.peer == close.peer]
        return next((event for event in events if event.kind == "after_close"), None)

    event: Event = await aeventually(after_close)
    assert (event.detail, event.client_id) == ("messages discarded: 2", row.pk)
    assert (event.code, close.code) == (None, 4000)  # the peer answered with the same code
    assert set(seen) == {"close"}


async def test_a_peer_that_answers_no_ping_is_given_up(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    async def deaf(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await socket.wait_closed()

    uri = await make_peer(deaf, ping_interval=None, close_timeout=0.1)
    await supervised.add(
        uri, make_handler(), ping_interval=0.1, ping_timeout=0.2, close_timeout=0.1
    )
    event = await supervised.close()
    assert (event.code, event.cause) == (1011, "ping_timeout")


async def test_a_slow_handler_never_makes_us_close_our_own_link(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    received: list[str | bytes] = []
    go_on = asyncio.Event()

    async def flood(socket: ServerConnection) -> None:
        for number in range(200):
            await socket.send(f"{number}".ljust(10_000))
        await socket.wait_closed()

    async def on_message(message: str) -> None:
        await go_on.wait()
        received.append(message)

    uri = await make_peer(flood, ping_interval=None)
    await supervised.add(
        uri, make_handler(on_message=on_message), ping_interval=0.05, ping_timeout=0.05
    )
    row = await supervised.wait_for("open")
    began = time.monotonic()
    await aeventually(lambda: time.monotonic() - began > 0.5)  # ten pings go unanswered
    go_on.set()
    await aeventually(lambda: len(received) == 200)
    assert [int(message) for message in received] == list(range(200))
    now = await supervised.wait_for("open")
    assert now.connection_id == row.connection_id


async def test_connections_join_groups_and_hear_broadcasts(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    heard: list[str | bytes] = []

    async def talk(socket: ServerConnection) -> None:
        heard.append(await socket.recv())
        await socket.wait_closed()

    def on_open(session: websockets.Peer) -> None:
        session.join("everybody ☃")

    await supervised.add(await make_peer(talk), make_handler(on_open=on_open))

    async def reached() -> bool:
        return await websockets.abroadcast("everybody ☃", {"to": "all"}) == 1

    await aeventually(reached)
    await aeventually(lambda: heard == ['{"to":"all"}'])


async def test_messages_are_recorded_as_the_row_says(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    def on_open() -> str:
        return "to and fro"

    handler = make_handler(on_open=on_open)
    await supervised.add(await make_peer(echo), handler, record_messages="payloads")

    async def messages() -> bool:
        found = [
            (event.outgoing, event.payload)
            for event in await supervised.events()
            if event.kind == "message"
        ]
        return found == [(True, "to and fro"), (False, "to and fro")]

    await aeventually(messages)

    async def counted() -> bool:
        row = await supervised.runtime()
        return row is not None and (row.messages_in, row.messages_out) == (1, 1)

    await aeventually(counted)


async def test_a_flood_of_messages_leaves_others_their_turns(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer
) -> None:
    async def flood(socket: ServerConnection) -> None:
        for number in range(200):
            await socket.send(str(number))
        await socket.wait_closed()

    turns, heard = itertools.count(), []

    async def others() -> None:
        while len(heard) < 200:
            next(turns)
            await asyncio.sleep(0)

    async def on_message(message: str) -> None:
        heard.append(next(turns))

    busy = asyncio.create_task(others())
    await supervised.add(await make_peer(flood), make_handler(on_message=on_message))
    async with asyncio.timeout(5 * SCALE):
        await busy
    between = sum(later > earlier + 1 for earlier, later in itertools.pairwise(heard))
    assert between >= 150  # nearly each message was followed by somebody else's turn


@pytest.mark.parametrize("plain", [True, False], ids=["def", "async def"])
async def test_a_callback_that_sends_in_a_loop_ends_with_its_connection(
    supervised: Supervised, make_handler: MakeHandler, make_peer: MakePeer, plain: bool
) -> None:
    answers: list[list[str]] = []

    async def leave(socket: ServerConnection) -> None:
        await socket.recv()

    async def send_on(session: websockets.Peer) -> None:
        answers.append([])
        while True:
            answers[-1].append(await session.asend_text("tick"))
            await asyncio.sleep(0.01)

    def send_on_plain(session: websockets.Peer) -> None:
        answers.append([])
        while True:
            answers[-1].append(session.send_text("tick"))
            time.sleep(0.01)

    handler = make_handler(on_open=send_on_plain if plain else send_on)
    await supervised.add(await make_peer(leave), handler)
    await aeventually(lambda: len(answers) > 2)  # a busy callback would keep it from reconnecting
    assert [attempt[-1] for attempt in answers[:2]] == ["gone", "gone"]
    assert not [event for event in await supervised.events() if event.kind == "error"]

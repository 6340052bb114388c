"""What holds on every server alike."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.infrastructure.waiting import SCALE, aeventually
from tests.servers.abilities import CODES
from tests.servers.stage import LIMIT, Served


async def test_text_and_binary_come_back_whole_or_in_fragments(served: Served) -> None:
    async with connect(served.server.ws("echo")) as websocket:
        for message in ("hello ☃", b"\x00\xff", "x" * 70_000):
            await websocket.send(message)
            assert await websocket.recv() == message
        await websocket.send(["frag", "", "ments ☃"])
        assert await websocket.recv() == "fragments ☃"
        await websocket.send([b"\xe2", b"\x98"])
        assert await websocket.recv() == b"\xe2\x98"


async def test_a_ping_is_answered_also_between_fragments_and_while_the_handler_is_busy(
    served: Served,
) -> None:
    peer = await served.open()

    async def fragments() -> AsyncIterator[str]:
        yield "who "
        await asyncio.wait_for(await peer.socket.ping(), 5 * SCALE)
        yield "am I"

    await peer.socket.send(fragments())
    assert json.loads(await peer.socket.recv())["id"] == peer.session_id
    await peer.socket.send("sleep 0.3")
    await asyncio.wait_for(await peer.socket.ping(), 5 * SCALE)
    assert await peer.socket.recv() == "awake"
    await peer.socket.close()


async def test_a_message_may_be_as_large_as_the_row_says_and_no_larger(served: Served) -> None:
    peer = await served.open()
    await peer.socket.send(bytes(LIMIT))
    assert await peer.socket.recv() == str(LIMIT)
    await peer.socket.send(bytes(LIMIT + 1))
    code, _ = await peer.end()
    row = await peer.closed_row()
    assert (row["close_code"], row["close_cause"]) == (1009, "too_big")
    assert code == row["close_code_sent"]


async def test_the_rows_first_subprotocol_that_the_peer_offers_is_chosen(served: Served) -> None:
    for offered, chosen in ((["a", "b"], "b"), (["c", "a"], "a"), (["c"], None), ([], None)):
        names = [Subprotocol(name) for name in offered]
        async with connect(served.server.ws("echo"), subprotocols=names or None) as websocket:
            assert websocket.subprotocol == chosen


async def test_a_path_is_decoded_and_a_query_is_no_part_of_it(served: Served) -> None:
    async with connect(served.server.ws("room/a%20b%E2%98%83?c=d/e")) as websocket:
        await websocket.send("who")
        assert json.loads(await websocket.recv())["params"] == {"name": "a b☃"}


async def test_headers_tell_the_origin_and_who_is_logged_in(served: Served) -> None:
    origin = {"Origin": f"http://127.0.0.1:{served.server.port}"}
    cookie = {"Cookie": f"other=1; sessionid={served.session_key}"}
    url = served.server.ws("private")
    async with connect(url, additional_headers={**origin, **cookie}) as websocket:
        await websocket.send("who")
        assert json.loads(await websocket.recv())["user"] == "tom"
    for headers in (origin, cookie, {"Origin": "https://evil.example", **cookie}):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, additional_headers=headers)
        assert refused.value.response.status_code == 403


async def test_a_refusal_has_one_content_length_and_logs_no_error(served: Served) -> None:
    # Other tests have the handler raise: only lines of this test's peers count.
    seen = len(served.server.output)
    for path in ("nowhere", "private", "broken"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.server.ws(path))
        assert len(refused.value.response.headers.get_all("content-length")) <= 1
        await leave_during_the_handshake(served, path)
    peer = await served.open()  # by now the server is done with all of them
    await peer.socket.close()
    logged = served.server.output[seen:]
    assert "Refused /websockets/v4/service/broken" in logged
    assert not re.search("error|exception|traceback", logged, re.IGNORECASE), logged


async def leave_during_the_handshake(served: Served, path: str) -> None:
    """Ask for a connection, and break it without waiting for the answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    url = urlsplit(served.server.ws(path))
    writer.write(
        f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await writer.drain()
    writer.transport.abort()


async def test_data_before_the_handshake_is_accepted_leaves_no_session_open(
    served: Served,
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    url = urlsplit(served.server.ws("room/early"))
    writer.write(
        f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        + b"\x81\x83\0\0\0\0who"
    )
    await writer.drain()
    peer = await served.open()  # by now the server has dealt with the other one
    writer.transport.abort()
    await peer.socket.close()
    await peer.closed_row()
    still_open = "endpoint_path LIKE 'room/%' AND path LIKE '%early' AND closed_at IS NULL"
    await aeventually(lambda: not peer._rows("session", still_open))


async def test_the_row_says_which_close_code_the_peer_saw(served: Served) -> None:
    async def closed_with(code: int) -> None:
        peer = await served.open()
        await peer.socket.send(f"close {code} so long")
        seen, _ = await peer.end()
        row = await peer.closed_row()
        assert (row["close_code"], row["close_code_sent"]) == (code, seen)
        assert (row["close_reason"], row["close_cause"]) == ("so long", "handler")

    await asyncio.gather(*map(closed_with, CODES))


async def test_what_comes_after_our_close_is_counted_and_a_plain_answer_is_no_event(
    served: Served,
) -> None:
    late, quiet = await served.open(), await served.open()
    await late.socket.send("close 4000")
    with contextlib.suppress(ConnectionClosed):  # Granian may have ended the connection by then
        for _ in range(3):
            await late.socket.send("late")
    await quiet.socket.send("close 4000")
    for peer in (late, quiet):
        await peer.end()
        await peer.closed_row()
    if served.kind.title in {"Daphne", "Hypercorn"}:  # the others drop some of them
        expected = [(None, "messages discarded: 3")]
        await aeventually(lambda: late.events("after_close", "code", "detail") == expected)
    assert quiet.events("after_close", "code", "detail") == []


async def test_a_handler_that_raises_keeps_its_session_unless_the_row_closes_it(
    served: Served,
) -> None:
    peer = await served.open()
    await peer.socket.send("raise it")
    await peer.socket.send("who")
    assert json.loads(await peer.socket.recv())["id"] == peer.session_id
    await peer.socket.close()
    fragile = await served.open("fragile")
    await fragile.socket.send("raise it")
    code, _ = await fragile.end()
    row = await fragile.closed_row()
    assert (row["close_code"], row["close_cause"]) == (1011, "handler_error")
    assert code == row["close_code_sent"]


async def test_a_peer_that_goes_during_a_long_handler_is_noticed_and_the_handler_goes_on(
    served: Served,
) -> None:
    leaving, vanishing = peers = await served.open(), await served.open()
    for peer in peers:
        await peer.socket.send("sleep 1.5")
    await aeventually(lambda: leaving.notes() == vanishing.notes() == ["sleeps"])
    vanishing.vanish()
    closing = asyncio.create_task(leaving.socket.close())
    rows = await asyncio.gather(*(peer.closed_row(timeout=1.0) for peer in peers))
    assert leaving.notes() == vanishing.notes() == ["sleeps"]
    for peer, row in zip(peers, rows, strict=True):
        ended = ["sleeps", "awake: gone", f"close {row['close_code']}"]
        await aeventually(lambda peer=peer, ended=ended: peer.notes() == ended)
    await closing


async def test_sessions_that_block_in_sync_to_async_do_not_wait_for_each_other(
    served: Served,
) -> None:
    peers = await asyncio.gather(*(served.open() for _ in range(8)))
    begun = time.monotonic()
    for peer in peers:
        await peer.socket.send("block 1")
    for peer in peers:
        assert await peer.socket.recv() == "unblocked"
    assert time.monotonic() - begun < 2 * SCALE
    await asyncio.gather(*(peer.socket.close() for peer in peers))


async def test_the_socket_is_closed_although_the_handler_goes_on(served: Served) -> None:
    peer = await served.open()
    await peer.socket.send("sleep 3")
    await aeventually(lambda: peer.notes() == ["sleeps"])
    await peer.socket.close()
    assert peer.notes() == ["sleeps"]


async def test_each_session_ends_with_one_close_event_and_one_on_close(served: Served) -> None:
    closed, vanished, idle = [await served.open() for _ in range(3)]
    await closed.socket.close()
    vanished.vanish()
    await idle.socket.send("close 1000")
    await idle.end()
    for peer in (closed, vanished, idle):
        row = await peer.closed_row()
        await aeventually(peer.notes)
        assert peer.notes() == [f"close {row['close_code']}"]
        assert peer.close_events() == [(row["close_code"], row["close_cause"])]


async def test_broken_frames_end_only_their_own_session(served: Served) -> None:
    other = await served.open()
    for frame in (b"\x83\x80abcd", b"\x81\x05hello", b"\x89\xfe\x00\x7e" + bytes(130)):
        peer = await served.open()  # reserved opcode, no mask, a ping that is too long
        peer.socket.transport.write(frame)
        with contextlib.suppress(ConnectionError):
            await peer.end()
        row = await peer.closed_row()
        assert row["close_cause"] in {"protocol", "transport", "peer"}
    await other.socket.send("who")
    assert json.loads(await other.socket.recv())["id"] == other.session_id
    await other.socket.close()

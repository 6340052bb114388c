"""What servers differ in: each is asked in the same way, and the answer is a cell of a table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import compress
from typing import Final

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.infrastructure.waiting import SCALE, aeventually
from tests.servers.stage import MIB, Served

CODES: Final = (1000, 1001, 1008, 1011, 1012, 1013, 3000, 4401, 4999)
SERVERS_LIMIT: Final = 16 * MIB

Ability = Callable[[Served], Awaitable[str]]


async def lifespan(served: Served) -> str:
    """Whether the node began with the server: nobody has connected to the site yet."""
    return "yes" if served.nodes_at_start else "no: the node begins with the first WebSocket"


async def close_codes(served: Served) -> str:
    async def arrives(code: int) -> bool:
        peer = await served.open()
        await peer.socket.send(f"close {code}")
        return (await peer.end())[0] == code

    arrived = await asyncio.gather(*map(arrives, CODES))
    if all(arrived):
        return "all"
    return "of those tried, " + ", ".join(str(code) for code in compress(CODES, arrived))


async def close_reasons(served: Served) -> str:
    peer = await served.open()
    await peer.socket.send("close 4321 so long ☃")
    return "yes" if await peer.end() == (4321, "so long ☃") else "no"


async def peers_close(served: Served) -> str:
    peer = await served.open()
    await peer.socket.close(4321, "bye ☃")
    row = await peer.closed_row()
    told = row["close_code"], row["close_reason"]
    known = {(4321, "bye ☃"): "its code and reason", (4321, ""): "its code"}
    return known.get(told, await peer.recorded())


async def broken_connection(served: Served) -> str:
    peer = await served.open()
    peer.vanish()
    return await peer.recorded()


async def refusal(served: Served) -> str:
    statuses = []
    for path in ("nowhere", "broken"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.server.ws(path))
        statuses.append(refused.value.response.status_code)
    return "what the app says" if statuses == [404, 503] else f"always {statuses[0]}"


async def empty_messages(served: Served) -> str:
    async with connect(served.server.ws("echo")) as websocket:
        await websocket.send("")
        await websocket.send(b"")
        await websocket.send("last")
        async with asyncio.timeout(5 * SCALE):
            answers = [await websocket.recv()]
            while answers[-1] != "last":
                answers.append(await websocket.recv())
    return "yes" if answers == ["", b"", "last"] else "no"


async def unread_output(served: Served) -> str:
    """Whether `send` waits for a peer that doesn't read, and `send_timeout` ends that."""
    peer = await served.open("unread", max_queue=1)
    await peer.socket.send("flood")
    ended = await aeventually(lambda: peer.row_if_closed() or peer.notes())
    peer.vanish()
    if ended == ["flooded"]:
        return "no: it waits in the server's memory"
    return "yes" if ended["close_cause"] == "slow" else f"`{ended['close_cause']}`"


async def too_large_for_the_server(served: Served) -> str:
    peer = await served.open("large", ping_interval=None)
    await peer.socket.send(bytes(SERVERS_LIMIT))
    assert await peer.socket.recv() == str(SERVERS_LIMIT)
    try:
        await peer.socket.send(bytes(SERVERS_LIMIT + 1))
        return f"more: {await peer.socket.recv()} bytes"
    except ConnectionClosed:
        code, _ = await peer.end()
    return f"{code}; the row says {await peer.recorded()}"


async def invalid_text(served: Served) -> str:
    peer = await served.open()
    await peer.socket.send(b"\xff\xfe", text=True)
    code, _ = await peer.end()
    return f"{code}; the row says {await peer.recorded()}"


ABILITIES: Final[dict[str, Ability]] = {
    "has a lifespan": lifespan,
    "sends close codes": close_codes,
    "sends close reasons": close_reasons,
    "refuses a handshake with the HTTP status": refusal,
    "delivers and sends empty messages": empty_messages,
    "tells of a peer that closed": peers_close,
    "tells of a connection that broke": broken_connection,
    "makes `send` wait for a peer that doesn't read": unread_output,
    "answers a frame of more than 16 MiB with": too_large_for_the_server,
    "answers text that isn't UTF-8 with": invalid_text,
}


async def ask(served: Served) -> dict[str, str]:
    """Ask a server for everything at once."""
    answers = await asyncio.gather(*(ability(served) for ability in ABILITIES.values()))
    return dict(zip(ABILITIES, answers, strict=True))

"""The channel layer fails and comes back: nobody's session notices, and all heals by itself.

Two processes, and a real Valkey that is stopped, emptied and frozen; with both layers of
channels-redis.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect

from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.valkey import Valkey
from tests.infrastructure.waiting import SCALE, aeventually
from tests.integration.crowd import heard

LAYER = """
CHANNEL_LAYERS = {{
    "default": {{
        "BACKEND": "channels_redis.{backend}",
        "CONFIG": {{"hosts": [{{"address": {url!r}, "socket_timeout": None}}], {options}}},
    }}
}}
"""
CORE = {"backend": "core.RedisChannelLayer", "options": "'group_expiry': 2"}
PUBSUB = {"backend": "pubsub.RedisPubSubChannelLayer", "options": ""}

TELLER = """
from websockets_app import websockets

async def on_open(session):
    session.join("room")
    return session.id

async def on_message(message, session):
    to, _, text = message.partition(" ")
    try:
        if to == "room":
            return "! " + str(await websockets.abroadcast("room", text))
        return "! " + await websockets.WebsocketSession(to).asend_text(text)
    except Exception as error:
        return f"! {type(error).__name__}: {error}"
"""


class Person(NamedTuple):
    """Somebody who tells others something, and what the process answers."""

    id: str
    socket: ClientConnection

    async def tell(self, to: str, text: str) -> str:
        """Tell one, or the room; return the answer, passing over what others say."""
        await self.socket.send(f"{to} {text}")
        while not (answer := await heard(self.socket)).startswith("! "):
            continue
        return answer.removeprefix("! ")

    async def hears(self, text: str, seconds: float = 1.0) -> bool:
        """Tell whether a text arrives, whatever arrives before it."""
        try:
            async with asyncio.timeout(seconds * SCALE):
                while await self.socket.recv() != text:
                    continue
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def person(server: Server) -> AsyncIterator[Person]:
    async with connect(server.ws("teller"), ping_interval=None) as socket:
        yield Person(await heard(socket), socket)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    made = Valkey()
    yield made
    made.stop()


@pytest.mark.parametrize("layer", [CORE, PUBSUB], ids=["core", "pubsub"])
async def test_sessions_outlive_every_failure_of_the_layer_and_reach_each_other_again(
    make_site: Callable[..., Site],
    endpoints: Callable[..., None],
    valkey: Valkey,
    layer: dict[str, str],
) -> None:
    site = make_site(redis_url=valkey.url, settings=LAYER.format(url=valkey.url, **layer))
    handler = site.write_handler("teller", TELLER)
    endpoints(site, teller={"handler": handler, "messages_per_second": 0})
    first, second = [await asyncio.to_thread(site.start_uvicorn) for _ in range(2)]
    async with person(first) as tom, person(first) as spike, person(second) as jerry:
        await aeventually(lambda: reach_each_other(tom, jerry), timeout=10)
        await nothing_is_lost_for_longer_than_groups_last(tom, jerry)

        with valkey.stopped():
            await only_the_process_itself_is_reached(tom, spike, jerry)
        await aeventually(lambda: reach_each_other(tom, jerry), timeout=15)

        with redis.Redis.from_url(valkey.url) as client:
            client.flushall()
        await aeventually(lambda: reach_each_other(tom, jerry), timeout=10)

        with valkey.frozen():
            await only_the_process_itself_is_reached(tom, spike, jerry, "no answer within 2 s")
        await aeventually(lambda: reach_each_other(tom, jerry), timeout=15)
        await aeventually(lambda: reach_each_other(jerry, tom), timeout=15)
    told = first.output  # the other may have looked before and after, and seen nothing
    assert "The channel layer fails: CHANNEL_LAYERS['default']" in told
    assert "answers again" in told
    assert not [line for line in told.splitlines() if " ERROR websockets_app" in line]
    closed = "SELECT * FROM websockets_app_session WHERE closed_at IS NOT NULL"
    rows = await aeventually(lambda: len(site.rows(closed)) == 3 and site.rows(closed))
    assert {row["close_cause"] for row in rows} == {"peer"}


async def nothing_is_lost_for_longer_than_groups_last(tom: Person, jerry: Person) -> None:
    begun = time.monotonic()
    for number in itertools.count():
        assert await tom.tell("room", f"steady {number}") == "2"
        assert await jerry.hears(f"steady {number}")
        if time.monotonic() - begun > 3.0:
            break


async def only_the_process_itself_is_reached(
    tom: Person, spike: Person, jerry: Person, why: str = ""
) -> None:
    begun = time.monotonic()
    answer = await tom.tell(jerry.id, "nobody hears this")
    assert answer.startswith("NodeUnreachable: "), answer
    assert why in answer
    assert time.monotonic() - begun < 3.0 * SCALE
    begun = time.monotonic()
    for _ in range(5):
        assert (await tom.tell(jerry.id, "nor this")).startswith("NodeUnreachable: ")
        assert (await tom.tell("room", "only here")).startswith("NodeUnreachable: ")
        assert await spike.hears("only here")
    assert await tom.tell(spike.id, "hello") == "written"
    assert await spike.hears("hello")
    assert await jerry.tell(jerry.id, "I am here") == "written"
    assert time.monotonic() - begun < 2.0 * SCALE  # nobody waits for it again and again


async def reach_each_other(sender: Person, receiver: Person) -> bool:
    """Tell whether one reaches the other, and a group's member there."""
    text = f"to you {time.monotonic()}"
    if await sender.tell(receiver.id, text) != "forwarded" or not await receiver.hears(text):
        return False
    answer = await sender.tell("room", f"{text} all")
    return answer.isdigit() and await receiver.hears(f"{text} all")

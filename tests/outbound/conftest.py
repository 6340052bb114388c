"""A supervisor in the test's own event loop, its clients against real servers on loopback."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar

import pytest
from django.db import connections
from pytest_django import Settings
from websockets.asyncio.server import Server, ServerConnection, serve

from tests.infrastructure.waiting import aeventually
from tests.outbound.certificates import Certificates, make_certificates
from tests.outbound.inbox import Inbox
from websockets_app.dispatch import loader
from websockets_app.models import Client, ClientRuntime, Event, OutboxMessage
from websockets_app.outbound.supervisor import Supervisor

T = TypeVar("T")

MakeHandler = Callable[..., str]
Talk = Callable[[ServerConnection], Awaitable[None]]
MakePeer = Callable[..., Awaitable[str]]


@pytest.fixture(autouse=True)
def quick_and_local(settings: Settings) -> None:
    settings.WEBSOCKETS = {
        **settings.WEBSOCKETS,
        "HANDLER_PACKAGES": ["made_handlers"],
        "ALLOWED_CLIENT_HOSTS": ["127.0.0.1", "localhost"],
        "ALLOWED_CLIENT_PROXIES": ["127.0.0.1", "localhost"],
        "CLIENT_ENVIRONMENT": ["NOT_THERE", "FEED_*"],
        "POLL_INTERVAL": 0.05,
    }


@pytest.fixture
def make_handler() -> Iterator[MakeHandler]:
    """Make a handler module of functions; return the reference to it."""
    made: list[str] = []

    def make(**functions: Callable[..., Any]) -> str:
        made.append(f"made_handlers.made{len(made)}")
        module = ModuleType(made[-1])
        vars(module).update(functions or {"on_message": lambda message: None})
        sys.modules[made[-1]] = module
        return made[-1]

    yield make
    for name in made:
        del sys.modules[name]
    loader.load.cache_clear()


@pytest.fixture
async def make_peer() -> AsyncIterator[MakePeer]:
    """Start a WebSocket server that talks as it is told; return its URI."""
    servers: list[Server] = []

    async def make(talk: Talk, port: int = 0, **options: Any) -> str:
        if isinstance(talk, Inbox):
            options["process_request"] = talk.prepare
        servers.append(await serve(talk, "127.0.0.1", port, **options))
        port = next(iter(servers[-1].sockets)).getsockname()[1]
        scheme = "wss" if options.get("ssl") else "ws"
        return f"{scheme}://127.0.0.1:{port}/"

    yield make
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class Guests:
    """A peer's side: who is connected now, how many ever were, and what they said."""

    def __init__(self) -> None:
        self.now: list[ServerConnection] = []
        self.ever = 0
        self.said: list[str | bytes] = []

    async def __call__(self, socket: ServerConnection) -> None:
        self.now.append(socket)
        self.ever += 1
        async for message in socket:
            self.said.append(message)
        self.now.remove(socket)


async def in_thread(function: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call a function of code that has no event loop, in a thread of its own."""

    def work() -> T:
        try:
            return function(*args, **options)
        finally:
            connections.close_all()

    return await asyncio.to_thread(work)


async def queue(client: Client, *texts: str) -> None:
    """Queue many at once, as one transaction does."""
    rows = [OutboxMessage(client=client, text=text) for text in texts]
    await OutboxMessage.objects.abulk_create(rows)


class Supervised:
    """Clients, and the supervisor that holds them."""

    def __init__(self) -> None:
        self.supervisor = Supervisor()

    async def add(self, uri: str, handler: str, **fields: Any) -> Client:
        row = {"name": "client", "backoff_base": 0.1, "backoff_ceiling": 0.2, **fields}
        return await Client.objects.acreate(uri=uri, handler=handler, **row)

    async def runtime(self) -> ClientRuntime | None:
        return await ClientRuntime.objects.afirst()

    async def wait_for(self, state: str) -> ClientRuntime:
        async def found() -> ClientRuntime | None:
            row = await self.runtime()
            assert row is not None
            assert row.state == state, (row.state, row.reason)
            return row

        row: ClientRuntime = await aeventually(found)
        return row

    async def events(self) -> list[Event]:
        """What is recorded of clients, in order."""
        await self.supervisor.node.recorder.flush()
        return [event async for event in Event.objects.filter(direction="out").order_by("id")]

    async def close(self) -> Event:
        """Wait for the first close event."""

        async def found() -> Event | None:
            closes = [event for event in await self.events() if event.kind == "close"]
            return closes[0] if closes else None

        event: Event = await aeventually(found)
        return event


@pytest.fixture
async def supervised(transactional_db: None) -> AsyncIterator[Supervised]:
    """A supervisor that has started and holds nothing yet."""
    made = Supervised()
    await made.supervisor.start()
    yield made
    await made.supervisor.stop()

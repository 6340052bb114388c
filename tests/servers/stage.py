"""The same site on each server: its endpoints, a handler that obeys, and who may log in."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.infrastructure.processes import Server
from tests.infrastructure.site import APPLICATION, Site
from tests.infrastructure.waiting import SCALE, aeventually

MIB: Final = 1024 * 1024
LIMIT: Final = 1 * MIB
"""Bytes of a message that the endpoint `small` takes."""

OBEDIENT = """
import asyncio, pathlib, time
from asgiref.sync import sync_to_async

LOG = pathlib.Path(__file__).with_name("trace.log")

def note(session, text):
    with LOG.open("a") as log:
        log.write(f"{session.id} {text}\\n")

async def on_message(message, session):
    if isinstance(message, bytes):
        return str(len(message))
    what, _, rest = message.partition(" ")
    if what == "who":
        return {"id": session.id, "params": dict(session.params), "user": str(session.user)}
    if what == "close":
        code, _, reason = rest.partition(" ")
        await session.aclose(int(code), reason)
    if what == "raise":
        raise ValueError(rest)
    if what == "sleep":
        note(session, "sleeps")
        await asyncio.sleep(float(rest))
        note(session, f"awake: {await session.asend_text('awake')}")
    if what == "block":
        await sync_to_async(time.sleep)(float(rest))
        return "unblocked"
    if what == "flood":
        for _ in range(400):
            await session.asend_bytes(bytes(64 * 1024))
        note(session, "flooded")

def on_close(session, code):
    note(session, f"close {code}")
"""

SETTINGS = "WEBSOCKETS['SHUTDOWN_TIMEOUT'] = 0.5"

ROWS = """
obedient = "site_handlers.obedient"
for row in (
    {"endpoint": "echo", "handler": "handlers.echo", "subprotocols": ["b", "a"]},
    {"endpoint": "small", "handler": obedient},
    {"endpoint": "large", "handler": obedient, "max_message_size": 64 * 1024 * 1024},
    {"endpoint": "unread", "handler": obedient, "send_timeout": 0.2},
    {"endpoint": "fragile", "handler": obedient, "on_handler_error": "close"},
    {"endpoint": "room/<str:name>", "handler": obedient},
    {"endpoint": "private", "handler": obedient, "access": "authenticated"},
    {"endpoint": "broken", "handler": "site_handlers.nowhere"},
):
    Endpoint.objects.create(**{"access": "public", **row})

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
tom = get_user_model().objects.create_user("tom")
login = SessionStore()
login[SESSION_KEY] = str(tom.pk)
login[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
login[HASH_SESSION_KEY] = tom.get_session_auth_hash()
login.create()
print(login.session_key)
"""


WAITS_FOR_EVER: Final = (
    "From Python 3.12 on Hypercorn waits for open connections: its issue 308"
    if sys.version_info >= (3, 12)
    else ""
)


@dataclass(frozen=True)
class Kind:
    """A server, or a way to run it."""

    title: str
    start: Callable[..., Server]
    options: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    """The options by which it runs two processes, and ends both in order."""
    packages: tuple[str, ...] = ()
    hangs: str = ""
    """Why it doesn't end by SIGTERM while sessions are open, where that is so."""
    root_path_option: str = "--root-path"

    @property
    def versions(self) -> str:
        return ", ".join(
            version(package) if package == self.packages[0] else f"{package} {version(package)}"
            for package in self.packages
        )


KINDS: Final = (
    Kind("Daphne", Site.start_daphne, packages=("daphne", "autobahn")),
    Kind("Uvicorn", Site.start_uvicorn, (), ("--workers", "2"), ("uvicorn", "websockets")),
    Kind(
        "Uvicorn, wsproto",
        Site.start_uvicorn, ("--ws", "wsproto"), packages=("uvicorn", "wsproto"),
    ),
    # Of several processes of Hypercorn's the first that has ended has the others killed.
    Kind(
        "Hypercorn",
        Site.start_hypercorn, packages=("hypercorn", "wsproto"), hangs=WAITS_FOR_EVER,
    ),
    Kind(
        "Granian",
        Site.start_granian, (), ("--workers", "2"), ("granian",),
        root_path_option="--url-path-prefix",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A database with the rows, to copy for each server, and the cookie of somebody logged in."""

    database: Path
    session_key: str

    @classmethod
    def build(cls, directory: Path, template: Path | None = None) -> Stage:
        site = Site(directory, template=template)
        key = site.shell(ROWS).strip()
        assert site.sqlite is not None
        return cls(site.sqlite, key)

    def serve(
        self,
        kind: Kind,
        directory: Path,
        *options: str,
        settings: str = "",
        application: str = APPLICATION,
    ) -> Served:
        """Start a server on a site of its own."""
        site = Site(directory, template=self.database, settings=f"{SETTINGS}\n{settings}")
        site.write_handler("obedient", OBEDIENT)
        server = kind.start(site, *kind.options, *options, application=application)
        return Served(kind, site, server, self.session_key, len(nodes_of(site)))


def nodes_of(site: Site) -> list[dict[str, Any]]:
    return site.rows("SELECT * FROM websockets_app_node")


class Peer:
    """One connection to an obedient handler, and what the site knows about its session."""

    def __init__(self, served: Served, websocket: ClientConnection, session_id: str) -> None:
        self.socket = websocket
        self.session_id = session_id
        self._served = served

    async def end(self) -> tuple[int, str]:
        """Read until the connection is closed; return the code and the reason that came."""
        async with asyncio.timeout(10 * SCALE):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return int(self.socket.close_code), self.socket.close_reason or ""

    def vanish(self) -> None:
        """Break the connection without a word."""
        raw = self.socket.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.transport.abort()

    async def closed_row(self, timeout: float = 5.0) -> Mapping[str, Any]:
        """Return the session's row, once it is closed."""
        row = await aeventually(self.row_if_closed, timeout)
        assert isinstance(row, dict)
        return row

    async def recorded(self) -> str:
        """Return what the row of the closed session says: the code, and the cause."""
        row = await self.closed_row()
        return f"{row['close_code']}, `{row['close_cause']}`"

    def row_if_closed(self) -> Mapping[str, Any] | None:
        rows = self._rows("session", f"id = '{self.session_id}' AND closed_at IS NOT NULL")
        return rows[0] if rows else None

    def close_events(self) -> list[tuple[int, str]]:
        """The code and the cause of each close event."""
        return self.events("close", "code", "cause")

    def events(self, kind: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return these columns of each of the session's events of that kind."""
        events = self._rows("event", f"peer = '{self.session_id}' AND kind = '{kind}'")
        return [tuple(event[column] for column in columns) for event in events]

    def _rows(self, table: str, where: str) -> list[dict[str, Any]]:
        sql = f"SELECT * FROM websockets_app_{table} WHERE {where}"  # noqa: S608 (ids of ours)
        return self._served.site.rows(sql)

    def notes(self) -> list[str]:
        """What the handler has noted."""
        log = self._served.site.directory / "site_handlers" / "trace.log"
        lines = log.read_text().splitlines() if log.exists() else []
        mine = (line.partition(" ") for line in lines)
        return [note for session_id, _, note in mine if session_id == self.session_id]


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    kind: Kind
    site: Site
    server: Server
    session_key: str
    nodes_at_start: int

    async def open(self, path: str = "small", **options: Any) -> Peer:
        """Connect to an obedient handler."""
        opened = await connect(self.server.ws(path), compression=None, max_size=None, **options)
        await opened.send("who")
        return Peer(self, opened, json.loads(await opened.recv())["id"])

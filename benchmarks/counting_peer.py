"""A WebSocket server that does nothing but count; a program: ``… benchmarks.counting_peer PORT``.

``GET /count`` tells how many messages came.
"""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from pathlib import Path
from urllib.request import urlopen

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.infrastructure.ports import free_port
from tests.infrastructure.processes import Server
from tests.infrastructure.site import REPOSITORY, Site


def start(site: Site) -> Server:
    """Start the peer among the processes of a site, and wait until it accepts connections."""
    port = free_port()
    command = [sys.executable, "-m", __name__, str(port)]
    log: Path = site.directory / "peer.log"
    peer = Server("peer", command, log, site.env(), REPOSITORY, port)
    site.processes.append(peer)
    peer.wait_until_ready()
    return peer


def count(peer: Server) -> int:
    """Return how many messages the peer has received."""
    with urlopen(peer.http("/count"), timeout=10) as answer:  # noqa: S310 - our own, on loopback
        return int(answer.read())


class _Counter:
    def __init__(self) -> None:
        self.messages = 0

    async def talk(self, connection: ServerConnection) -> None:
        try:
            while True:
                await connection.recv()
                self.messages += 1
        except ConnectionClosed:
            pass

    def tell(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path != "/count":
            return None
        return connection.respond(HTTPStatus.OK, str(self.messages))


async def _serve(port: int) -> None:
    counter = _Counter()
    async with serve(counter.talk, "127.0.0.1", port, process_request=counter.tell) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))

"""Peers for clients: real WebSocket servers, in threads of the test's own process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.infrastructure.ports import free_port

Talk = Callable[[ServerConnection], None]


class Peer:
    """A server that can be stopped and comes back on the same port."""

    def __init__(self, talk: Talk, status: int | None = None) -> None:
        self.port = free_port()
        self.connections: list[ServerConnection] = []
        self.handshakes = 0
        self._talk = talk
        self._status = status
        self.start()

    @property
    def uri(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self._server = serve(
            self._serve, "127.0.0.1", self.port, process_request=self._process_request
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self, code: int = 1001) -> None:
        """Close every connection with ``code``, and listen no more."""
        self._server.shutdown()
        self._thread.join()
        for connection in self.connections:
            connection.close(code)
        self.connections.clear()

    def say(self, text: str) -> None:
        """Send to everybody who is connected."""
        for connection in list(self.connections):
            with contextlib.suppress(ConnectionClosed):
                connection.send(text)

    def _serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            with contextlib.suppress(ConnectionClosed):
                self._talk(connection)
        finally:
            if connection in self.connections:
                self.connections.remove(connection)

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes += 1
        if self._status is None:
            return None
        return connection.respond(HTTPStatus(self._status), "no\n")


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


def close_at_once(connection: ServerConnection) -> None:
    connection.close()


@contextlib.contextmanager
def running_peer(talk: Talk = echo, status: int | None = None) -> Iterator[Peer]:
    peer = Peer(talk, status)
    try:
        yield peer
    finally:
        peer.stop()

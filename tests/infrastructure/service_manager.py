"""The listening end of sd_notify(3), as systemd has it."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ServiceManagerSocket:
    """A datagram socket that tells what was said to it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return what has been said since this was asked last, without waiting."""
        said = []
        while True:
            try:
                said.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return said

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@contextmanager
def listening(address: str | None = None) -> Iterator[ServiceManagerSocket]:
    """Listen on a path of the test's own, or on an abstract address."""
    # Not pytest's directory: the path of a Unix socket has to be short.
    with tempfile.TemporaryDirectory(prefix="notify-") as directory:
        made = ServiceManagerSocket(address or str(Path(directory) / "socket"))
        try:
            yield made
        finally:
            made.close()

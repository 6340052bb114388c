"""What the runner tells systemd: sd_notify(3), one datagram for each thing said."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final

from ..redaction import get_logger

logger = get_logger(__name__)

SEND_SECONDS: Final = 1.0
_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """Speaks to the service manager that started this process; without one it says nothing.

    Who listens may be gone or not keep up: that is logged, and the runner goes on.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_seconds = _watchdog_seconds(environment) if self._address else None
        """How long the manager waits for a sign of life; None: it doesn't."""
        self._status = ""

    def ready(self, status: str) -> None:
        """Tell that the start is complete."""
        self._status = status
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        """Tell that the end has begun."""
        self._status = status
        self._send(f"STOPPING=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Tell how things stand, where that has changed."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    async def feed_watchdog(self) -> None:
        """Give a sign of life. Awaited in the event loop: one that is blocked gives none."""
        self._send("WATCHDOG=1")

    def _send(self, said: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(SEND_SECONDS)
                sender.sendto(said.encode(), self._address)
        except OSError as error:
            logger.warning("The service manager can't be told %r: %s", said, error)


def _address(name: str) -> str:
    """Return the socket's address as the kernel takes it, or an empty string."""
    if name.startswith("@"):  # abstract: of no file system
        return f"\0{name[1:]}"
    if name and not name.startswith("/"):
        logger.warning("NOTIFY_SOCKET=%s is no path, and has no @ before it: not used", name)
        return ""
    return name


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return what WATCHDOG_USEC says, if it is this process that WATCHDOG_PID means."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
        return None
    return int(microseconds) / _MICROSECONDS

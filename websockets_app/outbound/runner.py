"""The runner: a supervisor that ends on a signal."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ..conf import app_settings
from ..node.looper import repeat
from .supervisor import Supervisor
from .systemd import ServiceManager

STATUS_SECONDS: Final = 2.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def run(names: list[str], say: Callable[[str], object]) -> None:
    """Hold the clients of `names`, or all, until SIGTERM or SIGINT; a second signal hurries."""
    asked = _Asked()
    manager = ServiceManager()
    supervisor = Supervisor(names)
    asked.twice = supervisor.hurry
    await supervisor.start()
    try:
        _keep_told(manager, supervisor)
        name, number = supervisor.node.id[:8], len(supervisor.desired)
        say(f"Runner {name} is ready. Clients to run: {number}.")
        await asked.once.wait()
        say("Runner stops: closing its connections.")
    finally:
        manager.stopping("Closing its connections.")
        await supervisor.stop()


def _keep_told(manager: ServiceManager, supervisor: Supervisor) -> None:
    """Tell the service manager that the runner is ready, and from then on how it does."""

    async def tell() -> None:
        manager.status(_status(supervisor))

    manager.ready(_status(supervisor))
    supervisor.node.begin(repeat(tell, STATUS_SECONDS))
    if seconds := manager.watchdog_seconds:
        supervisor.node.begin(repeat(manager.feed_watchdog, seconds / 2))


def _status(supervisor: Supervisor) -> str:
    held, renewed_at = len(supervisor), supervisor.node.lease.renewed_at
    if renewed_at is None or time.monotonic() - renewed_at > app_settings.NODE_TTL:
        return f"Waiting for the database. Clients held here: {held}."
    return f"Clients to run: {len(supervisor.desired)}; held here: {held}."


class _Asked:
    """Takes the signals that ask the process to end."""

    def __init__(self) -> None:
        self.once = asyncio.Event()
        self.twice: Callable[[], None] = self.once.set
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with suppress(NotImplementedError):  # on Windows Ctrl-C cancels us instead
                loop.add_signal_handler(number, self._take)

    def _take(self) -> None:
        if self.once.is_set():
            self.twice()
        self.once.set()

"""The runner: a supervisor that ends on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from ..models import Client
from .supervisor import Supervisor

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def unknown(names: Iterable[str]) -> list[str]:
    """Return those of `names` that no client has."""
    known = set(Client.objects.filter(name__in=list(names)).values_list("name", flat=True))
    return sorted(set(names) - known)


async def run(names: list[str], say: Callable[[str], object]) -> None:
    """Hold the clients of `names`, or all, until SIGTERM or SIGINT; a second signal hurries."""
    asked = _Asked()
    supervisor = Supervisor(names)
    asked.twice = supervisor.hurry
    await supervisor.start()
    try:
        name, number = supervisor.node.id[:8], len(supervisor.desired)
        say(f"Runner {name} is ready. Clients to run: {number}.")
        await asked.once.wait()
        say("Runner stops: closing its connections.")
    finally:
        await supervisor.stop()


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

"""What becomes of open sessions when a server gets SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.infrastructure.waiting import aeventually
from tests.servers.stage import Kind, Peer, Served, Stage, nodes_of

IDLE: Final = 8
"""How many sessions have nothing to do; one more has a handler that ends, one that doesn't."""


@dataclass(frozen=True)
class Stopped:
    """A server that has ended, and the peers that it had."""

    served: Served
    idle: list[Peer]
    brief: Peer
    stuck: Peer
    codes: list[int]
    """The close codes that the peers saw."""
    status: int
    seconds: float

    @property
    def peers(self) -> list[Peer]:
        return [*self.idle, self.brief, self.stuck]


async def stop(stage: Stage, kind: Kind, directory: Path) -> Stopped:
    """Start a server, in two processes where it can, and stop it while sessions are open."""
    served = stage.serve(kind, directory, *kind.workers)
    try:
        return await _stop(served)
    finally:
        served.site.end()


async def _stop(served: Served) -> Stopped:
    if served.kind.workers:  # what is asked to stop while it starts may never do it
        await aeventually(lambda: len(nodes_of(served.site)) == 2)
    idle = await asyncio.gather(*(served.open() for _ in range(IDLE)))
    brief, stuck = await served.open(), await served.open()
    await brief.socket.send("sleep 0.3")
    await stuck.socket.send("sleep 60")
    await aeventually(lambda: brief.notes() == stuck.notes() == ["sleeps"])
    began = time.monotonic()
    served.server.send(signal.SIGTERM)
    ends = await asyncio.gather(*(peer.end() for peer in (*idle, brief, stuck)))
    status = await asyncio.to_thread(served.server.wait, 20)
    codes = [code for code, _ in ends]
    return Stopped(served, idle, brief, stuck, codes, status, time.monotonic() - began)


def _codes(stopped: Stopped) -> str:
    return " or ".join(str(code) for code in sorted(set(stopped.codes)))


STOPS: Final[dict[str, Callable[[Stopped], str]]] = {
    "closes at SIGTERM with": _codes,
}

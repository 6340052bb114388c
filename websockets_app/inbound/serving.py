"""A server node: the endpoints it serves, and the sessions open on them."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Coroutine
from typing import Any

from ..conf import app_settings
from ..core.close_codes import CloseCode
from ..core.states import CloseCause, EventKind, NodeKind, OnChange
from ..forking import in_forked_child
from ..models import Endpoint
from ..node.handler_retries import STEP_SECONDS, HandlerRetries
from ..node.looper import repeat
from ..node.node import Node
from ..node.watcher import Change, Watcher
from ..redaction import get_logger
from . import revocation, server
from .config import EndpointConfig, prepare, with_handler
from .drains import Drains
from .limits import Limits
from .registry import Registry
from .session import InboundSession

logger = get_logger(__name__)


class Serving:
    """The one of its event loop; made at the loop's first connection, never at import."""

    def __init__(self) -> None:
        self.node = Node(NodeKind.SERVER)
        self.node.lease.server = server.name()
        self.node.lease.on_reaped.append(self._reopen_rows)
        self.registry = Registry()
        self.limits = Limits(self.node)
        self.node.watch(
            Watcher(self.node.descriptors, Endpoint.objects.served, prepare, self._apply)
        )
        self.retries = HandlerRetries(
            self.node.id, "endpoint", self.node.handlers, with_handler, self._apply
        )
        self.revocation = revocation.Revocation(self._sessions, self.registry.get)
        self.drains = Drains(self.node, self._sessions)

    async def start(self) -> None:
        await self.node.start()
        self.node.begin(repeat(self.retries.step, STEP_SECONDS, hurry=self.retries.changed))
        self.node.begin(repeat(self.revocation.poll, revocation.POLL_SECONDS))
        await self.limits.start()
        self.drains.start()
        server.before_shutdown(self.drain)
        # A server may end without a word: what waits then is written as the interpreter exits.
        atexit.register(self.node.recorder.flush_at_exit)

    def drain(self) -> Coroutine[Any, Any, None]:
        """Admit nobody from now on; awaiting what is returned ends everything in order."""
        begun, self.node.draining = self.node.draining, True
        return self._drain(begun)

    async def _drain(self, begun: bool) -> None:
        """Close every session with 1001, let handlers end, write what is left."""
        if begun:
            return
        self.drains.stop()
        # The node owns these: one that fails is logged, and the others and the node go on ending.
        closing = [
            self.node.own(session.aclose(CloseCode.GOING_AWAY, "", CloseCause.SHUTDOWN))
            for session in self._sessions()
        ]
        if closing:
            await asyncio.wait(closing)
        await self.node.stop()
        self.revocation.stop()
        atexit.unregister(self.node.recorder.flush_at_exit)

    async def _apply(self, change: Change[EndpointConfig]) -> None:
        """Take a change of the endpoints over, for new sessions and for those that are open."""
        self.registry.replace(change.changed, change.removed)
        self.retries.note(change)
        for config in change.changed.values():
            self._tell_problem(config)
        # Side by side: a peer that doesn't read holds up neither the others nor the next change.
        await asyncio.gather(*map(self._follow, self._sessions()))

    async def welcome(self, session: InboundSession) -> None:
        """Let a session that has opened catch up with what changed since it was matched."""
        if self.node.draining:
            await session.aclose(CloseCode.GOING_AWAY, "", CloseCause.SHUTDOWN)
        elif self.drains.keeps_out(session.config.endpoint):
            await session.aclose(CloseCode.SERVICE_RESTART, "", CloseCause.SHUTDOWN)
        else:
            await self._follow(session)

    async def _follow(self, session: InboundSession) -> None:
        config = self.registry.get(session.config.id)
        if config is None:
            await session.aclose(CloseCode.GOING_AWAY, "endpoint removed", CloseCause.CONFIG)
        elif config == session.config:
            return
        elif config.on_change == OnChange.CLOSE:
            await session.aclose(CloseCode.SERVICE_RESTART, "endpoint changed", CloseCause.CONFIG)
        elif config.on_change == OnChange.KEEP:
            session.changed(config)
            session.record.event(EventKind.CHANGED, detail=session.handler.reference)

    def _tell_problem(self, config: EndpointConfig) -> None:
        if config.problem:
            self.node.recorder.add_own(EventKind.PROBLEM, config.subject, detail=config.problem)

    async def _reopen_rows(self) -> None:
        """Write the rows of open sessions again: somebody closed them as `node_lost`."""
        self.retries.report_anew()
        for session in self._sessions():
            session.record.event(EventKind.OPEN, detail="the node was declared lost, and lives")
            self.node.recorder.put_session(session.id, session.row)

    def _sessions(self) -> list[InboundSession]:
        return [peer for peer in self.node.peers if isinstance(peer, InboundSession)]


_started: dict[asyncio.AbstractEventLoop, asyncio.Future[Serving]] = {}
_of_parent: list[object] = []  # what a forked child keeps alive, as it does nodes


@in_forked_child
def _forget_serving() -> None:
    """Leave the parent's sessions, and what it still has to write, to the parent."""
    for known in _started.values():
        if known.done() and not known.cancelled() and not known.exception():
            atexit.unregister(known.result().node.recorder.flush_at_exit)
    _of_parent.append(dict(_started))
    _started.clear()


async def get_serving() -> Serving:
    """Return what serves in the running event loop; the first caller starts it."""
    loop = asyncio.get_running_loop()
    known = _started.get(loop)
    if known is None or (known.done() and known.exception()):
        for closed in [other for other in _started if other.is_closed()]:
            del _started[closed]
        known = _started[loop] = loop.create_task(_start())
    return await asyncio.shield(known)


def is_serving() -> bool:
    """Tell whether anything serves, or begins to, in the running event loop."""
    return asyncio.get_running_loop() in _started


async def stop_serving() -> None:
    """Drain what serves in the running event loop, if anything does."""
    known = _started.pop(asyncio.get_running_loop(), None)
    if known is not None:
        await (await known).drain()


async def _start() -> Serving:
    serving = Serving()
    await serving.start()
    logger.info("Endpoints served below %s: %d", app_settings.PREFIX, len(serving.registry))
    return serving

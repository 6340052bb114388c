"""The peer of a conversation: what a handler takes for a session, or for a client's connection."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from ..core.close_codes import cut_reason
from ..core.peer import Peer
from ..core.states import CloseCause, Direction, MessageRecording, NodeKind, SendAnswer
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.failure import Failure
from ..dispatch.frames import Frame, size_of
from ..dispatch.loader import Handler
from ..dispatch.pool import SyncPool
from ..inbound.handle import WebsocketSession
from ..node import mail
from ..node.layer import NodeLayer
from ..node.mail import Mail
from ..node.node import Node
from ..node.sending import Sending
from ..outbound.handle import WebsocketClient
from ..recording.facts import Subject
from .arrivals import Arrivals, Closed

T = TypeVar("T")


class Stage(Node):
    """A node on which nothing runs: through it handles and broadcasts find a test's peer."""

    def __init__(self, kind: NodeKind) -> None:
        super().__init__(kind)
        self.pool = _TestsThread(self.loop, 0)
        self.layer = _NoLayer()


class RehearsedPeer(Sending):
    """One peer, made of lists. Used in the loop of its stage only."""

    def __init__(
        self,
        stage: Stage,
        handler: Handler,
        arrivals: Arrivals,
        *,
        direction: Direction,
        params: Mapping[str, Any],
        user: Any,
        on_handler_error: str,
        on_end: Callable[[], object],
    ) -> None:
        super().__init__(stage.own, stage.peers.queued)
        self.id = uuid.uuid4().hex
        self.handle: Peer = (
            WebsocketSession(self.id, here=True)
            if direction == Direction.IN
            else _RehearsedClient(self.id)
        )
        self.handler = handler
        self.params = params
        self.user = user
        self.endpoint_id = None
        self.on_handler_error = on_handler_error
        subject = Subject(direction, None, None, handler.reference)
        self.record = stage.recorder.of_peer(subject, self.id, MessageRecording.COUNTERS)
        self._stage = stage
        self._arrivals = arrivals
        self._on_end = on_end

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._arrivals.closed is not None

    def begin(self) -> None:
        """Let handles and broadcasts find the peer."""
        self._stage.register()
        self._stage.peers.add(self)

    def end(self, code: int, reason: str) -> None:
        """Note how the connection ended, once."""
        if not self.closed:
            self._arrivals.end(Closed(int(code), reason))
            self._stop_counting()
            self._stage.peers.discard(self)
            self._on_end()

    async def settle(self) -> None:
        """Write what was only queued so far."""
        await self._write_queued()

    async def aclose(
        self, code: int, reason: str = "", cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        """Close the connection from the handler's side."""
        if cause == CloseCause.HANDLER:
            await self._write_queued()
        if self.closed:
            return SendAnswer.GONE
        self.end(code, cut_reason(reason))
        return SendAnswer.WRITTEN

    def watch(self) -> None:
        """Nobody sweeps a stage."""

    def log_extra(self) -> dict[str, Any]:
        """Return what log lines carry."""
        return {"session": self.id}

    async def _write(self, frame: Frame) -> SendAnswer:
        if self.closed:
            return SendAnswer.GONE
        size_of(frame)  # which refuses what can't be sent
        self._arrivals.add(frame)
        return SendAnswer.WRITTEN


class TellingDispatcher(Dispatcher):
    """A dispatcher that adds what callbacks raise to `errors`."""

    def __init__(self, peer: RehearsedPeer, stage: Stage, errors: list[BaseException]) -> None:
        super().__init__(peer, stage.pool)
        self._errors = errors

    def _log(self, failure: Failure) -> bool:
        self._errors.append(failure.error)
        return super()._log(failure)


class _TestsThread(SyncPool):
    """Runs sync callbacks where the test's own sync code runs: inside its transaction."""

    def run(self, function: Callable[..., T], *args: Any, owner: Hashable = None) -> Awaitable[T]:
        return sync_to_async(function, thread_sensitive=True)(*args)


class _NoLayer(NodeLayer):
    """Reaches no other process."""

    def __init__(self) -> None:
        super().__init__()
        self._layer = None

    async def post(self, channel: str, mail: Mail) -> None:
        """Send nothing."""

    async def post_to_all(self, mail: Mail, but: list[str]) -> None:
        """Send nothing."""


class _RehearsedClient(WebsocketClient):
    """A client's connection whose outbox is the test."""

    __slots__ = ()

    def __init__(self, connection_id: str) -> None:
        super().__init__(0, connection_id)
        self._ttl = None

    def _put(self, **content: Any) -> uuid.UUID:
        frame: Frame = content["text"] if "text" in content else content["binary"]
        self._change(lambda node, peer: peer.send_soon(frame), mail.sending(self.id, frame))
        return uuid.uuid4()

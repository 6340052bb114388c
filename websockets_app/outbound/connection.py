"""A connection: one socket of a client, from its first attempt to its one close event.

It lives in its client's task, which receives, awaits the handler and sends. While a handler is
slow, the library stops reading once a few frames wait, so that nothing is lost; the node's sweep
looks whether the peer has left meanwhile.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from ..core.close_codes import CloseCode, cut_reason
from ..core.policy import Outcome
from ..core.states import CloseCause, EventKind, SendAnswer
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.frames import Frame, size_of
from ..dispatch.loader import Handler
from ..node.node import Node
from ..node.sending import Sending
from ..redaction import get_logger
from .config import ClientConfig
from .handle import WebsocketClient
from .keepalive import keep_alive
from .outcomes import Ending, ending_of, outcome_of_connection

logger = get_logger(__name__)

_NO_PARAMS: Final[Mapping[str, Any]] = MappingProxyType({})


class Connection(Sending):
    """One connection, used in the node's event loop only."""

    def __init__(
        self,
        node: Node,
        config: ClientConfig,
        *,
        on_ready: Callable[[Connection, ClientConnection], None],
        on_ending: Callable[[Ending], None],
    ) -> None:
        assert config.handler is not None
        super().__init__(node.own, node.peers.queued)
        self.id = uuid.uuid4().hex
        self.handle = WebsocketClient(config.id, self.id)
        self.handler: Handler = config.handler
        self.config = config
        self.params = _NO_PARAMS
        self.user = None
        self.endpoint_id = None
        self.ending: Ending | None = None
        self.record = node.recorder.of_peer(config.subject, self.id, config.record_messages)
        self._node = node
        self._on_ready = on_ready
        self._on_ending = on_ending
        self._dispatcher = Dispatcher(self, node.pool, node.callback_threads)
        self._socket: ClientConnection | None = None
        self._opened_at = 0.0
        self._ended_at = 0.0
        self._ended_here = False

    @property
    def closed(self) -> bool:
        return self._socket is None or self.ending is not None

    @property
    def on_handler_error(self) -> str:
        return self.config.on_handler_error

    @property
    def subprotocol(self) -> str:
        """What the peer chose of the row's list."""
        return (self._socket.subprotocol if self._socket else None) or ""

    # The life of a connection

    def attempt(self) -> None:
        """Record that the attempt begins."""
        self.record.attempted(EventKind.CONNECTING, self.config.shown_uri)

    async def fail(self, reason: str) -> None:
        """Record that the attempt opened nothing, and tell the handler.

        `on_error` runs then, as the seed's `onError` does; `on_close` doesn't, since nothing was
        open.
        """
        self.record.attempted(EventKind.ERROR, reason)
        self.record.count_error()
        await self._node.peers.attend(self, self._dispatcher.error(reason))

    async def run(self, socket: ClientConnection) -> Outcome:
        """Run every callback in its order, leave nothing open, and return how it ended."""
        self._open(socket)
        keepalive = self._node.own(keep_alive(self, socket))
        try:
            await self._node.peers.attend(self, self._dispatcher.open())
            if not self.closed:
                self._on_ready(self, socket)
            await self._receive_all(socket)
        except asyncio.CancelledError:
            # Of the node's, at the end of its patience: on_close still runs.
            self._end(CloseCode.GOING_AWAY, "", CloseCause.SHUTDOWN)
            socket.transport.abort()
            if task := asyncio.current_task():
                task.uncancel()
        except Exception:
            logger.exception("Connection %s failed", self.id, extra=self.log_extra())
            await self.aclose(CloseCode.INTERNAL_ERROR, "", CloseCause.TRANSPORT)
        finally:
            keepalive.cancel()
            ending = await self._finish(socket)
        return outcome_of_connection(ending, self._ended_at - self._opened_at)

    def _open(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._opened_at = time.monotonic()
        self._node.peers.add(self)
        self.record.opened(f"{self.config.shown_uri} {self.subprotocol}".rstrip())

    async def _receive_all(self, socket: ClientConnection) -> None:
        """Handle one message after the other until the connection is closed at both ends.

        What came before the peer's close is handled. What comes after ours is discarded and
        counted: the library reads until the peer's own close, for `close_timeout` at most.
        """
        while True:
            try:
                message = await socket.recv()
            except ConnectionClosed as closed:
                self._note(closed)
                if self._ended_here and self.ending is not None:
                    answered = closed.rcvd.code if closed.rcvd else None
                    self.record.after_close(self.ending.code, answered)
                return
            if self._ended_here:
                self.record.discard(size_of(message))
            else:
                self.record.received(message, size_of(message))
                await self._node.peers.attend(self, self._dispatcher.message(message))
            # What is read already comes without a pause, and others wait for their turn.
            await asyncio.sleep(0)

    async def _finish(self, socket: ClientConnection) -> Ending:
        ending = self._end(CloseCode.ABNORMAL, "", CloseCause.TRANSPORT)
        closing = self._dispatcher.close(ending.code, ending.reason)
        await self._node.peers.attend(self, closing)
        await socket.close()  # where it still isn't: after an error of ours
        self.record.collect()  # what was handled after the end
        return ending

    # What comes in

    def watch(self) -> None:
        """See the peer leave while the handler is busy."""
        if self._socket is not None and self._socket.state is State.CLOSED:
            self._note(self._socket.protocol.close_exc)

    # What goes out

    async def _write(self, frame: Frame) -> SendAnswer:
        if self._socket is None or self.ending is not None:
            return SendAnswer.GONE
        size = size_of(frame)
        try:
            await self._socket.send(frame)
        except ConnectionClosed:
            return SendAnswer.GONE
        self.record.sent(frame, size)
        return SendAnswer.WRITTEN

    async def aclose(
        self, code: int, reason: str = "", cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        """Close the connection, and say so to the peer; doesn't wait for its answer."""
        if cause == CloseCause.HANDLER:
            await self._write_queued()
        if self._socket is None or self.ending is not None:
            return SendAnswer.GONE
        reason = cut_reason(reason)
        self._ended_here = True
        self._end(code, reason, cause)
        self._node.own(self._socket.close(code, reason))
        return SendAnswer.WRITTEN

    # The end

    def _note(self, closed: ConnectionClosed) -> None:
        ending = ending_of(closed)
        self._end(ending.code, ending.reason, ending.cause)

    def _end(self, code: int, reason: str, cause: CloseCause) -> Ending:
        """Note how the connection ended, once; whoever comes later gets the first answer."""
        if self.ending is None:
            self.ending = Ending(code=code, reason=reason, cause=cause)
            self._stop_counting()
            self._ended_at = time.monotonic()
            self._node.peers.discard(self)
            self.record.closed(code, cause, reason)
            self._on_ending(self.ending)
        return self.ending

    # What others see

    def changed(self, config: ClientConfig) -> None:
        """Go on under a changed row, from the next message."""
        self.config = config
        self.record.keep(config.record_messages)
        if config.handler is not None:
            self.handler = config.handler
        self.record.event(EventKind.CHANGED, detail=config.reference)

    def log_extra(self) -> dict[str, Any]:
        return {"client": self.config.name, "connection": self.id}

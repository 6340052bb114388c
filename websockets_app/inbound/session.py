"""A session: one open inbound connection, from its acceptance to its one close event.

It lives in one task of the node's, which receives, awaits the handler and sends. Only while a
handler has been busy since the node's last sweep does a second task read ahead, so that a peer
that leaves is noticed.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..core.close_codes import CloseCode, cut_reason
from ..core.states import CloseCause, SendAnswer
from ..core.text import tame
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.frames import Frame, size_of
from ..dispatch.loader import Handler
from ..node.node import Node
from ..node.sending import Sending
from ..recording.facts import SessionRow, moment
from . import rows, server
from .config import EndpointConfig
from .ending import Ending, cause_of
from .handle import WebsocketSession
from .handshake import Handshake
from .logins import Login
from .read_ahead import Inbox, ReadAhead
from .server import Receive, Send

logger = logging.getLogger(__name__)


class InboundSession(Sending):
    """One session, used in the node's event loop only."""

    def __init__(
        self,
        node: Node,
        config: EndpointConfig,
        handler: Handler,
        handshake: Handshake,
        user: Any,
        receive: Receive,
        send: Send,
    ) -> None:
        super().__init__(node.own)
        self.id = uuid.uuid4().hex
        self.handle = WebsocketSession(self.id, here=True)
        self.handler = handler
        self.config = config
        self.params = handshake.params
        self.user = user
        self.login: Login | None = None
        self.ending: Ending | None = None
        self.record = node.recorder.of_peer(
            config.subject, self.id, config.record_messages, self.row
        )
        self._node = node
        self._handshake = handshake
        self._subprotocol = handshake.negotiate(config.subprotocols)
        self._receive = receive
        self._send = send
        self._dispatcher = Dispatcher(self, node.pool)
        self._opened_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._waiting = False  # whether that task waits for a message, and may be interrupted
        self._ahead: ReadAhead | None = None
        self._ahead_task: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        return self.ending is not None

    @property
    def on_handler_error(self) -> str:
        return self.config.on_handler_error

    async def may_open(self) -> Any:
        """Return what the handler's `may_open` answers; raise `MayOpenFailed`."""
        return await self._dispatcher.may_open()

    async def run(self, on_accepted: Callable[[InboundSession], Awaitable[object]]) -> None:
        """Accept, run every callback in its order, and leave nothing open.

        `on_accepted` is awaited once others can see the session.
        """
        self._task = asyncio.current_task()
        try:
            if await self._accept():
                await on_accepted(self)
                await self._node.peers.attend(self, self._dispatcher.open())
                await self._receive_all()
        except asyncio.CancelledError:
            # Ours (`_interrupt`), the node's at the end of its patience, or a handler's that
            # cancelled the task it runs in: the session is over, and on_close still runs.
            while self._task and self._task.uncancel():
                continue
            cause = CloseCause.SHUTDOWN if self._node.draining else CloseCause.HANDLER
            await self.aclose(CloseCode.GOING_AWAY, "", cause)
        except Exception:
            logger.exception("Session %s failed", self.id, extra=self.log_extra())
            await self.aclose(CloseCode.INTERNAL_ERROR, "", CloseCause.TRANSPORT)
        finally:
            await self._finish()

    async def _accept(self) -> bool:
        """Open the session; False where the peer has left meanwhile."""
        if not await server.accept(self._send, self._subprotocol):
            return False
        self._opened_at = time.time()
        self._node.peers.add(self)
        self.record.opened(self._handshake.path)
        self._node.recorder.put_session(self.row())
        await self._node.recorder.settle()
        return True

    async def _receive_all(self) -> None:
        """Handle one message after the other until the session ends."""
        while True:
            if self._ahead is not None:
                message = await self._next_ahead(self._ahead)
            elif self.ending is not None:
                return
            else:
                self._waiting = True
                event = await self._receive()
                self._waiting = False
                message = self._take(event)
            if message is not None:
                await self._node.peers.attend(self, self._dispatcher.message(message))

    async def _next_ahead(self, ahead: ReadAhead) -> Frame | None:
        """Return the next message that was read ahead; None where there is none, or none yet."""
        if ahead.inbox:
            return ahead.inbox.get()
        if ahead.done or self.ending is not None:
            self._ahead = None
            return None
        self._waiting = True
        await ahead.arrived.wait()
        self._waiting = False
        ahead.arrived.clear()
        return None

    async def _finish(self) -> None:
        if self._ahead_task is not None:
            self._ahead_task.cancel()
        ending = self.end(CloseCode.ABNORMAL, CloseCause.TRANSPORT)
        if self._opened_at:
            await self._dispatcher.close(ending.code, ending.reason)
            self._node.recorder.put_session(self.row())
            await self._node.recorder.settle()

    def _take(self, event: dict[str, Any]) -> Frame | None:
        """Return the message of an ASGI event; None where the event ended the session."""
        if event["type"] != "websocket.receive":
            code = event.get("code") or CloseCode.NO_STATUS
            self.end(code, cause_of(code), tame(event.get("reason") or "", 123))
            return None
        if self.ending is not None:
            return None
        text = event.get("text")
        message: Frame = text if text is not None else event.get("bytes") or b""
        size = size_of(message)
        self.record.received(message, size)
        if size > self.config.max_message_size:
            why = f"{size} bytes; the endpoint takes {self.config.max_message_size}"
            self._node.own(self._end_and_tell(CloseCode.MESSAGE_TOO_BIG, why, CloseCause.TOO_BIG))
            return None
        return message

    def watch(self) -> None:
        """Read ahead while the handler is busy, to see the peer leave."""
        if self.ending is not None or (self._ahead is not None and not self._ahead.done):
            return
        limits = self.config.inbox_messages, self.config.inbox_bytes
        self._ahead = ReadAhead(
            self._ahead.inbox if self._ahead else Inbox(*limits),
            receive=self._receive_ahead,
            overflow=self._overflow,
            is_wanted=self._is_busy,
        )
        self._ahead_task = self._node.own(self._ahead.run())

    async def _receive_ahead(self) -> Frame | None:
        return self._take(await self._receive())

    async def _overflow(self) -> None:
        await self.aclose(CloseCode.TRY_AGAIN_LATER, "too much waiting", CloseCause.SLOW)

    def _is_busy(self) -> bool:
        return self.ending is None and self in self._node.peers.busy

    async def _write(self, frame: Frame) -> SendAnswer:
        if self.ending is not None:
            return SendAnswer.GONE
        size = size_of(frame)
        key = "text" if isinstance(frame, str) else "bytes"
        event = {"type": "websocket.send", key: frame}
        try:
            await self._send(event if frame else server.with_empty_message(event))
        except server.PEER_HAS_LEFT as error:
            logger.debug("Session %s: send failed: %r", self.id, error, extra=self.log_extra())
            return SendAnswer.GONE
        self.record.sent(frame, size)
        return SendAnswer.WRITTEN

    async def aclose(
        self, code: int, reason: str = "", cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        """Close the session, and say so to the peer."""
        if cause == CloseCause.HANDLER:
            await self._write_queued()
        if self.ending is not None:
            return SendAnswer.GONE
        await self._end_and_tell(code, cut_reason(reason), cause)
        return SendAnswer.WRITTEN

    def _end_and_tell(
        self, code: int, reason: str, cause: CloseCause
    ) -> Coroutine[Any, Any, None]:
        """End the session now; awaiting what is returned tells the peer."""
        wire = server.on_the_wire(code)
        self.end(code, cause, reason, sent=wire)
        self._interrupt()
        return server.close(self._send, wire, reason)

    def end(
        self, code: int, cause: CloseCause, reason: str = "", *, sent: int | None = None
    ) -> Ending:
        """Note how the session ended, once; whoever comes later gets the first answer."""
        if self.ending is None:
            self.ending = Ending(code=code, sent=sent, reason=reason, cause=cause, at=time.time())
            self._node.peers.discard(self)
            dropped = self._drop_waiting(cause)
            if self._opened_at:
                told = f"{reason}; messages dropped that waited: {dropped}" if dropped else reason
                self.record.closed(code, cause, told)
                self._node.recorder.put_session(self.row())
        return self.ending

    def _drop_waiting(self, cause: CloseCause) -> int:
        """Drop what waits for the handler, unless the peer left: that much it sent before."""
        if self._ahead is None or cause == CloseCause.PEER:
            return 0
        return self._ahead.inbox.clear()

    def transport_lost(self) -> None:
        """Take note that the server gave the connection up without a word.

        A server that stops cancels its applications first; the node's drain then still closes
        each session in order.
        """
        if not self._node.draining:
            self.end(CloseCode.ABNORMAL, CloseCause.TRANSPORT)
            self._interrupt()

    def _interrupt(self) -> None:
        """Wake the session's task where it waits for a message; never inside a handler."""
        if self._waiting and self._task is not None:
            self._waiting = False
            self._task.cancel()

    def changed(self, config: EndpointConfig) -> None:
        """Go on under a changed row, from the next message."""
        self.config = config
        self.record.messages = config.record_messages
        if config.handler is not None:
            self.handler = config.handler

    def log_extra(self) -> dict[str, Any]:
        return {"endpoint": self.config.endpoint, "session": self.id}

    def row(self) -> SessionRow:
        """Return the session's columns as they stand now."""
        return {
            "id": self.id,
            "node_id": self._node.id,
            "handler": self.handler.reference,
            "subprotocol": (self._subprotocol or "")[:100],
            "opened_at": moment(self._opened_at),
            **rows.of_endpoint(self.config),
            **rows.of_handshake(self._handshake),
            **rows.of_user(self.user),
            **rows.of_ending(self.ending),
            **rows.of_counters(self.record),
        }

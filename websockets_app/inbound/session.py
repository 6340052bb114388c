"""A session: one open inbound connection, from its acceptance to its one close event.

It lives in one task of the node's, which receives, awaits the handler and sends. Only while a
handler has been busy since the node's last sweep does a second task read ahead, so that a peer
that leaves is noticed.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..core.close_codes import CloseCode, cut_reason
from ..core.metering import Stillness
from ..core.states import CloseCause, EventKind, SendAnswer
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.loader import Handler
from ..node.node import Node
from ..node.sending import over_limit
from ..recording.facts import SessionRow, moment
from ..redaction import get_logger
from . import excess, rows, server
from .config import EndpointConfig
from .ending import Ending
from .excess import Excess
from .handle import WebsocketSession
from .handshake import Handshake
from .logins import Login
from .rates import Rates
from .receiving import Receiving
from .rows import Came
from .server import Receive, Send
from .visitor import Visitor
from .writing import HOGGED_MOST, RECEIVED_COST, Writing

logger = get_logger(__name__)


class InboundSession(Receiving, Writing):
    """One session, used in the node's event loop only."""

    # Those of its bases, too: thousands may be open, and with a dict each would take a KiB more.
    __slots__ = (
        "_ahead", "_ahead_task", "_all_read", "_answered", "_came", "_congestion", "_dispatcher",
        "_hogged", "_node", "_opened_at", "_own", "_queue", "_queued", "_rates", "_receive",
        "_send", "_senders", "_sends_eagerly", "_silence", "_task", "_visitor", "_waiting",
        "_waiting_bytes", "bucket", "config", "ending", "handle", "handler", "id", "login",
        "on_end", "over", "params", "record", "subprotocol", "tenant", "user",
    )  # fmt: skip

    def __init__(
        self,
        node: Node,
        config: EndpointConfig,
        handler: Handler,
        handshake: Handshake,
        user: Any,
        receive: Receive,
        send: Send,
        rates: Rates,
        visitor: Visitor,
    ) -> None:
        Receiving.__init__(self, node, receive)
        Writing.__init__(self, node.own, node.peers.queued, send)
        self.id = uuid.uuid4().hex
        self.handle = WebsocketSession(self.id, here=True)
        self.handler = handler
        self.config = config
        self.params = handshake.params
        self.user = user
        self.tenant = handshake.tenant if user.is_authenticated else None
        self.login: Login | None = None
        self.ending = None
        self.on_end: list[Callable[[], object]] = []
        """Called once, when it ends."""
        self.record = node.recorder.of_peer(
            config.subject, self.id, config.record_messages, self.row
        )
        self.subprotocol = handshake.negotiate(config.subprotocols)
        self._came = Came.of(handshake, user, self.subprotocol)
        self._rates = rates
        self._visitor = visitor
        self._silence: Stillness | None = None
        self._congestion: Stillness | None = None
        self._dispatcher = Dispatcher(self, node.pool, node.callback_threads)
        self._opened_at = 0.0

    @property
    def closed(self) -> bool:
        return self.ending is not None

    @property
    def endpoint_id(self) -> int | None:
        return self.config.subject.endpoint_id

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
        if not await server.accept(self._send, self.subprotocol) or self.ending is not None:
            return False
        self._opened_at = time.time()
        # Not before: a bucket that no peer of the node has may be forgotten, and so be shared no
        # more.
        self.bucket = self._rates.bucket(self.config, self._visitor)
        self._node.peers.add(self)
        self.record.opened(self._came.path)
        self._node.recorder.put_session(self.id, self.row)
        await self._node.recorder.settle()
        return True

    async def _receive_all(self) -> None:
        """Handle one message after the other until the session ends. The hot path."""
        peers = self._node.peers
        while True:
            if self._ahead is not None:
                message = await self._next_ahead(self._ahead)
            elif self.ending is not None:
                return
            else:
                self._waiting = True
                try:
                    event = await self._receive()
                finally:
                    self._waiting = False
                message = self._take(event)
            if message is None:
                continue
            peers.busy[self] = next(peers.numbers)
            try:
                await self._dispatcher.message(message)
            finally:
                del peers.busy[self]
            self._hogged += RECEIVED_COST
            if self._hogged > HOGGED_MOST:
                await self._give_way()

    def _is_busy(self) -> bool:
        return self in self._node.peers.busy

    async def _finish(self) -> None:
        ending = self.end(CloseCode.ABNORMAL, CloseCause.TRANSPORT)
        try:
            if self._opened_at:
                closing = self._dispatcher.close(ending.code, ending.reason)
                await self._node.peers.attend(self, closing)
                if ending.sent is not None:
                    await self._read_rest()
                    self.record.after_close(ending.sent, self._answered)
                self._node.recorder.put_session(self.id, self.row)
                await self._node.recorder.settle()
        finally:
            self._stop_reading_ahead()
            self._drop_inbox("the task of the session ended first")

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
        return self._tell(wire, reason)

    async def _tell(self, wire: int, reason: str) -> None:
        """Say to the peer that it is over; what it hasn't read by then is given up."""
        try:
            await server.close(self._send, wire, reason)
        finally:
            self.let_go()
        senders, self._senders = self._senders, None
        for task in senders or ():
            task.cancel()

    @property
    def queued_bytes(self) -> int:
        return super().queued_bytes + (self._ahead.inbox.memory if self._ahead else 0)

    def free_queue(self, limit: int) -> None:
        """Close the session, or drop what its peer had sent before it left."""
        if self.ending is None:
            self.exceed(excess.too_much_queued(limit, self.queued_bytes))
        else:
            self._drop_inbox(over_limit(limit, self.queued_bytes))

    def exceed(self, limit: Excess) -> asyncio.Task[Any]:
        reason = cut_reason(limit.reason)
        return self._node.own(self._end_and_tell(limit.code, reason, limit.cause))

    def overdue(self, now: float) -> Excess | None:
        """Return the limit of time that the session has hit; to be asked now and then."""
        if not self._senders and self.config.idle_timeout <= 0:  # thousands are asked each second
            self._congestion = self._silence = None
            return None
        return self._unread(now) or self._idle(now)

    def _unread(self, now: float) -> Excess | None:
        if not self._senders:
            self._congestion = None
            return None
        self._congestion = self._congestion or Stillness()
        waiting = self._congestion.seconds(self.record.messages_out, now)
        timeout = self.config.send_timeout
        return excess.unread(self.config) if 0 < timeout <= waiting else None

    def _idle(self, now: float) -> Excess | None:
        if self.config.idle_timeout <= 0:
            self._silence = None
            return None
        self._silence = self._silence or Stillness()
        messages = self.record.messages_in + self.record.messages_out
        silent = self._silence.seconds(messages, now)
        return excess.idle(self.config) if self.config.idle_timeout <= silent else None

    def end(
        self, code: int, cause: CloseCause, reason: str = "", *, sent: int | None = None
    ) -> Ending:
        """Note how the session ended, once; whoever comes later gets the first answer."""
        if self.ending is None:
            self.ending = Ending(code=code, sent=sent, reason=reason, cause=cause, at=time.time())
            self._node.peers.discard(self)
            self._stop_counting()
            for leave in self.on_end:
                leave()
            dropped = self._drop_waiting(cause)
            if self._opened_at:
                told = f"{reason}; messages dropped that waited: {dropped}" if dropped else reason
                self.record.closed(code, cause, told)
                self._node.recorder.put_session(self.id, self.row)
            if sent is None:  # nothing is to be told
                self.let_go()
        return self.ending

    def _drop_inbox(self, why: str) -> None:
        """Drop what the peer had sent before it left and no callback got; record how much."""
        dropped = self._ahead.inbox.clear() if self._ahead else 0
        if dropped:
            detail = f"messages dropped that waited for the handler: {why}"
            self.record.event(EventKind.GAP, lost=dropped, detail=detail)

    def changed(self, config: EndpointConfig) -> None:
        """Go on under a changed row, from the next message."""
        if config.rate != self.config.rate:
            self.bucket = self._rates.bucket(config, self._visitor)
        self.config = config
        self.record.keep(config.record_messages)
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
            "opened_at": moment(self._opened_at),
            **self._came._asdict(),
            **rows.of_endpoint(self.config),
            **rows.of_ending(self.ending),
            **rows.of_counters(self.record),
        }

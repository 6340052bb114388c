"""How messages go out: when the server takes them at once, and when it lets the sender wait."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from ..core.metering import ByteCounter
from ..core.states import SendAnswer
from ..dispatch.frames import Frame
from ..node import eager
from ..node.sending import Sending
from ..recording.peer_record import PeerRecord
from ..redaction import get_logger
from . import server
from .ending import Ending
from .server import Send

logger = get_logger(__name__)

HOGGED_MOST: Final = 128 * 1024
"""Bytes that a session may send before others have their turn."""
MESSAGE_COST: Final = 2 * 1024
"""As many bytes does a message count for, however short it is."""
RECEIVED_COST: Final = 32
"""As many does one count for that came in.

One read of a socket brings up to some thousand short ones. They have to be handled before the next
read, or more would come than go: Daphne keeps what isn't handled, without bound.
"""

_WRITTEN: Final = SendAnswer.WRITTEN  # Python 3.11 takes its time to look up a member


class Writing(Sending):
    """The sending half of a session. Used in the node's event loop only."""

    id: str
    ending: Ending | None
    record: PeerRecord
    _task: asyncio.Task[Any] | None

    def __init__(
        self,
        own: Callable[[Coroutine[Any, Any, Any]], object],
        queued: ByteCounter,
        send: Send,
    ) -> None:
        super().__init__(own, queued)
        self._send = send
        self._sends_eagerly = server.is_its_own(send)
        self._senders: set[asyncio.Task[Any]] | None = None
        """Tasks that wait for the server to take a message; most sessions hardly ever send."""
        self._hogged = 0

    @abstractmethod
    def log_extra(self) -> dict[str, Any]:
        """Return what log lines about the session carry."""

    def answer(self, frame: Frame) -> Coroutine[Any, Any, SendAnswer]:
        if self._queue:
            return self.asend(frame)
        return self._write(frame, self._task)  # it is known: asking takes long

    def offer(self, frame: Frame) -> SendAnswer | Coroutine[Any, Any, SendAnswer]:
        if self._queue or self.ending is not None or not self._sends_eagerly:
            return self.asend(frame)
        size, event = server.sending(frame)
        try:
            rest = eager.start(self._send(event))
        except server.PEER_HAS_LEFT as error:
            return self._left(error)
        if rest is not None:
            return self._write(frame, under_way=rest)
        self.record.sent(frame, size)
        return _WRITTEN

    async def _write(
        self,
        frame: Frame,
        task: asyncio.Task[Any] | None = None,
        under_way: Awaitable[None] | None = None,
    ) -> SendAnswer:
        """Let the server write a message, in the current `task`. The hot path."""
        if self.ending is not None and under_way is None:
            return SendAnswer.GONE
        size, event = server.sending(frame)
        if task is None:
            task = asyncio.current_task()
            assert task is not None
        senders = self._senders
        if senders is None:
            senders = self._senders = set()
        senders.add(task)
        try:
            await (self._send(event) if under_way is None else under_way)
        except server.PEER_HAS_LEFT as error:
            return self._left(error)
        except asyncio.CancelledError:
            if task in (self._senders or ()) or task.uncancel():
                raise
            return SendAnswer.GONE  # only we gave up, since the session is over
        finally:
            senders.discard(task)
        self.record.sent(frame, size)
        self._hogged += size + MESSAGE_COST
        if self._hogged > HOGGED_MOST:
            await self._give_way()
        return _WRITTEN

    def _left(self, error: Exception) -> SendAnswer:
        logger.debug("Session %s: send failed: %r", self.id, error, extra=self.log_extra())
        return SendAnswer.GONE

    async def _give_way(self) -> None:
        """Let others run.

        Servers take messages for ever without doing so, their own writing included: a handler
        that sends in a loop would stop the whole process. What they have read, too, they hand over
        without a pause.
        """
        self._hogged = 0
        await asyncio.sleep(0)

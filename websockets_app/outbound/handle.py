"""`WebsocketClient`: how code holds a client, or the connection that a callback runs for."""

from __future__ import annotations

import os
import uuid
from datetime import datetime, timedelta
from typing import Any, Literal

from asgiref.sync import sync_to_async
from django.db import IntegrityError, connections, router
from django.db.models import OuterRef, Q, QuerySet
from django.utils import timezone

from ..conf import app_settings
from ..core.close_codes import checked, cut_reason
from ..core.states import ClientState, CloseCause, Direction, NodeKind, OutboxStatus, SendAnswer
from ..dispatch.frames import Frame, as_frame, size_of
from ..exceptions import ClientGone, InvalidResult, MessageTooBig
from ..models import Client, ClientRuntime, OutboxMessage
from ..node import node as nodes
from ..node.handles import PeerHandle, refuse_in_event_loop
from ..node.peers import LivePeer

Message = str | bytes | dict[str, Any] | list[Any]


class WebsocketClient(PeerHandle):
    """A client (the seed's `WebsocketClient`), wherever its runner is. Pickles to its id.

    In a callback it is the connection that the callback runs for: `send_text` and its kin write to
    that one at once, and `close` closes it, after which a lasting client comes back as its row
    says. Got from anywhere else, it is the client: what is sent goes by way of the outbox, and
    `close` ends it.
    """

    __slots__ = ("_connection", "_ttl")

    direction = Direction.OUT

    def __init__(self, client_id: int | str, connection_id: str = "") -> None:
        super().__init__(str(client_id))
        self._connection = connection_id, os.getpid()
        self._ttl: float | Literal[False] | None = False  # not looked up yet

    @classmethod
    def of(cls, client: Client) -> WebsocketClient:
        """Return the handle of a row."""
        handle = cls(client.pk)
        handle._ttl = client.message_ttl
        return handle

    @property
    def _connection_id(self) -> str:
        """The connection that it names; none in a forked child, as after pickling."""
        connection_id, process_id = self._connection
        return connection_id if process_id == os.getpid() else ""

    @property
    def closed(self) -> bool:
        """Whether no connection is open: as this process knows, or else the runner's last word.

        The latter is a query: where an event loop runs, await `aclosed()`.
        """
        if self._is_known_here():
            return super().closed
        refuse_in_event_loop("aclosed")
        return not ClientRuntime.objects.filter(
            client=int(self.id), state=ClientState.OPEN
        ).exists()

    # Durable

    def send(self, message: Message, *, ttl: float | None = None) -> uuid.UUID:
        """Put a message into the outbox (the seed's `send`) and return the message's id.

        It is one INSERT in the caller's transaction: sent if that commits, gone if it rolls back.
        A client's messages go out in order, each `ttl` seconds from now at the latest, or else as
        the row's `message_ttl` says. A dict or list goes out as JSON.

        Raises `ClientGone`, `MessageTooBig` and, for what can't be sent, `InvalidResult`.
        """
        refuse_in_event_loop("asend")
        frame = _storable(as_frame(message))
        if size_of(frame) > app_settings.OUTBOX_MESSAGE_SIZE:
            raise MessageTooBig(
                f"The message has {size_of(frame)} bytes, and WEBSOCKETS['OUTBOX_MESSAGE_SIZE'] "
                f"allows {app_settings.OUTBOX_MESSAGE_SIZE}."
            )
        content = {"text": frame} if isinstance(frame, str) else {"binary": frame}
        return self._put(expires_at=self._expiry(ttl), **content)

    async def asend(self, message: Message, *, ttl: float | None = None) -> uuid.UUID:
        """Put a message into the outbox, as `send` does, in a transaction of its own."""
        return await sync_to_async(self.send)(message, ttl=ttl)

    # As every peer

    def send_text_async(self, text: str) -> None:
        """Queue a text message: for the connection where it is held here, or else durably.

        To do the latter takes time, so where an event loop runs that is for `asend`.
        """
        if self._is_known_here():
            super().send_text_async(text)
        else:
            self.send(text)

    def close(
        self, code: int = 1000, reason: str = "", *, cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        """Close the client (the seed's `close`) once the messages sent before have gone out.

        A lasting client is stopped, an ephemeral one is gone. In a callback, close its connection
        alone, and at once. `cause` is what the close event says. Raises `ValueError` for a code
        that may not be sent, or a cause that is none of `CloseCause`.
        """
        if self._connection_id:
            return super().close(code, reason, cause=cause)
        refuse_in_event_loop("aclose")
        code, cause = checked(code), CloseCause(cause)
        if not Client.objects.desired_to_run().filter(pk=self.id).exists():
            return SendAnswer.GONE
        if not closes_of(int(self.id)).exists():  # a second one would meet what is opened next
            self._put(close_code=code, close_reason=cut_reason(reason), close_cause=cause)
        return SendAnswer.FORWARDED

    async def aclose(
        self, code: int = 1000, reason: str = "", *, cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        """Close the client, as `close` does."""
        if self._connection_id:
            return await super().aclose(code, reason, cause=cause)
        return await sync_to_async(self.close)(code, reason, cause=cause)

    def _is_known_here(self) -> bool:
        return bool(self._connection_id or self._find())

    def _find(self) -> tuple[nodes.Node, LivePeer] | None:
        if self._connection_id:
            return nodes.find_peer(self._connection_id)
        return _held_here(self)

    def _send(self, frame: Frame, other: str) -> SendAnswer:
        if self._is_known_here():
            return super()._send(frame, other)
        refuse_in_event_loop(other)
        return self._forward(frame)

    async def _asend(self, frame: Frame) -> SendAnswer:
        if self._is_known_here():
            return await super()._asend(frame)
        return await sync_to_async(self._forward)(frame)

    # Steps

    def _forward(self, frame: Frame) -> SendAnswer:
        try:
            self.send(frame)
        except ClientGone:
            return SendAnswer.GONE
        return SendAnswer.FORWARDED

    def _expiry(self, ttl: float | None) -> datetime | None:
        if ttl is None:
            ttl = self._usual_ttl()
        return None if ttl is None else timezone.now() + timedelta(seconds=ttl)

    def _usual_ttl(self) -> float | None:
        if self._ttl is False:
            row = Client.objects.filter(pk=self.id).values_list("message_ttl").first()
            if row is None:
                raise self._gone()
            (self._ttl,) = row
        return self._ttl

    def _put(self, **content: Any) -> uuid.UUID:
        # Inside a transaction its end would tell, and take with it whatever else it did.
        messages = OutboxMessage.objects
        is_late = connections[router.db_for_write(OutboxMessage)].in_atomic_block
        if is_late and not Client.objects.filter(pk=self.id).exists():
            raise self._gone()
        try:
            return messages.put(int(self.id), **content)
        except IntegrityError as error:
            raise self._gone() from error

    def _gone(self) -> ClientGone:
        return ClientGone(
            f"There is no client {self.id} any more: an ephemeral one may have ended."
        )


def closes_of(client: int | OuterRef) -> QuerySet[OutboxMessage]:
    """Return the closes that a client is going to follow, or that an ephemeral one has."""
    pending = Q(status__in=(OutboxStatus.QUEUED, OutboxStatus.CLAIMED))
    followed = Q(status=OutboxStatus.ACKNOWLEDGED, client__ephemeral=True)
    return OutboxMessage.objects.filter(
        pending | followed, client=client, close_code__isnull=False
    )


def _storable(frame: Frame) -> Frame:
    """Return `frame`; raise `InvalidResult` for text that not every database keeps."""
    if isinstance(frame, str) and "\0" in frame:
        raise InvalidResult(
            "Text with NUL characters can't be kept in the outbox, since PostgreSQL refuses it; "
            "send it as JSON, where it is escaped, or as bytes."
        )
    return frame


def _held_here(client: WebsocketClient) -> tuple[nodes.Node, LivePeer] | None:
    """Return the client's connection where a runner of this process holds it."""
    for node in nodes.nodes():
        if node.lease.kind == NodeKind.RUNNER:
            for peer in node.peers:
                if peer.handle == client:
                    return node, peer
    return None

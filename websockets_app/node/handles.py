"""The handles by which code holds a peer: an id, which pickles, and finds the live peer again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from ..core.call import current_call
from ..core.close_codes import checked, cut_reason
from ..core.states import CloseCause, Direction, Method, SendAnswer
from ..dispatch.frames import Frame, as_json
from ..exceptions import SessionGone
from . import mail
from . import node as nodes
from .mail import Mail
from .peers import LivePeer

T = TypeVar("T")

Work = Callable[[LivePeer], Coroutine[Any, Any, SendAnswer]]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_ANSWER_SECONDS: Final = 30.0
_ENDED_BY_SESSION_GONE: Final = {Method.ON_OPEN, Method.ON_MESSAGE, Method.ON_ERROR}
"""`on_close` cleans up, and while `may_open` runs the session isn't open yet."""


class PeerHandle:
    """A session or connection, by its id.

    Every call finds the live peer among the nodes of this process, so that a handle outlives what
    it names: then `closed` is true and sends answer `SendAnswer.GONE`.

    A callback that keeps sending to its own peer after that answer gets `SessionGone`, so that a
    loop which ignores the answer ends.
    """

    __slots__ = ("__weakref__", "id")

    direction: ClassVar[Direction]

    def __init__(self, peer_id: str) -> None:
        self.id = peer_id

    def __reduce__(self) -> tuple[type[PeerHandle], tuple[str]]:
        return type(self), (self.id,)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def get_id(self) -> str:
        """Return the id (the seed's `getId`)."""
        return self.id

    @property
    def closed(self) -> bool:
        """Whether this process no longer holds the peer open."""
        found = self._find()
        return found is None or found[1].closed

    @property
    def params(self) -> Mapping[str, Any]:
        """What the endpoint's pattern captured; empty once the peer is gone."""
        found = self._find()
        return found[1].params if found else _NOTHING

    @property
    def user(self) -> Any:
        """Who opened the session; None for a client's connection, or once the peer is gone."""
        found = self._find()
        return found[1].user if found else None

    async def aclosed(self) -> bool:
        """Return whether the peer is no longer open, as `closed` says."""
        return bool(await self._aget("closed"))

    async def aparams(self) -> Mapping[str, Any]:
        """Return what the endpoint's pattern captured, as `params` says."""
        params: Mapping[str, Any] = await self._aget("params")
        return params

    async def auser(self) -> Any:
        """Return who opened the session, as `user` says."""
        return await self._aget("user")

    def send_text(self, text: str) -> SendAnswer:
        """Send a text message (the seed's `sendText`) and wait until it is written."""
        return self._send(text, "asend_text")

    def send_bytes(self, data: bytes) -> SendAnswer:
        """Send a binary message and wait until it is written."""
        return self._send(data, "asend_bytes")

    def send_json(self, value: Any) -> SendAnswer:
        """Send `value` as JSON text and wait until it is written."""
        return self._send(as_json(value), "asend_json")

    def send_text_async(self, text: str) -> None:
        """Queue a text message and return at once (the seed's `sendTextAsync`); works anywhere."""
        letter = mail.sending(self.id, text)
        if self._find() is None:
            self._check_not_told_gone()
        self._change(lambda node, peer: peer.send_soon(text), letter)

    def close(
        self, code: int = 1000, reason: str = "", *, cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        """Close the connection with an RFC 6455 close code and a reason of up to 123 bytes.

        `cause` is what the close event and the session's row say. Raises `ValueError` for a code
        that may not be sent, or a cause that is none of `CloseCause`.
        """
        code, cause = checked(code), CloseCause(cause)
        letter = mail.closing(self.id, code, cut_reason(reason), cause)
        return self._wait(lambda peer: peer.aclose(code, reason, cause), letter, "aclose")

    async def asend_text(self, text: str) -> SendAnswer:
        """Send a text message."""
        return await self._asend(text)

    async def asend_bytes(self, data: bytes) -> SendAnswer:
        """Send a binary message."""
        return await self._asend(data)

    async def asend_json(self, value: Any) -> SendAnswer:
        """Send `value` as JSON text."""
        return await self._asend(as_json(value))

    async def aclose(
        self, code: int = 1000, reason: str = "", *, cause: CloseCause = CloseCause.HANDLER
    ) -> SendAnswer:
        """Close the connection with an RFC 6455 close code and a reason of up to 123 bytes.

        `cause` is what the close event and the session's row say. Raises `ValueError` for a code
        that may not be sent, or a cause that is none of `CloseCause`.
        """
        code, cause = checked(code), CloseCause(cause)
        letter = mail.closing(self.id, code, cut_reason(reason), cause)
        return await self._reach(lambda peer: peer.aclose(code, reason, cause), letter)

    def join(self, group: str) -> None:
        """Make the peer a member of `group` until it leaves or closes.

        Raises `GroupLimitReached` if the name is too long or the peer is a member of too many
        groups. If the peer is open in another process or event loop, an `error` event of the peer
        says the latter.
        """
        letter = mail.joining(self.id, group)
        found = self._find()
        if found is None:
            self._post_soon(letter)
            return
        node, peer = found
        if not runs_event_loop():
            nodes.wait_for(node.submit(node.peers.ajoin(peer, group)), _ANSWER_SECONDS)
        elif node.loop is asyncio.get_running_loop():
            node.peers.join(peer, group)
        else:
            node.run_soon(node.peers.join_or_report, peer, group)

    def leave(self, group: str) -> None:
        """End the peer's membership of `group`."""
        letter = mail.leaving(self.id, group)
        self._change(lambda node, peer: node.peers.leave(peer, group), letter)

    def _send(self, frame: Frame, other: str) -> SendAnswer:
        answer = self._wait(lambda peer: peer.asend(frame), mail.sending(self.id, frame), other)
        if answer is SendAnswer.GONE:
            self._check_not_told_gone()
        return answer

    async def _asend(self, frame: Frame) -> SendAnswer:
        answer = await self._reach(lambda peer: peer.asend(frame), mail.sending(self.id, frame))
        if answer is SendAnswer.GONE:
            self._check_not_told_gone()
        return answer

    def _check_not_told_gone(self) -> None:
        """Raise `SessionGone` if a callback of this very peer was already answered `gone`.

        Tasks and threads that run in the callback's context count as part of it. Code outside of
        the peer's own callbacks is never interrupted: it may have others to send to.
        """
        call = current_call.get()
        if call is None or call.method not in _ENDED_BY_SESSION_GONE or call.session != self:
            return
        if call.told_gone:
            raise SessionGone(f"{self!r} is closed: nothing can be sent any more.", self)
        call.told_gone = True

    async def _aget(self, name: str) -> Any:
        """Return the property `name`, in a thread if that takes a query."""
        if self._is_known_here():
            return getattr(self, name)
        return await sync_to_async(getattr)(self, name)

    def _is_known_here(self) -> bool:
        """Tell whether this process knows about the peer without a query."""
        return True

    def _find(self) -> tuple[nodes.Node, LivePeer] | None:
        return nodes.find_peer(self.id)

    def _post(self, letter: Mail) -> SendAnswer:
        """Let the node do it that holds the peer, where this isn't one of this process."""
        return SendAnswer.GONE

    async def _apost(self, letter: Mail) -> SendAnswer:
        return SendAnswer.GONE

    def _post_soon(self, letter: Mail) -> None:
        """Do as `_post` does, without making anybody wait."""

    def _change(self, change: Callable[[nodes.Node, LivePeer], None], letter: Mail) -> None:
        found = self._find()
        if found:
            node, peer = found
            node.run_soon(change, node, peer)
        else:
            self._post_soon(letter)

    def _wait(self, work: Work, letter: Mail, other: str) -> SendAnswer:
        refuse_in_event_loop(other)
        found = self._find()
        if found is None:
            return self._post(letter)
        node, peer = found
        return nodes.wait_for(node.submit(work(peer)), _ANSWER_SECONDS)

    async def _reach(self, work: Work, letter: Mail) -> SendAnswer:
        found = self._find()
        if found is None:
            return await self._apost(letter)
        node, peer = found
        return await node.await_for(work(peer), _ANSWER_SECONDS)


def refuse_in_event_loop(other: str) -> None:
    """Raise `SynchronousOnlyOperation`, naming the `other` form, where an event loop runs."""
    if runs_event_loop():
        raise SynchronousOnlyOperation(
            f"This waits, and an event loop runs here: await {other}()."
        )


def runs_event_loop() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

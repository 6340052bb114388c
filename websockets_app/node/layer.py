"""The node's one channel in the channel layer: over it nodes hurry each other, and pass on mail.

Of changes a message is a hint alone, and the database is the truth: a lost one costs at most one
poll. What was meant for peers and got lost is counted, as far as a number tells it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer

from ..conf import app_settings
from ..core.numbering import MOST, Numbering
from ..core.states import Topic
from ..exceptions import NodeUnreachable
from ..redaction import clean, get_logger
from . import channel_layer
from .channel_layer import CAPACITY, PREFIX
from .mail import Mail

logger = get_logger(__name__)

GROUP: Final = "websockets_app.nodes"
NUDGE: Final = "websockets_app.nudge"
MAIL: Final = "websockets_app.mail"
ECHO: Final = "websockets_app.echo"
RETRY_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
"""How long a layer may take: its client would by itself try for much longer to reach a server."""
DRAIN_SECONDS: Final = 1.0
"""How long nothing more has to arrive for a lost node: what was sent to it is all there then."""
DRAIN_LIMIT_SECONDS: Final = 10.0
"""How long a lost node's channel is read at most, if somebody goes on sending to it."""
DEAF_AFTER: Final = 5
"""So many messages to itself a node sends without hearing anything, before it listens anew."""


class NodeLayer:
    """Listens on the node's channel, and keeps it in the group of all nodes.

    `node_id` is empty in a process without a node, which only sends.
    """

    def __init__(
        self,
        node_id: str = "",
        *,
        on_nudge: Callable[[Topic], object] = lambda topic: None,
        on_mail: Callable[[object], bool] = lambda mail: False,
    ) -> None:
        self.channel = ""
        self.news = asyncio.Event()
        """Set when `told` has changed."""
        self.trouble = ""
        """Why nobody can be reached now, in words; empty while the layer answers."""
        self.dropped = 0
        """Messages that aren't ours."""
        self._node_id = node_id
        self._on_nudge = on_nudge
        self._on_mail = on_mail
        self._layer = channel_layer.own_layer() if node_id else channel_layer.configured_layer()
        self._numbers = itertools.count(1)
        self._broadcasts = Numbering()
        self._lost = 0
        self._dropped_mail = 0
        self._complained = 0
        self._unheard = 0
        self._answered = False
        self._hearing: asyncio.Timeout | None = None

    @property
    def keep_seconds(self) -> float:
        """How often to call `keep`."""
        expiry = channel_layer.members_expire_after(self._layer)
        return min(app_settings.HEARTBEAT_INTERVAL, expiry / 3)

    async def listen(self) -> None:
        """Take messages until cancelled; go on after every failure of the layer."""
        if isinstance(self._layer, InMemoryChannelLayer | None):
            logger.info("%s", channel_layer.reach_of(self._layer))
        while self._layer is not None:
            try:
                await self._join()
                async with asyncio.timeout(None) as self._hearing:
                    while True:
                        self._take(await self._layer.receive(self.channel))
            except Exception as error:
                await self._recover(error)

    async def keep(self) -> None:
        """Enter the group again: layers forget members, by expiry or when they are emptied.

        And have oneself answer: a connection that is lost without a word still seems to listen.
        """
        if not self.channel:
            return
        try:
            await self._enter()
        except Exception as error:
            self._complain(error)
            return
        if self._unheard > DEAF_AFTER and self._hearing is not None:
            hearing, self._hearing = self._hearing, None
            hearing.reschedule(asyncio.get_running_loop().time())

    async def leave(self) -> None:
        """Be no node any more: leave the group, and end the connections."""
        if self._node_id and not isinstance(self._layer, InMemoryChannelLayer | None):
            await self._try(self._discard(self.channel), "leave the channel layer")
            await self._try(channel_layer.close(self._layer), "end its connections")

    async def forget(self, channel: str, limit: float = DRAIN_LIMIT_SECONDS) -> int:
        """Take a lost node's channel out of the group, and drop what waits there.

        Returns how many messages for peers that were, as far as the layer keeps messages and they
        can be read within `limit` seconds.
        """
        if self._layer is None:
            return 0
        await self._try(self._discard(channel), "forget a lost node")
        return await self._drain(channel, limit)

    async def _drain(self, channel: str, limit: float) -> int:
        dropped = 0
        reading = channel_layer.layer_reading(channel)
        if reading is None:
            return 0
        try:
            async with asyncio.timeout(limit):
                while True:
                    async with asyncio.timeout(DRAIN_SECONDS):
                        message = await reading.receive(channel)
                    dropped += message.get("type") == MAIL
        except TimeoutError:
            pass  # nothing waits any more, or the limit is reached
        except Exception as error:
            logger.warning("What waits for a lost node can't be counted: %r", error)
        finally:
            await self._try(channel_layer.close(reading), "end its connections")
        return dropped

    async def nudge(self, topic: Topic) -> bool:
        """Tell every node that there is something new about `topic`; return whether that went."""
        if self._layer is None or self.trouble:
            return False
        try:
            await self._send_to_all({"type": NUDGE, "topic": topic.value})
        except Exception as error:
            self._complain(error)
            return False
        return True

    async def post(self, channel: str, mail: Mail) -> None:
        """Send `mail` to the node that listens on `channel`; raise `NodeUnreachable`."""
        try:
            await self._hand_over(self._send(channel, {"type": MAIL, "mail": mail}))
        except ChannelFull:
            raise NodeUnreachable(
                f"The session's node doesn't keep up: {CAPACITY} messages wait for it in the "
                "channel layer. Its process may hang."
            ) from None

    async def post_to_all(self, mail: Mail, but: list[str]) -> None:
        """Send `mail` to every node except those of `but`; raise `NodeUnreachable`."""
        await self._hand_over(self._broadcast(mail, but))

    def told(self) -> dict[str, Any]:
        """Return what the node's row tells of it, at each renewal of its lease.

        A node that can't hear has no channel: whoever sends to its peers is told so.
        """
        lost = min(self._broadcasts.lost() + self._dropped_mail, MOST)
        self._warn("messages of other nodes got lost", lost - self._lost)
        self._warn("layer messages that aren't ours were dropped", self.dropped - self._complained)
        self._lost, self._complained = lost, self.dropped
        return {
            "channel": "" if self.trouble else self.channel,
            "mail_dropped": min(self.dropped, MOST),
            "mail_lost": lost,
        }

    def _warn(self, what: str, number: int) -> None:
        if number > 0:
            logger.warning("%d %s", number, what)

    async def _hand_over(self, sending: Coroutine[Any, Any, None]) -> None:
        """Await `sending`; where the layer was found to fail already nobody waits for it again."""
        if self.trouble:
            sending.close()
            raise NodeUnreachable(self.trouble)
        try:
            await sending
        except ChannelFull:
            raise
        except Exception as error:
            raise NodeUnreachable(self._complain(error)) from error

    async def _broadcast(self, mail: Mail, but: list[str]) -> None:
        number = next(self._numbers) if self._node_id else 0
        await self._send_to_all(
            {"type": MAIL, "mail": mail, "but": but, "from": self._node_id, "number": number}
        )

    async def _send(self, channel: str, message: dict[str, Any]) -> None:
        assert self._layer is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._layer.send(channel, message)

    async def _send_to_all(self, message: dict[str, Any]) -> None:
        assert self._layer is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._layer.group_send(GROUP, message)

    async def _discard(self, channel: str) -> None:
        assert self._layer is not None
        await self._layer.group_discard(GROUP, channel)

    async def _join(self) -> None:
        assert self._layer is not None
        if not self.channel:
            async with asyncio.timeout(ANSWER_SECONDS):
                self.channel = await self._layer.new_channel(PREFIX)  # type: ignore[call-arg]
            if self._node_id:  # otherwise the layer is the site's own
                channel_layer.replace_unreadable(self._layer, self.channel)
        await self._enter()

    async def _enter(self) -> None:
        assert self._layer is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._layer.group_add(GROUP, self.channel)
        self._unheard += 1
        try:
            await self._send(self.channel, {"type": ECHO})
        except ChannelFull:
            logger.warning("%d messages wait for this node in the channel layer", CAPACITY)

    async def _recover(self, error: Exception) -> None:
        """Let the layer rest for a while; listen anew where that came to nothing."""
        self._hearing = None
        if self._unheard > DEAF_AFTER:
            error = ConnectionError("nothing arrives any more, not even from this node itself")
        self._complain(error)
        if self._unheard > DEAF_AFTER or not self.channel:
            await self._begin_anew()
        await asyncio.sleep(RETRY_SECONDS)

    async def _begin_anew(self) -> None:
        """Give up connections that may be lost without a word, and what half is subscribed."""
        old, stale = self._layer, self.channel
        self._layer, self.channel, self._unheard = channel_layer.own_layer(), "", 0
        if old is not self._layer:
            await self._try(channel_layer.close(old), "end its connections")
        if stale:
            # Not for long: this node hears nothing until it is done.
            self._dropped_mail += await self.forget(stale, limit=DRAIN_SECONDS)

    def _take(self, message: object) -> None:
        self._unheard = 0
        if self.trouble or not self._answered:
            self._note_answer()
        if not isinstance(message, dict) or not self._is_taken(message):
            self.dropped += 1

    def _is_taken(self, message: dict[str, Any]) -> bool:
        kind = message.get("type")
        if kind == NUDGE:
            topic = message.get("topic", Topic.DESCRIPTORS.value)
            if topic not in list(Topic):
                return False
            self._on_nudge(Topic(str(topic)))
            return True
        return kind == ECHO or (kind == MAIL and self._is_mail(message))

    def _is_mail(self, message: dict[str, Any]) -> bool:
        but, sender, number = (message.get(key) for key in ("but", "from", "number"))
        if (
            isinstance(sender, str) and sender and type(number) is int
            and not self._broadcasts.note(sender, number)
        ):  # fmt: skip
            return False
        if isinstance(but, list) and self._node_id in but:
            return True  # its own process has done that itself
        return self._on_mail(message.get("mail"))

    def _note_answer(self) -> None:
        """Take note that the layer answers, for the first time or again."""
        if not isinstance(self._layer, InMemoryChannelLayer):
            again = " again" if self._answered else ": other processes are reached over it"
            logger.info("%s answers%s", channel_layer.name_of(self._layer), again)
        self._answered, self.trouble = True, ""
        self.news.set()

    def _complain(self, error: Exception) -> str:
        """Take note that the layer fails; return the words for it."""
        words = (
            f"The channel layer fails: {channel_layer.name_of(self._layer)}: {_why(error)}. Peers "
            "of this process are reached without it, others when its server runs and can be "
            "reached."
        )
        if not self.trouble:
            logger.warning("%s Changes are noticed by polling.", words)
            self.news.set()
        self.trouble = words
        return words

    async def _try(self, work: Coroutine[Any, Any, None], what: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await work
        except Exception as error:
            logger.debug("A node could not %s: %r", what, error)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_SECONDS:g} s"
    return clean(str(error).rstrip(".") or repr(error))

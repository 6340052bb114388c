"""The node's one channel in the channel layer: over it nodes hurry each other, and pass on mail.

Of changes a message is a hint alone, and the database is the truth: a lost one costs at most one
poll. What was meant for peers and got lost is counted, as far as a number tells it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import Callable
from typing import Any, Final

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer

from ..conf import app_settings
from ..core.states import Topic
from ..exceptions import NodeUnreachable
from .mail import Mail

logger = logging.getLogger(__name__)

GROUP: Final = "websockets_app.nodes"
NUDGE: Final = "websockets_app.nudge"
MAIL: Final = "websockets_app.mail"
PREFIX: Final = "websockets_app.node"
CAPACITY: Final = 10_000
"""Messages that wait for a node at most: the layer's default, 100, is meant for one consumer."""
RETRY_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
"""How long a layer may take: its client would by itself try for much longer to reach a server."""
_OURS: Final = re.compile(re.escape(PREFIX))


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
        self.joined = asyncio.Event()
        self.dropped = 0
        """Messages that aren't ours."""
        self.lost = 0
        """Broadcasts of other nodes that never arrived, by the holes in their numbers."""
        self._node_id = node_id
        self._on_nudge = on_nudge
        self._on_mail = on_mail
        self._layer: BaseChannelLayer | None = configured_layer()
        self._numbers = itertools.count(1)
        self._heard: dict[str, int] = {}
        self._failing = False
        _make_room(self._layer)

    async def listen(self) -> None:
        """Take messages until cancelled; go on after every failure of the layer."""
        while self._layer is not None:
            try:
                await self._join()
                while True:
                    self._take(await self._layer.receive(self.channel))
            except Exception as error:
                self._complain(error)
                await asyncio.sleep(RETRY_SECONDS)

    async def keep(self) -> None:
        """Enter the group again: layers forget members, by expiry or when they are emptied."""
        if self._layer is None or not self.channel:
            return
        try:
            await self._enter()
        except Exception as error:
            self._complain(error)

    async def nudge(self, topic: Topic) -> bool:
        """Tell every node that there is something new about `topic`; return whether that went."""
        if self._layer is None:
            return False
        try:
            await self._send_to_all({"type": NUDGE, "topic": topic.value})
        except Exception as error:
            self._complain(error)
            return False
        return True

    async def post(self, channel: str, mail: Mail) -> None:
        """Send `mail` to the node that listens on `channel`; raise `NodeUnreachable`."""
        assert self._layer is not None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._layer.send(channel, {"type": MAIL, "mail": mail})
        except ChannelFull:
            raise NodeUnreachable(
                f"The session's node doesn't keep up: {CAPACITY} messages wait for it in the "
                "channel layer."
            ) from None
        except Exception as error:
            self._complain(error)
            raise NodeUnreachable(f"The channel layer fails: {error!r}.") from error

    async def post_to_all(self, mail: Mail, but: list[str]) -> None:
        """Send `mail` to every node except those of `but`; raise `NodeUnreachable`."""
        assert self._layer is not None
        number = next(self._numbers) if self._node_id else 0
        message = {
            "type": MAIL, "mail": mail, "but": but, "from": self._node_id, "number": number,
        }  # fmt: skip
        try:
            await self._send_to_all(message)
        except Exception as error:
            self._complain(error)
            raise NodeUnreachable(f"The channel layer fails: {error!r}.") from error

    def told(self) -> dict[str, Any]:
        """Return what the node's row tells of it."""
        return {"channel": self.channel, "mail_dropped": self.dropped, "mail_lost": self.lost}

    async def _send_to_all(self, message: dict[str, Any]) -> None:
        assert self._layer is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._layer.group_send(GROUP, message)

    async def _join(self) -> None:
        assert self._layer is not None
        self.channel = await self._layer.new_channel(PREFIX)  # type: ignore[call-arg]
        await self._enter()
        self.joined.set()

    async def _enter(self) -> None:
        assert self._layer is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._layer.group_add(GROUP, self.channel)
        self._failing = False

    def _take(self, message: dict[str, Any]) -> None:
        if not self._is_taken(message):
            self.dropped += 1
            logger.warning("Dropped a layer message that isn't ours")

    def _is_taken(self, message: dict[str, Any]) -> bool:
        kind = message.get("type")
        if kind == NUDGE:
            topic = message.get("topic", Topic.DESCRIPTORS.value)
            if topic not in list(Topic):
                return False
            self._on_nudge(Topic(str(topic)))
            return True
        return kind == MAIL and self._is_mail(message)

    def _is_mail(self, message: dict[str, Any]) -> bool:
        but, sender, number = (message.get(key) for key in ("but", "from", "number"))
        if isinstance(sender, str) and sender and type(number) is int:
            self._note_holes(sender, number)
        if isinstance(but, list) and self._node_id in but:
            return True  # its own process has done that itself
        return self._on_mail(message.get("mail"))

    def _note_holes(self, sender: str, number: int) -> None:
        before = self._heard.get(sender)
        if before is not None and number > before + 1:
            self.lost += number - before - 1
            logger.warning("%d broadcasts of node %s got lost", number - before - 1, sender[:8])
        self._heard[sender] = number

    def _complain(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("The channel layer fails (%r): changes are noticed by polling", error)
        self._failing = True


def configured_layer() -> BaseChannelLayer | None:
    """Return the layer that nodes talk over, where the site has one."""
    alias = app_settings.CHANNEL_LAYER
    return None if alias is None else get_channel_layer(alias)


def spans_processes() -> bool:
    """Tell whether other processes can be reached over the configured layer."""
    return not isinstance(configured_layer(), InMemoryChannelLayer | None)


def _make_room(layer: BaseChannelLayer | None) -> None:
    """Let more messages wait on nodes' channels than the layer would by default."""
    # The pub/sub layer keeps nothing; channels-redis' other one has a list, first match wins.
    capacities: Any = (
        getattr(type(layer), "get_capacity", None) and vars(layer)["channel_capacity"]
    )
    if isinstance(capacities, list) and not any(known is _OURS for known, _ in capacities):
        capacities.insert(0, (_OURS, CAPACITY))

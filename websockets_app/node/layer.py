"""The node's one channel in the channel layer: over it nodes hurry each other.

Whatever comes over it is a hint; the database is the truth. A lost hint costs at most one poll.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from channels.layers import BaseChannelLayer, get_channel_layer

from ..conf import app_settings
from ..core.states import Topic

logger = logging.getLogger(__name__)

GROUP: Final = "websockets_app.nodes"
NUDGE: Final = "websockets_app.nudge"
RETRY_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0
"""How long a layer may take: its client would by itself try for much longer to reach a server."""


class NodeLayer:
    """Listens on the node's channel, and keeps it in the group of all nodes."""

    def __init__(self, on_nudge: Callable[[Topic], None]) -> None:
        self.channel = ""
        self.dropped = 0
        """Messages that aren't ours."""
        self._on_nudge = on_nudge
        self._layer: BaseChannelLayer | None = configured_layer()
        self._failing = False

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
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._layer.group_send(GROUP, {"type": NUDGE, "topic": topic.value})
        except Exception as error:
            self._complain(error)
            return False
        return True

    async def _join(self) -> None:
        assert self._layer is not None
        self.channel = await self._layer.new_channel()
        await self._enter()

    async def _enter(self) -> None:
        assert self._layer is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._layer.group_add(GROUP, self.channel)
        self._failing = False

    def _take(self, message: dict[str, object]) -> None:
        topic = message.get("topic", Topic.DESCRIPTORS.value)
        if message.get("type") == NUDGE and topic in list(Topic):
            self._on_nudge(Topic(str(topic)))
        else:
            self.dropped += 1
            logger.warning("Dropped a layer message that isn't ours")

    def _complain(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("The channel layer fails (%r): changes are noticed by polling", error)
        self._failing = True


def configured_layer() -> BaseChannelLayer | None:
    """Return the layer that nodes talk over, where the site has one."""
    alias = app_settings.CHANNEL_LAYER
    return None if alias is None else get_channel_layer(alias)

"""The channel layer that the site has: which one, whom it reaches, and how nodes use it."""

from __future__ import annotations

import re
from typing import Any, Final

from channels.layers import (
    BaseChannelLayer,
    InMemoryChannelLayer,
    channel_layers,
    get_channel_layer,
)

from ..conf import app_settings
from ..redaction import get_logger

logger = get_logger(__name__)

PREFIX: Final = "websockets_app.node"
CAPACITY: Final = 10_000
"""Messages that wait for a node at most: the layer's default, 100, is meant for one consumer."""
UNREADABLE: Final = {"type": "websockets_app.unreadable"}
"""What a node receives in place of an entry that is no message for it, and so drops and counts."""
_OURS: Final = re.compile(re.escape(PREFIX))
_ADDRESS: Final = "__asgi_channel__"
"""Where channels-redis' core layer writes the full name of the channel, or a list of names."""


def configured_layer() -> BaseChannelLayer | None:
    """Return the layer that nodes talk over, where the site has one."""
    alias = app_settings.CHANNEL_LAYER
    return _with_room(None if alias is None else get_channel_layer(alias))


def own_layer() -> BaseChannelLayer | None:
    """Return that layer once more, with connections that only its caller uses.

    In channels-redis' core layer all who receive wait for each other: consumers of the site, whose
    channels have another prefix, would hear nothing for as long as nobody talks to the node. Nor
    do two event loops get along in one.
    """
    alias = app_settings.CHANNEL_LAYER
    shared = configured_layer()
    if alias is None or shared is None or isinstance(shared, InMemoryChannelLayer):
        return shared
    return _with_room(channel_layers.make_backend(alias))


def layer_reading(channel: str) -> BaseChannelLayer | None:
    """Return a layer that takes what waits on another process's `channel`; None if none can.

    Only channels-redis' core layer lets messages wait. It reads the channels of its own client, so
    it is given the lost client's prefix (`new_channel()` of channels-redis).
    """
    layer = own_layer()
    if type(layer).__module__ != "channels_redis.core":
        return None
    layer.client_prefix = channel.partition("!")[0].rpartition(".")[2]  # type: ignore[union-attr]
    replace_unreadable(layer, channel)
    return layer


def replace_unreadable(layer: BaseChannelLayer | None, channel: str) -> None:
    """Let an own `layer` receive `UNREADABLE` on `channel` for each entry that is no message.

    Without this `receive` of channels-redis raises what the serializer or the decryption raises,
    which looks like a failed connection. An entry that names other channels would fill their
    buffers, although the node never reads them.
    """
    deserialize = getattr(layer, "deserialize", None)
    if deserialize is None:
        return

    def deserialize_any(content: bytes) -> dict[str, Any]:
        try:
            message: dict[str, Any] = deserialize(content)
            if message.get(_ADDRESS, channel) in (channel, [channel]):
                return message | {_ADDRESS: channel}
        except Exception as error:  # whatever a site's own serializer raises
            logger.debug("A layer message can't be read: %r", error)
        return UNREADABLE | {_ADDRESS: channel}

    layer.deserialize = deserialize_any  # type: ignore[union-attr]


def spans_processes() -> bool:
    """Tell whether other processes can be reached over the configured layer."""
    return not isinstance(configured_layer(), InMemoryChannelLayer | None)


def name_of(layer: BaseChannelLayer | None) -> str:
    """Return the words for `layer`: by which setting it is there, and what it is."""
    kind = f" ({type(layer).__name__})" if layer else ""
    return f"CHANNEL_LAYERS[{app_settings.CHANNEL_LAYER!r}]{kind}"


def reach_of(layer: BaseChannelLayer | None) -> str:
    """Return the words for whom nodes reach over `layer`, where that is nobody else."""
    reached = "changes are noticed by polling, and sessions of other processes can't be reached"
    if app_settings.CHANNEL_LAYER is None:
        return f"WEBSOCKETS['CHANNEL_LAYER'] is None: {reached}"
    if layer is None:
        return f"CHANNEL_LAYERS has no {app_settings.CHANNEL_LAYER!r}: {reached}"
    return f"{name_of(layer)} reaches this process only: {reached}"


def members_expire_after(layer: BaseChannelLayer | None) -> float:
    """Return the seconds after which `layer` forgets who is in a group."""
    seconds = vars(layer).get("group_expiry") if layer else None
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else float("inf")


async def close(layer: BaseChannelLayer | None) -> None:
    """End the connections of an own layer, as far as we know how: there is no word for it."""
    if hasattr(type(layer), "close_pools"):
        await layer.close_pools()  # type: ignore[union-attr]
    elif type(layer).__module__ == "channels_redis.pubsub":
        await layer.flush()  # type: ignore[union-attr] # deletes nothing there


def _with_room(layer: BaseChannelLayer | None) -> BaseChannelLayer | None:
    """Let more messages wait on nodes' channels than the layer would by default."""
    # The pub/sub layer keeps nothing; channels-redis' other one has a list, first match wins.
    capacities: Any = vars(layer).get("channel_capacity") if layer else None
    if isinstance(capacities, list) and not any(known is _OURS for known, _ in capacities):
        capacities.insert(0, (_OURS, CAPACITY))
    return layer

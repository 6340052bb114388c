"""Reaching the peers of other processes, over the channel layer, from whatever process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import async_to_sync

from ..conf import app_settings
from ..exceptions import ConfigurationError
from .layer import NodeLayer, spans_processes
from .mail import Mail
from .node import Node, nodes

Work = Callable[[NodeLayer], Coroutine[Any, Any, None]]


def post(channel: str, mail: Mail) -> None:
    """Send `mail` to the node that listens on `channel`; raise `NodeUnreachable`."""
    _through(lambda layer: layer.post(channel, mail))


async def apost(channel: str, mail: Mail) -> None:
    """Send `mail` to the node that listens on `channel`; raise `NodeUnreachable`."""
    await _athrough(lambda layer: layer.post(channel, mail))


def post_to_all(mail: Mail) -> None:
    """Send `mail` to every node of other processes; raise `NodeUnreachable`."""
    here = [node.id for node in nodes()]
    _through(lambda layer: layer.post_to_all(mail, here))


async def apost_to_all(mail: Mail) -> None:
    """Send `mail` to every node of other processes; raise `NodeUnreachable`."""
    here = [node.id for node in nodes()]
    await _athrough(lambda layer: layer.post_to_all(mail, here))


def check_layer_spans_processes() -> None:
    """Raise `ConfigurationError` where no other process can be reached."""
    if not spans_processes():
        raise ConfigurationError(
            "The session belongs to another process, and no channel layer spans processes: "
            "configure channels-redis in CHANNEL_LAYERS (WEBSOCKETS['CHANNEL_LAYER'] is "
            f"{app_settings.CHANNEL_LAYER!r})."
        )


def _through(work: Work) -> None:
    node = _node_here()
    if node is not None:
        asyncio.run_coroutine_threadsafe(work(node.layer), node.loop).result()
    else:  # an event loop for this one message, whose end closes the layer's connections
        async_to_sync(_alone)(work)


async def _athrough(work: Work) -> None:
    node = _node_here()
    if node is None:
        await _alone(work)
    elif node.loop is asyncio.get_running_loop():
        await work(node.layer)
    else:
        under_way = asyncio.run_coroutine_threadsafe(work(node.layer), node.loop)
        await asyncio.wrap_future(under_way)


async def _alone(work: Work) -> None:
    await work(NodeLayer())


def _node_here() -> Node | None:
    return next(iter(nodes()), None)

"""Hurry the nodes once a change is committed: those of this process, others over the layer."""

from __future__ import annotations

import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer

from ..signals import descriptors_changed
from .layer import NodeLayer, configured_layer
from .node import nodes

logger = logging.getLogger(__name__)


def connect() -> None:
    """Listen for changes; called once, when the app is ready."""
    descriptors_changed.connect(nudge, dispatch_uid="websockets_app.node.nudge")


def nudge(**kwargs: Any) -> None:
    """Let every node look now, wherever it runs."""
    here = nodes()
    for node in here:
        node.run_soon(node.nudge)
    if not here:
        _nudge_from_outside()


def _nudge_from_outside() -> None:
    """Send over the layer from a process without a node: a command, a shell, a WSGI server.

    Its event loop lasts for this one message; a layer that doesn't answer is given up on soon.
    """
    if isinstance(configured_layer(), InMemoryChannelLayer | None):
        return  # nobody else would hear it
    try:
        async_to_sync(NodeLayer(on_nudge=lambda: None).nudge)()
    except RuntimeError as error:  # an event loop runs in this very thread
        logger.debug("Not nudged: %s", error)

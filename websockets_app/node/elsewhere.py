"""Reaching the peers of other processes, over the channel layer, from whatever process."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from asgiref.sync import async_to_sync

from ..exceptions import ConfigurationError
from .channel_layer import configured_layer, reach_of, spans_processes
from .layer import NodeLayer
from .mail import Mail
from .node import Node, nodes, wait_for

Work = Callable[[NodeLayer], Coroutine[Any, Any, None]]

LOOP_SECONDS: Final = 5.0
"""How long a thread waits for the node's event loop: the layer itself may take less."""
PAUSE_SECONDS: Final = 2.0
"""How long a process without a node takes a layer that failed for one that still does.

Whoever sends to many would otherwise wait for it as many times.
"""


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
            "What is to be reached is open in another process, and no channel layer spans "
            f"processes: configure channels-redis. {reach_of(configured_layer())}."
        )


def _through(work: Work) -> None:
    node = _node_here()
    if node is None:  # an event loop for this one message, whose end closes its connections
        async_to_sync(_alone)(work)
    else:
        wait_for(node.submit(work(node.layer)), LOOP_SECONDS)


async def _athrough(work: Work) -> None:
    node = _node_here()
    if node is None:
        await _alone(work)
    else:
        await node.await_for(work(node.layer), LOOP_SECONDS)


async def _alone(work: Work) -> None:
    layer = NodeLayer()
    layer.trouble = _last_failure.words()
    try:
        await work(layer)
    finally:
        if layer.trouble:
            _last_failure.note(layer.trouble)


class _LastFailure:
    """Why the layer failed, for a while."""

    def __init__(self) -> None:
        self._words = ""
        self._until = 0.0

    def words(self) -> str:
        return self._words if time.monotonic() < self._until else ""

    def note(self, words: str) -> None:
        if not self.words():
            self._words, self._until = words, time.monotonic() + PAUSE_SECONDS


_last_failure = _LastFailure()


def _node_here() -> Node | None:
    return next(iter(nodes()), None)

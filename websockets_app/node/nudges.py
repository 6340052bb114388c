"""Hurry the nodes once a change is committed: those of this process, others over the layer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import async_to_sync

from ..core.states import Topic
from ..redaction import get_logger
from ..signals import descriptors_changed, outbox_filled
from .channel_layer import spans_processes
from .layer import NodeLayer
from .node import nodes

logger = get_logger(__name__)

OUTBOX_SECONDS: Final = 0.1
"""The shortest time between two nudges about the outbox: who sends a lot nudges once for many.

What a runner was not nudged for it finds by itself, while it is busy with what came before.
"""
PAUSE_SECONDS: Final = 10.0
"""How long a layer that failed is left alone by processes without a node.

They wait for it in the very thread that commits, so each attempt costs their users time.
"""


class _Throttle:
    """Lets one call through, and none after it for a while."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = 0.0

    def lets_through(self) -> bool:
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def hold(self, seconds: float) -> None:
        """Let nothing through for so many seconds."""
        self._next = self._clock() + seconds


_outbox = _Throttle(OUTBOX_SECONDS)
_outside = _Throttle(0)


def connect() -> None:
    """Listen for changes; called once, when the app is ready."""
    descriptors_changed.connect(nudge_watchers, dispatch_uid="websockets_app.nudges.descriptors")
    outbox_filled.connect(nudge_runners, dispatch_uid="websockets_app.nudges.outbox")


def nudge_watchers(**kwargs: Any) -> None:
    """Let every node look at the descriptors now, wherever it runs."""
    _hurry_here(Topic.DESCRIPTORS)
    _nudge_others(Topic.DESCRIPTORS)


def nudge_runners(**kwargs: Any) -> None:
    """Let every runner look into the outbox now, wherever it runs."""
    _hurry_here(Topic.OUTBOX)
    if _outbox.lets_through():
        _nudge_others(Topic.OUTBOX)


def _hurry_here(topic: Topic) -> None:
    for node in nodes():
        node.run_soon(node.hurry, topic)


def _nudge_others(topic: Topic) -> None:
    here = nodes()
    if here:
        here[0].run_soon(here[0].nudge, topic)
    else:
        _nudge_from_outside(topic)


def _nudge_from_outside(topic: Topic) -> None:
    """Send over the layer from a process without a node: a command, a shell, a WSGI server.

    Its event loop lasts for this one message; a layer that doesn't answer is given up on soon.
    """
    if not spans_processes():
        return  # nobody else would hear it
    if not _outside.lets_through():
        return
    try:
        sent = async_to_sync(NodeLayer().nudge)(topic)
    except RuntimeError as error:  # an event loop runs in this very thread
        logger.debug("Not nudged: %s", error)
    else:
        if not sent:
            _outside.hold(PAUSE_SECONDS)

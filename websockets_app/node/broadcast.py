"""Send to every member of a group, whichever node holds it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ..dispatch.frames import Frame, as_frame
from ..redaction import get_logger
from . import elsewhere, mail
from .channel_layer import configured_layer, reach_of, spans_processes
from .handles import refuse_in_event_loop
from .node import Node, nodes, wait_for
from .peers import FAN_OUT_SECONDS

logger = get_logger(__name__)

_ANSWER_SECONDS: Final = FAN_OUT_SECONDS + elsewhere.LOOP_SECONDS


def broadcast(group: str, message: str | bytes | dict[str, Any] | list[Any]) -> int:
    """Send `message` to every member of `group`; a dict or list goes out as JSON.

    Returns how many of this process' members it was written to. The members of other nodes get it
    over the channel layer, one message for all; raises `NodeUnreachable` where that fails, after
    the members here have got it. Without a layer that spans processes these alone get it.
    """
    refuse_in_event_loop("abroadcast")
    frame = as_frame(message)
    letter = mail.fanning_out(group, frame)
    under_way = [node.submit(node.peers.fan_out(group, frame)) for node in nodes()]
    try:
        if spans_processes():  # before those here: one who doesn't read may take seconds
            elsewhere.post_to_all(letter)
        else:
            _tell_that_nobody_is_reached()
    finally:
        written = sum(wait_for(done, _ANSWER_SECONDS) for done in under_way)
    return written


async def abroadcast(group: str, message: str | bytes | dict[str, Any] | list[Any]) -> int:
    """Send `message` to every member of `group`, as `broadcast` does."""
    frame = as_frame(message)
    letter = mail.fanning_out(group, frame)
    if not spans_processes():
        _tell_that_nobody_is_reached()
        return await _fan_out_here(group, frame)
    # Side by side: a member here who doesn't read may take seconds.
    written, posted = await asyncio.gather(
        _fan_out_here(group, frame), elsewhere.apost_to_all(letter), return_exceptions=True
    )
    if isinstance(written, BaseException):
        raise written
    if isinstance(posted, BaseException):
        raise posted
    return written


def _tell_that_nobody_is_reached() -> None:
    if not nodes():
        reach = reach_of(configured_layer())
        logger.warning("A broadcast reaches nobody: this process has no peers, and %s", reach)


async def _fan_out_here(group: str, frame: Frame) -> int:
    return sum([await _fan_out(node, group, frame) for node in nodes()])


async def _fan_out(node: Node, group: str, frame: Frame) -> int:
    return await node.await_for(node.peers.fan_out(group, frame), _ANSWER_SECONDS)

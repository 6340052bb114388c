"""Send to every member of a group, whichever node holds it."""

from __future__ import annotations

import asyncio
from typing import Any

from ..dispatch.frames import Frame, as_frame
from . import elsewhere, mail
from .handles import refuse_in_event_loop
from .layer import spans_processes
from .node import Node, nodes


def broadcast(group: str, message: str | bytes | dict[str, Any] | list[Any]) -> int:
    """Send `message` to every member of `group`; a dict or list goes out as JSON.

    Returns how many of this process' members it was written to. The members of other nodes get it
    over the channel layer, one message for all; raises `NodeUnreachable` where that fails, after
    the members here have got it.
    """
    refuse_in_event_loop("abroadcast")
    frame = as_frame(message)
    under_way = [
        asyncio.run_coroutine_threadsafe(node.peers.fan_out(group, frame), node.loop)
        for node in nodes()
    ]
    written = sum(done.result() for done in under_way)
    if spans_processes():
        elsewhere.post_to_all(mail.fanning_out(group, frame))
    return written


async def abroadcast(group: str, message: str | bytes | dict[str, Any] | list[Any]) -> int:
    """Send `message` to every member of `group`, as `broadcast` does."""
    frame = as_frame(message)
    written = sum([await _fan_out(node, group, frame) for node in nodes()])
    if spans_processes():
        await elsewhere.apost_to_all(mail.fanning_out(group, frame))
    return written


async def _fan_out(node: Node, group: str, frame: Frame) -> int:
    work = node.peers.fan_out(group, frame)
    if node.loop is asyncio.get_running_loop():
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, node.loop))

"""Send to every member of a group that the nodes of this process hold."""

from __future__ import annotations

import asyncio
from typing import Any

from ..dispatch.frames import Frame, as_frame
from .handles import refuse_in_event_loop
from .node import Node, nodes


def broadcast(group: str, message: str | bytes | dict[str, Any] | list[Any]) -> int:
    """Send `message` to every member of `group`; return how many it was written to.

    Reaches the sessions and connections of this process. A dict or list goes out as JSON.
    """
    refuse_in_event_loop("abroadcast")
    frame = as_frame(message)
    under_way = [
        asyncio.run_coroutine_threadsafe(node.peers.fan_out(group, frame), node.loop)
        for node in nodes()
    ]
    return sum(written.result() for written in under_way)


async def abroadcast(group: str, message: str | bytes | dict[str, Any] | list[Any]) -> int:
    """Send `message` to every member of `group`; return how many it was written to."""
    frame = as_frame(message)
    return sum([await _fan_out(node, group, frame) for node in nodes()])


async def _fan_out(node: Node, group: str, frame: Frame) -> int:
    work = node.peers.fan_out(group, frame)
    if node.loop is asyncio.get_running_loop():
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, node.loop))

"""Writes as many events as it can; a program: ``… benchmarks.write_rows TURNS SECONDS``.

By turns as a node's recorder does, and by `bulk_create` as Django's documentation says. Runs in
the environment of a site, and prints for each way the rows a second, and what a row cost.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from statistics import median
from typing import Any, Final
from uuid import uuid4

import django

from benchmarks.generator.load import MESSAGE, SIZE

BATCH: Final = 500
BACKLOG: Final = 10 * BATCH
"""Facts that the recorder has before it when it writes."""


async def by_recorder(seconds: float) -> int:
    from websockets_app.recording.facts import Subject
    from websockets_app.recording.recorder import Recorder

    recorder = Recorder(uuid4().hex)
    record = recorder.of_peer(Subject("in", 1, None, "echo"), uuid4().hex, "rows")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for _ in range(BACKLOG):
            record.sent(MESSAGE, SIZE)
        if not await recorder.flush():
            raise RuntimeError("The database could not be written.")
    recorder.stop()
    return record.messages_out


async def by_bulk_create(seconds: float) -> int:
    from asgiref.sync import sync_to_async
    from django.utils import timezone

    from websockets_app.models import Event

    node, peer, written = uuid4().hex, uuid4().hex, 0
    same = {"kind": "message", "node_id": node, "direction": "in", "endpoint_id": 1}
    same |= {"name": "echo", "peer": peer, "outgoing": True, "size": SIZE}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        events = [Event(at=timezone.now(), seq=written + n, **same) for n in range(BATCH)]
        await sync_to_async(Event.objects.bulk_create)(events, BATCH)
        written += BATCH
    return written


WAYS: Final[Mapping[str, Callable[[float], Coroutine[Any, Any, int]]]] = {
    "recorder": by_recorder,
    "bulk_create": by_bulk_create,
}


async def by_turns(turns: int, seconds: float) -> dict[str, dict[str, float]]:
    """Write in each way, in another order each time; return each one's median."""
    for write in WAYS.values():
        await write(0.1)
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(turns):
        for way in random.sample(list(WAYS), len(WAYS)):
            taken[way].append(await _turn(WAYS[way], seconds))
    return {way: _median(turns_of_one) for way, turns_of_one in taken.items()}


async def _turn(
    write: Callable[[float], Coroutine[Any, Any, int]], seconds: float
) -> dict[str, float]:
    began, used = time.monotonic(), time.process_time()
    rows = await write(seconds)
    elapsed, cpu = time.monotonic() - began, time.process_time() - used
    return {"rate": rows / elapsed, "micros": 1e6 * cpu / rows}


def _median(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: median(turn[key] for turn in turns) for key in ("rate", "micros")}


if __name__ == "__main__":
    django.setup()
    print(json.dumps(asyncio.run(by_turns(int(sys.argv[1]), float(sys.argv[2])))))

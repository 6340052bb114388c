"""Writes as many events as it can; a program: ``… benchmarks.write_rows HOW SECONDS``.

``recorder`` writes as a node does, ``bulk_create`` as Django's documentation says. Runs in the
environment of a site, and prints what it did.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
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


def main(how: str, seconds: float) -> None:
    django.setup()
    began, used = time.monotonic(), time.process_time()
    rows = asyncio.run(WAYS[how](seconds))
    took = {"seconds": time.monotonic() - began, "cpu": time.process_time() - used}
    print(json.dumps({"rows": rows, **took}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

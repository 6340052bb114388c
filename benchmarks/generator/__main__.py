"""The generator as a program: ``python -m benchmarks.generator JOB SLICES LOADS``, loads as JSON.

Prints a list of `Work` for each load, one of each slice. The job ``hold`` opens connections, says
so by a line, and keeps them until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import asdict

import uvloop

from benchmarks.generator.connections import Peer, connect_all, leave_all
from benchmarks.generator.jobs import JOBS
from benchmarks.generator.load import Load, Work


async def work(job: str, slices: int, loads: list[Load]) -> list[list[Work]]:
    """Work for one server after the other, in another order each time."""
    jobs = [JOBS[job](load) for load in loads]
    works: list[list[Work]] = [[] for _ in loads]
    for one in jobs:
        await one.begin()
    for _ in range(slices):
        for number in random.sample(range(len(jobs)), len(jobs)):
            works[number].append(await jobs[number].slice())
    for one in jobs:
        await one.end()
    return works


async def hold(load: Load) -> None:
    failed = asyncio.get_running_loop().create_future()

    def broke(error: Exception) -> None:
        if not failed.done():
            failed.set_exception(error)

    peers = await connect_all(load, lambda: Peer(broke))
    print("open", flush=True)
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([ended, failed], return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        failed.result()
    await leave_all(peers)


def main(job: str, slices: str, told: str) -> None:
    loads = [Load(**load) for load in json.loads(told)]
    if job == "hold":
        uvloop.run(hold(*loads))
    else:
        done = uvloop.run(work(job, int(slices), loads))
        print(json.dumps([[asdict(one) for one in of_load] for of_load in done]))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the generator can do: open what it needs, work for a slice of time, and leave again."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from picows import WSFrame

from benchmarks import cpu
from benchmarks.generator.connections import Peer, connect, connect_all, leave_all, side_by_side
from benchmarks.generator.load import Load, Work

PATIENCE_SECONDS: Final = 120.0


class Job(Protocol):
    """Work for one server."""

    async def begin(self) -> None: ...
    async def slice(self) -> Work: ...
    async def end(self) -> None: ...


class Stopwatch:
    """Measures a stretch of time, and what server and generator use in it."""

    def __init__(self, load: Load) -> None:
        self._watch = cpu.Watch(server=load.pid, generator=os.getpid())

    def stop(self, done: int, latencies: list[float]) -> Work:
        used = self._watch.stop()
        many = len(latencies) > 1
        hundredths = statistics.quantiles(latencies, n=100) if many else [0.0] * 99
        return Work(
            done=done,
            seconds=used.seconds,
            server_cpu=used.of("server"),
            generator_cpu=used.of("generator"),
            p50=hundredths[49],
            p99=hundredths[98],
        )


class Talk:
    """Talk over connections that stay open between slices, and hear every answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._failed = asyncio.get_running_loop().create_future()
        self._latencies: list[float] = []
        self._talkers: list[Talker] = []
        self.goes_on = False

    async def begin(self) -> None:
        self._talkers = await connect_all(self._load, lambda: Talker(self, self._load))

    async def slice(self) -> Work:
        """Talk for a while, and count all of it: what is under way at its end is waited for."""
        self._latencies.clear()
        self.goes_on = True
        watch = Stopwatch(self._load)
        for talker in self._talkers[self._load.idle :]:
            for _ in range(self._load.in_flight):
                talker.ask()
        await _pass(self._load.seconds, self._failed)
        self.goes_on = False
        await _until(lambda: not any(talker.waits for talker in self._talkers), self._failed)
        return watch.stop(len(self._latencies), self._latencies)

    async def end(self) -> None:
        await leave_all(self._talkers)

    def answered(self, seconds: float) -> None:
        self._latencies.append(seconds)

    def broke(self, error: Exception) -> None:
        _fail(self._failed, error)


class Talker(Peer):
    """Says the next message when one is answered, as long as its job goes on."""

    def __init__(self, job: Talk, load: Load) -> None:
        super().__init__(job.broke)
        self._job = job
        self._message = load.message.encode()
        self._mark = load.mark.encode()
        self._sent: deque[float] = deque()

    def ask(self) -> None:
        self._sent.append(time.perf_counter())
        self.say(self._message)

    def heard(self, frame: WSFrame) -> None:
        if self._mark not in frame.get_payload_as_bytes():
            return  # a word of welcome
        self._job.answered(time.perf_counter() - self._sent.popleft())
        if self._job.goes_on:
            self.ask()

    @property
    def waits(self) -> bool:
        return bool(self._sent)


class Arrive:
    """Connect and leave again, `connections` times in a slice."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._failed = asyncio.get_running_loop().create_future()

    async def begin(self) -> None:
        """Nothing has to be open before."""

    async def slice(self) -> Work:
        latencies: list[float] = []
        watch = Stopwatch(self._load)
        await side_by_side([self._visit(latencies) for _ in range(self._load.connections)])
        if self._failed.done():
            self._failed.result()
        return watch.stop(self._load.connections, latencies)

    async def end(self) -> None:
        """Nothing stays open."""

    async def _visit(self, latencies: list[float]) -> None:
        began = time.perf_counter()
        peer = await connect(self._load, lambda: Peer(lambda error: _fail(self._failed, error)))
        latencies.append(time.perf_counter() - began)
        await peer.leave()


class Listen:
    """Let one member ask for broadcasts, and listen until each has reached all members."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._failed = asyncio.get_running_loop().create_future()
        self._members: list[Listener] = []

    async def begin(self) -> None:
        self._members = await connect_all(self._load, self._member)

    async def slice(self) -> Work:
        load, heard = self._load, self._heard()
        wanted = load.connections * load.times
        watch = Stopwatch(load)
        self._members[0].say(load.message.encode())
        await _until(lambda: self._heard() >= heard + wanted, self._failed)
        return watch.stop(wanted, [])

    async def end(self) -> None:
        await leave_all(self._members)

    def _heard(self) -> int:
        return sum(member.count for member in self._members)

    def _member(self) -> Listener:
        return Listener(self._load, lambda error: _fail(self._failed, error))


class Listener(Peer):
    """Counts what it hears."""

    def __init__(self, load: Load, broke: Callable[[Exception], None]) -> None:
        super().__init__(broke)
        self._mark = load.mark.encode()
        self.count = 0

    def heard(self, frame: WSFrame) -> None:
        self.count += self._mark in frame.get_payload_as_bytes()


JOBS: Final[Mapping[str, Callable[[Load], Job]]] = {
    "talk": Talk,
    "arrive": Arrive,
    "listen": Listen,
}


def _fail(failed: asyncio.Future[Any], error: Exception) -> None:
    if not failed.done():
        failed.set_exception(error)


async def _pass(seconds: float, failed: asyncio.Future[Any]) -> None:
    """Let time pass; raise where a connection broke."""
    await asyncio.wait([failed], timeout=seconds)
    if failed.done():
        failed.result()


async def _until(is_so: Callable[[], bool], failed: asyncio.Future[Any]) -> None:
    """Wait until it is so, which connections in this loop bring about."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():
            await _pass(0.005, failed)

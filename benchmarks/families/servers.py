"""The same endpoint on each server: what messages, connections and idle sessions cost there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.course import Benchmark, Round
from benchmarks.families.memory import kib_of_a_session
from benchmarks.figures import Figure, Reading
from benchmarks.generator.load import SLICE_SECONDS, Work, slices
from benchmarks.servers import COMPARED
from benchmarks.stage import (
    OURS,
    Running,
    in_random_order,
    loads,
    measure,
    stage,
    warm_up,
    whole,
)

MESSAGE: Final = "CPU per message"
CONNECTION: Final = "CPU per connection"
MEMORY: Final = "Memory per idle session"
SERVERS: Final = tuple(kind.title for kind in COMPARED)


@contextmanager
def _prepared(directory: Path, quick: bool) -> Iterator[Round]:
    with ExitStack() as stack:
        running = [
            stack.enter_context(stage(directory / str(number), server)).start(
                replace(OURS, name=server)
            )
            for number, server in enumerate(SERVERS)
        ]
        warm_up(running)
        whole(running, "arrive", 20, 1)  # the first ones start what later ones use
        yield partial(_round, directory, running, quick)


def _round(directory: Path, running: Sequence[Running], quick: bool) -> Iterator[Reading]:
    talked = measure("talk", loads(running, 50, seconds=SLICE_SECONDS), slices(quick))
    yield from _micros(MESSAGE, talked)
    yield from _micros(CONNECTION, whole(running, "arrive", 200, 1 if quick else 5))
    sessions = 500 if quick else 1_000
    measurements = {
        server: partial(kib_of_a_session, server, directory, OURS, sessions) for server in SERVERS
    }
    for server, kib in in_random_order(measurements).items():
        yield Reading(figure=Figure(group=MEMORY, name=server, unit="KiB"), value=kib)


def _micros(group: str, works: Mapping[str, Work]) -> Iterator[Reading]:
    for server, work in works.items():
        figure = Figure(group=group, name=server, unit="µs")
        yield Reading(figure=figure, value=work.micros, generator=work.generator)


BENCHMARKS = (Benchmark(name="servers", prepare=_prepared, only_by_name=True),)

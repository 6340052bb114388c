"""Plain functions as handlers, beside Channels' `WebsocketConsumer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.course import Benchmark, Round
from benchmarks.figures import Figure, Reading
from benchmarks.generator.load import SLICE_SECONDS, slices
from benchmarks.ratios import faster, less_cpu
from benchmarks.stage import CHANNELS, OURS, Running, loads, measure, stage, warm_up

TIMES_LESS_CPU: Final[Mapping[str, float]] = {"uvicorn": 6.0, "Daphne": 3.5}
TIMES_FASTER_WHERE_IT_BLOCKS: Final = 20.0
CONNECTIONS: Final = 50
BLOCKED_SECONDS: Final = 0.6
"""Of a slice: one thread for all answers 200 messages a second."""


@contextmanager
def _prepared(server: str, directory: Path, quick: bool) -> Iterator[Round]:
    with stage(directory, server) as it:
        running = [it.start(OURS), it.start(CHANNELS)]
        warm_up(running)
        yield partial(_round, server, running, quick)


def _round(server: str, running: Sequence[Running], quick: bool) -> Iterator[Reading]:
    figure = partial(Figure, group=f"Sync handlers on {server}", unit="×")
    plain = loads([one.at("plain") for one in running], CONNECTIONS, seconds=SLICE_SECONDS)
    works = measure("talk", plain, slices(quick))
    less = figure(
        name=f"less CPU than WebsocketConsumer, {CONNECTIONS} connections",
        at_least=TIMES_LESS_CPU[server],
    )
    yield less_cpu(less, works["ours"], works["Channels"])
    blocking = loads([one.at("blocking") for one in running], CONNECTIONS, seconds=BLOCKED_SECONDS)
    works = measure("talk", blocking, 1 if quick else 3)
    more = figure(
        name=f"times as many messages per second if each blocks 5 ms, {CONNECTIONS} connections",
        at_least=TIMES_FASTER_WHERE_IT_BLOCKS,
    )
    yield faster(more, works["ours"], works["Channels"])


BENCHMARKS = tuple(
    Benchmark(name=f"sync-{server.lower()}", prepare=partial(_prepared, server))
    for server in TIMES_LESS_CPU
)

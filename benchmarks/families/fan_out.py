"""A broadcast to 500 members of a group, beside `group_send` of Channels' layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.course import Benchmark, Round
from benchmarks.figures import Figure, Reading
from benchmarks.ratios import less_cpu
from benchmarks.stage import CHANNELS, OURS, Running, loads, measure, stage
from tests.infrastructure.valkey import running_valkey

TIMES_LESS_CPU: Final[Mapping[str, float]] = {"uvicorn": 10.0, "Daphne": 4.0}
MEMBERS: Final = 500


@contextmanager
def _prepared(server: str, directory: Path, quick: bool) -> Iterator[Round]:
    with running_valkey() as layer, stage(directory, server) as it:
        contenders = (
            replace(OURS.at("room"), redis_url=layer),
            replace(CHANNELS.at("room"), redis_url=layer),
            replace(CHANNELS.at("room"), name="in memory"),
        )
        running = [it.start(contender) for contender in contenders]
        measure("listen", loads(running, 10, message="1"), 1)
        yield partial(_round, server, running, quick)


def _round(server: str, running: Sequence[Running], quick: bool) -> Iterator[Reading]:
    times = 4 if quick else 10
    told = loads(running, MEMBERS, message=str(times), times=times)
    works = measure("listen", told, 1 if quick else 3)
    figure = partial(Figure, group=f"A broadcast to {MEMBERS} on {server}", unit="×")
    yield less_cpu(
        figure(
            name="less CPU than RedisChannelLayer.group_send", at_least=TIMES_LESS_CPU[server]
        ),
        works["ours"], works["Channels"],
    )  # fmt: skip
    yield less_cpu(
        figure(name="less CPU than InMemoryChannelLayer.group_send"),
        works["ours"], works["in memory"],
    )  # fmt: skip


BENCHMARKS = tuple(
    Benchmark(name=f"fan-out-{server.lower()}", prepare=partial(_prepared, server))
    for server in TIMES_LESS_CPU
)

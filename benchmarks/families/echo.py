"""An echo of 64 bytes: ours beside Channels, a bare ASGI callable, and others on Channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.course import Benchmark, Round
from benchmarks.figures import Figure, Reading
from benchmarks.generator.load import MESSAGE, SLICE_SECONDS, Work, slices
from benchmarks.ratios import less_cpu, lost, percent_of
from benchmarks.stage import (
    BARE,
    CHANNELS,
    OURS,
    Contender,
    Running,
    loads,
    measure,
    stage,
    warm_up,
)
from tests.infrastructure.valkey import running_valkey

CHANX: Final = Contender(
    name="chanx",
    application="benchmarks.peers.chanx_site:application",
    path="/echo",
    message=f'{{"action":"echo","payload":"{MESSAGE}"}}',
    settings='INSTALLED_APPS += ["rest_framework", "chanx.channels"]\n',
)
REST: Final = Contender(
    name="djangochannelsrestframework",
    application="benchmarks.peers.rest_site:application",
    path="/echo",
    message=f'{{"action":"echo","request_id":1,"text":"{MESSAGE}"}}',
    settings='INSTALLED_APPS += ["rest_framework"]\n',
)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What is to be reached on a server."""

    less_than_channels: Mapping[int, float]
    """By the number of connections."""
    percent_of_bare: float


REACHES: Final = {
    "uvicorn": Reach(less_than_channels={50: 3.5, 500: 5.0}, percent_of_bare=80),
    "Daphne": Reach(less_than_channels={50: 1.8, 500: 2.2}, percent_of_bare=90),
}
LOST_TO_AN_IDLE_LAYER: Final = 10


@contextmanager
def _prepared(server: str, directory: Path, quick: bool) -> Iterator[Round]:
    with running_valkey() as layer, stage(directory, server) as it:
        with_layer = Contender(name="ours with a layer", redis_url=layer)
        contenders = (BARE, CHANNELS, CHANX, REST, OURS, with_layer)
        running = [it.start(contender) for contender in contenders]
        warm_up(running)
        yield partial(_round, server, running, slices(quick))


def _round(server: str, running: Sequence[Running], turns: int) -> Iterator[Reading]:
    for connections in REACHES[server].less_than_channels:
        works = measure("talk", loads(running, connections, seconds=SLICE_SECONDS), turns)
        yield from _readings(server, connections, works)


def _readings(server: str, connections: int, works: Mapping[str, Work]) -> Iterator[Reading]:
    ours, reach = works[OURS.name], REACHES[server]

    def figure(name: str, unit: str, **reach: float) -> Figure:
        return Figure(
            group=f"Echo on {server}",
            name=f"{name}, {connections} connections",
            unit=unit,
            **reach,
        )

    than_channels = figure(
        "less CPU than Channels", "×", at_least=reach.less_than_channels[connections]
    )
    yield less_cpu(than_channels, ours, works[CHANNELS.name])
    of_bare = figure("of a bare ASGI callable", "%", at_least=reach.percent_of_bare)
    yield percent_of(of_bare, ours, works[BARE.name])
    to_layer = figure("lost to an idle layer", "%", at_most=LOST_TO_AN_IDLE_LAYER)
    yield lost(to_layer, ours, works["ours with a layer"])
    for peer in (CHANX, REST):
        yield less_cpu(figure(f"less CPU than {peer.name}", "×"), ours, works[peer.name])


BENCHMARKS = tuple(
    Benchmark(name=f"echo-{server.lower()}", prepare=partial(_prepared, server))
    for server in REACHES
)

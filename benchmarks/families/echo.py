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
OTHERS: Final = (CHANX.name, REST.name)
"""For comparison alone, so with few connections."""


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
    few, *more = REACHES[server].less_than_channels
    for connections in (few, *more):
        asked = [one for one in running if connections == few or one.name not in OTHERS]
        works = measure("talk", loads(asked, connections, seconds=SLICE_SECONDS), turns)
        yield from _readings(server, connections, works)


def _readings(server: str, connections: int, works: Mapping[str, Work]) -> Iterator[Reading]:
    ours, reach = works[OURS.name], REACHES[server]

    def figure(name: str, unit: str, **reach: float) -> Figure:
        named = f"{name}, {connections} connections"
        return Figure(group=f"Echo on {server}", name=named, unit=unit, **reach)

    than_channels = reach.less_than_channels[connections]
    yield less_cpu(
        figure("less CPU than Channels", "×", at_least=than_channels), ours, works[CHANNELS.name]
    )
    yield percent_of(
        figure(
            "messages per CPU second, relative to a bare ASGI callable",
            "%", at_least=reach.percent_of_bare,
        ),
        ours, works[BARE.name],
    )  # fmt: skip
    yield lost(
        figure(
            "fewer messages per CPU second with an idle channel layer",
            "%", at_most=LOST_TO_AN_IDLE_LAYER,
        ),
        ours, works["ours with a layer"],
    )  # fmt: skip
    for other in filter(works.__contains__, OTHERS):
        yield less_cpu(figure(f"less CPU than {other}", "×"), ours, works[other])


BENCHMARKS = tuple(
    Benchmark(name=f"echo-{server.lower()}", prepare=partial(_prepared, server))
    for server in REACHES
)

"""Thousands of endpoints in the table, half of them patterns: what must not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import rows
from benchmarks.course import Benchmark, Round
from benchmarks.families import idle
from benchmarks.figures import Figure, Reading
from benchmarks.generator.load import SLICE_SECONDS, slices
from benchmarks.ratios import percent_more
from benchmarks.stage import OURS, Running, loads, measure, stage, warm_up, whole

FEW: Final = 10
MANY, QUICK_MANY = 10_000, 2_000
PERCENT_MORE: Final = 10.0
PERCENT_MORE_TO_CONNECT: Final = 20.0
UNPOLLED: Final = 'WEBSOCKETS["POLL_INTERVAL"] = 3600.0\n'


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The same site with few endpoints and with many, and one that doesn't look for changes."""

    few: Running
    many: Running
    unpolled: Running
    endpoints: int

    def figure(self, name: str, at_most: float) -> Figure:
        group = f"{self.endpoints:,} endpoints, compared with {FEW}"
        return Figure(group=group, name=name, unit="%", at_most=at_most)

    def at_last_pattern(self) -> list[Running]:
        """Return both, talked to at the endpoint that is the last to be found."""
        return [
            one.at(rows.paths(number)[-1].replace("<slug:room>", "room"))
            for one, number in ((self.few, FEW), (self.many, self.endpoints))
        ]


@contextmanager
def _prepared(directory: Path, quick: bool) -> Iterator[Round]:
    endpoints = QUICK_MANY if quick else MANY
    with stage(directory, "uvicorn") as it:
        servers = Servers(
            few=it.start(replace(OURS, name="few"), others=FEW),
            many=it.start(replace(OURS, name="many"), others=endpoints),
            unpolled=it.start(replace(OURS, name="unpolled", settings=UNPOLLED), others=endpoints),
            endpoints=endpoints,
        )
        warm_up([servers.few, servers.many, servers.unpolled])
        yield partial(_round, servers, quick)


def _round(servers: Servers, quick: bool) -> Iterator[Reading]:
    both = [servers.few, servers.many]
    works = measure("talk", loads(both, 50, seconds=SLICE_SECONDS), slices(quick))
    message = servers.figure("more CPU per message", PERCENT_MORE)
    yield percent_more(message, works["few"], works["many"])
    for what, running in (("a fixed path", both), ("the last pattern", servers.at_last_pattern())):
        arrived = whole(running, "arrive", 150, 1 if quick else 3)
        name = f"more CPU per connection to {what}"
        connection = servers.figure(name, PERCENT_MORE_TO_CONNECT)
        yield percent_more(connection, arrived["few"], arrived["many"])
    poll = servers.figure("polling, share of a core", idle.PERCENT_OF_A_CORE)
    yield idle.beyond(poll, servers.unpolled, servers.many, quick)


BENCHMARKS = (Benchmark(name="many-endpoints", prepare=_prepared),)

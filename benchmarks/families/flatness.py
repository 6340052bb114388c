"""What must not grow: a message's cost, a connection's and the poll's, with what else there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import rows
from benchmarks.course import Benchmark, Round
from benchmarks.cpu import Watch
from benchmarks.figures import Figure, Reading
from benchmarks.generator import driver
from benchmarks.generator.load import SLICE_SECONDS, slices
from benchmarks.ratios import percent_more
from benchmarks.stage import OURS, Running, in_random_order, loads, measure, stage, warm_up
from tests.infrastructure.waiting import eventually

FEW_ENDPOINTS: Final = 10
MANY_ENDPOINTS, QUICK_ENDPOINTS = 10_000, 2_000
FEW_SESSIONS: Final = 100
MANY_SESSIONS, QUICK_SESSIONS = 5_000, 1_000
ACTIVE: Final = 50
PERCENT_MORE: Final = 10.0
PERCENT_MORE_TO_CONNECT: Final = 20.0
PERCENT_OF_A_CORE: Final = 1.0


@contextmanager
def _prepared_endpoints(directory: Path, quick: bool) -> Iterator[Round]:
    with stage(directory, "uvicorn") as it:
        few = it.start(replace(OURS, name="few"), others=FEW_ENDPOINTS)
        endpoints = QUICK_ENDPOINTS if quick else MANY_ENDPOINTS
        many = it.start(replace(OURS, name="many"), others=endpoints)
        warm_up([few, many])
        yield partial(_round_of_endpoints, few, many, endpoints, quick)


def _round_of_endpoints(
    few: Running, many: Running, endpoints: int, quick: bool
) -> Iterator[Reading]:
    figure = partial(Figure, group=f"{endpoints:,} endpoints beside {FEW_ENDPOINTS}")
    told = loads([few, many], ACTIVE, seconds=SLICE_SECONDS)
    works = measure("talk", told, slices(quick))
    message = figure(name="CPU more for a message", unit="%", at_most=PERCENT_MORE)
    yield percent_more(message, works["few"], works["many"])
    last = [
        one.at(rows.paths(number)[-1].replace("<slug:room>", "room"))
        for one, number in ((few, FEW_ENDPOINTS), (many, endpoints))
    ]
    for what, both in (("a fixed path", [few, many]), ("the last pattern", last)):
        arrived = in_random_order({one.name: partial(one.whole, "arrive", 200) for one in both})
        connection = figure(
            name=f"CPU more for a connection to {what}", unit="%", at_most=PERCENT_MORE_TO_CONNECT
        )
        yield percent_more(connection, arrived["few"], arrived["many"])
    poll = figure(name="the idle server, of a core", unit="%", at_most=PERCENT_OF_A_CORE)
    yield Reading(figure=poll, value=_idle_percent(many, quick))


@contextmanager
def _prepared_sessions(directory: Path, quick: bool) -> Iterator[Round]:
    with stage(directory, "uvicorn") as it:
        few, many = (it.start(replace(OURS, name=name)) for name in ("few", "many"))
        warm_up([few, many])
        yield partial(
            _round_of_sessions, few, many, QUICK_SESSIONS if quick else MANY_SESSIONS, quick
        )


def _round_of_sessions(
    few: Running, many: Running, sessions: int, quick: bool
) -> Iterator[Reading]:
    figure = partial(Figure, group=f"{sessions:,} sessions beside {FEW_SESSIONS}")
    told = {
        one.name: one.load(number, idle=number - ACTIVE, seconds=SLICE_SECONDS)
        for one, number in ((few, FEW_SESSIONS), (many, sessions))
    }
    works = measure("talk", told, slices(quick))
    message = figure(name="CPU more for a message", unit="%", at_most=PERCENT_MORE)
    yield percent_more(message, works["few"], works["many"])
    with driver.holding(many.load(sessions)):
        is_open = "SELECT count(*) FROM websockets_app_session WHERE closed_at IS NULL"
        eventually(lambda: many.value(is_open) == sessions, 60)
        percent = _idle_percent(many, quick)
    poll = figure(name="the idle server, of a core", unit="%", at_most=PERCENT_OF_A_CORE)
    yield Reading(figure=poll, value=percent)


def _idle_percent(running: Running, quick: bool) -> float:
    """Return how much of a core the server uses while nobody says anything."""
    watch = Watch(server=running.server.pid)
    eventually(lambda: watch.stop().seconds >= (1.5 if quick else 5.0), 10)
    return watch.stop().percent("server")


BENCHMARKS = (
    Benchmark(name="flat-endpoints", prepare=_prepared_endpoints),
    Benchmark(name="flat-sessions", prepare=_prepared_sessions),
)

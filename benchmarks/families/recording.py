"""Every message recorded, a row for each in either direction, beside counting only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.course import Benchmark, Round
from benchmarks.cpu import Watch
from benchmarks.figures import Figure, Reading
from benchmarks.generator.load import Work
from benchmarks.ratios import lost
from benchmarks.stage import OURS, Running, in_random_order, stage, warm_up
from tests.infrastructure.waiting import eventually

PERCENT_LOST: Final[Mapping[str, float]] = {"uvicorn": 30.0, "Daphne": 15.0}
TIMES_THE_P99: Final = 6.0
CONNECTIONS: Final = 50

RECORDED: Final = "FROM websockets_app_event WHERE kind = 'message'"
GAPS: Final = "FROM websockets_app_event WHERE kind = 'gap'"


@contextmanager
def _prepared(server: str, directory: Path, quick: bool) -> Iterator[Round]:
    with stage(directory, server) as it:
        running = it.start(OURS)
        warm_up([running])
        yield partial(_round, server, running, 1.0 if quick else 2.0)


def _round(server: str, running: Running, seconds: float) -> Iterator[Reading]:
    figure = partial(Figure, group=f"Every message recorded, {server}, SQLite")
    rows, missing = running.value(f"SELECT count(*) {RECORDED}"), _missing(running)
    works = in_random_order(
        {path: partial(_cost, running.at(path), seconds) for path in ("echo", "recorded")}
    )
    counted, recorded = works["echo"], works["recorded"]
    yield lost(
        figure(name="fewer messages per CPU second", unit="%", at_most=PERCENT_LOST[server]),
        counted, recorded,
    )  # fmt: skip
    yield Reading(
        figure=figure(
            name="p99 latency, relative to no recording", unit="×", at_most=TIMES_THE_P99
        ),
        value=recorded.p99 / counted.p99,
        aside={"{:.1f} ms": 1e3 * recorded.p99, "beside {:.1f} ms": 1e3 * counted.p99},
        generator=recorded.generator,
    )
    yield Reading(
        figure=figure(name="rows missing", unit="", at_most=0),
        value=_missing(running) - missing,
        aside={"of {:,.0f}": running.value(f"SELECT count(*) {RECORDED}") - rows},
    )


def _cost(running: Running, seconds: float) -> Work:
    """Return what the messages cost until the last row is written."""
    watch = Watch(server=running.server.pid)
    work = running.whole("talk", CONNECTIONS, seconds=seconds)
    eventually(lambda: _missing(running) <= running.value(f"SELECT sum(lost) {GAPS}"), 60)
    return replace(work, server_cpu=watch.stop().of("server"))


def _missing(running: Running) -> int:
    """Return how many messages of recorded sessions have no row."""
    sessions = "FROM websockets_app_session WHERE endpoint_path = 'recorded'"
    return running.value(f"SELECT sum(messages_in + messages_out) {sessions}") - running.value(
        f"SELECT count(*) {RECORDED}"
    )


BENCHMARKS = tuple(
    Benchmark(name=f"recording-{server.lower()}", prepare=partial(_prepared, server))
    for server in PERCENT_LOST
)

"""Thousands of open sessions that say nothing: what must not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.course import Benchmark, Round
from benchmarks.families import idle
from benchmarks.figures import Figure, Reading
from benchmarks.generator import driver
from benchmarks.generator.load import SLICE_SECONDS, slices
from benchmarks.ratios import percent_more
from benchmarks.stage import OURS, Running, measure, stage, warm_up
from tests.infrastructure.waiting import eventually

FEW: Final = 100
MANY, QUICK_MANY = 5_000, 1_000
ACTIVE: Final = 50
PERCENT_MORE: Final = 10.0
OPEN: Final = "SELECT count(*) FROM websockets_app_session WHERE closed_at IS NULL"


@contextmanager
def _prepared(directory: Path, quick: bool) -> Iterator[Round]:
    with stage(directory, "uvicorn") as it:
        few, many = (it.start(replace(OURS, name=name)) for name in ("few", "many"))
        warm_up([few, many])
        yield partial(_round, few, many, QUICK_MANY if quick else MANY, quick)


def _round(few: Running, many: Running, sessions: int, quick: bool) -> Iterator[Reading]:
    figure = partial(Figure, group=f"{sessions:,} sessions, compared with {FEW}", unit="%")
    told = {
        one.name: one.load(number, idle=number - ACTIVE, seconds=SLICE_SECONDS)
        for one, number in ((few, FEW), (many, sessions))
    }
    works = measure("talk", told, slices(quick))
    message = figure(name="more CPU per message", at_most=PERCENT_MORE)
    yield percent_more(message, works["few"], works["many"])
    with driver.holding(many.load(sessions)):
        eventually(lambda: many.value(OPEN) == sessions, 60)
        kept = figure(name="keeping them open, share of a core", at_most=idle.PERCENT_OF_A_CORE)
        yield idle.beyond(kept, few, many, quick)


BENCHMARKS = (Benchmark(name="many-sessions", prepare=_prepared),)

"""The database away: what a message costs a server that can't reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from benchmarks.course import Benchmark, Round
from benchmarks.figures import Figure, Reading
from benchmarks.generator.load import SLICE_SECONDS, slices
from benchmarks.ratios import percent_more
from benchmarks.stage import OURS, Running, loads, measure, stage, warm_up
from tests.infrastructure.postgres import fresh_database, running_postgres

CONNECTIONS: Final = 50
PERCENT_MORE: Final = 10.0


@contextmanager
def _prepared(directory: Path, quick: bool) -> Iterator[Round]:
    with (
        running_postgres() as server,
        fresh_database(server) as one,
        fresh_database(server) as other,
        stage(directory, "uvicorn") as it,
    ):
        there = it.start(replace(OURS, name="there", database_url=one))
        away = it.start(replace(OURS, name="away", database_url=other))
        warm_up([there, away])
        yield partial(_round, [there, away], partial(_closed_to_all, server, other), quick)


def _round(
    running: Sequence[Running], closed: Callable[[], AbstractContextManager[None]], quick: bool
) -> Iterator[Reading]:
    told = loads(running, CONNECTIONS, seconds=SLICE_SECONDS)
    with closed():
        works = measure("talk", told, slices(quick))
    figure = Figure(
        group="Database down", name="more CPU per message", unit="%", at_most=PERCENT_MORE
    )
    yield percent_more(figure, works["there"], works["away"])


@contextmanager
def _closed_to_all(server: str, database: str) -> Iterator[None]:
    """End every connection to a database and let no new one in, as if it had gone away."""
    name = urlsplit(database).path.removeprefix("/")
    with psycopg.connect(server, autocommit=True) as connection:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        connection.execute(allow.format(sql.Identifier(name), sql.Literal(False)))
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(end, [name])
        try:
            yield
        finally:
            connection.execute(allow.format(sql.Identifier(name), sql.Literal(True)))


BENCHMARKS = (Benchmark(name="database-away", prepare=_prepared),)

"""Connections of a logged-in user, beside `AuthMiddlewareStack`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.course import Benchmark, Round
from benchmarks.figures import Figure, Reading
from benchmarks.ratios import less_cpu
from benchmarks.rows import SESSION_KEY
from benchmarks.stage import CHANNELS, OURS, Contender, Running, stage, whole
from tests.infrastructure.postgres import fresh_database, running_postgres

TIMES_LESS_CPU: Final[Mapping[str, float]] = {"SQLite": 2.0, "PostgreSQL": 1.7}
SERVERS: Final = ("uvicorn", "Daphne")
PERSISTENT: Final = 'DATABASES["default"]["CONN_MAX_AGE"] = 60\n'


@contextmanager
def _prepared(server: str, database: str, directory: Path, quick: bool) -> Iterator[Round]:
    with ExitStack() as stack:
        contenders = [_logged_in(one) for one in (OURS, CHANNELS)]
        if database == "PostgreSQL":
            url = stack.enter_context(running_postgres())
            contenders = [
                replace(
                    one, database_url=stack.enter_context(fresh_database(url)), settings=PERSISTENT
                )
                for one in contenders
            ]
        it = stack.enter_context(stage(directory, server))
        running = [it.start(one) for one in contenders]
        whole(running, "arrive", 20, 1)  # the first ones start what later ones use
        yield partial(_round, f"{server}, {database}", database, running, quick)


def _logged_in(contender: Contender) -> Contender:
    return replace(contender.at("members"), headers={"Cookie": f"sessionid={SESSION_KEY}"})


def _round(
    where: str, database: str, running: Sequence[Running], quick: bool
) -> Iterator[Reading]:
    works = whole(running, "arrive", 150, 1 if quick else 3)
    figure = Figure(
        group="Handshakes of a logged-in user", name=f"less CPU than AuthMiddlewareStack, {where}",
        unit="×", at_least=TIMES_LESS_CPU[database],
    )  # fmt: skip
    yield less_cpu(figure, works["ours"], works["Channels"])


BENCHMARKS = tuple(
    Benchmark(
        name=f"connects-{server.lower()}-{database.lower()}",
        prepare=partial(_prepared, server, database),
    )
    for server in SERVERS
    for database in TIMES_LESS_CPU
)

"""Rows a second that the recorder keeps up with, beside `bulk_create` of 500."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import cores
from benchmarks.course import Benchmark, Round
from benchmarks.figures import Figure, Reading
from benchmarks.stage import SETTINGS
from tests.infrastructure.postgres import running_postgres
from tests.infrastructure.site import Site

TIMES_AS_MANY: Final[Mapping[str, float]] = {"SQLite": 5.0, "PostgreSQL": 4.0}
TURN_SECONDS: Final = 0.4


@contextmanager
def _prepared(database: str, directory: Path, quick: bool) -> Iterator[Round]:
    with running_postgres() if database == "PostgreSQL" else nullcontext() as url:
        site = Site(directory, database_url=url, settings=SETTINGS)
        yield partial(_round, database, site, 2 if quick else 5)


def _round(database: str, site: Site, turns: int) -> Iterator[Reading]:
    took = _write(site, turns)
    ours, theirs = took["recorder"], took["bulk_create"]
    yield Reading(
        figure=Figure(
            group=f"The recorder on {database}",
            name="rows per second, relative to bulk_create(500)",
            unit="×", at_least=TIMES_AS_MANY[database],
        ),
        value=ours["rate"] / theirs["rate"],
        aside={
            "{:,.0f}/s": ours["rate"],
            "beside {:,.0f}/s": theirs["rate"],
            "{:.1f} µs": ours["micros"],
            "beside {:.1f} µs of CPU": theirs["micros"],
        },
    )  # fmt: skip


def _write(site: Site, turns: int) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.write_rows", str(turns), str(TURN_SECONDS)]
    with cores.starting_on(cores.SERVER):
        done = subprocess.run(
            command, env=site.env(), stdout=subprocess.PIPE, text=True, check=True
        )
    return dict(json.loads(done.stdout))


BENCHMARKS = tuple(
    Benchmark(name=f"recorder-{database.lower()}", prepare=partial(_prepared, database))
    for database in TIMES_AS_MANY
)

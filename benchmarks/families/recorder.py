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
from benchmarks.stage import SETTINGS, in_random_order
from tests.infrastructure.postgres import running_postgres
from tests.infrastructure.site import Site

TIMES_AS_MANY: Final[Mapping[str, float]] = {"SQLite": 5.0, "PostgreSQL": 4.0}


@contextmanager
def _prepared(database: str, directory: Path, quick: bool) -> Iterator[Round]:
    with running_postgres() if database == "PostgreSQL" else nullcontext() as url:
        site = Site(directory, database_url=url, settings=SETTINGS)
        yield partial(_round, database, site, 0.7 if quick else 2.0)


def _round(database: str, site: Site, seconds: float) -> Iterator[Reading]:
    took = in_random_order(
        {how: partial(_write, site, how, seconds) for how in ("recorder", "bulk_create")}
    )
    rates = {how: one["rows"] / one["seconds"] for how, one in took.items()}
    costs = {how: 1e6 * one["cpu"] / one["rows"] for how, one in took.items()}
    yield Reading(
        figure=Figure(
            group=f"The recorder on {database}", name="as many rows a second as bulk_create(500)",
            unit="×", at_least=TIMES_AS_MANY[database],
        ),
        value=rates["recorder"] / rates["bulk_create"],
        aside={
            "{:,.0f}/s": rates["recorder"],
            "beside {:,.0f}/s": rates["bulk_create"],
            "{:.1f} µs": costs["recorder"],
            "beside {:.1f} µs of CPU": costs["bulk_create"],
        },
    )  # fmt: skip


def _write(site: Site, how: str, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.write_rows", how, str(seconds)]
    with cores.starting_on(cores.SERVER):
        done = subprocess.run(
            command, env=site.env(), stdout=subprocess.PIPE, text=True, check=True
        )
    return dict(json.loads(done.stdout))


BENCHMARKS = tuple(
    Benchmark(name=f"recorder-{database.lower()}", prepare=partial(_prepared, database))
    for database in TIMES_AS_MANY
)

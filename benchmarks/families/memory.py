"""Memory of an idle session, beyond what the server itself needs for a connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.course import Benchmark, Round
from benchmarks.figures import Figure, Reading
from benchmarks.generator import driver
from benchmarks.process_tree import tree
from benchmarks.stage import BARE, OURS, Contender, in_random_order, stage, warm_up
from tests.infrastructure.waiting import eventually

SERVERS: Final = ("uvicorn", "Daphne")
MORE_KIB: Final = 5.0
OPEN: Final = "SELECT count(*) FROM websockets_app_session WHERE closed_at IS NULL"


@contextmanager
def _prepared(server: str, directory: Path, quick: bool) -> Iterator[Round]:
    yield partial(_round, server, directory, 1_000 if quick else 4_000)


def _round(server: str, directory: Path, sessions: int) -> Iterator[Reading]:
    needed = in_random_order(
        {
            one.name: partial(kib_of_a_session, server, directory, one, sessions)
            for one in (OURS, BARE)
        }
    )
    figure = Figure(
        group="Memory of an idle session", name=f"more than a bare ASGI callable, {server}",
        unit="KiB", at_most=MORE_KIB,
    )  # fmt: skip
    aside = {"{:.1f} KiB": needed["ours"], "beside {:.1f} KiB": needed["bare"]}
    yield Reading(figure=figure, value=needed["ours"] - needed["bare"], aside=aside)


def kib_of_a_session(server: str, directory: Path, contender: Contender, sessions: int) -> float:
    """Return what each of so many needs in a server that was started for them."""
    with (
        TemporaryDirectory(dir=directory.parent) as fresh,  # nothing is left of a round before
        stage(Path(fresh), server) as it,
    ):
        running = it.start(contender)
        warm_up([running])
        before = kib(running.server.pid)
        with driver.holding(running.load(sessions)):
            if contender.is_ours:  # until their rows are written, they are kept as well
                eventually(lambda: running.value(OPEN) == sessions, 60)
            return (kib(running.server.pid) - before) / sessions


def kib(pid: int) -> int:
    """Return the memory of a process and of those it has started.

    Their shares of what others use as well are counted with it (PSS).
    """
    return sum(map(_kib_of_one, tree(pid)))


def _kib_of_one(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


BENCHMARKS = tuple(
    Benchmark(name=f"memory-{server.lower()}", prepare=partial(_prepared, server))
    for server in SERVERS
)

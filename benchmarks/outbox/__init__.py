"""Messages a second through the outbox, from `send()` to the acknowledgement in the row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from benchmarks.course import Benchmark, Round
from benchmarks.cpu import Used, Watch
from benchmarks.figures import Figure, Reading
from benchmarks.outbox.stage import Delivery, Sent, Stage
from tests.infrastructure.postgres import running_postgres
from tests.infrastructure.site import Site
from tests.infrastructure.valkey import running_valkey

MESSAGES, QUICK_MESSAGES = 5_000, 1_000
CLIENTS = (1, 20)
SETTINGS = "DEBUG = False  # or Django keeps every query\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """So many clients on a database, and the reach there."""

    database: str
    reach: float
    threads: int
    """How many send at the same time."""
    clients: int
    messages: int

    @property
    def names(self) -> list[str]:
        return [f"of-{self.clients}-{number}" for number in range(self.clients)]

    @property
    def portions(self) -> dict[int, int]:
        """Return how many messages of the backlog so many threads send."""
        alone = self.messages // 5
        return {1: alone, self.threads: self.messages} if self.threads > 1 else {1: self.messages}

    @property
    def backlog(self) -> int:
        return sum(self.portions.values())

    def figure(self, name: str, at_least: float | None = None) -> Figure:
        return Figure(group=self._group, name=name, unit="/s", at_least=at_least)

    def share(self) -> Figure:
        """Return what proves that the peer, where it had the most to do, wasn't what limits."""
        return Figure(
            group=self._group, name="the peer meanwhile, of a core", unit="%", at_most=50
        )

    @property
    def _group(self) -> str:
        return f"The outbox on {self.database}, {_many(self.clients, 'client')}"


def measure(stage: Stage, case: Case) -> Iterator[Reading]:
    """Send while nothing runs, let a runner send that, and send while it runs."""
    backlog = stage.expect(case.backlog)
    for threads, messages in case.portions.items():
        yield _alone(case, messages, threads, stage.send(messages, case.names, threads))
    with stage.runner(case.names) as runner:
        left, watch = backlog.left(), Watch(runner=runner.pid, peer=stage.peer.pid)
        backlog.wait()
        yield from _drained(case, backlog, watch.stop(), left)
        through = stage.expect(case.messages)
        watch = Watch(runner=runner.pid, peer=stage.peer.pid)
        sent = stage.send(case.messages, case.names, case.threads)
        through.wait()
        yield _through(case, through, watch.stop(), sent)


def _alone(case: Case, messages: int, threads: int, sent: Sent) -> Reading:
    return Reading(
        figure=case.figure(f"send() alone, {_many(threads, 'thread')}"),
        value=messages / sent.seconds,
        aside={"sender {:.0f} %": 100 * sent.cpu / sent.seconds},
    )


def _drained(case: Case, backlog: Delivery, used: Used, left: int) -> Iterator[Reading]:
    seconds = backlog.seconds(since="claimed_at")
    yield Reading(
        figure=case.figure("a backlog, by the runner alone", at_least=case.reach),
        value=case.backlog / seconds,
        aside={
            "runner {:.0f} µs/message": 1e6 * used.of("runner") / left,
            "machine {:.0f} %": used.percent("machine"),
        },
    )
    peer = used.of("peer") / left * case.backlog
    yield Reading(figure=case.share(), value=100 * peer / seconds)


def _through(case: Case, through: Delivery, used: Used, sent: Sent) -> Reading:
    seconds = through.seconds(since="queued_at")
    return Reading(
        figure=case.figure(
            f"send() to acknowledgement, {_many(case.threads, 'thread')}", at_least=case.reach
        ),
        value=case.messages / seconds,
        aside={
            "sender {:.0f} %": 100 * sent.cpu / sent.seconds,
            "runner {:.0f} %": 100 * used.of("runner") / seconds,
            "runner {:.0f} µs/message": 1e6 * used.of("runner") / case.messages,
            "peer {:.0f} %": 100 * used.of("peer") / seconds,
            "machine {:.0f} %": used.percent("machine"),
        },
    )


def _many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _cases(database: str, *, reach: float, threads: int, quick: bool) -> list[Case]:
    messages = QUICK_MESSAGES if quick else MESSAGES
    return [
        Case(database=database, reach=reach, threads=threads, clients=clients, messages=messages)
        for clients in CLIENTS
    ]


@contextmanager
def _on(site: Site, cases: list[Case]) -> Iterator[Round]:
    try:
        stage = Stage(site)
        for case in cases:
            stage.add_clients(case.names)
        yield lambda: (reading for case in cases for reading in measure(stage, case))
    except BaseException:
        site.end()  # and let its processes' logs be seen
        raise
    with redirect_stdout(None):
        site.end()


@contextmanager
def _postgresql(directory: Path, quick: bool) -> Iterator[Round]:
    """As in production: PostgreSQL, Valkey for the nudges, and a server's threads that send.

    One thread alone waits for the disk at each commit; PostgreSQL commits several together.
    """
    cases = _cases("PostgreSQL", reach=1_000, threads=8, quick=quick)
    with running_postgres() as database, running_valkey() as layer:
        site = Site(directory, database_url=database, redis_url=layer, settings=SETTINGS)
        with _on(site, cases) as round_:
            yield round_


@contextmanager
def _sqlite(directory: Path, quick: bool) -> Iterator[Round]:
    """As `make run` does: SQLite, where one at a time writes, and no layer between processes."""
    cases = _cases("SQLite", reach=300, threads=1, quick=quick)
    with _on(Site(directory, settings=SETTINGS), cases) as round_:
        yield round_


BENCHMARKS = (
    Benchmark(name="outbox-postgresql", prepare=_postgresql),
    Benchmark(name="outbox-sqlite", prepare=_sqlite),
)

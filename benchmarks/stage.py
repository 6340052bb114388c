"""The stage of a family of rows: contenders side by side, each a server on a site of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cache, partial
from math import inf
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks import cores, cpu
from benchmarks.generator import driver
from benchmarks.generator.load import MESSAGE, Load, Work, median
from benchmarks.servers import SERVERS
from tests.infrastructure.processes import Server
from tests.infrastructure.site import APPLICATION, Site
from tests.infrastructure.waiting import eventually

T = TypeVar("T")

SETTINGS: Final = """
DEBUG = False  # or Django keeps every query
WEBSOCKETS["HANDLER_PACKAGES"] = ["benchmarks.handlers", "handlers"]
"""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An ASGI application that is measured, and how one talks to it."""

    name: str
    application: str = APPLICATION
    path: str = "echo"
    message: str = MESSAGE
    settings: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    database_url: str | None = None
    redis_url: str | None = None

    def at(self, path: str) -> Contender:
        """Return the same at another of its paths."""
        return replace(self, path=f"/{path}" if self.path.startswith("/") else path)

    @property
    def is_ours(self) -> bool:
        return self.application == APPLICATION


OURS: Final = Contender(name="ours")
CHANNELS: Final = Contender(
    name="Channels", application="benchmarks.peers.channels_site:application", path="/echo"
)
BARE: Final = Contender(name="bare", application="benchmarks.peers.bare:application", path="/echo")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A contender whose server runs."""

    contender: Contender
    server: Server
    site: Site

    def load(self, connections: int, **said: Any) -> Load:
        """Return a load for it."""
        contender = self.contender
        told = {"message": contender.message, "headers": dict(contender.headers), **said}
        return Load(
            url=self.server.ws(contender.path),
            pid=self.server.pid,
            connections=connections,
            **told,
        )

    @property
    def name(self) -> str:
        return self.contender.name

    def at(self, path: str) -> Running:
        """Return the same server, talked to at another path."""
        return replace(self, contender=self.contender.at(path))

    def whole(self, job: str, connections: int, **said: Any) -> Work:
        """Let a generator work once, and count the server's CPU until all of it is recorded."""
        closed = self._closed()
        watch = cpu.Watch(server=self.server.pid)
        ((work,),) = driver.run(job, [self.load(connections, **said)], 1)
        eventually(lambda: self._closed() >= closed + connections, 60, every=0.1)
        return replace(work, server_cpu=watch.stop().of("server"))

    def value(self, sql: str) -> int:
        """Return the one number that SQL finds in the contender's database."""
        (row,) = self.site.rows(f"SELECT ({sql}) AS value")
        return row["value"] or 0

    def _closed(self) -> float:
        """Return how many sessions are known to be over; whoever keeps no rows is never late."""
        is_over = "SELECT count(*) FROM websockets_app_session WHERE closed_at IS NOT NULL"
        return self.value(is_over) if self.contender.is_ours else inf


class Stage:
    """Starts contenders on one of `servers.SERVERS`."""

    def __init__(self, directory: Path, server: str) -> None:
        self.server = server
        self._directory = directory
        self._sites: list[Site] = []

    def start(self, contender: Contender, others: int = 0) -> Running:
        """Start a contender, with so many other endpoints in its table."""
        site = self._site(contender)
        self._sites.append(site)
        if others:
            site.shell(f"from benchmarks import rows; rows.create_many({others})")
        with cores.starting_on(cores.SERVER):
            kind = SERVERS[self.server]
            server = kind.start(site, *kind.options, application=contender.application)
        return Running(contender=contender, server=server, site=site)

    def end(self) -> None:
        """End the servers, and print what they had to say."""
        for site in self._sites:
            site.end()

    def _site(self, contender: Contender) -> Site:
        given = contender.database_url is not None
        site = Site(
            self._directory / f"{len(self._sites)}-{contender.name.replace(' ', '-')}",
            database_url=contender.database_url,
            redis_url=contender.redis_url,
            settings=SETTINGS + contender.settings,
            template=None if given else _template(self._directory.parent),
        )
        if given:
            _fill(site)
        return site


@contextmanager
def stage(directory: Path, server: str) -> Iterator[Stage]:
    """Give a stage, and end what runs on it; the servers' logs are shown where anything failed."""
    it = Stage(directory, server)
    try:
        yield it
    except BaseException:
        it.end()
        raise
    with redirect_stdout(None):
        it.end()


def measure(job: str, loads: Mapping[str, Load], turns: int) -> dict[str, Work]:
    """Let a generator work for each in turn, so often; return each one's median by its name."""
    works = driver.run(job, list(loads.values()), turns)
    return {name: median(of_one) for name, of_one in zip(loads, works, strict=True)}


def loads(running: Iterable[Running], connections: int, **said: Any) -> dict[str, Load]:
    """Return the same load for each, by its name."""
    return {one.name: one.load(connections, **said) for one in running}


def warm_up(running: Iterable[Running]) -> None:
    """Let the first messages pass, which start what later ones use."""
    measure("talk", loads(running, 10, seconds=0.2), 1)


def in_random_order(measurements: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Measure everyone once, so that no place in the order is anybody's."""
    names = random.sample(list(measurements), len(measurements))
    return {name: measurements[name]() for name in names}


def whole(running: Sequence[Running], job: str, connections: int, turns: int) -> dict[str, Work]:
    """Let a generator work as `Running.whole` does, by turns; return each one's median."""
    taken = [
        in_random_order({one.name: partial(one.whole, job, connections) for one in running})
        for _ in range(turns)
    ]
    return {one.name: median([turn[one.name] for turn in taken]) for one in running}


@cache
def _template(directory: Path) -> Path:
    """Return an SQLite database that has all rows: made once a run."""
    site = Site(directory / "template", settings=SETTINGS)
    _fill(site)
    assert site.sqlite is not None
    return site.sqlite


def _fill(site: Site) -> None:
    site.shell("from benchmarks import rows; rows.create()")

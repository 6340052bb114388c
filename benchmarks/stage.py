"""The stage of a family of rows: contenders side by side, each a server on a site of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks import cores
from benchmarks.generator import driver
from benchmarks.generator.load import MESSAGE, Load, Work, median
from tests.infrastructure.processes import Server
from tests.infrastructure.site import APPLICATION, Site
from tests.infrastructure.waiting import eventually

SERVERS: Final = ("uvicorn", "Daphne")
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

    @property
    def is_ours(self) -> bool:
        return self.application == APPLICATION


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

    def one(self, sql: str) -> Any:
        """Return the one value that SQL gives."""
        (row,) = self.site.rows(f"SELECT ({sql}) AS value")
        return row["value"]

    def settle(self) -> None:
        """Wait until everybody has left, and what is recorded of them is written."""
        if self.contender.is_ours:
            is_open = "SELECT count(*) FROM websockets_app_session WHERE closed_at IS NULL"
            eventually(lambda: self.one(is_open) == 0, 60, every=0.1)


class Stage:
    """Starts contenders on one kind of server."""

    def __init__(self, directory: Path, server: str) -> None:
        self.server = server
        self._directory = directory
        self._sites: list[Site] = []

    def start(self, contender: Contender) -> Running:
        site = self._site(contender)
        self._sites.append(site)
        with cores.starting_on(cores.SERVER):
            if self.server == "uvicorn":
                options = ("--loop", "uvloop", "--log-level", "warning")
                server = site.start_uvicorn(*options, application=contender.application)
            else:
                server = site.start_daphne("-v", "0", application=contender.application)
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


def measure(
    job: str, running: Sequence[Running], connections: int, slices: int, **said: Any
) -> dict[str, Work]:
    """Let a generator work for each in turn, so often; return each one's median by its name."""
    loads = [one.load(connections, **said) for one in running]
    works = driver.run(job, loads, slices)
    names = [one.contender.name for one in running]
    return {name: median(of_one) for name, of_one in zip(names, works, strict=True)}


@cache
def _template(directory: Path) -> Path:
    """Return an SQLite database that has all rows: made once a run."""
    site = Site(directory / "template", settings=SETTINGS)
    _fill(site)
    assert site.sqlite is not None
    return site.sqlite


def _fill(site: Site) -> None:
    site.shell("from benchmarks import rows; rows.create()")

"""Fixtures for every test; what they do is in tests/infrastructure."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest
from asgiref.sync import SyncToAsync
from django.db import connections
from playwright.sync_api import Browser, Page
from pytest_django import Settings

from tests.infrastructure import mariadb, replica
from tests.infrastructure.browser import open_page, running_browser
from tests.infrastructure.postgres import Postgres, fresh_database, running_server
from tests.infrastructure.processes import Server
from tests.infrastructure.site import Site
from tests.infrastructure.valkey import running_valkey
from websockets_app.dispatch import loader

pytest_plugins = ["websockets_app.testing.pytest_plugin"]

# Seconds say something about the machine, not about the example.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("untimed"), max_examples=5000
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))

INTEGRATION_FIXTURES = {"demo", "make_site", "mariadb_url", "postgres_url", "stage", "valkey_url"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by what they use, so that no marker is forgotten."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
        if fixtures & INTEGRATION_FIXTURES:
            item.add_marker(pytest.mark.integration)
        if replica.IN_USE:
            replica.allow_both_databases(item)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The test database; no connection of the thread that async tests share outlives it."""
    yield
    executor = SyncToAsync.single_thread_executor
    executor.submit(connections.close_all).result()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The URL of a Valkey that the tests of this worker share."""
    with running_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that the tests of this worker share."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """The URL of that server."""
    return postgres.url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own."""
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """The URL of a MariaDB that the tests of this worker share."""
    mariadb.require_mariadb()
    with mariadb.running_mariadb() as url:
        yield url


@pytest.fixture
def mariadb_database(mariadb_url: str) -> Iterator[str]:
    """The URL of an empty MariaDB database of the test's own."""
    with mariadb.fresh_database(mariadb_url) as url:
        yield url


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A headless Chromium of the test's own."""
    with running_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of that browser, whose scripts must not raise."""
    with open_page(browser) as opened:
        yield opened


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy: migrating takes longer than most tests."""
    sqlite = Site(tmp_path_factory.mktemp("template")).sqlite
    assert sqlite is not None
    return sqlite


@pytest.fixture
def make_site(tmp_path: Path, migrated_database: Path) -> Iterator[Callable[..., Site]]:
    """Make sites of the test's own; their processes end with it. Arguments as of ``Site``."""
    sites: list[Site] = []
    numbers = itertools.count(1)

    def make(**options: str) -> Site:
        directory = tmp_path / f"site{next(numbers)}"
        sites.append(Site(directory, template=migrated_database, **options))
        return sites[-1]

    yield make
    for made in sites:
        made.end()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A site on SQLite, without a channel layer that spans processes."""
    return make_site()


class Demo(NamedTuple):
    """The demo site, and the Daphne that serves it."""

    site: Site
    server: Server


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Demo]:
    """The demo with its rows, as ``make run`` makes them; shared, so add rows and leave these."""
    site = Site(tmp_path_factory.mktemp("demo"), template=migrated_database)
    site.manage("sync_websockets")
    yield Demo(site, site.start_daphne())
    site.end()


@pytest.fixture
def write_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[Callable[[str, str], str]]:
    """Write a handler module below an allowed package of the test's own; return its reference."""
    package = tmp_path / "written_handlers"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings.WEBSOCKETS = {
        **settings.WEBSOCKETS, "HANDLER_PACKAGES": ["handlers", "written_handlers"],
    }  # fmt: skip

    def write(name: str, source: str) -> str:
        (package / f"{name}.py").write_text(source)
        return f"written_handlers.{name}"

    yield write
    for module in [name for name in sys.modules if name.startswith("written_handlers")]:
        del sys.modules[module]
    loader.load.cache_clear()
    loader.load_handle.cache_clear()

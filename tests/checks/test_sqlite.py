"""SQLite has to be set up for two processes that write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure.site import Site
from websockets_app.checks import sqlite

GOOD = {"transaction_mode": "IMMEDIATE", "timeout": 20}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (GOOD, []),
        ({**GOOD, "transaction_mode": "exclusive"}, []),
        ({"timeout": 20}, ["websockets_app.W030"]),
        ({**GOOD, "transaction_mode": "DEFERRED"}, ["websockets_app.W030"]),
        ({"transaction_mode": "IMMEDIATE"}, ["websockets_app.W031"]),
        ({}, ["websockets_app.W030", "websockets_app.W031"]),
    ],
)
def test_options(options: dict[str, Any], expected: list[str]) -> None:
    assert [message.id for message in sqlite._check_options("default", options)] == expected


def check(site: Site) -> str:
    arguments = ("check", "--database", "default", "--tag", "websockets")
    return site.manage(*arguments, check=False).stderr


def test_the_demo_is_fine(site: Site) -> None:
    assert "websockets_app.W03" not in check(site)


def test_a_site_on_djangos_defaults_is_warned(make_site: Callable[..., Site]) -> None:
    site = make_site(settings="DATABASES['default'].pop('OPTIONS')")
    without_log(site.directory / "db.sqlite3")
    told = check(site)
    assert all(f"websockets_app.W03{number}" in told for number in (0, 1, 2))


def test_a_database_in_memory_is_nobody_elses(make_site: Callable[..., Site]) -> None:
    site = make_site(
        settings="DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3',"
        " 'NAME': ':memory:'}}"
    )
    assert "websockets_app.W03" not in check(site)


def without_log(path: Path) -> None:
    with sqlite3.connect(path) as opened:
        opened.execute("PRAGMA journal_mode=DELETE")
    opened.close()

"""A database that isn't supported, or whose settings lose rows, is reported."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, connections
from pytest_django import Settings

from websockets_app.checks import databases
from websockets_app.checks.databases import check_databases, check_mysql, check_mysql_server
from websockets_app.models import Event


class SpreadingRouter:
    """Sends events to a database of their own."""

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "history" if model is Event else "default"


def ids(messages: list[Any]) -> list[str]:
    return [message.id for message in messages]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(vendor: str, **options: Any) -> None:
        monkeypatch.setattr(type(connections["default"]), "vendor", vendor)
        monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)

    return make


def test_the_database_of_the_tests_is_supported() -> None:
    assert check_databases() == []


def test_an_unsupported_database_is_an_error_that_names_the_supported_ones(pretend: Any) -> None:
    pretend("oracle")
    (message,) = check_databases()
    assert message.id == "websockets_app.E034"
    assert message.is_serious()
    for name in ("PostgreSQL", "SQLite", "MySQL", "MariaDB"):
        assert name in message.hint


def test_tables_in_several_databases_are_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings, "history", connections.settings["default"])
    settings.DATABASE_ROUTERS = ["tests.checks.test_databases.SpreadingRouter"]
    assert ids(check_databases()) == ["websockets_app.E035"]
    del connections["history"]


@pytest.mark.parametrize("level", ["repeatable read", "SERIALIZABLE", None])
def test_another_isolation_level_is_reported(pretend: Any, level: str | None) -> None:
    pretend("mysql", isolation_level=level)
    assert ids(check_mysql()) == ["websockets_app.W036"]


@pytest.mark.parametrize("options", [{}, {"isolation_level": "READ COMMITTED"}])
def test_django_s_isolation_level_is_fine(pretend: Any, options: dict[str, Any]) -> None:
    pretend("mysql", **options)
    assert check_mysql() == []


@pytest.mark.parametrize(
    ("charset", "packet", "expected"),
    [
        ("utf8mb4", 64 << 20, []),
        ("latin1", 64 << 20, ["websockets_app.W037"]),
        ("utf8mb4", 16 << 20, ["websockets_app.W038"]),
    ],
)
def test_a_server_that_cannot_take_every_row_is_reported(
    pretend: Any, monkeypatch: pytest.MonkeyPatch, charset: str, packet: int, expected: list[str]
) -> None:
    pretend("mysql")
    found = {"character_set_database": charset, "max_allowed_packet": str(packet)}
    monkeypatch.setattr(databases, "_variables", lambda connection: found)
    assert ids(check_mysql_server(databases=["default"])) == expected
    assert check_mysql_server(databases=[]) == []


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "mysql", reason="asks a MariaDB: make test-mariadb")
def test_the_server_of_the_tests_can() -> None:
    assert check_mysql_server(databases=["default"]) == []
